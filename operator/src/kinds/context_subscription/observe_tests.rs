//! From what was found to what is told.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::kinds::context_subscription::dereference::{Inputs, Secrets};
use crate::kinds::context_subscription::remote::fixtures::{broker, shown, subscription};
use crate::kinds::context_subscription::validate::validate;
use crate::reconcile::child::Owner;
use crate::reconcile::status::Verdict;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn plan(spec: &Value, status: Value) -> Plan {
    let mut of = subscription(spec);
    of.status = Some(serde_json::from_value(status).unwrap());
    let inputs = Inputs {
        owner: Owner {
            kind: "ContextSubscription",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "city".into(),
            name: "air".into(),
            uid: "u".into(),
        },
        broker: broker(),
        broker_state: Vec::new(),
        secrets: Secrets::default(),
        finding: None,
        now: now(),
    };
    validate(&of, inputs).unwrap()
}

/// A plan whose subscription was found in the broker with what that adds.
fn found(spec: &Value, status: Value, more: &Value) -> Plan {
    let mut plan = plan(spec, status);
    let wanted = Subscriptions::wanted(&plan);
    let found = shown(&wanted, more);
    plan.finding = Some(Finding {
        of: Subscriptions::digest(&wanted),
        settled: true,
        written: Written {
            place: Some(plan.broker.endpoint.clone()),
            applied: Some(Subscriptions::digest(&wanted)),
            shown: found.digest(&wanted),
        },
        found: Ok(Arc::new(found)),
        at: now(),
    });
    plan
}

fn verdict(plan: &Plan) -> Verdict {
    Verdict::from_facts(&observe(plan))
}

fn ready_reason(plan: &Plan) -> Reason {
    let verdict = verdict(plan);
    assert!(verdict.is_ready(), "{verdict:?}");
    verdict.reason()
}

#[test]
fn what_is_in_force_is_ready_and_says_what_is_special() {
    let sent = |more: Value| {
        let mut notification = json!({"timesSent": 2, "lastNotification": "2027-01-01T00:00:00Z"});
        for (name, value) in more.as_object().unwrap() {
            notification[name] = value.clone();
        }
        json!({"notification": notification})
    };
    for (spec, more, reason) in [
        (json!({}), json!({}), Reason::Ready),
        (json!({}), sent(json!({"status": "ok"})), Reason::Ready),
        (
            json!({}),
            sent(json!({"status": "failed"})),
            Reason::EndpointFailing,
        ),
        (
            json!({"mode": "Paused"}),
            sent(json!({"status": "failed"})),
            Reason::Paused,
        ),
        (
            json!({"expiresAt": "2020-01-01T00:00:00Z"}),
            json!({}),
            Reason::Expired,
        ),
        (
            json!({"expiresAt": "2030-01-01T00:00:00Z"}),
            json!({"status": "expired"}),
            Reason::Expired,
        ),
        (
            json!({"expiresAt": "2030-01-01T00:00:00Z"}),
            json!({}),
            Reason::Ready,
        ),
    ] {
        assert_eq!(
            ready_reason(&found(&spec, json!({}), &more)),
            reason,
            "{spec} {more}"
        );
    }
    let silent = found(
        &json!({"throttling": "PT5S"}),
        json!({}),
        &json!({"throttling": null}),
    );
    let words = verdict(&silent).message().to_owned();
    assert!(words.contains("does not show throttling"), "{words}");
}

#[test]
fn before_anything_is_known_it_is_on_its_way_and_where_it_will_be_is_told() {
    let plan = plan(&json!({}), json!({"observedGeneration": -1}));
    let facts = observe(&plan);
    assert_eq!(Verdict::from_facts(&facts), Verdict::Progressing);
    assert_eq!(
        Value::Object(facts.status),
        json!({"subscription": {
            "id": "urn:ngsi-ld:Subscription:mim.city:city:air:u", "endpoint": "https://broker.example.org/base",
        }})
    );
}

