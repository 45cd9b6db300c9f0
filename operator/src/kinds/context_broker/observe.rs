//! What is true of a ContextBroker, from its children as the API server last showed them.
//!
//! While not every part is ready the members of the status depend on the plan alone, so that an object on its way costs no status write of its own
//! (invariant 2): numbers are first told when they are settled.

mod pod;
mod readiness;

use mim_crds::{ContextBrokerStatus, ExternalStatus, ProbeResult, Reason, StorageStatus, annotation};
use serde_json::{Map, Value};

use super::build;
use super::plan::{BROKER, DATABASE, Data, Engine, Managed, Native, PREFLIGHT, Plan};
use super::probe::Probe;
use crate::reconcile::child::ChildKind;
use crate::reconcile::kind::{Complaint, Observation, Part, Suspect};
use crate::reconcile::live::{Live, Seen};
use crate::reconcile::words;

pub(super) use pod::cannot_start;
pub(super) use readiness::explained;

/// How the init container's message starts when the volume does not hold the data that it should (`docs/operands.md`).
const DATA_LOST: &str = "DataLost: ";

/// Facts about a ContextBroker.
#[must_use]
pub fn observe(plan: &Plan, live: &Live) -> Observation {
    match &plan.engine {
        Engine::Native(native) => ours(plan, native, live),
        Engine::External { url, probe } => external(plan, url, probe.as_ref()),
    }
}

/// Name of the one pod of the database's StatefulSet.
#[must_use]
pub fn database_pod(name: &str) -> String {
    format!("{name}-{DATABASE}-0")
}

/// PostgreSQL's `system_identifier`, as the init container of the database's pod found or made it.
#[must_use]
pub fn identifier(live: &Live, name: &str) -> Option<String> {
    let pod = live.get(ChildKind::Pod, &database_pod(name))?;
    let ended = initialise(pod)?
        .state
        .terminated
        .as_ref()
        .filter(|ended| ended.exit_code == 0)?;
    let said: Value = serde_json::from_str(ended.message.as_deref()?).ok()?;
    let identifier = said.get("systemIdentifier")?.as_str()?;
    (!identifier.is_empty()).then(|| identifier.to_owned())
}

/// What the init container found in place of the data that it should find, in its own words.
#[must_use]
pub fn data_lost(live: &Live, name: &str) -> Option<String> {
    let container = initialise(live.get(ChildKind::Pod, &database_pod(name))?)?;
    if container
        .state
        .terminated
        .as_ref()
        .is_some_and(|ended| ended.exit_code == 0)
    {
        return None;
    }
    [&container.state, &container.last_state]
        .into_iter()
        .filter_map(|state| {
            state
                .terminated
                .as_ref()?
                .message
                .as_deref()?
                .trim()
                .strip_prefix(DATA_LOST)
        })
        .map(|found| words::plain(found.lines().next().unwrap_or_default()))
        .next()
}

fn initialise(pod: &Seen) -> Option<&crate::reconcile::live::ContainerStatus> {
    pod.status
        .init_container_statuses
        .iter()
        .find(|container| container.name == "initialise")
}

fn ours(plan: &Plan, native: &Native, live: &Live) -> Observation {
    let managed = plan.managed().map(|(_, managed)| managed);
    let mut parts = Vec::new();
    if let Some(managed) = managed {
        parts.push(Part {
            what: part(ChildKind::PersistentVolumeClaim, plan, DATABASE),
            ready: volume_is_large_enough(plan, managed, live)
                || (native.replicas == 0 && file_system_waits(plan, live)),
        });
        parts.push(Part {
            what: part(ChildKind::StatefulSet, plan, DATABASE),
            ready: database_is_ready(plan, native, managed, live),
        });
    }
    let database_ready = parts.iter().all(|part| part.ready);
    let broker_ready = broker_is_ready(plan, native, live);
    parts.push(Part {
        what: part(ChildKind::Deployment, plan, BROKER),
        ready: broker_ready,
    });
    let mut complaints: Vec<_> = managed
        .into_iter()
        .flat_map(|managed| data_complaints(plan, managed, live))
        .collect();
    let mut suspects = Vec::new();
    if native.replicas > 0 && !database_ready {
        complaints.extend(database_complaints(plan, live));
        suspects.extend(database_suspects(plan, live));
    }
    if native.replicas > 0 && !broker_ready {
        complaints.extend(broker_complaints(plan, live));
        if database_ready {
            suspects.extend(broker_suspects(plan, live));
        }
    }
    complaints.extend(managed.and_then(|_| growth_waits(plan, native, live)));
    let settled = database_ready && broker_ready;
    Observation {
        parts,
        complaints,
        suspects,
        when_ready: Some(words_when_ready(native, managed.is_some())),
        status: members(&status(plan, native, managed, live, settled)),
    }
}

