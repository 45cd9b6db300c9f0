//! `mim-database run` and `probe` on a real PostgreSQL: who gets in, what changes without a restart, how it ends.

#![allow(clippy::unwrap_used, reason = "tests")]

mod pod;

use std::fs;
use std::time::{Duration, Instant};

use pod::client::{Certificate, Login};
use pod::{Pod, wait_for};
use rustix::process::{Signal, kill_process};

/// A passing state of the network, awaited without blocking the runtime's other tasks.
async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(begin.elapsed() < Duration::from_mins(1), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn expect_refusal<T>(result: Result<T, String>, words: &str) {
    let error = result.err().unwrap();
    assert!(error.contains(words), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_gets_in_over_tls_with_scram_and_nobody_else_does() {
    let (pod, _server) = Pod::running("first-Pässword");
    let app = Login::app("first-Pässword");
    let session = app.connect(&pod).await.unwrap();
    let row = session
        .query_one(
            "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            &[],
        )
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0) && row.get::<_, String>(1).starts_with("TLSv1."));
    session
        .batch_execute("CREATE TABLE place (at geometry(Point, 4326))")
        .await
        .unwrap();
    session
        .query_one("SELECT postgis_lib_version()", &[])
        .await
        .unwrap();

    expect_refusal(app.connect_plain(&pod).await, "no encryption");
    expect_refusal(
        Login::app("wrong").connect(&pod).await,
        "password authentication failed",
    );
    expect_refusal(
        Login {
            database: "postgres",
            ..app
        }
        .connect(&pod)
        .await,
        "no pg_hba.conf entry",
    );
    let superuser = Login {
        user: "postgres",
        password: "",
        database: "app",
    };
    expect_refusal(superuser.connect(&pod).await, "no pg_hba.conf entry");
    let verifier = pod.admin("app", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    let rights = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles \
                  WHERE rolname = 'app'";
    assert_eq!(pod.admin("app", rights), "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_keeps_readers_of_its_database_and_no_other_roles() {
    let (pod, _server) = Pod::running("x");
    let app = Login::app("x").connect(&pod).await.unwrap();
    let verifier = postgres_protocol::password::scram_sha_256(b"reading");
    let keep = "SELECT mim_roles.keep($1, $2, 2, 1000, 'public')";
    app.execute(keep, &[&"app.city_v1", &verifier]).await.unwrap();
    app.execute(keep, &[&"app.city_v1", &verifier]).await.unwrap();
    let reader = Login {
        user: "app.city_v1",
        password: "reading",
        database: "app",
    };
    let session = reader.connect(&pod).await.unwrap();
    // The broker takes this from everybody as soon as it starts.
    app.batch_execute("REVOKE TEMPORARY ON DATABASE app FROM public")
        .await
        .unwrap();
    let try_out = async |statement: &str| {
        let done = session.batch_execute(statement).await;
        done.map_err(|error| {
            error
                .as_db_error()
                .map_or_else(String::new, |e| e.message().to_owned())
        })
    };
    expect_refusal(try_out("CREATE TABLE public.x (n int)").await, "read-only");
    // A reader may say that it writes; that alone lets it write nothing.
    try_out("SET default_transaction_read_only = off").await.unwrap();
    for statement in [
        "CREATE TABLE public.x (n int)",
        "CREATE TEMP TABLE x (n int)",
        "SELECT lo_create(0)",
        "SELECT pg_logical_emit_message(false, 'a', 'b')",
        "SELECT pg_advisory_lock(1)",
        "SELECT mim_roles.close('app.city_v1')",
        "SET ROLE app",
        "SET temp_file_limit = -1",
    ] {
        expect_refusal(try_out(statement).await, "permission denied");
    }
    pod.admin("app", "CREATE ROLE \"other.role\" LOGIN SUPERUSER");
    for bad in [
        "postgres",
        "app",
        "pg_monitor",
        "mim_readers",
        "other.role",
        "a.b\"; --",
    ] {
        for statement in [
            format!("SELECT mim_roles.keep('{bad}', '{verifier}', 2, 1000, 'public')"),
            format!("SELECT mim_roles.close('{bad}')"),
            format!("SELECT mim_roles.drop('{bad}')"),
        ] {
            assert!(app.batch_execute(&statement).await.is_err(), "{statement}");
        }
    }
    assert!(
        app.execute(keep, &[&"app.plain_v1", &"a password"])
            .await
            .is_err()
    );
    assert!(app.batch_execute("CREATE ROLE x").await.is_err());
    app.batch_execute("SELECT mim_roles.close('app.city_v1')")
        .await
        .unwrap();
    assert!(reader.connect(&pod).await.is_err());
    app.batch_execute("SELECT mim_roles.drop('app.city_v1')")
        .await
        .unwrap();
    assert_eq!(
        pod.admin(
            "app",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'app.city_v1'"
        ),
        "0"
    );
}

#[test]
fn the_server_is_durable_and_sized_as_the_contract_says() {
    let (pod, _server) = Pod::running("x");
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("ssl", "on"),
        ("ssl_min_protocol_version", "TLSv1.3"),
        ("password_encryption", "scram-sha-256"),
        ("listen_addresses", "*"),
        ("shared_buffers", "64MB"),
        ("jit", "off"),
        ("logging_collector", "off"),
        ("log_statement", "none"),
        ("lc_collate", "C.UTF-8"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(pod.admin("app", &format!("SHOW {setting}")), value, "{setting}");
    }
    // What is set on the command line cannot be taken back from inside.
    pod.admin("app", "ALTER SYSTEM SET fsync = off");
    pod.admin("app", "SELECT pg_reload_conf()");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(pod.admin("app", "SHOW fsync"), "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_the_password_that_is_mounted_then() {
    let (pod, mut server) = Pod::running("first");
    let session = Login::app("first").connect(&pod).await.unwrap();
    session
        .batch_execute("CREATE TABLE kept AS SELECT 7 AS n")
        .await
        .unwrap();
    server.signal(Signal::TERM);
    assert!(server.ended().success());
    pod.set_credentials("app", "app", "second");
    let server = pod.start();
    pod.wait_ready(&server);
    let session = Login::app("second").connect(&pod).await.unwrap();
    assert_eq!(
        session
            .query_one("SELECT n FROM kept", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        7
    );
    expect_refusal(
        Login::app("first").connect(&pod).await,
        "password authentication failed",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_taken_without_a_restart_and_is_never_logged() {
    let (pod, server) = Pod::running("first-s3cret");
    let before = pod.postmaster();
    let old = Login::app("first-s3cret").connect(&pod).await.unwrap();
    pod.set_credentials("app", "app", "second-s3cret");
    eventually(async || Login::app("second-s3cret").connect(&pod).await).await;
    expect_refusal(
        Login::app("first-s3cret").connect(&pod).await,
        "password authentication failed",
    );
    old.query_one("SELECT 1", &[]).await.unwrap();
    assert_eq!(pod.postmaster(), before);
    let log = server.log();
    assert!(
        !log.contains("s3cret") && !log.contains("SCRAM-SHA-256$"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_secret_changes_nothing_and_is_told_and_a_good_one_after_it_is_taken() {
    let (pod, server) = Pod::running("first");
    pod.set_credentials("app", "pg_app", "second");
    wait_for(
        || server.log().contains("username pg_app belongs to PostgreSQL"),
        || server.log(),
    );
    Login::app("first").connect(&pod).await.unwrap();
    assert_eq!(
        pod.probe(),
        Ok(()),
        "a bad Secret is no reason to restart a database that works"
    );
    pod.set_credentials("app", "app", "third");
    eventually(async || Login::app("third").connect(&pod).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_name_inherits_the_database_and_open_sessions_go_on() {
    let (pod, _server) = Pod::running("first");
    let old = Login::app("first").connect(&pod).await.unwrap();
    old.batch_execute("CREATE SCHEMA city; CREATE TABLE city.lamp AS SELECT 1 AS n")
        .await
        .unwrap();

    for (name, password) in [
        ("app2", "second"),
        ("app3", "third"),
        ("app", "fourth"),
        ("app2", "fifth"),
    ] {
        pod.set_credentials("app", name, password);
        let login = Login {
            user: name,
            password,
            database: "app",
        };
        let session = eventually(async || login.connect(&pod).await).await;
        session
            .batch_execute(
                "ALTER TABLE city.lamp ALTER n SET NOT NULL; CREATE TABLE city.x(); DROP TABLE city.x",
            )
            .await
            .unwrap();
        let owners =
            "SELECT count(DISTINCT tableowner), min(tableowner) FROM pg_tables WHERE schemaname = 'city'";
        assert_eq!(pod.admin("app", owners), format!("1|{name}"));
    }
    old.batch_execute("INSERT INTO city.lamp VALUES (2)")
        .await
        .unwrap();
    expect_refusal(Login::app("fourth").connect(&pod).await, "no pg_hba.conf entry");
    assert_eq!(
        pod.admin("app", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app3'"),
        "f"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_without_a_restart() {
    let (pod, _server) = Pod::running("x");
    let before = pod.postmaster();
    let open = Login::app("x").connect(&pod).await.unwrap();
    let renewed = Certificate::for_name("database");
    expect_refusal(
        Login::app("x")
            .connect_trusting(&pod, renewed.authority.as_bytes())
            .await,
        "certificate",
    );
    pod.set_certificate(&renewed);
    eventually(async || {
        Login::app("x")
            .connect_trusting(&pod, renewed.authority.as_bytes())
            .await
    })
    .await;
    open.query_one("SELECT 1", &[]).await.unwrap();
    assert_eq!(pod.postmaster(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_the_container_with_its_code_and_the_next_start_recovers() {
    let (pod, mut server) = Pod::running("x");
    let session = Login::app("x").connect(&pod).await.unwrap();
    session
        .batch_execute("CREATE TABLE kept AS SELECT 7 AS n")
        .await
        .unwrap();
    kill_process(pod.postmaster().unwrap(), Signal::KILL).unwrap();
    assert_eq!(server.ended().code(), Some(128 + 9));

    // In the next container the id in the stale file belongs to a process that has nothing to do with it.
    let mut bystander = pod.bystander();
    let file = pod.data().join("postmaster.pid");
    let stale = fs::read_to_string(&file).unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    fs::write(&file, format!("{}\n{rest}", bystander.id())).unwrap();
    let server = pod.start();
    pod.wait_ready(&server);
    let session = Login::app("x").connect(&pod).await.unwrap();
    assert_eq!(
        session
            .query_one("SELECT n FROM kept", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        7
    );
    assert!(
        server
            .log()
            .contains("database system was not properly shut down"),
        "{}",
        server.log()
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_parent_is_waited_for_not_run_over() {
    let (pod, mut first) = Pod::running("x");
    let orphan = pod.postmaster().unwrap();
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut second = pod.start();
    // Whatever it does in this time, it must not touch the living server's files.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(pod.postmaster(), Some(orphan));
    assert!(second.child.try_wait().unwrap().is_none());
    Login::app("x").connect(&pod).await.unwrap();
    kill_process(orphan, Signal::INT).unwrap();
    wait_for(
        || pod.postmaster().is_some_and(|pid| pid != orphan),
        || second.log(),
    );
    pod.wait_ready(&second);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_a_fast_shutdown_and_sighup_a_reload() {
    let (pod, mut server) = Pod::running("x");
    let session = Login::app("x").connect(&pod).await.unwrap();
    session
        .batch_execute("BEGIN; CREATE TABLE open_transaction()")
        .await
        .unwrap();
    server.signal(Signal::HUP);
    wait_for(
        || server.log().contains("received SIGHUP, reloading"),
        || server.log(),
    );
    let begin = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(
        server.log().contains("database system is shut down"),
        "{}",
        server.log()
    );
    assert!(pod.probe().is_err());
}

#[test]
fn a_volume_that_was_swapped_is_not_served() {
    let pod = Pod::new("x");
    pod.set_identity("7310000000000000001");
    assert_eq!(pod.start().ended().code(), Some(1));
    assert!(
        pod.termination_message()
            .starts_with("DataLost: the volume is empty")
    );
    fs::remove_dir_all(pod.path("identity")).unwrap();
    fs::create_dir(pod.path("identity")).unwrap();
    assert!(pod.initialise().status.success());
    pod.set_identity("7310000000000000001");
    assert_eq!(pod.start().ended().code(), Some(1));
    assert!(
        pod.termination_message()
            .starts_with("DataLost: the volume holds database")
    );
}

#[test]
fn the_probe_tells_why_not() {
    let pod = Pod::new("x");
    assert_eq!(
        pod.probe().unwrap_err(),
        "`mim-database run` has not started PostgreSQL yet"
    );
    let mut server = pod.start();
    assert_eq!(server.ended().code(), Some(1));
    assert!(
        pod.termination_message()
            .contains("holds no database; run `mim-database initialise` first")
    );

    assert!(pod.initialise().status.success());
    fs::remove_file(pod.path("credentials/..data/password")).unwrap();
    let mut server = pod.start();
    assert_eq!(server.ended().code(), Some(1));
    assert!(
        pod.termination_message()
            .ends_with("it has no key password; add it"),
        "{}",
        pod.termination_message()
    );

    pod.set_credentials("app", "app", "x");
    let server = pod.start();
    pod.wait_ready(&server);
    let begin = Instant::now();
    kill_process(pod.postmaster().unwrap(), Signal::STOP).unwrap();
    let told = pod.probe();
    kill_process(pod.postmaster().unwrap(), Signal::CONT).unwrap();
    assert_eq!(told.unwrap_err(), "PostgreSQL did not answer within 4 s");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
