//! What a broker keeps of the past.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// For how long the past is kept when nothing is said: long enough for a season's comparison, and a bound on the disk.
pub const DEFAULT_RETENTION: &str = "P90D";

/// Whether a broker keeps the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemporalMode {
    /// Every change of an attribute is kept, and can be asked for.
    #[default]
    Enabled,
    /// No more is kept. What was kept before can still be asked for, and goes by its age.
    Disabled,
}

schema::words!(TemporalMode: "Enabled", "Disabled");

/// What a broker keeps of the past of its entities (the temporal API of NGSI-LD).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Temporal {
    /// `Enabled` keeps every change; `Disabled` keeps no more, and costs nothing.
    #[serde(default)]
    pub mode: TemporalMode,
    /// For how long, counted from when a change was stored: an ISO 8601 duration in years, months, weeks and days. What is older goes a month at a time. `P100Y` is for ever.
    #[serde(default = "default_retention")]
    #[schemars(length(min = 1, max = 24))]
    #[x_kube(validation = Rule::new("self.matches('^P([0-9]{1,3}Y)?([0-9]{1,4}M)?([0-9]{1,4}W)?([0-9]{1,5}D)?$') && self.matches('[1-9]')")
        .message("retention is an ISO 8601 duration of at least a day, in years, months, weeks and days: write P90D or P1Y"))]
    pub retention: String,
}

impl Default for Temporal {
    fn default() -> Self {
        Self {
            mode: TemporalMode::default(),
            retention: default_retention(),
        }
    }
}

fn default_retention() -> String {
    DEFAULT_RETENTION.to_owned()
}
