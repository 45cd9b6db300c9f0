//! Pages that are larger than what is made at once: sent in parts, in little memory, as of one moment, and never taken for
//! whole when they are not.

use crate::support::{Broker, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Entities of 100 kB with ids in order, written by one broker; another one, which has not had them in memory, is given.
async fn broker_over(entities: usize) -> Broker {
    let writer = Broker::ready().await;
    let attribute = |n: usize| json!({"type": "Property", "value": n.to_string().repeat(10_000)});
    for batch in (0..entities).collect::<Vec<_>>().chunks(40) {
        let entity = |n: &usize| {
            let mut entity = json!({"id": id(*n), "type": "T", "n": 1});
            for a in 0..10 {
                entity[format!("a{a}")] = attribute(a);
            }
            entity
        };
        let items: Vec<Value> = batch.iter().map(entity).collect();
        let written = writer
            .post("/entityOperations/upsert", &json!(items).to_string())
            .await;
        assert_eq!(written.status, 201, "{}", written.text());
    }
    let reader = Broker::start(Arc::clone(&writer.database));
    reader.until_ready().await;
    reader
}

fn id(n: usize) -> String {
    format!("urn:x:{n:04}")
}

/// The ids of a page, in order, without reading all the rest of it.
fn ids(page: &str) -> Vec<&str> {
    let after = page.split(r#""id":""#).skip(1);
    after.map(|rest| rest.split_once('"').unwrap().0).collect()
}

#[tokio::test]
async fn row_broker_a_page_of_1000_entities_of_100_kb_is_sent_whole_within_120_mib() {
    let broker = broker_over(1000).await;
    let all: Vec<String> = (0..1000).map(id).collect();
    let page = broker.get("/entities?type=T&limit=1000&count=true").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("ngsild-results-count"), "1000");
    assert!(
        !page.header("link").contains("rel=\"next\""),
        "{:?}",
        page.headers
    );
    let text = page.text();
    assert!(text.len() > 100_000_000 && text.starts_with("[{") && text.ends_with("}]"));
    assert_eq!(ids(&text), all);
    drop((page, text));
    let page = broker
        .send(
            "GET",
            "/entities?type=T&limit=990&orderBy=id;desc&options=keyValues",
            &[("accept", "application/geo+json")],
            None,
        )
        .await;
    assert!(page.header("link").contains("rel=\"next\""), "{:?}", page.headers);
    let collection = page.json();
    let features = collection["features"].as_array().unwrap();
    let found = features.iter().map(|feature| feature["id"].as_str().unwrap());
    assert!(found.eq(all.iter().rev().take(990)));
    let peak = broker.peak();
    println!("peak {peak} KiB");
    assert!(peak < 120 * 1024, "{peak} KiB");
}

#[tokio::test]
async fn row_broker_a_page_that_turns_out_to_be_for_parts_costs_no_connection_where_little_of_it_is_left() {
    let broker = Broker::ready().await;
    // 6 MB of entities of which each could be one of a small page.
    for batch in 0..4 {
        let entity = |n: usize| json!({"id": id(batch * 250 + n), "type": "T", "text": "x".repeat(6000)});
        let items: Vec<Value> = (0..250).map(entity).collect();
        let written = broker
            .post("/entityOperations/upsert", &json!(items).to_string())
            .await;
        assert_eq!(written.status, 201, "{}", written.text());
    }
    let sessions = || {
        broker.database.psql(
            "select pid from pg_stat_activity where datname = current_database() and application_name = 'mim-broker' order by 1",
        )
    };
    let mut kept = 0;
    for _ in 0..5 {
        let before = sessions();
        let page = broker.get("/entities?type=T&limit=1000").await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("transfer-encoding"), "chunked");
        assert_eq!(ids(&page.text()).len(), 1000);
        kept += usize::from(sessions() == before);
    }
    // Once would be enough: where the machine is busy the rest may take longer than is waited for it.
    assert!(kept > 0);
}

#[tokio::test]
async fn row_broker_a_page_of_little_of_large_entities_is_bounded_by_what_is_shown_and_needs_no_turn() {
    let writer = Broker::ready().await;
    let long = |n: usize| json!({"type": "Property", "value": "x".repeat(n)});
    // 140 MB as stored, more than any page may have.
    for batch in 0..35 {
        let entity = |n: usize| json!({"id": id(batch * 20 + n), "type": "T", "n": 1, "some": long(50_000), "rest": long(150_000)});
        let items: Vec<Value> = (0..20).map(entity).collect();
        let written = writer
            .post("/entityOperations/upsert", &json!(items).to_string())
            .await;
        assert_eq!(written.status, 201, "{}", written.text());
    }
    let all: Vec<String> = (0..700).map(id).collect();
    let broker = Broker::start(Arc::clone(&writer.database));
    broker.until_ready().await;
    let whole = broker.get("/entities?type=T&limit=700").await;
    assert_eq!((whole.status, whole.error().as_str()), (403, "TooManyResults"));
    // Too large, or found too late to be.
    let most = broker.get("/entities?type=T&limit=700&omit=n").await;
    assert_eq!(most.status, 403);
    // 35 MB come in parts.
    let some = broker.get("/entities?type=T&limit=700&attrs=some").await;
    assert_eq!((some.status, some.header("transfer-encoding")), (200, "chunked"));
    assert_eq!(ids(&some.text()), all);
    // All turns are taken.
    let first = slow_reader(&broker, "/entities?type=T&limit=400").await;
    let second = slow_reader(&broker, "/entities?type=T&limit=400").await;
    for shown in ["pick=id,n", "attrs=n", "omit=some,rest"] {
        let page = broker.get(&format!("/entities?type=T&limit=200&{shown}")).await;
        assert_eq!(page.status, 200, "{shown}: {}", page.text());
        assert_eq!(ids(&page.text()), all[..200], "{shown}");
    }
    drop((first, second));
    let peak = broker.peak();
    println!("peak {peak} KiB");
    assert!(peak < 120 * 1024, "{peak} KiB");
}

