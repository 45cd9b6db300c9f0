//! What one client, or many of them, can make the broker keep in memory: never more than a pod has.

use crate::support::{Broker, eventually};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The operator's default limit, in KiB.
const LIMIT: u64 = 256 * 1024;
const LD: (&str, &str) = ("content-type", "application/ld+json");

fn stays_within_its_limit(broker: &Broker) {
    let peak = broker.peak();
    println!("peak {peak} KiB");
    assert!(peak < LIMIT, "{peak} KiB");
}

#[tokio::test]
async fn long_iris_in_a_context_are_refused_before_they_are_copied() {
    let broker = Broker::ready().await;
    let long = format!("https://a.example/{}", "x".repeat(4 << 20));
    let names: Vec<String> = (0..40).map(|n| format!("\"a{n}\":\"b{n}\"")).collect();
    let objects = |count: usize| vec![r#"{"k":1234567890}"#; count].join(",");
    let of_a_kilobyte = format!("https://a.example/{}", "x".repeat(1000));
    for (context, value) in [
        (
            format!(r#"{{"@vocab":"{long}",{}}}"#, names.join(",")),
            "1".to_owned(),
        ),
        (format!(r#"{{"k":"{long}"}}"#), format!("[{}]", objects(100_000))),
        (
            format!(r#"{{"k":"{of_a_kilobyte}"}}"#),
            format!("[{}]", objects(200_000)),
        ),
    ] {
        let body = format!(r#"{{"id":"urn:x:1","type":"T","@context":{context},"p":{value}}}"#);
        let answer = broker.send("POST", "/entities", &[LD], Some(&body)).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "BadRequestData"));
        let text = answer.text();
        assert!(
            text.len() < 1000 && (text.contains(" 1024 bytes") || text.contains(" 8388608 bytes")),
            "{text}"
        );
        let batch = format!("[{body}]");
        let answer = broker
            .send("POST", "/entityOperations/upsert", &[LD], Some(&batch))
            .await;
        assert_eq!(
            (answer.status, answer.json()["success"].clone()),
            (207, json!([]))
        );
    }
    stays_within_its_limit(&broker);
}

#[tokio::test]
async fn row_broker_sixty_of_the_largest_bodies_at_once_are_taken_in_turn_or_asked_to_come_again() {
    let broker = Broker::ready().await;
    let text = "x".repeat(7_900_000);
    let answers = futures::future::join_all((0..60).map(|n| {
        let body = format!(r#"{{"id":"urn:x:{n}","type":"T","p":"{text}"}}"#);
        let broker = &broker;
        async move { broker.post("/entities", &body).await }
    }))
    .await;
    let (taken, other): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 201);
    println!("{} of {} taken", taken.len(), answers.len());
    assert!(taken.len() >= 3);
    for answer in other {
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "2"),
            "{}",
            answer.text()
        );
    }
    stays_within_its_limit(&broker);
    broker.create(r#"{"id":"urn:x:small","type":"T"}"#).await;
}

#[tokio::test]
async fn slow_uploads_of_large_bodies_do_not_stop_small_writes() {
    let broker = Broker::ready().await;
    let size = 8 << 20;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = tokio::net::TcpStream::connect(broker.api).await.unwrap();
        slow.push(tokio::spawn(async move {
            let head = format!("POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // All but the last byte; what the broker does not take stays on the way.
            let _ = stream.write_all(&vec![b' '; size - 1]).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        }));
    }
    eventually(5, "the room for bodies is taken", async || {
        broker.memory("VmRSS") > 24 * 1024
    })
    .await;
    let started = Instant::now();
    for n in 0..20 {
        broker
            .create(&format!(r#"{{"id":"urn:x:{n}","type":"T"}}"#))
            .await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    // A large one gets its turn when those have been given up.
    broker
        .create(&format!(
            r#"{{"id":"urn:x:l","type":"T","p":"{}"}}"#,
            "x".repeat(1_000_000)
        ))
        .await;
    for stream in slow {
        let answer = stream.await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 408") || answer.starts_with("HTTP/1.1 503"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn contexts_of_very_many_terms_stay_within_the_memory_of_a_pod() {
    let broker = Broker::ready().await;
    let terms = |count: usize, batch: usize| -> String {
        let terms: Vec<String> = (0..count)
            .map(|n| format!("\"t{n}\":\"https://a.example/{batch}/{n}\""))
            .collect();
        terms.join(",")
    };
    // Contexts of 45,000 terms, each of them another one; and batches of items that have a context each.
    let large = (0..12).map(|n| {
        format!(
            r#"[{{"id":"urn:x:{n}","type":"T","@context":{{{}}}}}]"#,
            terms(45_000, n)
        )
    });
    let many = (0..12).map(|batch| {
        let item = |n: usize| {
            format!(
                r#"{{"id":"urn:y:{batch}:{n}","type":"T","@context":{{"n":"urn:{n}",{}}}}}"#,
                terms(600, batch)
            )
        };
        format!("[{}]", (0..200).map(item).collect::<Vec<_>>().join(","))
    });
    let bodies: Vec<String> = large.chain(many).collect();
    let answers = futures::future::join_all(
        bodies
            .iter()
            .map(|body| broker.send("POST", "/entityOperations/upsert", &[LD], Some(body))),
    )
    .await;
    // On a machine that is busy a body may also come too slowly (408) or a batch take longer than it may (413), and all at once be too many.
    let answers: Vec<u16> = answers.iter().map(|a| a.status).collect();
    println!("{answers:?}");
    assert!(
        answers
            .iter()
            .all(|status| matches!(status, 201 | 207 | 408 | 413 | 503)),
        "{answers:?}"
    );
    let first = bodies.first().unwrap();
    eventually(60, "alone, one is taken", async || {
        matches!(
            broker
                .send("POST", "/entityOperations/upsert", &[LD], Some(first))
                .await
                .status,
            201 | 204
        )
    })
    .await;
    stays_within_its_limit(&broker);
}

fn text_of(size: usize) -> String {
    "x".repeat(size)
}

#[tokio::test]
async fn an_entity_that_would_become_too_large_is_refused_and_goes_on_as_it_was() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    let text = text_of(7_900_000);
    for n in 0..8 {
        let answer = broker
            .post("/entities/urn:x:1/attrs", &format!(r#"{{"p{n}":"{text}"}}"#))
            .await;
        if n == 0 {
            assert_eq!(answer.status, 204, "{}", answer.text());
        } else {
            assert_eq!((answer.status, answer.error().as_str()), (400, "BadRequestData"));
            assert!(answer.text().contains("too large"), "{}", answer.text());
        }
    }
    let attribute = broker
        .send("PUT", "/entities/urn:x:1/attrs/p0", &[], Some(r#"{"value":1}"#))
        .await;
    assert_eq!(attribute.status, 204, "{}", attribute.text());
    assert_eq!(
        broker.get("/entities/urn:x:1?options=keyValues").await.json()["p0"],
        1
    );
    stays_within_its_limit(&broker);
}

/// Entities of 7 MB, under the ids `urn:x:0` and so on.
async fn large_entities(broker: &Broker, count: usize) {
    let text = text_of(7_000_000);
    for n in 0..count {
        broker
            .create(&format!(r#"{{"id":"urn:x:{n}","type":"T","p":"{text}"}}"#))
            .await;
    }
}

#[tokio::test]
async fn a_small_batch_over_large_entities_is_written_in_parts() {
    let broker = Broker::ready().await;
    large_entities(&broker, 15).await;
    let item = |n: usize| json!({"id": format!("urn:x:{n}"), "type": "T", "added": 5});
    let items: Vec<_> = (0..25).map(item).collect();
    let answer = broker
        .post(
            "/entityOperations/upsert?options=update",
            &json!(items).to_string(),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(
        answer.json().as_array().unwrap().len(),
        10,
        "those that were not there"
    );
    let written = "select count(*) from mim.entities where attrs -> 'https://uri.etsi.org/ngsi-ld/default-context/added' is not null";
    assert_eq!(broker.database.psql(written), "25");
    stays_within_its_limit(&broker);
}

#[tokio::test]
async fn many_readers_of_large_entities_share_the_memory() {
    let broker = Broker::ready().await;
    large_entities(&broker, 6).await;
    broker.create(r#"{"id":"urn:x:small","type":"S"}"#).await;
    let pages = [
        "/entities?type=T&limit=4",
        "/entities?type=T&limit=2&offset=3",
        "/entities/urn:x:1",
        "/entities/urn:x:2",
    ];
    let reads = (0..40).map(|n| broker.get(pages[n % pages.len()]));
    let answers = futures::future::join_all(reads).await;
    let read = answers.iter().filter(|a| a.status == 200).count();
    println!("{read} of {} read", answers.len());
    assert!(read >= 1);
    assert!(answers.iter().all(|a| matches!(a.status, 200 | 503)));
    let whole = answers
        .iter()
        .filter(|a| a.status == 200)
        .all(|a| a.json().is_array() || a.json()["p"]["value"].is_string());
    assert!(whole);
    assert_eq!(
        broker.get("/entities?type=S").await.json()[0]["id"],
        "urn:x:small"
    );
    // How many of those who come at once get their turn depends on the machine; everyone does who comes again.
    for page in pages {
        eventually(60, page, async || broker.get(page).await.status == 200).await;
    }
    eventually(60, "all of them come in parts", async || {
        let all = broker.get("/entities?type=T&limit=10").await;
        all.status == 200 && all.json().as_array().unwrap().len() == 6
    })
    .await;
    stays_within_its_limit(&broker);
}

#[tokio::test]
async fn readers_that_take_a_byte_at_a_time_hold_no_more_than_the_room_of_answers() {
    let broker = Broker::ready().await;
    large_entities(&broker, 1).await;
    broker.create(r#"{"id":"urn:x:small","type":"S"}"#).await;
    let mut slow = Vec::new();
    for _ in 0..60 {
        let mut stream = tokio::net::TcpStream::connect(broker.api).await.unwrap();
        stream
            .write_all(b"GET /ngsi-ld/v1/entities/urn:x:0 HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        slow.push(tokio::spawn(async move {
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            let mut taken = 0;
            while taken < 1000 && stream.read_exact(&mut [0]).await.is_ok() {
                taken += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            String::from_utf8_lossy(&status).into_owned()
        }));
    }
    eventually(30, "a large answer is refused", async || {
        broker.get("/entities/urn:x:0").await.status == 503
    })
    .await;
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(broker.get("/entities/urn:x:small").await.status, 200);
        assert_eq!(broker.get("/entities?type=S").await.status, 200);
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    stays_within_its_limit(&broker);
    for reader in &slow {
        reader.abort();
    }
    eventually(20, "large answers are given again", async || {
        broker.get("/entities/urn:x:0").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn what_a_refusal_quotes_is_short() {
    let broker = Broker::ready().await;
    let name = "\\u0001".repeat(1_000_000);
    let answer = broker
        .post(
            "/entities",
            &format!(r#"{{"id":"urn:x:1","type":"T","{name}":1}}"#),
        )
        .await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "BadRequestData"));
    assert!(answer.body.len() < 20_000, "{}", answer.body.len());
    stays_within_its_limit(&broker);
}
