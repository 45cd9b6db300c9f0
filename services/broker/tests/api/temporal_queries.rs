//! How the pasts of several entities are found and shown (clause 5.7.4).

use crate::support::Broker;
use crate::temporal::{insist, keeping, past, point, shown, values};
use serde_json::{Value, json};

const ALL: &str = "timerel=after&timeAt=1970-01-01T00:00:00Z";

async fn ids(broker: &Broker, query: &str) -> Vec<String> {
    let found = shown(broker, &format!("?{query}")).await;
    let ids = found
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["id"].as_str().unwrap().to_owned());
    ids.collect()
}

/// Three vehicles and a bus, each with a speed of every day from its own on.
async fn city() -> Broker {
    let broker = keeping().await;
    for (id, kind, day) in [
        ("urn:v:1", "Vehicle", 1),
        ("urn:v:2", "Vehicle", 5),
        ("urn:v:3", "Vehicle", 9),
        ("urn:b:1", "Bus", 1),
    ] {
        let speed: Vec<Value> = (day..day + 3)
            .map(|day| point(day * 10, &format!("2024-01-{day:02}T00:00:00Z")))
            .collect();
        let place = json!({"type": "GeoProperty", "value": {"type": "Point", "coordinates": [day, 40]}, "observedAt": format!("2024-01-{day:02}T00:00:00Z")});
        let far = json!({"type": "GeoProperty", "value": {"type": "Point", "coordinates": [100, 0]}, "observedAt": format!("2024-01-{:02}T00:00:00Z", day + 1)});
        past(
            &broker,
            &json!({"id": id, "type": kind, "speed": speed, "location": [place, far]}),
        )
        .await;
    }
    broker
}

#[tokio::test]
async fn entities_are_selected_by_what_was_within_the_interval() {
    let broker = city().await;
    for (query, expected) in [
        (format!("type=Vehicle&{ALL}"), vec!["urn:v:1", "urn:v:2", "urn:v:3"]),
        (format!("type=Bus,Vehicle&{ALL}"), vec!["urn:b:1", "urn:v:1", "urn:v:2", "urn:v:3"]),
        (format!("type=*&{ALL}"), vec!["urn:b:1", "urn:v:1", "urn:v:2", "urn:v:3"]),
        (format!("local=true&{ALL}"), vec!["urn:b:1", "urn:v:1", "urn:v:2", "urn:v:3"]),
        (format!("type=(Bus;Vehicle)&{ALL}"), vec![]),
        (format!("type=Vehicle&id=urn:v:2,urn:b:1&{ALL}"), vec!["urn:v:2"]),
        (format!("type=Vehicle&idPattern=[13]$&{ALL}"), vec!["urn:v:1", "urn:v:3"]),
        (format!("attrs=speed&{ALL}"), vec!["urn:b:1", "urn:v:1", "urn:v:2", "urn:v:3"]),
        (format!("attrs=other&{ALL}"), vec![]),
        ("type=Vehicle&timerel=after&timeAt=2024-01-07T00:00:00Z".to_owned(), vec!["urn:v:2", "urn:v:3"]),
        ("type=Vehicle&timerel=before&timeAt=2024-01-05T00:00:00Z".to_owned(), vec!["urn:v:1"]),
        ("type=Vehicle&timerel=between&timeAt=2024-01-06T00:00:00Z&endTimeAt=2024-01-09T00:00:00Z".to_owned(), vec!["urn:v:2"]),
        // q is about values of the interval, not about those before, after, or now.
        (format!("q=speed>60&{ALL}"), vec!["urn:v:2", "urn:v:3"]),
        ("q=speed>60&timerel=before&timeAt=2024-01-08T00:00:00Z".to_owned(), vec!["urn:v:2"]),
        ("q=speed==10&timerel=after&timeAt=2024-01-02T00:00:00Z".to_owned(), vec![]),
        ("q=speed==10|speed==50&timerel=before&timeAt=2024-01-06T00:00:00Z".to_owned(), vec!["urn:b:1", "urn:v:1", "urn:v:2"]),
        (format!("q=speed.observedAt>2024-01-10T00:00:00Z&{ALL}"), vec!["urn:v:3"]),
        // So are areas.
        (format!("georel=near;maxDistance==1000&geometry=Point&coordinates=[5,40]&{ALL}"), vec!["urn:v:2"]),
        ("georel=near;maxDistance==1000&geometry=Point&coordinates=[5,40]&timerel=after&timeAt=2024-01-06T00:00:00Z".to_owned(), vec![]),
        (format!("georel=within&geometry=Polygon&coordinates=[[[0,39],[6,39],[6,41],[0,41],[0,39]]]&{ALL}"), vec!["urn:b:1", "urn:v:1", "urn:v:2"]),
        (format!("georel=disjoint&geometry=Point&coordinates=[100,0]&type=Bus&{ALL}"), vec!["urn:b:1"]),
        (format!("type=Vehicle&orderBy=id;desc&{ALL}"), vec!["urn:v:3", "urn:v:2", "urn:v:1"]),
        (format!("type=Vehicle&orderBy=id&{ALL}"), vec!["urn:v:1", "urn:v:2", "urn:v:3"]),
    ] {
        assert_eq!(ids(&broker, &query.replace('>', "%3E").replace('|', "%7C")).await, expected, "{query}");
    }
    // All instances of the interval are shown, not only those that q found.
    let found = shown(&broker, &format!("?q=speed==50&{ALL}")).await;
    assert_eq!(values(&found[0], "speed"), [json!(50), json!(60), json!(70)]);
}

