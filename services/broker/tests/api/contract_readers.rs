//! What a reader of the read-only contract can do and cannot, by every way out that PostgreSQL has.

use crate::support::contract::{CONTRACT, City, PASSWORD, set_password};
use crate::support::{Postgres, eventually};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECRET: &str = r#"{"id":"urn:secret:of:two","type":"Secret","name":"hidden","location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,2]}}}"#;

async fn city_with_a_secret() -> City {
    let city = City::ready().await;
    let tenant = [("NGSILD-Tenant", "two")];
    let made = city.broker.send("POST", "/entities", &tenant, Some(SECRET)).await;
    assert_eq!(made.status, 201);
    assert_eq!(
        city.read("two_v1", "select id from two_v1.places"),
        "urn:secret:of:two"
    );
    city
}

#[tokio::test]
async fn a_reader_reads_its_tenant_and_every_way_out_is_closed() {
    let city = city_with_a_secret().await;
    let owner = city.broker.database.name.clone();
    let two = city.role("two_v1");
    let denied = "permission denied";
    // A reader may say that it writes; that alone lets it write nothing.
    let writing = "set default_transaction_read_only = off;;";
    let pid = city
        .broker
        .database
        .psql("select pid from pg_stat_activity where application_name = 'mim-broker' and datname = current_database() limit 1");
    for (sql, word) in [
        ("select * from mim.entities", denied),
        ("select * from mim.tenants", denied),
        ("select mim.geometry_of('{}')", denied),
        ("select * from two_v1.places", denied),
        ("select * from _v1.places", denied),
        (&format!("set role \"{owner}\"")[..], denied),
        (&format!("set role \"{two}\""), denied),
        ("set role mim_readers;;select * from two_v1.places", denied),
        ("set role postgres", denied),
        (&format!("set session authorization \"{owner}\""), denied),
        ("select mim_roles.keep('a.b', 'SCRAM-SHA-256$', 1, 1, '')", denied),
        ("delete from one_v1.places", "cannot"),
        (
            &format!("{writing}delete from one_v1.places"),
            "cannot delete from view",
        ),
        (
            &format!("{writing}insert into one_v1.places (id) values ('x')"),
            "cannot insert into view",
        ),
        (&format!("{writing}create table one_v1.x (a int)"), denied),
        (&format!("{writing}create table public.x (a int)"), denied),
        (&format!("{writing}create temporary table x (a int)"), denied),
        (&format!("{writing}create schema x"), denied),
        (
            &format!("{writing}create function pg_temp.f() returns int language sql as 'select 1'"),
            denied,
        ),
        (
            &format!("{writing}create function one_v1.f() returns int language sql as 'select 1'"),
            denied,
        ),
        (&format!("{writing}create role x"), denied),
        (
            &format!("{writing}alter role \"{two}\" connection limit 9"),
            denied,
        ),
        (&format!("{writing}drop view one_v1.places"), "must be owner"),
        (&format!("{writing}create index on mim.entities (id)"), denied),
        (&format!("{writing}begin;;lock table mim.entities"), denied),
        ("select lo_create(0)", denied),
        ("select lo_from_bytea(0, 'x')", denied),
        ("select pg_logical_emit_message(false, 'a', 'b')", denied),
        ("select pg_advisory_lock(7171437)", denied),
        ("select pg_try_advisory_xact_lock(7171437)", denied),
        ("copy (select 1) to program 'id'", "program"),
        ("select pg_read_file('/etc/passwd')", denied),
        ("select pg_ls_dir('/')", denied),
        (&format!("select pg_terminate_backend({pid})"), "must be"),
        ("set temp_file_limit = -1", denied),
        ("select rolpassword from pg_authid", denied),
    ] {
        let why = city.try_read("one_v1", sql).expect_err(sql);
        assert!(why.contains(word), "{sql}: {why}");
    }
    // What one may read one may not give on; PostgreSQL only warns.
    city.read(
        "one_v1",
        &format!("{writing}grant select on one_v1.places to \"{two}\""),
    );
    let given = format!("select has_table_privilege('{two}', 'one_v1.places', 'select')");
    assert_eq!(city.broker.database.psql(&given), "f");
    // Nothing of a row is computed before its tenant is known, so no error tells of it either.
    for sql in [
        "select count(*) from one_v1.places where id::integer > 0",
        "select count(*) from one_v1.places where name::integer > 0",
        "select count(*) from one_v1.places where 1 / length(id) > 5 or ('x' || id)::integer = 1",
        "select count(*) from pg_stats where schemaname = 'mim'",
        "select count(*) from pg_stat_activity where query like '%mim.%' and usename <> current_user",
    ] {
        assert_eq!(city.read("one_v1", sql), "0", "{sql}");
    }
    // A reader of another city on the same server is a stranger.
    let other = City::ready().await;
    let output = city
        .broker
        .database
        .postgres
        .psql_as(
            &city.role("one_v1"),
            PASSWORD,
            &other.broker.database.name,
            "select * from one_v1.places",
        )
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(denied));
}

