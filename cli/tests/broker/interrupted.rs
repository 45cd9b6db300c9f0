//! Killed as nothing can prevent, and run again.

use crate::support::{Act, Broker, Door, Run, all, entity, eventually, fill, id, lines, mimctl, url, write};
use serde_json::{Value, json};

const NUMBER: u32 = 1200;
/// At the how-manieth request each run is killed: before there is anything, at the first pages, far in; and again right after it went on. How far one is
/// is written once a second, so a slow run repeats nothing and a fast one nearly all: together they are fewer than the sixty requests of twenty each.
const KILLED_AT: [usize; 6] = [1, 2, 6, 28, 1, 18];

/// Starts a command through the door, and kills it when the request of this number is under way.
async fn killed(door: &Door, arguments: &[&str], number: usize) {
    let before = door.acted();
    door.act_on(number, Act::Hold);
    let run = Run::start(arguments);
    eventually(60, "it is under way", async || door.acted() > before).await;
    run.kill().await;
}

#[tokio::test]
async fn an_export_that_is_killed_goes_on_and_its_file_is_that_of_one_that_was_not() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    let entities: Vec<Value> = (0..NUMBER).map(entity).collect();
    fill(&broker, "one", &entities).await;
    let folder = tempfile::tempdir().unwrap();
    let (whole, file) = (
        folder.path().join("whole.ndjson"),
        folder.path().join("cut.ndjson"),
    );
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let of = [
        "export", "--url", &door_url, "--tenant", "one", "--page", "20", name,
    ];

    for number in KILLED_AT {
        killed(&door, &of, number).await;
        assert!(!file.exists(), "a file that is not whole has not its name");
    }
    let said = mimctl(&of).await.with(0);
    assert!(said.contains("going on after"), "{said}");
    mimctl(&[
        "export",
        "--url",
        &door_url,
        "--tenant",
        "one",
        whole.to_str().unwrap(),
    ])
    .await
    .with(0);
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&whole).unwrap());
    assert_eq!(lines(&file).len(), 1200);
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["cut.ndjson", "whole.ndjson"]);
}

#[tokio::test]
async fn what_was_written_after_the_last_checkpoint_is_cut_off_and_read_again() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    let entities: Vec<Value> = (0..100).map(entity).collect();
    fill(&broker, "one", &entities).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.ndjson");
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let of = [
        "export", "--url", &door_url, "--tenant", "one", "--page", "20", name,
    ];
    killed(&door, &of, 4).await;
    // As if the power had gone in the middle of a line.
    let part = folder.path().join("cut.ndjson.part");
    let mut text = std::fs::read(&part).unwrap();
    text.extend(b"{\"id\":\"urn:x:half");
    std::fs::write(&part, text).unwrap();
    mimctl(&of).await.with(0);
    let ids: Vec<_> = lines(&file).iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, (0..100).map(id).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on_and_tells_each_reject_once() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let bad = |n| json!({"id": id(n), "type": "T", "n": {"type": "Nothing", "value": 1}});
    let is_bad = |n: &u32| n % 100 == 50;
    let of_number = |n: u32| if is_bad(&n) { bad(n) } else { entity(n) };
    let entities: Vec<Value> = (0..NUMBER).map(of_number).collect();
    write(&file, &entities);
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    let of = [
        "import", "--url", &door_url, "--tenant", "one", "--batch", "20", name,
    ];
    for number in KILLED_AT {
        killed(&door, &of, number).await;
    }
    let said = mimctl(&of).await.with(1);
    let good: Vec<u32> = (0..NUMBER).filter(|n| !is_bad(n)).collect();
    assert!(said.contains(&format!("{} entities", good.len())), "{said}");
    assert!(said.contains("12 were rejected"), "{said}");
    let rejected = lines(&folder.path().join("city.ndjson.rejects"));
    let numbers: Vec<_> = rejected.iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..12).map(|n| n * 100 + 51).collect::<Vec<_>>());
    let there = all(&broker, "one").await;
    assert_eq!(there.len(), good.len());
    for (n, text) in good.iter().zip(&there) {
        let found: Value = serde_json::from_str(text).unwrap();
        assert_eq!((&found["id"], &found["n"]["value"]), (&json!(id(*n)), &json!(n)));
    }
    assert!(!folder.path().join("city.ndjson.import").exists());
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_sent_again_and_says_the_same() {
    let broker = Broker::ready().await;
    let door = Door::to(broker.api).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("city.ndjson");
    let entities: Vec<Value> = (0..200).map(entity).collect();
    write(&file, &entities);
    let (name, door_url) = (file.to_str().unwrap(), url(door.address));
    for number in [1, 4, 9] {
        door.act_on(number, Act::LoseAnswer);
    }
    let of = [
        "import", "--url", &door_url, "--tenant", "one", "--batch", "20", name,
    ];
    let said = mimctl(&of).await.with(0);
    assert_eq!((door.acted(), door.requests()), (3, 13), "{said}");
    assert!(said.contains("trying again"), "{said}");
    assert_eq!(all(&broker, "one").await.len(), 200);
}
