//! How a new template of the database takes the place of the running one: one effect per pass, and every state in between is one
//! that the next pass can read.
//!
//! The StatefulSet is `OnDelete`, so nothing happens by itself. A preflight pod of the new template has to be ready before the
//! running pod is deleted; then the StatefulSet makes the new one. A pod that has never come to run anything on its older template (its image cannot be
//! pulled, no node takes it) has nothing to lose and goes without a preflight. A pod that crashes or is not ready for another reason does not: it may recover, and the newer template
//! may be worse.

use super::build;
use super::observe;
use super::plan::{DATABASE, Data, Managed, PARTS_ANNOTATION, PREFLIGHT, Plan, REVISION_ANNOTATION};
use crate::reconcile::child::{Child, ChildKind};
use crate::reconcile::kind::{Step, Why};
use crate::reconcile::live::{Live, Seen};

/// Why applying this body over the broker's Deployment makes its pods start anew; `None` where the template's parts stay.
#[must_use]
pub fn of_broker(child: &Child, seen: &Seen) -> Option<Why> {
    let new = child
        .body
        .pointer("/metadata/annotations")?
        .get(PARTS_ANNOTATION)?
        .as_str()?;
    let old = seen.annotation(PARTS_ANNOTATION);
    (child.kind == ChildKind::Deployment && old != Some(new)).then(|| build::why(old, new))
}

/// The next effect, or none where nothing is to be done or something has to be waited for.
#[must_use]
pub fn step(plan: &Plan, live: &Live) -> Option<Step> {
    let (native, managed) = plan.managed()?;
    let pod = live.get(ChildKind::Pod, &observe::database_pod(&plan.owner.name));
    if let Some(step) = accept_loss(plan, managed, live, pod) {
        return Some(step);
    }
    let revision = newest_revision(plan, live)?;
    let outdated = pod.filter(|pod| native.replicas > 0 && !pod.deleting && hash(pod) != Some(revision));
    let preflight_name = plan.child(PREFLIGHT);
    let preflight = live.get(ChildKind::Pod, &preflight_name);
    if let Some(seen) = preflight
        && (outdated.is_none() || !proves(seen, revision))
    {
        return delete(preflight_name, seen, Why::PreflightOver);
    }
    let pod = outdated?;
    if !may_go(plan, live) {
        return None;
    }
    let pod_name = observe::database_pod(&plan.owner.name);
    match preflight {
        _ if never_ran(pod) => delete(pod_name, pod, Why::StuckOnOldTemplate),
        None => {
            let body = build::preflight(plan, revision)?;
            Some(Step::Create {
                kind: ChildKind::Pod,
                body,
                why: Why::Preflight,
            })
        }
        Some(preflight) if preflight.is_ready() => delete(pod_name, pod, why(plan, pod)),
        Some(_) => None,
    }
}

/// Once the loss is accepted: the record of the identity goes first. Then nobody knows the old data any more, and a pod that still misses it (it
/// mounted the record when it started) is made anew, for its own next try may be minutes away.
fn accept_loss(plan: &Plan, managed: &Managed, live: &Live, pod: Option<&Seen>) -> Option<Step> {
    match managed.data {
        Data::LossAccepted { .. } => {
            let name = build::identity_name(plan);
            let record = live
                .get(ChildKind::ConfigMap, &name)
                .filter(|record| !record.deleting)?;
            let uid = record.uid.clone();
            Some(Step::Delete {
                kind: ChildKind::ConfigMap,
                name,
                uid,
                why: Why::DataLossAccepted,
            })
        }
        Data::New if observe::data_lost(live, &plan.owner.name).is_some() => delete(
            observe::database_pod(&plan.owner.name),
            pod?,
            Why::DataLossAccepted,
        ),
        _ => None,
    }
}

/// The newest revision of the StatefulSet, once its controller has seen the newest template.
fn newest_revision<'a>(plan: &Plan, live: &'a Live) -> Option<&'a str> {
    let set = live
        .get(ChildKind::StatefulSet, &plan.child(DATABASE))
        .filter(|set| !set.deleting)?;
    let settled = set.status.observed_generation == Some(set.generation);
    set.status
        .update_revision
        .as_deref()
        .filter(|revision| settled && !revision.is_empty())
}

/// A pod that holds a volume which is being deleted is the last that keeps the data alive.
fn may_go(plan: &Plan, live: &Live) -> bool {
    live.get(ChildKind::PersistentVolumeClaim, &plan.child(DATABASE))
        .is_none_or(|claim| !claim.deleting)
}

fn hash(pod: &Seen) -> Option<&str> {
    pod.labels.get("controller-revision-hash").map(String::as_str)
}

/// Whether a preflight pod can still prove that revision: it was made for it, and has not ended (evicted, or lost with its node).
fn proves(preflight: &Seen, revision: &str) -> bool {
    let ended = matches!(preflight.status.phase.as_deref(), Some("Failed" | "Succeeded"));
    !ended && preflight.annotation(REVISION_ANNOTATION) == Some(revision)
}

/// Whether nothing of a pod has run and nothing will by itself.
fn never_ran(pod: &Seen) -> bool {
    let containers = || {
        pod.status
            .init_container_statuses
            .iter()
            .chain(&pod.status.container_statuses)
    };
    let started = containers().any(|container| {
        container.restart_count > 0
            || container.state.terminated.is_some()
            || (container.state.waiting.is_none() && container.name == "postgres")
    });
    !started && !pod.is_ready() && observe::cannot_start(pod)
}

/// Why the running pod goes.
fn why(plan: &Plan, pod: &Seen) -> Why {
    if !pod.is_ready() {
        return Why::StuckOnOldTemplate;
    }
    let old = pod.annotation(PARTS_ANNOTATION);
    build::why(old, &build::database_parts(plan).unwrap_or_default())
}

/// Of a pod that is already going nothing more is asked.
fn delete(name: String, seen: &Seen, why: Why) -> Option<Step> {
    (!seen.deleting).then(|| Step::Delete {
        kind: ChildKind::Pod,
        name,
        uid: seen.uid.clone(),
        why,
    })
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
