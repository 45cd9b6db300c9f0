//! How the past of one entity is shown (clause 5.7.3).

use crate::support::{Answer, Broker};
use crate::temporal::{insist, keeping, past, point, shown, values};
use serde_json::{Value, json};

/// An instant of a day of 2024, so many minutes after its begin.
fn minute(n: u32) -> String {
    format!("2024-01-01T{:02}:{:02}:00Z", n / 60, n % 60)
}

/// A past with so many points of two attributes, `b` half a minute after `a`.
fn two_attributes(id: &str, count: u32) -> Value {
    let series = |offset: &str| -> Vec<Value> {
        (0..count)
            .map(|n| point(n, &minute(n).replace(":00Z", offset)))
            .collect()
    };
    json!({"id": id, "type": "T", "a": series(":00Z"), "b": series(":30Z")})
}

/// Numbers of an attribute shown as values.
fn numbers(entity: &Value, attr: &str) -> Vec<i64> {
    let values = entity[attr]["values"].as_array().unwrap();
    values.iter().map(|v| v[0].as_i64().unwrap()).collect()
}

async fn retrieve(broker: &Broker, query: &str) -> Answer {
    broker.get(&format!("/temporal/entities/urn:x:1?{query}")).await
}

#[tokio::test]
async fn changes_by_the_core_api_are_the_past_by_each_of_their_times() {
    let broker = keeping().await;
    broker.create(r#"{"id":"urn:x:1","type":"T","scope":"/a","n":{"type":"Property","value":1,"observedAt":"2024-01-01T00:00:00Z"},"m":5}"#).await;
    insist(
        &broker,
        204,
        "PATCH",
        "/entities/urn:x:1/attrs",
        Some(r#"{"n":{"type":"Property","value":2,"observedAt":"2023-01-01T00:00:00.5Z"}}"#),
    )
    .await;
    insist(
        &broker,
        204,
        "PATCH",
        "/entities/urn:x:1/attrs",
        Some(r#"{"n":{"type":"Property","value":3}}"#),
    )
    .await;
    // Everything: by when it was observed, else by when it was stored.
    let all = shown(&broker, "/urn:x:1").await;
    assert_eq!(values(&all, "n"), [json!(2), json!(1), json!(3)]);
    assert_eq!(
        (values(&all, "m"), values(&all, "scope")),
        (vec![json!(5)], vec![json!(["/a"])])
    );
    assert_eq!(all["n"][0]["observedAt"], "2023-01-01T00:00:00.5Z", "as sent");
    assert!(all["n"][2]["createdAt"].is_string(), "a time it has");
    assert!(all["n"][0]["createdAt"].is_null());
    // By one time: what has none is not found.
    let observed = shown(&broker, "/urn:x:1?timeproperty=observedAt").await;
    assert_eq!(
        (values(&observed, "n"), &observed["m"]),
        (vec![json!(2), json!(1)], &Value::Null)
    );
    assert_eq!(
        values(&observed, "scope"),
        [json!(["/a"])],
        "a scope is as of when it was set"
    );
    for time in ["createdAt", "modifiedAt"] {
        let stored = shown(&broker, &format!("/urn:x:1?timeproperty={time}")).await;
        assert_eq!(values(&stored, "n"), [json!(1), json!(2), json!(3)], "{time}");
        assert!(stored["n"][0][time].is_string() && stored["m"][0][time].is_string());
    }
    assert_eq!(
        shown(&broker, "/urn:x:1?timeproperty=deletedAt").await,
        json!({"id": "urn:x:1", "type": "T"})
    );
}

#[tokio::test]
async fn deletions_are_nulls_of_their_kind_and_found_by_when_they_were() {
    let broker = keeping().await;
    broker
        .create(
            r#"{"id":"urn:x:1","type":"T","p":1,"r":{"object":"urn:y:1"},"l":{"languageMap":{"en":"a"}},
                "d":[{"value":1},{"value":2,"datasetId":"urn:d:1"}],"s":2}"#,
        )
        .await;
    for attr in ["p", "r", "l", "d?datasetId=urn:d:1"] {
        insist(
            &broker,
            204,
            "DELETE",
            &format!("/entities/urn:x:1/attrs/{attr}"),
            None,
        )
        .await;
    }
    let gone = shown(&broker, "/urn:x:1?timeproperty=deletedAt").await;
    assert_eq!(gone["s"], Value::Null);
    assert_eq!(gone["p"][0]["value"], "urn:ngsi-ld:null");
    assert_eq!(
        (&gone["r"][0]["type"], &gone["r"][0]["object"]),
        (&json!("Relationship"), &json!("urn:ngsi-ld:null"))
    );
    assert_eq!(gone["l"][0]["languageMap"], json!({"@none": "urn:ngsi-ld:null"}));
    assert_eq!(
        (gone["d"].as_array().unwrap().len(), &gone["d"][0]["datasetId"]),
        (1, &json!("urn:d:1"))
    );
    assert!(gone["p"][0]["deletedAt"].is_string() && gone["p"][0]["createdAt"].is_null());
    let simple = shown(&broker, "/urn:x:1?timeproperty=deletedAt&options=temporalValues").await;
    assert_eq!(simple["r"]["objects"][0][0], "urn:ngsi-ld:null");
    assert_eq!(
        simple["l"]["languageMaps"][0][0],
        json!({"languageMap": {"@none": "urn:ngsi-ld:null"}})
    );
    assert_eq!(simple["p"]["values"][0][1], gone["p"][0]["deletedAt"]);
    let all = shown(&broker, "/urn:x:1").await;
    assert_eq!(values(&all, "p"), [json!(1), json!("urn:ngsi-ld:null")]);
    let stored = shown(&broker, "/urn:x:1?timeproperty=createdAt").await;
    assert_eq!(values(&stored, "p"), [json!(1)]);
    // A deletion is no value, and is not corrected.
    let id = gone["p"][0]["instanceId"].as_str().unwrap();
    let path = format!("/temporal/entities/urn:x:1/attrs/p/{id}");
    insist(&broker, 404, "PATCH", &path, Some(r#"{"value":5}"#)).await;
    let when = gone["p"][0]["deletedAt"].as_str().unwrap();
    let before = shown(
        &broker,
        &format!("/urn:x:1?timeproperty=deletedAt&timerel=before&timeAt={when}"),
    )
    .await;
    assert_eq!(before["p"], Value::Null);
}

#[tokio::test]
async fn an_interval_has_its_begin_and_not_its_end() {
    let broker = keeping().await;
    past(&broker, &two_attributes("urn:x:1", 10)).await;
    let of = async |query: &str| {
        let entity = shown(
            &broker,
            &format!("/urn:x:1?{query}&options=temporalValues&attrs=a"),
        )
        .await;
        numbers(&entity, "a")
    };
    assert_eq!(of(&format!("timerel=after&timeAt={}", minute(8))).await, [8, 9]);
    assert_eq!(of(&format!("timerel=before&timeAt={}", minute(2))).await, [0, 1]);
    let between = format!("timerel=between&timeAt={}&endTimeAt={}", minute(3), minute(5));
    assert_eq!(of(&between).await, [3, 4]);
    assert_eq!(of("lastN=2").await, [8, 9]);
    assert_eq!(of(&format!("{between}&lastN=1")).await, [4]);
    // By when they were stored there is nothing to tell them apart.
    let stored = "timerel=after&timeAt=2024-06-01T00:00:00Z&timeproperty=createdAt";
    assert_eq!(of(stored).await.len(), 10);
    // Nothing in the interval is no reason to deny the entity.
    let none = shown(&broker, "/urn:x:1?timerel=after&timeAt=2025-01-01T00:00:00Z").await;
    assert_eq!(none, json!({"id": "urn:x:1", "type": "T"}));
    insist(
        &broker,
        404,
        "GET",
        "/temporal/entities/urn:x:1?attrs=unknown",
        None,
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let broker = keeping().await;
    past(&broker, &two_attributes("urn:x:1", 2)).await;
    for (query, error) in [
        ("timerel=after", "BadRequestData"),
        ("timerel=before", "BadRequestData"),
        ("timerel=between&timeAt=2024-01-01T00:00:00Z", "BadRequestData"),
        ("timerel=since&timeAt=2024-01-01T00:00:00Z", "BadRequestData"),
        ("timeAt=2024-01-01T00:00:00Z", "BadRequestData"),
        ("timerel=after&timeAt=yesterday", "BadRequestData"),
        ("timeproperty=expiresAt", "BadRequestData"),
        ("lastN=0", "BadRequestData"),
        ("lastN=-1", "BadRequestData"),
        ("lastN=x", "BadRequestData"),
        ("attrs=a&pick=b", "BadRequestData"),
        ("attrs=a&omit=b", "BadRequestData"),
        ("pick=a&omit=a", "BadRequestData"),
        ("pick=a{b}", "BadRequestData"),
        ("datasetId=x", "BadRequestData"),
        ("options=aggregatedValues", "BadRequestData"),
        ("options=aggregatedValues&aggrMethods=median", "BadRequestData"),
        (
            "options=aggregatedValues&aggrMethods=avg&aggrPeriodDuration=1h",
            "BadRequestData",
        ),
        ("options=keyValues", "InvalidRequest"),
        ("options=temporalValues,other", "InvalidRequest"),
        ("format=other", "InvalidRequest"),
        ("join=inline", "InvalidRequest"),
        ("other=1", "InvalidRequest"),
        ("local=maybe", "BadRequestData"),
    ] {
        let answer = retrieve(&broker, query).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{query}");
    }
    let geo = broker
        .send(
            "GET",
            "/temporal/entities/urn:x:1",
            &[("accept", "application/geo+json")],
            None,
        )
        .await;
    assert_eq!(geo.status, 406);
    insist(&broker, 400, "GET", "/temporal/entities/nothing", None).await;
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:2", None).await;
}

#[tokio::test]
async fn members_instances_and_languages_are_shown_as_asked() {
    let broker = keeping().await;
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "T",
            "n": [point(1, "2024-01-01T00:00:00Z"),
                {"type": "Property", "value": 2, "observedAt": "2024-01-01T00:01:00Z", "datasetId": "urn:d:1", "unitCode": "CEL", "q": {"type": "Property", "value": 9}}],
            "l": [{"type": "LanguageProperty", "languageMap": {"en": "yes", "fr": "oui"}, "observedAt": "2024-01-01T00:00:00Z"}]}),
    )
    .await;
    let keys = |entity: &Value| entity.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&shown(&broker, "/urn:x:1?attrs=n").await),
        ["id", "n", "type"]
    );
    assert_eq!(keys(&shown(&broker, "/urn:x:1?pick=n").await), ["n"]);
    assert_eq!(keys(&shown(&broker, "/urn:x:1?pick=id,l").await), ["id", "l"]);
    assert_eq!(keys(&shown(&broker, "/urn:x:1?omit=type,n").await), ["id", "l"]);
    for nothing in ["pick=unknown", "omit=id,type,n,l", "attrs=unknown"] {
        assert_eq!(retrieve(&broker, nothing).await.status, 404, "{nothing}");
    }
    // The scopes of an entity are none of its attributes.
    broker
        .create(r#"{"id":"urn:x:2","type":"T","scope":"/a","n":1}"#)
        .await;
    for (query, status) in [("attrs=unknown", 404), ("attrs=n", 200), ("pick=scope", 200)] {
        let answer = broker.get(&format!("/temporal/entities/urn:x:2?{query}")).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
    let of = async |datasets: &str| {
        values(
            &shown(&broker, &format!("/urn:x:1?datasetId={datasets}")).await,
            "n",
        )
    };
    assert_eq!(of("@none").await, [json!(1)]);
    assert_eq!(of("urn:d:1").await, [json!(2)]);
    assert_eq!(of("urn:d:1,@none").await, [json!(1), json!(2)]);
    let french = shown(&broker, "/urn:x:1?lang=fr").await;
    assert_eq!(
        (&french["l"][0]["value"], &french["l"][0]["lang"]),
        (&json!("oui"), &json!("fr"))
    );
    let simple = shown(
        &broker,
        "/urn:x:1?lang=fr&format=temporalValues&options=aggregatedValues",
    )
    .await;
    assert_eq!(
        simple["l"],
        json!({"type": "Property", "values": [["oui", "2024-01-01T00:00:00Z"]]})
    );
    assert_eq!(
        simple["n"][1],
        json!({"type": "Property", "datasetId": "urn:d:1", "values": [[2, "2024-01-01T00:01:00Z"]]})
    );
    let concise = shown(&broker, "/urn:x:1?options=concise").await;
    assert_eq!(
        (
            &concise["n"][1]["type"],
            &concise["n"][1]["q"],
            &concise["n"][1]["unitCode"]
        ),
        (&Value::Null, &json!(9), &json!("CEL"))
    );
    let whole = shown(&broker, "/urn:x:1?options=sysAttrs").await;
    for name in ["createdAt", "modifiedAt"] {
        assert!(
            whole[name].is_string()
                && whole["n"][1][name].is_string()
                && whole["n"][1]["q"][name].is_string()
        );
    }
}

#[tokio::test]
async fn names_are_those_of_the_context_of_the_call() {
    let broker = keeping().await;
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "T", "urn:a": [point(1, "2024-01-01T00:00:00Z")]}),
    )
    .await;
    let json = retrieve(&broker, "").await;
    assert!(
        json.header("link")
            .contains("rel=\"http://www.w3.org/ns/json-ld#context\"")
    );
    assert_eq!(json.header("content-type"), "application/json");
    assert!(json.json()["urn:a"].is_array() && json.json()["@context"].is_null());
    let path = "/temporal/entities/urn:x:1";
    let ld = broker
        .send("GET", path, &[("accept", "application/ld+json")], None)
        .await;
    assert_eq!(
        (ld.header("content-type"), ld.header("link")),
        ("application/ld+json", "")
    );
    assert!(ld.json()["@context"].is_string());
}