/// Asks for a page, and takes of its answer no more than the head.
async fn slow_reader(broker: &Broker, path: &str) -> (TcpStream, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(broker.api).await.unwrap();
    let request = format!("GET /ngsi-ld/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

async fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    // A connection that is ended with something unread is reset.
    let _ = stream.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}

/// How an answer in chunks ends that is whole.
const END: &str = "]\r\n0\r\n\r\n";

#[tokio::test]
async fn row_broker_a_page_in_parts_is_as_of_the_moment_at_which_it_began() {
    let broker = broker_over(200).await;
    let (stream, head) = slow_reader(&broker, "/entities?type=T&limit=150").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("rel=\"next\""),
        "{head}"
    );
    let changed = broker
        .send("PATCH", "/entities/urn:x:0149", &[], Some(r#"{"n":{"value":2}}"#))
        .await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    for (id, status) in [("urn:x:0148", 204), ("urn:x:0147", 204)] {
        let deleted = broker.send("DELETE", &format!("/entities/{id}"), &[], None).await;
        assert_eq!(deleted.status, status);
    }
    let page = rest(stream).await;
    let expected: Vec<String> = (0..150).map(id).collect();
    assert_eq!(ids(&page), expected);
    assert_eq!(page.matches(r#""n":{"type":"Property","value":1}"#).count(), 150);
    assert!(page.ends_with(END), "{}", &page[page.len() - 40..]);
}

#[tokio::test]
async fn row_broker_a_page_whose_database_is_lost_on_the_way_ends_before_its_end_and_is_counted() {
    let broker = broker_over(300).await;
    let cut = r#"mim_broker_answers_cut_total{cause="database"}"#;
    let (stream, head) = slow_reader(&broker, "/entities?type=T&limit=300").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Of this database alone: those of other tests read so too.
    let reading =
        "datname = current_database() and state = 'idle in transaction' and query like '%e.attrs::text%'";
    let ended = format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {reading}");
    eventually(10, "the connection of the page rests, and is ended", async || {
        broker.database.psql(&ended) == "1"
    })
    .await;
    let page = rest(stream).await;
    assert!(
        ids(&page).len() < 300 && !page.ends_with(END),
        "{} bytes",
        page.len()
    );
    eventually(5, "it is counted", async || broker.metric(cut).await == 1).await;
    eventually(20, "the next page is whole", async || {
        let page = broker.get("/entities?type=T&limit=300").await;
        page.status == 200 && ids(&page.text()).len() == 300
    })
    .await;
}

#[tokio::test]
async fn row_broker_slow_readers_of_large_pages_leave_others_their_connections() {
    let broker = broker_over(300).await;
    // More than there are connections to the database. Each asks by itself: most wait for their turn.
    let readers: Vec<_> = (0..15)
        .map(|_| {
            let api = broker.api;
            tokio::spawn(async move {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.set_recv_buffer_size(64 * 1024).unwrap();
                let mut stream = socket.connect(api).await.unwrap();
                let request = "GET /ngsi-ld/v1/entities?type=T&limit=300 HTTP/1.1\r\nHost: x\r\n\r\n";
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut status = [0; 12];
                stream.read_exact(&mut status).await.unwrap();
                (stream, String::from_utf8(status.to_vec()).unwrap())
            })
        })
        .collect();
    let used = "mim_broker_database_connections{state=\"used\"}";
    eventually(20, "as many large pages as may are being sent", async || {
        broker.metric(used).await == 2
    })
    .await;
    // One that found none free would be 503 after 5 s; none of the slow readers leaves before that.
    for _ in 0..20 {
        assert_eq!(broker.get("/entities/urn:x:0001?attrs=n").await.status, 200);
    }
    let mut sent = Vec::new();
    for reader in readers {
        let (stream, status) = reader.await.unwrap();
        assert!(
            ["HTTP/1.1 200", "HTTP/1.1 503"].contains(&status.as_str()),
            "{status}"
        );
        sent.extend((status == "HTTP/1.1 200").then_some(stream));
    }
    assert_eq!(sent.len(), 2, "a quarter of ten connections");
    drop(sent);
    eventually(20, "when they have left, others have their turn", async || {
        broker.get("/entities?type=T&limit=300").await.status == 200
    })
    .await;
}
