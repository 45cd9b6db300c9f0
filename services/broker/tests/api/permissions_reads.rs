//! Reads with a permission set: of a world in which what the set does not allow is not there.

use crate::support::Answer;
use crate::support::gateway::Guarded;
use serde_json::{Value, json};

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

fn iri(name: &str) -> String {
    format!("{DEFAULT}{name}")
}

/// A set that may read this.
fn reads(allow: Value, deny: Value) -> Value {
    json!({"version": 1, "subject": "urn:s:1", "read": {"allow": allow, "deny": deny}})
}

/// Parks and lamps, north and south; each lamp stands in a park.
async fn city() -> Guarded {
    let guarded = Guarded::ready("temporal: {mode: Enabled}").await;
    for n in 0..6 {
        let (side, latitude) = if n < 3 { ("north", 48.5) } else { ("south", 46.5) };
        guarded
            .broker
            .create(&json!({"id": format!("urn:park:{n}"), "type": "Park", "scope": format!("/city/{side}"),
                "name": {"type": "Property", "value": format!("Park {n}")},
                "owner": {"type": "Property", "value": format!("Owner {}", 5 - n)},
                "size": {"type": "Property", "value": n},
                "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [8.0, latitude]}}})
            .to_string())
            .await;
        guarded
            .broker
            .create(&json!({"id": format!("urn:lamp:{n}"), "type": ["Lamp", "Device"], "scope": format!("/city/{side}"),
                "power": {"type": "Property", "value": n},
                "standsIn": {"type": "Relationship", "object": format!("urn:park:{n}")}})
            .to_string())
            .await;
    }
    guarded
}

fn ids(kind: &str, numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|n| format!("urn:{kind}:{n}")).collect()
}

fn names(entity: &Value) -> Vec<&str> {
    let known = ["id", "type", "scope", "@context"];
    let members = entity.as_object().unwrap().keys().map(String::as_str);
    members.filter(|name| !known.contains(name)).collect()
}

fn is_gone(answer: &Answer) -> bool {
    answer.status == 404 && answer.error() == "ResourceNotFound"
}

#[tokio::test]
async fn what_is_not_allowed_is_404_when_it_is_retrieved_and_missing_in_queries_and_counts() {
    let guarded = city().await;
    let square = json!({"type": "Polygon", "coordinates": [[[7, 48], [9, 48], [9, 49], [7, 49], [7, 48]]]});
    for (allow, deny, parks) in [
        (
            json!([{"types": [iri("Park")]}]),
            json!([]),
            &[0, 1, 2, 3, 4, 5][..],
        ),
        (json!([{"types": [iri("Lamp")]}]), json!([]), &[]),
        (json!([{"scopes": ["/city/north"]}]), json!([]), &[0, 1, 2]),
        (
            json!([{"scopes": ["/city/#"]}]),
            json!([{"scopes": ["/city/south"]}]),
            &[0, 1, 2],
        ),
        (
            json!([{"ids": ["urn:park:1"]}, {"idPatterns": ["[45]$"], "types": [iri("Park")]}]),
            json!([]),
            &[1, 4, 5],
        ),
        (json!([{"area": square}]), json!([]), &[0, 1, 2]),
        (json!([{}]), json!([{"area": square}]), &[3, 4, 5]),
        (
            json!([{"area": square, "scopes": ["/city/south"]}]),
            json!([]),
            &[],
        ),
        (json!([]), json!([]), &[]),
        (json!([{}]), json!([]), &[0, 1, 2, 3, 4, 5]),
    ] {
        let set = reads(allow, deny);
        assert_eq!(guarded.ids(&set, "type=Park").await, ids("park", parks), "{set}");
        for n in 0..6 {
            let answer = guarded.get(&set, &format!("/entities/urn:park:{n}")).await;
            assert_eq!(answer.status == 200, parks.contains(&n), "{set}: {n}");
            assert!(answer.status == 200 || is_gone(&answer));
        }
        let answer = guarded.get(&set, "/entities?type=Park&count=true&limit=2").await;
        assert_eq!(
            answer.header("ngsild-results-count"),
            parks.len().to_string(),
            "{set}"
        );
        assert_eq!(
            answer
                .headers
                .get_all("link")
                .iter()
                .any(|l| l.to_str().unwrap().contains("next")),
            parks.len() > 2
        );
        let count = guarded.get(&set, "/entities?type=Park&count=true&limit=0").await;
        assert_eq!(
            count.header("ngsild-results-count"),
            parks.len().to_string(),
            "{set}"
        );
        let query = json!({"type": "Query", "entities": [{"type": "Park"}]}).to_string();
        let posted = guarded
            .ask(&set, "POST", "/entityOperations/query", Some(&query))
            .await;
        assert_eq!(posted.json().as_array().unwrap().len(), parks.len(), "{set}");
    }
    // Nothing is refused for being too wide.
    let set = reads(json!([{"scopes": ["/city/north"]}]), json!([]));
    assert_eq!(guarded.ids(&set, "local=true").await.len(), 6);
    assert_eq!(guarded.ids(&set, "type=*&local=true").await.len(), 6);
}

#[tokio::test]
async fn an_attribute_that_is_not_allowed_is_not_there_whatever_asks_for_it() {
    let guarded = city().await;
    // The owners of the south, and the location of nobody.
    let set = reads(
        json!([{"types": [iri("Park")], "attributes": [iri("name"), iri("size")]},
            {"types": [iri("Park")], "scopes": ["/city/south"], "attributes": [iri("owner"), "https://uri.etsi.org/ngsi-ld/location"]}]),
        json!([{"attributes": ["https://uri.etsi.org/ngsi-ld/location"]}]),
    );
    let north = guarded.get(&set, "/entities/urn:park:1").await.json();
    assert_eq!(names(&north), ["name", "size"], "{north}");
    let south = guarded
        .get(&set, "/entities/urn:park:4?options=keyValues")
        .await
        .json();
    assert_eq!(names(&south), ["name", "owner", "size"], "{south}");
    assert_eq!(
        (&south["scope"], &south["type"]),
        (&json!("/city/south"), &json!("Park"))
    );
    for gone in ["?attrs=owner", "?pick=owner", "?attrs=location"] {
        assert!(
            is_gone(&guarded.get(&set, &format!("/entities/urn:park:1{gone}")).await),
            "{gone}"
        );
    }
    for (query, expected) in [
        ("q=owner", &[3, 4, 5][..]),
        ("q=owner==%22Owner%204%22", &[]),
        ("q=owner==%22Owner%201%22", &[4]),
        ("q=owner!=%22Owner%201%22", &[3, 5]),
        ("q=owner~=Owner|size%3C2", &[0, 1, 3, 4, 5]),
        ("q=size%3E3", &[4, 5]),
        ("attrs=owner", &[3, 4, 5]),
        ("attrs=owner,name", &[0, 1, 2, 3, 4, 5]),
        ("attrs=location", &[]),
        (
            "georel=near;maxDistance==1000000&geometry=Point&coordinates=[8,47]",
            &[],
        ),
        ("georel=disjoint&geometry=Point&coordinates=[1,1]", &[]),
        ("q=createdAt%3E2000-01-01T00:00:00Z", &[0, 1, 2, 3, 4, 5]),
    ] {
        assert_eq!(
            guarded.ids(&set, &format!("type=Park&{query}")).await,
            ids("park", expected),
            "{query}"
        );
    }
    // What is not there comes last, by id; owners of the north would come otherwise.
    assert_eq!(
        guarded.ids(&set, "type=Park&orderBy=owner").await,
        ids("park", &[5, 4, 3, 0, 1, 2])
    );
    let far = "type=Park&orderBy=location;dist-desc&orderFrom=[8,46]";
    assert_eq!(guarded.ids(&set, far).await, ids("park", &[0, 1, 2, 3, 4, 5]));
}

#[tokio::test]
async fn linked_entities_that_are_not_allowed_are_not_joined_and_not_asked() {
    let guarded = city().await;
    let set = reads(
        json!([{"types": [iri("Lamp")]}, {"types": [iri("Park")], "scopes": ["/city/north"], "attributes": [iri("name")]}]),
        json!([{"ids": ["urn:lamp:2"], "attributes": [iri("standsIn")]}]),
    );
    for form in ["flat", "inline"] {
        let text = guarded
            .get(&set, &format!("/entities?type=Lamp&join={form}"))
            .await
            .text();
        for (n, is_seen) in [
            (0, true),
            (1, true),
            (2, false),
            (3, false),
            (4, false),
            (5, false),
        ] {
            assert_eq!(text.contains(&format!("Park {n}")), is_seen, "{form} {n}: {text}");
        }
        assert!(!text.contains("Owner") && !text.contains("coordinates"), "{text}");
        let one = guarded
            .get(&set, &format!("/entities/urn:lamp:4?join={form}"))
            .await
            .text();
        assert!(!one.contains("Park 4") && one.contains("urn:park:4"), "{one}");
    }
    for (q, expected) in [
        ("standsIn%7Bname%7D", &[0, 1][..]),
        ("standsIn%7Bname%7D==%22Park%204%22", &[]),
        ("standsIn%7Bname%7D==%22Park%201%22", &[1]),
        ("standsIn%7Bowner%7D", &[]),
        ("standsIn", &[0, 1, 3, 4, 5]),
    ] {
        let found = guarded
            .ids(&set, &format!("type=Lamp&q={q}&join=flat&pick=id"))
            .await;
        assert_eq!(found, ids("lamp", expected), "{q}");
    }
}

#[tokio::test]
async fn types_and_attributes_are_those_of_what_is_seen() {
    let guarded = city().await;
    let set = reads(
        json!([{"types": [iri("Park")], "scopes": ["/city/north"]}]),
        json!([{"attributes": [iri("owner")]}]),
    );
    let types = guarded.get(&set, "/types").await.json();
    assert_eq!(types["typeList"], json!(["Park"]));
    let details = guarded.get(&set, "/types?details=true").await.json();
    assert_eq!(details[0]["attributeNames"], json!(["name", "size", "location"]));
    assert_eq!(details.as_array().unwrap().len(), 1);
    let park = guarded.get(&set, "/types/Park").await.json();
    assert_eq!(park["entityCount"], 3);
    assert!(!park.to_string().contains("owner"), "{park}");
    assert!(is_gone(&guarded.get(&set, "/types/Lamp").await));
    let attributes = guarded.get(&set, "/attributes").await.json();
    assert_eq!(attributes["attributeList"], json!(["name", "size", "location"]));
    let details = guarded.get(&set, "/attributes?details=true").await.json();
    assert_eq!(details.as_array().unwrap().len(), 3);
    assert_eq!(details[0]["typeNames"], json!(["Park"]));
    assert_eq!(
        guarded.get(&set, "/attributes/size").await.json()["attributeCount"],
        3
    );
    for name in ["owner", "power", "standsIn"] {
        assert!(
            is_gone(&guarded.get(&set, &format!("/attributes/{name}")).await),
            "{name}"
        );
    }
}

const SINCE: &str = "timerel=after&timeAt=2000-01-01T00:00:00Z&timeproperty=createdAt";

/// The parks as they changed hands, and one of which only the past is known: nobody can say where it is.
async fn sold() -> Guarded {
    let guarded = city().await;
    for n in 0..6 {
        let patch = json!({"owner": {"type": "Property", "value": "Sold"}, "size": {"type": "Property", "value": n + 10}});
        let answer = guarded
            .broker
            .send(
                "PATCH",
                &format!("/entities/urn:park:{n}/attrs"),
                &[],
                Some(&patch.to_string()),
            )
            .await;
        assert_eq!(answer.status, 204);
    }
    let old = json!({"id": "urn:park:9", "type": "Park", "size": [{"type": "Property", "value": 1, "observedAt": "2020-01-01T00:00:00Z"}]});
    assert_eq!(
        guarded
            .broker
            .post("/temporal/entities", &old.to_string())
            .await
            .status,
        201
    );
    guarded
}

/// Sets, each with the parks and the attributes of theirs that it sees.
fn views() -> [(Value, Vec<String>, Vec<&'static str>); 2] {
    let north = reads(
        json!([{"scopes": ["/city/north"]}]),
        json!([{"attributes": [iri("owner")]}]),
    );
    let parks = reads(
        json!([{"types": [iri("Park")], "attributes": [iri("size")]}]),
        json!([]),
    );
    [
        (north, ids("park", &[0, 1, 2]), vec!["location", "name", "size"]),
        (parks, ids("park", &[0, 1, 2, 3, 4, 5, 9]), vec!["size"]),
    ]
}

#[tokio::test]
async fn the_past_of_an_entity_is_retrieved_where_it_is_seen_now_with_the_attributes_that_are_seen_now() {
    let guarded = sold().await;
    for (set, expected, _) in &views() {
        for id in ["urn:park:0", "urn:park:4", "urn:park:9"] {
            let answer = guarded
                .get(set, &format!("/temporal/entities/{id}?lastN=1"))
                .await;
            assert_eq!(
                answer.status == 200,
                expected.iter().any(|e| e == id),
                "{set} {id}: {}",
                answer.text()
            );
            assert!(!answer.text().contains("Sold"), "{}", answer.text());
            let owner = guarded
                .get(set, &format!("/temporal/entities/{id}?attrs=owner"))
                .await;
            assert!(is_gone(&owner), "{set} {id}: {} {}", owner.status, owner.text());
        }
    }
}

#[tokio::test]
async fn queries_of_the_past_find_entities_and_attributes_that_are_seen_now() {
    let guarded = sold().await;
    for (set, expected, attributes) in &views() {
        let answer = guarded
            .get(set, &format!("/temporal/entities?type=Park&{SINCE}&count=true"))
            .await;
        let (count, json) = (answer.header("ngsild-results-count").to_owned(), answer.json());
        let found: Vec<&str> = json
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap())
            .collect();
        assert_eq!(found, *expected, "{set}");
        assert_eq!(count, expected.len().to_string());
        for entity in json.as_array().unwrap() {
            let is_old = entity["id"] == "urn:park:9";
            let mut shown = names(entity);
            shown.sort_unstable();
            let mut wanted = if is_old { vec!["size"] } else { attributes.clone() };
            wanted.sort_unstable();
            assert_eq!(shown, wanted, "{entity}");
            assert!(is_old || entity.get("scope").is_some(), "{entity}");
            assert_eq!(
                entity["size"].as_array().map_or(1, Vec::len),
                if is_old { 1 } else { 2 }
            );
        }
        for format in ["temporalValues", "aggregatedValues&aggrMethods=max&attrs=size"] {
            let text = guarded
                .get(
                    set,
                    &format!("/temporal/entities?type=Park&{SINCE}&format={format}"),
                )
                .await
                .text();
            assert!(
                !text.contains("Sold") && !text.contains("Owner") && text.contains("urn:park:0"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn queries_of_the_past_ask_attributes_and_places_that_are_seen_now() {
    let guarded = sold().await;
    let [_, (parks, ..)] = &views();
    for (set, expected, _) in &views() {
        for q in ["owner", "owner==%22Sold%22"] {
            let answer = guarded
                .get(set, &format!("/temporal/entities?type=Park&{SINCE}&q={q}"))
                .await;
            assert_eq!(answer.json(), json!([]), "{set} {q}");
        }
        let attrs = guarded
            .get(set, &format!("/temporal/entities?type=Park&{SINCE}&attrs=owner"))
            .await;
        assert_eq!(attrs.json(), json!([]), "{set}");
        let by_size = guarded
            .get(set, &format!("/temporal/entities?type=Park&{SINCE}&q=size==0"))
            .await
            .json();
        assert_eq!(by_size.as_array().unwrap().len(), 1, "{by_size}");
        let north = guarded
            .get(
                set,
                &format!("/temporal/entities?type=Park&{SINCE}&scopeQ=/city/north"),
            )
            .await
            .json();
        assert_eq!(north.as_array().unwrap().len(), 3, "{set} {north}");
        let body = json!({"type": "Query", "entities": [{"type": "Park"}],
            "temporalQ": {"timerel": "after", "timeAt": "2000-01-01T00:00:00Z", "timeproperty": "createdAt"}});
        let posted = guarded
            .ask(
                set,
                "POST",
                "/temporal/entityOperations/query",
                Some(&body.to_string()),
            )
            .await;
        assert_eq!(posted.json().as_array().unwrap().len(), expected.len(), "{set}");
    }
    let area = json!({"type": "Polygon", "coordinates": [[[7, 46], [9, 46], [9, 47], [7, 47], [7, 46]]]});
    let south = reads(json!([{"area": area}]), json!([]));
    let found = guarded
        .get(&south, &format!("/temporal/entities?type=Park&{SINCE}&pick=id"))
        .await
        .json();
    assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
    let near = "georel=near;maxDistance==1000000&geometry=Point&coordinates=[8,47]";
    let places = guarded
        .get(parks, &format!("/temporal/entities?type=Park&{SINCE}&{near}"))
        .await
        .json();
    assert_eq!(places, json!([]), "their places are not seen");
}

#[tokio::test]
async fn a_large_entity_is_seen_by_the_same_rules() {
    let guarded = Guarded::ready("").await;
    let large = "x".repeat(300_000);
    guarded
        .broker
        .create(&json!({"id": "urn:big:1", "type": "Big", "scope": "/a", "text": {"type": "Property", "value": large},
            "hush": {"type": "Property", "value": "secret"}})
        .to_string())
        .await;
    let set = reads(
        json!([{"scopes": ["/a"]}]),
        json!([{"attributes": [iri("hush")]}]),
    );
    for path in ["/entities/urn:big:1", "/entities?type=Big"] {
        let text = guarded.get(&set, path).await.text();
        assert!(text.len() > 300_000 && !text.contains("secret"), "{path}");
    }
    let none = reads(json!([{"scopes": ["/b"]}]), json!([]));
    assert!(is_gone(&guarded.get(&none, "/entities/urn:big:1").await));
    assert_eq!(guarded.ids(&none, "type=Big").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_set_is_of_the_tenant_that_the_request_names_and_of_no_other() {
    let guarded = Guarded::ready("").await;
    let in_one = [("ngsild-tenant", "one")];
    let park = r#"{"id":"urn:p:1","type":"Park"}"#;
    assert_eq!(
        guarded
            .broker
            .send("POST", "/entities", &in_one, Some(park))
            .await
            .status,
        201
    );
    let set = crate::support::gateway::header(&reads(json!([{}]), json!([])));
    let with = |tenant: &'static str| vec![("mim-permissions", &*set), ("ngsild-tenant", tenant)];
    assert_eq!(
        guarded
            .send("GET", "/entities/urn:p:1", &with("one"))
            .await
            .status,
        200
    );
    assert_eq!(
        guarded
            .send("GET", "/entities/urn:p:1", &with("two"))
            .await
            .status,
        404
    );
    assert_eq!(
        guarded
            .send("GET", "/entities/urn:p:1", &with("three"))
            .await
            .status,
        404
    );
}
