//! What is true of an UrbanDataPlatform: the sum of its components, read by kstatus.
//!
//! While a component is merely on its way, its row says no more than that, so that a platform on its way costs no status
//! write of its own (invariant 2); what a component complains of is told at once, in its own words.

use mim_crds::{ComponentStatus, Readiness, Reason, UrbanDataPlatformStatus};
use serde_json::{Map, Value};

use super::mims::{self, Component};
use super::plan::Plan;
use crate::reconcile::child::ChildKind;
use crate::reconcile::kind::{Complaint, Observation, Part};
use crate::reconcile::live::{Live, LiveCondition, Seen};

/// How one component is.
enum State<'a> {
    /// kstatus Current.
    Ready(&'a LiveCondition),
    /// It complains: its condition Ready, and whether it is stalled.
    Complains(&'a LiveCondition, bool),
    /// Not there yet, or not yet as its newest spec says.
    OnItsWay,
}

/// Facts about a platform.
#[must_use]
pub fn observe(plan: &Plan, live: &Live) -> Observation {
    let wanted: Vec<_> = plan
        .broker
        .iter()
        .map(|_| (ChildKind::ContextBroker, plan.owner.name.as_str()))
        .collect();
    let mut facts = Observation::default();
    let mut components = Vec::new();
    let mut rows = Vec::new();
    let mut stopped = Vec::new();
    for (kind, name) in wanted {
        let seen = live.get(kind, name);
        let state = seen.map_or(State::OnItsWay, state);
        let is_stopped = matches!(&state, State::Ready(ready) if says(ready, Reason::Stopped));
        let is_ready = matches!(state, State::Ready(_));
        facts.parts.push(Part {
            what: format!("{} {name}", kind.name()),
            ready: is_ready,
        });
        if let State::Complains(ready, stalled) = &state {
            facts.complaints.push(complaint(kind, name, ready, *stalled));
        }
        if is_stopped {
            stopped.push(format!("{} {name}", kind.name()));
        }
        components.push(Component {
            kind,
            name: name.to_owned(),
            runs: is_ready && !is_stopped,
        });
        rows.push(row(kind, name, seen, &state));
    }
    // What only the user heals goes before what may heal by itself.
    facts.complaints.sort_by_key(|complaint| !complaint.terminal);
    facts.when_ready = Some(if plan.suspend {
        (
            Reason::Suspended,
            "Suspended, and so is every component, until spec.suspend is false.".to_owned(),
        )
    } else {
        (Reason::Ready, words_when_ready(&components, &stopped))
    });
    facts.status = members(&UrbanDataPlatformStatus {
        release: Some(plan.release.clone()),
        components: rows,
        mims: mims::rows(plan.profile, &components),
        ..UrbanDataPlatformStatus::default()
    });
    facts
}

/// In the order of kstatus: an old status tells nothing; then what is wrong; then what is under way.
fn state(seen: &Seen) -> State<'_> {
    if seen.deleting || seen.status.observed_generation != Some(seen.generation) {
        return State::OnItsWay;
    }
    let holds = |r#type: &str| {
        seen.condition(r#type)
            .is_some_and(|condition| condition.status == "True")
    };
    let Some(ready) = seen.condition("Ready") else {
        return State::OnItsWay;
    };
    if holds("Stalled") {
        return State::Complains(ready, true);
    }
    match ready.status.as_str() {
        "True" if !holds("Reconciling") => State::Ready(ready),
        "False" if !says(ready, Reason::Progressing) => State::Complains(ready, false),
        _ => State::OnItsWay,
    }
}

fn says(ready: &LiveCondition, reason: Reason) -> bool {
    ready.reason.as_deref() == Some(reason.as_str())
}

fn complaint(kind: ChildKind, name: &str, ready: &LiveCondition, stalled: bool) -> Complaint {
    let reason = ready.reason.as_deref().unwrap_or("Unknown");
    let message = ready.message.as_deref().unwrap_or_default();
    Complaint {
        reason: Reason::ComponentNotReady,
        message: format!("{} {name}: {reason}: {message}", kind.name()),
        terminal: stalled,
    }
}

fn row(kind: ChildKind, name: &str, seen: Option<&Seen>, state: &State<'_>) -> ComponentStatus {
    let (ready, told) = match state {
        State::Ready(ready) => (Readiness::True, Some(ready)),
        State::Complains(ready, _) => (Readiness::False, Some(ready)),
        State::OnItsWay => (Readiness::False, None),
    };
    ComponentStatus {
        kind: kind.name().to_owned(),
        name: name.to_owned(),
        ready,
        message: told.and_then(|ready| ready.message.clone()),
        observed_generation: told.and(seen).and_then(|seen| seen.status.observed_generation),
    }
}

fn words_when_ready(components: &[Component], stopped: &[String]) -> String {
    match (components, stopped) {
        ([], _) => "The platform names no components.".to_owned(),
        (_, []) => "All components are ready.".to_owned(),
        (_, stopped) => format!(
            "All components are ready; stopped as asked: {}.",
            stopped.join(", ")
        ),
    }
}

/// As it would be read back, so that the same status is never written twice.
fn members(status: &UrbanDataPlatformStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
