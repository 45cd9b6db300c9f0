use crate::support::{Broker, eventually};
use serde_json::{Value, json};

const UPSERT: &str = "/entityOperations/upsert";

fn entity(n: usize, value: Value) -> Value {
    json!({"id": format!("urn:ngsi-ld:T:{n}"), "type": "T", "a": {"type": "Property", "value": value}})
}

async fn upsert(broker: &Broker, options: &str, items: &[Value]) -> crate::support::Answer {
    broker
        .post(
            &format!("{UPSERT}{options}"),
            &Value::Array(items.to_vec()).to_string(),
        )
        .await
}

#[tokio::test]
async fn an_upsert_creates_then_replaces_or_updates() {
    let broker = Broker::ready().await;
    let first = upsert(&broker, "", &[entity(2, json!(1)), entity(1, json!(1))]).await;
    assert_eq!(
        (first.status, first.json()),
        (201, json!(["urn:ngsi-ld:T:2", "urn:ngsi-ld:T:1"]))
    );
    let mut changed = entity(1, json!(2));
    changed["b"] = json!({"type": "Property", "value": 3});
    assert_eq!(upsert(&broker, "?options=update", &[changed]).await.status, 204);
    assert_eq!(
        upsert(
            &broker,
            "?options=update",
            &[json!({"id": "urn:ngsi-ld:T:1", "type": "U", "c": 1})]
        )
        .await
        .status,
        204
    );
    let one = broker
        .get("/entities/urn:ngsi-ld:T:1?options=keyValues")
        .await
        .json();
    assert_eq!(
        one,
        json!({"id": "urn:ngsi-ld:T:1", "type": ["T", "U"], "a": 2, "b": 3, "c": 1})
    );
    assert_eq!(
        upsert(&broker, "?options=replace", &[entity(1, json!(9))])
            .await
            .status,
        204
    );
    let one = broker
        .get("/entities/urn:ngsi-ld:T:1?options=keyValues")
        .await
        .json();
    assert_eq!(one, json!({"id": "urn:ngsi-ld:T:1", "type": "T", "a": 9}));
    let mixed = upsert(&broker, "", &[entity(1, json!(1)), entity(3, json!(1))]).await;
    assert_eq!((mixed.status, mixed.json()), (201, json!(["urn:ngsi-ld:T:3"])));
    assert!(broker.ids("type=U").await.is_empty());
}

#[tokio::test]
async fn one_bad_entity_never_loses_the_good_ones() {
    let broker = Broker::ready().await;
    let items = [
        entity(1, json!(1)),
        json!({"id": "nouri", "type": "T"}),
        json!({"id": "urn:ngsi-ld:T:2"}),
        json!({"id": "urn:ngsi-ld:T:3", "type": "T", "a": {"type": "Property"}}),
        json!({"id": "urn:ngsi-ld:T:4", "type": "T", "@context": "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld"}),
        json!(5),
        entity(6, json!("\u{1f600}")),
    ];
    let answer = upsert(&broker, "", &items).await;
    assert_eq!(answer.status, 207);
    let body = answer.json();
    assert_eq!(body["success"], json!(["urn:ngsi-ld:T:1", "urn:ngsi-ld:T:6"]));
    let failed: Vec<_> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["entityId"].as_str().unwrap())
        .collect();
    assert_eq!(
        failed,
        [
            "nouri",
            "urn:ngsi-ld:T:2",
            "urn:ngsi-ld:T:3",
            "urn:ngsi-ld:T:4",
            ""
        ]
    );
    for error in body["errors"].as_array().unwrap() {
        assert_eq!(
            error["error"]["type"],
            "https://uri.etsi.org/ngsi-ld/errors/BadRequestData"
        );
        assert!(error["error"]["title"].is_string() && error["error"]["status"] == 400);
    }
    assert_eq!(broker.ids("type=T").await.len(), 2);
    let none = upsert(&broker, "", &[json!({"id": "urn:x:1"})]).await;
    assert_eq!((none.status, none.json()["success"].clone()), (207, json!([])));
}

