//! From specs to plans, and what is refused.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::kinds::context_subscription::dereference::Secrets;
use crate::kinds::context_subscription::remote::fixtures::{broker, subscription};
use crate::reconcile::child::Owner;

fn inputs() -> Inputs {
    Inputs {
        owner: Owner {
            kind: "ContextSubscription",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "city".into(),
            name: "air".into(),
            uid: "u".into(),
        },
        broker: broker(),
        broker_state: vec!["b".into()],
        secrets: Secrets::default(),
        finding: None,
        now: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

fn refused(spec: &Value) -> Refusal {
    // Past the schema: an object may be older than its rules, or newer than this operator.
    let mut subscription = subscription(&json!({}));
    let mut whole = serde_json::to_value(&subscription.spec).unwrap();
    for (path, value) in spec.as_object().unwrap() {
        let (above, name) = path.rsplit_once('/').unwrap();
        whole.pointer_mut(above).unwrap()[name] = value.clone();
    }
    subscription.spec = serde_json::from_value(whole).unwrap();
    validate(&subscription, inputs()).err().unwrap()
}

#[test]
fn a_spec_becomes_a_plan() {
    let mut of =
        subscription(&json!({"tenant": "north", "mode": "Paused", "expiresAt": "2020-01-01T00:00:00Z"}));
    of.annotations_mut()
        .insert(annotation::REQUESTED_AT.into(), "now".into());
    let plan = validate(&of, inputs()).unwrap();
    assert_eq!(plan.id(), "urn:ngsi-ld:Subscription:mim.city:city:air:u");
    assert!(plan.paused && plan.expired);
    assert_eq!(plan.tenant.as_deref(), Some("north"));
    assert_eq!(plan.nudge, ["b", "now"]);
    let later = validate(
        &subscription(&json!({"expiresAt": "2030-01-01T00:00:00Z"})),
        inputs(),
    )
    .unwrap();
    assert!(!later.paused && !later.expired);
}

#[test]
fn words_of_a_newer_definition_are_refused_by_their_field() {
    for (path, value, field) in [
        ("/mode", json!("Idle"), "spec.mode"),
        ("/localOnly", json!("Some"), "spec.localOnly"),
        (
            "/notificationTrigger",
            json!(["EntityCreated", "Later"]),
            "spec.notificationTrigger",
        ),
        (
            "/geoQ",
            json!({"georel": "within", "geometry": "Circle", "coordinates": "[1,2]"}),
            "spec.geoQ.geometry",
        ),
        ("/notification/format", json!("Terse"), "spec.notification.format"),
        ("/notification/join", json!("Deep"), "spec.notification.join"),
        (
            "/notification/sysAttrs",
            json!("Some"),
            "spec.notification.sysAttrs",
        ),
        (
            "/notification/showChanges",
            json!("Some"),
            "spec.notification.showChanges",
        ),
        (
            "/notification/endpoint/accept",
            json!("Cbor"),
            "spec.notification.endpoint.accept",
        ),
        (
            "/notification/endpoint/serviceRef",
            json!({"name": "a", "port": 1, "scheme": "Coap", "path": "/"}),
            "spec.notification.endpoint.serviceRef.scheme",
        ),
    ] {
        let refusal = refused(&json!({path: value}));
        assert_eq!(
            (refusal.reason, refusal.path.as_str()),
            (Reason::InvalidSpec, field)
        );
        assert!(refusal.message.contains("upgrade the operator"), "{refusal}");
    }
}

#[test]
fn what_no_schema_can_say_is_said_here() {
    let twice = json!([{"name": "X-City", "value": "a"}, {"name": "x-city", "value": "b"}]);
    let refusal = refused(&json!({"/notification/endpoint/headers": twice}));
    assert_eq!(refusal.path, "spec.notification.endpoint.headers");
    assert_eq!(refused(&json!({"/throttling": "soon"})).path, "spec.throttling");
    assert_eq!(
        refused(&json!({"/notification/endpoint/timeout": "5000"})).path,
        "spec.notification.endpoint.timeout"
    );
}

#[test]
fn what_is_too_large_to_be_read_back_is_refused_however_its_parts_keep_their_bounds() {
    let long = |number: usize| json!({"type": "t".repeat(1000), "idPattern": format!("{number:01000}")});
    let entities: Vec<_> = (0..32).map(long).collect();
    let names: Vec<_> = (0..64).map(|number| format!("{number:0512}")).collect();
    let all = json!({
        "/entities": entities, "/watchedAttributes": names, "/notification/pick": names, "/notification/omit": names,
    });
    let refusal = refused(&all);
    assert_eq!(
        (refusal.reason, refusal.path.as_str()),
        (Reason::InvalidSpec, "spec")
    );
    assert!(refusal.message.contains("at most 131072"), "{refusal}");
    let fits = subscription(&json!({"entities": entities, "notification": {"pick": names}}));
    assert!(validate(&fits, inputs()).is_ok());
}

#[test]
fn coordinates_are_arrays_of_numbers_as_deep_as_geojson_goes() {
    for good in [
        "[16.37,48.21]",
        "[[0,0],[1,1]]",
        "[[[[0,0],[1,1],[0,1],[0,0]]]]",
        "[1e3, -2]",
    ] {
        assert!(coordinates(good).is_ok(), "{good}");
    }
    for bad in [
        "[]",
        "[\"a\"]",
        "[[0,0],1]",
        "[[[[[0,0]]]]]",
        "[1,2",
        "{}",
        "[null]",
        "[[]]",
        "16,48",
    ] {
        assert_eq!(
            coordinates(bad).unwrap_err().path,
            "spec.geoQ.coordinates",
            "{bad}"
        );
    }
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(coordinates(&deep).is_err());
}

#[test]
fn a_status_of_this_generation_tells_what_was_ready_or_wrong_and_any_what_was_written() {
    let told = |status: Value| {
        let mut of = subscription(&json!({}));
        of.status = Some(serde_json::from_value(status).unwrap());
        recorded(&of)
    };
    let condition = |r#type: &str, status: &str, reason: &str| json!({"type": r#type, "status": status, "reason": reason, "message": "words", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let written = json!({"id": "x", "endpoint": "https://a", "applied": "v1-a.v1-b", "shown": "v1-c"});
    let ready = told(
        json!({"observedGeneration": 1, "subscription": written, "conditions": [condition("Ready", "True", "Paused")]}),
    );
    assert_eq!(ready.ready, Some((Reason::Paused, "words".to_owned())));
    assert_eq!(ready.written.place.as_deref(), Some("https://a"));
    assert_eq!(ready.complaint, None);
    let old = told(
        json!({"observedGeneration": 0, "subscription": written, "conditions": [condition("Ready", "True", "Ready")]}),
    );
    assert_eq!((old.ready, old.written), (None, ready.written));
    let wrong = told(json!({"observedGeneration": 1, "conditions": [
        condition("Ready", "False", "BrokerRefused"), condition("Stalled", "True", "BrokerRefused"),
    ]}));
    let complaint = wrong.complaint.unwrap();
    assert_eq!(
        (complaint.reason, complaint.terminal),
        (Reason::BrokerRefused, true)
    );
    let missing = told(
        json!({"observedGeneration": 1, "conditions": [condition("Ready", "False", "DependencyNotFound")]}),
    );
    assert_eq!(missing.complaint, None, "that is found again at once");
    // Where it will be, before it is there, is no place where it was.
    let planned =
        told(json!({"observedGeneration": 1, "subscription": {"id": "x", "endpoint": "https://a"}}));
    assert_eq!(planned.written, Written::default());
}
