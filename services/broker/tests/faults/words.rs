//! What is wrong with a database stands in `/readyz` and in `probe`, in plain words, and heals by itself.

use crate::support::{Broker, Postgres, eventually};
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Waits for words in `/readyz` and the status that goes with them, checks that `probe` prints the same with exit 1, and that the API says 503.
async fn says(broker: &Broker, status: u16, words: &str) {
    eventually(15, words, async || {
        let (found, text) = broker.readyz().await;
        found == status && text.contains(words)
    })
    .await;
    let probe = Command::new(env!("CARGO_BIN_EXE_mim-broker"))
        .args(["probe", "--health-listen", &broker.health.to_string()])
        .output()
        .unwrap();
    let printed = String::from_utf8(probe.stdout).unwrap();
    assert!(
        !probe.status.success() && printed.contains(words) && printed.trim().lines().count() == 1,
        "{printed}"
    );
    let answer = broker.get("/entities?type=T").await;
    assert_eq!(
        (
            answer.status,
            answer.error().as_str(),
            answer.header("retry-after")
        ),
        (503, "InternalError", "2")
    );
    assert!(!printed.contains("secret-"), "no password in {printed}");
    // The words are for who is in the pod: neither clients nor others that may ask the health port learn host and role.
    for told in [answer.text(), readyz_from_elsewhere(broker).await] {
        let generic = told.contains("the database is not available: it does not serve at the moment");
        assert!(generic && !told.contains(words), "{told}");
    }
    // Who asks by HTTP from elsewhere, as a kubelet does, has the sort of it at least.
    let told = readyz_from_elsewhere(broker).await;
    assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
}

/// `/readyz` as asked from an address that is not the broker's own.
async fn readyz_from_elsewhere(broker: &Broker) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(broker.health).await.unwrap();
    let request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn broker() -> Broker {
    Broker::start(Arc::new(Postgres::shared().database()))
}

#[tokio::test]
async fn a_ready_broker_says_ok() {
    let broker = broker();
    broker.until_ready().await;
    let probe = Command::new(env!("CARGO_BIN_EXE_mim-broker"))
        .args(["probe", "--health-listen", &broker.health.to_string()])
        .output()
        .unwrap();
    assert!(probe.status.success());
    let healthz = broker
        .client
        .send(broker.health, "GET", "/healthz", &[], None)
        .await;
    assert_eq!(healthz.status, 200);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_healed_by_the_secret() {
    let database = Postgres::shared().database();
    database.set("password", "wrong");
    let broker = Broker::start(Arc::new(database));
    says(
        &broker,
        524,
        &format!("refuses the login of {}", broker.database.name),
    )
    .await;
    assert_eq!(
        broker
            .client
            .send(broker.health, "GET", "/healthz", &[], None)
            .await
            .status,
        200
    );
    broker
        .database
        .set("password", &format!("secret-{}", broker.database.name));
    broker.until_ready().await;
}

#[tokio::test]
async fn a_secret_without_a_key_is_told_and_healed() {
    let database = Postgres::shared().database();
    std::fs::remove_file(database.secret.path().join("username")).unwrap();
    let broker = Broker::start(Arc::new(database));
    says(&broker, 529, "has no usable file").await;
    broker.database.set("username", &broker.database.name);
    broker.until_ready().await;
}

#[tokio::test]
async fn an_unreachable_host_and_a_missing_database_are_told() {
    let database = Postgres::shared().database();
    database.set("port", "1");
    let broker = Broker::start(Arc::new(database));
    says(&broker, 521, "localhost:1 cannot be reached").await;
    let port = broker.database.postgres.port().to_string();
    broker.database.set("port", &port);
    broker.database.set("dbname", "nothing");
    says(&broker, 525, "the server has no database nothing").await;
    broker.database.set("dbname", &broker.database.name);
    broker.until_ready().await;
}

#[tokio::test]
async fn an_untrusted_certificate_is_told() {
    let database = Postgres::shared().database();
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let good = std::fs::read_to_string(database.secret.path().join("ca.crt")).unwrap();
    database.set("ca.crt", &other);
    let broker = Broker::start(Arc::new(database));
    says(&broker, 522, "is not trusted").await;
    broker.database.set("ca.crt", "no certificate");
    says(&broker, 529, "CA certificate").await;
    broker.database.set("ca.crt", &good);
    broker.until_ready().await;
}

#[tokio::test]
async fn a_server_without_tls_is_told_and_healed() {
    let postgres = Postgres::own();
    let database = postgres.database();
    postgres.kill();
    postgres.launch_with(&["ssl=off"]);
    let broker = Broker::start(Arc::new(database));
    says(&broker, 523, "offers no TLS; the broker connects with TLS only").await;
    postgres.kill();
    postgres.launch();
    broker.until_ready().await;
}

#[tokio::test]
async fn a_missing_postgis_that_cannot_be_created_is_told() {
    let broker = Broker::start(Arc::new(Postgres::shared().database_from("template1")));
    says(
        &broker,
        527,
        "PostGIS is missing in the database and cannot be created",
    )
    .await;
    broker.database.psql("create extension postgis");
    broker.until_ready().await;
}

#[tokio::test]
async fn a_role_without_permission_is_told() {
    let database = Postgres::shared().database();
    let name = &database.name;
    database.psql(&format!(
        "alter database {name} owner to postgres; revoke create on database {name} from public"
    ));
    let broker = Broker::start(Arc::new(database));
    says(&broker, 528, "lacks a permission").await;
    broker.database.psql(&format!(
        "grant create on database {0} to {0}",
        broker.database.name
    ));
    broker.until_ready().await;
}

#[tokio::test]
async fn a_changed_password_reaches_a_running_broker() {
    let broker = broker();
    broker.until_ready().await;
    let name = broker.database.name.clone();
    broker
        .database
        .psql(&format!("alter role {name} password 'secret-new'"));
    broker.database.set("password", "secret-new");
    broker.database.psql(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{name}'"
    ));
    eventually(10, "it serves again with the new password", async || {
        broker
            .post("/entities", r#"{"id":"urn:x:1","type":"T"}"#)
            .await
            .status
            != 503
    })
    .await;
    assert_eq!(broker.get("/entities/urn:x:1").await.status, 200);
}
