//! What a ContextBroker's spec names, as read.

use std::collections::BTreeMap;

use kube::ResourceExt;
use mim_crds::{ContextBroker, Engine, External, PreloadedContext, Reason, annotation};
use mim_egress::Token;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::observe;
use super::plan::{DATABASE, DATABASE_PORT, Data, IDENTIFIER_ANNOTATION};
use super::probe::{self, Probe};
use crate::reconcile::child::{ChildKind, Owner};
use crate::reconcile::context::Settings;
use crate::reconcile::live::Live;
use crate::reconcile::probes::{SHOWN_FOR, Target};
use crate::reconcile::reader::{Reader, Unlabelled};
use crate::reconcile::trouble::Missing;

/// The field that names contexts.
const CONTEXTS: &str = "spec.contexts";

/// What the spec names.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The object, as owner.
    pub owner: Owner,
    /// Settings of the operator.
    pub settings: Settings,
    /// What the variant names.
    pub variant: Variant,
}

/// What each variant names.
#[derive(Clone, Debug)]
pub enum Variant {
    /// A database of ours: what is known of its data.
    Managed(Data),
    /// Somebody else's database: its port.
    ExternalDatabase {
        /// From the Secret.
        port: u16,
    },
    /// Somebody else's broker: what the last look found.
    ExternalBroker(Option<Probe>),
    /// An engine of a newer version; validation refuses it.
    Unknown,
}

/// Reads it.
pub async fn read(broker: &ContextBroker, reader: &Reader<'_>) -> Result<Inputs, Missing> {
    let spec = &broker.spec;
    let variant = match (&spec.engine, &spec.external, &spec.storage) {
        (Engine::External, Some(external), _) => {
            let found = look(external, reader).await?;
            Variant::ExternalBroker(shown(found, recorded(broker)))
        }
        (Engine::External, None, _) | (Engine::Unknown(_), ..) => Variant::Unknown,
        (Engine::Native, _, Some(storage)) if storage.external.is_some() => {
            let Some(external) = &storage.external else {
                return Ok(inputs(reader, Variant::Unknown));
            };
            let field = "spec.storage.external.secretRef";
            let keys = ["host", "port", "dbname", "username", "password"];
            let values = reader.secret(&external.secret_ref.name, field, &keys).await?;
            let text = values.get("port").map(String::as_str).unwrap_or_default();
            let port = port(text, &external.secret_ref.name, field)?;
            if let Some(ca) = &external.ca_secret_ref {
                reader
                    .secret(&ca.name, "spec.storage.external.caSecretRef", &[ca.key.as_str()])
                    .await?;
            }
            Variant::ExternalDatabase { port }
        }
        (Engine::Native, ..) => Variant::Managed(data(broker, reader).await?),
    };
    if broker.spec.engine == Engine::Native {
        contexts(&broker.spec.contexts, reader).await?;
    }
    Ok(inputs(reader, variant))
}

fn inputs(reader: &Reader<'_>, variant: Variant) -> Inputs {
    Inputs {
        owner: reader.owner().clone(),
        settings: reader.settings().clone(),
        variant,
    }
}

/// Sees to it that each context is there, before a broker is told that it has it: one that is missing would be fetched from elsewhere, or not
/// at all, in a pod that started without it.
async fn contexts(contexts: &[PreloadedContext], reader: &Reader<'_>) -> Result<(), Missing> {
    let mut by_map: BTreeMap<&str, Vec<&PreloadedContext>> = BTreeMap::new();
    for context in contexts {
        by_map
            .entry(&context.config_map_ref.name)
            .or_default()
            .push(context);
    }
    for (name, of_map) in by_map {
        let texts = reader.config_map(name, CONTEXTS).await?;
        for context in of_map {
            let key = &context.config_map_ref.key;
            is_context(texts.get(key).map(String::as_str), name, key)?;
        }
    }
    Ok(())
}

/// Whether a document can be a context; the broker says what is wrong with the terms in it.
fn is_context(text: Option<&str>, name: &str, key: &str) -> Result<(), Missing> {
    let wrong = |what: &str| {
        let message = format!("{CONTEXTS}: ConfigMap {name} {what}");
        Err(Missing {
            reason: Reason::DependencyInvalid,
            message,
        })
    };
    let Some(text) = text else {
        return wrong(&format!("has no text under the key {key}; add the document"));
    };
    match serde_json::from_str::<Document>(text) {
        Ok(_) => Ok(()),
        Err(error) => wrong(&format!(
            "has no JSON object with a member @context under the key {key} (line {}, column {}); correct it",
            error.line(),
            error.column()
        )),
    }
}

/// What is looked at of a context: that the member is there.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@context")]
    _context: IgnoredAny,
}

async fn look(external: &External, reader: &Reader<'_>) -> Result<Option<Probe>, Missing> {
    let token = match &external.token_secret_ref {
        None => None,
        Some(of) => {
            let values = reader
                .secret(&of.name, "spec.external.tokenSecretRef", &[of.key.as_str()])
                .await?;
            values.get(&of.key).map(|token| Token::new(token))
        }
    };
    let ca_pem = match &external.ca_secret_ref {
        None => None,
        Some(of) => {
            let values = reader
                .secret(&of.name, "spec.external.caSecretRef", &[of.key.as_str()])
                .await?;
            values.get(&of.key).map(|pem| pem.clone().into_bytes())
        }
    };
    let target = probe::url(&external.url).map(|url| Target {
        url,
        token,
        ca_pem,
        judge: probe::judge,
    });
    Ok(target.and_then(|target| reader.probe(target)))
}

