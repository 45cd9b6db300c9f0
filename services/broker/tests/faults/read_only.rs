//! A database that is read and takes no writes: somebody has set it so, or it follows another one.

use crate::database::writer;
use crate::notifications::{count, subscribe};
use crate::support::{Broker, Postgres, Receiver, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WORDS: &str = "ok; the database is read-only: reads are answered, writes get 503 until it takes them";

/// Waits until the broker says that it only reads, and checks that it does.
async fn reads_on(broker: &Broker) {
    eventually(20, "the broker says that it only reads", async || {
        broker.readyz().await == (200, WORDS.to_owned())
    })
    .await;
    assert_eq!(broker.metric("mim_broker_database_read_only").await, 1);
    let probe = Command::new(env!("CARGO_BIN_EXE_mim-broker"))
        .args(["probe", "--health-listen", &broker.health.to_string()])
        .output()
        .unwrap();
    assert!(probe.status.success() && String::from_utf8(probe.stdout).unwrap().trim() == WORDS);
    for path in [
        "/entities/urn:x:1",
        "/entities?type=T&count=true",
        "/types",
        "/attributes?details=true",
        "/subscriptions",
        "/temporal/entities/urn:x:1",
        "/jsonldContexts",
    ] {
        let answer = broker.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let posted = broker
        .post(
            "/entityOperations/query",
            r#"{"type":"Query","entities":[{"type":"T"}]}"#,
        )
        .await;
    assert_eq!(posted.status, 200, "{}", posted.text());
    let of_tenant = broker
        .send("GET", "/entities?type=T", &[("NGSILD-Tenant", "one")], None)
        .await;
    assert_eq!(of_tenant.status, 200, "{}", of_tenant.text());
    let entity = r#"{"id":"urn:x:refused","type":"T"}"#;
    for (method, path, body) in [
        ("POST", "/entities", entity.to_owned()),
        ("POST", "/entityOperations/upsert", format!("[{entity}]")),
        ("PATCH", "/entities/urn:x:1/attrs", r#"{"n":2}"#.to_owned()),
        ("DELETE", "/entities/urn:x:1", String::new()),
    ] {
        let answer = broker.send(method, path, &[], Some(&body)).await;
        assert_eq!(
            (
                answer.status,
                answer.error().as_str(),
                answer.header("retry-after")
            ),
            (503, "InternalError", "2"),
            "{method} {path}: {}",
            answer.text()
        );
        assert!(answer.text().contains("it takes no writes"), "{}", answer.text());
    }
}

/// Waits until a write is accepted again, and checks that all are: no session is left that only reads.
async fn writes_again(broker: &Broker, name: &str) {
    eventually(20, "a write is accepted again", async || {
        let body = format!(r#"[{{"id":"urn:{name}:first","type":"T"}}]"#);
        let answer = broker.post("/entityOperations/upsert", &body).await;
        matches!(answer.status, 201 | 204)
    })
    .await;
    eventually(20, "the broker says that it writes", async || {
        broker.readyz().await == (200, "ok".to_owned())
    })
    .await;
    assert_eq!(broker.metric("mim_broker_database_read_only").await, 0);
    let bodies: Vec<String> = (0..30)
        .map(|n| format!(r#"{{"id":"urn:{name}:{n}","type":"T"}}"#))
        .collect();
    let answers = futures::future::join_all(bodies.iter().map(|body| broker.post("/entities", body))).await;
    for answer in answers {
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

const KEEPS_THE_PAST: &str = "tenants: [one, two]\ntemporal: {mode: Enabled}\n";

/// A ready broker that has something to read.
async fn broker_on(postgres: &'static Postgres) -> Broker {
    let broker = Broker::configured_on(Arc::new(postgres.database()), KEEPS_THE_PAST).await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    broker
}

/// Reads one entity after the other until told to stop; each read is answered. How many were.
pub async fn reader(broker: Arc<Broker>, stop: Arc<AtomicBool>) -> usize {
    let mut read = 0;
    while !stop.load(Ordering::Relaxed) {
        for path in ["/entities/urn:x:1", "/entities?type=T&limit=3"] {
            let answer = broker.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            read += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_read_only_while_the_broker_is_at_work_fails_no_read_and_loses_no_write() {
    let postgres = Postgres::own();
    let broker = Arc::new(broker_on(postgres).await);
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(reader(Arc::clone(&broker), Arc::clone(&stop))))
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let (broker, stop, refused) = (Arc::clone(&broker), Arc::clone(&stop), Arc::clone(&refused));
            tokio::spawn(writer(broker, n, stop, refused))
        })
        .collect();
    let set = |value: &str| {
        tokio::task::block_in_place(|| {
            let set = format!("alter system set default_transaction_read_only = {value}");
            postgres.psql("postgres", &set);
            postgres.psql("postgres", "select pg_reload_conf()");
        });
    };
    for name in ["once", "twice"] {
        set("on");
        reads_on(&broker).await;
        assert!(refused.load(Ordering::Relaxed) > 0);
        set("off");
        writes_again(&broker, name).await;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    let kept: std::collections::HashSet<String> = broker
        .database
        .psql("select id from mim.entities")
        .lines()
        .map(str::to_owned)
        .collect();
    for writer in writers {
        for id in writer.await.unwrap() {
            assert!(kept.contains(&id), "{id} was accepted and is lost");
        }
    }
}

#[tokio::test]
async fn row_database_read_only_a_tenant_that_it_does_not_have_yet_is_there_as_soon_as_the_database_has_it() {
    let postgres = Postgres::shared();
    let database = Arc::new(postgres.database());
    drop(Broker::configured_on(Arc::clone(&database), "tenants: [one]\n").await);
    let name = &database.name;
    let set = |what: &str| postgres.psql("postgres", &format!("alter database {name} {what}"));
    set("set default_transaction_read_only = on");
    let broker = Broker::configured_on(Arc::clone(&database), "tenants: [one, of_leader, of_nobody]\n").await;
    let read = async |tenant: &str| {
        let of_tenant = [("NGSILD-Tenant", tenant)];
        broker.send("GET", "/types", &of_tenant, None).await
    };
    assert_eq!(read("one").await.status, 200);
    for tenant in ["of_leader", "of_nobody"] {
        let entity = r#"{"id":"urn:x:1","type":"T"}"#;
        let of_tenant = [("NGSILD-Tenant", tenant)];
        let written = broker.send("POST", "/entities", &of_tenant, Some(entity)).await;
        for answer in [read(tenant).await, written] {
            assert_eq!((answer.status, answer.header("retry-after")), (503, "2"));
            assert!(answer.text().contains("cannot make it"), "{}", answer.text());
        }
    }
    assert_eq!(read("unknown").await.error(), "NonexistentTenant");
    // As the database does that a standby follows.
    database.psql(
        "begin; set transaction read write; insert into mim.tenants (name) values ('of_leader'); commit",
    );
    eventually(20, "the tenant is read", async || {
        read("of_leader").await.status == 200
    })
    .await;
    assert_eq!(read("of_nobody").await.status, 503);
    set("reset default_transaction_read_only");
    eventually(20, "the other one is there too", async || {
        read("of_nobody").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn row_database_read_only_for_new_sessions_serves_reads_of_a_replica_that_starts_and_heals_by_itself() {
    let postgres = Postgres::shared();
    let first = broker_on(postgres).await;
    let name = &first.database.name;
    // From another database: a session in this one could not take it back.
    let set = |what: &str| postgres.psql("postgres", &format!("alter database {name} {what}"));
    set("set default_transaction_read_only = on");
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    reads_on(&second).await;
    // Sessions of before write on, the broker's watch among them; a write over a new one is what shows how things stand.
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and query <> 'show transaction_read_only'"
    );
    postgres.psql("postgres", &end);
    let body = r#"[{"id":"urn:x:2","type":"T"}]"#;
    eventually(20, "a write is refused", async || {
        first.post("/entityOperations/upsert", body).await.status == 503
    })
    .await;
    reads_on(&first).await;
    reads_on(&second).await;
    set("reset default_transaction_read_only");
    writes_again(&first, "first").await;
    writes_again(&second, "second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_read_only_as_it_follows_another_one_is_read_and_is_written_when_it_leads() {
    let postgres = Postgres::own();
    let broker = broker_on(postgres).await;
    tokio::task::block_in_place(|| {
        postgres.kill();
        postgres.launch_as_standby();
    });
    reads_on(&broker).await;
    let second = Broker::start_with(Arc::clone(&broker.database), Arc::clone(&broker.config));
    reads_on(&second).await;
    postgres.psql("postgres", "select pg_promote()");
    writes_again(&broker, "first").await;
    writes_again(&second, "second").await;
}

/// How many transactions there were in the broker's database so far, each statement by itself being one.
fn transactions(broker: &Broker) -> usize {
    let of = format!(
        "select xact_commit + xact_rollback from pg_stat_database where datname = '{}'",
        broker.database.name
    );
    // From another database: this is none of them.
    broker.database.postgres.psql("postgres", &of).parse().unwrap()
}

/// Waits until many lanes of these subscriptions have failed.
async fn failing(broker: &Broker, receiver: &Receiver, subscriptions: usize, entities: usize) {
    receiver.answers(500);
    for n in 0..subscriptions {
        subscribe(broker, &format!("urn:s:{n}"), json!({"uri": receiver.url()})).await;
    }
    for n in 0..entities {
        broker
            .create(&json!({"id": format!("urn:y:{n}"), "type": "T", "n": n}).to_string())
            .await;
    }
    eventually(30, "many lanes have failed", async || {
        count(broker, "mim.lanes where failures > 0") >= 4 * subscriptions
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_read_only_while_notifications_wait_is_left_in_peace_and_all_are_told_afterwards() {
    const SUBSCRIPTIONS: usize = 6;
    const ENTITIES: usize = 16;
    let postgres = Postgres::shared();
    let broker = broker_on(postgres).await;
    let (receiver, regular) = (Receiver::start().await, Receiver::start().await);
    failing(&broker, &receiver, SUBSCRIPTIONS, ENTITIES).await;
    let every = json!({"id": "urn:s:regular", "type": "Subscription", "entities": [{"type": "T"}], "timeInterval": 1,
        "notification": {"endpoint": {"uri": regular.url()}}});
    let made = broker.post("/subscriptions", &every.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let name = &broker.database.name;
    let set = |what: &str| postgres.psql("postgres", &format!("alter database {name} {what}"));
    set("set default_transaction_read_only = on");
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    postgres.psql("postgres", &end);
    reads_on(&broker).await;
    let (before, began) = (transactions(&broker), Instant::now());
    // Two looks for lanes, and several rests of each of them.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let asked = transactions(&broker) - before;
    println!("{asked} transactions in {:?}", began.elapsed());
    // The keeper asks every second whether it is over, and who has something to tell every so often does. No lane does.
    assert!(asked < 25 * 12, "{asked} in {:?}", began.elapsed());

    let told_before = regular.all().len();
    receiver.answers(204);
    set("reset default_transaction_read_only");
    writes_again(&broker, "after").await;
    eventually(60, "nothing waits", async || {
        count(&broker, "mim.deliveries") == 0
    })
    .await;
    let taken = receiver.all().into_iter().filter(|request| request.status == 204);
    let told: BTreeSet<(String, String)> = taken
        .map(|request| {
            let text = |of: &serde_json::Value| of.as_str().unwrap().to_owned();
            (
                text(&request.body["subscriptionId"]),
                text(&request.body["data"][0]["id"]),
            )
        })
        .collect();
    for (s, n) in (0..SUBSCRIPTIONS).flat_map(|s| (0..ENTITIES).map(move |n| (s, n))) {
        let pair = (format!("urn:s:{s}"), format!("urn:y:{n}"));
        assert!(told.contains(&pair), "{pair:?} is never told");
    }
    eventually(30, "what waits for no change is told, too", async || {
        regular.all().len() > told_before
    })
    .await;
}
