//! Each exit code says what to do next. 0, 1 and 3 have tests where they belong.

use crate::support::{Act, Broker, Door, entity, fill, mimctl, url, write};
use serde_json::Value;

#[tokio::test]
async fn what_the_command_line_or_files_from_before_forbid_is_2_and_changes_nothing() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    let entities: Vec<Value> = (0..100).map(entity).collect();
    fill(&broker, "one", &entities).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));

    for wrong in [
        vec!["export", name],
        vec!["export", "--url", "ftp://b.example", name],
        vec!["export", "--url", &door_url, "--page", "0", name],
        vec!["import", "--url", &door_url, "--what", name],
    ] {
        mimctl(&wrong).await.with(2);
    }
    // Of another tenant than the export that was interrupted.
    door.act_on(3, Act::Close);
    let of_one = [
        "export",
        "--url",
        &door_url,
        "--tenant",
        "one",
        "--page",
        "20",
        "--patience",
        "0",
        name,
    ];
    mimctl(&of_one).await.with(3);
    door.lead_to(Some(broker.api));
    let state = folder.path().join("city.ndjson.state");
    let before = std::fs::read(&state).unwrap();
    let of_two = ["export", "--url", &door_url, "--tenant", "two", name];
    let said = mimctl(&of_two).await.with(2);
    assert!(said.contains("--restart"), "{said}");
    assert_eq!(std::fs::read(&state).unwrap(), before);
    let anew = ["export", "--url", &door_url, "--tenant", "two", "--restart", name];
    mimctl(&anew).await.with(0);
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    // A file that is whole is not written over.
    std::fs::write(&file, "precious").unwrap();
    mimctl(&of_one).await.with(2);
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    // A state that is none.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&state, "{").unwrap();
    let said = mimctl(&of_one).await.with(2);
    assert!(said.contains("--restart"), "{said}");
}

#[tokio::test]
async fn a_file_that_changed_since_its_import_was_interrupted_is_2() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let entities: Vec<Value> = (0..100).map(entity).collect();
    write(&file, &entities);
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let of = [
        "import",
        "--url",
        &door_url,
        "--tenant",
        "one",
        "--batch",
        "20",
        "--patience",
        "0",
        name,
    ];
    door.act_on(3, Act::Close);
    mimctl(&of).await.with(3);
    door.lead_to(Some(broker.api));
    write(&file, &entities[..50]);
    let said = mimctl(&of).await.with(2);
    assert!(said.contains("--restart"), "{said}");
}

#[tokio::test]
async fn a_broker_that_says_no_is_4_and_rejects_no_entity() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    write(&file, &[entity(1)]);
    let (name, broker_url) = (file.to_str().unwrap(), url(broker.api));
    let other = folder.path().join("other.ndjson");
    let said = mimctl(&[
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "nobody",
        other.to_str().unwrap(),
    ])
    .await
    .with(4);
    assert!(said.contains("nobody") || said.contains("enant"), "{said}");
    mimctl(&["import", "--url", &broker_url, "--tenant", "nobody", name])
        .await
        .with(4);
    assert!(!folder.path().join("city.ndjson.rejects").exists());
    // What answers there is no broker.
    let elsewhere = format!("http://{}/elsewhere", broker.api);
    mimctl(&["import", "--url", &elsewhere, name]).await.with(4);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_or_written_is_5() {
    let broker = Broker::ready().await;
    let folder = tempfile::tempdir().unwrap();
    let broker_url = url(broker.api);
    let nowhere = folder.path().join("no/folder/city.ndjson");
    let name = nowhere.to_str().unwrap();
    for command in ["import", "export"] {
        let said = mimctl(&[command, "--url", &broker_url, name]).await.with(5);
        assert!(said.contains("city.ndjson"), "{said}");
    }
    // What cannot be written to its end.
    let full = folder.path().join("full.ndjson");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.ndjson.part")).unwrap();
    fill(&broker, "one", &[entity(1)]).await;
    let of = [
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        full.to_str().unwrap(),
    ];
    mimctl(&of).await.with(5);
    assert!(!full.exists());
}
