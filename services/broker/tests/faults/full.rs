//! The disk of the database is full.

use crate::database::writer;
use crate::read_only::reader;
use crate::support::postgres::{SmallDisk, may_mount};
use crate::support::{Broker, Postgres, eventually, left_out};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The past is kept for so long, of these tenants too.
fn configuration(tenants: &str, retention: &str) -> String {
    format!(
        "tenants: [one, two, {tenants}]\ntemporal: {{mode: Enabled, retention: {retention}}}\negress: {{allowedPrivateCidrs: []}}\n"
    )
}

/// Takes away the newest partition of the history while the disk is full: reads go on, and it is made when there is room again.
async fn a_partition_waits(broker: &Broker, second: &Broker, disk: &SmallDisk, tenants: &str) {
    let partitions = "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid \
        where i.inhparent = 'mim.history'::regclass order by 1 desc";
    let there = broker.database.psql(partitions);
    let newest = there.lines().next().unwrap();
    broker.database.psql(&format!("drop table mim.{newest}"));
    tokio::task::block_in_place(|| disk.top_up());
    broker.configure(&configuration(tenants, "P2Y"));
    broker
        .until_logged(1, "lacks what partitions of the history need")
        .await;
    assert_eq!(broker.readyz().await.0, 200);
    for path in ["/entities/urn:x:1", "/temporal/entities/urn:x:1"] {
        assert_eq!(second.get(path).await.status, 200, "{path}");
    }
    tokio::task::block_in_place(|| disk.make_room());
    broker.configure(&configuration(tenants, "P3Y"));
    eventually(20, "the partition is there", async || {
        broker.database.psql(partitions) == there
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_full_fails_no_read_loses_no_write_and_goes_on_when_there_is_room() {
    if !may_mount() {
        return left_out(
            "a full disk of the database: only root, with the right to mount, may make the one that is filled",
        );
    }
    let postgres = Postgres::own();
    let disk = tokio::task::block_in_place(|| postgres.with_small_disk(96));
    let database = Arc::new(postgres.database_on_small_disk());
    let broker = Arc::new(Broker::configured_on(database, &configuration("", "P1Y")).await);
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(reader(Arc::clone(&broker), Arc::clone(&stop))))
        .collect();
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (broker, stop, refused) = (Arc::clone(&broker), Arc::clone(&stop), Arc::clone(&refused));
            tokio::spawn(writer(broker, n, stop, refused))
        })
        .collect();
    tokio::task::block_in_place(|| disk.fill());
    eventually(60, "writes are refused", async || {
        refused.load(Ordering::Relaxed) > 50
    })
    .await;
    assert_eq!(broker.readyz().await.0, 200);
    broker.until_logged(1, "No space left on device").await;
    // A replica that starts now reads as well.
    let second = Broker::start_with(Arc::clone(&broker.database), Arc::clone(&broker.config));
    second.until_ready().await;
    assert_eq!(second.get("/entities/urn:x:1").await.status, 200);
    // Tenants that are configured now wait for room; nobody else does.
    let names: Vec<String> = (0..400).map(|n| format!("district_{n:03}")).collect();
    let tenants = names.join(", ");
    broker.configure(&configuration(&tenants, "P1Y"));
    broker.until_logged(1, "lacks what tenants need").await;
    assert_eq!(broker.readyz().await.0, 200);
    assert_eq!(second.get("/entities/urn:x:1").await.status, 200);
    a_partition_waits(&broker, &second, disk, &tenants).await;
    let of_last = [("NGSILD-Tenant", "district_399")];
    eventually(20, "the tenants are there", async || {
        broker.send("GET", "/types", &of_last, None).await.status == 200
    })
    .await;
    eventually(20, "no write is refused any more", async || {
        let before = refused.load(Ordering::Relaxed);
        for n in 0..50 {
            let body = format!(r#"[{{"id":"urn:after:{n}","type":"T"}}]"#);
            let answer = broker.post("/entityOperations/upsert", &body).await;
            if !matches!(answer.status, 201 | 204) {
                return false;
            }
        }
        refused.load(Ordering::Relaxed) == before
    })
    .await;
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
    let mut accepted = 0;
    for writer in writers {
        for id in writer.await.unwrap() {
            assert!(kept.contains(&id), "{id} was accepted and is lost");
            accepted += 1;
        }
    }
    println!("{accepted} accepted, {} refused", refused.load(Ordering::Relaxed));
    assert!(accepted > 50, "{accepted}");
    // What was refused is not there by halves.
    let halves = "select count(*) from mim.entities e where not exists \
        (select from mim.entity_types t where t.tenant = e.tenant and t.id = e.id)";
    assert_eq!(broker.database.psql(halves), "0");
}
