//! In which form subscribers are told: each option of a notification, by the whole of what it makes.

use crate::notifications::subscribe;
use crate::support::receiver::Received;
use crate::support::{Broker, Receiver, eventually};
use serde_json::{Value, json};

const ENTITY: &str = r#"{"id":"urn:x:1","type":"T","scope":"/a",
    "n":[{"value":1,"unitCode":"CEL"},{"value":2,"datasetId":"urn:d:1"}],
    "l":{"languageMap":{"en":"cat","de":"Katze"}},
    "location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,2]}},
    "j":{"json":{"a":[1]}}}"#;

/// What a receiver is sent of the entity, by a subscription with this notification (but for its endpoint) and these members.
async fn notified(broker: &Broker, id: &str, notification: Value, more: Value) -> Received {
    let receiver = Receiver::start().await;
    let (mut notification, mut more) = (notification, more);
    if notification["endpoint"].is_null() {
        notification["endpoint"] = json!({});
    }
    notification["endpoint"]["uri"] = receiver.url().into();
    more["notification"] = notification;
    subscribe(broker, &receiver, id, more).await;
    broker.create(ENTITY).await;
    eventually(20, "it is told", async || !receiver.all().is_empty()).await;
    let path = format!("/subscriptions/{id}");
    for path in [path.as_str(), "/entities/urn:x:1"] {
        assert_eq!(broker.send("DELETE", path, &[], None).await.status, 204, "{path}");
    }
    receiver.all().remove(0)
}

/// The one entity of it.
async fn told(broker: &Broker, notification: Value, more: Value) -> Value {
    let received = notified(broker, "urn:s:1", notification, more).await;
    let data = received.body["data"].as_array().unwrap().clone();
    assert_eq!(data.len(), 1, "{data:?}");
    data[0].clone()
}

#[tokio::test]
async fn each_format_tells_the_whole_entity() {
    let broker = Broker::ready().await;
    let point = json!({"type": "Point", "coordinates": [1, 2]});
    let words = json!({"en": "cat", "de": "Katze"});
    let normalized = json!({"id": "urn:x:1", "type": "T", "scope": "/a",
        "n": [{"type": "Property", "value": 1, "unitCode": "CEL"}, {"type": "Property", "value": 2, "datasetId": "urn:d:1"}],
        "l": {"type": "LanguageProperty", "languageMap": words}, "location": {"type": "GeoProperty", "value": point},
        "j": {"type": "JsonProperty", "json": {"a": [1]}}});
    let concise = json!({"id": "urn:x:1", "type": "T", "scope": "/a",
        "n": [{"value": 1, "unitCode": "CEL"}, {"value": 2, "datasetId": "urn:d:1"}],
        "l": {"languageMap": words}, "location": point, "j": {"json": {"a": [1]}}});
    let simplified = json!({"id": "urn:x:1", "type": "T", "scope": "/a",
        "n": {"dataset": {"@none": 1, "urn:d:1": 2}}, "l": {"languageMap": words}, "location": point, "j": {"json": {"a": [1]}}});
    assert_eq!(told(&broker, json!({}), json!({})).await, normalized);
    for (format, expected) in [
        ("normalized", &normalized),
        ("concise", &concise),
        ("simplified", &simplified),
        ("keyValues", &simplified),
    ] {
        assert_eq!(
            told(&broker, json!({"format": format}), json!({})).await,
            *expected,
            "{format}"
        );
    }
}

#[tokio::test]
async fn of_an_entity_the_members_are_told_that_are_asked_for() {
    let broker = Broker::ready().await;
    for (wish, members) in [
        (json!({"attributes": ["l", "none"]}), "id l scope type"),
        // What is told is chosen, not of which entities (clause 5.2.14): one without any of them is told all the same.
        (json!({"attributes": ["none"]}), "id scope type"),
        (json!({"pick": ["id", "none"]}), "id"),
        (json!({"pick": ["id", "n"]}), "id n"),
        (json!({"pick": "type,scope,j"}), "scope type j"),
        (json!({"omit": ["scope", "l", "none"]}), "id j location n type"),
        (json!({"omit": ["id", "type", "n"]}), "j l location scope"),
    ] {
        let told = told(&broker, wish.clone(), json!({})).await;
        let found: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected: Vec<_> = members.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{wish}");
    }
}

#[tokio::test]
async fn words_are_told_in_the_language_that_is_asked_for_or_in_one_that_there_is() {
    let broker = Broker::ready().await;
    let pick = json!({"pick": ["l"]});
    for (lang, word, is) in [
        ("de", "Katze", "de"),
        ("fr,de;q=0.8", "Katze", "de"),
        ("fr", "cat", "en"),
    ] {
        let normalized = told(&broker, pick.clone(), json!({"lang": lang})).await;
        assert_eq!(
            normalized,
            json!({"l": {"type": "Property", "value": word, "lang": is}}),
            "{lang}"
        );
        let simple = json!({"pick": ["l"], "format": "keyValues"});
        assert_eq!(
            told(&broker, simple, json!({"lang": lang})).await,
            json!({"l": word}),
            "{lang}"
        );
    }
}