#[tokio::test]
async fn entities_are_selected_by_the_scopes_that_they_had_in_the_interval() {
    let broker = city().await;
    let body = json!({"id": "urn:v:4", "type": "Vehicle", "n": 1, "scope": ["/a/b", "/c"]});
    broker.create(&body.to_string()).await;
    let until = jiff::Timestamp::now().round(jiff::Unit::Microsecond).unwrap();
    insist(
        &broker,
        204,
        "POST",
        "/entities/urn:v:4/attrs",
        Some(r#"{"scope": ["/d"], "n": 2}"#),
    )
    .await;
    let more = json!({"n": [point(1, "2024-01-05T00:00:00Z"), point(2, "2024-01-09T00:00:00Z")],
        "scope": [{"type": "Property", "value": ["/old"], "observedAt": "2024-01-01T00:00:00Z"},
            {"type": "Property", "value": ["/new"], "observedAt": "2024-01-07T00:00:00Z"}]});
    insist(
        &broker,
        204,
        "POST",
        "/temporal/entities/urn:v:1/attrs",
        Some(&more.to_string()),
    )
    .await;
    let stored = format!("timeproperty=createdAt&{ALL}");
    let before = format!("timeproperty=createdAt&timerel=before&timeAt={until}");
    let after = format!("timeproperty=createdAt&timerel=after&timeAt={until}");
    let between = "timerel=between&timeAt=2024-01-03T00:00:00Z&endTimeAt=2024-01-06T00:00:00Z";
    for (scope, query, expected) in [
        ("/a/b", &stored, vec!["urn:v:4"]),
        ("/a/+,/x", &stored, vec!["urn:v:4"]),
        ("/a/b;/c", &stored, vec!["urn:v:4"]),
        // It never had both at once.
        ("/a/b;/d", &stored, vec![]),
        ("/#", &stored, vec!["urn:v:1", "urn:v:4"]),
        ("/d", &before, vec![]),
        ("/d", &after, vec!["urn:v:4"]),
        // It had it when the interval began.
        ("/c", &after, vec!["urn:v:4"]),
        ("/old", &between.to_owned(), vec!["urn:v:1"]),
        ("/new", &between.to_owned(), vec![]),
        ("/new", &ALL.to_owned(), vec!["urn:v:1"]),
    ] {
        let scope = scope.replace('+', "%2B").replace('#', "%23");
        let query = format!("type=Vehicle&scopeQ={scope}&{query}");
        assert_eq!(ids(&broker, &query).await, expected, "{query}");
    }
    // What is kept no longer tells: the scope of now is as old as all of it.
    broker
        .database
        .psql("delete from mim.history where entity = 'urn:v:4' and attr not like '%/n'");
    let kept = format!("type=Vehicle&scopeQ=/d&{before}");
    assert_eq!(ids(&broker, &kept).await, ["urn:v:4"]);
}

#[tokio::test]
async fn entities_with_nothing_to_show_are_left_out() {
    let broker = city().await;
    let found = shown(&broker, &format!("?type=Vehicle&pick=unknown&{ALL}")).await;
    assert_eq!(found, json!([]));
    assert_eq!(
        shown(&broker, &format!("?type=Vehicle&pick=id&{ALL}")).await[0],
        json!({"id": "urn:v:1"})
    );
    let speed = shown(&broker, &format!("?type=Bus&omit=type,location&{ALL}")).await;
    assert_eq!(speed[0].as_object().unwrap().len(), 2);
    assert_eq!(
        shown(&broker, &format!("?type=Vehicle&datasetId=urn:d:1&{ALL}")).await,
        json!([])
    );
}

#[tokio::test]
async fn entities_come_in_pages_and_are_counted() {
    let broker = city().await;
    let first = broker
        .get(&format!(
            "/temporal/entities?type=Vehicle&limit=2&count=true&{ALL}"
        ))
        .await;
    assert_eq!((first.status, first.header("ngsild-results-count")), (200, "3"));
    assert_eq!(first.json().as_array().unwrap().len(), 2);
    let links: Vec<_> = first
        .headers
        .get_all("link")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert!(
        links
            .iter()
            .any(|l| l.contains("limit=2&offset=2") && l.contains("rel=\"next\"")),
        "{links:?}"
    );
    assert_eq!(
        ids(&broker, &format!("type=Vehicle&limit=2&offset=2&{ALL}")).await,
        ["urn:v:3"]
    );
    let none = broker
        .get(&format!(
            "/temporal/entities?type=Vehicle&limit=0&count=true&{ALL}"
        ))
        .await;
    assert_eq!(
        (none.header("ngsild-results-count"), none.json()),
        ("3", json!([]))
    );
    let some = broker
        .get("/temporal/entities?q=speed%3E60&count=true&timerel=before&timeAt=2024-01-08T00:00:00Z")
        .await;
    assert_eq!(some.header("ngsild-results-count"), "1");
}

#[tokio::test]
async fn the_entity_after_a_page_takes_no_part_of_its_instances() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 6}").await;
    for id in ["urn:x:1", "urn:x:2", "urn:x:3"] {
        let points: Vec<Value> = (1..4)
            .map(|n| point(n, &format!("2024-01-01T00:0{n}:00Z")))
            .collect();
        past(&broker, &json!({"id": id, "type": "T", "n": points})).await;
    }
    let page = insist(
        &broker,
        200,
        "GET",
        &format!("/temporal/entities?type=T&limit=2&{ALL}"),
        None,
    )
    .await
    .json();
    assert_eq!(
        (page.as_array().unwrap().len(), values(&page[1], "n").len()),
        (2, 3)
    );
    // All entities of a page are cut at one instant.
    let cut = insist(
        &broker,
        206,
        "GET",
        &format!("/temporal/entities?type=T&{ALL}"),
        None,
    )
    .await;
    assert_eq!(
        cut.header("content-range"),
        "date-time 1970-01-01T00:00:00Z-2024-01-01T00:02:00Z/*"
    );
    for entity in cut.json().as_array().unwrap() {
        assert_eq!(values(entity, "n"), [json!(1), json!(2)]);
    }
}

