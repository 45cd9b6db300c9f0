use crate::support::Broker;
use serde_json::json;

const CAR: &str = r#"{"id":"urn:ngsi-ld:Car:1","type":"Car","speed":{"type":"Property","value":55,"unitCode":"KMH","source":{"type":"Property","value":"gps"}},"brand":[{"type":"Property","value":"a"},{"type":"Property","value":"b","datasetId":"urn:d:b"}]}"#;
const PATH: &str = "/entities/urn:ngsi-ld:Car:1";

async fn broker() -> Broker {
    let broker = Broker::ready().await;
    broker.create(CAR).await;
    broker
}

#[tokio::test]
async fn append_adds_and_overwrites_unless_told_otherwise() {
    let broker = broker().await;
    let body = r#"{"type":"Vehicle","speed":{"type":"Property","value":60},"color":{"type":"Property","value":"red"},"brand":{"type":"Property","value":"c","datasetId":"urn:d:c"}}"#;
    assert_eq!(broker.post(&format!("{PATH}/attrs"), body).await.status, 204);
    let car = broker.get(PATH).await.json();
    assert_eq!(car["speed"], json!({"type": "Property", "value": 60}));
    assert_eq!(
        (&car["color"]["value"], car["brand"].as_array().unwrap().len()),
        (&json!("red"), 3)
    );
    assert_eq!(car["type"], json!(["Car", "Vehicle"]));
    assert_eq!(broker.ids("type=Vehicle").await, ["urn:ngsi-ld:Car:1"]);
    let kept = broker
        .post(
            &format!("{PATH}/attrs/?options=noOverwrite"),
            r#"{"speed":{"type":"Property","value":1},"fresh":{"type":"Property","value":2}}"#,
        )
        .await;
    assert_eq!(kept.status, 207);
    let kept = kept.json();
    assert_eq!(
        kept["updated"],
        json!(["https://uri.etsi.org/ngsi-ld/default-context/fresh"])
    );
    assert_eq!(
        kept["notUpdated"][0]["attributeName"],
        "https://uri.etsi.org/ngsi-ld/default-context/speed"
    );
    assert_eq!(broker.get(PATH).await.json()["speed"]["value"], 60);
    assert_eq!(
        broker
            .post("/entities/urn:ngsi-ld:Car:9/attrs", body)
            .await
            .error(),
        "ResourceNotFound"
    );
}

