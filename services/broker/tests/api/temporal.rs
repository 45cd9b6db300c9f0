//! What is written to the past alone (clauses 5.6.11 to 5.6.16).

use crate::support::{Answer, Broker, Database, Postgres, Receiver};
use serde_json::{Value, json};
use std::sync::Arc;

/// A broker that keeps the past.
pub async fn keeping() -> Broker {
    Broker::configured("temporal: {mode: Enabled}\ntenants: [one]").await
}

/// Sends, and insists on a status.
pub async fn insist(broker: &Broker, status: u16, method: &str, path: &str, body: Option<&str>) -> Answer {
    let answer = broker.send(method, path, &[], body).await;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    answer
}

/// Writes a past, and insists on 201.
pub async fn past(broker: &Broker, body: &Value) {
    insist(broker, 201, "POST", "/temporal/entities", Some(&body.to_string())).await;
}

/// The past of an entity, or of several, as it is answered.
pub async fn shown(broker: &Broker, path: &str) -> Value {
    insist(broker, 200, "GET", &format!("/temporal/entities{path}"), None)
        .await
        .json()
}

/// Values of an attribute, in order.
pub fn values(entity: &Value, attr: &str) -> Vec<Value> {
    let instances = entity[attr].as_array().map(Vec::as_slice).unwrap_or_default();
    instances
        .iter()
        .map(|instance| instance["value"].clone())
        .collect()
}

/// One data point.
pub fn point(value: impl Into<Value>, observed_at: &str) -> Value {
    json!({"type": "Property", "value": value.into(), "observedAt": observed_at})
}

/// A vehicle with a past.
pub fn vehicle(id: &str) -> Value {
    json!({"id": id, "type": "Vehicle",
        "speed": [point(120, "2020-09-01T12:03:00Z"), point(80, "2020-09-01T12:05:00Z")],
        "fuel": [point(67, "2020-09-01T12:03:00Z"),
            {"type": "Property", "value": 40, "observedAt": "2020-09-01T14:07:00Z", "datasetId": "urn:d:1"}]})
}

#[tokio::test]
async fn a_past_is_created_and_a_second_one_adds_to_it_and_corrects_the_same_data_points() {
    let broker = keeping().await;
    let body = vehicle("urn:x:1").to_string();
    let created = insist(&broker, 201, "POST", "/temporal/entities", Some(&body)).await;
    assert_eq!(
        created.header("location"),
        "/ngsi-ld/v1/temporal/entities/urn:x:1"
    );
    assert!(created.text().is_empty());
    let before = shown(&broker, "/urn:x:1?options=sysAttrs").await;
    let more = json!({"id": "urn:x:1", "type": ["Vehicle", "Car"],
        "speed": [point(121, "2020-09-01T12:03:00.000Z"), point(100, "2020-09-01T12:07:00Z"), point(101, "2020-09-01T12:07:00Z")],
        "fuel": [point(41, "2020-09-01T14:07:00Z")], "free": [{"value": 1}, {"value": 2}]});
    insist(
        &broker,
        204,
        "POST",
        "/temporal/entities/",
        Some(&more.to_string()),
    )
    .await;
    let after = shown(&broker, "/urn:x:1?options=sysAttrs").await;
    assert_eq!(after["type"], json!(["Vehicle", "Car"]));
    assert_eq!(values(&after, "speed"), [json!(121), json!(80), json!(101)]);
    assert_eq!(values(&after, "fuel"), [json!(67), json!(40), json!(41)]);
    assert_eq!(
        values(&after, "free"),
        [json!(1), json!(2)],
        "in the order of the body"
    );
    let (corrected, was) = (&after["speed"][0], &before["speed"][0]);
    assert_eq!(corrected["instanceId"], was["instanceId"]);
    assert_eq!(corrected["createdAt"], was["createdAt"]);
    assert_ne!(corrected["modifiedAt"], was["modifiedAt"]);
    assert_eq!(after["speed"][1], before["speed"][1]);
    // Sent again, as after an answer that did not come, it changes nothing of what has a time.
    insist(&broker, 204, "POST", "/temporal/entities", Some(&body)).await;
    insist(&broker, 204, "POST", "/temporal/entities", Some(&body)).await;
    let again = shown(&broker, "/urn:x:1").await;
    assert_eq!(values(&again, "speed"), [json!(120), json!(80), json!(101)]);
}

