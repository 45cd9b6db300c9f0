//! Which attributes there are: `/attributes` and `/attributes/{attr}`.

use crate::support::Broker;
use serde_json::json;

const BASE: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

async fn broker() -> Broker {
    let broker = Broker::ready().await;
    broker
        .create(r#"{"id":"urn:x:1","type":"A","p":[{"type":"Property","value":1},{"type":"Property","value":2,"datasetId":"urn:d:1"}],"r":{"type":"Relationship","object":"urn:x:2","s":{"type":"Property","value":1}}}"#)
        .await;
    broker
        .create(r#"{"id":"urn:x:2","type":["A","B"],"p":{"type":"LanguageProperty","languageMap":{"en":"x"}},"https://schema.org/q":{"type":"Property","value":1}}"#)
        .await;
    broker.create(r#"{"id":"urn:x:3","type":"C"}"#).await;
    broker
}

#[tokio::test]
async fn attributes_are_listed_with_and_without_details() {
    let broker = broker().await;
    let list = broker.get("/attributes").await.json();
    assert_eq!(list["type"], "AttributeList");
    assert!(
        list["id"]
            .as_str()
            .unwrap()
            .starts_with("urn:ngsi-ld:AttributeList:")
    );
    assert_eq!(list["attributeList"], json!(["https://schema.org/q", "p", "r"]));
    let details = broker.get("/attributes?details=true").await.json();
    assert_eq!(
        details,
        json!([
            {"id": "https://schema.org/q", "type": "Attribute", "attributeName": "https://schema.org/q", "typeNames": ["A", "B"]},
            {"id": format!("{BASE}p"), "type": "Attribute", "attributeName": "p", "typeNames": ["A", "B"]},
            {"id": format!("{BASE}r"), "type": "Attribute", "attributeName": "r", "typeNames": ["A"]}
        ])
    );
    let empty = broker
        .send("GET", "/attributes", &[("ngsild-tenant", "one")], None)
        .await
        .json();
    assert_eq!(empty["attributeList"], json!([]));
}

#[tokio::test]
async fn one_attribute_tells_its_kinds_types_and_how_many_instances_there_are() {
    let broker = broker().await;
    for name in ["p", "https%3A%2F%2Furi.etsi.org%2Fngsi-ld%2Fdefault-context%2Fp"] {
        assert_eq!(
            broker.get(&format!("/attributes/{name}")).await.json(),
            json!({"id": format!("{BASE}p"), "type": "Attribute", "attributeName": "p", "attributeCount": 3,
                "attributeTypes": ["LanguageProperty", "Property"], "typeNames": ["A", "B"]})
        );
    }
    let relationship = broker.get("/attributes/r").await.json();
    assert_eq!(
        (&relationship["attributeCount"], &relationship["attributeTypes"]),
        (&json!(1), &json!(["Relationship"]))
    );
    for unknown in ["none", "s"] {
        let answer = broker.get(&format!("/attributes/{unknown}")).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "ResourceNotFound"),
            "{unknown}"
        );
    }
    let other_tenant = broker
        .send("GET", "/attributes/p", &[("ngsild-tenant", "one")], None)
        .await;
    assert_eq!(other_tenant.status, 404);
}

#[tokio::test]
async fn lists_come_in_pages_and_in_the_context_of_the_request() {
    let broker = broker().await;
    let first = broker.get("/attributes?limit=2").await;
    assert_eq!(
        first.json()["attributeList"],
        json!(["https://schema.org/q", "p"])
    );
    let links: Vec<_> = first
        .headers
        .get_all("link")
        .iter()
        .map(|l| l.to_str().unwrap())
        .collect();
    assert!(
        links
            .iter()
            .any(|l| l.contains("rel=\"next\"") && l.contains("/attributes?limit=2&offset=2")),
        "{links:?}"
    );
    let last = broker.get("/attributes?limit=2&offset=2&details=true").await;
    assert_eq!(last.json().as_array().unwrap().len(), 1);
    assert!(
        last.headers
            .get_all("link")
            .iter()
            .all(|l| !l.to_str().unwrap().contains("next"))
    );
    let accept = [("accept", "application/ld+json")];
    let in_ld = broker.send("GET", "/attributes", &accept, None).await;
    assert!(in_ld.json()["@context"].is_string() && in_ld.header("link").is_empty());
    let details = broker
        .send("GET", "/attributes?details=true", &accept, None)
        .await
        .json();
    assert!(details[0]["@context"].is_string());
    let one = broker.send("GET", "/attributes/p", &accept, None).await.json();
    assert!(one["@context"].is_string());
}

#[tokio::test]
async fn wrong_requests_for_types_and_attributes_have_the_right_error() {
    let broker = broker().await;
    for kind in ["types", "attributes"] {
        for (rest, status, error) in [
            ("?details=maybe", 400, "BadRequestData"),
            ("?limit=0", 400, "BadRequestData"),
            ("?limit=x", 400, "BadRequestData"),
            ("?offset=-1", 400, "BadRequestData"),
            ("?local=x", 400, "BadRequestData"),
            ("?nope=1", 400, "InvalidRequest"),
            ("/p?details=true", 400, "InvalidRequest"),
            ("/p?local=x", 400, "BadRequestData"),
            ("/a-b", 400, "BadRequestData"),
            ("/%22%3B--", 400, "BadRequestData"),
            ("/none", 404, "ResourceNotFound"),
        ] {
            let answer = broker.get(&format!("/{kind}{rest}")).await;
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (status, error),
                "{kind}{rest}"
            );
        }
        let geo = [("accept", "application/geo+json")];
        assert_eq!(
            broker.send("GET", &format!("/{kind}"), &geo, None).await.status,
            406
        );
        assert_eq!(
            broker
                .send("POST", &format!("/{kind}"), &[], Some("{}"))
                .await
                .status,
            405
        );
        assert_eq!(broker.get(&format!("/{kind}/")).await.status, 200);
    }
}
