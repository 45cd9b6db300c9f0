//! What the tests share: broker and PostgreSQL as the broker's own tests start them, `mimctl`, and doors between the two.

#[path = "../../../../services/broker/tests/support/broker.rs"]
pub mod broker;
#[path = "../../../../services/broker/tests/support/client.rs"]
pub mod client;
pub mod door;
#[path = "../../../../services/broker/tests/support/eventually.rs"]
pub mod eventually;
pub mod mimctl;
#[path = "../../../../services/broker/tests/support/postgres.rs"]
pub mod postgres;

pub use broker::Broker;
pub use door::{Act, Door};
pub use eventually::eventually;
pub use mimctl::{Run, mimctl};

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// The URL of an address without TLS.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A small entity.
pub fn entity(n: u32) -> Value {
    json!({"id": id(n), "type": "T", "n": {"type": "Property", "value": n}})
}

/// Its id.
pub fn id(n: u32) -> String {
    format!("urn:x:{n:05}")
}

/// Creates entities in a tenant.
pub async fn fill(broker: &Broker, tenant: &str, entities: &[Value]) {
    for some in entities.chunks(500) {
        let body = Value::from(some).to_string();
        let headers = [("ngsild-tenant", tenant)];
        let path = "/entityOperations/create";
        let answer = broker.send("POST", path, &headers, Some(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// All entities of a tenant, ordered by id, as the broker tells them.
pub async fn all(broker: &Broker, tenant: &str) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let path = format!("/entities?local=true&orderBy=id&limit=50&offset={}", texts.len());
        let answer = broker
            .send("GET", &path, &[("ngsild-tenant", tenant)], None)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page: Vec<Box<serde_json::value::RawValue>> = serde_json::from_slice(&answer.body).unwrap();
        if page.is_empty() {
            return texts;
        }
        texts.extend(page.iter().map(|one| one.get().to_owned()));
    }
}

/// The lines of a file.
pub fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The ids of the lines of a file.
pub fn ids(file: &Path) -> Vec<String> {
    let of = |line: &Value| line["id"].as_str().unwrap().to_owned();
    lines(file).iter().map(of).collect()
}

/// Writes entities to a file, one a line.
pub fn write(file: &Path, entities: &[Value]) {
    let lines: Vec<String> = entities.iter().map(|entity| format!("{entity}\n")).collect();
    std::fs::write(file, lines.concat()).unwrap();
}
