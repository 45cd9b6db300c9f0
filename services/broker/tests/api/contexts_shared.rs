//! Several replicas on one database mean the same by a context, and what they keep of contexts is bounded.

use crate::support::{Broker, Database, Postgres, eventually, store_over};
use bytes::Bytes;
use futures::future::BoxFuture;
use mim_broker::context::ContextError;
use mim_broker::context::cache::Contexts;
use mim_broker::context::fetch::Fetch;
use mim_broker::context::shelf::{Put, Shelf as _};
use mim_broker::context::uses::{Part, Used};
use mim_broker::memory::Rooms;
use mim_broker::store::contexts::Kind;
use mim_broker::store::{Store, TenantId};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use url::Url;

const RELATION: &str = "rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
const A: &str = "https://c.example/a";

/// The store of a replica in this process, with the tenants `one` and `two`.
async fn store(database: &Database) -> Store {
    store_over(database, &["one", "two"]).await
}

/// The rest of the world.
#[derive(Default)]
struct World {
    documents: Mutex<HashMap<String, String>>,
    calls: AtomicUsize,
}

impl World {
    fn set(&self, url: &str, iri: &str) {
        let document = json!({"@context": {"a": iri}}).to_string();
        self.documents.lock().unwrap().insert(url.to_owned(), document);
    }
}

struct Way(Arc<World>);

impl Fetch for Way {
    fn fetch<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, String>> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let found = self.0.documents.lock().unwrap().get(url.as_str()).cloned();
        Box::pin(async move { found.map(Bytes::from).ok_or_else(|| "it is away".to_owned()) })
    }
}

fn contexts(store: &Store, world: &Arc<World>, guard: &str) -> Contexts {
    let rooms = Arc::new(Rooms::of(256 * 1024 * 1024));
    Contexts::new(
        Arc::new(Way(Arc::clone(world))),
        guard,
        Arc::new(store.clone()),
        rooms,
    )
}

async fn meaning(contexts: &Contexts, tenant: TenantId) -> Result<String, ContextError> {
    let context = contexts.of_link(tenant, Some(A)).await?;
    Ok(context.expand("a").into_owned())
}

#[tokio::test]
async fn what_one_replica_has_fetched_all_have_also_while_its_server_is_away() {
    let database = Postgres::shared().database();
    let store = store(&database).await;
    let tenant = store.tenant("one").unwrap();
    let (world, nothing) = (Arc::<World>::default(), Arc::default());
    world.set(A, "urn:a:1");
    assert_eq!(
        meaning(&contexts(&store, &world, ""), tenant).await.unwrap(),
        "urn:a:1"
    );
    assert_eq!(
        meaning(&contexts(&store, &nothing, ""), tenant).await.unwrap(),
        "urn:a:1"
    );
    // Under another guard nobody knows whether it may be had.
    let guarded = contexts(&store, &nothing, "10.0.0.0/8");
    assert!(matches!(
        meaning(&guarded, tenant).await,
        Err(ContextError::Unavailable { .. })
    ));

    let (one, other) = (contexts(&store, &world, ""), contexts(&store, &world, ""));
    for n in 2..4 {
        assert_eq!(meaning(&other, tenant).await.unwrap(), format!("urn:a:{}", n - 1));
        world.set(A, &format!("urn:a:{n}"));
        one.reload(A).await.unwrap();
        one.spread().await;
        assert_eq!(meaning(&other, tenant).await.unwrap(), format!("urn:a:{n}"));
    }
}

#[tokio::test]
async fn deleting_a_cached_context_fetches_it_anew_and_takes_it_from_no_other_tenant() {
    let database = Postgres::shared().database();
    let store = store(&database).await;
    let (one, two) = (store.tenant("one").unwrap(), store.tenant("two").unwrap());
    let world = Arc::<World>::default();
    world.set(A, "urn:a:1");
    let contexts = contexts(&store, &world, "");
    let delete = async |tenant| {
        let record = store.context(tenant, A).await.unwrap().unwrap();
        assert!(store.delete_context(tenant, &record.id).await.unwrap());
        contexts.spread().await;
    };
    for tenant in [one, two] {
        meaning(&contexts, tenant).await.unwrap();
    }
    contexts.write_uses().await.unwrap();
    world.set(A, "urn:a:2");
    delete(one).await;
    assert_eq!(meaning(&contexts, one).await.unwrap(), "urn:a:2");
    contexts.write_uses().await.unwrap();
    world.documents.lock().unwrap().clear();
    delete(one).await;
    assert_eq!(
        meaning(&contexts, two).await.unwrap(),
        "urn:a:2",
        "two still uses it, and it is away"
    );
    delete(two).await;
    assert!(meaning(&contexts, one).await.is_err(), "nobody used it any more");
    assert_eq!(database.psql("select count(*) from mim.context_documents"), "0");
}

