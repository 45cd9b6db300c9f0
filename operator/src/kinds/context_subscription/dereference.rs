//! What a ContextSubscription's spec names, as read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use mim_crds::{ContextBroker, ContextSubscription, Engine, EventReason, External, Reason, annotation};
use mim_egress::Token;
use url::Url;

use super::plan::{Broker, id};
use super::remote::{Found, Subscriptions, Wanted};
use crate::kinds::context_broker::plan::native_endpoint;
use crate::reconcile::child::Owner;
use crate::reconcile::event::Note;
use crate::reconcile::kind::{Complaint, Leaving};
use crate::reconcile::reader::{Guest, Peer, Reader};
use crate::reconcile::remote::{Errand, Finding, Remote};
use crate::reconcile::trouble::Missing;

/// What the spec names.
#[derive(Clone)]
pub struct Inputs {
    /// The object, as owner.
    pub owner: Owner,
    /// The broker.
    pub broker: Broker,
    /// State of the ContextBroker: when it changes, the broker is worth a look.
    pub broker_state: Vec<String>,
    /// Values from Secrets.
    pub secrets: Secrets,
    /// What the last turn found.
    pub finding: Option<Finding<Found>>,
    /// The time.
    pub now: Timestamp,
}

/// Values from Secrets, and the versions of these Secrets.
#[derive(Clone, Default)]
pub struct Secrets {
    /// By name of the Secret and key.
    pub values: BTreeMap<(String, String), String>,
    /// By name of the Secret.
    pub versions: BTreeMap<String, String>,
}

/// Why there is no broker to talk to.
enum NoBroker {
    /// Its ContextBroker is gone, or was never there.
    Gone(Missing),
    /// It may come back.
    Away(Missing),
}

impl From<NoBroker> for Missing {
    fn from(why: NoBroker) -> Self {
        match why {
            NoBroker::Gone(missing) | NoBroker::Away(missing) => missing,
        }
    }
}

impl From<Missing> for NoBroker {
    fn from(missing: Missing) -> Self {
        Self::Away(missing)
    }
}

/// Reads it.
pub async fn read(subscription: &ContextSubscription, reader: &Reader<'_>) -> Result<Inputs, Missing> {
    let (broker, broker_state) = broker(subscription, reader).await?;
    let secrets = secrets(subscription, reader).await?;
    // In the cluster our own broker is spoken to without TLS; anywhere else nothing secret travels so.
    if !secrets.values.is_empty() && broker.endpoint.starts_with("http://") && !broker.is_ours {
        return Err(Missing {
            reason: Reason::DependencyInvalid,
            message: format!(
                "spec.notification.endpoint: {} is reached over plain http, and values of Secrets must not travel so: give it an https url",
                broker.name
            ),
        });
    }
    Ok(Inputs {
        owner: reader.owner().clone(),
        broker,
        broker_state,
        secrets,
        finding: reader.finding::<Subscriptions>(),
        now: reader.now(),
    })
}

/// What has to be done in the broker before the object may go.
pub async fn leave(subscription: &ContextSubscription, reader: &Reader<'_>) -> Result<Leaving, Missing> {
    let name = subscription.name_any();
    let left = |why: &str| {
        let message = format!("{why}: {} is left where it is", id(reader.owner()));
        Leaving::Free(Some(Note::warning(EventReason::Abandoned, message)))
    };
    if subscription.annotations().get(annotation::ABANDON) == Some(&name) {
        return Ok(left("as the annotation mim.city/abandon says"));
    }
    let (broker, mut nudge) = match broker(subscription, reader).await {
        Ok(found) => found,
        Err(NoBroker::Gone(missing)) => return Ok(left(&missing.message)),
        Err(NoBroker::Away(missing)) => {
            let message = with_way_out(&missing.message, &name);
            return Err(Missing { message, ..missing });
        }
    };
    let wanted = Wanted::gone(broker, subscription.spec.tenant.clone(), id(reader.owner()));
    let digest = Subscriptions::digest(&wanted);
    let finding = reader
        .finding::<Subscriptions>()
        .filter(|found| found.of == digest);
    let complaint = match finding {
        Some(found) if found.settled => return Ok(Leaving::Free(None)),
        Some(Finding {
            found: Err(complaint),
            ..
        }) => Some(Complaint {
            message: with_way_out(&complaint.message, &name),
            ..complaint
        }),
        _ => None,
    };
    nudge.extend(subscription.annotations().get(annotation::REQUESTED_AT).cloned());
    let errand =
        Errand::new::<Subscriptions>(wanted, super::validate::recorded(subscription).written, &nudge);
    Ok(Leaving::First(errand, complaint))
}

