//! `/jsonldContexts`: contexts that the broker keeps for a tenant.

use crate::support::{Answer, Broker};
use serde_json::{Value, json};

const RELATION: &str = "rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
const LD: (&str, &str) = ("content-type", "application/ld+json");
const CORE: &str = "https%3A%2F%2Furi.etsi.org%2Fngsi-ld%2Fv1%2Fngsi-ld-core-context-v1.6.jsonld";

fn tenant(name: &str) -> [(&str, &str); 1] {
    [("NGSILD-Tenant", name)]
}

/// Adds a context and gives its id.
async fn hosted(broker: &Broker, headers: &[(&str, &str)], context: &Value) -> String {
    let body = json!({"@context": context}).to_string();
    let added = broker.send("POST", "/jsonldContexts", headers, Some(&body)).await;
    assert_eq!((added.status, added.text().as_str()), (201, ""));
    let id = added
        .header("location")
        .strip_prefix("/ngsi-ld/v1/jsonldContexts/");
    id.unwrap().to_owned()
}

/// The URL of a context of a broker.
fn url(broker: &Broker, id: &str) -> String {
    format!("http://{}/ngsi-ld/v1/jsonldContexts/{id}", broker.api)
}

async fn details(broker: &Broker, id: &str) -> Value {
    let answer = broker.get(&format!("/jsonldContexts/{id}?details=true")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Reads types with the context of a URL.
async fn using(broker: &Broker, url: &str, headers: &[(&str, &str)]) -> Answer {
    let link = format!("<{url}>; {RELATION}");
    let mut all = vec![("link", link.as_str())];
    all.extend_from_slice(headers);
    broker.send("GET", "/types", &all, None).await
}

#[tokio::test]
async fn a_hosted_context_is_added_served_listed_and_deleted() {
    let broker = Broker::ready().await;
    let context = json!([{"Car": "https://schema.org/Car", "n": 1.50}, {"speed": "https://v.example/speed"}]);
    let sent = r#"[{"Car":"https://schema.org/Car"},{"speed":"https://v.example/speed"}]"#;
    assert_eq!(
        broker
            .post("/jsonldContexts", &json!({"@context": context}).to_string())
            .await
            .error(),
        "BadRequestData",
        "a term that is a number"
    );
    let context: Value = serde_json::from_str(sent).unwrap();
    let id = hosted(&broker, &[], &context).await;
    let served = broker.get(&format!("/jsonldContexts/{id}")).await;
    assert_eq!(
        (served.status, served.header("content-type"), served.text()),
        (200, "application/json", format!("{{\"@context\":{sent}}}"))
    );
    assert_eq!(served.header("link"), "");
    let ld = [("accept", "application/ld+json, application/json;q=0.9")];
    let served = broker
        .send("GET", &format!("/jsonldContexts/{id}"), &ld, None)
        .await;
    assert_eq!(
        (served.status, served.header("content-type")),
        (200, "application/ld+json")
    );

    let url = url(&broker, &id);
    for (query, expected) in [
        ("", json!([url])),
        ("?kind=Hosted&details=false", json!([url])),
        ("?kind=Cached", json!([])),
        ("?kind=ImplicitlyCreated&details=true", json!([])),
    ] {
        assert_eq!(
            broker.get(&format!("/jsonldContexts{query}")).await.json(),
            expected,
            "{query}"
        );
    }
    let found = details(&broker, &id).await;
    let listed = broker
        .get("/jsonldContexts?details=true&kind=Hosted")
        .await
        .json();
    for details in [&found, &listed[0]] {
        assert_eq!(
            (&details["URL"], &details["localId"], &details["kind"]),
            (&json!(url), &json!(id), &json!("Hosted"))
        );
        for time in ["createdAt", "lastUsage"] {
            assert!(details[time].as_str().unwrap().ends_with('Z'), "{details}");
        }
        let known = ["URL", "localId", "kind", "createdAt", "lastUsage", "numberOfHits"];
        assert!(
            details
                .as_object()
                .unwrap()
                .keys()
                .all(|key| known.contains(&key.as_str())),
            "{details}"
        );
    }
    // The URL finds it too, as another broker would ask for it.
    let encoded = url.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(details(&broker, &encoded).await["localId"], json!(id));

    let gone = broker
        .send("DELETE", &format!("/jsonldContexts/{id}"), &[], None)
        .await;
    assert_eq!((gone.status, gone.text().as_str()), (204, ""));
    for method in ["GET", "DELETE"] {
        let answer = broker
            .send(method, &format!("/jsonldContexts/{id}"), &[], None)
            .await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "ResourceNotFound"),
            "{method}"
        );
    }
    assert_eq!(using(&broker, &url, &[]).await.error(), "LdContextNotAvailable");
    assert_eq!(broker.get("/jsonldContexts").await.json(), json!([]));
}

