use super::*;
use crate::context::documents::{FETCHES, MAX_DOCUMENT_MEMORY, MAX_VALUES};
use crate::context::shelf::{Brought, Fetched, Put};
use crate::context::uses::Used;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

const T: TenantId = TenantId(1);

/// A shelf in memory, which tests look into.
#[derive(Default)]
struct Board {
    epoch: AtomicI64,
    epochs_asked: AtomicUsize,
    reads: AtomicUsize,
    away: AtomicBool,
    own: Mutex<HashMap<(i32, String), String>>,
    documents: Mutex<HashMap<String, (String, Fetched)>>,
    uses: Mutex<BTreeMap<(i32, Part), i64>>,
}

impl Board {
    fn answer<T: Send + 'static>(&self, value: T) -> Brought<'_, T> {
        let away = self.away.load(Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            if away {
                Err(StoreError::Unavailable("away".into()))
            } else {
                Ok(value)
            }
        })
    }

    fn put_own(&self, id: &str, context: &str) {
        locked(&self.own).insert((T.0, id.to_owned()), context.to_owned());
    }

    /// Makes a document look as if it had been fetched long ago, or as if another tenant had deleted its record.
    fn age(&self, url: &str, hours: i64, due: bool) {
        let mut documents = locked(&self.documents);
        let (_, known) = documents.get_mut(url).unwrap();
        known.at = Timestamp::now() - SignedDuration::from_hours(hours);
        known.due = due;
    }

    fn hits(&self) -> Vec<(i32, Part, i64)> {
        locked(&self.uses)
            .iter()
            .map(|((t, p), n)| (*t, p.clone(), *n))
            .collect()
    }
}

impl Shelf for Board {
    fn epoch(&self) -> Brought<'_, i64> {
        self.epochs_asked.fetch_add(1, Ordering::SeqCst);
        self.answer(self.epoch.load(Ordering::SeqCst))
    }

    fn own<'a>(&'a self, tenant: TenantId, id: &'a str) -> Brought<'a, Option<String>> {
        self.answer(locked(&self.own).get(&(tenant.0, id.to_owned())).cloned())
    }

    fn fetched<'a>(&'a self, url: &'a str, guard: &'a str) -> Brought<'a, Option<Fetched>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let documents = locked(&self.documents);
        let known = documents
            .get(url)
            .filter(|(of, _)| of == guard)
            .map(|(_, known)| known.clone());
        self.answer(known)
    }

    fn put<'a>(&'a self, put: Put<'a>) -> Brought<'a, bool> {
        let mut documents = locked(&self.documents);
        let old = documents.get(put.url).map(|(_, old)| old.clone());
        if old.as_ref().is_some_and(|old| old.at > put.at) && !put.force {
            return self.answer(false);
        }
        let known = Fetched {
            document: put.document.to_owned(),
            at: put.at,
            due: false,
        };
        if put.force || old.is_some_and(|old| old.document != known.document) {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        documents.insert(put.url.to_owned(), (put.guard.to_owned(), known));
        self.answer(true)
    }

    fn count_uses<'a>(&'a self, used: &'a [Used]) -> Brought<'a, ()> {
        if !self.away.load(Ordering::SeqCst) {
            for one in used {
                *locked(&self.uses)
                    .entry((one.tenant.0, one.part.clone()))
                    .or_default() += one.hits;
            }
        }
        self.answer(())
    }
}

#[derive(Default)]
struct Library {
    documents: Mutex<HashMap<String, String>>,
    calls: AtomicUsize,
}

impl Library {
    fn of(documents: &[(&str, &str)]) -> Arc<Self> {
        let library = Self::default();
        for (url, document) in documents {
            library.set(url, document);
        }
        Arc::new(library)
    }

    fn set(&self, url: &str, document: &str) {
        locked(&self.documents).insert(url.to_owned(), document.to_owned());
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Fetch for Arc<Library> {
    fn fetch<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, String>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            locked(&self.documents)
                .get(url.as_str())
                .map(|d| Bytes::from(d.clone()))
                .ok_or_else(|| "not there".to_owned())
        })
    }
}