#[test]
fn what_was_found_of_another_spec_says_nothing_of_this_one() {
    let mut plan = found(&json!({}), json!({}), &json!({}));
    plan.finding.as_mut().unwrap().of = "v1-other.v1-x".into();
    assert_eq!(verdict(&plan), Verdict::Progressing);
}

#[test]
fn what_the_broker_refuses_is_told_and_what_was_seen_before_stays_shown() {
    let before = json!({"subscription": {"endpoint": "https://broker.example.org/base", "applied": "v1-a.v1-b", "shown": "v1-c", "mode": "Active"}});
    let mut plan = found(&json!({}), before, &json!({}));
    let complaint = Complaint {
        reason: Reason::BrokerUnreachable,
        message: "away".into(),
        terminal: false,
    };
    let finding = plan.finding.as_mut().unwrap();
    (finding.found, finding.settled) = (Err(complaint.clone()), false);
    let facts = observe(&plan);
    assert_eq!(Verdict::from_facts(&facts), Verdict::Failing(complaint));
    assert_eq!(facts.status["subscription"]["applied"], "v1-a.v1-b");
    assert_eq!(facts.status["subscription"]["mode"], "Active");
}

/// The status of what is settled, as it would be read back.
fn settled_status(spec: &Value, more: &Value, condition: &Value) -> Value {
    let mut status = Value::Object(observe(&found(spec, json!({}), more)).status);
    status["observedGeneration"] = 1.into();
    status["conditions"] = json!([condition]);
    status
}

fn ready(status: &str, reason: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": reason, "message": "words", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

#[test]
fn a_new_process_tells_what_was_true_until_it_has_looked() {
    let status = settled_status(&json!({}), &json!({}), &ready("True", "EndpointFailing"));
    let plan_then = plan(&json!({}), status.clone());
    assert_eq!(
        verdict(&plan_then),
        Verdict::Ready(Reason::EndpointFailing, "words".into())
    );
    let facts = observe(&plan_then);
    assert_eq!(
        facts.status["subscription"], status["subscription"],
        "and writes nothing"
    );
    let ill = settled_status(&json!({}), &json!({}), &ready("False", "BrokerUnreachable"));
    assert_eq!(
        verdict(&plan(&json!({}), ill)).reason(),
        Reason::BrokerUnreachable
    );
    // Another spec, or another address, was never looked at.
    assert_eq!(
        verdict(&plan(&json!({"q": "a>1"}), status.clone())),
        Verdict::Progressing
    );
    let mut moved = plan(&json!({}), status);
    moved.broker.endpoint = "https://elsewhere.example.org".into();
    assert_eq!(verdict(&moved), Verdict::Progressing);
    let told = observe(&moved).status;
    assert!(told["subscription"].get("applied").is_none(), "{told:?}");
}

#[test]
fn numbers_are_told_every_ten_minutes_or_when_the_endpoint_fares_another_way() {
    let of = |sent: i64, result: DeliveryResult| DeliveryStatus {
        result: Some(result),
        times_sent: Some(sent),
        ..DeliveryStatus::default()
    };
    let told = sample(of(1, DeliveryResult::Ok), None, now());
    assert_eq!(told.sample_time.as_ref().unwrap().0, now());
    let after = |minutes, found: DeliveryStatus| {
        let sampled = sample(found, Some(&told), now() + SignedDuration::from_mins(minutes));
        (sampled.times_sent, sampled != told)
    };
    assert_eq!(after(5, of(7, DeliveryResult::Ok)), (Some(1), false));
    assert_eq!(after(10, of(7, DeliveryResult::Ok)), (Some(7), true));
    assert_eq!(after(1, of(7, DeliveryResult::Failed)), (Some(7), true));
    assert_eq!(
        after(600, of(1, DeliveryResult::Ok)),
        (Some(1), false),
        "what stays the same is not told again"
    );
}
