//! What a ContextSubscription asks for: a value that cannot be wrong. Everything after validation works on this.

use k8s_openapi::jiff::Timestamp;
use mim_crds::{DeliveryStatus, Reason, SubscriptionState};
use mim_egress::Token;
use serde_json::{Map, Value};
use url::Url;

use super::remote::Found;
use crate::reconcile::child::Owner;
use crate::reconcile::kind::Complaint;
use crate::reconcile::remote::{Finding, Written};

/// What a ContextSubscription becomes.
#[derive(Clone)]
pub struct Plan {
    /// The ContextSubscription.
    pub owner: Owner,
    /// The broker.
    pub broker: Broker,
    /// Tenant of the broker; `None`: the default one.
    pub tenant: Option<String>,
    /// The subscription in NGSI-LD's words.
    pub body: Body,
    /// Whether `mode` is `Paused`.
    pub paused: bool,
    /// Whether `expiresAt` is over.
    pub expired: bool,
    /// What the last turn found; `None` before the first of this process.
    pub finding: Option<Finding<Found>>,
    /// What the status tells of earlier turns.
    pub recorded: Recorded,
    /// What, when it changes, is a reason to look at the broker now.
    pub nudge: Vec<String>,
}

/// How the API of a broker is reached.
#[derive(Clone, PartialEq)]
pub struct Broker {
    /// Its ContextBroker, as users write it: `ContextBroker city`, with its namespace where that is another.
    pub name: String,
    /// Base address as in its spec, without `/ngsi-ld/v1`.
    pub endpoint: String,
    /// The URL of its subscriptions.
    pub subscriptions: Url,
    /// Its namespace: Services of this may have private addresses.
    pub namespace: String,
    /// Whether the operator runs it: then it is spoken to inside the cluster, without TLS.
    pub is_ours: bool,
    /// Bearer token; https only.
    pub token: Option<Token>,
    /// Certificates to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// A subscription in NGSI-LD's words, twice.
#[derive(Clone, PartialEq)]
pub struct Body {
    /// As it is sent, with values of Secrets.
    pub sent: Map<String, Value>,
    /// A digest of the same with the versions of these Secrets instead: nothing in it follows from their values.
    pub digest: String,
    /// JSON-LD context by which its names are understood.
    pub context: Option<String>,
}

/// What the status tells of earlier turns.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// What was written last, and where.
    pub written: Written,
    /// What the broker said of it.
    pub state: Option<SubscriptionState>,
    /// The last sample of its deliveries.
    pub delivery: Option<DeliveryStatus>,
    /// What kept it from being as wanted, by a status of this generation.
    pub complaint: Option<Complaint>,
    /// Reason and message of Ready, where that status says Ready.
    pub ready: Option<(Reason, String)>,
}

impl Plan {
    /// Id of the subscription in the broker.
    #[must_use]
    pub fn id(&self) -> String {
        id(&self.owner)
    }
}

/// Id of an object's subscription. It follows from the object alone, so that what was made before a crash is found again; the uid makes another
/// object of that name another subscription.
#[must_use]
pub fn id(owner: &Owner) -> String {
    format!(
        "urn:ngsi-ld:Subscription:mim.city:{}:{}:{}",
        owner.namespace, owner.name, owner.uid
    )
}

/// Whether a moment is over.
#[must_use]
pub fn is_over(moment: Option<Timestamp>, now: Timestamp) -> bool {
    moment.is_some_and(|moment| moment <= now)
}
