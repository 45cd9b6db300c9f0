//! What a broker does not take is told, line by line, and keeps nothing else out.

use crate::support::{Broker, all, entity, id, lines, mimctl, url};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_lines_are_told_with_their_number_and_reason_and_all_others_are_taken() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mixed.ndjson");
    let too_large =
        json!({"id": "urn:x:large", "type": "T", "t": {"type": "Property", "value": "x".repeat(9 << 20)}});
    let text = [
        entity(1).to_string(),
        "this is no JSON".to_owned(),
        String::new(),
        json!({"id": "urn:x:bad", "type": "T", "n": {"type": "Nothing"}}).to_string(),
        entity(2).to_string(),
        "{\"type\":\"T\"}".to_owned(),
        too_large.to_string(),
        json!({"id": "no uri", "type": "T"}).to_string(),
        json!({"id": "urn:x:context", "type": "T", "@context": "https://127.0.0.1:1/none.jsonld"})
            .to_string(),
        // The same one again: the later line counts.
        json!({"id": id(2), "type": "T", "n": {"type": "Property", "value": "second"}}).to_string(),
        entity(3).to_string(),
    ];
    std::fs::write(&file, text.join("\n")).unwrap();
    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    let said = mimctl(&["import", "--url", &broker_url, "--tenant", "one", name])
        .await
        .with(1);
    assert!(said.contains("mixed.ndjson.rejects"), "{said}");
    let rejected = lines(&folder.path().join("mixed.ndjson.rejects"));
    let numbers: Vec<_> = rejected.iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 4, 6, 7, 8, 9]);
    for one in &rejected {
        assert!(!one["reason"].as_str().unwrap().is_empty(), "{one}");
    }
    assert_eq!(rejected[0]["text"], "this is no JSON");
    assert_eq!(rejected[1]["entity"]["id"], "urn:x:bad");
    assert_eq!(rejected[3]["id"], "urn:x:large");
    let there: Vec<Value> = all(&broker, "one")
        .await
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let found: Vec<_> = there.iter().map(|one| (&one["id"], &one["n"]["value"])).collect();
    let expected = [
        (json!(id(1)), json!(1)),
        (json!(id(2)), json!("second")),
        (json!(id(3)), json!(3)),
    ];
    assert_eq!(found, expected.iter().map(|(id, n)| (id, n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_of_rejects_from_before_is_never_written_over() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.ndjson");
    std::fs::write(&file, "no\n").unwrap();
    let (broker_url, name) = (url(broker.api), file.to_str().unwrap());
    let of = ["import", "--url", &broker_url, "--tenant", "one", name];
    mimctl(&of).await.with(1);
    let rejects = folder.path().join("one.ndjson.rejects");
    let before = std::fs::read(&rejects).unwrap();
    let said = mimctl(&of).await.with(2);
    assert!(said.contains("from an import before"), "{said}");
    assert_eq!(std::fs::read(&rejects).unwrap(), before);
    std::fs::write(&file, format!("{}\n", entity(1))).unwrap();
    let other = folder.path().join("other.rejects");
    let of = [
        "import",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--rejects",
        other.to_str().unwrap(),
        name,
    ];
    mimctl(&of).await.with(0);
    assert!(!other.exists(), "where nothing is rejected there is no file");
}
