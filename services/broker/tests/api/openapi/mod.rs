//! `/openapi.json` against the broker that it describes.

mod rules;
mod walk;

use crate::support::{Answer, Broker, Postgres};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// What is said of a path that nobody serves.
const NOWHERE: &str = "there is no such resource";

/// An operation of the document.
pub struct Described<'d> {
    pub method: String,
    pub path: &'d str,
    pub operation: &'d Value,
}

impl Described<'_> {
    fn parameters(&self) -> BTreeSet<&str> {
        let all = self.operation["parameters"].as_array().unwrap().iter();
        all.filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect()
    }

    /// The path with something in each of its places.
    fn somewhere(&self) -> String {
        let parts = self.path.split('/').map(|part| match part {
            "{id}" => "urn:x:nobody",
            "{instance}" => "urn:x:instance",
            "{attr}" | "{type}" => "nothing",
            part => part,
        });
        parts.collect::<Vec<_>>().join("/")
    }

    fn body(&self) -> Option<&str> {
        self.operation.get("requestBody").map(|_| "{}")
    }
}

pub async fn document(broker: &Broker) -> Value {
    let answer = broker
        .client
        .send(broker.api, "GET", "/openapi.json", &[], None)
        .await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    answer.json()
}

pub fn operations(document: &Value) -> Vec<Described<'_>> {
    let mut all = Vec::new();
    for (path, of_path) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(operation) = of_path.get(method) {
                let method = method.to_uppercase();
                all.push(Described {
                    method,
                    path,
                    operation,
                });
            }
        }
    }
    assert!(all.len() > 40, "{}", all.len());
    all
}

async fn send(broker: &Broker, method: &str, path: &str, body: Option<&str>) -> Answer {
    let body = body.map(str::to_owned);
    broker.client.send(broker.api, method, path, &[], body).await
}

fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap();
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// Ways to break the document: where, by what, and what is said of it. Null takes away.
fn breaks() -> Vec<(&'static str, Value, &'static str)> {
    let types = "/paths/~1ngsi-ld~1v1~1types~1{type}";
    let place = json!([{"name": "other", "in": "path", "required": true, "schema": {}}]);
    let optional = json!([{"name": "type", "in": "path", "schema": {}}]);
    let cookie = json!([{"name": "type", "in": "cookie", "schema": {}}]);
    let style = json!([{"name": "type", "in": "path", "required": true, "style": "form", "schema": {}}]);
    let twice = json!([{"name": "local", "in": "query", "schema": {}}, {"name": "local", "in": "query", "schema": {}}]);
    let in_type = |rest: &str| &*format!("{types}{rest}").leak();
    vec![
        ("/openapi", json!("3.0.3"), "openapi is not 3.1"),
        ("/info/title", json!(null), "title of info is missing"),
        ("/info/version", json!(1), "another type"),
        ("/servers", json!([]), "has no member servers"),
        ("/paths/types", json!({}), "a path begins with /"),
        (
            "/paths/~1ngsi-ld~1v1~1types~1{name}",
            json!({}),
            "one but for names",
        ),
        (in_type("/parameters"), json!([]), "not those of the path"),
        (in_type("/parameters"), place, "not those of the path"),
        (in_type("/parameters"), optional, "is required"),
        (in_type("/parameters"), cookie, "not in \"cookie\""),
        (in_type("/parameters"), style, "no such style"),
        (in_type("/get/parameters"), twice, "local is there twice"),
        (in_type("/get/operationId"), json!("retrieveTypes"), "is that of"),
        (in_type("/get/responses"), json!({}), "there is no answer"),
        (
            in_type("/get/responses/ok"),
            json!({"description": ""}),
            "no status",
        ),
        (
            in_type("/get/responses/200/description"),
            json!(null),
            "description of an answer is missing",
        ),
        (
            in_type("/get/responses/200/content/json"),
            json!({"schema": {}}),
            "media types",
        ),
        (
            in_type("/get/responses/404/$ref"),
            json!("#/components/headers/Link"),
            "is not in",
        ),
        (
            "/components/parameters/Link/name",
            json!("Accept"),
            "ignore this header",
        ),
        (
            "/components/headers/a b",
            json!({"schema": {}}),
            "no name of a component",
        ),
        (
            "/components/schemas/Entity/type",
            json!("thing"),
            "no schema of JSON Schema",
        ),
        (
            "/components/schemas/Geometry",
            json!(null),
            "#/components/schemas/Geometry\" is not in",
        ),
    ]
}

/// Puts a member where there is one already or could be, or takes it away.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/");
    let members = document
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .unwrap();
    if value.is_null() {
        members.remove(&name).unwrap();
    } else {
        members.insert(name, value);
    }
}

