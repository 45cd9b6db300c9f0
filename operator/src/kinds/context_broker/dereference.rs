//! What a ContextBroker's spec names, as read.

use kube::ResourceExt;
use mim_crds::{ContextBroker, Engine, External, annotation};
use mim_egress::Token;

use super::observe;
use super::plan::{DATABASE, DATABASE_PORT, Data, IDENTIFIER_ANNOTATION};
use super::probe::{self, Probe};
use crate::reconcile::child::{ChildKind, Owner};
use crate::reconcile::context::Settings;
use crate::reconcile::live::Live;
use crate::reconcile::probes::{SHOWN_FOR, Target};
use crate::reconcile::reader::Reader;
use crate::reconcile::trouble::Missing;

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
        /// From the Secret, as text.
        port: String,
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
            if let Some(ca) = &external.ca_secret_ref {
                reader
                    .secret(&ca.name, "spec.storage.external.caSecretRef", &[ca.key.as_str()])
                    .await?;
            }
            let port = values.get("port").cloned().unwrap_or_default();
            Variant::ExternalDatabase { port }
        }
        (Engine::Native, ..) => Variant::Managed(data(broker, reader.live())),
    };
    Ok(inputs(reader, variant))
}

fn inputs(reader: &Reader<'_>, variant: Variant) -> Inputs {
    Inputs {
        owner: reader.owner().clone(),
        settings: reader.settings().clone(),
        variant,
    }
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

/// What is known of the data, from three witnesses: the status, the ConfigMap that outlives the object, and the pod that initialised.
fn data(broker: &ContextBroker, live: &Live) -> Data {
    let name = broker.name_any();
    let in_status = broker
        .status
        .as_ref()
        .and_then(|status| status.storage.as_ref()?.system_identifier.clone());
    let identity = live.get(ChildKind::ConfigMap, &format!("{name}-{DATABASE}-identity"));
    let on_record = identity.and_then(|seen| seen.annotations.get(IDENTIFIER_ANNOTATION).cloned());
    let initialised = observe::identifier(live, &name);
    let accepted = broker.annotations().get(annotation::ACCEPT_DATA_LOSS);
    let recorded = on_record.is_some();
    // An accepted loss is known to the status only, which its next write corrects.
    let in_status = in_status.filter(|held| accepted != Some(held));
    let Some(identifier) = on_record.or(in_status).or(initialised) else {
        return Data::New;
    };
    match lost(live, &name) {
        None => Data::Known(identifier),
        // Accepted in advance, while the data is there, it means nothing.
        Some(_) if recorded && accepted == Some(&identifier) => Data::LossAccepted { identifier },
        Some(found) => Data::Lost { identifier, found },
    }
}

/// What tells that the data is gone: no volume, or the words of the pod that looked into it.
fn lost(live: &Live, name: &str) -> Option<String> {
    if live
        .get(ChildKind::PersistentVolumeClaim, &format!("{name}-{DATABASE}"))
        .is_none()
    {
        return Some(format!("PersistentVolumeClaim {name}-{DATABASE} does not exist"));
    }
    observe::data_lost(live, name)
}

/// The port of an external database.
#[must_use]
pub fn port(text: &str) -> Option<u16> {
    if text.trim().is_empty() {
        Some(DATABASE_PORT)
    } else {
        text.trim().parse().ok().filter(|port| *port > 0)
    }
}
