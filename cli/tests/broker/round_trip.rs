//! What is exported and imported is what was there.

use crate::support::{Broker, all, entity, eventually, fill, id, ids, lines, mimctl, url, write};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CONTEXT: &str = "https://models.example/context.jsonld";

/// Entities with everything that they can have.
fn city() -> Vec<Value> {
    let of = |n: &str| -> Value {
        serde_json::from_str(&format!("{{\"type\":\"Property\",\"value\":{n}}}")).unwrap()
    };
    vec![
        json!({"id": "urn:x:all", "type": ["T", "U"], "scope": ["/a/b", "/c"],
            "text": {"type": "Property", "value": "line\nbreak \u{2028} \"quoted\" \\ ü", "unitCode": "CEL", "observedAt": "2026-01-01T00:00:00.123Z"},
            "place": {"type": "GeoProperty", "value": {"type": "Polygon", "coordinates": [[[0, 0], [1.50, 0], [1, 1], [0, 0]]]}},
            "link": {"type": "Relationship", "object": ["urn:x:1", "urn:x:2"], "objectType": "T"},
            "named": {"type": "LanguageProperty", "languageMap": {"en": "a", "de": ["b", "c"]}},
            "word": {"type": "VocabProperty", "vocab": ["T", "U"]},
            "free": {"type": "JsonProperty", "json": {"id": 1, "type": [null, {"@id": "x"}]}},
            "list": {"type": "ListProperty", "valueList": [1, "a", {"b": []}]},
            "links": {"type": "ListRelationship", "objectList": [{"object": "urn:x:1"}, {"object": "urn:x:1"}]},
            "deep": {"type": "Property", "value": {"a": {"b": [true, false]}}, "of": {"type": "Property", "value": 1, "of": {"type": "Relationship", "object": "urn:x:3"}}},
            "several": [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": "urn:d:1"}]}),
        json!({"id": "urn:x:numbers", "type": "T", "a": of("5"), "b": of("5.0"), "c": of("1e100"), "d": of("-0.10"), "e": of("9007199254740993")}),
        json!({"id": "https://x.example/?a=b&c=%20#d", "type": "https://other.example/types#Type", "https://other.example/attr": {"type": "Property", "value": 1}}),
        json!({"id": "urn:x:bare", "type": "T"}),
    ]
}

#[tokio::test]
async fn entities_come_into_another_tenant_as_they_were_to_the_last_digit() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    fill(&broker, "one", &city()).await;
    let before = all(&broker, "one").await;
    assert_eq!(before.len(), city().len());
    assert!(
        before.iter().any(|text| text.contains("\"value\":5.0")),
        "{before:?}"
    );

    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    // More than the broker gives at once: mimctl asks for less.
    let said = mimctl(&[
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--page",
        "60000",
        name,
    ])
    .await
    .with(0);
    assert!(said.contains("4 entities"), "{said}");
    assert_eq!(ids(&file).len(), 4);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    mimctl(&["import", "--url", &broker_url, "--tenant", "two", name])
        .await
        .with(0);
    assert_eq!(all(&broker, "two").await, before);
    // Again: nothing is doubled, and nothing is another one.
    mimctl(&["import", "--url", &broker_url, "--tenant", "two", name])
        .await
        .with(0);
    assert_eq!(all(&broker, "two").await, before);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn with_a_context_names_are_short_and_lines_say_what_they_mean() {
    let config = tempfile::tempdir().unwrap();
    let context = json!({"@context": {"T": "https://models.example/T", "n": "https://models.example/n"}});
    std::fs::write(config.path().join("context.jsonld"), context.to_string()).unwrap();
    let settings = format!("tenants: [one, two]\ncontexts: [{{url: \"{CONTEXT}\", file: context.jsonld}}]\n");
    std::fs::write(config.path().join("broker.yaml"), settings).unwrap();
    let database = Arc::new(crate::support::postgres::Postgres::shared().database());
    let broker = Broker::start_with(database, Arc::new(config));
    broker.until_ready().await;

    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("city.ndjson"), CONTEXT);
    let short =
        json!({"id": "urn:x:1", "type": "T", "n": {"type": "Property", "value": 1}, "@context": link});
    let headers = [("ngsild-tenant", "one"), ("content-type", "application/ld+json")];
    let body = short.to_string();
    assert_eq!(
        broker
            .send("POST", "/entities", &headers, Some(&body))
            .await
            .status,
        201
    );

    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    let of_one = [
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--context",
        link,
        "--sys-attrs",
        name,
    ];
    mimctl(&of_one).await.with(0);
    let first = lines(&file).remove(0);
    assert_eq!((&first["type"], &first["n"]["value"]), (&json!("T"), &json!(1)));
    assert!(first["@context"].to_string().contains(link), "{first}");
    assert!(
        first["createdAt"].is_string() && first["n"]["modifiedAt"].is_string(),
        "{first}"
    );

    mimctl(&["import", "--url", &broker_url, "--tenant", "two", name])
        .await
        .with(0);
    let texts = all(&broker, "two").await;
    assert!(texts[0].contains("https://models.example/n"), "{texts:?}");
    assert_eq!(texts, all(&broker, "one").await);
}

#[tokio::test]
async fn an_empty_tenant_is_an_empty_file_and_the_other_way_round() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nothing.ndjson");
    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    mimctl(&["export", "--url", &broker_url, name]).await.with(0);
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    let said = mimctl(&["import", "--url", &broker_url, name]).await.with(0);
    assert!(said.contains("0 entities"), "{said}");
}

#[tokio::test]
async fn an_import_replaces_entities_or_with_update_keeps_what_the_file_has_not() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("update.ndjson");
    write(
        &file,
        &[json!({"id": id(1), "type": "T", "m": {"type": "Property", "value": 2}})],
    );
    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    fill(&broker, "one", &[entity(1)]).await;
    mimctl(&[
        "import",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--update",
        name,
    ])
    .await
    .with(0);
    let kept = all(&broker, "one").await.remove(0);
    assert!(kept.contains("\"n\"") && kept.contains("\"m\""), "{kept}");
    mimctl(&["import", "--url", &broker_url, "--tenant", "one", name])
        .await
        .with(0);
    let whole = all(&broker, "one").await.remove(0);
    assert!(!whole.contains("\"n\"") && whole.contains("\"m\""), "{whole}");
}

