//! A new broker brings the schema up to date while an old one is at work.

use crate::support::{Broker, Database, eventually};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The migration that makes triggers on the tables that every write is to.
const QUOTAS: &str = "0009";

/// Takes back this migration and all after it: what each of them made goes.
fn take_back(database: &Database, first: &str) {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let mut drops = Vec::new();
    for file in folder.map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name < first {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.starts_with(char::is_alphabetic)) {
            let mut words = line.split([' ', '(']);
            let (verb, sort, made) = (words.next(), words.next(), words.next().unwrap_or_default());
            match (verb, sort) {
                (Some("create"), Some(sort @ ("table" | "view" | "function"))) => {
                    drops.push(format!("drop {sort} if exists {made} cascade;"));
                }
                // It goes with its function; and one that stays can be given the same setting again.
                (Some("create"), Some("trigger")) | (Some("alter"), Some("function")) => {}
                (Some("alter"), Some("table")) if line.contains(" add column ") => {
                    let column = words.nth(2).unwrap();
                    drops.push(format!("alter table {made} drop column if exists {column};"));
                }
                _ => panic!("{}: this is not taken back: {line}", file.display()),
            }
        }
    }
    let version: i32 = first.parse().unwrap();
    drops.push(format!("delete from mim.migrations where version >= {version}"));
    database.psql(&drops.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_migration_that_finds_its_table_held_for_long_holds_up_no_request_and_ends_when_it_is_let_go() {
    let old = Broker::ready().await;
    old.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    take_back(&old.database, QUOTAS);
    let mut long = old
        .database
        .transaction("update mim.entities set modified = modified where id = 'urn:x:1'");
    eventually(10, "the row is held", async || {
        let held = "select count(*) from pg_locks l join pg_stat_activity a using (pid) \
            where a.datname = current_database() and a.state = 'idle in transaction' and l.relation = 'mim.entities'::regclass";
        old.database.psql(held) != "0"
    })
    .await;
    let new = Broker::start_with(Arc::clone(&old.database), Arc::clone(&old.config));
    // The old broker goes on while the new one tries, rests, and tries again.
    let given_up = || {
        old.database
            .log()
            .matches("canceling statement due to lock timeout")
            .count()
    };
    let (started, mut written, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while given_up() < 2 {
        assert!(started.elapsed() < Duration::from_mins(1), "it tries twice");
        let began = Instant::now();
        old.create(&format!(r#"{{"id":"urn:y:{written}","type":"T"}}"#))
            .await;
        assert_eq!(old.get("/entities/urn:x:1").await.status, 200);
        slowest = slowest.max(began.elapsed());
        written += 1;
    }
    println!("{written} writes beside two attempts, the slowest took {slowest:?}");
    let (status, words) = new.readyz().await;
    assert_eq!(status, 530, "{words}");
    assert!(
        words.contains("version 9") && words.contains("open for long"),
        "{words}"
    );
    // Whatever the new one did, no write of the old one waited for as long as the transaction was open.
    assert!(
        written > 2 && slowest < Duration::from_secs(5),
        "{written}, {slowest:?}"
    );
    drop(long.stdin.take());
    long.wait().unwrap();
    new.until_ready().await;
    new.create(r#"{"id":"urn:x:2","type":"T"}"#).await;
    old.create(r#"{"id":"urn:x:3","type":"T"}"#).await;
    let triggers = "select count(*) from pg_trigger where tgname like 'quota\\_%' and tgrelid = 'mim.entities'::regclass";
    assert_eq!(old.database.psql(triggers), "3");
    // It is the same program, and asked for what was taken back.
    old.was_to_fail();
}
