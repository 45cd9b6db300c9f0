//! What somebody sends to make the broker work without end: each is refused, in bounded time and memory, and the next request
//! is answered as always.

use crate::support::{Answer, Broker};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const LD: (&str, &str) = ("content-type", "application/ld+json");
/// What one of these may take, on a machine that does much else; each takes milliseconds on one that does not.
const SOON: Duration = Duration::from_secs(20);
/// What all of them may need in memory, in KiB: a body of 8 MiB, parsed, and once more what the allocator keeps of the one before on another thread. Each of them
/// varies by half of that from run to run.
const LIMIT: u64 = 160 * 1024;

struct Hostile {
    broker: Broker,
}

impl Hostile {
    async fn ready() -> Self {
        // With a past, which would keep what is not refused.
        let broker = Broker::configured("temporal: {mode: Enabled}\ntenants: [one]").await;
        broker
            .create(
                &json!({"id": format!("urn:x:{}", "a".repeat(40)), "type": "T", "p": "a".repeat(40)})
                    .to_string(),
            )
            .await;
        Self { broker }
    }

    /// Sends it and checks the answer and how long it took.
    async fn refused(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&str>,
        expected: &[(u16, &str)],
    ) -> Answer {
        let started = Instant::now();
        let answer = self.broker.send(method, path, headers, body).await;
        let which = format!(
            "{method} {path:.120} {headers:.0?} {:.120}",
            body.unwrap_or_default()
        );
        let told = (answer.status, answer.error());
        let told = (told.0, told.1.as_str());
        assert!(
            expected.contains(&told),
            "{which}: {told:?} {:.300}",
            answer.text()
        );
        assert!(answer.body.len() < 4000, "{which}: {} bytes", answer.body.len());
        assert!(started.elapsed() < SOON, "{which}: {:?}", started.elapsed());
        answer
    }