#[tokio::test]
async fn the_same_id_twice_is_applied_in_order_and_listed_once() {
    let broker = Broker::ready().await;
    let mut second = entity(1, json!(2));
    second["b"] = json!({"type": "Property", "value": 1});
    let answer = upsert(
        &broker,
        "?options=update",
        &[entity(1, json!(1)), second, entity(1, json!(3))],
    )
    .await;
    assert_eq!((answer.status, answer.json()), (201, json!(["urn:ngsi-ld:T:1"])));
    let one = broker
        .get("/entities/urn:ngsi-ld:T:1?options=keyValues")
        .await
        .json();
    assert_eq!((&one["a"], &one["b"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn each_item_of_ld_json_has_its_own_context() {
    let broker = Broker::ready().await;
    let items = json!([
        {"id": "urn:ngsi-ld:T:1", "type": "T", "name": "x", "@context": {"T": "https://schema.org/T", "name": "https://schema.org/name"}},
        {"id": "urn:ngsi-ld:T:2", "type": "T"}
    ]).to_string();
    let answer = broker
        .send(
            "POST",
            UPSERT,
            &[("content-type", "application/ld+json")],
            Some(&items),
        )
        .await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.json()["success"], json!(["urn:ngsi-ld:T:1"]));
    assert_eq!(
        broker
            .get("/entities/urn:ngsi-ld:T:1?options=keyValues")
            .await
            .json(),
        json!({"id": "urn:ngsi-ld:T:1", "type": "https://schema.org/T", "https://schema.org/name": "x"})
    );
    let link =
        "<https://c.example/a>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
    let both = broker
        .send(
            "POST",
            UPSERT,
            &[("content-type", "application/ld+json"), ("link", link)],
            Some(&items),
        )
        .await;
    assert_eq!(both.error(), "BadRequestData");
    for (body, error) in [
        ("[]", "BadRequestData"),
        ("{}", "BadRequestData"),
        ("", "InvalidRequest"),
        ("[", "InvalidRequest"),
    ] {
        assert_eq!(broker.post(UPSERT, body).await.error(), error, "{body}");
    }
    assert_eq!(
        upsert(&broker, "?options=replace,update", &[entity(1, json!(1))])
            .await
            .error(),
        "BadRequestData"
    );
}

#[tokio::test]
async fn overlapping_batches_of_two_replicas_never_deadlock_and_lose_nothing() {
    let broker = Broker::ready().await;
    let other = Broker::start_with(broker.database.clone(), broker.config.clone());
    other.until_ready().await;
    // Each batch writes an attribute of its own to every entity, in its own order; a third of them is new at first.
    let batch = |writer: usize| {
        let mut items: Vec<Value> = (0..60)
            .map(|n| json!({"id": format!("urn:ngsi-ld:T:{n}"), "type": "T", format!("w{writer}"): {"type": "Property", "value": writer}}))
            .collect();
        items.rotate_left(writer * 7 % 60);
        if writer % 2 == 1 {
            items.reverse();
        }
        Value::Array(items).to_string()
    };
    let mut writers = Vec::new();
    for writer in 0..24 {
        let replica = if writer % 2 == 0 { &broker } else { &other };
        let body = batch(writer);
        // All of them wait for each other's entities, so on a busy machine the last may find no connection free: who is
        // told to come again does.
        writers.push(async move {
            eventually(60, "the batch is taken", async || {
                let answer = replica
                    .post("/entityOperations/upsert?options=update", &body)
                    .await;
                let told = (answer.status, answer.header("retry-after"));
                assert!(
                    matches!(told, (201 | 204, "") | (503, "2")),
                    "{told:?}: {}",
                    answer.text()
                );
                answer.status != 503
            })
            .await;
        });
    }
    futures::future::join_all(writers).await;
    for entity in broker
        .get("/entities?type=T&limit=100")
        .await
        .json()
        .as_array()
        .unwrap()
    {
        for writer in 0..24 {
            assert_eq!(entity[format!("w{writer}")]["value"], writer, "{}", entity["id"]);
        }
    }
    assert_eq!(broker.ids("type=T&limit=100").await.len(), 60);
    assert_eq!(
        broker
            .database
            .psql("select deadlocks from pg_stat_database where datname = current_database()"),
        "0"
    );
}

#[tokio::test]
async fn a_thousand_entities_go_in_at_once() {
    let broker = Broker::ready().await;
    let items: Vec<Value> = (0..1000).map(|n| entity(n, json!(n))).collect();
    let answer = upsert(&broker, "", &items).await;
    assert_eq!(
        (answer.status, answer.json().as_array().unwrap().len()),
        (201, 1000)
    );
    let count = broker
        .get("/entities?type=T&limit=0&count=true&q=a%3E%3D500")
        .await;
    assert_eq!(count.header("ngsild-results-count"), "500");
}

#[tokio::test]
async fn a_batch_of_too_many_entities_says_how_many_it_may_have() {
    let broker = Broker::ready().await;
    let items: Vec<Value> = (0..10_001)
        .map(|n| json!({"id": format!("urn:x:{n}"), "type": "T"}))
        .collect();
    let answer = upsert(&broker, "", &items).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "BadRequestData"));
    assert!(answer.text().contains("at most 10000"), "{}", answer.text());
    assert_eq!(upsert(&broker, "", &items[1..]).await.status, 201);
    assert_eq!(upsert(&broker, "?options=update", &items[1..]).await.status, 204);
}
