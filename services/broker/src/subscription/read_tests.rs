use super::*;
use crate::subscription::show::Outcome;
use proptest::prelude::*;
use std::collections::HashMap;

const NEW: &str = "urn:ngsi-ld:Subscription:new";

fn context(base: &str) -> Context {
    let terms =
        ["Car", "speed", "brand", "place"].map(|t| (t.to_owned(), format!("https://{base}.example/{t}")));
    Context::new(
        HashMap::from(terms),
        [],
        Some(format!("https://{base}.example/context")),
    )
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn now() -> Timestamp {
    "2026-11-28T22:00:00Z".parse().unwrap()
}

fn read(text: &str) -> Result<Subscription, Refusal> {
    Subscription::read(&json(text), &context("a"), NEW, now())
}

fn shown(subscription: &Subscription, base: &str) -> String {
    subscription
        .shown(&context(base), &Outcome::default(), false, now())
        .to_text()
}

const FULL: &str = r#"{"id":"urn:s:1","type":"Subscription","subscriptionName":"n","description":"d","entities":[{"id":"urn:x:1","type":"Car"},{"idPattern":"^urn:x","type":"(Car;Truck),Bus"}],"watchedAttributes":["speed","brand"],"notificationTrigger":["entityCreated","attributeUpdated"],"throttling":1.5,"q":"speed>50;brand==\"x\"","geoQ":{"geometry":"Point","coordinates":[8,47],"georel":"near;maxDistance==10","geoproperty":"place"},"scopeQ":"/a/#","lang":"en","datasetId":["urn:d:1","@none"],"isActive":false,"expiresAt":"2030-01-01T00:00:00Z","jsonldContext":"https://a.example/context","status":"paused","notification":{"pick":["speed","id"],"format":"concise","sysAttrs":true,"showChanges":true,"join":"inline","joinLevel":2,"endpoint":{"uri":"https://r.example/n","accept":"application/ld+json","timeout":500,"cooldown":1000,"receiverInfo":[{"key":"Accept-Language","value":"v"}],"notifierInfo":[{"key":"MQTT-QoS","value":"1"}]}}}"#;

#[test]
fn what_was_sent_comes_back_in_the_names_of_the_reader() {
    let subscription = read(FULL).unwrap();
    assert_eq!(json(&shown(&subscription, "a")), json(FULL));
    let elsewhere = shown(&subscription, "b");
    for name in [
        "https://a.example/Car",
        "https://a.example/speed",
        "https://a.example/place",
    ] {
        assert!(elsewhere.contains(name), "{elsewhere}");
    }
    // It is kept as JSON, and means the same when it is read again.
    let kept = serde_json::to_string(&subscription).unwrap();
    assert_eq!(serde_json::from_str::<Subscription>(&kept).unwrap(), subscription);
}

/// A member, a value that it cannot have, and a word of the refusal.
const REFUSED: &[(&str, &str, &str)] = &[
    ("type", "\"Other\"", "type"),
    ("id", "\"no uri\"", "id"),
    ("entities", "[]", "entities"),
    ("entities", "[{\"id\":\"urn:x:1\"}]", "type"),
    (
        "entities",
        "[{\"type\":\"Car\",\"idPattern\":\"[\"}]",
        "idPattern",
    ),
    ("entities", "[{\"type\":\"Car\",\"other\":1}]", "other"),
    ("watchedAttributes", "[]", "watchedAttributes"),
    ("watchedAttributes", "\"speed\"", "watchedAttributes"),
    ("notificationTrigger", "[\"entityMoved\"]", "notificationTrigger"),
    ("timeInterval", "0", "timeInterval"),
    ("timeInterval", "-1", "timeInterval"),
    ("timeInterval", "1e300", "timeInterval"),
    ("throttling", "\"5\"", "throttling"),
    ("q", "\"speed>\"", "q"),
    // A write would have to read others to know whether it is selected.
    ("q", "\"place{brand}==1\"", "linked"),
    (
        "geoQ",
        "{\"georel\":\"near\",\"geometry\":\"Point\",\"coordinates\":[0,0]}",
        "georel",
    ),
    (
        "geoQ",
        "{\"georel\":\"within\",\"geometry\":\"Point\"}",
        "coordinates",
    ),
    ("datasetId", "[\"x\"]", "datasetId"),
    ("isActive", "\"true\"", "isActive"),
    ("expiresAt", "\"2020-01-01T00:00:00Z\"", "past"),
    ("expiresAt", "\"soon\"", "expiresAt"),
    ("jsonldContext", "\"no uri\"", "jsonldContext"),
    ("other", "1", "other"),
    ("notification", "{}", "endpoint"),
    ("notification", "{\"endpoint\":{\"uri\":\"ftp://x/\"}}", "ftp"),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"http://u:p@x/\"}}",
        "receiverInfo",
    ),
    ("notification", "{\"endpoint\":{\"uri\":\"mqtt://x\"}}", "topic"),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"mqtt://x/a/#\"}}",
        "topic",
    ),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"http://x/\",\"accept\":\"text/html\"}}",
        "accept",
    ),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"http://x/\",\"timeout\":0}}",
        "timeout",
    ),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"http://x/\",\"receiverInfo\":[{\"key\":\"Content-Length\",\"value\":\"1\"}]}}",
        "Content-Length",
    ),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"http://x/\",\"receiverInfo\":[{\"key\":\"a b\",\"value\":\"1\"}]}}",
        "header",
    ),
    (
        "notification",
        "{\"endpoint\":{\"uri\":\"mqtt://x/t\",\"notifierInfo\":[{\"key\":\"MQTT-QoS\",\"value\":\"3\"}]}}",
        "MQTT-QoS",
    ),
    (
        "notification",
        "{\"attributes\":[\"speed\"],\"pick\":\"speed\",\"endpoint\":{\"uri\":\"http://x/\"}}",
        "pick",
    ),
    (
        "notification",
        "{\"format\":\"keyValues\",\"showChanges\":true,\"endpoint\":{\"uri\":\"http://x/\"}}",
        "showChanges",
    ),
];