#[tokio::test]
async fn a_hosted_context_gives_names_their_meaning_by_its_url() {
    let broker = Broker::ready().await;
    let context = json!([{"Car": "https://schema.org/Car"}, {"speed": "https://v.example/speed"}]);
    let id = hosted(&broker, &[], &context).await;
    let url = url(&broker, &id);
    let link = format!("<{url}>; {RELATION}");
    let body = r#"{"id":"urn:x:1","type":"Car","speed":{"type":"Property","value":1}}"#;
    let created = broker
        .send("POST", "/entities", &[("link", &link)], Some(body))
        .await;
    assert_eq!(created.status, 201, "{}", created.text());
    let plain = broker.get("/entities/urn:x:1?options=keyValues").await.json();
    assert_eq!(
        plain,
        json!({"id": "urn:x:1", "type": "https://schema.org/Car", "https://v.example/speed": 1})
    );
    let read = broker
        .send(
            "GET",
            "/entities/urn:x:1?options=keyValues",
            &[("link", &link)],
            None,
        )
        .await;
    assert_eq!(read.json()["type"], "Car");
    assert_eq!(read.header("link"), link);
    let body = json!({"id": "urn:x:2", "type": "Car", "@context": [url, {"more": "urn:more"}]}).to_string();
    assert_eq!(
        broker.send("POST", "/entities", &[LD], Some(&body)).await.status,
        201
    );
    assert_eq!(
        broker.ids("type=https://schema.org/Car").await,
        ["urn:x:1", "urn:x:2"]
    );
}

#[tokio::test]
async fn hits_are_uses_and_serves_and_are_told_at_once() {
    let broker = Broker::ready().await;
    let id = hosted(&broker, &[], &json!({"a": "urn:a"})).await;
    let hits = async || details(&broker, &id).await["numberOfHits"].as_i64().unwrap();
    assert_eq!(hits().await, 0);
    assert_eq!(
        hits().await,
        1,
        "details are served too, and counted after they are told"
    );
    for _ in 0..3 {
        assert_eq!(using(&broker, &url(&broker, &id), &[]).await.status, 200);
    }
    assert_eq!(broker.get(&format!("/jsonldContexts/{id}")).await.status, 200);
    for _ in 0..3 {
        let listed = broker.get("/jsonldContexts?details=true").await.json();
        assert_eq!(listed[0]["numberOfHits"], 6, "a list counts nothing");
    }
    // A relative reference has nothing that it is relative to, so this is no use.
    let body = json!({"id": "urn:x:1", "type": "A", "@context": format!("/ngsi-ld/v1/jsonldContexts/{id}")})
        .to_string();
    assert_eq!(
        broker.send("POST", "/entities", &[LD], Some(&body)).await.error(),
        "BadRequestData"
    );
    assert_eq!(hits().await, 6);
    // The context of a batch is used once, however many entities have it.
    let item = |n: u8| json!({"id": format!("urn:x:{n}"), "type": "A", "@context": url(&broker, &id)});
    let body = json!([item(1), item(2), item(3)]).to_string();
    assert_eq!(
        broker
            .send("POST", "/entityOperations/upsert", &[LD], Some(&body))
            .await
            .status,
        201
    );
    assert_eq!(hits().await, 8);
}

