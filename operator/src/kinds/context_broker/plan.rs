//! What a ContextBroker asks for: a value that cannot be wrong. Everything after validation works on this.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use mim_crds::{
    Compatibility, EgressRule, Notifications, PodTemplate, PreloadedContext, Quotas, Resources, Service,
    Temporal, TenantCreation,
};

use crate::reconcile::child::Owner;

/// What a ContextBroker becomes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ContextBroker.
    pub owner: Owner,
    /// `app.kubernetes.io/part-of`: the platform, or the broker itself where it stands alone.
    pub part_of: String,
    /// One of the two engines.
    pub engine: Engine,
}

/// One of the two engines.
#[derive(Clone, Debug)]
pub enum Engine {
    /// Our broker.
    Native(Box<Native>),
    /// Somebody else's: what the last probe found; `None` before the first has ended.
    External {
        /// The address, as in the spec.
        url: String,
        /// The last probe.
        probe: Option<super::probe::Probe>,
    },
}

/// Our broker and its database.
#[derive(Clone, Debug)]
pub struct Native {
    /// Name of the release that the children are made from, for the status: a suspended broker keeps the one that it had.
    pub release: Option<String>,
    /// Whether the status tells numbers of pods already. They are first told together with Ready, never in a write of their own
    /// (invariant 2), and followed from then on: a rollout has pods, and who scales must see them.
    pub counted: bool,
    /// Image of the broker, by digest.
    pub image: String,
    /// Pull secrets of the operator's configuration, for all pods.
    pub pull_secrets: Vec<String>,
    /// Pods of the broker; 0 is stopped.
    pub replicas: i32,
    /// Requests and limits; `None` are the defaults of the builder.
    pub resources: Option<Resources>,
    /// What is added to the broker's pods.
    pub pod_template: PodTemplate,
    /// What is added to the broker's Service.
    pub service: Service,
    /// Tenants beside the default one, sorted, without duplicates.
    pub tenants: Vec<String>,
    /// Tenants whose data is to go, sorted, none of them in [`Self::tenants`].
    pub dropped_tenants: Vec<String>,
    /// Who makes tenants; `None`: the list alone.
    pub tenant_creation: Option<TenantCreation>,
    /// What tenants may have, those that are named in the order of their names; `None`: as much as they like.
    pub quotas: Option<Quotas>,
    /// Contexts that the broker has without fetching them, sorted by URL.
    pub contexts: Vec<PreloadedContext>,
    /// What editions of NGSI-LD disagree on; `None`: as the newest edition says.
    pub compatibility: Option<Compatibility>,
    /// What is kept of the past.
    pub temporal: Temporal,
    /// What is kept for receivers of notifications; `None`: as the broker does by itself.
    pub notifications: Option<Notifications>,
    /// Who may come in; `None`: every pod of the namespace.
    pub clients: Option<Vec<NetworkPolicyPeer>>,
    /// The operator's own namespace, from where it keeps subscriptions.
    pub operator_namespace: Option<String>,
    /// Where else the broker may go.
    pub egress: Vec<EgressRule>,
    /// Private ranges that the operator's administrator allowed for calls to URLs that clients give.
    pub allowed_private_cidrs: Vec<String>,
    /// Value of `mim.city/restartedAt`.
    pub restarted_at: Option<String>,
    /// Where the data is.
    pub database: Database,
}

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Database {
    /// A PostgreSQL of ours.
    Managed(Box<Managed>),
    /// A PostgreSQL that somebody else runs.
    External {
        /// Secret with the keys of CloudNativePG's app Secret.
        secret: String,
        /// Its port, from the Secret, for the NetworkPolicy.
        port: u16,
        /// Secret and key of its CA.
        ca: Option<(String, String)>,
    },
}

