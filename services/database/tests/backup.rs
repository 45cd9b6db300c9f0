//! The commands of docs/operations/backup.md, as they stand there, on a real PostgreSQL. `kubectl exec` is a script
//! that runs the rest of its line on this machine; everything after it is real.

#![allow(clippy::unwrap_used, reason = "tests")]

mod pod;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pod::client::Login;
use pod::{PROGRAMS, Pod, wait_for};

/// Accepts exactly the form that the page uses, and puts the pod's socket folder in the place of the container's.
const KUBECTL: &str = r#"#!/bin/bash
set -euo pipefail
[ "$1 $2 $3" = "-n smart exec" ] || { echo "unexpected: $*" >&2; exit 64; }
shift 3
if [ "$1" = "-i" ]; then shift; else exec </dev/null; fi
[ "$1 $2 $3 $4" = "helsinki-database-0 -c postgres --" ] || { echo "unexpected: $*" >&2; exit 64; }
shift 4
exec "${@/#--host=\/run\/postgresql/--host=$SOCKETS}"
"#;

/// All shell blocks below a heading, up to the next one.
fn commands(heading: &str) -> String {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/backup.md"))
            .unwrap();
    let (_, section) = page.split_once(&format!("{heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(!blocks.is_empty(), "{heading} has no commands");
    blocks.join("\n")
}

fn run(pod: &Pod, heading: &str) -> Result<(), String> {
    let mut bash = pod.as_postgres(Path::new("/bin/bash"));
    let output = bash
        .args(["-euo", "pipefail", "-c", &commands(heading)])
        .current_dir(pod.path("work"))
        .env(
            "PATH",
            format!("{}:{PROGRAMS}:/usr/bin:/bin", pod.path("bin").display()),
        )
        .env("SOCKETS", pod.path("sockets"))
        .env("PGPORT", pod.port.to_string())
        .env("NAMESPACE", "smart")
        .env("NAME", "helsinki")
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_dumps_it_restores_while_the_database_serves() {
    let pod = Pod::new("x");
    pod.set_credentials("mim", "broker", "x");
    assert!(pod.initialise().status.success());
    let server = pod.start();
    pod.wait_ready(&server);
    pod.folder_of_postgres("work");
    fs::create_dir(pod.path("bin")).unwrap();
    fs::write(pod.path("bin/kubectl"), KUBECTL).unwrap();
    fs::set_permissions(pod.path("bin/kubectl"), fs::Permissions::from_mode(0o755)).unwrap();

    let login = Login {
        user: "broker",
        password: "x",
        database: "mim",
    };
    let session = login.connect(&pod).await.unwrap();
    session
        .batch_execute(
            "CREATE SCHEMA city;
             CREATE TABLE city.lamp (id int PRIMARY KEY, at geometry(Point, 4326));
             CREATE INDEX ON city.lamp USING gist (at);
             INSERT INTO city.lamp SELECT n, ST_SetSRID(ST_MakePoint(n / 10.0, 60), 4326) FROM generate_series(1, 500) n",
        )
        .await
        .unwrap();
    run(&pod, "# Backup and restore of a managed database").unwrap();
    run(&pod, "## Dump").unwrap();
    session
        .batch_execute("DELETE FROM city.lamp WHERE id > 100; CREATE TABLE city.mistake ()")
        .await
        .unwrap();

    run(&pod, "## Restore").unwrap();
    wait_for(|| session.is_closed(), || "the old session ended".to_owned());
    let session = login.connect(&pod).await.unwrap();
    let row = session
        .query_one(
            "SELECT count(*), to_regclass('city.mistake') IS NULL,
                    count(*) FILTER (WHERE ST_DWithin(at, 'SRID=4326;POINT(1 60)', 0.05)) FROM city.lamp",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, bool>(1), row.get::<_, i64>(2)),
        (500, true, 1)
    );
    session
        .batch_execute("ALTER TABLE city.lamp ADD colour text; DROP TABLE city.lamp")
        .await
        .unwrap();
    assert_eq!(pod.probe(), Ok(()));

    // What was there before is kept until it is cleaned up, and can come back.
    assert_eq!(
        pod.admin(
            "postgres",
            "SELECT count(*) FROM pg_database WHERE datname = 'mim_before'"
        ),
        "1"
    );
    run(&pod, "## Clean up").unwrap();
    assert_eq!(
        pod.admin(
            "postgres",
            "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"
        ),
        "mim postgres template0 template1"
    );
    // A later Secret still finds its database and role.
    pod.set_credentials("mim", "broker", "y");
    let later = Login {
        password: "y",
        ..login
    };
    let taken = async {
        while later.connect(&pod).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), taken).await.unwrap();
}

#[test]
fn a_dump_that_is_cut_off_is_not_taken_for_one() {
    let (pod, _server) = Pod::running("x");
    pod.folder_of_postgres("work");
    pod.folder_of_postgres("bin");
    // As a connection that breaks: the first bytes come, and no error.
    let cut = KUBECTL.replace(
        "exec \"${@/#",
        "cut() { if [ \"$1\" = pg_dump ]; then (\"$@\" 2>&1 || true) | head -c 3000; else \"$@\"; fi; }\ncut \"${@/#",
    );
    fs::write(pod.path("bin/kubectl"), cut).unwrap();
    fs::set_permissions(pod.path("bin/kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    pod.admin("postgres", "CREATE DATABASE mim");
    pod.admin(
        "mim",
        "CREATE TABLE t AS SELECT md5(n::text) FROM generate_series(1, 1000) n",
    );
    let error = run(&pod, "## Dump").unwrap_err();
    assert!(error.contains("pg_restore: error"), "{error}");
    assert!(!pod.path("work/helsinki.dump").exists());
}