fn part(kind: ChildKind, plan: &Plan, component: &str) -> String {
    format!("{} {}", kind.name(), plan.child(component))
}

fn words_when_ready(native: &Native, managed: bool) -> (Reason, String) {
    let (reason, message) = match (native.replicas, managed) {
        (0, true) => (Reason::Stopped, "Stopped, as replicas is 0; the data is kept."),
        (0, false) => (Reason::Stopped, "Stopped, as replicas is 0."),
        (_, true) => (Reason::Ready, "Broker and database are ready."),
        (_, false) => (Reason::Ready, "The broker is ready, and so is its database."),
    };
    (reason, message.to_owned())
}

fn claim<'a>(plan: &Plan, live: &'a Live) -> Option<&'a Seen> {
    live.get(ChildKind::PersistentVolumeClaim, &plan.child(DATABASE))
}

/// A volume that still grows is not yet what was asked for. One that does not say how large it is stands in nobody's way: the database cannot run without it.
fn volume_is_large_enough(plan: &Plan, managed: &Managed, live: &Live) -> bool {
    let capacity = claim(plan, live).and_then(|claim| build::amount(claim.status.capacity.get("storage")?));
    capacity
        .zip(build::amount(&managed.size))
        .is_none_or(|(has, asked)| has >= asked)
}

/// Whether the volume has grown and its file system has not: most kinds of storage grow it under a running pod, some when one starts.
fn file_system_waits(plan: &Plan, live: &Live) -> bool {
    claim(plan, live)
        .and_then(|claim| claim.condition("FileSystemResizePending"))
        .is_some_and(|condition| condition.status == "True")
}

/// Told last: whatever else is wrong comes first. A database that is stopped grows when it starts.
fn growth_waits(plan: &Plan, native: &Native, live: &Live) -> Option<Complaint> {
    let (namespace, name) = (&plan.owner.namespace, &plan.owner.name);
    (native.replicas > 0 && file_system_waits(plan, live)).then(|| Complaint {
        reason: Reason::VolumeResizePending,
        message: format!(
            "PersistentVolumeClaim {} has grown, its file system follows. If it does not within minutes, its storage can do that only when a pod starts; \
             restart broker and database: kubectl annotate contextbroker -n {namespace} {name} --overwrite {}=$(date +%s)",
            plan.child(DATABASE),
            annotation::RESTARTED_AT
        ),
        terminal: false,
    })
}

/// The newest template runs and answers, and what its data is known by is on record; or, stopped, nothing runs.
fn database_is_ready(plan: &Plan, native: &Native, managed: &Managed, live: &Live) -> bool {
    let Some(set) = live
        .get(ChildKind::StatefulSet, &plan.child(DATABASE))
        .filter(|set| is_observed(set))
    else {
        return false;
    };
    let pod = live.get(ChildKind::Pod, &database_pod(&plan.owner.name));
    if native.replicas == 0 {
        return set.status.replicas.unwrap_or(0) == 0 && pod.is_none();
    }
    let newest = set.status.update_revision.as_ref();
    let is_newest = |pod: &Seen| pod.labels.get("controller-revision-hash") == newest;
    set.status.ready_replicas == Some(1)
        && set.status.updated_replicas == Some(1)
        && pod.is_none_or(|pod| pod.is_ready() && is_newest(pod))
        && matches!(managed.data, Data::Known(_))
}

fn broker_is_ready(plan: &Plan, native: &Native, live: &Live) -> bool {
    let deployment = live
        .get(ChildKind::Deployment, &plan.child(BROKER))
        .filter(|seen| is_observed(seen));
    deployment.is_some_and(|seen| {
        let status = &seen.status;
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
        ]
        .iter()
        .all(|number| number.unwrap_or(0) == native.replicas)
    })
}

/// Whether a status speaks of the newest spec.
fn is_observed(seen: &Seen) -> bool {
    !seen.deleting && seen.status.observed_generation == Some(seen.generation)
}