#[tokio::test]
async fn a_past_makes_the_current_entity_only_where_the_configuration_says_so() {
    let plain = keeping().await;
    past(&plain, &vehicle("urn:x:1")).await;
    insist(&plain, 404, "GET", "/entities/urn:x:1", None).await;
    assert!(plain.ids("type=Vehicle").await.is_empty());
    assert_eq!(plain.get("/types").await.json()["typeList"], json!([]));

    let broker =
        Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalCreate: PastAndEntity}").await;
    past(&broker, &vehicle("urn:x:1")).await;
    let entity = insist(&broker, 200, "GET", "/entities/urn:x:1", None)
        .await
        .json();
    assert_eq!(
        (&entity["speed"]["value"], &entity["fuel"][0]["value"]),
        (&json!(80), &json!(67))
    );
    let older =
        json!({"speed": [point(1, "2019-01-01T00:00:00Z")], "fuel": [point(30, "2020-09-02T00:00:00Z")]});
    insist(
        &broker,
        204,
        "POST",
        "/temporal/entities/urn:x:1/attrs",
        Some(&older.to_string()),
    )
    .await;
    let entity = insist(&broker, 200, "GET", "/entities/urn:x:1", None)
        .await
        .json();
    assert_eq!(
        (&entity["speed"]["value"], &entity["fuel"][0]["value"]),
        (&json!(80), &json!(30))
    );
    let all = shown(&broker, "/urn:x:1").await;
    assert_eq!(values(&all, "speed"), [json!(1), json!(120), json!(80)]);
    assert_eq!(values(&all, "fuel"), [json!(67), json!(40), json!(30)]);
}

