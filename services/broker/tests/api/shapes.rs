//! What a client wishes of the shape of its answer: pick, omit, lang, datasetId, with every representation.

use crate::support::{Answer, Broker};
use serde_json::{Value, json};

async fn broker() -> Broker {
    let broker = Broker::ready().await;
    broker
        .create(
            r#"{"id":"urn:x:1","type":"Building","scope":"/a/b","name":{"type":"Property","value":"Tower","observedAt":"2024-01-01T00:00:00Z"},
                "height":[{"type":"Property","value":1},{"type":"Property","value":2,"datasetId":"urn:d:2"},{"type":"Property","value":3,"datasetId":"urn:d:3"}],
                "street":{"type":"LanguageProperty","languageMap":{"fr":"Grand Place","nl":"Grote Markt"}},
                "location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[8,47]}}}"#,
        )
        .await;
    broker
        .create(r#"{"id":"urn:x:2","type":"Vehicle","brand":{"type":"Property","value":"M"}}"#)
        .await;
    broker
}

async fn retrieved(broker: &Broker, query: &str) -> Value {
    let answer = broker.get(&format!("/entities/urn:x:1?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

async fn queried(broker: &Broker, query: &str) -> Value {
    let answer = broker
        .get(&format!("/entities?type=Building,Vehicle&{query}"))
        .await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

#[tokio::test]
async fn members_are_picked_and_omitted_of_one_entity_and_of_many() {
    let broker = broker().await;
    let short = "options=keyValues";
    for (query, expected) in [
        ("pick=name", json!({"name": "Tower"})),
        ("pick=id", json!({"id": "urn:x:1"})),
        (
            "pick=id,name%7Cscope",
            json!({"id": "urn:x:1", "scope": "/a/b", "name": "Tower"}),
        ),
        ("pick=type,none", json!({"type": "Building"})),
        (
            "omit=id,height,street,location,scope",
            json!({"type": "Building", "name": "Tower"}),
        ),
        (
            "pick=id,name&omit=type",
            json!({"id": "urn:x:1", "name": "Tower"}),
        ),
        (
            "pick=https://uri.etsi.org/ngsi-ld/default-context/name",
            json!({"name": "Tower"}),
        ),
    ] {
        assert_eq!(
            retrieved(&broker, &format!("{short}&{query}")).await,
            expected,
            "{query}"
        );
    }
    // Of many, each is reduced; what has nothing left is no entity any more.
    assert_eq!(
        queried(&broker, "options=keyValues&pick=id,name").await,
        json!([{"id": "urn:x:1", "name": "Tower"}, {"id": "urn:x:2"}])
    );
    assert_eq!(
        queried(&broker, "options=keyValues&pick=name").await,
        json!([{"name": "Tower"}])
    );
    assert_eq!(
        queried(&broker, "options=keyValues&omit=id,height,street,location,scope").await,
        json!([{"type": "Building", "name": "Tower"}, {"type": "Vehicle", "brand": "M"}])
    );
    for nothing_left in [
        "pick=none",
        "omit=id,type,scope,name,height,street,location",
        "attrs=none",
    ] {
        let answer = broker.get(&format!("/entities/urn:x:1?{nothing_left}")).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "ResourceNotFound")
        );
    }
}

#[tokio::test]
async fn times_of_the_entity_are_members_that_can_be_picked_and_omitted() {
    let broker = broker().await;
    let names = |entity: &Value| {
        let mut names: Vec<_> = entity.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let picked = retrieved(&broker, "options=sysAttrs&pick=name").await;
    assert_eq!(names(&picked), ["name"]);
    assert!(picked["name"]["createdAt"].is_string());
    let times = retrieved(&broker, "options=sysAttrs&pick=id,createdAt").await;
    assert_eq!(names(&times), ["createdAt", "id"]);
    let omitted = retrieved(
        &broker,
        "options=sysAttrs&omit=modifiedAt,height,street,location,scope",
    )
    .await;
    assert_eq!(names(&omitted), ["createdAt", "id", "name", "type"]);
}

#[tokio::test]
async fn texts_are_shown_in_the_best_language_there_is() {
    let broker = broker().await;
    for (lang, tag, text) in [
        ("fr", "fr", "Grand Place"),
        ("nl", "nl", "Grote Markt"),
        ("fr-CH,fr", "fr", "Grand Place"),
        ("nl;q=0.5,fr;q=0.9", "fr", "Grand Place"),
        ("fr-CH,fr;q=0.9,en;q=0.8,*;q=0.5", "fr", "Grand Place"),
        ("de", "fr", "Grand Place"),
        ("*", "fr", "Grand Place"),
    ] {
        let shown = retrieved(&broker, &format!("pick=street&lang={lang}")).await;
        assert_eq!(
            shown["street"],
            json!({"type": "Property", "value": text, "lang": tag}),
            "{lang}"
        );
        let shown = queried(&broker, &format!("pick=street&options=concise&lang={lang}")).await;
        assert_eq!(shown[0]["street"], json!({"value": text, "lang": tag}), "{lang}");
        let shown = retrieved(&broker, &format!("pick=street&format=simplified&lang={lang}")).await;
        assert_eq!(shown["street"], text, "{lang}");
    }
    let all = retrieved(&broker, "pick=street").await;
    assert_eq!(all["street"]["languageMap"]["nl"], "Grote Markt");
}

#[tokio::test]
async fn instances_are_those_of_the_datasets_asked_for() {
    let broker = broker().await;
    let height = async |query: &str| retrieved(&broker, query).await["height"].clone();
    assert_eq!(
        height("datasetId=urn:d:2").await,
        json!({"type": "Property", "value": 2, "datasetId": "urn:d:2"})
    );
    assert_eq!(
        height("datasetId=@none").await,
        json!({"type": "Property", "value": 1})
    );
    assert_eq!(
        height("datasetId=@none,urn:d:3&options=keyValues").await,
        json!({"dataset": {"@none": 1, "urn:d:3": 3}})
    );
    let other = retrieved(&broker, "datasetId=urn:d:9").await;
    assert_eq!(
        other,
        json!({"id": "urn:x:1", "type": "Building", "scope": "/a/b"}),
        "an entity stays, whatever is left of it"
    );
    let reduced = queried(&broker, "attrs=height&datasetId=urn:d:9").await;
    assert_eq!(
        reduced[0],
        json!({"id": "urn:x:1", "type": "Building", "scope": "/a/b"})
    );
}

#[tokio::test]
async fn features_keep_their_geometry_whatever_is_picked() {
    let broker = broker().await;
    let geo = async |path: &str| -> Answer {
        broker
            .send("GET", path, &[("accept", "application/geo+json")], None)
            .await
    };
    let one = geo("/entities/urn:x:1?pick=id,name&options=keyValues")
        .await
        .json();
    assert_eq!(one["geometry"], json!({"type": "Point", "coordinates": [8, 47]}));
    assert_eq!(
        (&one["id"], &one["properties"]),
        (&json!("urn:x:1"), &json!({"name": "Tower"}))
    );
    let many = geo("/entities?type=Building&omit=id,location,height,street&lang=fr")
        .await
        .json();
    let feature = &many["features"][0];
    assert_eq!(feature["type"], "Feature");
    assert!(feature.get("id").is_none() && feature["properties"].get("location").is_none());
    let other = geo("/entities/urn:x:1?geometryProperty=place").await.json();
    assert_eq!(other["geometry"], Value::Null);
}

#[tokio::test]
async fn contexts_of_answers_are_told_also_where_little_is_picked() {
    let broker = broker().await;
    let ld = broker
        .send(
            "GET",
            "/entities/urn:x:1?pick=name&options=keyValues",
            &[("accept", "application/ld+json")],
            None,
        )
        .await
        .json();
    assert!(ld["@context"].is_string() && ld["name"] == "Tower" && ld.get("id").is_none());
}

/// Wrong values of the parameters that reads of one and of many have in common.
const WRONG: &[&str] = &[
    "pick=",
    "pick=id,,name",
    "pick=id;name",
    "pick=at%7B%7D",
    "pick=at%7Bname",
    "pick=at%7B%7Bname%7D",
    "pick=at%7B,name%7D",
    "pick=at%7Bname%7D",
    "omit=at%7Bname%7D",
    "pick=name&omit=name",
    "pick=name&attrs=name",
    "omit=name&attrs=brand",
    "omit=",
    "omit=name,name",
    "attrs=",
    "attrs=id",
    "lang=",
    "lang=f%C3%A9",
    "lang=fr;q=2",
    "lang=fr;x",
    "datasetId=",
    "datasetId=x",
    "datasetId=@none,",
    "join=",
    "join=both",
    "join=inline&joinLevel=0",
    "join=inline&joinLevel=11",
    "join=inline&joinLevel=a",
    "joinLevel=-1",
    "join=flat&containedBy=x",
    "containedBy=",
    "join=inline&pick=at%7Bin%7Bid%7D%7D",
    "geometryProperty=location",
    "expandValues=a-b",
    "jsonKeys=",
    "local=perhaps",
];

#[tokio::test]
async fn wrong_wishes_are_bad_data_and_unknown_ones_invalid_requests() {
    let broker = broker().await;
    for path in ["/entities/urn:x:1?", "/entities?type=Building&"] {
        for wrong in WRONG {
            let answer = broker.get(&format!("{path}{wrong}")).await;
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (400, "BadRequestData"),
                "{path}{wrong}"
            );
        }
        for unknown in [
            "format=xml",
            "options=temporalValues",
            "Pick=name",
            "picks=name",
            "sysAttrs=true",
        ] {
            let answer = broker.get(&format!("{path}{unknown}")).await;
            assert_eq!(answer.error(), "InvalidRequest", "{path}{unknown}");
        }
        for out_of_scope in ["entityMap=true", "entityMapLifetime=PT1H"] {
            let answer = broker.get(&format!("{path}{out_of_scope}")).await;
            assert_eq!(answer.error(), "OperationNotSupported", "{path}{out_of_scope}");
        }
    }
    let accept = [("accept", "application/geo+json")];
    let name = broker
        .send(
            "GET",
            "/entities?type=Building&geometryProperty=a-b",
            &accept,
            None,
        )
        .await;
    assert_eq!(name.error(), "BadRequestData");
}

#[tokio::test]
async fn row_broker_hostile_wishes_are_refused_in_bounded_time() {
    let broker = broker().await;
    let deep = format!("{}id{}", "a%7B".repeat(2000), "%7D".repeat(2000));
    let many = (0..2000).map(|n| format!("a{n}")).collect::<Vec<_>>().join(",");
    let languages = vec!["fr"; 5000].join(",");
    let ids = (0..1001)
        .map(|n| format!("urn:{n}"))
        .collect::<Vec<_>>()
        .join(",");
    let started = std::time::Instant::now();
    for query in [
        format!("join=inline&joinLevel=10&pick={deep}"),
        format!("omit={many}"),
        format!("attrs={many}"),
        format!("lang={languages}"),
        format!("lang={}", "a-".repeat(10_000)),
        format!("datasetId={ids}"),
        format!("join=flat&containedBy={ids}"),
        format!("orderBy={many}"),
        format!("orderBy={}", "a.".repeat(10_000)),
        format!(
            "orderBy=location;dist-asc&orderFrom={}1{}",
            "[".repeat(3000),
            "]".repeat(3000)
        ),
        format!("collation={}", "a".repeat(20_000)),
    ] {
        let answer = broker.get(&format!("/entities?type=Building&{query}")).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "BadRequestData"),
            "{query:.60}"
        );
        assert!(answer.body.len() < 3000, "it is not echoed whole");
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
