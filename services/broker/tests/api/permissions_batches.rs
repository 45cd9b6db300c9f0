//! Batches with a permission set: each entity is judged alone, and the good ones go through.

use crate::support::Answer;
use crate::support::gateway::Guarded;
use serde_json::{Value, json};

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

fn entity(id: &str, scope: &str, value: u32) -> Value {
    json!({"id": id, "type": "Park", "scope": scope, "size": {"type": "Property", "value": value}})
}

fn north() -> Value {
    let north = json!({"allow": [{"scopes": ["/north"]}]});
    json!({"version": 1, "subject": "urn:s:1", "read": {"allow": [{"scopes": ["/north", "/east"]}]},
        "create": north, "update": north, "delete": north})
}

/// Parks of the north, the east (seen only) and the south (not even that).
async fn parks() -> Guarded {
    let guarded = Guarded::ready("").await;
    for side in ["north", "east", "south"] {
        let park = entity(&format!("urn:park:{side}"), &format!("/{side}"), 1);
        guarded.broker.create(&park.to_string()).await;
    }
    guarded
}

async fn batch(guarded: &Guarded, operation: &str, items: &Value) -> Answer {
    let path = format!("/entityOperations/{operation}");
    guarded
        .ask(&north(), "POST", &path, Some(&items.to_string()))
        .await
}

/// What went well, and the status of what did not.
fn result(answer: &Answer) -> (Vec<String>, Vec<(String, u64)>) {
    assert_eq!(answer.status, 207, "{}", answer.text());
    let json = answer.json();
    let texts = json["success"].as_array().unwrap().iter();
    let errors = json["errors"].as_array().unwrap().iter();
    let mut errors: Vec<_> = errors
        .map(|e| {
            (
                e["entityId"].as_str().unwrap().to_owned(),
                e["error"]["status"].as_u64().unwrap(),
            )
        })
        .collect();
    errors.sort();
    (texts.map(|id| id.as_str().unwrap().to_owned()).collect(), errors)
}

fn pairs(errors: &[(&str, u64)]) -> Vec<(String, u64)> {
    errors
        .iter()
        .map(|(id, status)| (format!("urn:park:{id}"), *status))
        .collect()
}

async fn size(guarded: &Guarded, side: &str) -> Value {
    let answer = guarded
        .broker
        .get(&format!("/entities/urn:park:{side}?options=keyValues"))
        .await;
    if answer.status == 404 {
        Value::Null
    } else {
        answer.json()["size"].clone()
    }
}

async fn sizes(guarded: &Guarded) -> [Value; 3] {
    [
        size(guarded, "north").await,
        size(guarded, "east").await,
        size(guarded, "south").await,
    ]
}

#[tokio::test]
async fn of_a_batch_of_creations_those_that_are_allowed_are_made() {
    let guarded = parks().await;
    let items = json!([
        entity("urn:park:1", "/north", 5),
        entity("urn:park:2", "/south", 5),
        entity("urn:park:south", "/north", 5)
    ]);
    let answer = batch(&guarded, "create", &items).await;
    assert_eq!(
        result(&answer),
        (
            vec!["urn:park:1".to_owned()],
            pairs(&[("2", 403), ("south", 409)])
        )
    );
    assert_eq!(
        (size(&guarded, "1").await, size(&guarded, "2").await),
        (json!(5), Value::Null)
    );
    assert_eq!(size(&guarded, "south").await, 1);
}

#[tokio::test]
async fn of_a_batch_of_upserts_what_is_not_allowed_before_or_after_stays_as_it_was() {
    for options in ["", "?options=update"] {
        let guarded = parks().await;
        let items = json!([
            entity("urn:park:north", "/north", 7),
            entity("urn:park:east", "/north", 7),
            entity("urn:park:south", "/north", 7),
            entity("urn:park:new", "/north", 7),
            entity("urn:park:other", "/south", 7)
        ]);
        let answer = batch(&guarded, &format!("upsert{options}"), &items).await;
        let (well, errors) = result(&answer);
        assert_eq!(well, ["urn:park:north", "urn:park:new"], "{options}");
        assert_eq!(
            errors,
            pairs(&[("east", 403), ("other", 403), ("south", 403)]),
            "{options}"
        );
        assert_eq!(sizes(&guarded).await, [json!(7), json!(1), json!(1)], "{options}");
        // Out of what is allowed.
        let answer = batch(
            &guarded,
            &format!("upsert{options}"),
            &json!([entity("urn:park:north", "/south", 8)]),
        )
        .await;
        assert_eq!(result(&answer).1, pairs(&[("north", 403)]), "{options}");
        assert_eq!(size(&guarded, "north").await, 7);
    }
}

