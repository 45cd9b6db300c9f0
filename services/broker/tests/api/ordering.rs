//! `orderBy` with its sorting styles, places and collations.

use crate::support::Broker;
use serde_json::{Value, json};

async fn broker_with(entities: &[Value]) -> Broker {
    let broker = Broker::ready().await;
    for (n, members) in (1..).zip(entities) {
        let mut entity = json!({"id": format!("urn:x:{n}"), "type": "T"});
        for (name, value) in members.as_object().unwrap() {
            entity[name] = value.clone();
        }
        broker.create(&entity.to_string()).await;
    }
    broker
}

/// The numbers of all entities, in order.
async fn order(broker: &Broker, query: &str) -> Vec<u32> {
    let ids = broker.ids(&format!("type=T&limit=100&{query}")).await;
    ids.iter()
        .map(|id| id.rsplit(':').next().unwrap().parse().unwrap())
        .collect()
}

fn value(value: Value) -> Value {
    json!({"a": {"type": "Property", "value": value}})
}

#[tokio::test]
async fn values_of_every_kind_come_in_the_order_of_the_standard() {
    let broker = broker_with(&[
        json!({}),
        value(json!({"@type": "DateTime", "@value": "2024-01-01T00:00:00.5Z"})),
        value(json!({"@type": "DateTime", "@value": "2024-01-01T00:00:00Z"})),
        value(json!({"@type": "Date", "@value": "2024-01-01"})),
        value(json!({"@type": "Time", "@value": "12:00:00"})),
        value(json!(true)),
        value(json!(false)),
        value(json!([2])),
        value(json!([1])),
        value(json!({"k": 2})),
        value(json!({"k": 1})),
        value(json!("b")),
        value(json!("B")),
        value(json!("a")),
        value(json!("é")),
        value(json!("f")),
        value(json!(10)),
        value(json!(9.5)),
        value(json!(-1e3)),
    ])
    .await;
    let up = [19, 18, 17, 14, 12, 13, 15, 16, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    assert_eq!(order(&broker, "orderBy=a").await, up);
    assert_eq!(order(&broker, "orderBy=a;asc").await, up);
    let mut down = up;
    down[..18].reverse();
    assert_eq!(
        order(&broker, "orderBy=a;desc").await,
        down,
        "what is not there is last either way"
    );
}

#[tokio::test]
async fn terms_count_in_turn_and_ids_decide_at_last() {
    let broker = broker_with(&[
        json!({"a": {"value": 1}, "b": {"value": "x"}}),
        json!({"a": {"value": 2}, "b": {"value": "y"}}),
        json!({"a": {"value": 1}, "b": {"value": "y"}}),
        json!({"a": {"value": 1}, "b": {"value": "y"}}),
    ])
    .await;
    assert_eq!(order(&broker, "orderBy=a,b").await, [1, 3, 4, 2]);
    assert_eq!(order(&broker, "orderBy=a;desc,b").await, [2, 1, 3, 4]);
    assert_eq!(order(&broker, "orderBy=b;desc,a;desc").await, [2, 3, 4, 1]);
    assert_eq!(order(&broker, "orderBy=id;desc").await, [4, 3, 2, 1]);
    assert_eq!(order(&broker, "orderBy=type,id;desc").await, [4, 3, 2, 1]);
    assert_eq!(order(&broker, "").await, [1, 2, 3, 4]);
    let mut pages = Vec::new();
    for offset in 0..4 {
        pages.extend(
            broker
                .ids(&format!("type=T&orderBy=a;desc&limit=1&offset={offset}"))
                .await,
        );
    }
    assert_eq!(pages, ["urn:x:2", "urn:x:1", "urn:x:3", "urn:x:4"]);
    let next = broker.get("/entities?type=T&orderBy=a;desc&limit=1").await;
    let links = next.headers.get_all("link").iter().map(|l| l.to_str().unwrap());
    assert!(
        links
            .into_iter()
            .any(|l| l.contains("orderBy=a;desc&limit=1&offset=1"))
    );
}

#[tokio::test]
async fn paths_lead_to_attributes_of_attributes_members_times_and_scopes() {
    let broker = broker_with(&[
        json!({"a": {"value": {"city": "Bonn"}, "s": {"value": 3}, "observedAt": "2024-01-01T00:00:00.5Z"}, "scope": "/b"}),
        json!({"a": {"value": {"city": "Aachen"}, "s": {"value": 2}, "observedAt": "2024-01-01T00:00:00Z"}, "scope": ["/a", "/c"]}),
        json!({"a": [{"value": {"city": "Zülpich"}, "datasetId": "urn:d:1", "s": {"value": 0}}, {"value": {"city": "Celle"}, "s": {"value": 1}}]}),
        json!({"l": {"languageMap": {"en": "x"}}, "scope": "/a"}),
    ])
    .await;
    for (query, expected) in [
        ("orderBy=a[city]", [2, 1, 3, 4]),
        ("orderBy=a[city];desc", [3, 1, 2, 4]),
        ("orderBy=a.s", [3, 2, 1, 4]),
        ("orderBy=a.observedAt", [2, 1, 3, 4]),
        ("orderBy=createdAt;desc", [4, 3, 2, 1]),
        ("orderBy=modifiedAt", [1, 2, 3, 4]),
        ("orderBy=a.createdAt;desc", [3, 2, 1, 4]),
        ("orderBy=scope", [4, 1, 2, 3]),
        ("orderBy=l[en],id;desc", [4, 3, 2, 1]),
    ] {
        assert_eq!(order(&broker, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn distances_are_measured_from_where_the_client_says() {
    let point = |x: f64| json!({"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [x, 47]}}});
    let broker = broker_with(&[
        point(9.0),
        point(8.0),
        json!({"location": {"type": "GeoProperty", "value": {"type": "Polygon", "coordinates": [[[7,46],[7.5,46],[7.5,48],[7,48],[7,46]]]}}}),
        json!({"n": {"value": 1}}),
        point(-179.0),
    ])
    .await;
    for (query, expected) in [
        ("orderBy=location;dist-asc&orderFrom=[8,47]", [2, 3, 1, 5, 4]),
        ("orderBy=location;dist-desc&orderFrom=[8,47]", [5, 1, 3, 2, 4]),
        ("orderBy=location;dist-asc&orderFrom=[180,47]", [5, 3, 1, 2, 4]),
        (
            "orderBy=location;dist-asc,id;desc&orderFrom=[[9,47],[8,47]]&orderGeometry=LineString",
            [2, 1, 3, 5, 4],
        ),
        ("orderBy=n;dist-asc&orderFrom=[8,47]", [4, 1, 2, 3, 5]),
    ] {
        assert_eq!(order(&broker, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn texts_compare_as_the_language_says() {
    let names = ["zeta", "Öl", "ol", "ö", "Zebra", "ad"];
    let members: Vec<_> = names.iter().map(|name| value(json!(name))).collect();
    let broker = broker_with(&members).await;
    for (collation, expected) in [
        ("und", [6, 4, 3, 2, 5, 1]),
        ("de-DE", [6, 4, 3, 2, 5, 1]),
        ("sv", [6, 3, 5, 1, 4, 2]),
        ("und-u-ks-identic", [6, 4, 3, 2, 5, 1]),
    ] {
        assert_eq!(
            order(&broker, &format!("orderBy=a&collation={collation}")).await,
            expected,
            "{collation}"
        );
    }
}

#[tokio::test]
async fn every_collation_that_is_offered_is_one_of_the_database() {
    let broker = broker_with(&[value(json!("a"))]).await;
    let tags = broker.database.psql(
        "select string_agg(replace(collname, '-x-icu', ''), ' ') from pg_collation where collprovider = 'i' and collname !~ '^[a-z]{2,3}-([A-Z]{2}-|[0-9])'",
    );
    let mut taken = 0;
    for tag in tags.split(' ') {
        let answer = broker
            .get(&format!("/entities?type=T&orderBy=a&collation={tag}"))
            .await;
        match answer.status {
            200 => taken += 1,
            _ => assert_eq!(answer.error(), "BadRequestData", "{tag}"),
        }
    }
    assert!(taken > 80, "{taken}");
}

#[tokio::test]
async fn wrong_orders_are_bad_data() {
    let broker = broker_with(&[value(json!("a"))]).await;
    for wrong in [
        "orderBy=",
        "orderBy=a,",
        "orderBy=a;up",
        "orderBy=a%20b",
        "orderBy=r%7Ba%7D",
        "orderBy=a[*]",
        "orderBy=location;dist-asc",
        "orderBy=location;dist-asc&orderFrom=x",
        "orderBy=location;dist-asc&orderFrom=[800,1]",
        "orderBy=location;dist-asc&orderFrom=[8,1]&orderGeometry=Polygon",
        "orderBy=id;dist-asc&orderFrom=[8,1]",
        "orderFrom=x",
        "orderGeometry=Point",
        "orderBy=a&collation=",
        "orderBy=a&collation=xx",
        "orderBy=a&collation=de%22%20desc",
        "collation=xx",
    ] {
        let answer = broker.get(&format!("/entities?type=T&{wrong}")).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "BadRequestData"),
            "{wrong}"
        );
    }
    assert_eq!(
        broker.get("/entities/urn:x:1?orderBy=a").await.error(),
        "InvalidRequest"
    );
}
