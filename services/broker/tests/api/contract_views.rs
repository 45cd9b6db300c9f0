//! Views of the read-only contract: what stands in them, how they are asked for, and who may ask.

use crate::support::contract::{ADMINISTRATOR, City};
use crate::support::gateway::{Authority, send};
use serde_json::json;

const AIR: &str = r#"{"type":"Air","language":"de","columns":[
    {"name":"t","attribute":"p","type":"text"},{"name":"i","attribute":"p","type":"integer"},{"name":"n","attribute":"p","type":"number"},
    {"name":"b","attribute":"p","type":"boolean"},{"name":"at","attribute":"p","type":"timestamp"},{"name":"g","attribute":"p","type":"geometry"},
    {"name":"j","attribute":"p","type":"json"}]}"#;

/// The columns that are not null, of an entity whose attribute has this form.
async fn columns_of(city: &City, attribute: &str) -> String {
    let id = format!("urn:a:{}", rand::random::<u64>());
    city.create(&format!(r#"{{"id":"{id}","type":"Air","p":{attribute}}}"#))
        .await;
    let sql = format!(
        "select concat_ws(' ', 't=' || t, 'i=' || i, 'n=' || n, 'b=' || b, 'at=' || (at at time zone 'UTC'), 'g=' || ST_AsText(g)) \
         from one_v1.air where id = '{id}'"
    );
    city.read("one_v1", &sql)
}

#[tokio::test]
async fn a_column_has_the_value_in_its_type_and_null_where_it_is_of_another() {
    let city = City::ready().await;
    city.put("air", AIR).await;
    for (attribute, columns) in [
        (r#""plain""#, "t=plain"),
        (r#""""#, "t="),
        ("5", "i=5 n=5"),
        ("5.0", "i=5 n=5"),
        ("5.25", "n=5.25"),
        (
            "-9223372036854775808",
            "i=-9223372036854775808 n=-9.223372036854776e+18",
        ),
        ("9223372036854775808", "n=9.223372036854776e+18"),
        ("1e300", "n=1e+300"),
        ("1.7e308", "n=1.7e+308"),
        ("1e-308", "n=0"),
        ("true", "b=true"),
        (
            r#""2024-02-29T12:00:00.5Z""#,
            "t=2024-02-29T12:00:00.5Z at=2024-02-29 12:00:00.5",
        ),
        (r#""2023-02-29T12:00:00Z""#, "t=2023-02-29T12:00:00Z"),
        (r#""2024-02-30T12:00:00Z""#, "t=2024-02-30T12:00:00Z"),
        (r#""0000-01-01T00:00:00Z""#, "t=0000-01-01T00:00:00Z"),
        (r#""2024-02-29""#, "t=2024-02-29"),
        (
            r#"{"type":"Property","value":{"@type":"DateTime","@value":"2024-01-01T00:00:00Z"}}"#,
            "t=2024-01-01T00:00:00Z at=2024-01-01 00:00:00",
        ),
        (r#"{"type":"Property","value":[1,2]}"#, ""),
        (r#"{"type":"Property","value":{"a":1}}"#, ""),
        (
            r#"{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,2,3]}}"#,
            "g=POINT(1 2)",
        ),
        (
            r#"{"type":"GeoProperty","value":{"type":"Polygon","coordinates":[[[0,0],[2,2],[2,0],[0,2],[0,0]]]}}"#,
            "g=MULTIPOLYGON(((1 1,2 2,2 0,1 1)),((0 0,0 2,1 1,0 0)))",
        ),
        (
            r#"{"type":"Property","value":{"type":"Point","coordinates":["x"]}}"#,
            "",
        ),
        (r#"{"type":"Relationship","object":"urn:b:1"}"#, "t=urn:b:1"),
        (r#"{"type":"Relationship","object":["urn:b:1","urn:b:2"]}"#, ""),
        (
            r#"{"type":"LanguageProperty","languageMap":{"en":"air","de":"Luft"}}"#,
            "t=Luft",
        ),
        (
            r#"{"type":"LanguageProperty","languageMap":{"en":"air","@none":"o"}}"#,
            "t=o",
        ),
        (r#"{"type":"LanguageProperty","languageMap":{"en":"air"}}"#, ""),
        (r#"[{"type":"Property","value":1,"datasetId":"urn:d:1"}]"#, ""),
        (
            r#"[{"type":"Property","value":1,"datasetId":"urn:d:1"},{"type":"Property","value":2}]"#,
            "i=2 n=2",
        ),
        (
            r#"{"type":"JsonProperty","json":{"type":"Point","coordinates":[1,2]}}"#,
            "g=POINT(1 2)",
        ),
    ] {
        assert_eq!(columns_of(&city, attribute).await, columns, "{attribute}");
    }
    // No entity has such a number; a function that an index stands on must not fail by one all the same.
    let beyond = "select mim.number_of('1e390') is null and mim.number_of('-1e390') is null and mim.integer_of('1e390') is null and mim.number_of('1e-390') = 0";
    assert_eq!(city.broker.database.psql(beyond), "t");
    let json = city.read("one_v1", "select count(*) from one_v1.air where j is null");
    assert_eq!(
        json, "1",
        "only the entity without a default instance has no value at all"
    );
}

#[tokio::test]
async fn columns_reach_into_attributes_as_the_query_language_does() {
    let city = City::ready().await;
    let body = r#"{"type":"Air","columns":[
        {"name":"seen","attribute":"no2.observedAt","type":"timestamp"},{"name":"unit","attribute":"no2.unitCode","type":"text"},
        {"name":"accuracy","attribute":"no2.accuracy","type":"number"},{"name":"street","attribute":"address[street]","type":"text"},
        {"name":"deep","attribute":"data[a.b]","type":"integer"},{"name":"english","attribute":"label[en]","type":"text"}]}"#;
    city.put("air", body).await;
    city.create(
        r#"{"id":"urn:a:1","type":"Air","no2":{"type":"Property","value":5,"unitCode":"GQ","observedAt":"2026-01-01T00:00:00Z","accuracy":{"type":"Property","value":0.5}},
           "address":{"type":"Property","value":{"street":"Ring"}},"data":{"type":"JsonProperty","json":{"a":{"b":7}}},
           "label":{"type":"LanguageProperty","languageMap":{"en":"air"}}}"#,
    )
    .await;
    let row = city.read(
        "one_v1",
        "select seen at time zone 'UTC', unit, accuracy, street, deep, english, type, types, modified = created from one_v1.air",
    );
    let air = "https://uri.etsi.org/ngsi-ld/default-context/Air";
    assert_eq!(
        row,
        format!("2026-01-01 00:00:00|GQ|0.5|Ring|7|air|{air}|{{{air}}}|t")
    );
}

#[tokio::test]
async fn places_are_the_geometries_of_default_instances() {
    let city = City::ready().await;
    let at = |x: i32, more: &str| {
        format!(r#"{{"type":"GeoProperty","value":{{"type":"Point","coordinates":[{x},0]}}{more}}}"#)
    };
    city.create(&format!(
        r#"{{"id":"urn:p:1","type":"Park","name":"Park","location":{},"entrance":[{},{},{}],"only":[{}]}}"#,
        at(1, ""),
        at(2, r#","datasetId":"urn:d:1""#),
        at(3, ""),
        at(3, r#","datasetId":"urn:d:2""#),
        at(4, r#","datasetId":"urn:d:1""#),
    ))
    .await;
    city.create(r#"{"id":"urn:p:2","type":"Park","name":"nowhere"}"#)
        .await;
    let sql = "select id, name, split_part(attribute, '/', -1), ST_AsText(geometry), ST_SRID(geometry) from one_v1.places order by 3";
    assert_eq!(
        city.read("one_v1", sql),
        "urn:p:1|Park|entrance|POINT(3 0)|4326\nurn:p:1|Park|location|POINT(1 0)|4326"
    );
    let near = "explain select * from one_v1.places where geometry && ST_MakeEnvelope(0.5, -1, 1.5, 1, 4326)";
    let plan = city.read("one_v1", &format!("set enable_seqscan = off;;{near}"));
    assert!(plan.contains("entity_geometries_geom"), "{plan}");
}

#[tokio::test]
async fn a_view_is_asked_for_added_to_shown_and_taken_away() {
    let city = City::ready().await;
    let put = async |body: &str| city.views("PUT", "one/views/air", Some(body)).await;
    let no2 = r#"{"name":"no2","attribute":"no2","type":"number"}"#;
    let o3 = r#"{"name":"o3","attribute":"o3","type":"number"}"#;
    let of = |columns: &str| format!(r#"{{"type":"Air","columns":[{columns}]}}"#);
    assert_eq!(put(&of(no2)).await.status, 201);
    assert_eq!(put(&of(no2)).await.status, 200, "the same again changes nothing");
    assert_eq!(put(&of(&format!("{o3},{no2}"))).await.status, 200);
    let removed = put(&of(o3)).await;
    assert_eq!(
        (removed.status, removed.error().as_str()),
        (409, "BadRequestData")
    );
    assert!(
        removed.text().contains("no2 is part of the contract"),
        "{}",
        removed.text()
    );
    let retyped = put(&of(&format!("{},{o3}", no2.replace("number", "text")))).await;
    assert_eq!(retyped.status, 409, "{}", retyped.text());
    let shown = city.views("GET", "one/views/air", None).await.json();
    assert_eq!(
        (&shown["schema"], &shown["name"]),
        (&json!("one_v1"), &json!("air"))
    );
    assert_eq!(shown["columns"][1]["name"], "o3", "what is new comes last");
    let list = city.views("GET", "one/views", None).await.json();
    assert_eq!(
        (list["version"].as_str(), list["views"].as_array().unwrap().len()),
        (Some("1"), 1)
    );
    assert_eq!(
        city.views("GET", "two/views", None).await.json()["views"],
        json!([])
    );
    assert_eq!(
        city.read("one_v1", "select count(no2) + count(o3) from one_v1.air"),
        "0"
    );
    assert_eq!(city.views("DELETE", "one/views/air", None).await.status, 204);
    assert_eq!(city.views("DELETE", "one/views/air", None).await.status, 404);
    assert!(
        city.try_read("one_v1", "select * from one_v1.air")
            .unwrap_err()
            .contains("does not exist")
    );
    assert_eq!(put(&of(o3)).await.status, 201);
    for (method, path, body, status) in [
        ("PUT", "one/views/places", Some(of(o3)), 400),
        ("PUT", "one/views/Air", Some(of(o3)), 400),
        ("PUT", "one/views/a%22b", Some(of(o3)), 400),
        ("PUT", "one/views/b", Some("{}".to_owned()), 400),
        ("PUT", "one/views/b", Some("x".to_owned()), 400),
        ("GET", "none/views", None, 404),
        ("GET", "a%20b/views", None, 400),
        ("PATCH", "one/views/air", None, 405),
        ("GET", "one/other", None, 404),
    ] {
        let answer = city.views(method, path, body.as_deref()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    let default = city.views("PUT", "@default/views/air", Some(&of(o3))).await;
    assert_eq!(default.json()["schema"], "_v1");
    city.read("_v1", "select * from _v1.air");
}

#[tokio::test]
async fn administration_without_an_administrators_certificate_is_403_and_counted() {
    let city = City::ready().await;
    let path = "/admin/v1/tenants/one/views";
    let refused = async |cause: &str| {
        let name = format!("mim_broker_administrators_refused_total{{cause=\"{cause}\"}} ");
        city.broker.metric(&name).await
    };
    for (who, cause) in [
        (city.authority.client(None), "no_certificate"),
        (city.authority.client(Some("gateway.city.svc")), "another_name"),
    ] {
        let answer = send(&who, city.door, "GET", path, &[], None).await.unwrap();
        assert_eq!(answer.status, 403, "{cause}");
        assert_eq!(refused(cause).await, 1);
    }
    let stranger = Authority::new().client_of(&city.authority);
    assert!(send(&stranger, city.door, "GET", path, &[], None).await.is_err());
    assert_eq!(refused("unknown_certificate").await, 1);
    let client = &city.broker.client;
    let open = client.send(city.broker.api, "GET", path, &[], None).await;
    assert_eq!(open.status, 403);
    assert_eq!(refused("another_port").await, 1);
    let administrator = city.authority.client(Some(ADMINISTRATOR));
    let entities = send(&administrator, city.door, "GET", "/entities?type=A", &[], None).await;
    assert_eq!(entities.unwrap().status, 404, "the API is not here");
    let document = client
        .send(city.broker.api, "GET", "/openapi.json", &[], None)
        .await;
    assert_eq!(document.status, 200);
    assert!(!document.text().contains("/admin"));
}