/// What is wrong with the data and its volume; told whether or not the database runs.
fn data_complaints(plan: &Plan, managed: &Managed, live: &Live) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let lost = match &managed.data {
        Data::Lost { identifier, found } => Some((identifier, found.clone())),
        Data::Known(identifier) => data_lost(live, &plan.owner.name).map(|found| (identifier, found)),
        Data::New | Data::LossAccepted { .. } => None,
    };
    complaints.extend(lost.map(|(identifier, found)| loss(plan, identifier, &found)));
    let Some(claim) = claim(plan, live) else {
        return complaints;
    };
    let name = plan.child(DATABASE);
    if claim.deleting {
        complaints.push(Complaint {
            reason: Reason::VolumeDeleting,
            message: format!(
                "PersistentVolumeClaim {name} is being deleted: the data lives only as long as the pod that uses it. \
                 Make a dump now; a deletion cannot be taken back"
            ),
            terminal: true,
        });
    }
    let refusal = ["ControllerResizeError", "NodeResizeError"]
        .into_iter()
        .find_map(|kind| {
            claim
                .condition(kind)
                .filter(|condition| condition.status == "True")
        });
    complaints.extend(refusal.map(|condition| Complaint {
        reason: Reason::VolumeResizeRefused,
        message: format!(
            "PersistentVolumeClaim {name} cannot grow: {}",
            words::plain(condition.message.as_deref().unwrap_or("the storage gives no reason"))
        ),
        terminal: false,
    }));
    complaints
}

fn loss(plan: &Plan, identifier: &str, found: &str) -> Complaint {
    let (namespace, name) = (&plan.owner.namespace, &plan.owner.name);
    Complaint {
        reason: Reason::DataLost,
        message: format!(
            "the data of the database is not there: {found}. Nothing was changed. Bring back the volume that holds system identifier \
             {identifier}, or accept the loss and start empty: kubectl annotate contextbroker -n {namespace} {name} {}={identifier}",
            annotation::ACCEPT_DATA_LOSS
        ),
        terminal: true,
    }
}

/// What the pods of the database say themselves, the running one first.
fn database_complaints(plan: &Plan, live: &Live) -> Vec<Complaint> {
    [database_pod(&plan.owner.name), plan.child(PREFLIGHT)]
        .iter()
        .filter_map(|name| {
            let pod = live.get(ChildKind::Pod, name)?;
            pod::complaint(name, pod).or_else(|| pod::refused(name, pod))
        })
        .collect()
}

fn database_suspects(plan: &Plan, live: &Live) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    if claim(plan, live).is_some_and(|claim| claim.status.phase.as_deref() != Some("Bound")) {
        suspects.push(suspect(
            ChildKind::PersistentVolumeClaim,
            plan.child(DATABASE),
            Reason::VolumePending,
        ));
    }
    let name = database_pod(&plan.owner.name);
    match live.get(ChildKind::Pod, &name) {
        // The StatefulSet could not make it: quota or admission.
        None => suspects.push(suspect(
            ChildKind::StatefulSet,
            plan.child(DATABASE),
            Reason::AdmissionRefused,
        )),
        Some(seen) if seen.is_ready() => {}
        Some(seen) if pod::has_started(seen) => {
            suspects.push(suspect(ChildKind::Pod, name, Reason::NotReady));
        }
        Some(_) => suspects.push(suspect(ChildKind::Pod, name, Reason::VolumePending)),
    }
    let preflight = plan.child(PREFLIGHT);
    match live.get(ChildKind::Pod, &preflight) {
        Some(seen) if !seen.is_ready() && pod::has_started(seen) => {
            suspects.push(suspect(ChildKind::Pod, preflight, Reason::NotReady));
        }
        Some(seen) if !seen.is_ready() => {
            suspects.push(suspect(ChildKind::Pod, preflight, Reason::ContainerConfigError));
        }
        _ => {}
    }
    suspects
}

/// What the broker's pods say themselves, then why there are none.
fn broker_complaints(plan: &Plan, live: &Live) -> Vec<Complaint> {
    let pods = live
        .pods(BROKER)
        .filter_map(|(name, seen)| pod::complaint(name, seen));
    let failure = live
        .get(ChildKind::Deployment, &plan.child(BROKER))
        .and_then(|seen| seen.condition("ReplicaFailure"))
        .filter(|condition| condition.status == "True")
        .map(|condition| {
            pod::not_made(
                &plan.child(BROKER),
                condition.message.as_deref().unwrap_or_default(),
            )
        });
    pods.chain(failure).collect()
}

