use super::*;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
struct Library {
    documents: HashMap<String, String>,
    calls: AtomicUsize,
}

impl Fetch for Arc<Library> {
    fn fetch<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, String>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.documents
                .get(url.as_str())
                .map(|d| Bytes::from(d.clone()))
                .ok_or_else(|| "not there".to_owned())
        })
    }
}

fn library(documents: &[(&str, &str)]) -> (Contexts, Arc<Library>) {
    let documents = documents
        .iter()
        .map(|(u, d)| ((*u).to_owned(), (*d).to_owned()))
        .collect();
    let library = Arc::new(Library {
        documents,
        calls: AtomicUsize::new(0),
    });
    (Contexts::new(Arc::new(Arc::clone(&library)), rooms()), library)
}

fn rooms() -> Arc<Rooms> {
    Arc::new(Rooms::of(256 * 1024 * 1024))
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn core_contexts_are_never_fetched() {
    let (contexts, library) = library(&[]);
    let url = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.3.jsonld";
    assert_eq!(contexts.of_link(Some(url)).await.unwrap().link(), url);
    contexts
        .of_body(&json(&format!("[\"{url}\", {{\"a\": \"urn:a\"}}]")))
        .await
        .unwrap();
    assert_eq!(library.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn many_requests_cause_one_fetch() {
    let (contexts, library) = library(&[("https://c.example/a", r#"{"@context":{"a":"urn:a:1"}}"#)]);
    let waiting = (0..50).map(|_| contexts.of_link(Some("https://c.example/a")));
    for context in futures::future::join_all(waiting).await {
        assert_eq!(context.unwrap().expand("a"), "urn:a:1");
    }
    assert_eq!(library.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn relative_references_resolve_against_the_document() {
    let (contexts, _) = library(&[
        (
            "https://c.example/x/a.jsonld",
            r#"{"@context":["b.jsonld",{"a":"b:1"}]}"#,
        ),
        ("https://c.example/x/b.jsonld", r#"{"@context":{"b":"urn:b:"}}"#),
    ]);
    let context = contexts
        .of_body(&json("\"https://c.example/x/a.jsonld\""))
        .await
        .unwrap();
    assert_eq!(context.expand("a"), "urn:b:1");
}

#[tokio::test]
async fn a_failure_is_unavailable_and_remembered_for_a_while() {
    let (contexts, library) = library(&[]);
    for _ in 0..3 {
        let error = contexts
            .of_link(Some("https://c.example/none"))
            .await
            .unwrap_err();
        assert!(matches!(error, ContextError::Unavailable { .. }));
    }
    assert_eq!(library.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn loops_and_documents_that_are_no_context_are_invalid() {
    let (contexts, _) = library(&[
        ("https://c.example/loop", r#"{"@context":"loop"}"#),
        ("https://c.example/text", "hello"),
        ("https://c.example/array", "[]"),
        ("https://c.example/empty", "{}"),
        (
            "https://c.example/deep",
            &format!("{}{}", "[".repeat(9000), "]".repeat(9000)),
        ),
    ]);
    for name in ["loop", "text", "array", "empty", "deep"] {
        let error = contexts
            .of_link(Some(&format!("https://c.example/{name}")))
            .await
            .unwrap_err();
        assert!(matches!(error, ContextError::Invalid(_)), "{name}: {error}");
    }
    for body in [
        "5",
        "\"relative\"",
        "[[[[[[[[[[[{}]]]]]]]]]]]",
        "\"ftp://c.example/a\"",
        "{\"a\":{\"@context\":{}}}",
    ] {
        assert!(
            matches!(contexts.of_body(&json(body)).await, Err(ContextError::Invalid(_))),
            "{body}"
        );
    }
}

/// A server that answers every request with these bytes and then goes on or hangs up.
async fn server(answer: Vec<u8>, endless: bool) -> Url {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!(
        "http://{}/context.jsonld",
        listener.local_addr().unwrap()
    ))
    .unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer).await;
                while endless && stream.write_all(&[b' '; 4096]).await.is_ok() {}
            });
        }
    });
    url
}

fn guarded() -> Contexts {
    let policy = mim_egress::Policy::new(vec![], vec![]).with_loopback_for_tests();
    Contexts::new(Arc::new(mim_egress::Client::new(policy)), rooms())
}

#[tokio::test]
async fn a_context_is_fetched_over_http_and_used() {
    let document = r#"{"@context":{"name":"https://schema.org/name"}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}",
        document.len()
    );
    let url = server(head.into_bytes(), false).await;
    let contexts = guarded();
    let context = contexts.of_link(Some(url.as_str())).await.unwrap();
    assert_eq!(context.expand("name"), "https://schema.org/name");
    assert_eq!(context.link(), url.as_str());
}

#[tokio::test]
async fn documents_that_never_end_redirects_and_errors_are_unavailable() {
    let endless = server(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), true).await;
    let huge = server(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec(),
        true,
    )
    .await;
    let redirect = server(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n".to_vec(),
        false,
    )
    .await;
    let missing = server(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        false,
    )
    .await;
    let contexts = guarded();
    for url in [endless, huge, redirect, missing] {
        let started = Instant::now();
        let error = contexts.of_link(Some(url.as_str())).await.unwrap_err();
        assert!(matches!(error, ContextError::Unavailable { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(8), "{url}");
    }
}

/// Answers any URL after a while, and counts how many are asked at a time.
#[derive(Default)]
struct Slow {
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Fetch for Arc<Slow> {
    fn fetch<'a>(&'a self, _: &'a Url) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(Bytes::from_static(br#"{"@context":{"a":"urn:a:1"}}"#))
        })
    }
}

#[tokio::test]
async fn few_are_fetched_at_a_time_and_who_waits_too_long_is_told() {
    let slow = Arc::new(Slow::default());
    let contexts = Contexts::new(Arc::new(Arc::clone(&slow)), rooms());
    let urls: Vec<String> = (0..300).map(|n| format!("https://c.example/{n}")).collect();
    let started = Instant::now();
    let answers = futures::future::join_all(urls.iter().map(|url| contexts.of_link(Some(url)))).await;
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert_eq!(slow.most.load(Ordering::SeqCst), FETCHES);
    let (had, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(had.len() >= FETCHES && !refused.is_empty(), "{}", had.len());
    for error in refused {
        assert!(matches!(error.unwrap_err(), ContextError::Unavailable { .. }));
    }
}

#[tokio::test]
async fn contexts_in_use_are_bounded_and_kept_ones_make_way() {
    let terms: Vec<_> = (0..20_000).map(|n| format!("\"t{n}\":\"urn:t:{n}\"")).collect();
    let document = format!("{{\"@context\":{{{}}},\"else\":[1]}}", terms.join(","));
    let (contexts, library) = library(&[("https://c.example/big", &document)]);
    let own = |n: usize| json(&format!("[\"https://c.example/big\",{{\"n\":\"urn:{n}\"}}]"));
    for n in 0..20 {
        assert_eq!(
            contexts.of_body(&own(n)).await.unwrap().expand("t5"),
            "urn:t:5",
            "nobody uses the ones before"
        );
    }
    let mut used = Vec::new();
    let refused = loop {
        match contexts.of_body(&own(used.len())).await {
            Ok(context) => used.push(context),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, ContextError::Unavailable { .. }), "{refused}");
    let weight: usize = used.iter().map(|context| context.weight()).sum();
    assert!(
        weight <= contexts.rooms.contexts.size() && used.len() > 2,
        "{weight} {}",
        used.len()
    );
    drop(used);
    assert!(contexts.of_body(&own(99)).await.is_ok());
    assert_eq!(library.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_new_guard_forgets_what_the_old_one_let_in() {
    let url = Some("https://c.example/a");
    let (contexts, _) = library(&[("https://c.example/a", r#"{"@context":{"a":"urn:a:1"}}"#)]);
    assert!(contexts.of_link(url).await.is_ok());
    contexts.fetch_with(Arc::new(Arc::new(Library::default())));
    assert!(contexts.of_link(url).await.is_err());
}

#[tokio::test]
async fn documents_with_very_many_values_and_very_long_urls_are_refused() {
    let dense = format!("{{\"@context\":{{}},\"a\":[{}]}}", "0,".repeat(MAX_VALUES) + "0");
    let (contexts, _) = library(&[("https://c.example/dense", &dense)]);
    let long = format!("https://c.example/{}", "x".repeat(MAX_URL));
    for url in ["https://c.example/dense", &long] {
        let error = contexts.of_link(Some(url)).await.unwrap_err();
        assert!(
            matches!(error, ContextError::Invalid(_)) && error.to_string().len() < 300,
            "{error}"
        );
    }
}

#[tokio::test]
async fn kept_documents_are_weighed_by_the_memory_they_take() {
    let terms: Vec<_> = (0..8000).map(|n| format!("\"t{n}\":\"u:{n}\"")).collect();
    let document = format!("{{\"@context\":{{{}}}}}", terms.join(","));
    let urls: Vec<String> = (0..40).map(|n| format!("https://c.example/{n}")).collect();
    let documents: Vec<_> = urls.iter().map(|url| (url.as_str(), document.as_str())).collect();
    let (contexts, library) = library(&documents);
    assert!(
        document.len() * urls.len() < MAX_DOCUMENT_MEMORY / 2,
        "as text they would all fit"
    );
    for url in &urls {
        contexts.of_link(Some(url)).await.unwrap();
    }
    // Another context of the same documents: compiled anew, from those that are still kept.
    let again = async |url: &str| {
        let before = library.calls.load(Ordering::SeqCst);
        contexts
            .of_body(&json(&format!("[\"{url}\",{{\"n\":\"urn:n\"}}]")))
            .await
            .unwrap();
        library.calls.load(Ordering::SeqCst) - before
    };
    assert_eq!((again(&urls[39]).await, again(&urls[0]).await), (0, 1));
}
