//! Writes of the past with a permission set.

use crate::support::gateway::Guarded;
use serde_json::{Value, json};

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

fn iri(name: &str) -> String {
    format!("{DEFAULT}{name}")
}

fn set(operations: Value) -> Value {
    let mut set = json!({"version": 1, "subject": "urn:s:1"});
    for (name, allow) in operations.as_object().unwrap() {
        set[name] = json!({"allow": allow});
    }
    set
}

fn instance(value: u32, day: u32) -> Value {
    json!([{"type": "Property", "value": value, "observedAt": format!("2024-01-0{day}T00:00:00Z")}])
}

async fn parks() -> Guarded {
    let guarded = Guarded::ready("temporal: {mode: Enabled}").await;
    for side in ["north", "south"] {
        guarded
            .broker
            .create(
                &json!({"id": format!("urn:park:{side}"), "type": "Park", "scope": format!("/{side}"),
                "size": {"type": "Property", "value": 1, "observedAt": "2024-01-01T00:00:00Z"},
                "owner": {"type": "Property", "value": 1, "observedAt": "2024-01-01T00:00:00Z"}})
                .to_string(),
            )
            .await;
    }
    let old = json!({"id": "urn:park:old", "type": "Park", "size": instance(1, 1), "owner": instance(1, 1)});
    assert_eq!(
        guarded
            .broker
            .post("/temporal/entities", &old.to_string())
            .await
            .status,
        201
    );
    guarded
}

async fn status(guarded: &Guarded, set: &Value, method: &str, path: &str, body: &Value) -> u16 {
    let body = body.to_string();
    let body = (method != "DELETE").then_some(body.as_str());
    guarded.ask(set, method, path, body).await.status
}

async fn past(guarded: &Guarded, id: &str) -> Value {
    guarded
        .broker
        .get(&format!("/temporal/entities/{id}"))
        .await
        .json()
}

