//! A broker that goes away and comes back, or does not.

use crate::support::{Act, Broker, Door, Run, all, entity, eventually, fill, ids, mimctl, url, write};
use serde_json::Value;
use std::sync::Arc;

fn some() -> Vec<Value> {
    (0..600).map(entity).collect()
}

/// Kills the broker when the door has closed, starts another one on its database, and lets the door lead to that one.
async fn replaced(mut broker: Broker, door: &Door) -> Broker {
    eventually(60, "the broker is needed", async || door.acted() == 1).await;
    broker.process.kill().unwrap();
    broker.process.wait().unwrap();
    let next = Broker::start_with(Arc::clone(&broker.database), Arc::clone(&broker.config));
    next.until_ready().await;
    door.lead_to(Some(next.api));
    next
}

#[tokio::test]
async fn an_export_waits_for_a_broker_that_was_killed_and_goes_on() {
    let broker = Broker::ready().await;
    fill(&broker, "one", &some()).await;
    let door = Door::to(broker.api).await;
    door.act_on(12, Act::Close);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let run = Run::start(&[
        "export", "--url", &door_url, "--tenant", "one", "--page", "20", name,
    ]);
    let _next = replaced(broker, &door).await;
    let said = run.end().await.with(0);
    assert!(said.contains("trying again"), "{said}");
    assert_eq!(ids(&file), (0..600).map(crate::support::id).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_import_waits_for_a_broker_that_was_killed_and_goes_on() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    door.act_on(12, Act::Close);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    write(&file, &some());
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let run = Run::start(&[
        "import", "--url", &door_url, "--tenant", "one", "--batch", "20", name,
    ]);
    let next = replaced(broker, &door).await;
    let said = run.end().await.with(0);
    assert!(said.contains("trying again"), "{said}");
    assert_eq!(all(&next, "one").await.len(), 600);
}

#[tokio::test]
async fn a_broker_without_its_database_is_waited_for_too() {
    let broker = Broker::ready().await;
    fill(&broker, "one", &some()).await;
    let port = broker.database.postgres.port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let (name, broker_url) = (file.to_str().unwrap(), url(broker.api));
    broker.database.set("port", "1");
    // A session that is there is used on; this ends it.
    let ends = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and pid <> pg_backend_pid()",
        broker.database.name
    );
    broker.database.postgres.psql("postgres", &ends);
    eventually(60, "the broker says 503", async || {
        broker.get("/types").await.status == 503
    })
    .await;
    let run = Run::start(&["export", "--url", &broker_url, "--tenant", "one", name]);
    let said = mimctl(&[
        "import",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--patience",
        "0",
        "/dev/null",
    ])
    .await
    .with(0);
    assert!(said.contains("0 entities"), "{said}");
    broker.database.set("port", &port);
    let said = run.end().await.with(0);
    assert!(said.contains("503"), "{said}");
    assert_eq!(ids(&file).len(), 600);
}

#[tokio::test]
async fn when_patience_ends_so_does_the_run_and_the_same_command_goes_on_later() {
    let broker = Broker::ready().await;
    fill(&broker, "one", &some()).await;
    let door = Door::to(broker.api).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let of = [
        "export",
        "--url",
        &door_url,
        "--tenant",
        "one",
        "--page",
        "20",
        "--patience",
        "1",
        name,
    ];
    door.act_on(12, Act::Close);
    let said = mimctl(&of).await.with(3);
    assert!(said.contains("run the same command again"), "{said}");
    assert!(!file.exists());
    door.lead_to(Some(broker.api));
    let said = mimctl(&of).await.with(0);
    assert!(said.contains("going on after"), "{said}");
    assert_eq!(ids(&file).len(), 600);

    door.act_on(5, Act::Close);
    let of = [
        "import",
        "--url",
        &door_url,
        "--tenant",
        "two",
        "--batch",
        "20",
        "--patience",
        "1",
        name,
    ];
    mimctl(&of).await.with(3);
    assert!(all(&broker, "two").await.len() < 600);
    door.lead_to(Some(broker.api));
    let said = mimctl(&of).await.with(0);
    assert!(said.contains("going on with line"), "{said}");
    assert_eq!(all(&broker, "two").await, all(&broker, "one").await);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
    let broker = Broker::ready().await;
    fill(&broker, "one", &some()).await;
    let door = Door::to(broker.api).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    door.act_on(3, Act::Hold);
    let of = [
        "export",
        "--url",
        &door_url,
        "--tenant",
        "one",
        "--page",
        "100",
        "--timeout",
        "1",
        name,
    ];
    let said = mimctl(&of).await.with(0);
    assert!(said.contains("no answer within 1 s"), "{said}");
    assert_eq!(ids(&file).len(), 600);
}
