//! Writes with a permission set: judged by the entity as it was and as it would be, in the write's transaction.

use crate::support::gateway::{Guarded, everything};
use serde_json::{Value, json};

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

fn iri(name: &str) -> String {
    format!("{DEFAULT}{name}")
}

/// What is allowed of each operation; absent: nothing.
fn set(operations: Value) -> Value {
    let mut set = json!({"version": 1, "subject": "urn:s:1"});
    for (name, allow) in operations.as_object().unwrap() {
        set[name] = if allow.is_array() {
            json!({"allow": allow})
        } else {
            allow.clone()
        };
    }
    set
}

fn property(value: impl Into<Value>) -> Value {
    json!({"type": "Property", "value": value.into()})
}

fn park(id: &str, scope: &str) -> String {
    json!({"id": id, "type": "Park", "scope": scope, "name": property("Park"), "owner": property("Owner")})
        .to_string()
}

/// Two parks, in the north and in the south.
async fn parks() -> Guarded {
    let guarded = Guarded::ready("").await;
    guarded.broker.create(&park("urn:park:n", "/north")).await;
    guarded.broker.create(&park("urn:park:s", "/south")).await;
    guarded
}

async fn simple(guarded: &Guarded, id: &str) -> Value {
    let answer = guarded
        .broker
        .get(&format!("/entities/{id}?options=keyValues"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn status(guarded: &Guarded, set: &Value, method: &str, path: &str, body: &Value) -> u16 {
    let body = body.to_string();
    let body = (method != "DELETE").then_some(body.as_str());
    guarded.ask(set, method, path, body).await.status
}

#[tokio::test]
async fn only_what_create_allows_with_all_its_attributes_is_made() {
    let guarded = Guarded::ready("").await;
    let north = set(
        json!({"create": [{"types": [iri("Park")], "scopes": ["/north/#"], "attributes": [iri("name"), iri("size")]}]}),
    );
    let make = async |id: &str, body: Value| {
        let mut entity = body;
        entity["id"] = json!(id);
        status(&guarded, &north, "POST", "/entities", &entity).await
    };
    let name = property("x");
    assert_eq!(
        make(
            "urn:p:1",
            json!({"type": "Park", "scope": "/north/1", "name": name})
        )
        .await,
        201
    );
    assert_eq!(
        make(
            "urn:p:2",
            json!({"type": "Park", "scope": "/south", "name": name})
        )
        .await,
        403
    );
    assert_eq!(make("urn:p:3", json!({"type": "Park", "name": name})).await, 403);
    assert_eq!(
        make("urn:p:4", json!({"type": "Lamp", "scope": "/north"})).await,
        403
    );
    assert_eq!(
        make(
            "urn:p:5",
            json!({"type": "Park", "scope": "/north", "owner": name})
        )
        .await,
        403
    );
    // Of several grants each entity has those that it is in.
    let two =
        set(json!({"create": [{"attributes": [iri("a")]}, {"types": [iri("T")], "attributes": [iri("b")]}]}));
    let both = json!({"id": "urn:p:6", "type": "T", "a": property(1), "b": property(2)});
    assert_eq!(status(&guarded, &two, "POST", "/entities", &both).await, 201);
    let other = json!({"id": "urn:p:7", "type": "U", "a": property(1), "b": property(2)});
    assert_eq!(status(&guarded, &two, "POST", "/entities", &other).await, 403);
    // An id that is in use is in use, seen or not.
    assert_eq!(
        make("urn:p:6", json!({"type": "Park", "scope": "/north"})).await,
        409
    );
    assert_eq!(
        guarded.ids(&everything(), "local=true").await,
        ["urn:p:1", "urn:p:6"]
    );
}

/// Each way to change an entity, with what it does to `name`.
fn changes(id: &str) -> Vec<(&'static str, String, Value)> {
    let name = property("new");
    let whole = json!({"type": "Park", "scope": "/north", "name": name, "owner": property("Owner")});
    vec![
        ("PATCH", format!("/entities/{id}"), json!({"name": name})),
        ("PUT", format!("/entities/{id}"), whole),
        ("POST", format!("/entities/{id}/attrs"), json!({"name": name})),
        ("PATCH", format!("/entities/{id}/attrs"), json!({"name": name})),
        (
            "PATCH",
            format!("/entities/{id}/attrs/name"),
            json!({"value": "new"}),
        ),
        ("PUT", format!("/entities/{id}/attrs/name"), name),
        ("DELETE", format!("/entities/{id}/attrs/name"), Value::Null),
    ]
}

#[tokio::test]
async fn each_kind_of_change_needs_the_entity_before_and_after_to_be_allowed() {
    let guarded = parks().await;
    let north = set(json!({"read": [{}], "update": [{"scopes": ["/north"]}]}));
    let (before_north, before_south) = (
        simple(&guarded, "urn:park:n").await,
        simple(&guarded, "urn:park:s").await,
    );
    for (method, path, body) in changes("urn:park:s") {
        assert_eq!(
            status(&guarded, &north, method, &path, &body).await,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(simple(&guarded, "urn:park:s").await, before_south);
    for (method, path, body) in changes("urn:park:n") {
        assert_eq!(
            status(&guarded, &north, method, &path, &body).await,
            204,
            "{method} {path}"
        );
        assert_ne!(
            simple(&guarded, "urn:park:n").await,
            before_north,
            "{method} {path}"
        );
        let restored = guarded
            .broker
            .send(
                "PUT",
                "/entities/urn:park:n",
                &[],
                Some(&park("urn:park:n", "/north")),
            )
            .await;
        assert_eq!(restored.status, 204);
    }
    // Nothing is carried out of what is allowed, nor into it.
    let south = json!({"scope": "/south"});
    for (method, path) in [
        ("PATCH", "/entities/urn:park:n"),
        ("POST", "/entities/urn:park:n/attrs"),
        ("PATCH", "/entities/urn:park:n/attrs"),
    ] {
        assert_eq!(
            status(&guarded, &north, method, path, &south).await,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(
        status(
            &guarded,
            &north,
            "DELETE",
            "/entities/urn:park:n/attrs/scope",
            &Value::Null
        )
        .await,
        403
    );
    let moved = json!({"type": "Park", "scope": "/south"});
    assert_eq!(
        status(&guarded, &north, "PUT", "/entities/urn:park:n", &moved).await,
        403
    );
    assert_eq!(
        status(
            &guarded,
            &north,
            "PATCH",
            "/entities/urn:park:s",
            &json!({"scope": "/north"})
        )
        .await,
        403
    );
    assert_eq!(simple(&guarded, "urn:park:n").await, before_north);
    let both = set(json!({"read": [{}], "update": [{"scopes": ["/north", "/south"]}]}));
    assert_eq!(
        status(&guarded, &both, "PATCH", "/entities/urn:park:n", &south).await,
        204
    );
}

#[tokio::test]
async fn what_is_not_seen_is_404_for_writes_just_as_what_is_not_there() {
    let guarded = parks().await;
    let set = set(
        json!({"read": [{"scopes": ["/north"]}], "create": [], "update": [{"scopes": ["/north"]}], "delete": [{"scopes": ["/north"]}]}),
    );
    let mut all = changes("urn:park:s");
    all.push(("DELETE", "/entities/urn:park:s".to_owned(), Value::Null));
    for (method, path, body) in all {
        let body = body.to_string();
        let body = (method != "DELETE").then_some(body.as_str());
        let hidden = guarded.ask(&set, method, &path, body).await;
        let nowhere = guarded
            .ask(&set, method, &path.replace("park:s", "park:x"), body)
            .await;
        assert_eq!((hidden.status, nowhere.status), (404, 404), "{method} {path}");
        assert_eq!(
            hidden.text(),
            nowhere.text().replace("park:x", "park:s"),
            "{method} {path}"
        );
    }
    assert_eq!(
        status(&guarded, &set, "DELETE", "/entities/urn:park:n", &Value::Null).await,
        204
    );
    simple(&guarded, "urn:park:s").await;
}

#[tokio::test]
async fn an_attribute_is_written_only_where_it_is_allowed_and_cannot_be_found_by_trying() {
    let guarded = parks().await;
    let id = "urn:park:n";
    let path = format!("/entities/{id}");
    let set = set(
        json!({"read": [{"attributes": [iri("name"), iri("note")]}], "update": [{"attributes": [iri("name"), iri("size")]}]}),
    );
    let before = simple(&guarded, id).await;
    // Seen and not to be written: 403. Neither: whether it is there or not, the answers are the same.
    for attribute in ["owner", "nothing"] {
        for (method, of, body) in [
            ("PATCH", "", json!({attribute: property(1)})),
            ("POST", "/attrs", json!({attribute: property(1)})),
            (
                "POST",
                "/attrs?options=noOverwrite",
                json!({attribute: property(1)}),
            ),
            (
                "PATCH",
                "/attrs",
                json!({attribute: property(1), "name": property("y")}),
            ),
        ] {
            assert_eq!(
                status(&guarded, &set, method, &format!("{path}{of}"), &body).await,
                403,
                "{attribute} {method} {of}"
            );
        }
        for (method, body) in [
            ("PATCH", json!({"value": 1})),
            ("PUT", property(1)),
            ("DELETE", Value::Null),
        ] {
            let status = status(
                &guarded,
                &set,
                method,
                &format!("{path}/attrs/{attribute}"),
                &body,
            )
            .await;
            assert_eq!(status, 404, "{attribute} {method}");
        }
        let null = json!({attribute: {"type": "Property", "value": "urn:ngsi-ld:null"}});
        assert_eq!(
            status(&guarded, &set, "PATCH", &path, &null).await,
            204,
            "{attribute}: nothing to delete"
        );
    }
    assert_eq!(simple(&guarded, id).await, before);
    assert_eq!(
        status(&guarded, &set, "PATCH", &path, &json!({"note": property(1)})).await,
        403
    );
    assert_eq!(
        status(&guarded, &set, "PATCH", &path, &json!({"scope": "/north/1"})).await,
        403
    );
    assert_eq!(
        status(
            &guarded,
            &set,
            "POST",
            &format!("{path}/attrs"),
            &json!({"type": "Garden"})
        )
        .await,
        403
    );
    // Written and not seen.
    assert_eq!(
        status(
            &guarded,
            &set,
            "PATCH",
            &path,
            &json!({"size": property(5), "name": property("y")})
        )
        .await,
        204
    );
    assert_eq!(simple(&guarded, id).await["size"], 5);
    assert_eq!(
        simple(&guarded, id).await["owner"],
        "Owner",
        "what is put aside comes back"
    );
    // All or nothing: PUT needs the right to what it takes away.
    let whole = json!({"type": "Park", "scope": "/north", "name": property("z")});
    assert_eq!(status(&guarded, &set, "PUT", &path, &whole).await, 403);
}

#[tokio::test]
async fn deletion_needs_the_right_to_everything_that_goes_and_a_purge_to_everything_there_is() {
    let guarded = parks().await;
    let delete = async |delete: Value| {
        let set = set(json!({"read": [{}], "delete": delete}));
        status(&guarded, &set, "DELETE", "/entities/urn:park:n", &Value::Null).await
    };
    assert_eq!(delete(json!([])).await, 403);
    assert_eq!(delete(json!([{"scopes": ["/south"]}])).await, 403);
    assert_eq!(delete(json!([{"attributes": [iri("name")]}])).await, 403);
    assert_eq!(
        delete(json!({"allow": [{}], "deny": [{"attributes": [iri("owner")]}]})).await,
        403
    );
    for (operations, whole, part) in [
        (
            json!({"read": [{"scopes": ["/south"]}], "delete": [{}], "update": [{}]}),
            403,
            403,
        ),
        (
            json!({"read": [{}], "delete": [{"scopes": ["/south"]}], "update": [{}]}),
            403,
            204,
        ),
        (
            json!({"read": [{}], "delete": [{}], "update": [{"attributes": [iri("owner")]}]}),
            204,
            403,
        ),
    ] {
        let set = set(operations);
        let asked = |query| format!("/entities?type=Nothing{query}");
        assert_eq!(
            status(&guarded, &set, "DELETE", &asked(""), &Value::Null).await,
            whole,
            "{set}"
        );
        assert_eq!(
            status(&guarded, &set, "DELETE", &asked("&drop=owner"), &Value::Null).await,
            part,
            "{set}"
        );
    }
    assert_eq!(
        delete(json!([{"attributes": [iri("name"), iri("owner")]}])).await,
        204
    );
}

#[tokio::test]
async fn the_state_that_counts_is_that_of_the_transaction_and_not_that_of_a_read_before() {
    let guarded = std::sync::Arc::new(parks().await);
    let north = set(json!({"read": [{}], "update": [{"scopes": ["/north"]}]}));
    // Somebody moves the park to and fro; whenever the subject's write is kept, it was in the north.
    let mover = std::sync::Arc::clone(&guarded);
    let moving = tokio::spawn(async move {
        for n in 0..60 {
            let scope = if n % 2 == 0 { "/south" } else { "/north" };
            let whole = json!({"type": "Park", "scope": scope, "name": property(scope)}).to_string();
            let answer = mover
                .broker
                .send("PUT", "/entities/urn:park:n", &[], Some(&whole))
                .await;
            assert_eq!(answer.status, 204);
            let now = simple(&mover, "urn:park:n").await;
            assert!(scope == "/north" || now.get("mark").is_none(), "{now}");
        }
    });
    let mut kept = 0;
    while !moving.is_finished() {
        let answer = status(
            &guarded,
            &north,
            "PATCH",
            "/entities/urn:park:n",
            &json!({"mark": property(1)}),
        )
        .await;
        assert!([204, 403].contains(&answer), "{answer}");
        kept += usize::from(answer == 204);
    }
    moving.await.unwrap();
    assert!(kept > 0);
}
