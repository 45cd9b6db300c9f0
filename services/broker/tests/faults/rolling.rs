//! A broker of the version before beside the one of this checkout, on one database: an upgrade on its way, and one that is
//! taken back.

use crate::support::{Broker, Postgres, Receiver, eventually, left_out};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// The commit before the one that brought the newest version of the schema; none where the sources came without so much of their history.
fn commit_before() -> Option<String> {
    let last = git(&["log", "-1", "--diff-filter=A", "--format=%H", "--", "migrations"])?;
    git(&["rev-parse", "--verify", "--quiet", &format!("{last}^")])
}

/// The broker of that commit, which is built once.
fn broker_before() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(built_before).as_deref()
}

/// Builds it, in a folder of its own and without what debuggers need.
fn built_before() -> Option<PathBuf> {
    let Some(before) = commit_before() else {
        left_out(
            "a broker of the version before beside this one: the history of these sources is not here, from which it would be built",
        );
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broker-before");
    let (checkout, target) = (folder.join(&before), folder.join("target"));
    std::fs::create_dir_all(&checkout).unwrap();
    let archive = folder.join("archive.tar");
    let root = git(&["rev-parse", "--show-toplevel"]).unwrap();
    let output = archive.to_str().unwrap();
    git(&["-C", &root, "archive", "--output", output, &before]).unwrap();
    let taken_out = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&checkout)
        .status();
    assert!(taken_out.unwrap().success());
    let built = Command::new("cargo")
        .args(["build", "--locked", "-p", "mim-broker", "--bin", "mim-broker"])
        .current_dir(&checkout)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status();
    assert!(built.unwrap().success(), "the broker of {before} is built");
    Some(target.join("debug/mim-broker"))
}

/// `make test` runs this one before all others: compilers take the seconds that those are about.
#[test]
fn the_broker_before_is_built() {
    let Some(program) = broker_before() else { return };
    let asked = Command::new(program).arg("--help").output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
}

/// What one writes both read, also a change of it, its past, and a query.
async fn serve_each_other(of: &[(&str, &Broker)], round: &str) {
    for (name, writes) in of {
        let id = format!("urn:x:{round}:{name}");
        let path = format!("/entities/{id}");
        writes
            .create(&json!({"id": id, "type": "T", "n": 1}).to_string())
            .await;
        for (_, changes) in of {
            let n = changes.get(&format!("{path}?options=keyValues")).await.json()["n"]
                .as_i64()
                .unwrap()
                + 1;
            let change = json!({"n": n}).to_string();
            let answer = changes
                .send("PATCH", &format!("{path}/attrs"), &[], Some(&change))
                .await;
            assert_eq!(answer.status, 204, "{}", answer.text());
            let batch = json!([{"id": format!("{id}:batch"), "type": "T", "n": n}]).to_string();
            let answer = changes.post("/entityOperations/upsert", &batch).await;
            assert!(matches!(answer.status, 201 | 204), "{}", answer.text());
        }
        let written = i64::try_from(of.len()).unwrap() + 1;
        for (reader, reads) in of {
            let found = reads.get(&format!("{path}?options=keyValues")).await.json();
            assert_eq!(found["n"], written, "{reader} reads what {name} made");
            let query = format!("type=T&q=n=={written}&limit=1000");
            assert!(
                reads.ids(&query).await.contains(&id),
                "{reader} finds what {name} made"
            );
            let past = reads
                .get(&format!("/temporal{path}?options=temporalValues"))
                .await
                .json();
            let values = past["n"]["values"].as_array().map(Vec::len);
            assert_eq!(values, usize::try_from(written).ok(), "{reader}: {past}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_old_broker_serves_with_the_new_schema_beside_a_new_one_and_after_it() {
    if let Some(program) = tokio::task::block_in_place(broker_before) {
        upgraded_and_taken_back(program).await;
    }
}

async fn upgraded_and_taken_back(program: &Path) {
    let database = Arc::new(Postgres::shared().database());
    let config = crate::support::broker::folder_of("tenants: [one, two]\ntemporal: {mode: Enabled}\n");
    let version = "select max(version) from mim.migrations";
    let old = Broker::start_other(program, Arc::clone(&database), Arc::clone(&config));
    old.until_ready().await;
    let before = database.psql(version);
    let receiver = Receiver::start().await;
    let subscription = json!({
        "id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"format": "keyValues", "endpoint": {"uri": receiver.url()}}
    });
    let answer = old.post("/subscriptions", &subscription.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    serve_each_other(&[("old", &old)], "before").await;
    // The new one brings the schema up to date under the old one.
    let new = Broker::start_with(Arc::clone(&database), Arc::clone(&config));
    new.until_ready().await;
    let after = database.psql(version);
    assert_ne!(before, after);
    serve_each_other(&[("old", &old), ("new", &new)], "beside").await;
    // And is taken back: another old one starts on the new schema.
    drop(new);
    let again = Broker::start_other(program, Arc::clone(&database), config);
    again.until_ready().await;
    serve_each_other(&[("old", &old), ("again", &again)], "after").await;
    assert_eq!(database.psql(version), after);
    eventually(60, "everything is told", async || {
        database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    let told = receiver.taken();
    for id in database.psql("select id from mim.entities").lines() {
        assert!(told.iter().any(|entity| entity["id"] == id), "{id} is told");
    }
}