#[test]
fn what_makes_no_sense_is_refused_with_the_members_name() {
    let base = r#"{"type":"Subscription","entities":[{"type":"Car"}],"notification":{"endpoint":{"uri":"http://r.example/"}}}"#;
    assert_eq!(read(base).unwrap().id, NEW);
    for (path, value, word) in REFUSED {
        let mut body = json(base);
        merge(&mut body, &Json::Object(vec![((*path).to_owned(), json(value))]));
        let refused = Subscription::read(&body, &context("a"), NEW, now());
        let Err(Refusal(why)) = refused else {
            panic!("{path} = {value} was taken");
        };
        assert!(why.contains(*word), "{path} = {value}: {why}");
    }
    for bad in [
        r#"{"type":"Subscription","notification":{"endpoint":{"uri":"http://x/"}}}"#,
        r#"{"type":"Subscription","entities":[{"type":"Car"}],"timeInterval":5,"throttling":1,"notification":{"endpoint":{"uri":"http://x/"}}}"#,
        r#"{"type":"Subscription","entities":[{"type":"Car"}],"timeInterval":5,"watchedAttributes":["a"],"notification":{"endpoint":{"uri":"http://x/"}}}"#,
        r#"{"type":"Subscription","entities":[{"type":"Car"}]}"#,
        "[]",
        "5",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_update_replaces_what_it_gives_and_keeps_the_meaning_of_the_rest() {
    let subscription = read(FULL).unwrap();
    let updated = subscription
        .updated(
            &json(r#"{"watchedAttributes":["speed"],"throttling":null,"isActive":true,"notification":{"format":"normalized","endpoint":{"uri":"http://r.example/other"}}}"#),
            &context("b"),
            now(),
        )
        .unwrap();
    assert_eq!(updated.watched_attributes, ["https://b.example/speed"]);
    assert_eq!(
        (updated.throttling.clone(), updated.is_active),
        (None, Some(true))
    );
    assert_eq!(
        updated.q, subscription.q,
        "speed in q is still that of the first context"
    );
    assert_eq!(updated.entities, subscription.entities);
    assert_eq!(updated.notification.endpoint.uri, "http://r.example/other");
    assert_eq!(
        (&updated.notification.pick, updated.notification.endpoint.timeout),
        (&None, None),
        "what is given is given whole"
    );
    assert_eq!(updated.geo_q, subscription.geo_q);
    let described = subscription.updated(&json(r#"{"description":"d"}"#), &context("b"), now());
    assert_eq!(described.unwrap().notification, subscription.notification);
    for bad in [
        "{}",
        "[]",
        r#"{"status":"active"}"#,
        r#"{"id":"urn:s:2"}"#,
        r#"{"notification":null}"#,
        r#"{"notification":{"format":"keyValues"}}"#,
        r#"{"type":"Other"}"#,
        r#"{"expiresAt":"2020-01-01T00:00:00Z"}"#,
        r#"{"timeInterval":5}"#,
        r#"{"entities":null,"watchedAttributes":null}"#,
    ] {
        assert!(
            subscription.updated(&json(bad), &context("a"), now()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn values_that_open_something_are_not_shown_and_survive_being_sent_back() {
    let secret = r#"{"type":"Subscription","entities":[{"type":"Car"}],"notification":{"endpoint":{"uri":"mqtts://user:s3cret@h.example/t","receiverInfo":[{"key":"Authorization","value":"Bearer s3cret"},{"key":"X-Pass","value":"also-s3cret"},{"key":"Accept-Language","value":"plain"}]}}}"#;
    let subscription = read(secret).unwrap();
    let text = shown(&subscription, "a");
    assert!(!text.contains("s3cret") && text.contains("plain"), "{text}");
    assert!(!format!("{subscription:?}").contains("Bearer"));
    let mut sent_back = json(&text);
    merge(&mut sent_back, &json(r#"{"description":"d"}"#));
    let updated = subscription.updated(&sent_back, &context("a"), now()).unwrap();
    assert_eq!(updated.notification.endpoint, subscription.notification.endpoint);
}

#[test]
fn states_follow_from_what_was_sent_and_the_time() {
    let subscription = read(FULL).unwrap();
    assert_eq!(subscription.status(now()), "paused");
    assert_eq!(
        subscription.status("2030-01-01T00:00:00Z".parse().unwrap()),
        "expired"
    );
    assert_eq!(subscription.criteria().unwrap().entities.len(), 2);
}

proptest! {
    #[test]
    fn any_document_is_read_or_refused(text in "[\\[\\]{}\":,a-zA-Z0-9 ]{0,80}", member in prop::sample::select(MEMBERS)) {
        if let Ok(value) = Json::parse(text.as_bytes()) {
            let mut body = json(FULL);
            merge(&mut body, &Json::Object(vec![(member.to_owned(), value)]));
            if let Ok(read) = Subscription::read(&body, &context("a"), NEW, now()) {
                let _ = (shown(&read, "b"), read.criteria());
            }
        }
    }
}