    /// A document that is refused wherever it may be sent.
    async fn entity_refused(&self, members: &str, error: &str) {
        let entity = format!(r#"{{"id":"urn:x:bad","type":"T",{members}}}"#);
        for place in [("POST", "/entities"), ("POST", "/temporal/entities")] {
            self.refused(place, &[], Some(&entity), &[(400, error)]).await;
        }
        let fragment = format!("{{{members}}}");
        let path = format!("/entities/urn:x:{}", "a".repeat(40));
        for (method, path) in [
            ("PATCH", path.clone()),
            ("POST", format!("{path}/attrs")),
            ("POST", format!("/temporal{path}/attrs")),
        ] {
            self.refused((method, &path), &[], Some(&fragment), &[(400, error)])
                .await;
        }
        let batch = self
            .broker
            .post("/entityOperations/upsert", &format!("[{entity}]"))
            .await;
        assert!(
            batch.status == 400 || (batch.status == 207 && batch.json()["success"] == json!([])),
            "{} {:.300}",
            batch.status,
            batch.text()
        );
    }

    async fn goes_on(&self) {
        assert_eq!(self.broker.ids("type=T").await.len(), 1);
        let past = "select count(*) from mim.history where entity = 'urn:x:bad'";
        assert_eq!(
            self.broker.database.psql(past),
            "0",
            "nothing of what was refused is in the past"
        );
        let peak = self.broker.peak();
        println!("peak {peak} KiB");
        assert!(peak < LIMIT, "{peak} KiB");
    }
}

const BAD: &[(u16, &str)] = &[(400, "BadRequestData")];

#[tokio::test]
async fn row_broker_a_polygon_of_a_million_points_is_refused_wherever_it_is_sent() {
    let hostile = Hostile::ready().await;
    let points = "[1,2],".repeat(999_999);
    let polygon = format!("[[{points}[1,2]]]");
    hostile
        .entity_refused(
            &format!(r#""location":{{"type":"Polygon","coordinates":{polygon}}}"#),
            "BadRequestData",
        )
        .await;
    let geo = format!(r#"{{"georel":"within","geometry":"Polygon","coordinates":{polygon}}}"#);
    let query = format!(r#"{{"type":"Query","geoQ":{geo}}}"#);
    hostile
        .refused(("POST", "/entityOperations/query"), &[], Some(&query), BAD)
        .await;
    let subscription = format!(
        r#"{{"type":"Subscription","entities":[{{"type":"T"}}],"geoQ":{geo},"notification":{{"endpoint":{{"uri":"http://127.0.0.1:9/"}}}}}}"#
    );
    hostile
        .refused(("POST", "/subscriptions"), &[], Some(&subscription), BAD)
        .await;
    // As many as there is place for in a URL.
    let points = "[1,2],".repeat(5000);
    let path = format!("/entities?georel=within&geometry=Polygon&coordinates=[[{points}[1,2]]]");
    hostile.refused(("GET", &path), &[], None, BAD).await;
    hostile.goes_on().await;
}

/// Patterns that engines which go back over a text take for ever for, and those that are as large as they look small.
const PATTERNS: [&str; 8] = [
    "(a+)+$",
    "(a|aa)+$",
    "(a|a?)+$",
    "(.*)*b",
    "((a*)*)*b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a{1,100}){1,100}",
    "(((((a{10}){10}){10}){10}){10}){10}",
];

#[tokio::test]
async fn row_broker_patterns_that_could_take_for_ever_are_refused_or_answered_at_once() {
    let hostile = Hostile::ready().await;
    let broker = &hostile.broker;
    for pattern in PATTERNS {
        let in_url = utf8_percent_encode(pattern, NON_ALPHANUMERIC).to_string();
        let quoted = Value::from(pattern).to_string();
        let in_q = Value::from(format!("p~={quoted}"));
        let selected = json!({"type": "T", "idPattern": pattern});
        let to = json!({"endpoint": {"uri": "http://127.0.0.1:9/"}});
        let requests = [
            ("GET", format!("/entities?type=T&idPattern={in_url}"), None),
            ("GET", format!("/entities?type=T&q=p~=%22{in_url}%22"), None),
            ("GET", format!("/entities?type=T&q=p!~=%22{in_url}%22"), None),
            ("DELETE", format!("/entities?type=None&idPattern={in_url}"), None),
            (
                "POST",
                "/entityOperations/query".to_owned(),
                Some(json!({"type": "Query", "entities": [selected.clone()]})),
            ),
            (
                "POST",
                "/entityOperations/query".to_owned(),
                Some(json!({"type": "Query", "q": in_q.clone()})),
            ),
            (
                "POST",
                "/subscriptions".to_owned(),
                Some(json!({"type": "Subscription", "entities": [selected], "notification": to})),
            ),
            (
                "POST",
                "/subscriptions".to_owned(),
                Some(
                    json!({"type": "Subscription", "entities": [{"type": "T"}], "q": in_q, "notification": to}),
                ),
            ),
        ];
        for (method, path, body) in requests {
            let body = body.map(|body| body.to_string());
            let started = Instant::now();
            let answer = broker.send(method, &path, &[], body.as_deref()).await;
            let which = format!(
                "{pattern} at {method} {path}: {} {:.200}",
                answer.status,
                answer.text()
            );
            let refused = answer.status == 400 && answer.error() == "BadRequestData";
            assert!(refused || matches!(answer.status, 200 | 201 | 204), "{which}");
            assert!(started.elapsed() < SOON, "{which}: {:?}", started.elapsed());
        }
        // Subscriptions that were taken are asked about each write.
        let started = Instant::now();
        let entity =
            json!({"id": format!("urn:y:{}", "a".repeat(60)), "type": "T", "p": "a".repeat(100_000)});
        broker
            .post("/entityOperations/upsert", &json!([entity]).to_string())
            .await;
        assert!(started.elapsed() < SOON, "{pattern}: {:?}", started.elapsed());
        let gone = broker
            .send(
                "DELETE",
                &format!("/entities/urn:y:{}", "a".repeat(60)),
                &[],
                None,
            )
            .await;
        assert_eq!(gone.status, 204, "{pattern}");
    }
    hostile.goes_on().await;
}

#[tokio::test]
async fn row_broker_ten_thousand_nested_attributes_huge_numbers_and_nul_are_refused_wherever_they_are_sent() {
    let hostile = Hostile::ready().await;
    let nested = format!(
        "{}\"value\":1{}",
        "\"type\":\"Property\",\"value\":1,\"a\":{".repeat(10_000),
        "}".repeat(10_000)
    );
    hostile
        .entity_refused(&format!("\"a\":{{{nested}}}"), "BadRequestData")
        .await;
    for value in [
        "1e100000",
        "-1e100000",
        "1e-100000",
        "\"a\\u0000b\"",
        "{\"a\\u0000\":1}",
        "[[1e400]]",
    ] {
        hostile
            .entity_refused(
                &format!(r#""p":{{"type":"Property","value":{value}}}"#),
                "BadRequestData",
            )
            .await;
    }
    hostile.entity_refused("\"p\\u0000\":1", "BadRequestData").await;
    let invalid: &[(u16, &str)] = &[(400, "BadRequestData"), (400, "InvalidRequest")];
    for path in [
        "/entities?type=T&q=p==1e100000",
        "/entities?type=T&q=p%3E-1e100000",
        "/entities?type=T&q=p==%22a%00b%22",
        "/entities?type=T%00",
        "/entities?type=T&q=p%5Ba%00%5D==1",
        "/entities?type=T&georel=near;maxDistance==1e100000&geometry=Point&coordinates=[1,2]",
        "/entities?type=T&georel=near;maxDistance==1&geometry=Point&coordinates=[1e100000,2]",
        "/entities/urn:x:%00",
        "/types/T%00",
    ] {
        hostile.refused(("GET", path), &[], None, invalid).await;
    }
    hostile.goes_on().await;
}

/// Where a context is served: the head, and then either this text or bytes without end. `HERE` in it is the server's own URL.
async fn serving(head: &'static str, text: &'static str, is_endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/context.jsonld", listener.local_addr().unwrap());
    let text = text.replace("HERE", &url);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let text = text.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(format!("{head}\r\n\r\n{text}").as_bytes()).await;
                let more = vec![b' '; 64 * 1024];
                while is_endless && stream.write_all(&more).await.is_ok() {}
            });
        }
    });
    url
}

