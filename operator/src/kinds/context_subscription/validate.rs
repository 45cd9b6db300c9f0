//! Says no, with a field path and what to write instead, or gives a plan that cannot be wrong.

use std::collections::BTreeSet;

use kube::ResourceExt;
use mim_crds::{
    Accept, ContextSubscription, ContextSubscriptionStatus, Format, Geometry, Join, Reason, Scheme,
    SubscriptionMode, Switch, Trigger, annotation,
};
use serde_json::Value;

use super::dereference::Inputs;
use super::plan::{Plan, Recorded, id, is_over};
use super::remote::body;
use crate::reconcile::kind::Complaint;
use crate::reconcile::remote::{MAX_BODY, Written};
use crate::reconcile::trouble::Refusal;

/// Brackets in brackets of coordinates: a MultiPolygon has four.
const DEEPEST: usize = 4;

/// Largest subscription in bytes: what a broker shows of it, with names spelled out and what it adds, is still read as a whole.
const LARGEST: usize = MAX_BODY / 2;

/// The plan, or the refusal.
pub fn validate(subscription: &ContextSubscription, inputs: Inputs) -> Result<Plan, Refusal> {
    let spec = &subscription.spec;
    words(subscription)?;
    headers(subscription)?;
    let coordinates = match &spec.geo_q {
        None => Value::Null,
        Some(geo) => coordinates(&geo.coordinates)?,
    };
    let body = body::of(
        subscription,
        &id(&inputs.owner),
        &inputs.owner.namespace,
        &coordinates,
        &inputs.secrets,
    )?;
    let size = serde_json::to_vec(&body.sent).map_or(0, |bytes| bytes.len());
    if size > LARGEST {
        return Err(refusal(
            "spec",
            format!(
                "the subscription has {size} bytes with the values of its Secrets, and at most {LARGEST} can be read back from a broker: write fewer or shorter entries, or several ContextSubscriptions"
            ),
        ));
    }
    let mut nudge = inputs.broker_state;
    nudge.extend(subscription.annotations().get(annotation::REQUESTED_AT).cloned());
    Ok(Plan {
        owner: inputs.owner,
        broker: inputs.broker,
        tenant: spec.tenant.clone(),
        body,
        paused: spec.mode == SubscriptionMode::Paused,
        expired: is_over(spec.expires_at.as_ref().map(|at| at.0), inputs.now),
        finding: inputs.finding,
        recorded: recorded(subscription),
        nudge,
    })
}

/// What the status tells of earlier turns.
#[must_use]
pub fn recorded(subscription: &ContextSubscription) -> Recorded {
    let Some(status) = &subscription.status else {
        return Recorded::default();
    };
    let of = status.subscription.clone().unwrap_or_default();
    let mut recorded = Recorded {
        written: Written {
            place: of.endpoint.filter(|_| of.applied.is_some()),
            applied: of.applied,
            shown: of.shown,
        },
        state: of.mode,
        delivery: status.delivery.clone(),
        ..Recorded::default()
    };
    if status.observed_generation == subscription.metadata.generation {
        of_this_generation(status, &mut recorded);
    }
    recorded
}

fn of_this_generation(status: &ContextSubscriptionStatus, recorded: &mut Recorded) {
    let condition = |r#type: &str| status.conditions.iter().find(|of| of.type_ == r#type);
    let Some(ready) = condition("Ready") else { return };
    let told = Reason::parse(&ready.reason);
    recorded.ready = told
        .filter(|_| ready.status == "True")
        .map(|reason| (reason, ready.message.clone()));
    // What the broker has said; what else is wrong is found again at once.
    let of_broker = [
        Reason::BrokerUnreachable,
        Reason::BrokerUnauthorised,
        Reason::BrokerRefused,
        Reason::ExternalRefused,
    ];
    let reason = told.filter(|reason| of_broker.contains(reason));
    recorded.complaint = reason.map(|reason| Complaint {
        reason,
        message: ready.message.clone(),
        terminal: condition("Stalled").is_some(),
    });
}

fn refusal(path: impl Into<String>, message: impl Into<String>) -> Refusal {
    Refusal {
        reason: Reason::InvalidSpec,
        path: path.into(),
        message: message.into(),
    }
}

/// Words of a newer definition.
fn words(subscription: &ContextSubscription) -> Result<(), Refusal> {
    let spec = &subscription.spec;
    let (notification, endpoint) = (&spec.notification, &spec.notification.endpoint);
    let mut unknown: Vec<(&str, &String)> = Vec::new();
    if let SubscriptionMode::Unknown(word) = &spec.mode {
        unknown.push(("spec.mode", word));
    }
    for trigger in &spec.notification_trigger {
        if let Trigger::Unknown(word) = trigger {
            unknown.push(("spec.notificationTrigger", word));
        }
    }
    if let Some(Geometry::Unknown(word)) = spec.geo_q.as_ref().map(|geo| &geo.geometry) {
        unknown.push(("spec.geoQ.geometry", word));
    }
    if let Some(Format::Unknown(word)) = &notification.format {
        unknown.push(("spec.notification.format", word));
    }
    if let Some(Join::Unknown(word)) = &notification.join {
        unknown.push(("spec.notification.join", word));
    }
    for (field, switch) in [
        ("spec.localOnly", &spec.local_only),
        ("spec.notification.sysAttrs", &notification.sys_attrs),
        ("spec.notification.showChanges", &notification.show_changes),
    ] {
        if let Some(Switch::Unknown(word)) = switch {
            unknown.push((field, word));
        }
    }
    if let Some(Accept::Unknown(word)) = &endpoint.accept {
        unknown.push(("spec.notification.endpoint.accept", word));
    }
    if let Some(Scheme::Unknown(word)) = endpoint.service_ref.as_ref().map(|of| &of.scheme) {
        unknown.push(("spec.notification.endpoint.serviceRef.scheme", word));
    }
    match unknown.first() {
        None => Ok(()),
        Some((path, word)) => Err(refusal(
            *path,
            format!(
                "{word} is no word of this operator: write one that `kubectl explain` lists, or upgrade the operator"
            ),
        )),
    }
}

/// Names of headers are the same whatever their case, which the schema cannot say.
fn headers(subscription: &ContextSubscription) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for header in &subscription.spec.notification.endpoint.headers {
        if !seen.insert(header.name.to_ascii_lowercase()) {
            return Err(refusal(
                "spec.notification.endpoint.headers",
                format!(
                    "{} is there twice: names of headers do not differ by case",
                    header.name
                ),
            ));
        }
    }
    Ok(())
}

/// Coordinates as GeoJSON has them: arrays of numbers, or of such arrays.
fn coordinates(text: &str) -> Result<Value, Refusal> {
    let wrong = || {
        refusal(
            "spec.geoQ.coordinates",
            "it is no array of numbers, or of such arrays: write for example \"[16.37,48.21]\"",
        )
    };
    let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    if are_coordinates(&value, DEEPEST) {
        Ok(value)
    } else {
        Err(wrong())
    }
}

fn are_coordinates(value: &Value, deep: usize) -> bool {
    match value {
        Value::Array(items) if deep > 0 && !items.is_empty() => {
            items.iter().all(Value::is_number) || items.iter().all(|item| are_coordinates(item, deep - 1))
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