#[tokio::test]
async fn a_reader_that_takes_long_is_ended_whatever_it_tells_the_server() {
    let city = City::ready().await;
    let began = Instant::now();
    let why = city.try_read("one_v1", "select pg_sleep(30)").unwrap_err();
    assert!(why.contains("statement timeout"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(15));
    for sql in [
        "set statement_timeout = 0;;select pg_sleep(60)",
        "set statement_timeout = 0;;set idle_in_transaction_session_timeout = 0;;begin;;select 1;;\\! sleep 20;;select 2",
    ] {
        let began = Instant::now();
        let why = city.try_read("one_v1", sql).unwrap_err();
        assert!(why.contains("terminating connection"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(40));
    }
    // Others go on.
    city.read("two_v1", "select count(*) from two_v1.places");
}

#[tokio::test]
async fn a_reader_has_so_many_sessions_and_no_more() {
    let city = City::ready().await;
    let hold = || {
        let mut command = city.command("one_v1", "select pg_sleep(1.9)");
        command
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let role = city.role("one_v1");
    let sql = format!("select count(*) from pg_stat_activity where usename = '{role}'");
    // One try may come after the first of the sessions has ended.
    for _ in 0..5 {
        let began = Instant::now();
        let sessions: Vec<_> = (0..3).map(|_| hold()).collect();
        eventually(5, "the sessions are open or over", async || {
            city.broker.database.psql(&sql) == "3" || began.elapsed() > Duration::from_secs(2)
        })
        .await;
        let fourth = city.try_read("one_v1", "select 1");
        let is_refused = fourth.is_err_and(|why| why.contains("too many connections for role"));
        for mut child in sessions {
            child.wait().unwrap();
        }
        if is_refused {
            return;
        }
    }
    panic!("a fourth session was let in each time");
}

#[tokio::test]
async fn a_new_password_is_taken_and_a_file_that_goes_shuts_the_door() {
    let city = City::ready().await;
    let config = city.broker.config.path().to_owned();
    set_password(&config, "one_v1", Some("another"));
    eventually(20, "the old password is refused", async || {
        city.try_read("one_v1", "select 1")
            .is_err_and(|why| why.contains("password authentication failed"))
    })
    .await;
    set_password(&config, "one_v1", Some(PASSWORD));
    city.until_read("one_v1").await;
    set_password(&config, "one_v1", None);
    eventually(20, "nobody comes in", async || {
        city.try_read("one_v1", "select 1").is_err()
    })
    .await;
    city.read("two_v1", "select 1");
    let log = city.broker.log.lock().unwrap().clone();
    assert!(!log.contains("Pässword") && !city.broker.database.log().contains("Pässword"));
}

#[tokio::test]
async fn a_broker_that_may_make_no_roles_says_so_serves_and_takes_those_made_by_hand() {
    let database = Arc::new(Postgres::shared().database());
    let city = City::over(Arc::clone(&database), "one, two", &["one_v1"]).await;
    let (role, other) = (city.role("one_v1"), city.role("two_v1"));
    eventually(20, "it says so", async || {
        city.broker.readyz().await.1.contains(&role)
    })
    .await;
    let (status, words) = city.broker.readyz().await;
    assert_eq!(status, 200);
    assert!(
        words.starts_with("ok; ") && words.contains("docs/contract.md"),
        "{words}"
    );
    assert_eq!(city.broker.metric("mim_broker_contract_troubles ").await, 1);
    city.create(SECRET).await;
    let owner = &database.name;
    let by_hand = |role: &str| {
        database.psql(&format!(
            "create role \"{role}\" login password '{}' connection limit 2; grant \"{role}\" to \"{owner}\"",
            PASSWORD.replace('\'', "''")
        ));
    };
    // Whoever made it knows its password: no file is needed.
    by_hand(&other);
    city.until_read("two_v1").await;
    assert!(city.try_read("two_v1", "select * from one_v1.places").is_err());
    by_hand(&role);
    city.until_read("one_v1").await;
    assert_eq!(
        city.read("one_v1", "select id from one_v1.places"),
        "urn:secret:of:two"
    );
    eventually(20, "nothing is wrong any more", async || {
        city.broker.readyz().await.1 == "ok"
    })
    .await;
    let why = city
        .try_read("one_v1", "set statement_timeout = 0;;select pg_sleep(60)")
        .unwrap_err();
    assert!(why.contains("terminating connection"), "{why}");
    // Who may do more than read is no reader.
    database.psql(&format!("alter role \"{role}\" createdb"));
    let again = City::over(Arc::clone(&database), "one", &["one_v1"]).await;
    eventually(20, "it says so", async || {
        again.broker.readyz().await.1.contains("may do more than read")
    })
    .await;
}

#[test]
fn the_page_shows_what_a_superuser_does() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/contract.md")).unwrap();
    assert!(std::path::Path::new(CONTRACT).is_file());
    assert!(page.contains("services/database/src/contract.sql"));
}
