//! Invariants 1 and 2: what is settled is left alone, and what is not costs no more requests than it has children.

use std::collections::BTreeMap;
use std::time::Duration;

use mim_operator::reconcile::request::{Entry, Journal};
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::FakeBroker;
use mim_tests::pace;
use serde_json::json;

use crate::city::{City, broker, passes, platform, told};
use crate::subscriptions::subscription;

/// Secret of an external database, as CloudNativePG writes it.
pub fn app_secret(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {
        "host": "db.example.org", "port": "5432", "dbname": "mim", "username": "broker", "password": "not-to-be-told",
    }})
}

fn listed(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(told).collect()
}

/// One object of each sort: a platform with everything on, a broker on an external database, an external broker that does not answer, one that
/// is stopped, one that waits for a Secret, one that is refused, one that is suspended; an external broker that does answer, a subscription in it, and
/// one in a broker that is not there.
async fn all_sorts(city: &City) {
    city.apply(&app_secret("graz-db")).await;
    let rich = json!({
        "tenants": ["north", "south"], "replicas": 3, "service": {"labels": {"team": "air"}},
        "network": {"clients": [{"podSelector": {}}]}, "podTemplate": {"labels": {"team": "air"}},
        "resources": {"requests": {"cpu": "0.1"}, "limits": {"memory": "1024Mi"}},
        "storage": {"managed": {"size": "1024Mi", "resources": {"requests": {"memory": "0.5Gi"}}}},
    });
    city.apply(&platform("vienna", &json!({"broker": rich}))).await;
    let external = |secret: &str| json!({"storage": {"external": {"secretRef": {"name": secret}}}});
    city.apply(&broker("graz", &external("graz-db"))).await;
    city.apply(&broker(
        "linz",
        &json!({"engine": "External", "external": {"url": "http://broker.invalid"}}),
    ))
    .await;
    city.apply(&broker("wels", &json!({"replicas": 0}))).await;
    city.apply(&broker("enns", &external("nowhere"))).await;
    city.apply(&broker("ried", &json!({"release": "9.9.9"}))).await;
    city.apply(&broker("horn", &json!({"suspend": true}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.broker_says("graz", "True", "Ready").await;
    city.broker_says("linz", "False", "ExternalUnreachable").await;
    city.broker_says("wels", "True", "Stopped").await;
    city.broker_says("enns", "False", "DependencyNotFound").await;
    city.broker_says("ried", "False", "ReleaseUnknown").await;
    city.broker_says("horn", "Unknown", "Suspended").await;
    city.apply(&city.external_broker("steyr")).await;
    city.apply(&subscription("air", "steyr", &json!({"q": "no2>40"})))
        .await;
    city.apply(&subscription("water", "nowhere", &json!({}))).await;
    city.broker_says("steyr", "True", "Ready").await;
    city.subscription_says("air", "True", "Ready").await;
    city.subscription_says("water", "False", "DependencyNotFound")
        .await;
}

/// A city with an operator, and the broker that answers.
async fn with_steyr(purpose: &str) -> (City, FakeBroker) {
    let mut city = City::without_operator(purpose).await;
    let steyr = city.serve("steyr").await;
    city.start(Journal::new());
    (city, steyr)
}

/// How long nothing happens.
const IDLE: Duration = Duration::from_mins(10);

/// Objects of [`all_sorts`], the platform's broker included.
const OBJECTS: u64 = 11;

#[tokio::test]
async fn invariant_1_neither_a_second_pass_nor_a_restarted_operator_writes_and_no_body_is_sent_twice() {
    let (mut city, steyr) = with_steyr("quiet").await;
    all_sorts(&city).await;
    let (before, changes) = (city.quiet().await, city.changes());
    city.operator().handle.resync();
    eventually("every object had another pass", || async {
        let now = passes(&city.operator().handle);
        if now >= before + OBJECTS { Ok(()) } else { Err(now) }
    })
    .await;
    city.quiet().await;
    let again = city.changes();
    assert_eq!(
        listed(&again[changes.len()..]),
        Vec::<String>::new(),
        "a second pass over settled objects writes"
    );

    let first = city.restart().await;
    eventually("the new operator has seen every object", || async {
        let now = passes(&city.operator().handle);
        if now >= OBJECTS { Ok(()) } else { Err(now) }
    })
    .await;
    city.quiet().await;
    // An external broker is looked at once a minute meanwhile: a look that finds the same writes nothing either. But the time of
    // the last look is shown anew every ten minutes, which may fall into these.
    tokio::time::sleep(pace::wait(IDLE)).await;
    let (looks, changes): (Vec<_>, Vec<_>) = listed(&city.changes())
        .into_iter()
        .partition(|what| what.contains("/linz (Status)") || what.contains("/steyr (Status)"));
    let most = 2 * usize::from(pace::wait(IDLE) == IDLE);
    assert_eq!(
        steyr.changes().len(),
        1,
        "what is in the broker is made once and left alone"
    );
    assert!(looks.len() <= most, "{looks:#?}");
    assert_eq!(
        changes,
        Vec::<String>::new(),
        "the first passes of a restarted operator write, or it writes while nothing happens"
    );

    let mut sent: BTreeMap<(String, Vec<u8>), u32> = BTreeMap::new();
    for entry in first.changes().iter().chain(&city.changes()) {
        // A refused body did not change anything, and may have to be sent with the uid that was not known.
        if entry.status.is_some_and(|status| status.is_success())
            && let Some(body) = &entry.record.body
        {
            *sent
                .entry((entry.record.target.clone(), body.to_vec()))
                .or_default() += 1;
        }
    }
    let twice: Vec<_> = sent
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|((target, body), count)| format!("{count} × {target} {}", String::from_utf8_lossy(body)))
        .collect();
    assert!(sent.len() > 40, "only {} bodies", sent.len());
    assert_eq!(
        twice,
        Vec::<String>::new(),
        "bodies that were sent more than once"
    );
}

#[tokio::test]
async fn invariant_2_a_broker_costs_its_children_plus_two_requests_and_a_platform_one_more_object() {
    for (purpose, spec) in [
        ("cost", json!({})),
        ("cost-confirmed", json!({"deletionPolicy": "Delete"})),
        ("cost-stopped", json!({"replicas": 0})),
    ] {
        let mut city = City::without_operator(purpose).await;
        let mut object = broker("vienna", &spec);
        if purpose == "cost-confirmed" {
            object["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": "vienna"});
        }
        city.apply(&object).await;
        city.start(Journal::new());
        let reason = if purpose == "cost-stopped" {
            "Stopped"
        } else {
            "Ready"
        };
        city.broker_says("vienna", "True", reason).await;
        city.quiet().await;
        let children = city.children("ContextBroker", "vienna").await.len();
        let changes = city.changes();
        assert!(children > 10, "{children} children");
        assert!(
            changes.len() <= children + 2,
            "{purpose}: {} requests for {children} children:\n{}",
            changes.len(),
            listed(&changes).join("\n")
        );
    }
    let mut city = City::without_operator("cost-platform").await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.start(Journal::new());
    city.platform_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let children = city.children("ContextBroker", "vienna").await.len();
    let changes = city.changes();
    // The platform: its one child, and two of its own; the child: its children, and two of its own.
    assert!(
        changes.len() <= (1 + 2) + (children + 2),
        "{} requests for {children} children:\n{}",
        changes.len(),
        listed(&changes).join("\n")
    );
}