#[tokio::test]
async fn a_query_by_body_is_the_same_query() {
    let broker = city().await;
    let post = async |body: Value| {
        let answer = insist(
            &broker,
            200,
            "POST",
            "/temporal/entityOperations/query",
            Some(&body.to_string()),
        )
        .await;
        answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let after = json!({"timerel": "after", "timeAt": "2024-01-07T00:00:00Z"});
    assert_eq!(
        post(json!({"type": "Query", "entities": [{"type": "Vehicle"}], "temporalQ": after})).await,
        ["urn:v:2", "urn:v:3"]
    );
    assert_eq!(
        post(json!({"type": "Query", "entities": [{"type": "Vehicle"}], "scopeQ": "/a", "temporalQ": after}))
            .await,
        [""; 0]
    );
    assert_eq!(post(json!({"type": "Query", "entities": [{"type": "Vehicle"}, {"type": "Bus"}], "temporalQ": {"timerel": "before", "timeAt": "2024-01-02T00:00:00Z"}})).await, ["urn:b:1", "urn:v:1"]);
    assert_eq!(post(json!({"type": "Query", "q": "speed>60", "temporalQ": {"timerel": "between", "timeAt": "2024-01-01T00:00:00Z", "endTimeAt": "2024-01-08T00:00:00Z"}})).await, ["urn:v:2"]);
    let all = json!({"timerel": "after", "timeAt": "1970-01-01T00:00:00Z", "lastN": 1, "aggrMethods": "max"});
    let body = json!({"type": "Query", "entities": [{"type": "Bus"}], "attrs": ["speed"], "temporalQ": all})
        .to_string();
    let last = insist(
        &broker,
        200,
        "POST",
        "/temporal/entityOperations/query",
        Some(&body),
    )
    .await
    .json();
    assert_eq!(values(&last[0], "speed"), [json!(30)]);
    let max = insist(
        &broker,
        200,
        "POST",
        "/temporal/entityOperations/query?options=aggregatedValues",
        Some(&body),
    )
    .await
    .json();
    assert_eq!(max[0]["speed"]["max"][0][0], 30);
    for bad in [
        json!({"type": "Query", "entities": [{"type": "Vehicle"}]}),
        json!({"type": "Query", "temporalQ": after}),
        json!({"entities": [{"type": "Vehicle"}], "temporalQ": after}),
        json!({"type": "Query", "entities": [{"type": "Vehicle"}], "temporalQ": {"timerel": "after"}}),
        json!({"type": "Query", "entities": [{"type": "Vehicle"}], "temporalQ": after, "join": "inline"}),
        json!({"type": "Query", "entities": [{"type": "Vehicle"}], "temporalQ": after, "ordering": {"orderBy": ["speed"]}}),
        json!([]),
    ] {
        let answer = broker
            .post("/temporal/entityOperations/query", &bad.to_string())
            .await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "BadRequestData"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn queries_that_are_too_wide_or_of_no_interval_are_refused() {
    let broker = city().await;
    for (query, error) in [
        (ALL, "BadRequestData"),
        (&format!("id=urn:v:1&{ALL}"), "BadRequestData"),
        (&format!("idPattern=v&{ALL}"), "BadRequestData"),
        (&format!("pick=speed&{ALL}"), "BadRequestData"),
        (&format!("attrs=createdAt&{ALL}"), "BadRequestData"),
        (
            &format!("q=modifiedAt%3E2020-01-01T00:00:00Z&{ALL}"),
            "BadRequestData",
        ),
        ("type=Vehicle", "BadRequestData"),
        ("type=Vehicle&timeproperty=createdAt", "BadRequestData"),
        ("type=Vehicle&timerel=after", "BadRequestData"),
        (&format!("type=Vehicle&orderBy=speed&{ALL}"), "BadRequestData"),
        (&format!("type=Vehicle&orderBy=id,type&{ALL}"), "BadRequestData"),
        (&format!("type=Vehicle&limit=0&{ALL}"), "BadRequestData"),
        (&format!("type=Vehicle&q=a%7Bb%7D==1&{ALL}"), "BadRequestData"),
        (&format!("type=Vehicle&idPattern=[&{ALL}"), "BadRequestData"),
        (&format!("type=*&local=false&{ALL}"), "BadRequestData"),
        (&format!("type=Vehicle&other=1&{ALL}"), "InvalidRequest"),
        (&format!("type=Vehicle&options=keyValues&{ALL}"), "InvalidRequest"),
    ] {
        let answer = broker.get(&format!("/temporal/entities?{query}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{query}");
    }
}

#[tokio::test]
async fn hostile_text_in_a_query_of_the_past_is_only_text() {
    let broker = city().await;
    for query in [
        "type=Vehicle&q=speed==%22'); drop table mim.history; --%22",
        "type=Vehicle&idPattern='; drop table mim.history; --",
        "attrs=a',speed",
        "type=Vehicle&datasetId=urn:'; drop table mim.history; --",
    ] {
        let query = query.replace(' ', "%20");
        let answer = broker.get(&format!("/temporal/entities?{query}&{ALL}")).await;
        assert!([200, 400].contains(&answer.status), "{query}: {}", answer.text());
    }
    assert_eq!(ids(&broker, &format!("type=Bus&{ALL}")).await, ["urn:b:1"]);
}

#[tokio::test]
async fn what_corrected_and_core_changes_say_is_found_by_when_they_were() {
    let broker = keeping().await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    insist(
        &broker,
        204,
        "PATCH",
        "/entities/urn:x:1/attrs",
        Some(r#"{"n":2}"#),
    )
    .await;
    let stored = shown(&broker, &format!("?type=T&timeproperty=createdAt&{ALL}")).await;
    let of = |n: usize, name: &str| stored[0]["n"][n][name].as_str().unwrap().to_owned();
    let second = of(1, "createdAt");
    let before = format!("type=T&timeproperty=createdAt&timerel=before&timeAt={second}");
    assert_eq!(ids(&broker, &format!("{before}&q=n==1")).await, ["urn:x:1"]);
    assert_eq!(ids(&broker, &format!("{before}&q=n==2")).await, [""; 0]);
    let path = format!("/temporal/entities/urn:x:1/attrs/n/{}", of(0, "instanceId"));
    insist(&broker, 204, "PATCH", &path, Some(r#"{"value":9}"#)).await;
    // It was stored before and modified after.
    assert_eq!(ids(&broker, &format!("{before}&q=n==9")).await, ["urn:x:1"]);
    let after = format!("type=T&timeproperty=modifiedAt&timerel=after&timeAt={second}");
    let modified = shown(&broker, &format!("?{after}")).await;
    assert_eq!(values(&modified[0], "n"), [json!(2), json!(9)]);
    assert_eq!(
        ids(&broker, &format!("{after}&q=n.modifiedAt%3E{second};n==9")).await,
        ["urn:x:1"]
    );
}