/// What the last look found, as the status of this generation has it. A new process has not looked yet.
fn recorded(broker: &ContextBroker) -> Option<Probe> {
    let status = broker
        .status
        .as_ref()
        .filter(|status| status.observed_generation == broker.metadata.generation)?;
    let external = status.external.as_ref()?;
    Some(Probe {
        result: external.result?,
        message: external.message.clone()?,
        at: external.last_probe_time.as_ref()?.0,
    })
}

/// What stays shown: before the first look what was found before, and a finding that has not changed keeps its time for a while, so that looking
/// is no reason to write.
fn shown(found: Option<Probe>, recorded: Option<Probe>) -> Option<Probe> {
    match (found, recorded) {
        (None, recorded) => recorded,
        (Some(found), Some(recorded))
            if (found.result, &found.message) == (recorded.result, &recorded.message)
                && recorded.at.duration_until(found.at) < SHOWN_FOR =>
        {
            Some(recorded)
        }
        (found, _) => found,
    }
}

/// What is known of the data. A claim that no watch shows is looked for by name before anybody is told that it is gone.
async fn data(broker: &ContextBroker, reader: &Reader<'_>) -> Result<Data, Missing> {
    let name = broker.name_any();
    let live = reader.live();
    let witnesses = Witnesses {
        status: broker
            .status
            .as_ref()
            .and_then(|status| status.storage.as_ref()?.system_identifier.clone()),
        pod: observe::identifier(live, &name).filter(|_| pod_is_of(reader.owner(), live, &name)),
        record: recorded_identifier(live, &name),
    };
    let gone = if witnesses.identifier().is_none() {
        None
    } else {
        gone(reader, &name).await?
    };
    let accepted = broker.annotations().get(annotation::ACCEPT_DATA_LOSS);
    Ok(witnesses.conclude(gone, accepted.map(String::as_str)))
}

/// Whether the database's pod is of this object. One of an earlier object of this name may outlive the data that it has seen, and would then be
/// taken for the witness of a loss.
fn pod_is_of(owner: &Owner, live: &Live, name: &str) -> bool {
    let set = live.get(ChildKind::StatefulSet, &format!("{name}-{DATABASE}"));
    let pod = live.get(ChildKind::Pod, &observe::database_pod(name));
    set.zip(pod).is_some_and(|(set, pod)| {
        set.owner_uid.as_deref() == Some(owner.uid.as_str())
            && pod.owner_uid.as_deref() == Some(set.uid.as_str())
    })
}

fn recorded_identifier(live: &Live, name: &str) -> Option<String> {
    let record = live.get(ChildKind::ConfigMap, &format!("{name}-{DATABASE}-identity"))?;
    record.annotation(IDENTIFIER_ANNOTATION).map(str::to_owned)
}

/// What tells that the data is gone: no volume, or the words of the pod that looked into it.
async fn gone(reader: &Reader<'_>, name: &str) -> Result<Option<String>, Missing> {
    let (kind, claim) = (ChildKind::PersistentVolumeClaim, format!("{name}-{DATABASE}"));
    if reader.live().get(kind, &claim).is_none() {
        match reader.unlabelled(kind, &claim).await? {
            Unlabelled::Ours => {}
            Unlabelled::Absent => return Ok(Some(format!("PersistentVolumeClaim {claim} does not exist"))),
            Unlabelled::Theirs(owner) => {
                let labels: Vec<_> = reader
                    .owner()
                    .labels()
                    .into_iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                let labels = labels.join(" ");
                return Ok(Some(format!(
                    "PersistentVolumeClaim {claim} belongs to {owner}; if it holds the data, give it the labels {labels} and no owner"
                )));
            }
        }
    }
    Ok(observe::data_lost(reader.live(), name))
}

/// Who knows the data, the most trustworthy first.
struct Witnesses {
    /// The status: written by us alone.
    status: Option<String>,
    /// The pod that runs: it has seen the volume.
    pod: Option<String>,
    /// The ConfigMap: outlives the object, and is edited by hand most easily.
    record: Option<String>,
}

impl Witnesses {
    fn identifier(&self) -> Option<&String> {
        self.status
            .as_ref()
            .or(self.pod.as_ref())
            .or(self.record.as_ref())
    }

    /// What they say together, with what was found in place of the data, and the identifier whose loss was accepted.
    fn conclude(mut self, gone: Option<String>, accepted: Option<&str>) -> Data {
        let Some(identifier) = self.identifier().cloned() else {
            return Data::New;
        };
        match gone {
            Some(_) if accepted == Some(&identifier) && self.record.is_some() => {
                return Data::LossAccepted { identifier };
            }
            Some(_) if accepted == Some(&identifier) => return Data::New,
            Some(found) => return Data::Lost { identifier, found },
            // Accepted in advance, while the data is there, it means nothing.
            None => {}
        }
        // An accepted loss is known to the status only, which its next write corrects.
        self.status = self.status.filter(|held| accepted != Some(held));
        match (&self.status, &self.pod) {
            (Some(held), Some(other)) if held != other => Data::Lost {
                identifier: held.clone(),
                found: format!("the volume holds system identifier {other}"),
            },
            _ => self.identifier().cloned().map_or(Data::New, Data::Known),
        }
    }
}

/// The port of an external database, from the key `port` of its Secret.
fn port(text: &str, secret: &str, field: &str) -> Result<u16, Missing> {
    let number = text.trim().parse().ok().filter(|port| *port > 0);
    number.ok_or_else(|| Missing {
        reason: Reason::DependencyInvalid,
        message: format!(
            "{field}: Secret {secret} has no port number (1 to 65535) under the key port; write {DATABASE_PORT}, for example"
        ),
    })
}

#[cfg(test)]
#[path = "dereference_tests.rs"]
mod tests;
