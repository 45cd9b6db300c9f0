//! JSON-LD contexts that a broker has without fetching them, and how it treats clients of older editions of NGSI-LD.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::names::ConfigMapKeyReference;
use crate::schema;

/// An @context that the broker has without fetching it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreloadedContext {
    /// URL by which clients name the context, for example `https://example.org/context.jsonld`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^#\\\\s]*)?$') && isURL(self)")
        .message("url must be the http or https URL of a context, without user and fragment, for example https://example.org/context.jsonld"))]
    #[x_kube(validation = Rule::new("!self.startsWith('https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.')")
        .message("the core context is built into the broker: remove it from the list"))]
    pub url: String,
    /// The document, a JSON object with a member `@context`. The broker follows it as it changes, without a restart.
    pub config_map_ref: ConfigMapKeyReference,
}

/// What writing the past of an entity makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemporalCreate {
    /// The past alone.
    Past,
    /// The current entity as well, with the latest instances.
    PastAndEntity,
}

schema::words!(TemporalCreate: "Past", "PastAndEntity");

/// What editions of NGSI-LD disagree on, or leave to brokers. An absent field means what the newest edition says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Compatibility {
    /// HTTP status of the error LdContextNotAvailable: 504 (from v1.9.1 on) or 503 (before). Absent: 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 503, max = 504))]
    pub context_not_available_status: Option<i32>,
    /// What writing the past of an entity (POST /temporal/entities) makes: `Past` alone, or `PastAndEntity`, the current entity as well, which then has the latest instances, as clients up to v1.8.1 may expect. Absent: `Past`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporal_create: Option<TemporalCreate>,
    /// How many instances of the past one answer has at most; a longer past comes in parts, with status 206. Absent: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub temporal_page_size: Option<i32>,
}