/// The id of an instance of the size of an entity.
async fn instance_of(guarded: &Guarded, id: &str) -> String {
    let past = past(guarded, id).await;
    let size = &past["size"];
    let first = if size.is_array() { &size[0] } else { size };
    first["instanceId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_past_is_begun_and_added_to_where_entity_and_attributes_are_allowed() {
    let guarded = parks().await;
    let north = set(
        json!({"read": [{"scopes": ["/north"]}], "create": [{"types": [iri("Park")], "attributes": [iri("size")]}],
        "update": [{"scopes": ["/north"], "attributes": [iri("size")]}]}),
    );
    let create = async |id: &str, kind: &str, attribute: &str| {
        let body = json!({"id": id, "type": kind, attribute: instance(5, 2)});
        status(&guarded, &north, "POST", "/temporal/entities", &body).await
    };
    assert_eq!(create("urn:park:new", "Park", "size").await, 201);
    assert_eq!(create("urn:park:new2", "Park", "owner").await, 403);
    assert_eq!(create("urn:lamp:new", "Lamp", "size").await, 403);
    assert_eq!(create("urn:park:north", "Park", "size").await, 204);
    assert_eq!(create("urn:park:north", "Park", "owner").await, 403);
    assert_eq!(
        create("urn:park:south", "Park", "size").await,
        403,
        "an id in use is in use"
    );
    let add = async |id: &str, body: Value| {
        status(
            &guarded,
            &north,
            "POST",
            &format!("/temporal/entities/{id}/attrs"),
            &body,
        )
        .await
    };
    assert_eq!(add("urn:park:north", json!({"size": instance(6, 3)})).await, 204);
    assert_eq!(add("urn:park:north", json!({"owner": instance(6, 3)})).await, 403);
    assert_eq!(
        add(
            "urn:park:north",
            json!({"type": "Garden", "size": instance(6, 4)})
        )
        .await,
        403
    );
    let scope =
        json!({"scope": [{"type": "Property", "value": ["/x"], "observedAt": "2024-01-05T00:00:00Z"}]});
    assert_eq!(add("urn:park:north", scope).await, 403);
    assert_eq!(add("urn:park:south", json!({"size": instance(6, 3)})).await, 404);
    assert_eq!(add("urn:park:none", json!({"size": instance(6, 3)})).await, 404);
    assert_eq!(
        add("urn:park:old", json!({"size": instance(6, 3)})).await,
        404,
        "it has no scope"
    );
    let parks = set(json!({"update": [{"types": [iri("Park")], "attributes": [iri("size")]}]}));
    let old = "/temporal/entities/urn:park:old/attrs";
    assert_eq!(
        status(&guarded, &parks, "POST", old, &json!({"size": instance(6, 3)})).await,
        204
    );
    assert_eq!(
        status(&guarded, &parks, "POST", old, &json!({"owner": instance(6, 3)})).await,
        403
    );
    assert_eq!(
        past(&guarded, "urn:park:south").await["size"]
            .as_array()
            .map_or(1, Vec::len),
        1
    );
    assert_eq!(
        past(&guarded, "urn:park:north").await["size"]
            .as_array()
            .map_or(1, Vec::len),
        3
    );
}

#[tokio::test]
async fn instances_are_corrected_and_taken_away_where_their_attribute_is_allowed_now() {
    let guarded = parks().await;
    let north = set(
        json!({"read": [{"scopes": ["/north"], "attributes": [iri("size"), iri("owner")]}, {"scopes": ["/south"], "attributes": [iri("owner")]}],
        "update": [{"scopes": ["/north"], "attributes": [iri("size")]}]}),
    );
    let by = json!({"type": "Property", "value": 9, "observedAt": "2024-01-01T00:00:00Z"});
    for (side, attribute, expected) in [
        ("north", "owner", 403),
        ("south", "size", 404),
        ("south", "owner", 403),
        ("none", "size", 404),
    ] {
        let id = format!("urn:park:{side}");
        let instance = if side == "none" {
            "urn:x:1".to_owned()
        } else {
            instance_of(&guarded, &id).await
        };
        let path = format!("/temporal/entities/{id}/attrs/{attribute}");
        // Of another attribute there is no such instance; what counts is that it is not looked for.
        assert_eq!(
            status(&guarded, &north, "DELETE", &path, &Value::Null).await,
            expected,
            "{path}"
        );
        if side != "none" {
            let one = format!("{path}/{instance}");
            assert_eq!(
                status(&guarded, &north, "PATCH", &one, &by).await,
                expected,
                "{one}"
            );
            assert_eq!(
                status(&guarded, &north, "DELETE", &one, &Value::Null).await,
                expected,
                "{one}"
            );
        }
    }
    let instance = instance_of(&guarded, "urn:park:north").await;
    let path = format!("/temporal/entities/urn:park:north/attrs/size/{instance}");
    assert_eq!(status(&guarded, &north, "PATCH", &path, &by).await, 204);
    assert_eq!(status(&guarded, &north, "DELETE", &path, &Value::Null).await, 204);
    assert_eq!(status(&guarded, &north, "DELETE", &path, &Value::Null).await, 404);
    let size = "/temporal/entities/urn:park:north/attrs/size?deleteAll=true";
    assert_eq!(
        status(&guarded, &north, "DELETE", size, &Value::Null).await,
        404,
        "nothing is left"
    );
    assert!(past(&guarded, "urn:park:south").await.get("size").is_some());
}

#[tokio::test]
async fn a_whole_past_is_forgotten_by_who_may_delete_all_of_the_entity() {
    let guarded = parks().await;
    for (operations, north, south, old) in [
        (json!({"read": [{"scopes": ["/north"]}]}), 403, 404, 404),
        (
            json!({"read": [{}], "delete": [{"attributes": [iri("size"), iri("owner")]}]}),
            403,
            403,
            403,
        ),
        (
            json!({"read": [{}], "delete": [{"scopes": ["/north"]}]}),
            204,
            403,
            403,
        ),
        (json!({"delete": [{"types": [iri("Park")]}]}), 404, 204, 204),
    ] {
        let set = set(operations);
        for (side, expected) in [("north", north), ("south", south), ("old", old)] {
            let path = format!("/temporal/entities/urn:park:{side}");
            assert_eq!(
                status(&guarded, &set, "DELETE", &path, &Value::Null).await,
                expected,
                "{set} {side}"
            );
        }
    }
}

#[tokio::test]
async fn of_an_entity_of_the_past_only_nothing_is_seen_where_its_scope_or_its_place_might_hide_it() {
    let guarded = Guarded::ready("temporal: {mode: Enabled}").await;
    let since = "timerel=after&timeAt=2000-01-01T00:00:00Z&timeproperty=createdAt";
    let area = json!({"type": "Polygon", "coordinates": [[[7, 47], [9, 47], [9, 49], [7, 49], [7, 47]]]});
    let park = json!({"id": "urn:park:1", "type": "Park", "scope": "/secret/a", "size": {"type": "Property", "value": 1},
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [8.0, 48.0]}}});
    let brought = |mut instance: Value| {
        instance["observedAt"] = json!("2024-01-01T00:00:00Z");
        json!([instance])
    };
    let past = json!({"id": "urn:park:1", "type": "Park", "size": brought(park["size"].clone()),
        "scope": brought(json!({"type": "Property", "value": ["/secret/a"]})), "location": brought(park["location"].clone())});
    let denying = |deny: Value| {
        let rules = json!({"allow": [{}], "deny": [deny]});
        json!({"version": 1, "subject": "s", "read": rules, "update": rules, "delete": rules})
    };
    let hiding = [
        denying(json!({"scopes": ["/secret/#"]})),
        denying(json!({"area": area})),
        denying(json!({"area": area, "types": [iri("Park")]})),
    ];
    let parts = denying(json!({"scopes": ["/secret/#"], "attributes": [iri("size")]}));
    let other = denying(json!({"scopes": ["/secret/#"], "types": [iri("Lamp")]}));
    guarded.broker.create(&park.to_string()).await;
    for is_there in [true, false] {
        if !is_there {
            // Its past goes with it; one is brought for which there is no entity.
            let gone = guarded
                .broker
                .send("DELETE", "/entities/urn:park:1", &[], None)
                .await;
            assert_eq!(gone.status, 204);
            let made = guarded.broker.post("/temporal/entities", &past.to_string()).await;
            assert_eq!(made.status, 201, "{}", made.text());
        }
        for set in &hiding {
            let path = "/temporal/entities/urn:park:1";
            assert_eq!(guarded.get(set, path).await.status, 404, "{is_there} {set}");
            let found = guarded
                .get(set, &format!("/temporal/entities?type=Park&count=true&{since}"))
                .await;
            assert_eq!(
                (found.json(), found.header("ngsild-results-count")),
                (json!([]), "0")
            );
            let size = json!({"size": instance(5, 2)});
            assert_eq!(
                status(&guarded, set, "POST", &format!("{path}/attrs"), &size).await,
                404
            );
            let size = format!("{path}/attrs/size?deleteAll=true");
            assert_eq!(status(&guarded, set, "DELETE", &size, &Value::Null).await, 404);
            assert_eq!(status(&guarded, set, "DELETE", path, &Value::Null).await, 404);
        }
        let seen = guarded.get(&parts, "/temporal/entities/urn:park:1").await;
        assert_eq!(seen.status, 200, "{}", seen.text());
        assert!(seen.json().get("size").is_none() && seen.json().get("location").is_some());
        let seen = guarded.get(&other, "/temporal/entities/urn:park:1").await;
        assert!(seen.json().get("size").is_some(), "{}", seen.text());
    }
}
