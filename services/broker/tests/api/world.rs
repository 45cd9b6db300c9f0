//! A small world in which every operation of the document can be done: for tests that go over all of them.

use crate::openapi::Described;
use crate::support::{Answer, Broker};
use serde_json::{Value, json};

pub const ENTITY: &str = "urn:x:1";
pub const SUBSCRIPTION: &str = "urn:x:subscription";

/// What a tenant has, so that each operation finds what it is about.
pub struct World {
    pub tenant: &'static str,
    instance: String,
    context: String,
}

/// A request that is good in its world.
pub struct Good {
    pub id: String,
    pub method: String,
    pub path: String,
    pub query: &'static str,
    pub body: Option<Value>,
}

impl Good {
    /// The path with its query, and one more parameter.
    pub fn with(&self, more: &str) -> String {
        let parts = [self.query, more];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let mark = if parts.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, parts.join("&"))
    }

    pub fn text(&self) -> Option<String> {
        self.body.as_ref().map(Value::to_string)
    }
}

/// An entity with this word in it, which no other world has.
pub fn entity(id: &str, word: &str) -> Value {
    json!({"id": id, "type": "T", "scope": format!("/{word}"), "n": {"type": "Property", "value": 1, "observedAt": "2024-01-01T00:00:00Z"},
        "word": {"type": "Property", "value": word, "observedAt": "2024-01-01T00:00:00Z"}, (format!("of_{word}")): {"type": "Property", "value": 1},
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}}})
}

pub fn subscription(id: &str, word: &str) -> Value {
    json!({"id": id, "type": "Subscription", "subscriptionName": word, "entities": [{"type": "T"}], "isActive": false,
        "notification": {"endpoint": {"uri": format!("http://127.0.0.1:9/{word}")}}})
}

impl World {
    /// Makes what is missing of it; what is there becomes as it was.
    pub async fn of(broker: &Broker, tenant: &'static str, word: &str) -> Self {
        let headers = Self::headers_of(tenant);
        let send = async |method: &str, path: &str, body: Option<Value>| {
            let body = body.map(|body| body.to_string());
            broker.send(method, path, &headers, body.as_deref()).await
        };
        for path in [
            format!("/entities/{ENTITY}"),
            format!("/temporal/entities/{ENTITY}"),
            format!("/subscriptions/{SUBSCRIPTION}"),
        ] {
            send("DELETE", &path, None).await;
        }
        let made = [
            ("/entities", entity(ENTITY, word)),
            ("/subscriptions", subscription(SUBSCRIPTION, word)),
        ];
        for (path, body) in made {
            let answer = send("POST", path, Some(body)).await;
            assert_eq!(answer.status, 201, "{path}: {}", answer.text());
        }
        let context = json!({"@context": {"word": format!("https://a.example/{word}")}});
        let context = send("POST", "/jsonldContexts", Some(context)).await;
        assert_eq!(context.status, 201, "{}", context.text());
        let past = send("GET", &format!("/temporal/entities/{ENTITY}"), None).await;
        let instance = &past.json()["n"];
        let instance = instance.get(0).unwrap_or(instance);
        Self {
            tenant,
            instance: instance["instanceId"].as_str().unwrap().to_owned(),
            context: context.header("location").rsplit('/').next().unwrap().to_owned(),
        }
    }

    fn headers_of(tenant: &str) -> Vec<(&str, &str)> {
        let named = Some(("ngsild-tenant", tenant));
        named.filter(|_| !tenant.is_empty()).into_iter().collect()
    }

    pub fn headers(&self) -> Vec<(&'static str, &'static str)> {
        let named = Some(("ngsild-tenant", self.tenant));
        named.filter(|_| !self.tenant.is_empty()).into_iter().collect()
    }

    /// A good request of an operation, whoever adds one says here what that is.
    pub fn good(&self, described: &Described<'_>, word: &str) -> Good {
        let id = described.operation["operationId"].as_str().unwrap();
        let path = described
            .path
            .replace("{id}", self.id_in(described.path))
            .replace("{attr}", "word")
            .replace("{type}", "T")
            .replace("{instance}", &self.instance);
        let (query, body) = asks(id, word);
        assert_eq!(
            body.is_some(),
            described.operation.get("requestBody").is_some(),
            "{id}"
        );
        Good {
            id: id.to_owned(),
            method: described.method.clone(),
            path: path.replace("/attrs/word/urn", "/attrs/n/urn"),
            query,
            body,
        }
    }