fn with_way_out(message: &str, name: &str) -> String {
    format!(
        "{message}. The subscription is deleted as soon as that is possible; to leave it there for good, annotate this object with {}={name}",
        annotation::ABANDON
    )
}

/// The broker, and the state of its ContextBroker.
async fn broker(
    subscription: &ContextSubscription,
    reader: &Reader<'_>,
) -> Result<(Broker, Vec<String>), NoBroker> {
    let of = &subscription.spec.broker_ref;
    let missing = |reason, message| Missing { reason, message };
    let guest = match reader.peer::<ContextBroker>(of.namespace.as_deref(), &of.name) {
        Peer::There(guest) => guest,
        Peer::Absent => {
            let message = format!(
                "spec.brokerRef: ContextBroker {} does not exist; make it, and it goes on by itself",
                of.name
            );
            return Err(NoBroker::Gone(missing(Reason::DependencyNotFound, message)));
        }
        Peer::Closed { gone } => {
            let message = format!(
                "spec.brokerRef: namespace {} has no ContextBroker {} that lets namespace {} in: its owner adds that to spec.allowedNamespaces",
                of.namespace.as_deref().unwrap_or_default(),
                of.name,
                reader.owner().namespace
            );
            let why = missing(Reason::ReferenceNotPermitted, message);
            // Whoever never was let in learns nothing of what is there.
            let was_let_in = super::validate::recorded(subscription).written.applied.is_some();
            return Err(if gone && was_let_in {
                NoBroker::Gone(why)
            } else {
                NoBroker::Away(why)
            });
        }
        Peer::OutOfSight => {
            let message = format!(
                "spec.brokerRef: this operator does not watch namespace {}; add it to watchNamespaces of its chart",
                of.namespace.as_deref().unwrap_or_default()
            );
            return Err(NoBroker::Away(missing(Reason::ReferenceNotPermitted, message)));
        }
        Peer::Unreadable => {
            let message = format!(
                "spec.brokerRef: this operator cannot read ContextBroker {}; its status says why",
                of.name
            );
            return Err(NoBroker::Away(missing(Reason::DependencyInvalid, message)));
        }
    };
    Ok(reached(of.namespace.as_deref(), &guest).await?)
}

async fn reached(
    namespace: Option<&str>,
    guest: &Guest<'_, ContextBroker>,
) -> Result<(Broker, Vec<String>), Missing> {
    let unusable = |words: String| Missing {
        reason: Reason::DependencyInvalid,
        message: format!("spec.brokerRef: {words}"),
    };
    let Some(broker) = guest.object() else {
        return Err(unusable("this operator cannot read the ContextBroker".to_owned()));
    };
    let plain = broker.name_any();
    let name = match namespace {
        None => format!("ContextBroker {plain}"),
        Some(namespace) => format!("ContextBroker {plain} of namespace {namespace}"),
    };
    let is_ours = broker.spec.engine == Engine::Native;
    let (endpoint, token, ca_pem) = match (&broker.spec.engine, &broker.spec.external) {
        (Engine::Native, _) => (native_endpoint(guest.namespace(), &plain), None, None),
        (Engine::External, Some(external)) => {
            let (token, ca_pem) = credentials(external, guest, &name).await?;
            (external.url.clone(), token, ca_pem)
        }
        (Engine::External, None) => return Err(unusable(format!("{name} has no external.url"))),
        (Engine::Unknown(engine), _) => {
            let words = format!(
                "{name} has the engine {engine}, which this operator does not know: upgrade the operator"
            );
            return Err(unusable(words));
        }
    };
    let subscriptions = Url::parse(&format!(
        "{}/ngsi-ld/v1/subscriptions/",
        endpoint.trim_end_matches('/')
    ))
    .map_err(|_| unusable(format!("{name} has an address that is no URL")))?;
    let reached = Broker {
        name,
        endpoint,
        subscriptions,
        namespace: guest.namespace().to_owned(),
        is_ours,
        token,
        ca_pem,
    };
    Ok((reached, state(broker)))
}

