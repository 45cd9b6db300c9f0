//! `DELETE /entities` (clauses 5.6.21 and 6.4.3.3).

use crate::notifications::subscribe;
use crate::support::{Answer, Broker, Receiver, eventually};
use crate::temporal::{insist, keeping, past, point, shown, values};
use serde_json::{Value, json};

async fn purge(broker: &Broker, query: &str) -> Answer {
    broker
        .send("DELETE", &format!("/entities?{query}"), &[], None)
        .await
}

async fn purged(broker: &Broker, query: &str) {
    let answer = purge(broker, query).await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""), "{query}");
}

/// Six entities: 1 to 4 of type A, 5 and 6 of type B.
async fn broker() -> Broker {
    let broker = Broker::ready().await;
    let entities: Vec<Value> = (1..=6)
        .map(|n| {
            json!({
                "id": format!("urn:x:{n}"), "type": if n < 5 { "A" } else { "B" }, "scope": "/s", "n": n, "even": n % 2 == 0,
                "location": {"type": "Point", "coordinates": [n, 0]}
            })
        })
        .collect();
    let answer = broker
        .post("/entityOperations/create", &Value::Array(entities).to_string())
        .await;
    assert_eq!(answer.status, 201);
    broker.create(r#"{"id":"urn:x:7","type":"B","only":1}"#).await;
    broker
}

async fn left(broker: &Broker) -> Vec<usize> {
    let ids = broker.ids("type=*").await;
    ids.iter()
        .map(|id| id.rsplit(':').next().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn what_a_query_selects_is_deleted_and_nothing_else() {
    let broker = broker().await;
    let mut expected: Vec<usize> = (1..=7).collect();
    for (query, gone) in [
        ("q=n%3E9", vec![]),
        ("type=A&id=urn:x:1,urn:x:9", vec![1]),
        ("type=A&q=even==true&idPattern=2$", vec![2]),
        (
            "georel=near;maxDistance==10&geometry=Point&coordinates=[3,0]",
            vec![3],
        ),
        ("attrs=only,none", vec![7]),
        ("type=A,B&q=even==false", vec![5]),
        ("local=true&id=urn:x:4", vec![4]),
        ("type=*", vec![6]),
    ] {
        purged(&broker, query).await;
        expected.retain(|n| !gone.contains(n));
        assert_eq!(left(&broker).await, expected, "{query}");
    }
    for table in ["entities", "entity_types", "entity_geometries"] {
        assert_eq!(
            broker.database.psql(&format!("select count(*) from mim.{table}")),
            "0",
            "{table}"
        );
    }
}

#[tokio::test]
async fn attributes_are_kept_or_dropped_and_entities_stay() {
    let broker = broker().await;
    let shown = async |n: usize| {
        let path = format!("/entities/urn:x:{n}?format=simplified");
        let json = broker.get(&path).await.json();
        let mut names: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
        names.retain(|name| !matches!(name.as_str(), "id" | "type"));
        names
    };
    purged(&broker, "type=A&drop=n,location,none").await;
    assert_eq!(shown(1).await, ["even", "scope"]);
    assert_eq!(shown(5).await, ["even", "location", "n", "scope"]);
    let near = "georel=near;maxDistance==10&geometry=Point&coordinates=[3,0]";
    assert!(broker.ids(&format!("type=A&{near}")).await.is_empty());
    let before = broker.get("/entities/urn:x:1?options=sysAttrs").await.text();
    purged(&broker, "type=A&drop=n").await;
    let after = broker.get("/entities/urn:x:1?options=sysAttrs").await.text();
    assert_eq!(after, before, "what has nothing to drop is not modified");
    purged(&broker, "attrs=n&keep=even").await;
    assert_eq!(
        (shown(5).await, shown(6).await),
        (
            vec!["even".to_owned(), "scope".to_owned()],
            vec!["even".to_owned(), "scope".to_owned()]
        )
    );
    purged(&broker, "id=urn:x:1,urn:x:7&keep=none").await;
    assert_eq!(
        (shown(1).await, shown(7).await),
        (vec!["scope".to_owned()], Vec::<String>::new())
    );
    purged(&broker, "q=even==true&drop=even,scope").await;
    assert!(
        shown(2).await.is_empty(),
        "the attribute that was asked for may go"
    );
    assert_eq!(left(&broker).await.len(), 7);
}

#[tokio::test]
async fn a_purge_that_is_too_wide_or_wrong_deletes_nothing() {
    let broker = broker().await;
    for (query, kind) in [
        ("", "BadRequestData"),
        ("id=urn:x:1", "BadRequestData"),
        ("idPattern=.*", "BadRequestData"),
        ("local=false", "BadRequestData"),
        ("keep=n", "BadRequestData"),
        ("drop=n", "BadRequestData"),
        ("q=createdAt%3E%222020-01-01T00:00:00Z%22", "BadRequestData"),
        ("type=A&keep=n&drop=even", "BadRequestData"),
        ("type=A&keep=", "BadRequestData"),
        ("type=A&drop=n,,even", "BadRequestData"),
        ("type=A&drop=id", "BadRequestData"),
        ("type=A&keep=rel%7Ba%7D", "BadRequestData"),
        ("type=A&id=nouri", "BadRequestData"),
        ("type=A&q=", "BadRequestData"),
        ("type=A&idPattern=(", "BadRequestData"),
        ("type=A&georel=near", "BadRequestData"),
        ("type=*&local=false", "BadRequestData"),
        ("type=A&local=maybe", "BadRequestData"),
        ("type=A&nonsense=1", "InvalidRequest"),
        ("type=A&limit=1", "InvalidRequest"),
        ("nonsense=1", "InvalidRequest"),
    ] {
        let answer = purge(&broker, query).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, kind), "{query}");
    }
    let csf = purge(&broker, "type=A&csf=a==1").await;
    assert_eq!(csf.error(), "OperationNotSupported");
    assert_eq!(left(&broker).await.len(), 7);
}

#[tokio::test]
async fn a_purge_goes_over_pages_and_names_are_those_of_the_context() {
    let broker = Broker::ready().await;
    let entities: Vec<Value> = (0..2500)
        .map(|n| json!({"id": format!("urn:x:{n:04}"), "type": "https://schema.org/Thing", "https://schema.org/name": n % 2}))
        .collect();
    let answer = broker
        .post("/entityOperations/create", &Value::Array(entities).to_string())
        .await;
    assert_eq!(answer.status, 201);
    let context = "<https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
    let count = async || {
        let answer = broker.get("/entities?local=true&limit=0&count=true").await;
        answer.header("ngsild-results-count").to_owned()
    };
    purged(&broker, "type=Thing").await;
    assert_eq!(count().await, "2500", "another type of that name");
    let by_link = broker
        .send(
            "DELETE",
            "/entities?type=https%3A%2F%2Fschema.org%2FThing&q=https%3A%2F%2Fschema.org%2Fname==1",
            &[("link", context)],
            None,
        )
        .await;
    assert_eq!(by_link.status, 204, "{}", by_link.text());
    assert_eq!(count().await, "1250");
    purged(&broker, "local=true").await;
    assert_eq!(count().await, "0");
}

#[tokio::test]
async fn what_is_changed_meanwhile_is_purged_only_if_it_is_still_selected() {
    let broker = Broker::ready().await;
    let other = Broker::start_with(broker.database.clone(), broker.config.clone());
    other.until_ready().await;
    for round in 0..6 {
        let entities: Vec<Value> = (0..300)
            .map(|n| json!({"id": format!("urn:x:{n:03}"), "type": "A", "state": "closed"}))
            .collect();
        let body = Value::Array(entities).to_string();
        broker.post("/entityOperations/upsert", &body).await;
        let paths: Vec<String> = (0..300)
            .step_by(7)
            .map(|n| format!("/entities/urn:x:{n:03}/attrs"))
            .collect();
        let opened = futures::future::join_all(
            paths
                .iter()
                .rev()
                .map(|path| other.send("PATCH", path, &[], Some(r#"{"state":"open"}"#))),
        );
        let ((), answers) = futures::join!(purged(&broker, "q=state==%22closed%22"), opened);
        let mut kept = 0;
        for (path, answer) in paths.iter().rev().zip(answers) {
            let read = broker.get(path.strip_suffix("/attrs").unwrap()).await;
            match answer.status {
                // What was opened before the purge came to it is there.
                204 => {
                    assert_eq!(
                        (read.status, read.json()["state"]["value"].as_str()),
                        (200, Some("open")),
                        "{round} {path}"
                    );
                    kept += 1;
                }
                404 => assert_eq!(read.status, 404, "{round} {path}"),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert_eq!(broker.ids("type=A&limit=1000").await.len(), kept, "{round}");
        purged(&broker, "type=A").await;
    }
}

#[tokio::test]
async fn a_purge_stays_in_its_tenant() {
    let broker = broker().await;
    let one: &[(&str, &str)] = &[("NGSILD-Tenant", "one")];
    let sent = broker
        .send("POST", "/entities", one, Some(r#"{"id":"urn:x:1","type":"A"}"#))
        .await;
    assert_eq!(sent.status, 201);
    let answer = broker.send("DELETE", "/entities?local=true", one, None).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        broker.send("GET", "/entities/urn:x:1", one, None).await.status,
        404
    );
    assert_eq!(left(&broker).await.len(), 7);
    let unknown = broker
        .send(
            "DELETE",
            "/entities?local=true",
            &[("NGSILD-Tenant", "none")],
            None,
        )
        .await;
    assert_eq!(unknown.error(), "NonexistentTenant");
}

/// Three entities of type T, the first of them with a past from before it was there, with a subscriber who is told of all that happens to them from now on.
async fn watched() -> (Broker, Receiver) {
    let (broker, receiver) = (keeping().await, Receiver::start().await);
    let before = json!({"id": "urn:x:1", "type": "T", "n": [point(0, "2020-01-01T00:00:00Z")]});
    past(&broker, &before).await;
    for n in 1..=3 {
        let body = json!({"id": format!("urn:x:{n}"), "type": "T", "n": n, "other": 0});
        broker.create(&body.to_string()).await;
    }
    let all = json!({"notificationTrigger": ["entityCreated", "attributeCreated", "attributeUpdated", "attributeDeleted", "entityDeleted"]});
    subscribe(&broker, &receiver, "urn:s:1", all).await;
    (broker, receiver)
}

/// What was told once nothing waits any more, by id: so many entities and no other.
async fn told(broker: &Broker, receiver: &Receiver, count: usize) -> Vec<Value> {
    let mut told = receiver.until(count).await;
    eventually(20, "nothing waits", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    assert_eq!(receiver.taken().len(), count, "{:?}", receiver.taken());
    told.sort_by_key(|entity| entity["id"].to_string());
    told
}

const ALL_PAST: &str = "?type=T&timerel=after&timeAt=1970-01-01T00:00:00Z&timeproperty=createdAt";

#[tokio::test]
async fn subscribers_are_told_of_each_entity_that_a_purge_deletes_and_its_past_goes_with_it() {
    let (broker, receiver) = watched().await;
    purged(&broker, "type=T&q=n%3C3").await;
    let told = told(&broker, &receiver, 2).await;
    for (n, entity) in (1..).zip(&told) {
        assert_eq!(entity["id"], format!("urn:x:{n}"));
        assert!(entity["deletedAt"].is_string(), "{entity}");
        let gone = format!("/temporal/entities/urn:x:{n}");
        insist(&broker, 404, "GET", &gone, None).await;
    }
    let past = shown(&broker, ALL_PAST).await;
    let ids: Vec<_> = past.as_array().unwrap().iter().map(|e| &e["id"]).collect();
    assert_eq!(ids, ["urn:x:3"]);
    assert_eq!(values(&past[0], "n"), [json!(3)]);
    broker.create(r#"{"id":"urn:x:1","type":"T","n":7}"#).await;
    let anew = shown(&broker, "/urn:x:1").await;
    assert_eq!(
        values(&anew, "n"),
        [json!(7)],
        "it is not that of a later one of its name"
    );
    eventually(30, "what nobody sees any more is gone", async || {
        let kept = "select count(*) from mim.history where entity = 'urn:x:2'";
        broker.database.psql(kept) == "0"
    })
    .await;
}

#[tokio::test]
async fn subscribers_are_told_of_each_attribute_that_a_purge_drops_and_the_past_shows_what_it_was() {
    let (broker, receiver) = watched().await;
    purged(&broker, "type=T&q=n%3C3&drop=n").await;
    let told = told(&broker, &receiver, 2).await;
    for (n, entity) in (1..).zip(&told) {
        assert_eq!(entity["id"], format!("urn:x:{n}"));
        assert_eq!(entity["n"]["value"], "urn:ngsi-ld:null", "{entity}");
        assert_eq!(
            (&entity["other"]["value"], &entity["deletedAt"]),
            (&json!(0), &Value::Null)
        );
    }
    let gone = json!("urn:ngsi-ld:null");
    for (n, expected) in [
        (1, vec![json!(0), json!(1), gone.clone()]),
        (2, vec![json!(2), gone]),
        (3, vec![json!(3)]),
    ] {
        let past = shown(&broker, &format!("/urn:x:{n}?options=sysAttrs")).await;
        assert_eq!(values(&past, "n"), expected, "{past}");
        assert_eq!(values(&past, "other"), [json!(0)], "{past}");
    }
}