fn broker_suspects(plan: &Plan, live: &Live) -> Vec<Suspect> {
    let mut suspects: Vec<_> = live
        .pods(BROKER)
        .filter(|(_, seen)| !seen.is_ready() && !seen.deleting)
        .map(|(name, seen)| {
            // Once it runs, a broker is not ready because of its database, unless its probe says that it is shutting down (`docs/operands.md`).
            let reason = if pod::has_started(seen) {
                Reason::DatabaseNotReady
            } else {
                Reason::ContainerConfigError
            };
            suspect(ChildKind::Pod, name.to_owned(), reason)
        })
        .collect();
    if live.pods(BROKER).next().is_none() {
        suspects.push(suspect(
            ChildKind::Deployment,
            plan.child(BROKER),
            Reason::AdmissionRefused,
        ));
    }
    suspects
}

const fn suspect(kind: ChildKind, name: String, reason: Reason) -> Suspect {
    Suspect { kind, name, reason }
}

fn status(
    plan: &Plan,
    native: &Native,
    managed: Option<&Managed>,
    live: &Live,
    settled: bool,
) -> ContextBrokerStatus {
    let deployment = live.get(ChildKind::Deployment, &plan.child(BROKER));
    let number = |of: Option<i32>| (settled || native.counted).then(|| of.unwrap_or(0));
    ContextBrokerStatus {
        release: native.release.clone(),
        replicas: number(deployment.and_then(|seen| seen.status.replicas)),
        ready_replicas: number(deployment.and_then(|seen| seen.status.ready_replicas)),
        selector: Some(build::broker_selector(plan)),
        endpoint: Some(plan.endpoint()),
        tenants: native.tenants.clone(),
        storage: managed.and_then(|managed| storage(plan, managed, live, settled)),
        ..ContextBrokerStatus::default()
    }
}

/// Told when the database is ready for the first time, and kept from then on: it is a witness of what the volume must hold.
fn storage(plan: &Plan, managed: &Managed, live: &Live, settled: bool) -> Option<StorageStatus> {
    let identifier = match &managed.data {
        Data::Known(identifier) => Some(identifier).filter(|_| settled || managed.recorded),
        Data::Lost { identifier, .. } => Some(identifier),
        Data::New | Data::LossAccepted { .. } => None,
    }?;
    let size = claim(plan, live)
        .filter(|_| settled)
        .and_then(|claim| claim.status.capacity.get("storage").cloned());
    Some(StorageStatus {
        system_identifier: Some(identifier.clone()),
        size,
        postgresql_major: i32::try_from(managed.postgresql).ok(),
    })
}

fn external(plan: &Plan, url: &str, probe: Option<&Probe>) -> Observation {
    let complaint = probe.and_then(|probe| {
        let (reason, terminal) = match probe.result {
            ProbeResult::Answered => return None,
            ProbeResult::Unreachable => (Reason::ExternalUnreachable, false),
            ProbeResult::Unauthorised => (Reason::ExternalUnauthorised, false),
            ProbeResult::NotNgsiLd => (Reason::ExternalNotNgsiLd, false),
            // Neither time nor the other side heals an address that must not be called.
            ProbeResult::Refused => (Reason::ExternalRefused, true),
        };
        Some(Complaint {
            reason,
            message: format!("external broker {url}: {}", probe.message),
            terminal,
        })
    });
    let status = ContextBrokerStatus {
        endpoint: Some(plan.endpoint()),
        external: probe.map(|probe| ExternalStatus {
            last_probe_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(probe.at)),
            result: Some(probe.result),
            message: Some(probe.message.clone()),
        }),
        ..ContextBrokerStatus::default()
    };
    Observation {
        parts: vec![Part {
            what: format!("external broker {url}"),
            ready: probe.is_some() && complaint.is_none(),
        }],
        complaints: complaint.into_iter().collect(),
        suspects: Vec::new(),
        when_ready: Some((Reason::Ready, "The external broker answers.".to_owned())),
        status: members(&status),
    }
}

/// As it would be read back, so that the same status is never written twice.
fn members(status: &ContextBrokerStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