#[tokio::test]
async fn instances_are_appended_to_what_is_known_and_to_nothing_else() {
    let broker = keeping().await;
    let more = json!({"speed": [point(1, "2020-01-01T00:00:00Z")], "scope": ["/a"]}).to_string();
    insist(
        &broker,
        404,
        "POST",
        "/temporal/entities/urn:x:1/attrs",
        Some(&more),
    )
    .await;
    past(&broker, &vehicle("urn:x:1")).await;
    insist(
        &broker,
        204,
        "POST",
        "/temporal/entities/urn:x:1/attrs",
        Some(&more),
    )
    .await;
    let all = shown(&broker, "/urn:x:1").await;
    assert_eq!(values(&all, "speed"), [json!(1), json!(120), json!(80)]);
    assert_eq!(values(&all, "scope"), [json!(["/a"])]);
    // To a current entity as well, which stays as it is.
    broker.create(r#"{"id":"urn:x:2","type":"T","speed":7}"#).await;
    insist(
        &broker,
        204,
        "POST",
        "/temporal/entities/urn:x:2/attrs/",
        Some(&more),
    )
    .await;
    let entity = broker.get("/entities/urn:x:2").await.json();
    assert_eq!(
        (&entity["speed"]["value"], &entity["scope"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(
        values(&shown(&broker, "/urn:x:2").await, "speed"),
        [json!(1), json!(7)]
    );
}

#[tokio::test]
async fn an_instance_is_corrected_in_its_place_and_taken_away_by_its_id() {
    let broker = keeping().await;
    past(&broker, &vehicle("urn:x:1")).await;
    let before = shown(&broker, "/urn:x:1?options=sysAttrs").await;
    let of = |attr: &str, n: usize| {
        let id = before[attr][n]["instanceId"].as_str().unwrap();
        format!("/temporal/entities/urn:x:1/attrs/{attr}/{id}")
    };
    let by = point(129, "2020-09-01T12:04:00Z").to_string();
    insist(&broker, 204, "PATCH", &of("speed", 0), Some(&by)).await;
    let dataset = json!({"fuel": [{"type": "Property", "value": 39}]}).to_string();
    insist(&broker, 204, "PATCH", &of("fuel", 1), Some(&dataset)).await;
    let after = shown(&broker, "/urn:x:1?options=sysAttrs").await;
    let (new, old) = (&after["speed"][0], &before["speed"][0]);
    assert_eq!(
        (&new["value"], &new["observedAt"]),
        (&json!(129), &json!("2020-09-01T12:04:00Z"))
    );
    assert_eq!(
        (&new["instanceId"], &new["createdAt"]),
        (&old["instanceId"], &old["createdAt"])
    );
    assert!(new["modifiedAt"].as_str() > old["modifiedAt"].as_str());
    let fuel = &after["fuel"][1];
    assert_eq!(
        (&fuel["value"], &fuel["datasetId"], &fuel["observedAt"]),
        (&json!(39), &json!("urn:d:1"), &Value::Null)
    );
    insist(&broker, 204, "DELETE", &of("speed", 0), None).await;
    insist(&broker, 404, "DELETE", &of("speed", 0), None).await;
    insist(&broker, 404, "PATCH", &of("speed", 0), Some(&by)).await;
    assert_eq!(values(&shown(&broker, "/urn:x:1").await, "speed"), [json!(80)]);
    let id = before["speed"][1]["instanceId"].as_str().unwrap();
    for (path, status) in [
        (format!("/nothing/attrs/speed/{id}"), 400),
        (format!("//attrs/speed/{id}"), 400),
        ("/urn:x:1/attrs/speed/nothing".to_owned(), 400),
        (format!("/urn:x:1/attrs/sp(eed/{id}"), 400),
        (format!("/urn:x:2/attrs/speed/{id}"), 404),
        (format!("/urn:x:1/attrs/fuel/{id}"), 404),
        ("/urn:x:1/attrs/speed/urn:ngsi-ld:0123".to_owned(), 404),
        ("/urn:x:1/attrs/speed/".to_owned(), 405),
    ] {
        let path = format!("/temporal/entities{path}");
        insist(&broker, status, "PATCH", &path, Some(&by)).await;
        insist(
            &broker,
            if status == 405 { 204 } else { status },
            "DELETE",
            &path,
            None,
        )
        .await;
    }
    insist(
        &broker,
        405,
        "PATCH",
        &format!("/temporal/entities/urn:x:1/attrs//{id}"),
        Some(&by),
    )
    .await;
    insist(
        &broker,
        400,
        "DELETE",
        &format!("/temporal/entities/urn:x:1/attrs//{id}"),
        None,
    )
    .await;
}

#[tokio::test]
async fn a_broker_that_keeps_no_past_refuses_to_write_it_and_still_shows_what_was_kept() {
    let database = Arc::new(Postgres::shared().database());
    let broker = Broker::configured_on(Arc::clone(&database), "temporal: {mode: Enabled}").await;
    past(&broker, &vehicle("urn:x:1")).await;
    drop(broker);
    let broker = Broker::configured_on(database, "temporal: {mode: Disabled}").await;
    let refused = insist(
        &broker,
        422,
        "POST",
        "/temporal/entities",
        Some(&vehicle("urn:x:2").to_string()),
    )
    .await;
    assert_eq!(refused.error(), "OperationNotSupported");
    let more = json!({"speed": [point(1, "2020-01-01T00:00:00Z")]}).to_string();
    insist(
        &broker,
        422,
        "POST",
        "/temporal/entities/urn:x:1/attrs",
        Some(&more),
    )
    .await;
    assert_eq!(
        values(&shown(&broker, "/urn:x:1").await, "speed"),
        [json!(120), json!(80)]
    );
    insist(&broker, 204, "DELETE", "/temporal/entities/urn:x:1", None).await;
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:1", None).await;

    let never = Broker::configured("temporal: {mode: Disabled}").await;
    never.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    insist(&never, 404, "GET", "/temporal/entities/urn:x:1", None).await;
    insist(&never, 404, "DELETE", "/temporal/entities/urn:x:1", None).await;
    let all = "?type=T&timerel=after&timeAt=1970-01-01T00:00:00Z";
    assert_eq!(shown(&never, all).await, json!([]));
}

#[tokio::test]
async fn bad_pasts_are_refused_with_the_right_error() {
    let broker = keeping().await;
    let post = async |path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = broker.send("POST", path, headers, Some(body)).await;
        (answer.status, answer.error())
    };
    let bad = |error: &str| (400, error.to_owned());
    let entities = "/temporal/entities";
    for (body, error) in [
        ("", "InvalidRequest"),
        ("{", "InvalidRequest"),
        ("[]", "InvalidRequest"),
        ("{}", "BadRequestData"),
        (r#"{"type":"T","n":[{"value":1}]}"#, "BadRequestData"),
        (r#"{"id":"","type":"T","n":[{"value":1}]}"#, "BadRequestData"),
        (r#"{"id":"urn:x:1","n":[{"value":1}]}"#, "BadRequestData"),
        (r#"{"id":"urn:x:1","type":"T","n":[1]}"#, "BadRequestData"),
        (
            r#"{"id":"urn:x:1","type":"T","n":[{"value":1,"observedAt":"today"}]}"#,
            "BadRequestData",
        ),
        (
            r#"{"id":"urn:x:1","type":"T","@context":[],"n":[{"value":1}]}"#,
            "BadRequestData",
        ),
    ] {
        assert_eq!(post(entities, &[], body).await, bad(error), "{body}");
    }
    past(&broker, &vehicle("urn:x:1")).await;
    let attrs = "/temporal/entities/urn:x:1/attrs";
    for (body, error) in [
        ("", "InvalidRequest"),
        ("{,}", "InvalidRequest"),
        ("{}", "BadRequestData"),
        (r#"{"id":"urn:x:2","n":[{"value":1}]}"#, "BadRequestData"),
        (r#"{"n":[]}"#, "BadRequestData"),
    ] {
        assert_eq!(post(attrs, &[], body).await, bad(error), "{body}");
    }
    assert_eq!(
        post("/temporal/entities//attrs", &[], "{}").await,
        bad("BadRequestData")
    );
    assert_eq!(
        post("/temporal/entities/x/attrs", &[], "{}").await,
        bad("BadRequestData")
    );
    assert_eq!(
        post(&format!("{entities}?other=1"), &[], "{}").await,
        bad("InvalidRequest")
    );
    let plain = broker
        .send("POST", entities, &[("content-type", "text/plain")], Some("{}"))
        .await;
    assert_eq!(plain.status, 415);
    for method in ["PUT", "PATCH"] {
        insist(&broker, 405, method, "/temporal/entities", Some("{}")).await;
        insist(&broker, 405, method, "/temporal/entities/urn:x:1", Some("{}")).await;
    }
}

#[tokio::test]
async fn no_tenant_sees_the_past_of_another() {
    let broker = keeping().await;
    past(&broker, &vehicle("urn:x:1")).await;
    let other = [("NGSILD-Tenant", "one")];
    let path = "/temporal/entities/urn:x:1";
    assert_eq!(broker.send("GET", path, &other, None).await.status, 404);
    assert_eq!(broker.send("DELETE", path, &other, None).await.status, 404);
    let body =
        json!({"id": "urn:x:1", "type": "Other", "speed": [point(1, "2020-01-01T00:00:00Z")]}).to_string();
    assert_eq!(
        broker
            .send("POST", "/temporal/entities", &other, Some(&body))
            .await
            .status,
        201
    );
    let theirs = broker.send("GET", path, &other, None).await.json();
    assert_eq!(
        (&theirs["type"], values(&theirs, "speed")),
        (&json!("Other"), vec![json!(1)])
    );
    let ours = shown(&broker, "/urn:x:1").await;
    let instance = ours["speed"][0]["instanceId"].as_str().unwrap();
    let path = format!("/temporal/entities/urn:x:1/attrs/speed/{instance}");
    assert_eq!(broker.send("DELETE", &path, &other, None).await.status, 404);
    let all = "/temporal/entities?local=true&timerel=after&timeAt=1970-01-01T00:00:00Z";
    let theirs = broker.send("GET", all, &other, None).await.json();
    assert_eq!(
        (theirs.as_array().unwrap().len(), &theirs[0]["type"]),
        (1, &json!("Other"))
    );
    assert_eq!(
        values(&shown(&broker, "/urn:x:1").await, "speed"),
        [json!(120), json!(80)]
    );
}

#[tokio::test]
async fn a_past_makes_its_tenant_where_it_is_kept_and_first_writes_may() {
    let body = vehicle("urn:x:1").to_string();
    let header: &[(&str, &str)] = &[("NGSILD-Tenant", "new")];
    let list = "select string_agg(name, ',') from mim.tenants where name <> ''";
    let keeping = Broker::configured("temporal: {mode: Enabled}\ntenantCreation: OnFirstWrite").await;
    for (method, path, body) in [
        ("GET", "/temporal/entities/urn:x:1", None),
        ("DELETE", "/temporal/entities/urn:x:1", None),
        ("POST", "/temporal/entities/urn:x:1/attrs", Some(body.as_str())),
    ] {
        let answer = keeping.send(method, path, header, body).await;
        assert_eq!(answer.error(), "NonexistentTenant", "{method} {path}");
    }
    let made = keeping
        .send("POST", "/temporal/entities", header, Some(&body))
        .await;
    assert_eq!(
        (made.status, made.header("ngsild-tenant")),
        (201, "new"),
        "{}",
        made.text()
    );
    assert_eq!(keeping.database.psql(list), "new");
    let read = keeping
        .send("GET", "/temporal/entities/urn:x:1", header, None)
        .await;
    assert_eq!(values(&read.json(), "speed"), [json!(120), json!(80)]);
    let not_keeping = Broker::configured("tenantCreation: OnFirstWrite").await;
    let refused = not_keeping
        .send("POST", "/temporal/entities", header, Some(&body))
        .await;
    assert_eq!(refused.error(), "OperationNotSupported");
    assert_eq!(not_keeping.database.psql(list), "");
}

#[tokio::test]
async fn subscribers_hear_of_a_past_only_where_it_changes_the_current_entity() {
    let receiver = Receiver::start().await;
    let subscription = |receiver: &Receiver| {
        json!({"id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}],
            "notification": {"endpoint": {"uri": receiver.url()}, "format": "keyValues", "attributes": ["n"]}})
        .to_string()
    };
    let now = |value: i32| json!({"id": "urn:x:1", "type": "T", "n": [point(value, "2024-01-02T00:00:00Z")]});
    let older = json!({"n": [point(1, "2024-01-01T00:00:00Z")]}).to_string();
    let newer = json!({"n": [point(3, "2024-01-03T00:00:00Z")]}).to_string();
    let append = "/temporal/entities/urn:x:1/attrs";
    let making =
        Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalCreate: PastAndEntity}").await;
    let body = subscription(&receiver);
    insist(&making, 201, "POST", "/subscriptions", Some(&body)).await;
    past(&making, &now(2)).await;
    insist(&making, 204, "POST", append, Some(&older)).await;
    insist(&making, 204, "POST", append, Some(&newer)).await;
    let values = |told: Vec<Value>| told.iter().map(|entity| entity["n"].clone()).collect::<Vec<_>>();
    assert_eq!(values(receiver.until(2).await), [json!(2), json!(3)]);

    let receiver = Receiver::start().await;
    let body = subscription(&receiver);
    let plain = keeping().await;
    insist(&plain, 201, "POST", "/subscriptions", Some(&body)).await;
    past(&plain, &now(2)).await;
    plain.create(r#"{"id":"urn:x:1","type":"T","n":7}"#).await;
    insist(&plain, 204, "POST", append, Some(&newer)).await;
    let patch = Some(r#"{"n":8}"#);
    insist(&plain, 204, "PATCH", "/entities/urn:x:1/attrs", patch).await;
    assert_eq!(values(receiver.until(2).await), [json!(7), json!(8)]);
}
