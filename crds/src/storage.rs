//! Where an operand keeps its data.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names::{CaSecretReference, SecretReference},
    pod_template::{PodTemplate, Resources},
};

/// Size of a managed volume when nothing is said.
pub const DEFAULT_SIZE: &str = "10Gi";

/// The database of an operand: exactly one variant.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.managed) != has(self.external)")
    .message("write exactly one of managed (the operator runs PostgreSQL) and external (a database of yours)"))]
pub struct Storage {
    /// A PostgreSQL with PostGIS that the operator runs beside the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedStorage>,
    /// A PostgreSQL with PostGIS that somebody else runs, for example a CloudNativePG cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStorage>,
}

/// A PostgreSQL with PostGIS that the operator runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedStorage {
    /// Size of the volume, for example `20Gi`; it can grow, never shrink.
    #[serde(default = "default_size")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|[MGTPE]i?|k)?$")
    )]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('1Gi')) >= 0")
        .message("size must be at least 1Gi: PostgreSQL needs room for its write-ahead log"))]
    pub size: String,
    /// StorageClass of the volume; absent: the cluster's default. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub storage_class_name: Option<String>,
    /// Requests and limits of the database container. A change restarts the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What is added to the pod of the database. A change restarts the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

impl Default for ManagedStorage {
    fn default() -> Self {
        Self {
            size: default_size(),
            storage_class_name: None,
            resources: None,
            pod_template: None,
        }
    }
}

/// A PostgreSQL with PostGIS that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalStorage {
    /// Secret with the keys `host`, `port`, `dbname`, `username`, `password`, as CloudNativePG's app Secret has them.
    pub secret_ref: SecretReference,
    /// Secret with the certificate of the authority that signed the database's certificate; absent: the system's trust store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretReference>,
}

fn default_size() -> String {
    DEFAULT_SIZE.to_owned()
}
