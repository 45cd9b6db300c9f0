//! What is true of a ContextSubscription: what the last turn found, or what the status told before this process had one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use mim_crds::{
    ContextSubscriptionStatus, DeliveryResult, DeliveryStatus, Reason, SubscriptionState, SubscriptionStatus,
};
use serde_json::{Map, Value};

use super::plan::Plan;
use super::remote::{Found, Subscriptions, Wanted};
use crate::reconcile::kind::{Complaint, Observation, Part};
use crate::reconcile::probes::SHOWN_FOR;
use crate::reconcile::remote::{Finding, Remote, Written};

/// Facts about a subscription.
#[must_use]
pub fn observe(plan: &Plan) -> Observation {
    let wanted = Subscriptions::wanted(plan);
    let digest = Subscriptions::digest(&wanted);
    let finding = plan.finding.as_ref().filter(|finding| finding.of == digest);
    let settled = finding.filter(|finding| finding.settled);
    let (ready, complaint, when_ready) = match (settled, finding) {
        (Some(finding), _) => (
            true,
            None,
            finding
                .found
                .as_ref()
                .ok()
                .map(|found| words(plan, &wanted, found)),
        ),
        (None, Some(finding)) => (false, finding.found.as_ref().err().cloned(), None),
        (None, None) => before_the_first_look(plan, &digest),
    };
    Observation {
        parts: vec![Part {
            what: format!("subscription {} in {}", wanted.id, plan.broker.name),
            ready,
        }],
        complaints: complaint.into_iter().collect(),
        suspects: Vec::new(),
        when_ready,
        status: members(&status(plan, &wanted, settled)),
    }
}

/// A new process has not looked yet: what was true is told until it has.
fn before_the_first_look(plan: &Plan, digest: &str) -> (bool, Option<Complaint>, Option<(Reason, String)>) {
    let recorded = &plan.recorded;
    let same_place = recorded.written.place.as_ref() == Some(&plan.broker.endpoint);
    let as_wanted = same_place && recorded.written.applied.as_deref() == Some(digest);
    match &recorded.ready {
        Some(told) if as_wanted || plan.expired => (true, None, Some(told.clone())),
        _ => (false, recorded.complaint.clone(), None),
    }
}

fn reason(plan: &Plan, state: Option<SubscriptionState>, result: Option<DeliveryResult>) -> Reason {
    if plan.expired || state == Some(SubscriptionState::Expired) {
        Reason::Expired
    } else if plan.paused {
        Reason::Paused
    } else if result == Some(DeliveryResult::Failed) {
        Reason::EndpointFailing
    } else {
        Reason::Ready
    }
}

fn words(plan: &Plan, wanted: &Wanted, found: &Found) -> (Reason, String) {
    let result = found.delivery.as_ref().and_then(|delivery| delivery.result);
    let reason = reason(plan, found.state, result);
    let mut words = match reason {
        Reason::Expired if found.is_there() => "The subscription has ended: expiresAt is over.".to_owned(),
        Reason::Expired => "The subscription has ended before it was made: expiresAt is over.".to_owned(),
        Reason::Paused => "The subscription is paused, as mode says.".to_owned(),
        Reason::EndpointFailing => {
            "The subscription is in force, but its endpoint did not take the last notification; status.delivery has the times.".to_owned()
        }
        _ => "The subscription is in force.".to_owned(),
    };
    let missing = found.missing(wanted);
    if !missing.is_empty() {
        words.push_str(" The broker does not show ");
        words.push_str(&missing.join(", "));
        words.push_str(", and may not act on it.");
    }
    (reason, words)
}

/// Where it is and will be is told from the start; the rest as it was found, and as it was told before while that is not known.
fn status(plan: &Plan, wanted: &Wanted, settled: Option<&Finding<Found>>) -> ContextSubscriptionStatus {
    let recorded = &plan.recorded;
    let found = settled.and_then(|finding| Some((finding, finding.found.as_ref().ok()?)));
    let (written, state, delivery) = match found {
        None => (
            recorded.written.clone(),
            recorded.state,
            recorded.delivery.clone(),
        ),
        Some((finding, found)) => (
            finding.written.clone(),
            found.state,
            found
                .delivery
                .clone()
                .map(|delivery| sample(delivery, recorded.delivery.as_ref(), finding.at)),
        ),
    };
    // What was written elsewhere says nothing of here.
    let same_place = written
        .place
        .as_ref()
        .is_none_or(|place| *place == plan.broker.endpoint);
    let Written { applied, shown, .. } = if same_place { written } else { Written::default() };
    ContextSubscriptionStatus {
        subscription: Some(SubscriptionStatus {
            id: Some(wanted.id.clone()),
            endpoint: Some(plan.broker.endpoint.clone()),
            mode: state,
            applied,
            shown,
        }),
        delivery,
        ..ContextSubscriptionStatus::default()
    }
}

/// Numbers that move all the time: told anew every ten minutes, or when the last notification fared another way than the one before.
fn sample(found: DeliveryStatus, told: Option<&DeliveryStatus>, at: Timestamp) -> DeliveryStatus {
    let now = Some(Time(Timestamp::from_second(at.as_second()).unwrap_or(at)));
    let Some(told) = told else {
        return DeliveryStatus {
            sample_time: now,
            ..found
        };
    };
    let unchanged = DeliveryStatus {
        sample_time: told.sample_time.clone(),
        ..found.clone()
    } == *told;
    let fresh = told
        .sample_time
        .as_ref()
        .is_some_and(|then| then.0.duration_until(at) < SHOWN_FOR);
    if unchanged || (fresh && found.result == told.result) {
        return told.clone();
    }
    DeliveryStatus {
        sample_time: now,
        ..found
    }
}

/// As it would be read back, so that the same status is never written twice.
fn members(status: &ContextSubscriptionStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
