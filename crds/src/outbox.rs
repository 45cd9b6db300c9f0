//! What a broker keeps for receivers of notifications that take nothing.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How many changes wait for one subscription when nothing is said: hours of a city's sensor, and some megabytes.
pub const DEFAULT_LIMIT: i32 = 10_000;

/// What is given up when more waits than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// All but the latest change of each entity; where that is not enough, the oldest.
    #[default]
    CoalesceLatest,
    /// The oldest changes.
    DropOldest,
    /// All of them, and the subscription is paused until its owner makes it active again.
    Pause,
}

schema::words!(Overflow: "CoalesceLatest", "DropOldest", "Pause");

/// What a broker tells subscribers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Notifications {
    /// What is kept for receivers that take nothing.
    #[serde(default)]
    pub outbox: Outbox,
}

/// What waits for receivers that take nothing: within the limit every notification arrives at least once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Outbox {
    /// How many changes wait for one subscription at most.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: i32,
    /// What is given up beyond the limit, counted in the broker's metrics: `CoalesceLatest` keeps the latest change of each entity, `DropOldest` gives up the oldest, `Pause` gives up all and pauses the subscription.
    #[serde(default)]
    pub overflow: Overflow,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            limit: default_limit(),
            overflow: Overflow::default(),
        }
    }
}

fn default_limit() -> i32 {
    DEFAULT_LIMIT
}