fn second(n: usize) -> jiff::Timestamp {
    jiff::Timestamp::from_second(i64::try_from(n).unwrap()).unwrap()
}

#[tokio::test]
async fn row_broker_records_and_documents_of_contexts_are_bounded_and_the_oldest_go() {
    let database = Postgres::shared().database();
    let store = store(&database).await;
    let tenant = store.tenant("one").unwrap();
    let used = |from: usize, count: usize| -> Vec<Used> {
        (from..from + count)
            .map(|n| Used {
                tenant,
                part: Part::Url(format!("https://c.example/{n:05}").into()),
                hits: 1,
                last: second(1_000_000 + n),
            })
            .collect()
    };
    store.count_uses(&used(0, 1000)).await.unwrap();
    store.count_uses(&used(1000, 500)).await.unwrap();
    store.count_uses(&used(1500, 1)).await.unwrap();
    let urls: Vec<_> = store
        .contexts(tenant, Some(Kind::Cached))
        .await
        .unwrap()
        .into_iter()
        .filter_map(|r| r.url)
        .collect();
    assert_eq!(urls.len(), 1000);
    assert!(
        urls.contains(&"https://c.example/01500".to_owned())
            && !urls.contains(&"https://c.example/00000".to_owned())
    );

    let put = async |n: usize, document: &str| {
        let put = Put {
            url: &format!("https://d.example/{n:05}"),
            guard: "",
            document,
            at: second(2_000_000 + n),
            force: false,
        };
        assert!(store.put(put).await.unwrap());
    };
    for n in 0..520 {
        put(n, "{}").await;
    }
    let count = || database.psql("select count(*), min(url) from mim.context_documents");
    assert_eq!(count(), "512|https://d.example/00008");
    let large = format!("\"{}\"", "x".repeat(4_000_000));
    for n in 600..620 {
        put(n, &large).await;
    }
    let bytes: i64 = database
        .psql("select sum(size) from mim.context_documents")
        .parse()
        .unwrap();
    assert!(bytes <= 64 * 1024 * 1024 + 4_000_002, "{bytes}");
    assert!(
        store
            .fetched("https://d.example/00619", "")
            .await
            .unwrap()
            .is_some()
    );
    let late = Put {
        url: "https://d.example/00619",
        guard: "",
        document: "{}",
        at: jiff::Timestamp::UNIX_EPOCH,
        force: false,
    };
    assert!(!store.put(late).await.unwrap(), "a later one is there");
}