/// The times and the size of `Content-Range`.
fn range(answer: &Answer) -> (String, String, String) {
    let text = answer.header("content-range").strip_prefix("date-time ").unwrap();
    let (times, size) = text.rsplit_once('/').unwrap();
    let end = times.find("Z-").unwrap() + 1;
    (
        times[..end].to_owned(),
        times[end + 1..].to_owned(),
        size.to_owned(),
    )
}

#[tokio::test]
async fn what_is_longer_than_a_page_is_cut_at_one_instant_and_the_next_page_goes_on_there() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 7}").await;
    past(&broker, &two_attributes("urn:x:1", 15)).await;
    let mut from = "2024-01-01T00:00:00Z".to_owned();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for page in 0.. {
        assert!(page < 20, "it ends");
        let query = format!("options=temporalValues&timerel=after&timeAt={from}");
        let answer = retrieve(&broker, &query).await;
        let entity = answer.json();
        a.extend(numbers(&entity, "a"));
        b.extend(numbers(&entity, "b"));
        if answer.status == 200 {
            assert_eq!(answer.header("content-range"), "");
            break;
        }
        assert_eq!(answer.status, 206);
        let (start, end, size) = range(&answer);
        assert_eq!((&start, size.as_str()), (&from, "*"));
        let all: Vec<_> = ["a", "b"]
            .iter()
            .flat_map(|attr| entity[attr]["values"].as_array().unwrap().clone())
            .map(|v| v[1].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(all.iter().max(), Some(&end));
        from = end;
    }
    a.dedup();
    b.dedup();
    assert_eq!(a, (0..15).collect::<Vec<_>>());
    assert_eq!(b, (0..15).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_last_instances_are_read_backwards_and_cut_there() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 7}").await;
    past(&broker, &two_attributes("urn:x:1", 15)).await;
    let whole = retrieve(&broker, "lastN=3&options=temporalValues").await;
    assert_eq!(
        (whole.status, numbers(&whole.json(), "a")),
        (200, vec![12, 13, 14])
    );
    let cut = retrieve(&broker, "lastN=10&options=temporalValues").await;
    assert_eq!(cut.status, 206);
    assert_eq!(
        (numbers(&cut.json(), "a"), numbers(&cut.json(), "b")),
        (vec![12, 13, 14], vec![11, 12, 13, 14])
    );
    let times = |text: &str| text.to_owned();
    assert_eq!(
        range(&cut),
        (
            times("2024-01-01T00:14:30Z"),
            times("2024-01-01T00:11:30Z"),
            times("10")
        )
    );
    let before = "lastN=10&timerel=before&timeAt=2025-01-01T00:00:00Z";
    assert_eq!(range(&retrieve(&broker, before).await).0, "2025-01-01T00:00:00Z");
    let between = "lastN=10&timerel=between&timeAt=2023-01-01T00:00:00Z&endTimeAt=2026-01-01T00:00:00Z";
    assert_eq!(range(&retrieve(&broker, between).await).0, "2026-01-01T00:00:00Z");
    let after = "lastN=10&timerel=after&timeAt=2023-01-01T00:00:00Z";
    assert_eq!(range(&retrieve(&broker, after).await).0, "2024-01-01T00:14:30Z");
}