#[tokio::test]
async fn what_is_too_large_for_a_page_comes_by_fewer_at_once() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.ndjson");
    // More than the 64 MiB that are taken of one answer.
    let large =
        |n| json!({"id": id(n), "type": "T", "t": {"type": "Property", "value": "x".repeat(300_000)}});
    let entities: Vec<Value> = (0..226).map(large).collect();
    for some in entities.chunks(20) {
        fill(&broker, "one", some).await;
    }
    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    mimctl(&["export", "--url", &broker_url, "--tenant", "one", name])
        .await
        .with(0);
    let expected: Vec<String> = (0..226).map(id).collect();
    assert_eq!(ids(&file), expected);
    mimctl(&["import", "--url", &broker_url, "--tenant", "two", name])
        .await
        .with(0);
    assert_eq!(all(&broker, "two").await, all(&broker, "one").await);
}

#[tokio::test]
async fn entities_that_stay_are_exported_once_whatever_others_write_meanwhile() {
    let broker = Arc::new(Broker::ready().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("busy.ndjson");
    let entities: Vec<Value> = (0..600).map(entity).collect();
    fill(&broker, "one", &entities).await;
    let ended = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (broker, ended) = (Arc::clone(&broker), Arc::clone(&ended));
        async move {
            // Odd ones go and come; every page of the walk meets some of it.
            let write = async |path: &str, body: &Value| {
                let headers = [("ngsild-tenant", "one")];
                let answer = broker.send("POST", path, &headers, Some(&body.to_string())).await;
                assert!(answer.status < 300, "{}", answer.text());
            };
            let mut round = 0;
            while !ended.load(Ordering::Relaxed) {
                let odd: Vec<u32> = (0..600).filter(|n| n % 2 == 1 && n % 7 == round % 7).collect();
                let gone = Value::from(odd.iter().map(|n| id(*n)).collect::<Vec<_>>());
                write("/entityOperations/delete", &gone).await;
                let back = Value::from(odd.iter().map(|n| entity(*n)).collect::<Vec<_>>());
                write("/entityOperations/upsert", &back).await;
                round += 1;
            }
            round
        }
    });
    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    mimctl(&[
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--page",
        "3",
        name,
    ])
    .await
    .with(0);
    ended.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 2, "the writer wrote meanwhile");
    let found = ids(&file);
    let distinct: HashSet<&String> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "none twice");
    for n in (0..600).step_by(2) {
        assert!(distinct.contains(&id(n)), "{n} is lost");
    }
    eventually(30, "the broker is still ready", async || {
        broker.readyz().await.0 == 200
    })
    .await;
}