#[tokio::test]
async fn a_context_that_the_broker_made_is_served_counted_and_deleted_and_never_reloaded() {
    let broker = Broker::ready().await;
    let store = store(&broker.database).await;
    let tenant = store.tenant("").unwrap();
    let id = store
        .add_context(tenant, Kind::ImplicitlyCreated, r#"["https://c.example/a"]"#)
        .await
        .unwrap()
        .unwrap();
    let path = format!("/jsonldContexts/{id}");
    assert_eq!(
        broker.get(&path).await.json(),
        json!({"@context": ["https://c.example/a"]})
    );
    let details = broker.get(&format!("{path}?details=true")).await.json();
    assert_eq!(
        (&details["kind"], &details["numberOfHits"]),
        (&json!("ImplicitlyCreated"), &json!(1))
    );
    assert_eq!(
        broker
            .get("/jsonldContexts?kind=ImplicitlyCreated")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let reload = broker
        .send("DELETE", &format!("{path}?reload=true"), &[], None)
        .await;
    assert_eq!((reload.status, reload.error().as_str()), (400, "BadRequestData"));
    assert_eq!(broker.send("DELETE", &path, &[], None).await.status, 204);
    assert_eq!(broker.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_context_is_had_at_every_replica_once_it_was_added_and_at_none_once_it_was_deleted() {
    let database = Arc::new(Postgres::shared().database());
    let one = Broker::start(Arc::clone(&database));
    let other = Broker::start_with(database, Arc::clone(&one.config));
    one.until_ready().await;
    other.until_ready().await;
    for n in 0..4 {
        let body = json!({"@context": {"a": format!("urn:a:{n}")}}).to_string();
        let added = one.post("/jsonldContexts", &body).await;
        let path = added.header("location").to_owned();
        let link = format!("<http://city.example{path}>; {RELATION}");
        let uses = async |broker: &Broker| {
            broker
                .send("GET", "/types", &[("link", &link)], None)
                .await
                .status
        };
        assert_eq!(uses(&other).await, 200, "at once");
        // The other one goes on using it while it is deleted, so that its copy is as fresh as can be.
        let (stop, successes) = (AtomicBool::new(false), AtomicUsize::new(0));
        let using = async {
            while !stop.load(Ordering::SeqCst) {
                if uses(&other).await == 200 {
                    successes.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let deleting = async {
            let deleted = one.send("DELETE", &path, &[], None).await;
            assert_eq!(deleted.status, 204);
            for broker in [&other, &one] {
                assert_eq!(uses(broker).await, 504);
                assert_eq!(broker.get(&path).await.status, 404);
            }
            stop.store(true, Ordering::SeqCst);
        };
        futures::future::join(using, deleting).await;
        assert!(successes.load(Ordering::SeqCst) > 0);
    }
}

/// Two brokers with one database that know the context `A` from a file.
async fn two_that_know_a() -> (Broker, Broker) {
    let config = tempfile::tempdir().unwrap();
    std::fs::write(config.path().join("a"), r#"{"@context":{}}"#).unwrap();
    std::fs::write(
        config.path().join("broker.yaml"),
        format!("contexts: [{{url: \"{A}\", file: a}}]\n"),
    )
    .unwrap();
    let (database, config) = (Arc::new(Postgres::shared().database()), Arc::new(config));
    let one = Broker::start_with(Arc::clone(&database), Arc::clone(&config));
    let other = Broker::start_with(database, config);
    one.until_ready().await;
    other.until_ready().await;
    (one, other)
}

async fn use_a(broker: &Broker) {
    let link = format!("<{A}>; {RELATION}");
    let reply = broker.send("GET", "/types", &[("link", &link)], None).await;
    assert_eq!(reply.status, 200);
}

async fn delete_a(broker: &Broker) {
    let path = "/jsonldContexts/https%3A%2F%2Fc.example%2Fa";
    assert_eq!(broker.send("DELETE", path, &[], None).await.status, 204);
}

#[tokio::test]
async fn hits_of_all_replicas_are_summed_and_a_deleted_record_does_not_come_back() {
    let (one, other) = two_that_know_a().await;
    for round in 0..3 {
        for broker in [&one, &other] {
            for _ in 0..5 {
                use_a(broker).await;
            }
        }
        eventually(10, "both have written what they counted", async || {
            one.get("/jsonldContexts?details=true").await.json()[0]["numberOfHits"] == 10
        })
        .await;
        use_a(&other).await;
        delete_a(&one).await;
        for broker in [&other, &one] {
            assert_eq!(
                broker.get("/jsonldContexts").await.json(),
                json!([]),
                "round {round}"
            );
        }
    }
}

#[tokio::test]
async fn a_replica_that_stood_still_does_not_bring_a_deleted_record_back() {
    let (one, other) = two_that_know_a().await;
    use_a(&one).await;
    for round in 0..3 {
        use_a(&other).await;
        // It counts in memory and writes four times a second, so this is not written.
        other.signal("-STOP");
        delete_a(&one).await;
        other.signal("-CONT");
        for broker in [&other, &one] {
            assert_eq!(
                broker.get("/jsonldContexts").await.json(),
                json!([]),
                "round {round}"
            );
        }
        // What is used after the deletion is known again.
        use_a(&one).await;
        assert_eq!(
            one.get("/jsonldContexts").await.json(),
            json!([A]),
            "round {round}"
        );
    }
}