fn library(documents: &[(&str, &str)]) -> (Contexts, Arc<Library>) {
    let library = Library::of(documents);
    (replica(&library, &Arc::default()), library)
}

/// One of the replicas that share a board.
fn replica(library: &Arc<Library>, board: &Arc<Board>) -> Contexts {
    let (fetch, board) = (Arc::new(Arc::clone(library)), Arc::clone(board));
    Contexts::new(fetch, "", board, rooms())
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
    assert_eq!(contexts.of_link(T, Some(url)).await.unwrap().link(), url);
    contexts
        .of_body(T, &json(&format!("[\"{url}\", {{\"a\": \"urn:a\"}}]")))
        .await
        .unwrap();
    assert_eq!(library.calls(), 0);
}

#[tokio::test]
async fn many_requests_cause_one_fetch() {
    let (contexts, library) = library(&[("https://c.example/a", r#"{"@context":{"a":"urn:a:1"}}"#)]);
    let waiting = (0..50).map(|_| contexts.of_link(T, Some("https://c.example/a")));
    for context in futures::future::join_all(waiting).await {
        assert_eq!(context.unwrap().expand("a"), "urn:a:1");
    }
    assert_eq!(library.calls(), 1);
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
        .of_body(T, &json("\"https://c.example/x/a.jsonld\""))
        .await
        .unwrap();
    assert_eq!(context.expand("a"), "urn:b:1");
}

#[tokio::test]
async fn a_failure_is_unavailable_and_remembered_for_a_while() {
    let (contexts, library) = library(&[]);
    for _ in 0..3 {
        let error = contexts
            .of_link(T, Some("https://c.example/none"))
            .await
            .unwrap_err();
        assert!(matches!(error, ContextError::Unavailable { .. }));
    }
    assert_eq!(library.calls(), 1);
}

#[tokio::test]
async fn row_broker_context_loops_and_documents_that_are_no_context_are_invalid() {
    let (contexts, _) = library(&[
        ("https://c.example/loop", r#"{"@context":"loop"}"#),
        ("https://c.example/text", "hello"),
        ("https://c.example/array", "[]"),
        ("https://c.example/empty", "{}"),
        ("https://c.example/part", r#"{"@context":{"a":"urn:a"}}"#),
        ("https://c.example/there", r#"{"@context":["back"]}"#),
        ("https://c.example/back", r#"{"@context":["there"]}"#),
        ("https://c.example/number", r#"{"@context":5}"#),
        (
            "https://c.example/scoped",
            r#"{"@context":{"a":{"@id":"urn:a","@context":{}}}}"#,
        ),
        ("https://c.example/file", r#"{"@context":"file:///etc/passwd"}"#),
        (
            "https://c.example/deep",
            &format!("{}{}", "[".repeat(9000), "]".repeat(9000)),
        ),
    ]);
    for name in [
        "loop", "there", "text", "array", "empty", "deep", "number", "scoped", "file",
    ] {
        let error = contexts
            .of_link(T, Some(&format!("https://c.example/{name}")))
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
        "[\"https://c.example/part\",{\"b\":{\"@id\":\"urn:b\",\"@context\":{}}}]",
    ] {
        assert!(
            matches!(
                contexts.of_body(T, &json(body)).await,
                Err(ContextError::Invalid(_))
            ),
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
    Contexts::new(
        Arc::new(mim_egress::Client::new(policy)),
        "",
        Arc::new(Board::default()),
        rooms(),
    )
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
    let context = contexts.of_link(T, Some(url.as_str())).await.unwrap();
    assert_eq!(context.expand("name"), "https://schema.org/name");
    assert_eq!(context.link(), url.as_str());
}

#[tokio::test]
async fn row_broker_documents_that_never_end_redirects_and_errors_are_unavailable() {
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
        let error = contexts.of_link(T, Some(url.as_str())).await.unwrap_err();
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
    let contexts = Contexts::new(
        Arc::new(Arc::clone(&slow)),
        "",
        Arc::new(Board::default()),
        rooms(),
    );
    let urls: Vec<String> = (0..300).map(|n| format!("https://c.example/{n}")).collect();
    let started = Instant::now();
    let answers = futures::future::join_all(urls.iter().map(|url| contexts.of_link(T, Some(url)))).await;
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
            contexts.of_body(T, &own(n)).await.unwrap().expand("t5"),
            "urn:t:5",
            "nobody uses the ones before"
        );
    }
    let mut used = Vec::new();
    let refused = loop {
        match contexts.of_body(T, &own(used.len())).await {
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
    assert!(contexts.of_body(T, &own(99)).await.is_ok());
    assert_eq!(library.calls(), 1);
}

#[tokio::test]
async fn a_new_guard_forgets_what_the_old_one_let_in() {
    let url = Some("https://c.example/a");
    let (contexts, _) = library(&[("https://c.example/a", r#"{"@context":{"a":"urn:a:1"}}"#)]);
    assert!(contexts.of_link(T, url).await.is_ok());
    contexts.fetch_with(Arc::new(Arc::new(Library::default())), "10.0.0.0/8");
    assert!(contexts.of_link(T, url).await.is_err());
}

#[tokio::test]
async fn row_broker_context_documents_with_very_many_values_and_very_long_urls_are_refused() {
    let dense = format!("{{\"@context\":{{}},\"a\":[{}]}}", "0,".repeat(MAX_VALUES) + "0");
    let (contexts, _) = library(&[("https://c.example/dense", &dense)]);
    let long = format!("https://c.example/{}", "x".repeat(MAX_URL));
    for url in ["https://c.example/dense", &long] {
        let error = contexts.of_link(T, Some(url)).await.unwrap_err();
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
    let (library, board) = (Library::of(&documents), Arc::<Board>::default());
    let contexts = replica(&library, &board);
    assert!(
        document.len() * urls.len() < MAX_DOCUMENT_MEMORY / 2,
        "as text they would all fit"
    );
    for url in &urls {
        contexts.of_link(T, Some(url)).await.unwrap();
    }
    // Another context of the same documents: compiled anew, from those that are still in memory.
    let again = async |url: &str| {
        let before = board.reads.load(Ordering::SeqCst);
        contexts
            .of_body(T, &json(&format!("[\"{url}\",{{\"n\":\"urn:n\"}}]")))
            .await
            .unwrap();
        board.reads.load(Ordering::SeqCst) - before
    };
    assert_eq!((again(&urls[39]).await, again(&urls[0]).await), (0, 1));
}

const A: &str = "https://c.example/a";

fn of_version(n: usize) -> String {
    format!(r#"{{"@context":{{"a":"urn:a:{n}"}}}}"#)
}

async fn meaning(contexts: &Contexts) -> Result<String, ContextError> {
    let context = contexts.of_link(T, Some(A)).await?;
    Ok(context.expand("a").into_owned())
}

#[tokio::test]
async fn replicas_fetch_a_document_once_and_one_that_starts_while_its_server_is_away_has_it() {
    let (board, library) = (Arc::default(), Library::of(&[(A, &of_version(1))]));
    for _ in 0..3 {
        assert_eq!(meaning(&replica(&library, &board)).await.unwrap(), "urn:a:1");
    }
    assert_eq!(library.calls(), 1);
    board.age(A, 48, false);
    let empty = Library::of(&[]);
    let late = replica(&empty, &board);
    for _ in 0..3 {
        assert_eq!(
            meaning(&late).await.unwrap(),
            "urn:a:1",
            "old, and better than nothing"
        );
    }
}

#[tokio::test]
async fn an_old_document_serves_until_the_new_one_is_there_and_then_at_every_replica() {
    let (board, library) = (Arc::default(), Library::of(&[(A, &of_version(1))]));
    let (one, other) = (replica(&library, &board), replica(&library, &board));
    assert_eq!(meaning(&one).await.unwrap(), "urn:a:1");
    library.set(A, &of_version(2));
    board.age(A, 2, false);
    // Compiled contexts hide the age of their documents for some minutes; these are compiled each time.
    let anew = async |contexts: &Contexts, n: u32| {
        let context = json(&format!("[\"{A}\",{{\"n\":\"urn:n:{n}\"}}]"));
        contexts
            .of_body(T, &context)
            .await
            .unwrap()
            .expand("a")
            .into_owned()
    };
    one.forget();
    assert_eq!(anew(&one, 0).await, "urn:a:1", "nobody waits for the new one");
    let deadline = Instant::now() + Duration::from_secs(20);
    for n in 1.. {
        let both = (anew(&one, n).await, anew(&other, n).await);
        if both == ("urn:a:2".to_owned(), "urn:a:2".to_owned()) {
            break;
        }
        assert!(Instant::now() < deadline, "{both:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(library.calls(), 2);
}

#[tokio::test]
async fn after_a_reload_was_answered_no_replica_uses_the_old_one_and_a_failed_one_keeps_it() {
    let (board, library) = (Arc::default(), Library::of(&[(A, &of_version(0))]));
    let (one, other) = (replica(&library, &board), replica(&library, &board));
    for n in 1..4 {
        assert_eq!(meaning(&other).await.unwrap(), format!("urn:a:{}", n - 1));
        library.set(A, &of_version(n));
        one.reload(A).await.unwrap();
        one.spread().await;
        assert_eq!(meaning(&other).await.unwrap(), format!("urn:a:{n}"));
        assert_eq!(meaning(&one).await.unwrap(), format!("urn:a:{n}"));
    }
    library.set(A, "no context");
    assert!(matches!(one.reload(A).await, Err(ContextError::Invalid(_))));
    locked(&library.documents).clear();
    assert!(matches!(
        one.reload(A).await,
        Err(ContextError::Unavailable { .. })
    ));
    assert_eq!(meaning(&one).await.unwrap(), "urn:a:3");
}

#[tokio::test]
async fn a_document_whose_record_was_deleted_is_fetched_anew_if_that_can_be() {
    let (board, library) = (Arc::default(), Library::of(&[(A, &of_version(1))]));
    let contexts = replica(&library, &board);
    meaning(&contexts).await.unwrap();
    library.set(A, &of_version(2));
    board.age(A, 0, true);
    contexts.forget();
    assert_eq!(meaning(&contexts).await.unwrap(), "urn:a:2");
    locked(&library.documents).clear();
    board.age(A, 0, true);
    contexts.forget();
    assert_eq!(
        meaning(&contexts).await.unwrap(),
        "urn:a:2",
        "others still use it"
    );
}

const OWN: &str = "5e0c7a5c-7f1d-4f43-9f9e-0c8f6b7f2a11";

#[tokio::test]
async fn a_context_of_this_broker_is_known_by_any_host_and_by_its_tenant_alone() {
    let (board, library) = (Arc::<Board>::default(), Library::of(&[]));
    let contexts = replica(&library, &board);
    board.put_own(OWN, r#"[{"a":"urn:a:1"}]"#);
    for host in [
        "http://10.0.0.1:1026",
        "https://city.example/broker",
        "http://localhost/ngsi-ld/v1",
    ] {
        let url = format!("{host}{OWN_PATH}{OWN}");
        let context = contexts.of_link(T, Some(&url)).await.unwrap();
        assert_eq!((&*context.expand("a"), context.link()), ("urn:a:1", &*url));
        let stranger = contexts.of_link(TenantId(2), Some(&url)).await;
        assert!(
            matches!(stranger, Err(ContextError::Unavailable { .. })),
            "{host}"
        );
    }
    locked(&board.own).clear();
    board.epoch.fetch_add(1, Ordering::SeqCst);
    contexts.spread().await;
    let url = format!("http://10.0.0.1:1026{OWN_PATH}{OWN}");
    assert!(contexts.of_link(T, Some(&url)).await.is_err());
}

#[tokio::test]
async fn what_a_tenant_has_of_its_own_reaches_no_other_through_a_document_from_elsewhere() {
    let url = format!("http://broker.example{OWN_PATH}{OWN}");
    let (board, library) = (
        Arc::<Board>::default(),
        Library::of(&[(A, &format!(r#"{{"@context":"{url}"}}"#))]),
    );
    library.set(&url, r#"{"@context":{"a":"urn:public"}}"#);
    let contexts = replica(&library, &board);
    board.put_own(OWN, r#"{"a":"urn:private"}"#);
    for _ in 0..2 {
        assert_eq!(meaning(&contexts).await.unwrap(), "urn:private");
        let others = contexts.of_link(TenantId(2), Some(A)).await.unwrap();
        assert_eq!(others.expand("a"), "urn:public");
    }
}

#[tokio::test]
async fn many_requests_ask_for_the_epoch_once_and_none_does_for_what_is_built_in() {
    let (board, library) = (Arc::<Board>::default(), Library::of(&[(A, &of_version(1))]));
    let contexts = replica(&library, &board);
    let core = "\"https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld\"";
    contexts.of_link(T, None).await.unwrap();
    contexts
        .of_body(T, &json(&format!("[{core},{{\"a\":\"urn:a\"}}]")))
        .await
        .unwrap();
    assert_eq!(board.epochs_asked.load(Ordering::SeqCst), 0);
    let begun = Instant::now();
    for answer in futures::future::join_all((0..200).map(|_| meaning(&contexts))).await {
        answer.unwrap();
    }
    let asked = board.epochs_asked.load(Ordering::SeqCst);
    let intervals = usize::try_from(begun.elapsed().as_millis() / VALID.as_millis()).unwrap();
    assert!((1..=1 + intervals).contains(&asked), "{asked} times");
}

#[tokio::test]
async fn without_the_database_no_copy_is_taken_for_good_for_longer_than_it_is() {
    let (board, library) = (Arc::<Board>::default(), Library::of(&[(A, &of_version(1))]));
    let contexts = replica(&library, &board);
    meaning(&contexts).await.unwrap();
    board.away.store(true, Ordering::SeqCst);
    tokio::time::sleep(VALID).await;
    assert!(matches!(meaning(&contexts).await, Err(ContextError::Store(_))));
    board.away.store(false, Ordering::SeqCst);
    meaning(&contexts).await.unwrap();
}

#[tokio::test]
async fn uses_are_counted_of_each_part_and_written_together() {
    let b = "https://c.example/b";
    let (board, library) = (Arc::<Board>::default(), Library::of(&[(A, &of_version(1))]));
    library.set(b, &format!(r#"{{"@context":["{A}","{A}"]}}"#));
    board.put_own(OWN, &format!(r#"["{b}"]"#));
    let contexts = replica(&library, &board);
    let url = format!("http://broker.example{OWN_PATH}{OWN}");
    contexts.of_link(T, Some(&url)).await.unwrap();
    contexts
        .of_body(T, &json(&format!("[\"{A}\",{{\"x\":\"urn:x\"}}]")))
        .await
        .unwrap();
    contexts.of_link(TenantId(2), Some(b)).await.unwrap();
    assert!(contexts.of_link(T, Some("https://c.example/none")).await.is_err());
    board.away.store(true, Ordering::SeqCst);
    assert!(contexts.write_uses().await.is_err());
    board.away.store(false, Ordering::SeqCst);
    contexts.write_uses().await.unwrap();
    contexts.write_uses().await.unwrap();
    let url = |url: &str| Part::Url(url.into());
    assert_eq!(
        board.hits(),
        [
            (1, Part::Own(OWN.into()), 1),
            (1, url(A), 2),
            (1, url(b), 1),
            (2, url(A), 1),
            (2, url(b), 1),
        ]
    );
}

fn preloaded(folder: &tempfile::TempDir, entries: &[(&str, &str)]) -> Preloaded {
    let entries: Vec<_> = entries
        .iter()
        .map(|(url, file)| crate::context::preloaded::Entry {
            url: (*url).to_owned(),
            file: (*file).into(),
        })
        .collect();
    Preloaded::of(folder.path(), &entries).0
}

#[tokio::test]
async fn a_preloaded_context_is_never_fetched_and_wins_over_what_was() {
    let (board, library) = (Arc::default(), Library::of(&[(A, &of_version(1))]));
    let contexts = replica(&library, &board);
    assert_eq!(meaning(&contexts).await.unwrap(), "urn:a:1");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), of_version(2)).unwrap();
    contexts.preload(preloaded(
        &folder,
        &[(A, "a"), ("https://c.example/gone", "gone")],
    ));
    assert_eq!(meaning(&contexts).await.unwrap(), "urn:a:2");
    contexts.reload(A).await.unwrap();
    contexts.spread().await;
    assert_eq!(meaning(&contexts).await.unwrap(), "urn:a:2");
    // One without a file is not fetched instead, and says so.
    let gone = contexts
        .of_link(T, Some("https://c.example/gone"))
        .await
        .unwrap_err();
    assert!(gone.to_string().contains("preloaded file gone"), "{gone}");
    std::fs::write(folder.path().join("a"), "not JSON").unwrap();
    contexts.preload(preloaded(&folder, &[(A, "a")]));
    assert!(matches!(meaning(&contexts).await, Err(ContextError::Invalid(_))));
    assert_eq!(library.calls(), 1);
    contexts.preload(Preloaded::default());
    assert_eq!(meaning(&contexts).await.unwrap(), "urn:a:1");
}

#[tokio::test]
async fn row_broker_a_preloaded_file_that_is_too_large_is_not_read() {
    let (contexts, _) = library(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("huge")).unwrap();
    file.set_len(1_000_000_000).unwrap();
    contexts.preload(preloaded(&folder, &[(A, "huge")]));
    let begun = Instant::now();
    let refused = meaning(&contexts).await.unwrap_err().to_string();
    assert!(
        refused.contains("larger than") && begun.elapsed() < Duration::from_secs(2),
        "{refused}"
    );
}

#[test]
fn what_is_kept_is_checked_without_fetching_anything() {
    for good in [
        "{}",
        "\"https://c.example/a\"",
        "[\"https://c.example/a\",{\"a\":\"urn:a\"},[{\"b\":\"a:b\"}]]",
    ] {
        check(&json(good)).unwrap();
    }
    for bad in [
        "5",
        "null",
        "\"relative\"",
        "\"ftp://c.example/a\"",
        "[{\"a\":{\"@id\":\"urn:a\",\"@context\":{}}}]",
        "[{\"a\":\"b:1\",\"b\":\"a:1\"}]",
        "[[[[[[[[[[[{}]]]]]]]]]]]",
    ] {
        assert!(
            matches!(check(&json(bad)), Err(ContextError::Invalid(_))),
            "{bad}"
        );
    }
    let many = format!("[{}{{}}]", "{},".repeat(MAX_PARTS));
    assert!(check(&json(&many)).is_err());
}

#[test]
fn only_a_path_and_an_id_of_ours_is_a_context_of_this_broker() {
    for url in [
        OWN_PATH.to_owned(),
        format!("http://h{OWN_PATH}x"),
        format!("http://h{OWN_PATH}{OWN}/x"),
        format!("http://h{OWN_PATH}{OWN}?x"),
        format!("http://h/jsonldContexts/{OWN}"),
        format!("http://h{OWN_PATH}{}", "é".repeat(18)),
    ] {
        assert_eq!(own_id(&url), None, "{url}");
    }
}
