//! Says no, with a field path and what to write instead, or gives a plan that cannot be wrong.

use kube::ResourceExt;
use mim_crds::{ContextBroker, ContextBrokerSpec, Engine as EngineField, Quotas, Reason, annotation};

use super::dereference::{Inputs, Variant};
use super::plan::{Data, Database, Engine, Managed, Native, Plan};
use crate::reconcile::child::OWNER_NAME_LABEL;
use crate::reconcile::trouble::Refusal;
use crate::release::{Operand, Release, Releases};

/// The plan, or the refusal.
pub fn validate(broker: &ContextBroker, inputs: Inputs, releases: &Releases) -> Result<Plan, Refusal> {
    let engine = match inputs.variant {
        Variant::Unknown => return Err(unknown_engine(broker)),
        Variant::ExternalBroker(probe) => {
            let url = broker
                .spec
                .external
                .as_ref()
                .map(|external| external.url.clone())
                .unwrap_or_default();
            Engine::External { url, probe }
        }
        Variant::Managed(data) => {
            let release = release(broker, releases)?;
            let database = Database::Managed(Box::new(managed(broker, release, releases, data)));
            Engine::Native(Box::new(native(
                broker,
                release,
                releases,
                &inputs.settings,
                database,
            )))
        }
        Variant::ExternalDatabase { port } => {
            let release = release(broker, releases)?;
            let database = external_database(broker, port);
            Engine::Native(Box::new(native(
                broker,
                release,
                releases,
                &inputs.settings,
                database,
            )))
        }
    };
    Ok(Plan {
        owner: inputs.owner,
        part_of: part_of(broker),
        engine,
    })
}

fn unknown_engine(broker: &ContextBroker) -> Refusal {
    let message = match &broker.spec.engine {
        EngineField::Unknown(name) => {
            format!("{name} is no engine of this operator: write Native or External, or upgrade the operator")
        }
        _ => "engine External needs external.url: write the address of the broker, for example https://broker.example.org".to_owned(),
    };
    Refusal {
        reason: Reason::InvalidSpec,
        path: "spec.engine".into(),
        message,
    }
}

/// The release of the spec, else the one on record, else the catalogue's default; a step that is not allowed is refused.
fn release<'a>(broker: &ContextBroker, releases: &'a Releases) -> Result<&'a Release, Refusal> {
    let wanted = broker.spec.release.as_deref();
    releases
        .choose(wanted, recorded_release(broker))
        .map_err(|error| Refusal {
            reason: error.reason(),
            path: "spec.release".into(),
            message: error.to_string(),
        })
}

fn recorded_release(broker: &ContextBroker) -> Option<&str> {
    broker
        .status
        .as_ref()
        .and_then(|status| status.release.as_deref())
}

fn native(
    broker: &ContextBroker,
    release: &Release,
    releases: &Releases,
    settings: &crate::reconcile::context::Settings,
    database: Database,
) -> Native {
    let spec = &broker.spec;
    let mut tenants = spec.tenants.clone();
    tenants.sort_unstable();
    tenants.dedup();
    let mut contexts = spec.contexts.clone();
    contexts.sort_unstable_by(|a, b| a.url.cmp(&b.url));
    let network = spec.network.clone().unwrap_or_default();
    Native {
        release: if spec.suspend {
            recorded_release(broker).map(str::to_owned)
        } else {
            Some(release.name.clone())
        },
        counted: broker
            .status
            .as_ref()
            .is_some_and(|status| status.replicas.is_some()),
        image: releases.image(release, Operand::Broker),
        pull_secrets: settings.pull_secrets.clone(),
        replicas: spec.replicas(),
        resources: spec.resources.clone(),
        pod_template: spec.pod_template.clone().unwrap_or_default(),
        service: spec.service.clone().unwrap_or_default(),
        dropped_tenants: dropped_tenants(broker),
        tenants,
        contexts,
        tenant_creation: spec.tenant_creation,
        quotas: quotas(spec),
        compatibility: spec.compatibility.clone(),
        notifications: spec.notifications.clone(),
        temporal: spec.temporal(),
        clients: Some(network.clients).filter(|clients| !clients.is_empty()),
        operator_namespace: settings.namespace.clone(),
        egress: network.egress,
        allowed_private_cidrs: settings
            .allowed_private_cidrs
            .iter()
            .map(ToString::to_string)
            .collect(),
        restarted_at: broker.annotations().get(annotation::RESTARTED_AT).cloned(),
        database,
    }
}

/// The quotas, whatever the order in which tenants are named.
fn quotas(spec: &ContextBrokerSpec) -> Option<Quotas> {
    let mut quotas = spec.quotas.clone()?;
    quotas.tenants.sort_unstable_by(|a, b| a.tenant.cmp(&b.tenant));
    Some(quotas)
}

/// The tenants that the annotation names and the list does not. What cannot be a tenant's name drops nothing.
fn dropped_tenants(broker: &ContextBroker) -> Vec<String> {
    let confirmed = broker.annotations().get(annotation::CONFIRM_TENANT_DROP);
    let names = confirmed.map(String::as_str).unwrap_or_default().split(',');
    let is_name = |name: &str| {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&name.len()) && name.bytes().all(part)
    };
    let mut dropped: Vec<String> = names
        .map(str::trim)
        .filter(|name| is_name(name) && !broker.spec.tenants.iter().any(|tenant| tenant == name))
        .map(str::to_owned)
        .collect();
    dropped.sort_unstable();
    dropped.dedup();
    dropped
}

fn managed(broker: &ContextBroker, release: &Release, releases: &Releases, data: Data) -> Managed {
    let storage = broker.spec.managed_storage().unwrap_or_default();
    Managed {
        image: releases.image(release, Operand::Postgis),
        postgresql: release.postgresql,
        size: storage.size,
        storage_class: storage.storage_class_name,
        resources: storage.resources,
        pod_template: storage.pod_template.unwrap_or_default(),
        recorded: broker
            .status
            .as_ref()
            .is_some_and(|status| status.storage.is_some()),
        data,
    }
}

fn external_database(broker: &ContextBroker, port: u16) -> Database {
    let external = broker
        .spec
        .storage
        .as_ref()
        .and_then(|storage| storage.external.clone())
        .unwrap_or_default();
    Database::External {
        secret: external.secret_ref.name,
        port,
        ca: external.ca_secret_ref.map(|ca| (ca.name, ca.key)),
    }
}

/// `app.kubernetes.io/part-of`: the platform, or the broker itself where it stands alone.
pub(super) fn part_of(broker: &ContextBroker) -> String {
    platform_of(broker).unwrap_or_else(|| broker.name_any())
}

/// The platform that this broker is a part of.
fn platform_of(broker: &ContextBroker) -> Option<String> {
    let of_platform = broker
        .owner_references()
        .iter()
        .any(|of| of.kind == "UrbanDataPlatform" && of.controller == Some(true));
    of_platform
        .then(|| broker.labels().get(OWNER_NAME_LABEL).cloned())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tenants_that_are_off_the_list_are_dropped_and_only_by_names_that_tenants_have() {
        let mut broker = ContextBroker::new("vienna", ContextBrokerSpec::default());
        assert!(dropped_tenants(&broker).is_empty());
        broker.spec.tenants = vec!["kept".into()];
        let names = "south, kept,north,,south, x'; drop table mim.tenants; --,*".to_owned();
        let key = annotation::CONFIRM_TENANT_DROP.to_owned();
        broker.annotations_mut().insert(key, names);
        assert_eq!(dropped_tenants(&broker), ["north", "south"]);
    }
}