#[tokio::test]
async fn update_replaces_instances_whole_and_null_deletes() {
    let broker = broker().await;
    let update = async |body: &str| {
        broker
            .send("PATCH", &format!("{PATH}/attrs"), &[], Some(body))
            .await
    };
    assert_eq!(
        update(r#"{"speed":{"type":"Property","value":70},"unknown":{"type":"Property","value":1}}"#)
            .await
            .status,
        204
    );
    let car = broker.get(PATH).await.json();
    assert_eq!(
        car["speed"],
        json!({"type": "Property", "value": 70}),
        "the unit that was not sent is lost"
    );
    assert_eq!(car["unknown"]["value"], 1);
    assert_eq!(
        update(r#"{"brand":{"type":"Property","value":"urn:ngsi-ld:null"}}"#)
            .await
            .status,
        204
    );
    let car = broker.get(PATH).await.json();
    assert_eq!(
        car["brand"]["datasetId"], "urn:d:b",
        "only the default instance goes: {car}"
    );
    assert_eq!(update(r#"{"unknown":"urn:ngsi-ld:null"}"#).await.status, 204);
    assert!(broker.get(PATH).await.json().get("unknown").is_none());
    assert_eq!(update(r#"{"speed":null}"#).await.error(), "BadRequestData");
    assert_eq!(update("{}").await.error(), "BadRequestData");
    assert_eq!(update(r#"{"scope":"/a"}"#).await.status, 207);
}

#[tokio::test]
async fn a_partial_update_leaves_what_it_does_not_name() {
    let broker = broker().await;
    let update = async |attr: &str, body: &str| {
        broker
            .send(
                "PATCH",
                &format!("{PATH}/attrs/{attr}"),
                &[("content-type", "application/merge-patch+json")],
                Some(body),
            )
            .await
    };
    assert_eq!(update("speed", r#"{"value":80}"#).await.status, 204);
    let speed = broker.get(PATH).await.json()["speed"].clone();
    assert_eq!(
        speed,
        json!({"type":"Property","value":80,"unitCode":"KMH","source":{"type":"Property","value":"gps"}})
    );
    assert_eq!(update("speed", r#"{"type":"Property","observedAt":"2024-01-01T00:00:00Z","source":{"type":"Property","value":"urn:ngsi-ld:null"}}"#).await.status, 204);
    let speed = broker.get(PATH).await.json()["speed"].clone();
    assert_eq!(
        speed,
        json!({"type":"Property","value":80,"unitCode":"KMH","observedAt":"2024-01-01T00:00:00Z"})
    );
    assert_eq!(
        update("brand", r#"{"value":"B","datasetId":"urn:d:b"}"#)
            .await
            .status,
        204
    );
    assert_eq!(broker.get(PATH).await.json()["brand"][1]["value"], "B");
    for (attr, body, error) in [
        (
            "speed",
            r#"{"type":"Relationship","object":"urn:a:1"}"#,
            "BadRequestData",
        ),
        ("speed", "{}", "BadRequestData"),
        ("speed", r#"{"value":null}"#, "BadRequestData"),
        (
            "speed",
            r#"{"value":1,"datasetId":"urn:d:none"}"#,
            "ResourceNotFound",
        ),
        ("none", r#"{"value":1}"#, "ResourceNotFound"),
        ("1bad", r#"{"value":1}"#, "BadRequestData"),
    ] {
        assert_eq!(update(attr, body).await.error(), error, "{attr} {body}");
    }
    assert_eq!(
        update("brand", r#"{"value":"urn:ngsi-ld:null"}"#).await.status,
        204
    );
    assert_eq!(broker.get(PATH).await.json()["brand"]["value"], "B");
}

#[tokio::test]
async fn one_attribute_is_replaced_or_deleted() {
    let broker = broker().await;
    let send = async |method: &str, path: &str, body: Option<&str>| {
        broker
            .send(method, &format!("{PATH}/attrs/{path}"), &[], body)
            .await
    };
    assert_eq!(
        send("PUT", "speed", Some(r#"{"type":"Property","value":1}"#))
            .await
            .status,
        204
    );
    assert_eq!(
        broker.get(PATH).await.json()["speed"],
        json!({"type": "Property", "value": 1})
    );
    assert_eq!(
        send("PUT", "none", Some(r#"{"type":"Property","value":1}"#))
            .await
            .error(),
        "ResourceNotFound"
    );
    assert_eq!(
        send("PUT", "scope", Some(r#""/a""#)).await.error(),
        "BadRequestData"
    );
    assert_eq!(
        send("DELETE", "speed?datasetId=urn:d:x", None).await.error(),
        "ResourceNotFound"
    );
    assert_eq!(send("DELETE", "speed", None).await.status, 204);
    assert_eq!(send("DELETE", "speed", None).await.error(), "ResourceNotFound");
    assert_eq!(send("DELETE", "brand?datasetId=urn:d:b", None).await.status, 204);
    assert_eq!(
        broker.get(PATH).await.json()["brand"],
        json!({"type": "Property", "value": "a"})
    );
    assert_eq!(send("DELETE", "brand?deleteAll=true", None).await.status, 204);
    assert_eq!(
        send(
            "DELETE",
            "https%3A%2F%2Furi.etsi.org%2Fngsi-ld%2Fdefault-context%2Fbrand",
            None
        )
        .await
        .error(),
        "ResourceNotFound"
    );
    assert_eq!(send("POST", "speed", Some("{}")).await.status, 405);
}

#[tokio::test]
async fn concurrent_changes_of_one_entity_lose_nothing() {
    let broker = broker().await;
    let path = format!("{PATH}/attrs");
    let bodies: Vec<String> = (0..40)
        .map(|n| format!(r#"{{"a{n}":{{"type":"Property","value":{n}}}}}"#))
        .collect();
    let sent = futures::future::join_all(bodies.iter().map(|b| broker.post(&path, b))).await;
    assert!(
        sent.iter().all(|a| a.status == 204),
        "{:?}",
        sent.iter().map(|a| a.status).collect::<Vec<_>>()
    );
    let car = broker.get(PATH).await.json();
    for n in 0..40 {
        assert_eq!(car[format!("a{n}")]["value"], n);
    }
}

#[tokio::test]
async fn scopes_are_replaced_added_or_deleted_as_asked() {
    let broker = broker().await;
    let scope = async || broker.get(PATH).await.json()["scope"].clone();
    let attrs = format!("{PATH}/attrs");
    let none = broker.send("DELETE", &format!("{attrs}/scope"), &[], None).await;
    assert_eq!(none.error(), "ResourceNotFound");
    for (method, query, body, status, expected) in [
        ("PATCH", "", r#"{"scope":"/a"}"#, 207, json!(null)),
        ("POST", "", r#"{"scope":"/a"}"#, 204, json!("/a")),
        (
            "POST",
            "?options=noOverwrite",
            r#"{"scope":["/b","/a"]}"#,
            204,
            json!(["/a", "/b"]),
        ),
        ("PATCH", "", r#"{"scope":"/c"}"#, 204, json!("/c")),
        ("POST", "", r#"{"scope":["/d","/e"]}"#, 204, json!(["/d", "/e"])),
        ("PATCH", "", r#"{"scope":"urn:ngsi-ld:null"}"#, 204, json!(null)),
        ("POST", "", r#"{"scope":"/f"}"#, 204, json!("/f")),
    ] {
        let answer = broker
            .send(method, &format!("{attrs}{query}"), &[], Some(body))
            .await;
        assert_eq!(
            (answer.status, scope().await),
            (status, expected),
            "{method} {query} {body}"
        );
    }
    for method in ["PUT", "PATCH"] {
        let answer = broker
            .send(method, &format!("{attrs}/scope"), &[], Some(r#"{"value":"/a"}"#))
            .await;
        assert_eq!(answer.error(), "BadRequestData", "{method}");
    }
    let answer = broker.post(&attrs, r#"{"scope":"urn:ngsi-ld:null"}"#).await;
    assert_eq!(answer.error(), "BadRequestData", "an append deletes nothing");
    assert_eq!(
        broker
            .send("DELETE", &format!("{attrs}/scope"), &[], None)
            .await
            .status,
        204
    );
    assert_eq!(scope().await, json!(null));
}

#[tokio::test]
async fn null_deletes_members_of_one_attribute_and_is_no_value_elsewhere() {
    let broker = broker().await;
    let null = r#""urn:ngsi-ld:null""#;
    let body = format!(r#"{{"unitCode":{null},"source":{null}}}"#);
    let answer = broker
        .send("PATCH", &format!("{PATH}/attrs/speed"), &[], Some(&body))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(
        broker.get(PATH).await.json()["speed"],
        json!({"type": "Property", "value": 55})
    );
    let body = format!(r#"{{"speed":{{"value":56,"unitCode":{null}}}}}"#);
    let answer = broker
        .send("PATCH", &format!("{PATH}/attrs"), &[], Some(&body))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(
        broker.get(PATH).await.json()["speed"],
        json!({"type": "Property", "value": 56})
    );
    for (method, path, body) in [
        (
            "POST",
            "/attrs",
            format!(r#"{{"speed":{{"value":1,"unitCode":{null}}}}}"#),
        ),
        ("POST", "/attrs", format!(r#"{{"speed":{null}}}"#)),
        ("PUT", "/attrs/speed", format!(r#"{{"value":{null}}}"#)),
        (
            "PATCH",
            "/attrs",
            format!(r#"{{"speed":{{"value":{{"a":{null}}}}}}}"#),
        ),
        ("PATCH", "/attrs/speed", format!(r#"{{"value":{{"a":{null}}}}}"#)),
        ("PATCH", "/attrs", format!(r#"{{"type":{null}}}"#)),
        (
            "PUT",
            "",
            format!(r#"{{"type":"Car","speed":{{"object":{null}}}}}"#),
        ),
    ] {
        let answer = broker
            .send(method, &format!("{PATH}{path}"), &[], Some(&body))
            .await;
        assert_eq!(answer.error(), "BadRequestData", "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_parameter_with_a_wrong_truth_value_is_refused() {
    let broker = broker().await;
    for (method, path) in [
        ("DELETE", "/attrs/speed?deleteAll=yes"),
        ("DELETE", "?local=1"),
        ("GET", "?local="),
    ] {
        let answer = broker.send(method, &format!("{PATH}{path}"), &[], None).await;
        assert_eq!(answer.error(), "BadRequestData", "{method} {path}");
    }
}
