//! `/entityOperations/create`, `update`, `merge` and `delete` (clauses 5.5.11, 5.6.7, 5.6.9, 5.6.10, 5.6.20).

use crate::support::{Answer, Broker};
use serde_json::{Value, json};

fn entity(n: usize, value: Value) -> Value {
    json!({"id": format!("urn:ngsi-ld:T:{n}"), "type": "T", "a": {"type": "Property", "value": value}})
}

fn id(n: usize) -> String {
    format!("urn:ngsi-ld:T:{n}")
}

async fn batch(broker: &Broker, operation: &str, items: &[Value]) -> Answer {
    let body = Value::Array(items.to_vec()).to_string();
    broker
        .post(&format!("/entityOperations/{operation}"), &body)
        .await
}

async fn simple(broker: &Broker, n: usize) -> Value {
    let answer = broker
        .get(&format!("/entities/{}?format=simplified", id(n)))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The errors of a 207: ids with the last part of the type and the status.
fn errors(answer: &Answer) -> Vec<(String, String, u64)> {
    assert_eq!(answer.status, 207, "{}", answer.text());
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap().iter();
    errors
        .map(|e| {
            let error = &e["error"];
            assert!(
                error["title"].is_string() && error["detail"].is_string(),
                "{error}"
            );
            let kind = error["type"].as_str().unwrap().rsplit('/').next().unwrap();
            (
                e["entityId"].as_str().unwrap().to_owned(),
                kind.to_owned(),
                error["status"].as_u64().unwrap(),
            )
        })
        .collect()
}

fn error(n: usize, kind: &str, status: u64) -> (String, String, u64) {
    (id(n), kind.to_owned(), status)
}

#[tokio::test]
async fn a_batch_creates_what_is_not_there_and_says_what_is() {
    let broker = Broker::ready().await;
    let answer = batch(&broker, "create", &[entity(2, json!(1)), entity(1, json!(1))]).await;
    assert_eq!((answer.status, answer.json()), (201, json!([id(2), id(1)])));
    let answer = batch(
        &broker,
        "create",
        &[
            entity(1, json!(5)),
            entity(3, json!(1)),
            json!({"id": id(4)}),
            entity(3, json!(2)),
        ],
    )
    .await;
    assert_eq!(
        errors(&answer),
        [
            error(4, "BadRequestData", 400),
            error(1, "AlreadyExists", 409),
            error(3, "AlreadyExists", 409)
        ]
    );
    assert_eq!(answer.json()["success"], json!([id(3)]));
    assert_eq!(simple(&broker, 3).await["a"], 1, "the first of the same id wins");
    assert_eq!(simple(&broker, 1).await["a"], 1);
    let answer = batch(&broker, "create", &[entity(1, json!(5))]).await;
    assert_eq!(
        (errors(&answer), answer.json()["success"].clone()),
        (vec![error(1, "AlreadyExists", 409)], json!([]))
    );
    let null = batch(
        &broker,
        "create",
        &[json!({"id": id(9), "type": "T", "a": "urn:ngsi-ld:null"})],
    )
    .await;
    assert_eq!(errors(&null), [error(9, "BadRequestData", 400)]);
}

#[tokio::test]
async fn a_batch_updates_what_is_there_and_deletes_by_null() {
    let broker = Broker::ready().await;
    let full = json!({"id": id(1), "type": "T", "scope": "/a", "a": {"type": "Property", "value": 1, "unitCode": "X"}, "b": 1, "c": 1});
    batch(&broker, "create", &[full, entity(2, json!(1))]).await;
    let answer = batch(
        &broker,
        "update",
        &[
            json!({"id": id(1), "type": "U", "scope": "/b", "a": {"type": "Property", "value": 2}, "c": "urn:ngsi-ld:null", "d": 4}),
            json!({"id": id(2), "a": 2}),
        ],
    )
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    let one = broker.get(&format!("/entities/{}", id(1))).await.json();
    assert_eq!(
        one["a"],
        json!({"type": "Property", "value": 2}),
        "an attribute is written whole"
    );
    assert_eq!(
        simple(&broker, 1).await,
        json!({"id": id(1), "type": ["T", "U"], "scope": "/b", "a": 2, "b": 1, "d": 4})
    );
    assert_eq!(simple(&broker, 2).await["a"], 2);
    let answer = batch(
        &broker,
        "update",
        &[
            entity(9, json!(1)),
            entity(1, json!(3)),
            json!({"id": id(2), "none": "urn:ngsi-ld:null", "a": 3}),
        ],
    )
    .await;
    assert_eq!(
        errors(&answer),
        [
            error(2, "ResourceNotFound", 404),
            error(9, "ResourceNotFound", 404)
        ]
    );
    assert_eq!(answer.json()["success"], json!([id(1)]));
    assert_eq!(
        (
            simple(&broker, 1).await["a"].clone(),
            simple(&broker, 2).await["a"].clone()
        ),
        (json!(3), json!(3))
    );
}

#[tokio::test]
async fn an_update_without_overwriting_adds_and_says_what_it_left() {
    let broker = Broker::ready().await;
    batch(
        &broker,
        "create",
        &[entity(1, json!(1)), entity(2, json!(1)), entity(3, json!(1))],
    )
    .await;
    let operation = "update?options=noOverwrite";
    let added = batch(
        &broker,
        operation,
        &[
            json!({"id": id(1), "b": 2, "scope": ["/a"]}),
            json!({"id": id(2), "b": 2}),
        ],
    )
    .await;
    assert_eq!(added.status, 204, "{}", added.text());
    let answer = batch(
        &broker,
        operation,
        &[
            json!({"id": id(1), "a": 9, "c": 3, "scope": ["/b"]}),
            json!({"id": id(3), "a": "urn:ngsi-ld:null"}),
            json!({"id": id(2), "d": 1}),
        ],
    )
    .await;
    assert_eq!(
        errors(&answer),
        [error(1, "AlreadyExists", 409), error(3, "AlreadyExists", 409)]
    );
    assert!(
        answer.json()["errors"][0]["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("default-context/a")
    );
    assert_eq!(answer.json()["success"], json!([id(2)]));
    assert_eq!(
        simple(&broker, 1).await,
        json!({"id": id(1), "type": "T", "scope": ["/a", "/b"], "a": 1, "b": 2, "c": 3})
    );
    assert_eq!(simple(&broker, 3).await["a"], 1);
}

#[tokio::test]
async fn a_batch_merges_deep_and_each_item_in_its_own_context() {
    let broker = Broker::ready().await;
    batch(
        &broker,
        "create",
        &[
            json!({"id": id(1), "type": "T", "a": {"type": "Property", "value": {"x": 1, "y": 2}, "unitCode": "X"}}),
            entity(2, json!(1)),
        ],
    )
    .await;
    let context = json!({"ah": "https://uri.etsi.org/ngsi-ld/default-context/a"});
    let items = json!([
        {"id": id(1), "type": "T", "ah": {"type": "Property", "value": {"y": "urn:ngsi-ld:null", "z": 3}}, "@context": context},
        {"id": id(2), "type": "T", "ah": 7, "@context": []},
        {"id": id(2), "type": "T", "ah": 8},
        {"id": id(9), "type": "T", "ah": 7, "@context": context},
        {"id": id(1), "type": "T", "ah": {"type": "Property", "value": null}, "@context": context},
        {"id": id(1), "type": "T", "b": 5, "@context": context}
    ]);
    let answer = broker
        .send(
            "POST",
            "/entityOperations/merge",
            &[("content-type", "application/ld+json")],
            Some(&items.to_string()),
        )
        .await;
    assert_eq!(
        errors(&answer),
        [
            error(2, "BadRequestData", 400),
            error(1, "BadRequestData", 400),
            error(9, "ResourceNotFound", 404)
        ]
    );
    assert_eq!(answer.json()["success"], json!([id(1), id(2)]));
    let one = broker.get(&format!("/entities/{}", id(1))).await.json();
    assert_eq!(
        one["a"],
        json!({"type": "Property", "value": {"x": 1, "z": 3}, "unitCode": "X"})
    );
    assert_eq!(one["b"]["value"], 5, "what comes after a refused item is merged");
    assert_eq!(simple(&broker, 2).await["ah"], 7, "a context without the term");
    let all = batch(
        &broker,
        "merge",
        &[json!({"id": id(1), "b": 6}), json!({"id": id(2), "b": 6})],
    )
    .await;
    assert_eq!((all.status, all.text().as_str()), (204, ""));
    assert_eq!(simple(&broker, 2).await["b"], 6);
    let wrong = batch(&broker, "merge", &[json!({"id": id(9), "b": null})]).await;
    assert_eq!(
        errors(&wrong),
        [error(9, "BadRequestData", 400)],
        "wrong wherever it is merged"
    );
}

#[tokio::test]
async fn the_same_id_is_changed_in_the_order_of_the_batch() {
    let broker = Broker::ready().await;
    batch(&broker, "create", &[entity(1, json!(0))]).await;
    for operation in ["update", "merge"] {
        let items: Vec<Value> = (1..6)
            .map(|n| json!({"id": id(1), "a": n, format!("{operation}{n}"): n}))
            .collect();
        assert_eq!(batch(&broker, operation, &items).await.status, 204);
        let one = simple(&broker, 1).await;
        assert_eq!((&one["a"], &one[format!("{operation}3")]), (&json!(5), &json!(3)));
    }
}

#[tokio::test]
async fn row_broker_a_large_entity_is_not_merged_ten_thousand_times_in_one_batch() {
    let broker = Broker::ready().await;
    let large: Vec<Value> = (0..60_000).map(|n| json!(format!("text {n}"))).collect();
    broker
        .create(&json!({"id": id(1), "type": "T", "large": {"type": "Property", "value": large}}).to_string())
        .await;
    broker.create(&entity(2, json!(0)).to_string()).await;
    let items: Vec<Value> = (0..10_000)
        .map(|n| json!({"id": id(1 + n % 2), "n": n}))
        .collect();
    let started = std::time::Instant::now();
    let answer = batch(&broker, "merge", &items).await;
    let found = errors(&answer);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    let done = 5000 - found.len();
    assert!((10..500).contains(&done), "{done} merges of the large one");
    assert!(found.iter().all(|e| *e == error(1, "BadRequestData", 400)));
    assert_eq!(answer.json()["success"], json!([id(1), id(2)]));
    assert_eq!(
        simple(&broker, 2).await["n"],
        9999,
        "a small one is merged as often as it comes"
    );
    assert_eq!(simple(&broker, 1).await["n"], 2 * (done - 1));
}

#[tokio::test]
async fn a_batch_deletes_each_once() {
    let broker = Broker::ready().await;
    let with_place =
        json!({"id": id(1), "type": ["T", "U"], "location": {"type": "Point", "coordinates": [1, 1]}});
    batch(
        &broker,
        "create",
        &[
            with_place,
            entity(2, json!(1)),
            entity(3, json!(1)),
            entity(4, json!(1)),
        ],
    )
    .await;
    let answer = batch(&broker, "delete", &[json!(id(1)), json!(id(2))]).await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    let answer = batch(
        &broker,
        "delete",
        &[
            json!(id(3)),
            json!(id(9)),
            json!(id(3)),
            json!("nouri"),
            json!(5),
            json!(id(4)),
        ],
    )
    .await;
    let mut found = errors(&answer);
    found.sort();
    let mut expected = vec![
        (String::new(), "BadRequestData".to_owned(), 400),
        ("nouri".to_owned(), "BadRequestData".to_owned(), 400),
        error(3, "ResourceNotFound", 404),
        error(9, "ResourceNotFound", 404),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(answer.json()["success"], json!([id(3), id(4)]));
    for table in ["entities", "entity_types", "entity_geometries"] {
        assert_eq!(
            broker.database.psql(&format!("select count(*) from mim.{table}")),
            "0",
            "{table}"
        );
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_whole() {
    let broker = Broker::ready().await;
    for operation in ["create", "upsert", "update", "merge", "delete"] {
        let path = format!("/entityOperations/{operation}");
        for (body, kind) in [
            ("[]", "BadRequestData"),
            ("{}", "BadRequestData"),
            ("\"urn:x:1\"", "BadRequestData"),
            ("[null]", "BadRequestData"),
            ("[", "InvalidRequest"),
            ("", "InvalidRequest"),
        ] {
            let answer = broker.post(&path, body).await;
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (400, kind),
                "{operation} {body}"
            );
        }
        let many: Vec<Value> = (0..10_001).map(|n| json!(format!("urn:x:{n}"))).collect();
        let answer = broker.post(&path, &Value::Array(many).to_string()).await;
        assert!(
            answer.text().contains("at most 10000"),
            "{operation}: {}",
            answer.text()
        );
        assert_eq!(
            broker.post(&format!("{path}?nonsense=1"), "[]").await.error(),
            "InvalidRequest"
        );
        let unknown = broker.send("GET", &path, &[], None).await;
        assert_eq!(
            (unknown.status, unknown.header("allow")),
            (405, "POST"),
            "{operation}"
        );
    }
    let link =
        "<https://c.example/a>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
    for operation in ["create", "update", "merge"] {
        let answer = broker
            .send(
                "POST",
                &format!("/entityOperations/{operation}"),
                &[("content-type", "application/ld+json"), ("link", link)],
                Some(r#"[{"id":"urn:x:1","type":"T","@context":[]}]"#),
            )
            .await;
        assert_eq!(answer.error(), "BadRequestData", "{operation}");
    }
}

#[tokio::test]
async fn overlapping_batches_that_create_merge_and_delete_never_deadlock() {
    let broker = Broker::ready().await;
    let other = Broker::start_with(broker.database.clone(), broker.config.clone());
    other.until_ready().await;
    let operations = ["create", "merge", "delete", "upsert", "update"];
    let mut writers = Vec::new();
    for writer in 0..30 {
        let operation = operations[writer % operations.len()];
        let mut items: Vec<Value> = (0..40)
            .map(|n| {
                if operation == "delete" {
                    json!(id(n))
                } else {
                    entity(n, json!(writer))
                }
            })
            .collect();
        items.rotate_left(writer * 7 % 40);
        if writer % 2 == 1 {
            items.reverse();
        }
        let replica = if writer % 3 == 0 { &broker } else { &other };
        writers.push(async move { batch(replica, operation, &items).await });
    }
    for answer in futures::future::join_all(writers).await {
        assert!(
            matches!(answer.status, 201 | 204 | 207),
            "{}: {}",
            answer.status,
            answer.text()
        );
        let text = answer.text();
        assert!(!text.contains("InternalError"), "{text}");
    }
    assert_eq!(
        broker
            .database
            .psql("select deadlocks from pg_stat_database where datname = current_database()"),
        "0"
    );
    let orphans = broker.database.psql(
        "select count(*) from mim.entity_types t where not exists (select 1 from mim.entities e where e.tenant = t.tenant and e.id = t.id)",
    );
    assert_eq!(orphans, "0", "types go with their entities");
}
