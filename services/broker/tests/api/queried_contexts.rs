//! In which context a query by body is answered.

use crate::support::{Answer, Broker};
use serde_json::{Value, json};

const ENTITIES: &str = "/entityOperations/query";
const PAST: &str = "/temporal/entityOperations/query";

/// A broker with one entity of names of its own.
async fn broker() -> Broker {
    let broker = Broker::configured("temporal: {mode: Enabled}").await;
    let entity = json!({"id": "urn:x:1", "type": "urn:c:T", "urn:c:n": {"type": "Property", "value": 1, "observedAt": "2024-01-01T00:00:00Z"}});
    broker.create(&entity.to_string()).await;
    broker
}

/// A query for that entity with the names of a context.
async fn query(broker: &Broker, path: &str, accept: &str, context: &Value) -> Answer {
    let mut body = json!({"type": "Query", "entities": [{"type": "T"}], "@context": context});
    if path == PAST {
        body["temporalQ"] = json!({"timerel": "after", "timeAt": "2023-01-01T00:00:00Z"});
    }
    let headers = [("content-type", "application/ld+json"), ("accept", accept)];
    let answer = broker.send("POST", path, &headers, Some(&body.to_string())).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

/// The URL in the Link header.
fn linked(answer: &Answer) -> String {
    let link = answer.header("link");
    let url = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    url.unwrap_or_else(|| panic!("{link:?} names nothing"))
        .0
        .to_owned()
}

async fn implicit(broker: &Broker) -> Vec<Value> {
    let list = broker.get("/jsonldContexts?kind=ImplicitlyCreated").await.json();
    list.as_array().unwrap().clone()
}

fn context() -> Value {
    json!({"T": "urn:c:T", "n": "urn:c:n"})
}

#[tokio::test]
async fn a_query_with_a_context_in_its_body_is_answered_with_a_url_that_serves_that_context() {
    let broker = broker().await;
    let mut urls = Vec::new();
    for path in [ENTITIES, PAST] {
        let answer = query(&broker, path, "application/json", &context()).await;
        assert!(answer.json()[0]["n"].is_object() || answer.json()[0]["n"].is_array());
        assert_eq!(answer.json()[0]["type"], "T");
        urls.push(linked(&answer));
        let ld = query(&broker, path, "application/ld+json", &context()).await;
        assert_eq!(ld.json()[0]["type"], "T", "{path}");
        assert_eq!(ld.json()[0]["@context"], urls[0], "{path}");
    }
    assert_eq!(urls[0], urls[1], "the same context is kept once");
    assert_eq!(implicit(&broker).await, [json!(urls[0])]);
    let path = urls[0].split_once("/ngsi-ld/v1").unwrap().1;
    assert_eq!(broker.get(path).await.json(), json!({"@context": context()}));

    let link = format!(
        "<{}>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"",
        urls[0]
    );
    let by_link = broker
        .send("GET", "/entities?type=T", &[("link", link.as_str())], None)
        .await;
    assert_eq!(by_link.json()[0]["type"], "T", "{}", by_link.text());

    let deleted = broker.send("DELETE", path, &[], None).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    assert_eq!(broker.get(path).await.status, 404);
    let again = query(&broker, ENTITIES, "application/json", &context()).await;
    assert_eq!(linked(&again), urls[0]);
    assert_eq!(broker.get(path).await.status, 200);
}

#[tokio::test]
async fn the_core_context_beside_a_url_makes_no_context_of_its_own() {
    let broker = broker().await;
    let core = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld";
    let hosted = json!({"@context": context()}).to_string();
    let hosted = broker.post("/jsonldContexts", &hosted).await;
    let url = format!("http://{}{}", broker.api, hosted.header("location"));
    for context in [json!([url, core]), json!([core, url]), json!([url])] {
        let answer = query(&broker, ENTITIES, "application/json", &context).await;
        assert_eq!(linked(&answer), url, "{context}");
        assert_eq!(answer.json()[0]["type"], "T", "{context}");
    }
    assert_eq!(implicit(&broker).await, Vec::<Value>::new());
}

#[tokio::test]
async fn where_no_context_can_be_kept_a_query_is_answered_with_whole_names() {
    let broker = broker().await;
    broker.database.psql(
        "create function no() returns trigger language plpgsql as $$ begin raise 'no'; end $$; \
         create trigger no before insert on mim.contexts for each row execute function no()",
    );
    for path in [ENTITIES, PAST] {
        let answer = query(&broker, path, "application/json", &context()).await;
        assert!(
            linked(&answer).starts_with("https://uri.etsi.org/ngsi-ld/"),
            "{path}"
        );
        assert_eq!(answer.json()[0]["type"], "urn:c:T", "{path}");
    }
    broker.was_to_fail();
}

#[tokio::test]
async fn contexts_that_queries_brought_longest_ago_make_way_and_take_none_of_the_tenants_room() {
    let broker = broker().await;
    let full = "insert into mim.contexts (tenant, id, kind, document, size, used) \
        select tenant, 'aaaaaaaa-aaaa-8aaa-8aaa-' || lpad(n::text, 12, '0'), 'ImplicitlyCreated', '{}', 2, now() - n * interval '1 s' \
        from (select distinct tenant from mim.entities) t, generate_series(1, 1000) n; \
        insert into mim.contexts (tenant, id, kind, document, size) \
        select tenant, gen_random_uuid()::text, 'Hosted', '{}', 2 from (select distinct tenant from mim.entities) t, generate_series(1, 9999)";
    broker.database.psql(full);
    let url = linked(&query(&broker, ENTITIES, "application/json", &context()).await);
    let kept = implicit(&broker).await;
    assert_eq!(kept.len(), 1000);
    assert!(kept.contains(&json!(url)));
    let has = |n: &str| kept.iter().any(|url| url.as_str().unwrap().ends_with(n));
    assert!(has("000000000999") && !has("000000001000"));
    let hosted = json!({"@context": context()}).to_string();
    for status in [201, 400] {
        let answer = broker.post("/jsonldContexts", &hosted).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
