//! Whoever changes subscriptions, or takes notifications away, waits for others in one order.

use crate::support::{Broker, Database, Postgres, eventually, store_over};
use mim_broker::store::outbox::{Outbox, Overflow};
use serde_json::json;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A transaction that locks, then waits for a condition, and then does something else.
async fn transaction(database: &Arc<Database>, locks: &str, until: &str, then: &str) -> JoinHandle<String> {
    let sql = format!(
        "begin; {locks}; \
         do $$ begin for i in 1..1500 loop \
           if {until} then return; end if; \
           perform pg_sleep(0.02); perform pg_stat_clear_snapshot(); \
         end loop; raise exception 'that never came'; end $$; \
         {then}; commit"
    );
    let in_background = Arc::clone(database);
    let running = tokio::task::spawn_blocking(move || in_background.psql(&sql));
    let sleeps = "select count(*) from pg_stat_activity \
        where datname = current_database() and wait_event = 'PgSleep'";
    eventually(20, "the transaction has its locks", async || {
        database.psql(sleeps) == "1"
    })
    .await;
    running
}

const SOMEBODY_WAITS: &str =
    "exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
const TENANTS: &str = "select id from mim.tenants for update";
const FREE: &str = "select number from mim.subscriptions for update nowait; \
    select change from mim.deliveries for update nowait";

fn body(id: &str) -> String {
    json!({"id": id, "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"endpoint": {"uri": "http://receiver.example.org/"}}})
    .to_string()
}

#[tokio::test]
async fn whoever_changes_a_subscription_waits_for_its_tenant_with_nothing_in_hand() {
    let broker = Broker::ready().await;
    let created = broker.post("/subscriptions", &body("urn:s:1")).await;
    assert_eq!(created.status, 201, "{}", created.text());
    for (method, body) in [("PATCH", Some("{\"description\":\"d\"}")), ("DELETE", None)] {
        let other = transaction(&broker.database, TENANTS, SOMEBODY_WAITS, FREE).await;
        let answer = broker.send(method, "/subscriptions/urn:s:1", &[], body).await;
        assert_eq!(answer.status, 204, "{method}: {}", answer.text());
        other.await.unwrap();
    }
}

#[tokio::test]
async fn one_subscription_is_created_changed_and_deleted_at_once() {
    let broker = Broker::ready().await;
    let one = async |n: usize| {
        for round in 0..30 {
            let change = "{\"description\":\"d\"}".to_owned();
            let (method, path, body, expected) = match (n + round) % 3 {
                0 => ("POST", "", Some(body("urn:s:1")), [201, 409]),
                1 => ("DELETE", "/urn:s:1", None, [204, 404]),
                _ => ("PATCH", "/urn:s:1", Some(change), [204, 404]),
            };
            let path = format!("/subscriptions{path}");
            let answer = broker.send(method, &path, &[], body.as_deref()).await;
            assert!(
                expected.contains(&answer.status),
                "{method}: {} {}",
                answer.status,
                answer.text()
            );
        }
    };
    futures::future::join_all((0..12).map(one)).await;
}

/// A subscription of the default tenant without a broker, and six changes that wait for it: four of one entity, then two of
/// another.
fn with_six_that_wait(database: &Database) {
    database.psql(
        "insert into mim.subscriptions (tenant, id, body, created, modified) \
           select id, 'urn:s:1', '{}', now(), now() from mim.tenants where name = ''; \
         insert into mim.changes (tenant, entity, body) \
           select t.id, case when n < 5 then 'urn:x:1' else 'urn:x:2' end, '{}' \
           from mim.tenants t, generate_series(1, 6) n where t.name = '' order by n; \
         insert into mim.deliveries (subscription, lane, change) \
           select s.number, 0, c.number from mim.subscriptions s, mim.changes c",
    );
}

fn outbox(overflow: Overflow) -> Outbox {
    Outbox {
        limit: NonZeroU32::new(2).unwrap(),
        overflow,
    }
}

const ONLY: &str = "select number from mim.subscriptions";

#[tokio::test]
async fn an_outbox_that_pauses_a_subscription_waits_for_its_tenant_with_nothing_in_hand() {
    let database = Arc::new(Postgres::shared().database());
    let store = store_over(&database, &[]).await;
    with_six_that_wait(&database);
    let number = database.psql(ONLY).parse().unwrap();
    let other = transaction(&database, TENANTS, SOMEBODY_WAITS, FREE).await;
    let dropped = store.bound_outbox(number, outbox(Overflow::Pause)).await;
    assert_eq!(dropped.unwrap(), 6);
    other.await.unwrap();
    let left = "select (select count(*) from mim.deliveries), body, \
        (select subscriptions from mim.tenants where name = '') from mim.subscriptions";
    assert_eq!(database.psql(left), "0|{\"isActive\": false}|1");
}

#[tokio::test]
async fn what_is_given_up_waits_for_no_lane_that_takes_away_what_it_has_sent() {
    for (overflow, expected) in [
        (Overflow::Pause, 5),
        (Overflow::DropOldest, 3),
        (Overflow::CoalesceLatest, 3),
    ] {
        let database = Arc::new(Postgres::shared().database());
        let store = store_over(&database, &[]).await;
        with_six_that_wait(&database);
        let number = database.psql(ONLY).parse().unwrap();
        let takes = "delete from mim.deliveries where change = (select min(number) from mim.changes)";
        let until = "exists (select from mim.tenants where name = 'told')";
        let note = "update mim.subscriptions set times_sent = 1";
        let lane = transaction(&database, takes, until, note).await;
        let dropped = store.bound_outbox(number, outbox(overflow));
        let dropped = tokio::time::timeout(Duration::from_secs(3), dropped).await;
        database.psql("insert into mim.tenants (name) values ('told')");
        lane.await.unwrap();
        assert_eq!(dropped.unwrap().unwrap(), expected, "{overflow:?}");
        let left: i64 = database
            .psql("select count(*) from mim.deliveries")
            .parse()
            .unwrap();
        assert_eq!(left, 5 - expected, "{overflow:?}");
    }
}

#[tokio::test]
async fn changes_that_nobody_waits_for_go_up_to_the_one_that_is_said_and_no_others() {
    let database = Arc::new(Postgres::shared().database());
    let store = store_over(&database, &[]).await;
    assert_eq!(store.last_change().await.unwrap(), 0);
    with_six_that_wait(&database);
    database.psql("delete from mim.deliveries where change in (1, 2, 6)");
    let last = store.last_change().await.unwrap();
    assert_eq!(last, 6);
    let left = || database.psql("select string_agg(number::text, ',' order by number) from mim.changes");
    assert!(store.sweep_changes(last - 1).await.unwrap());
    assert_eq!(left(), "3,4,5,6");
    assert!(
        !store.sweep_changes(last - 1).await.unwrap(),
        "nothing is left to do"
    );
    assert!(store.sweep_changes(last).await.unwrap());
    assert_eq!(left(), "3,4,5");
}
