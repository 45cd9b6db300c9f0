//! Linked entity retrieval: join, joinLevel, containedBy, with pick and omit beyond relationships, and q across them.

use crate::support::Broker;
use serde_json::{Value, json};

/// Two buildings in two cities of one country, and a district that is named but not there.
async fn broker() -> Broker {
    let broker = Broker::ready().await;
    for n in [1, 2] {
        broker
            .create(&format!(r#"{{"id":"urn:b:{n}","type":"Building","name":{{"value":"Tower {n}"}},"in":{{"object":"urn:c:{n}"}},"district":{{"object":"urn:none:1"}}}}"#))
            .await;
        broker
            .create(&format!(r#"{{"id":"urn:c:{n}","type":"City","name":{{"value":"City {n}"}},"people":{{"value":{n}000}},"of":{{"object":"urn:n:1"}}}}"#))
            .await;
    }
    broker
        .create(r#"{"id":"urn:n:1","type":"Country","name":{"value":"Land"},"capital":{"object":"urn:c:1"}}"#)
        .await;
    broker
}

async fn get(broker: &Broker, path: &str) -> Value {
    let answer = broker.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|e| e["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn linked_entities_stand_inside_or_follow() {
    let broker = broker().await;
    let one = get(&broker, "/entities/urn:b:1?join=inline").await;
    assert_eq!(one["in"]["object"], "urn:c:1");
    assert_eq!(
        one["in"]["entity"],
        json!({"id": "urn:c:1", "type": "City", "name": {"type": "Property", "value": "City 1"},
            "people": {"type": "Property", "value": 1000}, "of": {"type": "Relationship", "object": "urn:n:1"}})
    );
    assert!(
        one["district"].get("entity").is_none(),
        "what is not there is not shown"
    );
    let two = get(
        &broker,
        "/entities/urn:b:1?join=inline&joinLevel=2&options=keyValues",
    )
    .await;
    assert_eq!(
        two["in"]["of"],
        json!({"id": "urn:n:1", "type": "Country", "name": "Land", "capital": "urn:c:1"})
    );
    assert_eq!(two["district"], "urn:none:1");
    let three = get(
        &broker,
        "/entities/urn:b:1?join=inline&joinLevel=3&options=keyValues",
    )
    .await;
    assert_eq!(three, two, "a city is not shown inside of itself");

    let flat = get(&broker, "/entities/urn:b:1?join=flat&joinLevel=9").await;
    assert_eq!(ids(&flat), ["urn:b:1", "urn:c:1", "urn:n:1"]);
    let many = get(&broker, "/entities?type=Building&join=flat&joinLevel=2").await;
    assert_eq!(
        ids(&many),
        ["urn:b:1", "urn:b:2", "urn:c:1", "urn:c:2", "urn:n:1"]
    );
    let itself = get(&broker, "/entities?type=City,Country&join=flat&joinLevel=2").await;
    assert_eq!(ids(&itself), ["urn:c:1", "urn:c:2", "urn:n:1"], "no entity twice");
    let inline = get(
        &broker,
        "/entities?type=Building&join=inline&joinLevel=2&options=keyValues",
    )
    .await;
    assert_eq!(inline[1]["in"]["of"]["name"], "Land");
    assert_eq!(
        get(&broker, "/entities/urn:b:1?join=@none").await,
        get(&broker, "/entities/urn:b:1").await
    );
}

#[tokio::test]
async fn one_entity_that_leads_nowhere_is_one_entity_also_when_flat() {
    let broker = broker().await;
    let flat = get(&broker, "/entities/urn:b:1?join=flat&omit=in").await;
    assert_eq!(flat["id"], "urn:b:1");
    let page = get(&broker, "/entities?type=Country&join=flat&omit=capital").await;
    assert_eq!(ids(&page), ["urn:n:1"]);
}

#[tokio::test]
async fn braces_pick_and_omit_members_of_linked_entities() {
    let broker = broker().await;
    let pick = "pick=id,in%7Bid,name,of%7Bid%7D%7D&joinLevel=2&options=keyValues";
    assert_eq!(
        get(&broker, &format!("/entities/urn:b:1?join=inline&{pick}")).await,
        json!({"id": "urn:b:1", "in": {"id": "urn:c:1", "name": "City 1", "of": {"id": "urn:n:1"}}})
    );
    assert_eq!(
        get(&broker, &format!("/entities?type=Building&join=flat&{pick}")).await,
        json!([{"id": "urn:b:1", "in": "urn:c:1"}, {"id": "urn:b:2", "in": "urn:c:2"},
            {"id": "urn:c:1", "name": "City 1", "of": "urn:n:1"}, {"id": "urn:c:2", "name": "City 2", "of": "urn:n:1"}, {"id": "urn:n:1"}])
    );
    assert_eq!(
        get(
            &broker,
            "/entities/urn:b:1?join=inline&omit=type,name,district,in%7Btype,people%7D&options=keyValues"
        )
        .await,
        json!({"id": "urn:b:1", "in": {"id": "urn:c:1", "name": "City 1", "of": "urn:n:1"}})
    );
    let unpicked = get(
        &broker,
        "/entities?type=Building&join=flat&pick=id,name&options=keyValues",
    )
    .await;
    assert_eq!(
        unpicked,
        json!([{"id": "urn:b:1", "name": "Tower 1"}, {"id": "urn:b:2", "name": "Tower 2"}]),
        "a relationship that is not picked is not followed"
    );
    let nothing = get(
        &broker,
        "/entities/urn:b:1?join=inline&pick=id,in%7Bnone%7D&options=keyValues",
    )
    .await;
    assert_eq!(nothing, json!({"id": "urn:b:1", "in": "urn:c:1"}));
}

#[tokio::test]
async fn entities_the_client_has_are_not_shown_again() {
    let broker = broker().await;
    let path = "/entities/urn:b:1?joinLevel=3&containedBy=urn:n:1,urn:other:1";
    assert_eq!(
        ids(&get(&broker, &format!("{path}&join=flat")).await),
        ["urn:b:1", "urn:c:1"]
    );
    let inline = get(&broker, &format!("{path}&join=inline")).await;
    assert!(inline["in"]["entity"]["of"].get("entity").is_none());
}

#[tokio::test]
async fn relationships_to_several_entities_have_several() {
    let broker = broker().await;
    broker
        .create(
            r#"{"id":"urn:r:1","type":"Route","stops":{"type":"ListRelationship","objectList":["urn:c:2","urn:none:1","urn:c:1"]},
                "near":{"type":"Relationship","object":["urn:c:1","urn:c:2"]},
                "by":[{"type":"Relationship","object":"urn:c:1"},{"type":"Relationship","object":"urn:c:2","datasetId":"urn:d:1"}]}"#,
        )
        .await;
    let inline = get(&broker, "/entities/urn:r:1?join=inline").await;
    assert_eq!(
        ids(&inline["stops"]["entityList"]),
        ["urn:c:2", "urn:c:1"],
        "in their order"
    );
    assert_eq!(inline["stops"]["objectList"].as_array().unwrap().len(), 3);
    assert_eq!(ids(&inline["near"]["entity"]), ["urn:c:1", "urn:c:2"]);
    assert_eq!(
        (&inline["by"][0]["entity"]["id"], &inline["by"][1]["entity"]["id"]),
        (&json!("urn:c:1"), &json!("urn:c:2"))
    );
    let short = get(&broker, "/entities/urn:r:1?join=inline&options=keyValues").await;
    assert_eq!(short["stops"][1], "urn:none:1");
    assert_eq!(short["stops"][2]["name"], "City 1");
    assert_eq!(short["by"]["dataset"]["urn:d:1"]["name"], "City 2");
    let dataset = get(&broker, "/entities/urn:r:1?join=flat&datasetId=urn:d:1").await;
    assert_eq!(ids(&dataset), ["urn:r:1", "urn:c:2"]);
    assert!(
        dataset[1]["name"]["value"] == "City 2",
        "datasets are those of the entities that were asked for"
    );
}

#[tokio::test]
async fn representations_times_and_media_types_go_with_linked_entities() {
    let broker = broker().await;
    let times = get(&broker, "/entities/urn:b:1?join=inline&options=sysAttrs").await;
    assert!(times["in"]["entity"]["createdAt"].is_string());
    let concise = get(&broker, "/entities/urn:b:1?join=inline&format=concise").await;
    assert_eq!(concise["in"]["entity"]["name"], "City 1");
    let accept = |media| [("accept", media)];
    let ld = broker
        .send(
            "GET",
            "/entities/urn:b:1?join=inline",
            &accept("application/ld+json"),
            None,
        )
        .await
        .json();
    assert!(ld["@context"].is_string() && ld["in"]["entity"].get("@context").is_none());
    let ld = broker
        .send(
            "GET",
            "/entities/urn:b:1?join=flat",
            &accept("application/ld+json"),
            None,
        )
        .await
        .json();
    assert!(ld[0]["@context"].is_string() && ld[1]["@context"].is_string());
    let geo = broker
        .send(
            "GET",
            "/entities/urn:b:1?join=flat",
            &accept("application/geo+json"),
            None,
        )
        .await
        .json();
    assert_eq!(
        (&geo["type"], ids(&geo["features"])),
        (&json!("FeatureCollection"), vec!["urn:b:1", "urn:c:1"])
    );
    assert!(geo["@context"].is_string() && geo["features"][0].get("@context").is_none());
    let geo = broker
        .send(
            "GET",
            "/entities/urn:b:1?join=inline",
            &accept("application/geo+json"),
            None,
        )
        .await
        .json();
    assert_eq!(geo["properties"]["in"]["entity"]["id"], "urn:c:1");
}

#[tokio::test]
async fn an_answer_with_linked_entities_can_be_sent_back_and_keeps_none_of_them() {
    let broker = broker().await;
    let plain = get(&broker, "/entities/urn:b:1").await;
    let inline = broker
        .get("/entities/urn:b:1?join=inline&joinLevel=2")
        .await
        .text();
    let answer = broker.send("PUT", "/entities/urn:b:1", &[], Some(&inline)).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(get(&broker, "/entities/urn:b:1").await, plain);
}

#[tokio::test]
async fn tenants_do_not_meet_by_relationships() {
    let broker = broker().await;
    let one = [("ngsild-tenant", "one")];
    let body = r#"{"id":"urn:b:1","type":"Building","in":{"type":"Relationship","object":"urn:c:1"}}"#;
    assert_eq!(
        broker.send("POST", "/entities", &one, Some(body)).await.status,
        201
    );
    let joined = broker
        .send("GET", "/entities/urn:b:1?join=inline", &one, None)
        .await
        .json();
    assert!(joined["in"].get("entity").is_none());
    let found = broker
        .send(
            "GET",
            "/entities?type=Building&join=flat&q=in%7Bname%7D",
            &one,
            None,
        )
        .await;
    assert_eq!(found.text(), "[]");
}

#[tokio::test]
async fn q_asks_for_attributes_of_linked_entities() {
    let broker = broker().await;
    for (q, levels, expected) in [
        ("in{people}==1000", 1, vec!["urn:b:1"]),
        ("in{people}>1000", 1, vec!["urn:b:2"]),
        ("in{City:people}>=1000", 1, vec!["urn:b:1", "urn:b:2"]),
        ("in{Village,City:people}>=1000", 1, vec!["urn:b:1", "urn:b:2"]),
        ("in{Village:people}", 1, vec![]),
        ("in{people}!=1000", 1, vec!["urn:b:2"]),
        ("in{none}!=1000", 1, vec![]),
        ("district{name}", 1, vec![]),
        ("in{of{name}}==\"Land\"", 2, vec!["urn:b:1", "urn:b:2"]),
        (
            "in{City:of{Country:name}}==\"Land\";name==\"Tower 2\"",
            2,
            vec!["urn:b:2"],
        ),
        (
            "in{name.createdAt}>2024-01-01T00:00:00Z",
            1,
            vec!["urn:b:1", "urn:b:2"],
        ),
        ("in{createdAt}<2024-01-01T00:00:00Z", 1, vec![]),
        ("name{people}", 1, vec![]),
    ] {
        let encoded = percent_encoding::utf8_percent_encode(q, percent_encoding::NON_ALPHANUMERIC);
        let query = format!("type=Building&pick=id,in&join=inline&joinLevel={levels}&q={encoded}");
        assert_eq!(broker.ids(&query).await, expected, "{q}");
        let count = broker.get(&format!("/entities?{query}&count=true&limit=0")).await;
        assert_eq!(
            count.header("ngsild-results-count"),
            expected.len().to_string(),
            "{q}"
        );
    }
    for (q, join) in [
        ("in{people}==1", ""),
        ("in{people}==1", "&join=@none"),
        ("in{of{name}}", "&join=inline"),
        ("in{}", "&join=inline"),
        ("in{people", "&join=inline"),
        ("in{:people}", "&join=inline"),
        ("in{City:}", "&join=inline"),
        ("in.x{people}", "&join=inline"),
        ("in{a}.b", "&join=inline"),
    ] {
        let encoded = percent_encoding::utf8_percent_encode(q, percent_encoding::NON_ALPHANUMERIC);
        let answer = broker
            .get(&format!("/entities?type=Building{join}&q={encoded}"))
            .await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "BadRequestData"),
            "{q}{join}"
        );
    }
}

#[tokio::test]
async fn large_linked_entities_are_shown_and_too_many_are_refused_in_bounded_memory() {
    let broker = Broker::ready().await;
    let text = "x".repeat(600_000);
    for n in 0..3 {
        broker
            .create(&format!(r#"{{"id":"urn:big:{n}","type":"Big","p":"{text}"}}"#))
            .await;
    }
    broker
        .create(r#"{"id":"urn:a:1","type":"A","to":{"type":"Relationship","object":["urn:big:0","urn:big:1","urn:big:2"]}}"#)
        .await;
    for form in ["inline", "flat"] {
        let answer = broker.get(&format!("/entities/urn:a:1?join={form}")).await;
        assert_eq!(answer.status, 200, "{form}");
        assert!(answer.body.len() > 1_800_000, "{form}: {}", answer.body.len());
    }
    // Twenty that each have all three inside are more than an answer may be.
    for n in 0..20 {
        broker
            .create(&format!(r#"{{"id":"urn:m:{n}","type":"M","to":{{"type":"Relationship","object":["urn:big:0","urn:big:1","urn:big:2"]}}}}"#))
            .await;
    }
    let inline = broker.get("/entities?type=M&join=inline").await;
    assert_eq!((inline.status, inline.error().as_str()), (403, "TooManyResults"));
    assert_eq!(broker.get("/entities?type=M&join=flat").await.status, 200);
    let picked = broker
        .get("/entities?type=M&join=inline&pick=id,to%7Bid%7D")
        .await;
    assert_eq!(picked.status, 200);
    let uris: Vec<String> = (0..6000).map(|n| format!("\"urn:none:{n}\"")).collect();
    broker
        .create(&format!(
            r#"{{"id":"urn:w:1","type":"W","to":{{"type":"Relationship","object":[{}]}}}}"#,
            uris.join(",")
        ))
        .await;
    for form in ["inline", "flat"] {
        let answer = broker.get(&format!("/entities/urn:w:1?join={form}")).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (403, "TooManyResults"),
            "{form}"
        );
    }
    let peak = broker.peak();
    assert!(peak < 160 * 1024, "{peak} KiB");
}