#[tokio::test]
async fn the_document_keeps_the_rules_of_openapi_3_1_and_each_rule_can_be_broken() {
    let broker = Broker::ready().await;
    let document = document(&broker).await;
    assert_eq!(rules::errors(&document), Vec::<String>::new());
    for (pointer, value, said) in breaks() {
        let mut bad = document.clone();
        put(&mut bad, pointer, value);
        let errors = rules::errors(&bad);
        assert!(
            errors.iter().any(|error| error.contains(said)),
            "{pointer}: {errors:?}"
        );
    }
}

#[tokio::test]
async fn every_described_operation_is_served_and_no_other_method_of_its_path() {
    let broker = Broker::ready().await;
    let document = document(&broker).await;
    for described in operations(&document) {
        let path = described.somewhere();
        let answer = send(&broker, &described.method, &path, described.body()).await;
        assert_ne!(answer.status, 405, "{} {path}", described.method);
        let nowhere = answer.status == 404 && answer.json()["detail"] == NOWHERE;
        assert!(!nowhere, "{} {path}", described.method);
    }
    for path in document["paths"].as_object().unwrap().keys() {
        let of_path: Vec<_> = operations(&document)
            .into_iter()
            .filter(|described| described.path == path)
            .collect();
        let answer = send(&broker, "TRACE", &of_path[0].somewhere(), None).await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed: BTreeSet<_> = answer.header("allow").split(',').collect();
        let mut methods: BTreeSet<_> = of_path.iter().map(|d| d.method.as_str()).collect();
        if methods.contains("GET") {
            methods.insert("HEAD");
        }
        assert_eq!(allowed, methods, "{path}");
    }
    for path in [
        "/ngsi-ld/v1/nothing",
        "/ngsi-ld/v1/info",
        "/ngsi-ld/v1/info/sourceIdentity/x",
        "/openapi.yaml",
    ] {
        let answer = send(&broker, "GET", path, None).await;
        assert_eq!(
            (answer.status, answer.json()["detail"].as_str()),
            (404, Some(NOWHERE)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_operation_takes_the_parameters_that_are_described_and_refuses_all_others() {
    let broker = Broker::ready().await;
    let document = document(&broker).await;
    let all: BTreeSet<String> = operations(&document)
        .iter()
        .flat_map(Described::parameters)
        .chain(["unknown"])
        .map(str::to_owned)
        .collect();
    assert!(all.len() > 40, "{all:?}");
    for described in operations(&document) {
        let known = described.parameters();
        for name in &all {
            let path = format!("{}?{name}=x", described.somewhere());
            let answer = send(&broker, &described.method, &path, described.body()).await;
            let refused = answer
                .text()
                .contains(&format!("this operation has no parameter \\\"{name}\\\""))
                || answer
                    .text()
                    .contains(&format!("the parameter {name} is not served"));
            let which = format!("{} {path}: {}", described.method, answer.text());
            assert_eq!(refused, !known.contains(name.as_str()), "{which}");
            assert!(!refused || matches!(answer.status, 400 | 422), "{which}");
        }
    }
}

#[tokio::test]
async fn the_document_is_there_without_a_database_and_for_json_only() {
    let database = Postgres::shared().database();
    database.set("port", "1");
    let broker = Broker::start(Arc::new(database));
    assert_eq!(broker.get("/types").await.status, 503);
    operations(&document(&broker).await);
    let client = &broker.client;
    let yaml = [("accept", "application/yaml")];
    let refused = client.send(broker.api, "GET", "/openapi.json", &yaml, None).await;
    assert_eq!(refused.status, 406);
}

#[tokio::test]
async fn all_replicas_are_one_source_and_its_tenants_are_told_apart() {
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let identity = async |broker: &Broker, tenant: &[(&str, &str)]| {
        let answer = broker.send("GET", "/info/sourceIdentity", tenant, None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("link").contains("ngsi-ld-core-context"));
        answer.json()
    };
    let one = [("ngsild-tenant", "one")];
    let (a, b) = (identity(&first, &[]).await, identity(&second, &[]).await);
    assert_eq!(a["type"], "ContextSourceIdentity");
    for same in ["id", "contextSourceAlias"] {
        assert_eq!(a[same], b[same]);
        assert_ne!(a[same], identity(&first, &one).await[same]);
    }
    assert_eq!(
        identity(&first, &one).await["id"],
        identity(&second, &one).await["id"]
    );
    let alias = a["contextSourceAlias"].as_str().unwrap();
    assert!(
        alias.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "{alias}"
    );
    assert!(a["contextSourceUptime"].as_str().unwrap().starts_with("PT"));
    let other = Broker::ready().await;
    assert_ne!(
        identity(&other, &[]).await["id"],
        a["id"],
        "another broker is another source"
    );
    let unknown = first
        .send("GET", "/info/sourceIdentity", &[("ngsild-tenant", "none")], None)
        .await;
    assert_eq!(
        (unknown.status, unknown.error().as_str()),
        (404, "NonexistentTenant")
    );
}
