use crate::support::Broker;
use serde_json::json;

fn entity(n: u32, members: &serde_json::Value) -> String {
    let mut entity = json!({"id": format!("urn:ngsi-ld:T:{n}"), "type": "T"});
    for (name, value) in members.as_object().unwrap() {
        entity[name] = value.clone();
    }
    entity.to_string()
}

fn property(value: serde_json::Value) -> serde_json::Value {
    json!({"type": "Property", "value": value})
}

async fn broker_with(members: &[serde_json::Value]) -> Broker {
    let broker = Broker::ready().await;
    for (n, members) in (1..).zip(members) {
        broker.create(&entity(n, members)).await;
    }
    broker
}

/// The numbers of the entities that a query finds.
async fn found(broker: &Broker, query: &str) -> Vec<u32> {
    broker
        .ids(query)
        .await
        .iter()
        .map(|id| id.rsplit(':').next().unwrap().parse().unwrap())
        .collect()
}

fn encoded(q: &str) -> String {
    percent_encoding::utf8_percent_encode(q, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn the_query_language_finds_what_it_says() {
    let broker = broker_with(&[
        json!({"n": property(json!(5)), "s": property(json!("Mercedes")), "b": property(json!(true))}),
        json!({"n": property(json!(5.0)), "s": property(json!("BMW")), "b": property(json!(false))}),
        json!({"n": property(json!(7.5)), "s": property(json!(["a", "BMW"]))}),
        json!({"n": property(json!("5")), "t": property(json!("2024-01-01T00:00:00.5Z"))}),
        json!({"t": property(json!({"@type": "DateTime", "@value": "2024-06-01T00:00:00Z"})), "d": property(json!("2024-06-01"))}),
        json!({"r": {"type": "Relationship", "object": "urn:x:1"}, "l": {"type": "LanguageProperty", "languageMap": {"en": "door", "fr": "porte"}}}),
        json!({"o": property(json!({"city": {"name": "Bonn", "zip": 53111}})), "j": {"type": "JsonProperty", "json": {"k": 1}}}),
        json!({"p": {"type": "Property", "value": 1, "unitCode": "C", "observedAt": "2024-03-01T00:00:00Z", "acc": {"type": "Property", "value": 0.9}}}),
        json!({"m": [{"type": "Property", "value": 1}, {"type": "Property", "value": 9, "datasetId": "urn:d:1"}]}),
    ]).await;
    for (q, expected) in [
        ("n", vec![1, 2, 3, 4]),
        ("n==5", vec![1, 2]),
        ("n!=5", vec![3, 4]),
        ("n>5", vec![3]),
        ("n>=5", vec![1, 2, 3]),
        ("n<7.5", vec![1, 2]),
        ("n==\"5\"", vec![4]),
        ("n==5..8", vec![1, 2, 3]),
        ("n!=5..6", vec![3, 4]),
        ("n==7.5,\"5\"", vec![3, 4]),
        ("s==\"BMW\"", vec![2, 3]),
        ("s!=\"BMW\"", vec![1]),
        ("s==\"BMW\",\"Mercedes\"", vec![1, 2, 3]),
        ("s>\"C\"", vec![1]),
        ("s~=\"^Mer.*s$\"", vec![1]),
        ("s~=^B", vec![2]),
        ("s!~=\"^B\"", vec![1, 3]),
        ("b==true", vec![1]),
        ("b!=true", vec![2]),
        ("n==5;s==\"BMW\"", vec![2]),
        ("n==7.5|s==\"Mercedes\";b==true", vec![1, 3]),
        ("(n==7.5|s==\"Mercedes\");b==true", vec![1]),
        ("t>2024-01-01T00:00:00Z", vec![4, 5]),
        ("t==2024-01-01T00:00:00.500Z", vec![4]),
        ("t==\"2024-01-01T00:00:00.500Z\"", vec![4]),
        ("t>\"2024-05-01T00:00:00Z\"", vec![5]),
        ("d==2024-01-01..2024-12-31", vec![5]),
        ("d>2024-06-01", vec![]),
        ("r==urn:x:1", vec![6]),
        ("r==\"urn:x:1\"", vec![6]),
        ("r!=urn:x:2", vec![6]),
        ("r>\"urn\"", vec![]),
        ("l[en]==\"door\"", vec![6]),
        ("l[*]==\"porte\"", vec![6]),
        ("l[de]", vec![]),
        ("l[de]!=\"x\"", vec![]),
        ("o[city.name]==\"Bonn\"", vec![7]),
        ("o[city.zip]>53000", vec![7]),
        ("o[city.none]", vec![]),
        ("j[k]==1", vec![7]),
        ("p.acc>0.5", vec![8]),
        ("p.acc", vec![8]),
        ("p.unitCode==\"C\"", vec![8]),
        ("p.observedAt<2024-04-01T00:00:00Z", vec![8]),
        ("p.modifiedAt>2024-04-01T00:00:00Z", vec![8]),
        ("m==9", vec![9]),
        ("m.datasetId==urn:d:1", vec![9]),
        ("https://uri.etsi.org/ngsi-ld/default-context/b==true", vec![1]),
        ("none==1|none!=1", vec![]),
    ] {
        let query = format!("type=T&q={}", encoded(q));
        assert_eq!(found(&broker, &query).await, expected, "{q}");
    }
    assert_eq!(
        found(&broker, "q=createdAt%3E2024-01-01T00:00:00Z&type=T")
            .await
            .len(),
        9
    );
    assert_eq!(
        found(&broker, "q=modifiedAt%3C2024-01-01T00:00:00Z&type=T")
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn row_broker_hostile_text_in_a_query_is_only_text() {
    let hostile = "Robert\"'); drop table mim.entities;-- \\ $1 {0}";
    let broker = broker_with(&[
        json!({"s": property(json!(hostile))}),
        json!({"s": property(json!("x"))}),
    ])
    .await;
    let quoted = serde_json::to_string(hostile).unwrap();
    assert_eq!(
        found(&broker, &format!("type=T&q=s=={}", encoded(&quoted))).await,
        [1]
    );
    for q in [
        "s==\"x\"';--",
        "s==\"x\" or true",
        "s;--",
        "s==\"x",
        "s=='x'",
        "\"s\"==1",
        "s==1;drop table x",
    ] {
        let answer = broker.get(&format!("/entities?type=T&q={}", encoded(q))).await;
        assert_eq!(answer.error(), "BadRequestData", "{q}");
    }
    assert_eq!(broker.database.psql("select count(*) from mim.entities"), "2");
}

#[tokio::test]
async fn types_ids_patterns_and_attributes_select() {
    let broker = Broker::ready().await;
    for (id, kind, attribute) in [
        ("1", "\"A\"", "x"),
        ("2", "\"B\"", "y"),
        ("3", "[\"A\",\"B\"]", "x"),
        ("10", "\"C\"", "z"),
    ] {
        broker
            .create(&format!(
                r#"{{"id":"urn:ngsi-ld:T:{id}","type":{kind},"{attribute}":{{"type":"Property","value":1}}}}"#
            ))
            .await;
    }
    for (query, expected) in [
        ("type=A", vec![1, 3]),
        ("type=A,C", vec![1, 10, 3]),
        ("type=A%7CB", vec![1, 2, 3]),
        ("type=(A;B)", vec![3]),
        ("type=(A;B),C", vec![10, 3]),
        ("type=*", vec![1, 10, 2, 3]),
        ("type=https://uri.etsi.org/ngsi-ld/default-context/A", vec![1, 3]),
        ("type=None", vec![]),
        ("type=*&id=urn:ngsi-ld:T:1,urn:ngsi-ld:T:2,urn:none:1", vec![1, 2]),
        ("type=*&idPattern=T:1%5B0-9%5D$", vec![10]),
        ("type=*&idPattern=%5Eurn:.*:%5B12%5D$", vec![1, 2]),
        ("attrs=x", vec![1, 3]),
        ("attrs=y,z", vec![10, 2]),
        ("local=true", vec![1, 10, 2, 3]),
        ("q=x", vec![1, 3]),
    ] {
        assert_eq!(found(&broker, query).await, expected, "{query}");
    }
    let reduced = broker
        .get("/entities?type=A&attrs=x&options=keyValues")
        .await
        .json();
    assert_eq!(reduced[0], json!({"id": "urn:ngsi-ld:T:1", "type": "A", "x": 1}));
}

#[tokio::test]
async fn scopes_select() {
    let broker = broker_with(&[
        json!({"scope": "/Madrid/Gardens/ParqueNorte"}),
        json!({"scope": ["/Madrid/Gardens/ParqueNorte", "/CompanyA/OrganizationB/UnitC"]}),
        json!({"scope": "/Madrid"}),
        json!({"scope": "/Madrid.2/Gardens"}),
        json!({"scope": "/Madridx2/Gardens/Sur-1"}),
        json!({}),
    ])
    .await;
    for (scopes, expected) in [
        ("/Madrid/Gardens/ParqueNorte", vec![1, 2]),
        ("/Madrid/Gardens", vec![]),
        ("/Madrid/+/ParqueNorte", vec![1, 2]),
        ("/+/Gardens", vec![4]),
        ("/+/+/+", vec![1, 2, 5]),
        ("/Madrid/#", vec![1, 2, 3]),
        ("/Madrid.2/#", vec![4]),
        ("/Madrid.2/+", vec![4]),
        ("/+/Gardens/#", vec![1, 2, 4, 5]),
        ("/CompanyA/#", vec![2]),
        ("/#", vec![1, 2, 3, 4, 5]),
        (
            "/Madrid/Gardens/ParqueNorte;/CompanyA/OrganizationB/UnitC",
            vec![2],
        ),
        ("/Madrid,/CompanyA/#", vec![2, 3]),
        ("/Madrid|/CompanyA/#", vec![2, 3]),
        ("/Madrid/#;(/CompanyA/#|/Madrid)", vec![2, 3]),
        ("/None/#", vec![]),
    ] {
        let query = format!("type=T&scopeQ={}", encoded(scopes));
        assert_eq!(found(&broker, &query).await, expected, "{scopes}");
    }
    // Not encoded, a plus is a blank to who reads forms.
    assert_eq!(found(&broker, "type=T&scopeQ=/+/Gardens").await, [4]);
    for bad in ["", "Madrid", "/Madrid;", "/#/x", "/a b/c", "(/a", "/a'"] {
        let answer = broker
            .get(&format!("/entities?type=T&scopeQ={}", encoded(bad)))
            .await;
        assert_eq!(answer.error(), "BadRequestData", "{bad}");
    }
    let alone = broker.get("/entities?scopeQ=/Madrid").await;
    assert_eq!(alone.error(), "BadRequestData");
}

#[tokio::test]
async fn areas_select_by_the_index() {
    let point = |x: f64, y: f64| json!({"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [x, y]}}});
    let mut members: Vec<_> = vec![
        point(8.0, 47.0),
        point(8.01, 47.0),
        point(8.1, 47.0),
        point(179.999, 0.0),
        point(-179.999, 0.0),
    ];
    members.push(json!({"place": {"type": "GeoProperty", "value": {"type": "Polygon", "coordinates": [[[7.9,46.9],[8.2,46.9],[8.2,47.1],[7.9,47.1],[7.9,46.9]]]}}}));
    members.push(json!({"n": property(json!(1))}));
    let broker = broker_with(&members).await;
    for (query, expected) in [
        (
            "georel=near;maxDistance==1&geometry=Point&coordinates=[8,47]",
            vec![1],
        ),
        (
            "georel=near;maxDistance==1000&geometry=Point&coordinates=[8,47]",
            vec![1, 2],
        ),
        (
            "georel=near;maxDistance==10000&geometry=Point&coordinates=[8,47]",
            vec![1, 2, 3],
        ),
        (
            "georel=near;maxDistance==500&geometry=Point&coordinates=[180,0]",
            vec![4, 5],
        ),
        (
            "georel=near;minDistance==10000&geometry=Point&coordinates=[8,47]",
            vec![4, 5],
        ),
        (
            "georel=within&geometry=Polygon&coordinates=[[[7.9,46.9],[8.05,46.9],[8.05,47.1],[7.9,47.1],[7.9,46.9]]]",
            vec![1, 2],
        ),
        (
            "georel=within&geometry=Polygon&coordinates=[[[7.9,46.9],[8.05,47.1],[8.05,46.9],[7.9,47.1],[7.9,46.9]]]",
            vec![1, 2],
        ),
        (
            "georel=contains&geometry=Point&coordinates=[8,47]&geoproperty=place",
            vec![6],
        ),
        (
            "georel=intersects&geometry=LineString&coordinates=[[7,47],[9,47]]&geoproperty=place",
            vec![6],
        ),
        ("georel=equals&geometry=Point&coordinates=[8,47]", vec![1]),
        (
            "georel=disjoint&geometry=Point&coordinates=[8,47]",
            vec![2, 3, 4, 5],
        ),
        (
            "georel=within&geometry=Point&coordinates=[8,47]&geoproperty=none",
            vec![],
        ),
        (
            "type=T&q=n&georel=disjoint&geometry=Point&coordinates=[8,47]",
            vec![],
        ),
    ] {
        assert_eq!(found(&broker, query).await, expected, "{query}");
    }
    // A moved entity is found where it is, not where it was.
    let body =
        json!({"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [20, 20]}}})
            .to_string();
    assert_eq!(
        broker
            .send("PATCH", "/entities/urn:ngsi-ld:T:1/attrs", &[], Some(&body))
            .await
            .status,
        204
    );
    assert!(
        found(&broker, "georel=equals&geometry=Point&coordinates=[8,47]")
            .await
            .is_empty()
    );
    assert_eq!(
        found(
            &broker,
            "georel=near;maxDistance==5&geometry=Point&coordinates=[20,20]"
        )
        .await,
        [1]
    );
}

#[tokio::test]
async fn pages_link_to_their_neighbours_and_count() {
    let members: Vec<_> = (0..5).map(|n| json!({"n": property(json!(n))})).collect();
    let broker = broker_with(&members).await;
    let links = |answer: &crate::support::Answer| -> Vec<String> {
        answer
            .headers
            .get_all("link")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .filter(|l| !l.contains("json-ld#context"))
            .collect()
    };
    let first = broker.get("/entities?type=T&limit=2&count=true").await;
    assert_eq!(first.header("ngsild-results-count"), "5");
    assert_eq!(
        links(&first),
        ["</ngsi-ld/v1/entities?type=T&count=true&limit=2&offset=2>;rel=\"next\";type=\"application/json\""]
    );
    let middle = broker.get("/entities?type=T&limit=2&offset=2").await;
    assert_eq!(links(&middle).len(), 2);
    assert_eq!(middle.header("ngsild-results-count"), "");
    let last = broker.get("/entities?type=T&limit=2&offset=4").await;
    assert_eq!(
        (last.json().as_array().unwrap().len(), links(&last).len()),
        (1, 1)
    );
    assert!(links(&last)[0].contains("offset=2>;rel=\"prev\""));
    let beyond = broker.get("/entities?type=T&offset=100&count=true").await;
    assert_eq!(
        (beyond.text().as_str(), beyond.header("ngsild-results-count")),
        ("[]", "5")
    );
    let only = broker.get("/entities?type=T&limit=0&count=true&q=n%3E2").await;
    assert_eq!(
        (only.text().as_str(), only.header("ngsild-results-count")),
        ("[]", "2")
    );
}

#[tokio::test]
async fn wrong_parameters_are_refused_with_the_right_type() {
    let broker = Broker::ready().await;
    for (query, error) in [
        ("", "BadRequestData"),
        ("id=urn:a:1", "BadRequestData"),
        ("idPattern=a", "BadRequestData"),
        ("q=modifiedAt%3E2024-01-01T00:00:00Z", "BadRequestData"),
        ("type=T&unknown=1", "InvalidRequest"),
        ("unknown=1", "InvalidRequest"),
        ("type=T&options=nope", "InvalidRequest"),
        ("type=T&format=nope", "InvalidRequest"),
        ("type=T&limit=-1", "BadRequestData"),
        ("type=T&limit=0", "BadRequestData"),
        ("type=T&limit=1001", "BadRequestData"),
        ("type=T&offset=-1", "BadRequestData"),
        ("type=T&count=maybe", "BadRequestData"),
        ("type=T&id=nouri", "BadRequestData"),
        ("type=T&idPattern=%5B", "BadRequestData"),
        ("type=T&idPattern=(a%7B100%7D)%7B100%7D", "BadRequestData"),
        ("type=1T", "BadRequestData"),
        ("type=T&attrs=a-b", "BadRequestData"),
        ("attrs=id,type", "BadRequestData"),
        ("type=T&q=%00", "BadRequestData"),
        ("type=T&q=%ff", "BadRequestData"),
        (
            "type=T&georel=near&geometry=Point&coordinates=[0,0]",
            "BadRequestData",
        ),
        ("type=T&georel=within", "BadRequestData"),
        (
            "type=T&georel=within&geometry=Polygon&coordinates=[[0,0]]",
            "BadRequestData",
        ),
        ("type=T&geometryProperty=location", "BadRequestData"),
        ("type=T&type=U", "BadRequestData"),
        ("type=*&local=false", "BadRequestData"),
        ("type=T&local=maybe", "BadRequestData"),
        ("type=T&attrs=id,type", "BadRequestData"),
        ("attrs=createdAt", "BadRequestData"),
        ("type=T&csf=a", "OperationNotSupported"),
        ("type=T&entityMap=true", "OperationNotSupported"),
    ] {
        assert_eq!(
            broker.get(&format!("/entities?{query}")).await.error(),
            error,
            "{query}"
        );
    }
}
