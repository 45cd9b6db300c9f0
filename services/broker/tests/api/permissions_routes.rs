//! Every route, asked by somebody who may see and do nothing: whoever adds one finds it here.

use crate::openapi;
use crate::support::Answer;
use crate::support::gateway::Guarded;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The templates of all routes: the document is made of the list that they are made of.
fn routes(document: &Value) -> BTreeSet<&str> {
    let paths = document["paths"].as_object().unwrap();
    paths.keys().map(String::as_str).collect()
}

fn bodies() -> Vec<Value> {
    let entity = json!({"id": "urn:secret:1", "type": "Secret", "hush": {"type": "Property", "value": 5}});
    let new = json!({"id": "urn:new:1", "type": "Secret"});
    let query = |kind: &str| {
        json!({"type": kind, "entities": [{"type": "Secret"}],
            "temporalQ": {"timerel": "after", "timeAt": "2000-01-01T00:00:00Z"}})
    };
    let mut plain = query("Query");
    plain.as_object_mut().unwrap().remove("temporalQ");
    vec![
        json!([entity.clone(), new.clone()]),
        entity,
        new,
        json!({"hush": {"type": "Property", "value": 7}}),
        json!({"type": "Property", "value": 7}),
        plain,
        query("Query"),
        json!(["urn:secret:1"]),
        json!({"type": "Subscription", "entities": [{"type": "Secret"}],
            "notification": {"endpoint": {"uri": "http://127.0.0.1:9/"}}}),
        json!({"@context": {"x": "urn:x"}}),
    ]
}

/// What the platform itself sees of it all.
async fn all(guarded: &Guarded) -> Vec<String> {
    let mut seen = Vec::new();
    for path in [
        "/entities?local=true&options=sysAttrs",
        "/temporal/entities?local=true&timerel=after&timeAt=2000-01-01T00:00:00Z&timeproperty=createdAt",
        "/subscriptions",
        "/jsonldContexts",
    ] {
        let answer = guarded.broker.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        seen.push(answer.text());
    }
    seen
}

/// Checks that an answer tells nothing and that nothing was done. True: it made a subscription.
fn answered(method: &str, path: &str, answer: &Answer) -> bool {
    let text = answer.text();
    let is_read = method == "GET" || path.ends_with("/query");
    match answer.status {
        200 => {
            assert!(is_read, "{method} {path}: {text}");
            let told = text.replace("\"https://uri.etsi.org", "");
            assert!(
                !told.contains("ecret") && !told.contains("hush"),
                "{method} {path}: {text}"
            );
            let count = answer.header("ngsild-results-count");
            assert!(["", "0"].contains(&count), "{method} {path}: {count}");
        }
        207 => {
            let json = answer.json();
            assert_eq!(json["success"], json!([]), "{method} {path}: {text}");
        }
        400 | 403 | 404 | 405 | 422 => {
            assert!(!text.contains("\"secret\""), "{method} {path}: {text}");
        }
        // A subscription of one who sees nothing tells nothing, and is its owner's.
        201 => {
            assert_eq!((method, path), ("POST", "/ngsi-ld/v1/subscriptions"));
            return true;
        }
        other => panic!("{method} {path}: {other} {text}"),
    }
    false
}

#[tokio::test]
async fn who_may_see_and_do_nothing_sees_and_does_nothing_at_any_route() {
    let guarded = Guarded::ready("temporal: {mode: Enabled}").await;
    let broker = &guarded.broker;
    broker
        .create(r#"{"id":"urn:secret:1","type":"Secret","scope":"/secret","hush":{"type":"Property","value":"secret"}}"#)
        .await;
    let subscription = json!({"id": "urn:secret:subscription", "type": "Subscription", "entities": [{"type": "Secret"}],
        "notification": {"endpoint": {"uri": "http://127.0.0.1:9/secret"}}});
    assert_eq!(
        broker
            .post("/subscriptions", &subscription.to_string())
            .await
            .status,
        201
    );
    let context = r#"{"@context":{"secret":"urn:secret"}}"#;
    assert_eq!(broker.post("/jsonldContexts", context).await.status, 201);
    let before = all(&guarded).await;
    let instance = {
        let text = broker.get("/temporal/entities/urn:secret:1").await.text();
        let json: Value = serde_json::from_str(&text).unwrap();
        json["hush"]["instanceId"]
            .as_str()
            .or(json["hush"][0]["instanceId"].as_str())
            .unwrap()
            .to_owned()
    };
    // Nothing by silence, by a grant of nobody, and by a denial of all.
    let sets = [
        json!({"version": 1, "subject": "s"}),
        json!({"version": 1, "subject": "s", "read": {"allow": [{"ids": ["urn:none:1"]}]}, "create": {"allow": []},
            "update": {"allow": [{"scopes": ["/none"]}]}, "delete": {"allow": []}}),
        {
            let denied = json!({"allow": [{}], "deny": [{}]});
            json!({"version": 1, "subject": "s", "read": denied, "create": denied, "update": denied, "delete": denied})
        },
    ];
    let document = openapi::document(broker).await;
    let found = routes(&document);
    assert!(found.len() > 25, "{found:?}");
    for template in found {
        let path = template
            .replace(
                "{id}",
                if template.contains("subscriptions") {
                    "urn:secret:subscription"
                } else {
                    "urn:secret:1"
                },
            )
            .replace("{type}", "Secret")
            .replace("{attr}", "hush")
            .replace("{instance}", &instance);
        assert!(!path.contains('{'), "{path}: a name that this test does not know");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            for set in &sets {
                let requests: Vec<(String, Option<String>)> = match method {
                    "GET" | "DELETE" => [
                        "",
                        "?type=Secret",
                        "?local=true",
                        "?details=true",
                        "?deleteAll=true",
                        "?type=Secret&timerel=after&timeAt=2000-01-01T00:00:00Z&timeproperty=createdAt",
                        "?type=Secret&count=true",
                    ]
                    .iter()
                    .map(|query| (format!("{path}{query}"), None))
                    .collect(),
                    _ => bodies()
                        .iter()
                        .map(|body| (path.clone(), Some(body.to_string())))
                        .collect(),
                };
                for (path, body) in requests {
                    let answer = guarded.ask(set, method, &path, body.as_deref()).await;
                    if method == "GET" && path == "/openapi.json" {
                        // It has words of its own, the same for everybody.
                        assert!(answer.json() == document);
                        continue;
                    }
                    if answered(method, &path, &answer) {
                        let gone = guarded.ask(set, "DELETE", answer.header("location"), None).await;
                        assert_eq!(gone.status, 204);
                    }
                }
            }
        }
    }
    assert_eq!(all(&guarded).await, before);
}