/// What makes another look worth its while: another object, or another readiness.
fn state(broker: &ContextBroker) -> Vec<String> {
    let conditions = broker.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.filter(|condition| condition.type_ == "Ready");
    let mut state = vec![broker.uid().unwrap_or_default()];
    state.extend(ready.flat_map(|ready| [ready.status.clone(), ready.reason.clone()]));
    state
}

/// Token and CA of an external broker, from Secrets of its own namespace.
async fn credentials(
    external: &External,
    guest: &Guest<'_, ContextBroker>,
    broker: &str,
) -> Result<(Option<Token>, Option<Vec<u8>>), Missing> {
    let field = |name: &str| format!("spec.brokerRef: {broker}: spec.external.{name}");
    let token = match &external.token_secret_ref {
        None => None,
        Some(of) => {
            let values = guest
                .secret(&of.name, &field("tokenSecretRef"), &[of.key.as_str()])
                .await?;
            values.get(&of.key).map(|token| Token::new(token))
        }
    };
    let ca_pem = match &external.ca_secret_ref {
        None => None,
        Some(of) => {
            let values = guest
                .secret(&of.name, &field("caSecretRef"), &[of.key.as_str()])
                .await?;
            values.get(&of.key).map(|pem| pem.clone().into_bytes())
        }
    };
    Ok((token, ca_pem))
}

/// Values of headers and MQTT credentials: each Secret is read once.
async fn secrets(subscription: &ContextSubscription, reader: &Reader<'_>) -> Result<Secrets, Missing> {
    let endpoint = &subscription.spec.notification.endpoint;
    let mut wanted: BTreeMap<&str, (String, BTreeSet<&str>)> = BTreeMap::new();
    for header in &endpoint.headers {
        if let Some(of) = &header.secret_key_ref {
            let field = || format!("spec.notification.endpoint.headers[{}].secretKeyRef", header.name);
            let (_, keys) = wanted
                .entry(&of.name)
                .or_insert_with(|| (field(), BTreeSet::new()));
            keys.insert(&of.key);
        }
    }
    if let Some(of) = &endpoint.credentials_secret_ref {
        let field = "spec.notification.endpoint.credentialsSecretRef".to_owned();
        let (_, keys) = wanted.entry(&of.name).or_insert_with(|| (field, BTreeSet::new()));
        keys.extend(["username", "password"]);
    }
    let mut secrets = Secrets::default();
    for (name, (field, keys)) in wanted {
        let keys: Vec<_> = keys.into_iter().collect();
        let read = reader.secret_read(name, &field, &keys).await?;
        secrets.versions.insert(name.to_owned(), read.version);
        let values = read.values.into_iter();
        secrets
            .values
            .extend(values.map(|(key, value)| ((name.to_owned(), key), value)));
    }
    for header in &endpoint.headers {
        if let Some(of) = &header.secret_key_ref
            && let Some(value) = secrets.values.get(&(of.name.clone(), of.key.clone()))
            && !is_of_header(value)
        {
            return Err(Missing {
                reason: Reason::DependencyInvalid,
                message: format!(
                    "spec.notification.endpoint.headers[{}].secretKeyRef: what Secret {} has under the key {} is no value of a header; write one line of ASCII there",
                    header.name, of.name, of.key
                ),
            });
        }
    }
    Ok(secrets)
}

/// Whether a text, as it is sent, can be the value of a header: what the schema lets in as `value`.
fn is_of_header(text: &str) -> bool {
    text.trim().bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