#[tokio::test]
async fn row_broker_contexts_that_never_end_are_too_large_or_name_themselves_are_refused_wherever_they_are_named()
 {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/ld+json\r\nConnection: close";
    const HUGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/ld+json\r\nContent-Length: 1073741824";
    let hostile = Hostile::ready().await;
    let gone: &[(u16, &str)] = &[(504, "LdContextNotAvailable"), (503, "LdContextNotAvailable")];
    let cases = [
        (serving(OK, "", true).await, gone),
        (serving(HUGE, "", true).await, gone),
        // Announced, and then silence.
        (serving(HUGE, "{\"@context\":", false).await, gone),
        (serving(OK, r#"{"@context":["HERE"]}"#, false).await, BAD),
        (
            serving(OK, r#"{"@context":["HERE","HERE",{"a":"urn:a"},"HERE"]}"#, false).await,
            BAD,
        ),
    ];
    for (url, expected) in &cases {
        let link =
            format!(r#"<{url}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json""#);
        let link = [("link", link.as_str())];
        let entity = json!({"id": "urn:x:bad", "type": "T", "@context": [url]}).to_string();
        let query = json!({"type": "Query", "entities": [{"type": "T"}], "@context": url}).to_string();
        hostile
            .refused(("GET", "/entities?type=T"), &link, None, expected)
            .await;
        hostile.refused(("GET", "/types"), &link, None, expected).await;
        hostile
            .refused(("POST", "/entities"), &[LD], Some(&entity), expected)
            .await;
        hostile
            .refused(("POST", "/entityOperations/query"), &[LD], Some(&query), expected)
            .await;
        let batch = hostile
            .broker
            .send(
                "POST",
                "/entityOperations/upsert",
                &[LD],
                Some(&format!("[{entity}]")),
            )
            .await;
        assert!(
            batch.status >= 400 || (batch.status == 207 && batch.json()["success"] == json!([])),
            "{} {:.300}",
            batch.status,
            batch.text()
        );
    }
    hostile.goes_on().await;
}
