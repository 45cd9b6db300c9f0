//! Subscriptions as objects: made, shown, changed, deleted.

use crate::support::{Broker, Postgres, Receiver, eventually};
use serde_json::{Value, json};
use std::sync::Arc;

fn subscription(id: &str, more: &Value) -> Value {
    let mut body = json!({
        "id": id, "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"endpoint": {"uri": "http://receiver.example.org/"}}
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn a_subscription_lives_from_its_creation_to_its_deletion() {
    let broker = Broker::ready().await;
    let sent = subscription(
        "urn:s:1",
        &json!({"watchedAttributes": ["n"], "q": "n>5", "description": "d"}),
    );
    let created = broker.post("/subscriptions", &sent.to_string()).await;
    assert_eq!(
        (created.status, created.header("location")),
        (201, "/ngsi-ld/v1/subscriptions/urn:s:1")
    );
    assert_eq!(
        broker.post("/subscriptions", &sent.to_string()).await.error(),
        "AlreadyExists"
    );

    let mut expected = sent.clone();
    expected["status"] = json!("active");
    expected["notificationTrigger"] = json!(["attributeCreated", "attributeUpdated"]);
    let shown = broker.get("/subscriptions/urn:s:1").await;
    assert_eq!(shown.json(), expected);
    assert!(shown.header("link").contains("ngsi-ld-core-context"));
    assert_eq!(broker.get("/subscriptions").await.json(), json!([expected]));
    assert!(broker.get("/subscriptions/urn:s:1?options=sysAttrs").await.json()["createdAt"].is_string());

    let patch = json!({"isActive": false, "description": null});
    let changed = broker
        .send("PATCH", "/subscriptions/urn:s:1", &[], Some(&patch.to_string()))
        .await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    let shown = broker.get("/subscriptions/urn:s:1").await.json();
    assert_eq!(
        (&shown["status"], &shown["description"]),
        (&json!("paused"), &Value::Null)
    );

    assert_eq!(
        broker
            .send("DELETE", "/subscriptions/urn:s:1", &[], None)
            .await
            .status,
        204
    );
    for method in ["GET", "DELETE"] {
        assert_eq!(
            broker
                .send(method, "/subscriptions/urn:s:1", &[], None)
                .await
                .error(),
            "ResourceNotFound"
        );
    }
    let gone = broker
        .send(
            "PATCH",
            "/subscriptions/urn:s:1",
            &[],
            Some("{\"isActive\":true}"),
        )
        .await;
    assert_eq!(gone.error(), "ResourceNotFound");
}

#[tokio::test]
async fn lists_are_paged_counted_and_of_one_tenant() {
    let broker = Broker::ready().await;
    for n in 1..=5 {
        let body = subscription(&format!("urn:s:{n}"), &json!({}));
        assert_eq!(broker.post("/subscriptions", &body.to_string()).await.status, 201);
    }
    let page = broker.get("/subscriptions?limit=2&offset=2&count=true").await;
    let ids: Vec<_> = page
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["id"].clone())
        .collect();
    assert_eq!(ids, ["urn:s:3", "urn:s:4"]);
    assert_eq!(page.header("ngsild-results-count"), "5");
    let links: Vec<_> = page
        .headers
        .get_all("link")
        .iter()
        .map(|l| l.to_str().unwrap())
        .collect();
    assert!(
        links
            .iter()
            .any(|l| l.contains("limit=2&offset=4") && l.contains("rel=\"next\"")),
        "{links:?}"
    );
    assert!(
        links
            .iter()
            .any(|l| l.contains("limit=2&offset=0") && l.contains("rel=\"prev\"")),
        "{links:?}"
    );
    let other = broker
        .send("GET", "/subscriptions", &[("NGSILD-Tenant", "one")], None)
        .await;
    assert_eq!(other.json(), json!([]));
    let other = broker
        .send("GET", "/subscriptions/urn:s:1", &[("NGSILD-Tenant", "one")], None)
        .await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_is_kept() {
    let broker = Broker::ready().await;
    for (body, error) in [
        ("", "InvalidRequest"),
        ("{", "InvalidRequest"),
        ("{}", "BadRequestData"),
        ("[]", "BadRequestData"),
        (
            r#"{"type":"Subscription","notification":{"endpoint":{"uri":"http://x/"}}}"#,
            "BadRequestData",
        ),
    ] {
        assert_eq!(broker.post("/subscriptions", body).await.error(), error, "{body}");
    }
    let unavailable = subscription(
        "urn:s:1",
        &json!({"jsonldContext": "http://127.0.0.1:1/context.jsonld"}),
    );
    assert_eq!(
        broker
            .post("/subscriptions", &unavailable.to_string())
            .await
            .error(),
        "LdContextNotAvailable"
    );
    assert_eq!(broker.get("/subscriptions").await.json(), json!([]));
    for (method, path, status) in [
        ("DELETE", "/subscriptions/", 405),
        ("PATCH", "/subscriptions/", 405),
        ("PUT", "/subscriptions/urn:s:1", 405),
        ("GET", "/subscriptions/not-a-uri", 400),
        ("GET", "/subscriptions?limit=-1", 400),
        ("GET", "/subscriptions?other=1", 400),
    ] {
        let body = (method != "GET" && method != "DELETE").then_some("{\"description\":\"d\"}");
        assert_eq!(
            broker.send(method, path, &[], body).await.status,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn names_are_shown_in_the_context_of_the_reader() {
    let broker = Broker::ready().await;
    let mut body = subscription("urn:s:1", &json!({"watchedAttributes": ["n"]}));
    body["@context"] = json!({"T": "https://a.example/T", "n": "https://a.example/n"});
    let created = broker
        .send(
            "POST",
            "/subscriptions",
            &[("Content-Type", "application/ld+json")],
            Some(&body.to_string()),
        )
        .await;
    assert_eq!(created.status, 201, "{}", created.text());
    let shown = broker.get("/subscriptions/urn:s:1").await.json();
    assert_eq!(shown["entities"], json!([{"type": "https://a.example/T"}]));
    assert_eq!(shown["watchedAttributes"], json!(["https://a.example/n"]));
}

#[tokio::test]
async fn a_context_that_the_broker_keeps_for_a_subscription_ends_with_it_at_every_replica() {
    let database = Arc::new(Postgres::shared().database());
    let one = Broker::start(Arc::clone(&database));
    let other = Broker::start_with(database, Arc::clone(&one.config));
    one.until_ready().await;
    other.until_ready().await;
    let mut sent = subscription("urn:s:1", &json!({}));
    sent["@context"] = json!({"T": "urn:t:1"});
    let headers = [("content-type", "application/ld+json")];
    let created = one
        .send("POST", "/subscriptions", &headers, Some(&sent.to_string()))
        .await;
    assert_eq!(created.status, 201, "{}", created.text());
    // A change of something else does not part the two.
    let patched = one
        .send(
            "PATCH",
            "/subscriptions/urn:s:1",
            &[],
            Some(r#"{"description":"d"}"#),
        )
        .await;
    assert_eq!(patched.status, 204, "{}", patched.text());
    let shown = one.get("/subscriptions/urn:s:1").await.json();
    let url = shown["jsonldContext"].as_str().unwrap();
    let link = format!("<{url}>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"");
    let status = async |broker: &Broker| {
        broker
            .send("GET", "/types", &[("link", &link)], None)
            .await
            .status
    };
    assert_eq!((status(&one).await, status(&other).await), (200, 200));
    let deleted = one.send("DELETE", "/subscriptions/urn:s:1", &[], None).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    assert_eq!((status(&other).await, status(&one).await), (504, 504));
    assert_eq!(one.get("/jsonldContexts").await.json(), json!([]));
}

#[tokio::test]
async fn triggers_are_shown_where_none_were_sent() {
    let broker = Broker::ready().await;
    for (id, more) in [("urn:s:1", json!({})), ("urn:s:2", json!({"timeInterval": 60}))] {
        let created = broker
            .post("/subscriptions", &subscription(id, &more).to_string())
            .await;
        assert_eq!(created.status, 201, "{}", created.text());
        let shown = broker.get(&format!("/subscriptions/{id}")).await.json();
        assert_eq!(
            shown["notificationTrigger"],
            json!(["attributeCreated", "attributeUpdated"]),
            "{more}"
        );
    }
}

#[tokio::test]
async fn a_subscription_is_deleted_while_its_notifications_are_noted() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let sent = subscription(
        "urn:s:1",
        &json!({"notification": {"endpoint": {"uri": receiver.url()}}}),
    );
    let created = broker.post("/subscriptions", &sent.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    receiver.until(1).await;
    let lanes = "select count(*) from mim.lanes where held_until < now()";
    eventually(10, "it is noted", async || broker.database.psql(lanes) == "1").await;
    // A replica that notes what it has sent, in the order in which that is done; it takes a while.
    let database = Arc::clone(&broker.database);
    let noting = tokio::task::spawn_blocking(move || {
        database.psql(
            "begin; update mim.lanes set failures = 0; select pg_sleep(2); \
             update mim.subscriptions set times_sent = times_sent + 1; commit",
        )
    });
    let held =
        "select count(*) from pg_locks where relation = 'mim.lanes'::regclass and mode = 'RowExclusiveLock'";
    eventually(10, "the lane is held", async || broker.database.psql(held) == "1").await;
    let deleted = broker.send("DELETE", "/subscriptions/urn:s:1", &[], None).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    noting.await.unwrap();
    let left = "select (select count(*) from mim.lanes) + (select count(*) from mim.deliveries)";
    assert_eq!(broker.database.psql(left), "0");
}

#[tokio::test]
async fn a_lane_that_is_taken_just_when_its_subscription_goes_does_not_stay() {
    let broker = Broker::ready().await;
    let taken = "select count(*) from mim.hold_lane(4711, 3::smallint, gen_random_uuid(), 1, 10, 1000)";
    assert_eq!(broker.database.psql(taken), "0", "nothing waits in it");
    let left = "select count(*) from mim.lanes";
    assert_eq!(broker.database.psql(left), "1");
    eventually(20, "it is swept", async || broker.database.psql(left) == "0").await;
}