#[tokio::test]
async fn instances_of_one_instant_are_in_one_answer_and_attributes_that_come_later_are_empty() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 5}").await;
    let at = |n: u32| minute(n);
    let points = |minutes: &[u32]| -> Vec<Value> { minutes.iter().map(|n| point(*n, &at(*n))).collect() };
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "T", "a": points(&[1, 2, 3, 4]), "b": points(&[1, 3, 4]),
        "z": points(&[100]), "l": [{"languageMap": {"en": "a"}, "observedAt": at(200)}]}),
    )
    .await;
    let cut = retrieve(&broker, "").await;
    let entity = cut.json();
    // The fifth is of minute 3, and so would be the sixth.
    assert_eq!(
        (values(&entity, "a"), values(&entity, "b")),
        (vec![json!(1), json!(2), json!(3)], vec![json!(1), json!(3)])
    );
    assert_eq!((&entity["z"], &entity["l"]), (&json!([]), &json!([])));
    let simple = retrieve(
        &broker,
        "options=temporalValues&timerel=after&timeAt=2024-01-01T00:02:00Z",
    )
    .await
    .json();
    assert_eq!(
        (numbers(&simple, "a"), numbers(&simple, "b")),
        (vec![2, 3, 4], vec![3, 4])
    );
    assert_eq!(
        simple["l"],
        json!({"type": "LanguageProperty", "languageMaps": []})
    );
    // All of one instant: there is nothing to cut at, and it says how far it is.
    let many: Vec<Value> = (0..9).map(|n| json!({"value": n})).collect();
    past(&broker, &json!({"id": "urn:x:2", "type": "T", "a": many})).await;
    let stored = insist(
        &broker,
        206,
        "GET",
        "/temporal/entities/urn:x:2?timeproperty=createdAt",
        None,
    )
    .await;
    assert_eq!(values(&stored.json(), "a").len(), 5);
}

#[tokio::test]
async fn large_instances_are_shown_within_bounded_memory_and_cut_by_their_size() {
    let broker = keeping().await;
    let text = "x".repeat(1_000_000);
    for n in 0..24 {
        let body = json!({"id": "urn:x:1", "type": "T", "p": [point(format!("{n}{text}"), &minute(n))]});
        let status = if n == 0 { 201 } else { 204 };
        insist(
            &broker,
            status,
            "POST",
            "/temporal/entities",
            Some(&body.to_string()),
        )
        .await;
    }
    let cut = retrieve(&broker, "").await;
    let shown = values(&cut.json(), "p").len();
    assert_eq!(cut.status, 206);
    assert!((14..24).contains(&shown), "{shown}");
    let rest = retrieve(&broker, &format!("timerel=after&timeAt={}", range(&cut).1)).await;
    assert_eq!(
        (rest.status, values(&rest.json(), "p").len()),
        (200, 24 - shown + 1)
    );
    let peak = broker.peak();
    assert!(peak < 256 * 1024, "{peak} KiB");
}