    fn id_in(&self, path: &str) -> &str {
        if path.contains("subscriptions") {
            SUBSCRIPTION
        } else if path.contains("jsonldContexts") {
            &self.context
        } else {
            ENTITY
        }
    }
}

/// The query and the body of a good request.
fn asks(id: &str, word: &str) -> (&'static str, Option<Value>) {
    let attribute = json!({"type": "Property", "value": word});
    let attributes = json!({"word": attribute});
    let whole = entity(ENTITY, word);
    let instance = json!({"n": [{"type": "Property", "value": 2, "observedAt": "2024-01-02T00:00:00Z"}]});
    let query = json!({"type": "Query", "entities": [{"type": "T"}]});
    let past = json!({"type": "Query", "entities": [{"type": "T"}], "temporalQ": {"timerel": "after", "timeAt": "2000-01-01T00:00:00Z"}});
    match id {
        "queryEntities" | "purgeEntities" => ("type=T", None),
        "queryTemporal" => ("type=T&timerel=after&timeAt=2000-01-01T00:00:00Z", None),
        "createEntity" => ("", Some(entity("urn:x:new", word))),
        "replaceEntity" => ("", Some(whole)),
        "mergeEntity" | "appendAttributes" | "updateAttributes" => ("", Some(attributes)),
        "updateAttribute" | "replaceAttribute" => ("", Some(attribute)),
        "createBatch" => ("", Some(json!([entity("urn:x:batch", word)]))),
        "upsertBatch" | "updateBatch" | "mergeBatch" => ("", Some(json!([whole]))),
        "deleteBatch" => ("", Some(json!([ENTITY]))),
        "queryBatch" => ("", Some(query)),
        "queryTemporalBatch" => ("", Some(past)),
        "createSubscription" => ("", Some(subscription("urn:x:subscription:new", word))),
        "updateSubscription" => ("", Some(json!({"subscriptionName": word}))),
        "createContext" => (
            "",
            Some(json!({"@context": {"a": format!("https://a.example/{word}")}})),
        ),
        "upsertTemporal" => (
            "",
            Some(json!({"id": "urn:x:past", "type": "T", "n": instance["n"]})),
        ),
        "appendTemporalAttributes" | "updateTemporalInstance" => ("", Some(instance)),
        "retrieveEntity"
        | "deleteEntity"
        | "deleteAttribute"
        | "retrieveTypes"
        | "retrieveTypeInfo"
        | "retrieveAttributes"
        | "retrieveAttributeInfo"
        | "querySubscriptions"
        | "retrieveSubscription"
        | "deleteSubscription"
        | "listContexts"
        | "retrieveContext"
        | "deleteContext"
        | "retrieveTemporal"
        | "deleteTemporal"
        | "deleteTemporalAttribute"
        | "deleteTemporalInstance"
        | "retrieveSourceIdentity"
        | "describe" => ("", None),
        other => panic!("{other}: an operation that this test does not know"),
    }
}

/// All that is to be seen in a world.
pub async fn all(broker: &Broker, world: &World) -> Vec<String> {
    let mut seen = Vec::new();
    for path in [
        "/entities?local=true&options=sysAttrs",
        "/temporal/entities?local=true&timerel=after&timeAt=2000-01-01T00:00:00Z&timeproperty=createdAt&options=sysAttrs",
        "/subscriptions?options=sysAttrs",
        "/jsonldContexts?kind=Hosted",
        "/types?details=true",
        "/attributes?details=true",
    ] {
        let answer = broker.send("GET", path, &world.headers(), None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        seen.push(answer.text());
    }
    seen
}

/// Sends a good request, with other headers than those of its world.
pub async fn ask(broker: &Broker, good: &Good, path: &str, headers: &[(&str, &str)]) -> Answer {
    broker
        .client
        .send(broker.api, &good.method, path, headers, good.text())
        .await
}