#[tokio::test]
async fn row_broker_what_is_no_context_is_not_kept() {
    let broker = Broker::ready().await;
    let huge = format!(r#"{{"@context":{{"a":"urn:{}"}}}}"#, "x".repeat(5_000_000));
    let parts = format!(r#"{{"@context":[{}{{}}]}}"#, "{},".repeat(1000));
    for (body, error) in [
        ("", "InvalidRequest"),
        ("{", "InvalidRequest"),
        ("[]", "InvalidRequest"),
        (r#"{"a":"urn:a"}"#, "InvalidRequest"),
        (r#""https://c.example/a""#, "InvalidRequest"),
        (r#"{"@context":5}"#, "BadRequestData"),
        (r#"{"@context":null}"#, "BadRequestData"),
        (r#"{"@context":"relative.jsonld"}"#, "BadRequestData"),
        (r#"{"@context":"file:///etc/passwd"}"#, "BadRequestData"),
        (
            r#"{"@context":{"a":{"@id":"urn:a","@context":{}}}}"#,
            "BadRequestData",
        ),
        (r#"{"@context":[{"a":"b:1","b":"a:1"}]}"#, "BadRequestData"),
        (r#"{"@context":{"a":"\u0000"}}"#, "BadRequestData"),
        (r#"{"@context":[[[[[[[[[[{}]]]]]]]]]]}"#, "BadRequestData"),
        (&huge, "BadRequestData"),
        (&parts, "BadRequestData"),
    ] {
        let answer = broker.post("/jsonldContexts", body).await;
        let told = answer.error();
        assert_eq!(
            (answer.status, told.as_str()),
            (400, error),
            "{}",
            body.get(..60).unwrap_or(body)
        );
    }
    let text = broker
        .send(
            "POST",
            "/jsonldContexts",
            &[("content-type", "text/plain")],
            Some("{}"),
        )
        .await;
    assert_eq!(text.status, 415);
    assert_eq!(broker.get("/jsonldContexts").await.json(), json!([]));
}

#[tokio::test]
async fn row_broker_wrong_parameters_and_names_of_contexts_are_told() {
    let broker = Broker::ready().await;
    let id = hosted(&broker, &[], &json!({"a": "urn:a"})).await;
    let long = "x".repeat(10_000);
    for (method, path, status, error) in [
        ("GET", "?details=other", 400, "BadRequestData"),
        ("GET", "?kind=other", 400, "BadRequestData"),
        ("GET", "?kind=hosted", 400, "BadRequestData"),
        ("GET", "?details=true&kind=", 400, "BadRequestData"),
        ("GET", "?limit=1", 400, "InvalidRequest"),
        ("GET", "/x?details=other", 400, "BadRequestData"),
        ("GET", "/x?kind=Hosted", 400, "InvalidRequest"),
        ("GET", "/x?details=true", 404, "ResourceNotFound"),
        ("GET", "/%00", 400, "BadRequestData"),
        (
            "GET",
            "/https%3A%2F%2Fc.example%2Fa?details=true",
            404,
            "ResourceNotFound",
        ),
        ("GET", &format!("/{CORE}"), 422, "OperationNotSupported"),
        ("GET", &format!("/{long}"), 404, "ResourceNotFound"),
        ("DELETE", "/x", 404, "ResourceNotFound"),
        ("DELETE", "/x?reload=false", 404, "ResourceNotFound"),
        ("DELETE", "/x?reload=true", 400, "BadRequestData"),
        ("DELETE", "/x?reload=xxx", 400, "BadRequestData"),
        ("DELETE", "/x?details=true", 400, "InvalidRequest"),
        ("DELETE", &format!("/{id}?reload=true"), 400, "BadRequestData"),
        ("DELETE", &format!("/{CORE}"), 400, "BadRequestData"),
        ("DELETE", &format!("/{CORE}?reload=false"), 400, "BadRequestData"),
        ("PUT", &format!("/{id}"), 405, "InvalidRequest"),
        ("PATCH", "", 405, "InvalidRequest"),
        ("DELETE", "", 405, "InvalidRequest"),
    ] {
        let answer = broker
            .send(method, &format!("/jsonldContexts{path}"), &[], None)
            .await;
        let told = answer.error();
        assert_eq!(
            (answer.status, told.as_str()),
            (status, error),
            "{method} {}",
            path.get(..60).unwrap_or(path)
        );
    }
    for path in ["", &format!("/{id}"), &format!("/{CORE}?details=true")] {
        let geo = [("accept", "application/geo+json")];
        assert_eq!(
            broker
                .send("GET", &format!("/jsonldContexts{path}"), &geo, None)
                .await
                .status,
            406
        );
    }
    // The core context is always there, and nothing of it can be newer than the broker.
    assert_eq!(
        broker
            .send(
                "DELETE",
                &format!("/jsonldContexts/{CORE}?reload=true"),
                &[],
                None
            )
            .await
            .status,
        204
    );
    let core = details(&broker, CORE).await;
    assert_eq!(
        (&core["kind"], &core["extraInfo"]),
        (&json!("Cached"), &json!({"source": "builtIn"}))
    );
}

#[tokio::test]
async fn a_context_is_its_tenants_alone() {
    let broker = Broker::ready().await;
    let (one, two) = (tenant("one"), tenant("two"));
    let id = hosted(&broker, &one, &json!({"Secret": "urn:secret:Secret"})).await;
    let path = format!("/jsonldContexts/{id}");
    for other in [&two[..], &[]] {
        for path in [path.clone(), format!("{path}?details=true")] {
            let answer = broker.send("GET", &path, other, None).await;
            assert_eq!(answer.status, 404);
            assert!(!answer.text().contains("urn:secret"));
        }
        assert_eq!(
            broker
                .send("GET", "/jsonldContexts?details=true", other, None)
                .await
                .json(),
            json!([])
        );
        assert_eq!(broker.send("DELETE", &path, other, None).await.status, 404);
        assert_eq!(
            using(&broker, &url(&broker, &id), other).await.error(),
            "LdContextNotAvailable"
        );
    }
    assert_eq!(using(&broker, &url(&broker, &id), &one).await.status, 200);
    let unknown = broker
        .send("GET", "/jsonldContexts", &tenant("three"), None)
        .await;
    assert_eq!(
        (unknown.error().as_str(), unknown.header("ngsild-tenant")),
        ("NonexistentTenant", "three")
    );
    // What one tenant has compiled is not taken for the other's.
    assert_eq!(
        using(&broker, &url(&broker, &id), &two).await.error(),
        "LdContextNotAvailable"
    );
    assert_eq!(broker.send("DELETE", &path, &one, None).await.status, 204);
}

#[tokio::test]
async fn a_large_context_is_served_whole() {
    let broker = Broker::ready().await;
    let terms: serde_json::Map<String, Value> = (0..20_000)
        .map(|n| (format!("term{n}"), json!(format!("https://schema.org/term{n}"))))
        .collect();
    let id = hosted(&broker, &[], &Value::Object(terms.clone())).await;
    let served = broker.get(&format!("/jsonldContexts/{id}")).await;
    assert_eq!(served.json(), json!({"@context": terms}));
    let body = json!({"id": "urn:x:1", "type": "term19999", "@context": url(&broker, &id)}).to_string();
    assert_eq!(
        broker.send("POST", "/entities", &[LD], Some(&body)).await.status,
        201
    );
    assert_eq!(broker.ids("type=https://schema.org/term19999").await, ["urn:x:1"]);
}

#[tokio::test]
async fn row_broker_a_tenant_keeps_a_bounded_number_of_contexts() {
    let broker = Broker::ready().await;
    let id = hosted(&broker, &[], &json!({"a": "urn:a"})).await;
    broker.database.psql(
        "insert into mim.contexts (tenant, id, kind, document, size) \
         select (select id from mim.tenants where name = ''), 'x' || n, 'Hosted', '{}', 2 from generate_series(1, 9999) n",
    );
    let refused = broker.post("/jsonldContexts", r#"{"@context":{}}"#).await;
    assert_eq!(refused.error(), "BadRequestData");
    assert!(
        refused.text().contains("at most 10000 contexts"),
        "{}",
        refused.text()
    );
    hosted(&broker, &tenant("one"), &json!({})).await;
    assert_eq!(
        broker
            .get("/jsonldContexts")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        10_000
    );
    assert_eq!(
        broker
            .send("DELETE", &format!("/jsonldContexts/{id}"), &[], None)
            .await
            .status,
        204
    );
    hosted(&broker, &[], &json!({})).await;
    broker
        .database
        .psql("update mim.contexts set size = 300000000 where id = 'x1'");
    assert_eq!(
        broker.post("/jsonldContexts", r#"{"@context":{}}"#).await.error(),
        "BadRequestData"
    );
}