#[tokio::test]
async fn of_an_attribute_the_instances_are_told_of_the_datasets_that_are_asked_for() {
    let broker = Broker::ready().await;
    let default = json!({"type": "Property", "value": 1, "unitCode": "CEL"});
    let other = json!({"type": "Property", "value": 2, "datasetId": "urn:d:1"});
    for (datasets, n, has_others) in [
        (json!(["@none"]), default.clone(), true),
        (json!(["urn:d:1"]), other.clone(), false),
        (json!(["@none", "urn:d:1"]), json!([default, other]), true),
        (json!(["urn:d:2"]), Value::Null, false),
    ] {
        let told = told(&broker, json!({}), json!({"datasetId": datasets})).await;
        assert_eq!(
            (&told["n"], told["l"].is_object()),
            (&n, has_others),
            "{datasets}: {told}"
        );
    }
}

#[tokio::test]
async fn times_of_the_broker_are_told_where_they_are_asked_for() {
    let broker = Broker::ready().await;
    for format in ["normalized", "concise"] {
        for asked in [false, true] {
            let wish = json!({"format": format, "sysAttrs": asked});
            let told = told(&broker, wish, json!({})).await;
            for of in [&told, &told["n"][0], &told["n"][1], &told["l"]] {
                for time in ["createdAt", "modifiedAt"] {
                    assert_eq!(of[time].is_string(), asked, "{format} {asked} {time}: {told}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_media_type_that_is_asked_for_says_where_the_context_is_and_what_data_is() {
    let broker = Broker::ready().await;
    let core = "ngsi-ld-core-context";
    for accept in ["application/json", "application/ld+json", "application/geo+json"] {
        let wish = json!({"format": "keyValues", "endpoint": {"accept": accept}});
        let Received { headers, body, .. } = notified(&broker, "urn:s:1", wish, json!({})).await;
        assert_eq!(headers["content-type"], accept);
        let link = headers.get("link").map_or("", |link| link.to_str().unwrap());
        let in_body = body["data"][0]["@context"].as_str().unwrap_or_default();
        let is_ld = accept == "application/ld+json";
        assert_eq!(
            (link.contains(core), in_body.contains(core)),
            (!is_ld, is_ld),
            "{accept}"
        );
        if accept == "application/geo+json" {
            assert_eq!(body["data"]["type"], "FeatureCollection");
            let feature = &body["data"]["features"][0];
            assert_eq!(
                (&feature["id"], &feature["type"]),
                (&json!("urn:x:1"), &json!("Feature"))
            );
            assert_eq!(
                feature["geometry"],
                json!({"type": "Point", "coordinates": [1, 2]})
            );
            assert_eq!(feature["properties"]["type"], "T");
            assert_eq!(feature["properties"]["j"], json!({"json": {"a": [1]}}));
        } else {
            assert_eq!(body["data"][0]["id"], "urn:x:1");
        }
    }
}

#[tokio::test]
async fn what_opens_a_receiver_is_sent_to_it_and_shown_to_nobody() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let info = json!([{"key": "X-Api-Key", "value": "open-sesame"}, {"key": "X-Pwd", "value": "open-sesame too"}, {"key": "NGSILD-Scope", "value": "v"}]);
    let notification = json!({"endpoint": {"uri": receiver.url(), "receiverInfo": info}});
    subscribe(
        &broker,
        &receiver,
        "urn:s:1",
        json!({"notification": notification}),
    )
    .await;
    for path in [
        "/subscriptions/urn:s:1",
        "/subscriptions",
        "/subscriptions/urn:s:1?options=sysAttrs",
    ] {
        let shown = broker.get(path).await.text();
        assert!(
            !shown.contains("open-sesame") && shown.contains("X-Pwd") && shown.contains(r#""value":"v""#),
            "{path}: {shown}"
        );
    }
    // Who sends back what is shown changes nothing of it.
    let shown = broker.get("/subscriptions/urn:s:1").await.json();
    let same = json!({"notification": {"endpoint": shown["notification"]["endpoint"]}}).to_string();
    let answer = broker
        .send("PATCH", "/subscriptions/urn:s:1", &[], Some(&same))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    // Of one that has the stars already, all else may be changed.
    broker.database.psql(
        "update mim.subscriptions set body = jsonb_insert(body, '{notification,endpoint,receiverInfo,-1}', \
           '{\"key\":\"X-Stars\",\"value\":\"***\"}', true); \
         update mim.tenants set subscriptions = subscriptions + 1",
    );
    let change = json!({"description": "d"}).to_string();
    let answer = broker
        .send("PATCH", "/subscriptions/urn:s:1", &[], Some(&change))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    // Who copies it, or calls a header otherwise, has to know what it says.
    let mut copy = shown.clone();
    copy["id"] = "urn:s:2".into();
    let mut other = shown["notification"]["endpoint"].clone();
    other["receiverInfo"][0]["key"] = "X-Other".into();
    let other = json!({"notification": {"endpoint": other}}).to_string();
    for (answer, name) in [
        (
            broker.post("/subscriptions", &copy.to_string()).await,
            "X-Api-Key",
        ),
        (
            broker
                .send("PATCH", "/subscriptions/urn:s:1", &[], Some(&other))
                .await,
            "X-Other",
        ),
    ] {
        assert_eq!(answer.error(), "BadRequestData");
        assert!(answer.text().contains(name), "{}", answer.text());
    }
    broker.create(ENTITY).await;
    receiver.until(1).await;
    let headers = receiver.all().remove(0).headers;
    assert_eq!(headers["x-api-key"], "open-sesame");
    assert_eq!(headers["x-pwd"], "open-sesame too");
    assert_eq!(headers["x-stars"], "***");
    assert_eq!(headers["ngsild-scope"], "v");
    assert!(!broker.log.lock().unwrap().contains("open-sesame"));
}
