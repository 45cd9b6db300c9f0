//! Queries by body: `POST /entityOperations/query`.

use crate::support::{Answer, Broker};
use serde_json::{Value, json};

async fn broker() -> Broker {
    let broker = Broker::ready().await;
    for n in 1..=4 {
        let kind = if n < 3 { "A" } else { "B" };
        broker
            .create(
                &json!({"id": format!("urn:x:{n}"), "type": kind, "n": {"type": "Property", "value": n}, "s": {"type": "Property", "value": format!("text {n}")},
                    "to": {"type": "Relationship", "object": format!("urn:x:{}", n % 4 + 1)},
                    "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [n, 0]}}})
                .to_string(),
            )
            .await;
    }
    broker
}

async fn post(broker: &Broker, parameters: &str, body: &Value) -> Answer {
    let path = format!("/entityOperations/query?{parameters}");
    broker.post(&path, &body.to_string()).await
}

async fn ids(broker: &Broker, members: Value) -> Vec<String> {
    let mut body = json!({"type": "Query"});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = post(broker, "", &body).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    let json = answer.json();
    let list = json.as_array().unwrap().iter();
    list.map(|e| e["id"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_body_selects_as_a_url_does_and_any_of_several_selectors() {
    let broker = broker().await;
    for (body, expected) in [
        (json!({"entities": [{"type": "A"}]}), vec!["1", "2"]),
        (json!({"entities": [{"type": "A", "id": "urn:x:2"}]}), vec!["2"]),
        (
            json!({"entities": [{"type": "A", "id": "urn:x:2"}, {"type": "B", "id": "urn:x:2"}, {"type": "B", "id": ["urn:x:3", "urn:x:9"]}]}),
            vec!["2", "3"],
        ),
        (
            json!({"entities": [{"type": "A", "idPattern": "1$"}, {"type": "B", "idPattern": "^urn:.:4"}]}),
            vec!["1", "4"],
        ),
        (
            json!({"entities": [{"type": "B", "id": "urn:x:3", "idPattern": "4$"}]}),
            vec!["3"],
        ),
        (
            json!({"entities": [{"type": "(A;B)"}, {"type": "B"}]}),
            vec!["3", "4"],
        ),
        (json!({"entities": [{"type": "*"}]}), vec!["1", "2", "3", "4"]),
        (
            json!({"entities": [{"type": "*", "id": "urn:x:1"}, {"type": "B"}]}),
            vec!["1", "3", "4"],
        ),
        (json!({"q": "n>2"}), vec!["3", "4"]),
        (json!({"attrs": ["n", "none"]}), vec!["1", "2", "3", "4"]),
        (
            json!({"geoQ": {"georel": "near;maxDistance==1000", "geometry": "Point", "coordinates": [2, 0]}}),
            vec!["2"],
        ),
        (
            json!({"geoQ": {"georel": "within", "geometry": "Polygon", "coordinates": "[[[0,-1],[2.5,-1],[2.5,1],[0,1],[0,-1]]]", "geoproperty": "location"},
                "entities": [{"type": "A"}, {"type": "B"}], "q": "n!=1"}),
            vec!["2"],
        ),
        (
            json!({"entities": [{"type": "A,B"}], "ordering": {"orderBy": ["n;desc"]}}),
            vec!["4", "3", "2", "1"],
        ),
        (
            json!({"entities": [{"type": "A,B"}], "ordering": {"orderBy": ["location;dist-asc", "id"], "coordinates": [3, 0], "geometry": "Point", "collation": "de"}}),
            vec!["3", "2", "4", "1"],
        ),
    ] {
        assert_eq!(ids(&broker, body.clone()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn a_body_says_the_shape_and_the_url_format_and_page() {
    let broker = broker().await;
    let body =
        json!({"type": "Query", "entities": [{"type": "A"}], "pick": ["id", "to{id,n}"], "join": "inline"});
    assert_eq!(
        post(&broker, "options=keyValues", &body).await.json(),
        json!([{"id": "urn:x:1", "to": {"id": "urn:x:2", "n": 2}}, {"id": "urn:x:2", "to": {"id": "urn:x:3", "n": 3}}])
    );
    let body = json!({"type": "Query", "entities": [{"type": "A,B"}], "omit": ["to", "location", "s"], "datasetId": ["@none"], "lang": "fr"});
    let page = post(&broker, "format=concise&limit=1&offset=1&count=true", &body).await;
    assert_eq!(page.json(), json!([{"id": "urn:x:2", "type": "A", "n": 2}]));
    assert_eq!(page.header("ngsild-results-count"), "4");
    let links: Vec<_> = page
        .headers
        .get_all("link")
        .iter()
        .map(|l| l.to_str().unwrap())
        .collect();
    assert!(links.contains(
        &"</ngsi-ld/v1/entityOperations/query?format=concise&count=true&limit=1&offset=2>;rel=\"next\";type=\"application/json\""
    ), "{links:?}");
    let counted = post(&broker, "count=true&limit=0", &body).await;
    assert_eq!(
        (counted.text().as_str(), counted.header("ngsild-results-count")),
        ("[]", "4")
    );
    let times = post(
        &broker,
        "options=sysAttrs",
        &json!({"type": "Query", "attrs": ["n"]}),
    )
    .await
    .json();
    assert!(times[0]["createdAt"].is_string() && times[0].get("s").is_none());
    let everything = post(&broker, "local=true", &json!({"type": "Query"})).await;
    assert_eq!(everything.json().as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn contexts_and_media_types_are_negotiated_as_for_other_bodies() {
    let broker = broker().await;
    let query = |more: Value| {
        let mut query = json!({"type": "Query", "entities": [{"type": "A"}]});
        for (name, value) in more.as_object().unwrap() {
            query[name] = value.clone();
        }
        query.to_string()
    };
    let path = "/entityOperations/query";
    let ld = [
        ("content-type", "application/ld+json"),
        ("accept", "application/ld+json"),
    ];
    let own = query(json!({"@context": {"n": "urn:other:n"}}));
    let answer = broker.send("POST", path, &ld, Some(&own)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("link").is_empty() && answer.json()[0].get("@context").is_some());
    for (headers, body) in [
        (vec![("content-type", "application/ld+json")], query(json!({}))),
        (vec![("content-type", "application/json")], own.clone()),
    ] {
        let answer = broker.send("POST", path, &headers, Some(&body)).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "BadRequestData"),
            "{body}"
        );
    }
    let geo = [
        ("content-type", "application/json"),
        ("accept", "application/geo+json"),
    ];
    let features = broker.send("POST", path, &geo, Some(&query(json!({})))).await;
    assert_eq!(
        (
            features.header("content-type"),
            &features.json()["features"][0]["geometry"]["coordinates"]
        ),
        ("application/geo+json", &json!([1, 0]))
    );
    for (parameters, body) in [
        ("?geometryProperty=place", json!({})),
        ("", json!({"geometryProperty": "place"})),
    ] {
        let path = format!("{path}{parameters}");
        let features = broker.send("POST", &path, &geo, Some(&query(body.clone()))).await;
        assert_eq!(features.json()["features"][0]["geometry"], Value::Null);
        let answer = broker.post(&path, &query(body)).await;
        assert_eq!(answer.error(), "BadRequestData");
    }
    assert_eq!(broker.send("GET", path, &[], None).await.status, 405);
    assert_eq!(
        broker
            .send("POST", path, &[("content-type", "text/plain")], Some("{}"))
            .await
            .status,
        415
    );
}

#[tokio::test]
async fn values_are_expanded_and_json_is_not_where_the_client_says_so() {
    let broker = Broker::ready().await;
    broker
        .create(
            r#"{"id":"urn:x:1","type":"T","gender":{"type":"VocabProperty","vocab":"Male"},"j":{"type":"JsonProperty","json":{"value":1}},
                "o":{"type":"Property","value":{"https://uri.etsi.org/ngsi-ld/default-context/k":1}}}"#,
        )
        .await;
    for (body, found) in [
        (json!({"q": "gender==\"Male\""}), false),
        (json!({"q": "gender==\"Male\"", "expandValues": "gender"}), true),
        (
            json!({"q": "gender==Male", "expandValues": ["gender", "other"]}),
            true,
        ),
        (
            json!({"q": "gender==Female,Male", "expandValues": "gender"}),
            true,
        ),
        (json!({"q": "gender!=Male", "expandValues": "gender"}), false),
        (json!({"q": "j[value]==1"}), true),
        (json!({"q": "j[value]==1", "jsonKeys": "j"}), true),
        (json!({"q": "o[k]==1"}), true),
        (json!({"q": "o[k]==1", "jsonKeys": "o"}), false),
    ] {
        assert_eq!(
            ids(&broker, body.clone()).await.len(),
            usize::from(found),
            "{body}"
        );
    }
    let by_url = "type=T&q=gender%3D%3DMale&expandValues=gender";
    assert_eq!(broker.ids(by_url).await, ["urn:x:1"]);
    let unquoted = broker.get("/entities?type=T&q=gender%3D%3DMale").await;
    assert_eq!(unquoted.error(), "BadRequestData");
}

#[tokio::test]
async fn wrong_bodies_and_parameters_have_the_right_error() {
    let broker = broker().await;
    for (body, error) in [
        ("", "InvalidRequest"),
        ("{", "InvalidRequest"),
        ("[]", "BadRequestData"),
        ("5", "BadRequestData"),
        ("{}", "BadRequestData"),
        (r#"{"type":"Query"}"#, "BadRequestData"),
        (r#"{"type":"query","entities":[{"type":"A"}]}"#, "BadRequestData"),
        (r#"{"entities":[{"type":"A"}]}"#, "BadRequestData"),
        (r#"{"type":"Query","pick":["n"]}"#, "BadRequestData"),
        (r#"{"type":"Query","entities":[]}"#, "BadRequestData"),
        (
            r#"{"type":"Query","entities":[{"id":"urn:x:1"}]}"#,
            "BadRequestData",
        ),
        (r#"{"type":"Query","attrs":[]}"#, "BadRequestData"),
        (r#"{"type":"Query","attrs":"n"}"#, "BadRequestData"),
        (r#"{"type":"Query","attrs":["n"],"pick":["n"]}"#, "BadRequestData"),
        (
            r#"{"type":"Query","attrs":["n"],"join":"flat","joinLevel":"2"}"#,
            "BadRequestData",
        ),
        (r#"{"type":"Query","q":"n==1;"}"#, "BadRequestData"),
        (r#"{"type":"Query","q":"to{n}==1"}"#, "BadRequestData"),
        (r#"{"type":"Query","geoQ":{"georel":"near"}}"#, "BadRequestData"),
        (r#"{"type":"Query","attrs":["n"],"lang":"?"}"#, "BadRequestData"),
        (
            r#"{"type":"Query","attrs":["n"],"ordering":{}}"#,
            "BadRequestData",
        ),
        (
            r#"{"type":"Query","attrs":["n"],"ordering":["n"]}"#,
            "BadRequestData",
        ),
        (
            r#"{"type":"Query","attrs":["n"],"ordering":{"orderBy":["n;up"]}}"#,
            "BadRequestData",
        ),
        (
            r#"{"type":"Query","attrs":["n"],"ordering":{"orderBy":["n"],"x":1}}"#,
            "BadRequestData",
        ),
        (r#"{"type":"Query","attrs":["n"],"limit":5}"#, "BadRequestData"),
        (
            r#"{"type":"Query","attrs":["n"],"temporalQ":{}}"#,
            "BadRequestData",
        ),
        (
            r#"{"type":"Query","attrs":["n"],"csf":"a"}"#,
            "OperationNotSupported",
        ),
        (
            r#"{"type":"Query","attrs":["n"],"splitEntities":true}"#,
            "OperationNotSupported",
        ),
    ] {
        let answer = broker.post("/entityOperations/query", body).await;
        assert_eq!(answer.error(), error, "{body}");
        assert!(answer.status < 500, "{body}");
    }
    let good = json!({"type": "Query", "attrs": ["n"]});
    for (parameters, error) in [
        ("type=A", "InvalidRequest"),
        ("q=n", "InvalidRequest"),
        ("unknown=1", "InvalidRequest"),
        ("options=nope", "InvalidRequest"),
        ("format=nope", "InvalidRequest"),
        ("limit=0", "BadRequestData"),
        ("limit=1001", "BadRequestData"),
        ("offset=-1", "BadRequestData"),
        ("count=1", "BadRequestData"),
        ("local=1", "BadRequestData"),
        ("entityMap=true", "OperationNotSupported"),
    ] {
        assert_eq!(
            post(&broker, parameters, &good).await.error(),
            error,
            "{parameters}"
        );
    }
    let all = json!({"type": "Query", "entities": [{"type": "*"}]});
    assert_eq!(post(&broker, "local=false", &all).await.error(), "BadRequestData");
}

#[tokio::test]
async fn row_broker_hostile_queries_by_body_are_answered_in_bounded_time() {
    let broker = broker().await;
    let selectors: Vec<_> = (0..500)
        .map(|n| json!({"type": format!("T{n}"), "idPattern": "(a|b)*c"}))
        .collect();
    let ids: Vec<_> = (0..9_999).map(|n| format!("urn:y:{n}")).collect();
    let twice = [ids.clone(), ids.clone()].concat();
    let started = std::time::Instant::now();
    for (body, status) in [
        (json!({"type": "Query", "entities": selectors}), 200),
        (
            json!({"type": "Query", "entities": [{"type": "A", "id": ids}]}),
            200,
        ),
        (
            json!({"type": "Query", "entities": [{"type": "A", "id": twice}]}),
            400,
        ),
        (
            json!({"type": "Query", "entities": vec![json!({"type": "A"}); 501]}),
            400,
        ),
        (
            json!({"type": "Query", "attrs": ["n"], "pick": vec!["a"; 100_000]}),
            400,
        ),
        (json!({"type": "Query", "attrs": vec!["n"; 100_000]}), 400),
        (json!({"type": "Query", "q": "n;".repeat(100_000)}), 400),
        (
            json!({"type": "Query", "attrs": ["n"], "datasetId": vec!["urn:d:1"; 100_000]}),
            400,
        ),
        (
            json!({"type": "Query", "attrs": ["n"], "expandValues": vec!["a"; 100_000]}),
            400,
        ),
        (
            json!({"type": "Query", "geoQ": {"georel": "within", "geometry": "LineString", "coordinates": vec![[1, 2]; 1_001]}}),
            400,
        ),
        (
            json!({"type": "Query", "attrs": ["n"], "lang": "fr,".repeat(100_000)}),
            400,
        ),
    ] {
        let answer = post(&broker, "", &body).await;
        let text = body.to_string();
        assert_eq!(answer.status, status, "{text:.80}: {:.300}", answer.text());
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
