//! Two operators, one lease: one acts, the other is warm.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mim_operator::operator::{Fatal, Options};
use mim_operator::reconcile::lease::Timing;
use mim_operator::reconcile::request::Journal;
use mim_tests::eventually::{PATIENCE, eventually, throughout};
use mim_tests::operator::{self, Running};
use serde_json::{Value, json};

use crate::city::{City, broker, told};
use crate::{own, rights};

/// How long a lease is left alone.
const DURATION: Duration = Duration::from_secs(6);
/// How long its holder goes on without a renewal.
const RENEW: Duration = Duration::from_secs(4);

fn elected(city: &City) -> Options {
    let mut options = city.options();
    options.election = Some(Timing::new(DURATION, RENEW, Duration::from_millis(500)).unwrap());
    options
}

fn leads(operator: &Running) -> bool {
    let metrics = operator.handle.metrics.render().unwrap();
    metrics.lines().any(|line| line == "mim_leader 1")
}

async fn leader(operator: &Running) {
    eventually("it leads", || async {
        if leads(operator) { Ok(()) } else { Err("it waits") }
    })
    .await;
}

/// A leader and a standby whose stores are warm.
async fn two(city: &City) -> (Running, Running) {
    let start = || operator::start(elected(city), city.config.clone(), Journal::new());
    let first = start();
    leader(&first).await;
    let second = start();
    eventually("the standby is ready, and warm", || async {
        let (ready, text) = second.handle.health.readiness();
        if ready && text == "ready\n" {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    (first, second)
}

fn changes(operator: &Running) -> Vec<String> {
    operator.journal.changes().iter().map(told).collect()
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_at_once_and_the_standby_wrote_nothing_before() {
    let city = City::without_operator("handed").await;
    rights::grant_lease(&city.client, &city.namespace).await;
    let (first, second) = two(&city).await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    assert_eq!(changes(&second), Vec::<String>::new(), "the standby acts");
    assert!(!leads(&second));
    let stopped = Instant::now();
    first.stop().await.unwrap();
    leader(&second).await;
    let took = stopped.elapsed();
    assert!(took < DURATION, "the lease was not given back: {took:?}");
    city.apply(&broker("vienna", &json!({"replicas": 3}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    // What the first had settled is not written again: the spec's change, and what is told of it on the way.
    let written = changes(&second);
    let children: Vec<_> = written.iter().filter(|what| !what.contains("/status ")).collect();
    assert!(
        matches!(children[..], [one] if one.starts_with("apply apps/deployments")),
        "{written:#?}"
    );
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_leader_that_is_killed_is_replaced_after_its_lease_has_expired_and_not_before() {
    let city = City::without_operator("killed").await;
    rights::grant_lease(&city.client, &city.namespace).await;
    let (first, second) = two(&city).await;
    city.apply(&broker("vienna", &json!({}))).await;
    // In the middle of its work.
    eventually("it has begun", || async {
        let count = first.journal.changes().len();
        if count >= 5 { Ok(()) } else { Err(count) }
    })
    .await;
    let killed = Instant::now();
    first.kill();
    // It renews every half second, so nearly the whole time is left.
    throughout(
        "the standby waits",
        DURATION.saturating_sub(Duration::from_secs(2)),
        || async {
            if leads(&second) || !second.journal.changes().is_empty() {
                Err(changes(&second))
            } else {
                Ok(())
            }
        },
    )
    .await;
    leader(&second).await;
    assert!(
        killed.elapsed() < DURATION + PATIENCE / 2,
        "{:?}",
        killed.elapsed()
    );
    city.broker_says("vienna", "True", "Ready").await;
    second.stop().await.unwrap();
}

/// What stands in the API server's audit log: who, what, and when it came in.
fn audited(log: &std::path::Path, namespace: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["objectRef"]["namespace"] == namespace)
        .collect()
}

#[tokio::test]
async fn after_an_api_server_that_froze_no_request_of_the_old_leader_follows_the_new_ones() {
    let own = own::cluster().await;
    let city = City::of(&own, "frozen").await;
    rights::grant_lease(&city.client, &city.namespace).await;
    // Both are the chart's service account and have its rights; the audit log tells them apart by a group that gives none.
    let account = format!("system:serviceaccount:{}:{}", rights::OWN, rights::RELEASE);
    let config = |group: &'static str| own.plane.client_config_for(&account, Some(group));
    let first = operator::start(elected(&city), config("first").await.unwrap(), Journal::new());
    leader(&first).await;
    let second = operator::start(elected(&city), config("second").await.unwrap(), Journal::new());
    let names: Vec<String> = (0..12).map(|number| format!("city-{number}")).collect();
    for name in &names {
        city.apply(&broker(name, &json!({}))).await;
    }
    eventually("the leader is in the middle of its work", || async {
        let count = first.journal.changes().len();
        if count >= 30 { Ok(()) } else { Err(count) }
    })
    .await;
    own.plane.pause_api_server().unwrap();
    let frozen = Instant::now();
    let metrics = first.handle.metrics.clone();
    let journal = Arc::clone(&first.journal);
    let ended = first.end().await;
    assert!(matches!(ended, Err(Fatal::LeaseLost(_))), "{ended:?}");
    let took = frozen.elapsed();
    assert!(
        took < RENEW + Duration::from_secs(3),
        "it went on for {took:?} without a lease"
    );
    assert!(
        metrics
            .render()
            .unwrap()
            .lines()
            .any(|line| line == "mim_leader 0")
    );
    own.plane.resume_api_server().unwrap();
    leader(&second).await;
    for name in &names {
        city.broker_says(name, "True", "Ready").await;
    }
    let events = audited(&own.plane.audit_log().unwrap(), &city.namespace);
    let changes: Vec<&Value> = events
        .iter()
        .filter(|event| {
            let verb = event["verb"].as_str().unwrap();
            !matches!(verb, "get" | "list" | "watch")
                && !matches!(event["objectRef"]["resource"].as_str(), Some("leases" | "events"))
        })
        .collect();
    let of = |group: &str| {
        let in_group = |event: &&&Value| {
            let mut groups = event["user"]["groups"].as_array().into_iter().flatten();
            event["user"]["username"] == account.as_str() && groups.any(|of| of == group)
        };
        let times = changes.iter().filter(in_group);
        times
            .map(|event| event["requestReceivedTimestamp"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (by_first, by_second) = (of("first"), of("second"));
    let users: HashSet<_> = changes.iter().map(|event| event["user"].to_string()).collect();
    assert!(by_first.len() >= 20 && by_second.len() >= 20, "{users:?}");
    let (last, next) = (by_first.iter().max().unwrap(), by_second.iter().min().unwrap());
    assert!(
        last < next,
        "the old leader wrote at {last}, the new one from {next}"
    );
    assert!(
        by_first.len() <= journal.changes().len(),
        "nothing was sent twice on the way"
    );
    second.stop().await.unwrap();
}
