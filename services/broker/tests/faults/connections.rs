//! The server takes fewer connections than the broker may have.

use crate::late::sessions;
use crate::support::{Broker, Postgres, eventually};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes how many sessions the broker's role may have, ends those that it has, and waits until it has found the way back.
async fn limit(broker: &Broker, most: i32) {
    let name = &broker.database.name;
    broker
        .database
        .psql(&format!("alter role {name} connection limit {most}"));
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    again(broker, || drop(broker.database.psql(end))).await;
}

/// Does what takes the database away from the broker, and waits until it is there again.
async fn again(broker: &Broker, away: impl FnOnce()) {
    let times = || broker.log.lock().unwrap().matches("the database serves").count();
    let before = times();
    away();
    eventually(30, "the database serves again", async || times() > before).await;
}

/// A broker whose writes take a while, so that many at once need many connections.
async fn slow(postgres: &'static Postgres) -> Broker {
    let broker = Broker::start(Arc::new(postgres.database()));
    broker.until_ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    broker.database.psql(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return new; end $$; \
         create trigger slow before insert on mim.entities for each row execute function slow()",
    );
    broker
}

/// Reads and writes at once, several times as many as there are connections; all of them are to be answered.
async fn burst(broker: &Broker, name: &str) {
    let one = async |n: usize| {
        if n.is_multiple_of(2) {
            let body = json!({"id": format!("urn:{name}:{n}"), "type": "T"}).to_string();
            (broker.post("/entities", &body).await, 201)
        } else {
            (broker.get("/entities/urn:x:1").await, 200)
        }
    };
    for (answer, status) in futures::future::join_all((0..60).map(one)).await {
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_out_of_connections_of_the_role_requests_share_those_that_there_are() {
    let broker = slow(Postgres::shared()).await;
    limit(&broker, 3).await;
    for round in ["first", "second", "third"] {
        burst(&broker, round).await;
        let sessions = sessions(&broker);
        assert!((2..=3).contains(&sessions), "{sessions} sessions");
    }
    // As soon as there may be more, there are.
    let name = &broker.database.name;
    broker
        .database
        .psql(&format!("alter role {name} connection limit -1"));
    let round = std::cell::Cell::new(0);
    eventually(20, "more connections are used", async || {
        round.set(round.get() + 1);
        burst(&broker, &format!("more:{}", round.get())).await;
        sessions(&broker) > 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_out_of_connections_of_the_server_requests_share_those_that_there_are() {
    let postgres = Postgres::own();
    let broker = slow(postgres).await;
    again(&broker, || {
        tokio::task::block_in_place(|| {
            postgres.kill();
            // Three of them are the superuser's: one for the watch of the broker, three for requests.
            postgres.launch_with(&["max_connections=7"]);
        });
    })
    .await;
    for round in ["first", "second", "third"] {
        burst(&broker, round).await;
        let sessions = sessions(&broker);
        assert!((2..=4).contains(&sessions), "{sessions} sessions");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_out_of_connections_for_requests_is_told_at_once_and_heals_by_itself() {
    let broker = slow(Postgres::shared()).await;
    limit(&broker, 1).await;
    eventually(20, "the watch has the only connection", async || {
        broker.readyz().await.0 == 200 && sessions(&broker) == 1
    })
    .await;
    for _ in 0..3 {
        let started = Instant::now();
        let one = async |_| (broker.get("/entities/urn:x:1").await, started.elapsed());
        let answers = futures::future::join_all((0..20).map(one)).await;
        let first = answers.iter().map(|(_, after)| *after).min().unwrap();
        for (answer, _) in answers {
            assert_eq!(
                (
                    answer.status,
                    answer.error().as_str(),
                    answer.header("retry-after")
                ),
                (503, "InternalError", "2"),
                "{}",
                answer.text()
            );
        }
        // Nobody waits for what nobody can give back; but one after the other finds out that there is none, by a login that is refused.
        assert!(first < Duration::from_secs(4), "{first:?}");
    }
    let name = &broker.database.name;
    broker
        .database
        .psql(&format!("alter role {name} connection limit -1"));
    eventually(20, "requests are answered", async || {
        broker.get("/entities/urn:x:1").await.status == 200
    })
    .await;
    burst(&broker, "after").await;
}
