//! What is accepted reads back: no write that was answered with success makes an entity, or a page with it, unreadable.

use crate::support::Broker;
use serde_json::json;

/// Whatever was answered to a write: what is there can be read, alone and in a page, written again, and deleted.
async fn is_whole(broker: &Broker, id: &str, case: &str) {
    let alone = broker.get(&format!("/entities/{id}")).await;
    assert_eq!(alone.status, 200, "{case}: {}", alone.text());
    assert_eq!(
        broker.get("/entities?type=T&limit=1").await.status,
        200,
        "{case}: in a page"
    );
    let patch = broker
        .send(
            "PATCH",
            &format!("/entities/{id}/attrs"),
            &[],
            Some(r#"{"last":1}"#),
        )
        .await;
    assert_eq!(patch.status, 204, "{case}: {}", patch.text());
    let upsert = json!([{"id": id, "type": "T", "last": 2}, {"id": "urn:x:beside", "type": "T"}]);
    let upsert = broker
        .post("/entityOperations/upsert?options=update", &upsert.to_string())
        .await;
    assert!(matches!(upsert.status, 201 | 204), "{case}: {}", upsert.text());
}

async fn is_gone(broker: &Broker, id: &str) {
    assert_eq!(
        broker
            .send("DELETE", &format!("/entities/{id}"), &[], None)
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn numbers_that_are_accepted_read_back_and_longer_ones_are_refused() {
    let broker = Broker::ready().await;
    let long = format!("1.{}e-300", "1".repeat(389));
    let refused = broker
        .post(
            "/entities",
            &format!(r#"{{"id":"urn:x:1","type":"T","p":{long}}}"#),
        )
        .await;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (400, "BadRequestData")
    );
    // Mantissas of many lengths with the exponents at the edges of what is taken.
    let numbers: Vec<String> = [1, 2, 15, 80, 90, 99, 100, 101, 390]
        .into_iter()
        .flat_map(|length| [-323, -300, -299, -200, -1, 0, 1, 200, 298, 300].map(|e| (length, e)))
        .flat_map(|(length, e)| {
            let digits = "7".repeat(length);
            [format!("{digits}e{e}"), format!("-3.{digits}E{e}")]
        })
        .collect();
    let mut accepted = 0;
    for number in numbers {
        let body = format!(r#"{{"id":"urn:x:n","type":"T","p":{number}}}"#);
        let answer = broker.post("/entities", &body).await;
        if answer.status == 400 {
            continue;
        }
        assert_eq!(answer.status, 201, "{number}: {}", answer.text());
        accepted += 1;
        let read = broker.get("/entities/urn:x:n?options=keyValues").await;
        assert_eq!(read.status, 200, "{number}");
        let (sent, read): (f64, f64) = (number.parse().unwrap(), read.json()["p"].as_f64().unwrap());
        assert!(
            (read - sent).abs() <= sent.abs() * 1e-12,
            "{number} came back as {read}"
        );
        is_gone(&broker, "urn:x:n").await;
    }
    assert!(accepted > 100, "{accepted}");
    broker.create(r#"{"id":"urn:x:n","type":"T","p":1e300}"#).await;
    is_whole(&broker, "urn:x:n", "a long number").await;
}

#[tokio::test]
async fn an_entity_of_very_many_attributes_or_values_reads_back_or_is_refused() {
    let broker = Broker::ready().await;
    for count in [20_000, 126_000] {
        let attributes: Vec<String> = (0..count).map(|n| format!("\"a{n}\":1")).collect();
        let body = format!(r#"{{"id":"urn:x:many","type":"T",{}}}"#, attributes.join(","));
        match broker.post("/entities", &body).await {
            answer if answer.status == 201 => {
                is_whole(&broker, "urn:x:many", &format!("{count} attributes")).await;
                is_gone(&broker, "urn:x:many").await;
            }
            answer => assert_eq!((answer.status, answer.error().as_str()), (400, "BadRequestData")),
        }
    }
    let array = |name: &str| format!(r#"{{"{name}":[{}]}}"#, vec!["12345678"; 300_000].join(","));
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    let first = broker.post("/entities/urn:x:1/attrs", &array("a")).await;
    assert_eq!(first.status, 204, "{}", first.text());
    let second = broker.post("/entities/urn:x:1/attrs", &array("b")).await;
    assert_eq!((second.status, second.error().as_str()), (400, "BadRequestData"));
    assert!(second.text().contains("too large"), "{}", second.text());
    is_whole(&broker, "urn:x:1", "two arrays").await;
    // In a batch the one that is too large loses nobody else.
    let batch = format!(
        r#"[{{"id":"urn:x:1","type":"T",{},{{"id":"urn:x:2","type":"T"}}]"#,
        array("b").trim_start_matches('{')
    );
    let answer = broker
        .post("/entityOperations/upsert?options=update", &batch)
        .await;
    assert_eq!(answer.status, 207, "{}", answer.text());
    assert_eq!(answer.json()["success"], json!(["urn:x:2"]));
    is_whole(&broker, "urn:x:1", "a batch").await;
}

#[tokio::test]
async fn the_deepest_attributes_that_are_accepted_read_back() {
    let broker = Broker::ready().await;
    for depth in [20, 40, 60, 61, 62, 63, 64] {
        let body = format!(
            r#"{{"id":"urn:x:deep","type":"T","a":{}{{"value":1}}{}}}"#,
            r#"{"value":1,"s":"#.repeat(depth - 2),
            "}".repeat(depth - 2)
        );
        let answer = broker.post("/entities", &body).await;
        assert_eq!(answer.status, 201, "{depth}: {}", answer.text());
        is_whole(&broker, "urn:x:deep", &format!("{depth} levels")).await;
        is_gone(&broker, "urn:x:deep").await;
    }
}

/// Sends an entity with a context of its own.
async fn with_context(broker: &Broker, context: &str, members: &str) -> (u16, String) {
    let body = format!(r#"{{"@context":{context},"id":"urn:x:1",{members}}}"#);
    let answer = broker
        .send(
            "POST",
            "/entities",
            &[("content-type", "application/ld+json")],
            Some(&body),
        )
        .await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn names_that_mean_a_core_member_or_no_iri_are_refused() {
    let broker = Broker::ready().await;
    for (context, members) in [
        (r#"{"@vocab":"","x":"id"}"#, r#""type":"T","x":"urn:victim""#),
        (r#"{"@vocab":"","x":"type"}"#, r#""type":"T","x":"Victim""#),
        (r#"{"@vocab":"@","x":"context"}"#, r#""type":"T","x":1"#),
        ("{}", r#""type":"T","https://uri.etsi.org/ngsi-ld/scope":"/a""#),
        ("{}", r#""type":"T","ngsi-ld:createdAt":"2000-01-01T00:00:00Z""#),
        (
            "{}",
            r#""type":"T","p":{"value":1,"https://uri.etsi.org/ngsi-ld/unitCode":"X"}"#,
        ),
        ("{}", r#""type":"T","p":{"value":1,"ngsi-ld:hasValue":2}"#),
        (
            r#"{"x":"nocolon","@vocab":""}"#,
            r#""type":"T","p":{"value":1,"x":2}"#,
        ),
        (r#"{"T":"urn:a\u001furn:b"}"#, r#""type":"T""#),
    ] {
        let (status, text) = with_context(&broker, context, members).await;
        assert!(
            status == 400 && text.contains("BadRequestData"),
            "{context} {members}: {status} {text}"
        );
    }
    assert_eq!(broker.database.psql("select count(*) from mim.entity_types"), "0");
    // What a context says of id and type is not heard; an attribute that is called so is shown by its IRI.
    let context = r#"{"id":"https://a.example/id","type":"https://a.example/type"}"#;
    let members =
        r#""type":"T","https://a.example/id":1,"https://uri.etsi.org/ngsi-ld/default-context/id":2"#;
    let (status, text) = with_context(&broker, context, members).await;
    assert_eq!(status, 201, "{text}");
    let read = broker.get("/entities/urn:x:1?options=keyValues").await.text();
    assert_eq!(read.matches("\"id\":").count(), 1, "{read}");
    assert!(
        read.contains("\"https://a.example/id\":1") && read.contains("\"ngsi-ld:default-context/id\":2"),
        "{read}"
    );
}