#[tokio::test]
async fn of_a_batch_of_updates_merges_and_deletions_what_is_not_seen_is_not_there() {
    for operation in ["update", "merge"] {
        let guarded = parks().await;
        let size = json!({"type": "Property", "value": 7});
        let items = json!([
            {"id": "urn:park:north", "size": size}, {"id": "urn:park:east", "size": size},
            {"id": "urn:park:south", "size": size}, {"id": "urn:park:none", "size": size}
        ]);
        let (well, errors) = result(&batch(&guarded, operation, &items).await);
        assert_eq!(well, ["urn:park:north"], "{operation}");
        assert_eq!(
            errors,
            pairs(&[("east", 403), ("none", 404), ("south", 404)]),
            "{operation}"
        );
        assert_eq!(
            sizes(&guarded).await,
            [json!(7), json!(1), json!(1)],
            "{operation}"
        );
        // Twice the same id: one step out of what is allowed, one within it.
        let items = json!([{"id": "urn:park:north", "scope": "/south"}, {"id": "urn:park:north", "size": {"type": "Property", "value": 9}}]);
        let (well, errors) = result(&batch(&guarded, operation, &items).await);
        assert_eq!(
            (well, errors),
            (vec!["urn:park:north".to_owned()], pairs(&[("north", 403)])),
            "{operation}"
        );
        let answer = guarded
            .broker
            .get("/entities/urn:park:north?options=keyValues")
            .await
            .json();
        assert_eq!(
            (&answer["size"], &answer["scope"]),
            (&json!(9), &json!("/north")),
            "{operation}"
        );
    }
    let guarded = parks().await;
    let items = json!([
        "urn:park:north",
        "urn:park:east",
        "urn:park:south",
        "urn:park:none"
    ]);
    let (well, errors) = result(&batch(&guarded, "delete", &items).await);
    assert_eq!(well, ["urn:park:north"]);
    assert_eq!(errors, pairs(&[("east", 403), ("none", 404), ("south", 404)]));
    assert_eq!(sizes(&guarded).await, [Value::Null, json!(1), json!(1)]);
}

#[tokio::test]
async fn attributes_in_a_batch_need_their_right_too() {
    let guarded = parks().await;
    let size = json!({"allow": [{"attributes": [format!("{DEFAULT}size")]}]});
    let set = json!({"version": 1, "subject": "s", "read": {"allow": [{}]}, "update": size});
    let items = json!([
        {"id": "urn:park:north", "size": {"type": "Property", "value": 7}},
        {"id": "urn:park:east", "size": {"type": "Property", "value": 7}, "name": {"type": "Property", "value": "x"}}
    ]);
    for operation in ["update", "merge"] {
        let path = format!("/entityOperations/{operation}");
        let answer = guarded.ask(&set, "POST", &path, Some(&items.to_string())).await;
        assert_eq!(result(&answer).1, pairs(&[("east", 403)]), "{operation}");
    }
    assert_eq!(sizes(&guarded).await, [json!(7), json!(1), json!(1)]);
}

#[tokio::test]
async fn of_an_id_that_comes_several_times_each_state_has_to_be_allowed() {
    for options in ["", "?options=update"] {
        let guarded = parks().await;
        let path = format!("upsert{options}");
        // The last one would be allowed after the one before it, had that been.
        let steps = |id: &str| {
            json!([
                entity(id, "/north", 5),
                entity(id, "/south", 6),
                entity(id, "/north", 7)
            ])
        };
        for id in ["new", "north"] {
            let items = steps(&format!("urn:park:{id}"));
            let (well, errors) = result(&batch(&guarded, &path, &items).await);
            assert_eq!(errors, pairs(&[(id, 403)]), "{options} {id}");
            assert_eq!(well, [format!("urn:park:{id}")], "{options} {id}");
            assert_eq!(size(&guarded, id).await, 7, "{options} {id}");
        }
        // None of them begins where it may.
        let items = steps("urn:park:south");
        let (well, errors) = result(&batch(&guarded, &path, &items).await);
        assert!(well.is_empty(), "{well:?}");
        assert_eq!(errors, pairs(&[("south", 403); 3]), "{options}");
        assert_eq!(size(&guarded, "south").await, 1, "{options}");
    }
}
