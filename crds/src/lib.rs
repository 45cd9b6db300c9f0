//! The API of mim-operator, `mim.city/v1alpha1`: one module per kind, one per thing that kinds share.
//!
//! The crate has no client and knows no other crate of this repository. Schemas are generated from these types (`crds/*.yaml`),
//! so a rule is written once and holds at the API server, in the operator's guard and in the tests.

pub mod annotation;
pub mod bound;
pub mod cases;
pub mod context;
pub mod context_broker;
pub mod context_subscription;
pub mod duration;
pub mod external;
pub mod generate;
mod kubernetes;
pub mod names;
pub mod network;
pub mod notification;
pub mod outbox;
pub mod pod_template;
pub mod quota;
pub mod reason;
pub mod rules;
pub mod schema;
pub mod storage;
pub mod temporal;
pub mod tenancy;
pub mod urban_data_platform;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use context::{Compatibility, PreloadedContext, TemporalCreate};
pub use context_broker::{
    ContextBroker, ContextBrokerSpec, ContextBrokerStatus, Engine, ExternalStatus, ProbeResult, StorageStatus,
};
pub use context_subscription::{
    BrokerReference, ContextSubscription, ContextSubscriptionSpec, ContextSubscriptionStatus, DeliveryResult,
    DeliveryStatus, EntitySelector, GeoQuery, Geometry, SubscriptionMode, SubscriptionState,
    SubscriptionStatus, Trigger,
};
pub use external::External;
pub use names::{CaSecretReference, ConfigMapKeyReference, SecretReference, TokenSecretReference};
pub use network::{EgressRule, Network};
pub use notification::{
    Accept, Endpoint, Format, Header, Join, Notification, NotifierInfo, Scheme, SecretKeyReference,
    ServiceReference, Switch,
};
pub use outbox::{Notifications, Outbox, Overflow};
pub use pod_template::{PodTemplate, Resources, Service};
pub use quota::{Quotas, TenantQuotas};
pub use reason::{EventReason, Reason};
pub use rules::{Violation, validate};
pub use storage::{ExternalStorage, ManagedStorage, Storage};
pub use temporal::{Temporal, TemporalMode};
pub use tenancy::TenantCreation;
pub use urban_data_platform::{
    ComponentStatus, MimState, MimStatus, Profile, Readiness, UrbanDataPlatform, UrbanDataPlatformSpec,
    UrbanDataPlatformStatus,
};

/// API group of every kind.
pub const GROUP: &str = "mim.city";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Category of every kind: `kubectl get mim` lists them all.
pub const CATEGORY: &str = "mim";

/// What happens to the data when an object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DeletionPolicy {
    /// The volume, and the Secret that opens it, stay; a new object of the same name finds them again.
    #[default]
    Retain,
    /// Volume and Secret go with the object, once the annotation `mim.city/confirm-deletion` holds the object's name.
    Delete,
}

schema::words!(DeletionPolicy: "Retain", "Delete");

/// The definitions of all kinds, as `crds/*.yaml` has them: bounded, with list types, defaults and rules.
///
/// Use this, not `CustomResourceExt::crd()` of a kind: the latter lacks what [`schema::finish`] adds.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        schema::finish(ContextBroker::crd(), context_broker::DEFAULTS),
        schema::finish(ContextSubscription::crd(), context_subscription::DEFAULTS),
        schema::abridge(
            schema::finish(UrbanDataPlatform::crd(), urban_data_platform::DEFAULTS),
            &["spec", "broker"],
        ),
    ]
}
