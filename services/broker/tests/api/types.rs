use crate::support::Broker;
use serde_json::json;

#[tokio::test]
async fn types_are_listed_with_and_without_details() {
    let broker = Broker::ready().await;
    assert_eq!(broker.get("/types").await.json()["typeList"], json!([]));
    broker.create(r#"{"id":"urn:x:1","type":"A","p":{"type":"Property","value":1},"r":{"type":"Relationship","object":"urn:x:2"}}"#).await;
    broker
        .create(
            r#"{"id":"urn:x:2","type":["A","B"],"p":{"type":"LanguageProperty","languageMap":{"en":"x"}}}"#,
        )
        .await;
    broker
        .create(r#"{"id":"urn:x:3","type":"https://schema.org/C"}"#)
        .await;
    let list = broker.get("/types?limit=1000").await.json();
    assert_eq!(
        (&list["type"], &list["typeList"]),
        (
            &json!("EntityTypeList"),
            &json!(["https://schema.org/C", "A", "B"])
        )
    );
    let details = broker.get("/types?details=true").await.json();
    assert_eq!(
        details[1],
        json!({"id": "https://uri.etsi.org/ngsi-ld/default-context/A", "type": "EntityType", "typeName": "A", "attributeNames": ["p", "r"]})
    );
    assert_eq!(details[0]["attributeNames"], json!([]));
    let one = broker.get("/types/A").await.json();
    assert_eq!(
        (&one["entityCount"], &one["typeName"], &one["type"]),
        (&json!(2), &json!("A"), &json!("EntityTypeInfo"))
    );
    assert_eq!(
        one["attributeDetails"],
        json!([
            {"id": "https://uri.etsi.org/ngsi-ld/default-context/p", "type": "Attribute", "attributeName": "p", "attributeTypes": ["LanguageProperty", "Property"]},
            {"id": "https://uri.etsi.org/ngsi-ld/default-context/r", "type": "Attribute", "attributeName": "r", "attributeTypes": ["Relationship"]}
        ])
    );
    assert_eq!(
        broker.get("/types/https%3A%2F%2Fschema.org%2FC").await.json()["entityCount"],
        1
    );
    assert_eq!(broker.get("/types/None").await.error(), "ResourceNotFound");
    assert_eq!(
        broker.get("/types?limit=1").await.json()["typeList"],
        json!(["https://schema.org/C"])
    );
    assert_eq!(broker.get("/types?nope=1").await.error(), "InvalidRequest");
    let ld = broker
        .send("GET", "/types", &[("accept", "application/ld+json")], None)
        .await;
    assert!(ld.json()["@context"].is_string() && ld.header("link").is_empty());
}

#[tokio::test]
async fn a_list_without_a_limit_is_a_page_and_says_where_the_next_one_is() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    broker.database.psql(
        "insert into mim.entity_types (tenant, type, id) select tenant, 'urn:t:' || to_char(n, 'FM0000'), 'urn:x:1' from mim.entities, generate_series(1, 1200) n",
    );
    let first = broker.get("/types").await;
    assert_eq!(first.json()["typeList"].as_array().unwrap().len(), 1000);
    let links: Vec<_> = first
        .headers
        .get_all("link")
        .iter()
        .map(|l| l.to_str().unwrap())
        .collect();
    assert!(
        links
            .iter()
            .any(|l| l.contains("rel=\"next\"") && l.contains("limit=1000&offset=1000")),
        "{links:?}"
    );
    let second = broker.get("/types?limit=1000&offset=1000").await;
    assert_eq!(second.json()["typeList"].as_array().unwrap().len(), 201);
    assert!(
        second
            .headers
            .get_all("link")
            .iter()
            .all(|l| !l.to_str().unwrap().contains("next"))
    );
    let details = broker.get("/types?details=true&limit=2&offset=1199").await.json();
    assert_eq!(details.as_array().unwrap().len(), 2);
}