/// A PostgreSQL of ours.
#[derive(Clone, Debug)]
pub struct Managed {
    /// Image of the database, by digest.
    pub image: String,
    /// Major version of PostgreSQL: the folder of the data.
    pub postgresql: u32,
    /// Size of the volume.
    pub size: String,
    /// Its class; `None` is the cluster's default.
    pub storage_class: Option<String>,
    /// Requests and limits; `None` are the defaults of the builder.
    pub resources: Option<Resources>,
    /// What is added to the database's pod.
    pub pod_template: PodTemplate,
    /// What is known of the data.
    pub data: Data,
    /// Whether the status shows the identifier of the data already. It is first shown together with Ready, never in a write of its own
    /// (invariant 2), and stays from then on.
    pub recorded: bool,
}

/// What is known of the data on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Never initialised, as far as anybody knows.
    New,
    /// Initialised, and known by PostgreSQL's `system_identifier`.
    Known(String),
    /// Initialised once, and its volume is gone or holds something else. No volume is made until the loss is accepted.
    Lost {
        /// The identifier that was.
        identifier: String,
        /// What was found instead, in words.
        found: String,
    },
    /// The loss was accepted: the record of the old identity goes, then this is `New`.
    LossAccepted {
        /// The identifier that was.
        identifier: String,
    },
}

impl Plan {
    /// Name of a child: `<name>-<component>`.
    #[must_use]
    pub fn child(&self, component: &str) -> String {
        self.owner.child(component)
    }

    /// Our broker, where it is ours.
    #[must_use]
    pub fn native(&self) -> Option<&Native> {
        match &self.engine {
            Engine::Native(native) => Some(native),
            Engine::External { .. } => None,
        }
    }

    /// Our broker and our database, where both are ours.
    #[must_use]
    pub fn managed(&self) -> Option<(&Native, &Managed)> {
        match self.native().map(|native| (native, &native.database)) {
            Some((native, Database::Managed(managed))) => Some((native, managed)),
            _ => None,
        }
    }

    /// Base address of the NGSI-LD API.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match &self.engine {
            Engine::Native(_) => native_endpoint(&self.owner.namespace, &self.owner.name),
            Engine::External { url, .. } => url.clone(),
        }
    }
}

/// Base address of the API of our broker, inside the cluster: its Service.
#[must_use]
pub fn native_endpoint(namespace: &str, name: &str) -> String {
    format!("http://{name}-{BROKER}.{namespace}.svc:{BROKER_PORT}")
}

/// Labels of the operator's own pods, as its chart gives them: who comes in to keep subscriptions.
pub const OPERATOR_LABELS: [(&str, &str); 2] = [
    ("app.kubernetes.io/name", "mim-operator"),
    ("app.kubernetes.io/component", "operator"),
];
/// Port of the NGSI-LD API (`docs/operands.md`).
pub const BROKER_PORT: u16 = 1026;
/// Port of the same API for the platform's gateway alone (`docs/operands.md`).
pub const BROKER_GATEWAY_PORT: u16 = 1027;
/// Port of the administrators' API (`docs/operands.md`).
pub const BROKER_ADMIN_PORT: u16 = 1028;
/// Port of probes and metrics of the broker (`docs/operands.md`).
pub const BROKER_HEALTH_PORT: u16 = 8081;
/// Port of PostgreSQL.
pub const DATABASE_PORT: u16 = 5432;
/// Component label of broker pods.
pub const BROKER: &str = "broker";
/// Component label of the database pod.
pub const DATABASE: &str = "database";
/// Component label of the pod that proves a new template of the database.
pub const PREFLIGHT: &str = "database-preflight";
/// Component label of the pods of a platform's gateway, and the end of the name in its certificate.
pub const GATEWAY: &str = "gateway";
/// End of the names of Secrets by which readers of the read-only contract log in.
pub const READER: &str = "reader";
/// Component label of pods of a platform that administer its broker, and the end of the name in their certificate.
pub const ADMINISTRATOR: &str = "administrator";
/// Annotation of the identity ConfigMap: PostgreSQL's `system_identifier`, where a metadata watch shows it.
pub const IDENTIFIER_ANNOTATION: &str = "mim.city/system-identifier";
/// Annotation of the database's pod template: digests of its parts, from which the reason of a restart is told.
pub const PARTS_ANNOTATION: &str = "mim.city/template-parts";
/// Annotation of the preflight pod: the StatefulSet revision that it proves.
pub const REVISION_ANNOTATION: &str = "mim.city/revision";
