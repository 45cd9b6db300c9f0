//! What tenants may have (`quotas`): never more, whoever writes where, and nothing else is refused.

use crate::support::{Answer, Broker, Postgres, eventually};
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;

/// A broker whose quotas hold.
async fn broker(config: &str) -> Broker {
    let broker = Broker::configured(config).await;
    until_counted(&broker).await;
    broker
}

/// Waits until what the tenants have is counted, so that their limits hold.
async fn until_counted(broker: &Broker) {
    eventually(30, "what tenants have is counted", async || {
        broker
            .database
            .psql("select count(*) from mim.usage where not counted")
            == "0"
    })
    .await;
}

/// Waits until a limit is this one, or there is none.
async fn until_limit(broker: &Broker, tenant: &str, quota: &str, most: &str) {
    let sql = format!(
        "select coalesce((select u.most::text from mim.usage u join mim.tenants t on t.id = u.tenant \
         where t.name = '{tenant}' and u.quota = '{quota}' and u.counted), 'none')"
    );
    eventually(30, "the limit is taken over", async || {
        broker.database.psql(&sql) == most
    })
    .await;
}

/// How much of a quota the database takes for used, and how much there is.
fn used(broker: &Broker, tenant: &str, quota: &str) -> (String, String) {
    let there = match quota {
        "entities" => "(select count(*) from mim.entities e where e.tenant = t.id)",
        "subscriptions" => "(select count(*) from mim.subscriptions s where s.tenant = t.id)",
        _ => {
            "(select coalesce(sum(mim.entity_bytes(e.id, e.types, e.scope, e.attrs)), 0) from mim.entities e where e.tenant = t.id)"
        }
    };
    let of = |what: &str| {
        let sql = format!(
            "select {what} from mim.tenants t join mim.usage u on u.tenant = t.id where t.name = '{tenant}' and u.quota = '{quota}'"
        );
        broker.database.psql(&sql)
    };
    (of("u.used"), of(there))
}

fn as_tenant(name: &str) -> Vec<(&str, &str)> {
    match name {
        "" => Vec::new(),
        name => vec![("NGSILD-Tenant", name)],
    }
}

async fn create(broker: &Broker, tenant: &str, id: &str) -> Answer {
    let body = json!({"id": id, "type": "A", "p": 1}).to_string();
    broker
        .send("POST", "/entities", &as_tenant(tenant), Some(&body))
        .await
}

async fn subscribe(broker: &Broker, tenant: &str, id: &str) -> Answer {
    let body = json!({"id": id, "type": "Subscription", "entities": [{"type": "A"}], "@context": {"A": "https://a.example/A"},
        "notification": {"endpoint": {"uri": "http://127.0.0.1:9/x"}}});
    let headers = [as_tenant(tenant), vec![("content-type", "application/ld+json")]].concat();
    broker
        .send("POST", "/subscriptions", &headers, Some(&body.to_string()))
        .await
}

async fn delete(broker: &Broker, tenant: &str, path: &str) {
    let gone = broker.send("DELETE", path, &as_tenant(tenant), None).await;
    assert_eq!(gone.status, 204, "{path}: {}", gone.text());
}

/// A refusal says which quota, its limit, what is used, and what to do.
fn refused(status: u64, problem: &Value, words: &[&str]) {
    assert_eq!(status, 403, "{problem}");
    assert_eq!(problem["type"], "https://mim.city/errors/QuotaExceeded");
    assert_eq!(
        (&problem["status"], problem["title"].is_string()),
        (&json!(403), true)
    );
    let detail = problem["detail"].as_str().unwrap();
    for words in words
        .iter()
        .chain(&["delete what is not needed", "raise the quota of"])
    {
        assert!(detail.contains(words), "{words}: {detail}");
    }
}

fn is_refused(answer: &Answer, words: &[&str]) {
    refused(u64::from(answer.status), &answer.json(), words);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_broker_of_many_creates_at_two_replicas_at_once_as_many_succeed_as_there_may_be() {
    let one = broker("tenants: [one]\nquotas: {entities: 10}\n").await;
    let other = Broker::start_with(Arc::clone(&one.database), Arc::clone(&one.config));
    other.until_ready().await;
    let tries = (0..32).map(|n| {
        let at = if n % 2 == 0 { &one } else { &other };
        async move { create(at, "one", &format!("urn:x:{n}")).await }
    });
    let answers = futures::future::join_all(tries).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 10);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        is_refused(answer, &["may have 10 entities and has 10", "would add 1"]);
    }
    assert_eq!(used(&one, "one", "entities"), ("10".into(), "10".into()));
}

#[tokio::test]
async fn what_goes_makes_room_whichever_way_it_goes() {
    let broker = broker("quotas: {entities: 3}\n").await;
    let fill = async || {
        for n in 0..4 {
            let answer = create(&broker, "", &format!("urn:x:{n}")).await;
            assert_eq!(answer.status, if n < 3 { 201 } else { 403 }, "{}", answer.text());
        }
    };
    fill().await;
    delete(&broker, "", "/entities/urn:x:0").await;
    assert_eq!(create(&broker, "", "urn:x:0").await.status, 201);
    delete(&broker, "", "/entities?type=A").await;
    fill().await;
    let all = r#"["urn:x:0","urn:x:1","urn:x:2"]"#;
    assert_eq!(broker.post("/entityOperations/delete", all).await.status, 204);
    fill().await;
    assert_eq!(used(&broker, "", "entities"), ("3".into(), "3".into()));
    // What is there already is told as that, and is no more of anything.
    assert_eq!(create(&broker, "", "urn:x:1").await.error(), "AlreadyExists");
}

#[tokio::test]
async fn tenants_do_not_count_for_each_other_and_a_named_one_has_limits_of_its_own() {
    let config = "tenants: [one, two, three]\nquotas: {entities: 1, tenants: [{tenant: two, entities: 2}, {tenant: three}]}\n";
    let broker = broker(config).await;
    for (tenant, may) in [("", 1), ("one", 1), ("two", 2), ("three", 5)] {
        for n in 0..5 {
            let answer = create(&broker, tenant, &format!("urn:x:{n}")).await;
            assert_eq!(
                answer.status,
                if n < may { 201 } else { 403 },
                "{tenant}: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn a_tenant_that_a_write_makes_has_its_limits_from_the_start() {
    let broker = broker("tenantCreation: OnFirstWrite\nquotas: {entities: 1}\n").await;
    assert_eq!(create(&broker, "new", "urn:x:0").await.status, 201);
    is_refused(
        &create(&broker, "new", "urn:x:1").await,
        &["may have 1 entities and has 1"],
    );
}

#[tokio::test]
async fn row_broker_of_a_batch_the_entities_that_fit_are_written_and_each_of_the_others_is_told() {
    let broker = broker("quotas: {entities: 30}\n").await;
    for n in 0..5 {
        assert_eq!(create(&broker, "", &format!("urn:x:{n}")).await.status, 201);
    }
    let batch: Vec<Value> = (0..50)
        .map(|n| json!({"id": format!("urn:x:{n}"), "type": "A", "p": 2}))
        .collect();
    let body = Value::Array(batch).to_string();
    for (success, errors) in [(30, 20), (30, 20)] {
        let answer = broker
            .post("/entityOperations/upsert?options=update", &body)
            .await;
        assert_eq!(answer.status, 207, "{}", answer.text());
        let told = answer.json();
        assert_eq!(
            told["success"].as_array().unwrap().len(),
            success,
            "those that were there are among them"
        );
        let lost = told["errors"].as_array().unwrap();
        assert_eq!(lost.len(), errors);
        for error in lost {
            refused(403, &error["error"], &["may have 30 entities"]);
            let id = error["entityId"].as_str().unwrap();
            assert_eq!(broker.get(&format!("/entities/{id}")).await.status, 404);
        }
        assert_eq!(used(&broker, "", "entities"), ("30".into(), "30".into()));
        // The second time there is no room at all.
        let there = broker.get("/entities?type=A&limit=1&count=true&q=p==2").await;
        assert_eq!(there.header("ngsild-results-count"), "30");
    }
}

fn of_length(id: &str, length: usize) -> Value {
    json!({"id": id, "type": "A", "p": "x".repeat(length)})
}

/// How many of a batch were written, and the ids of the others, which all were refused with these words.
fn told(answer: &Answer, words: &str) -> (usize, Vec<String>) {
    assert_eq!(answer.status, 207, "{}", answer.text());
    let told = answer.json();
    let errors = told["errors"].as_array().unwrap();
    let ids = errors.iter().map(|error| {
        refused(403, &error["error"], &[words]);
        error["entityId"].as_str().unwrap().to_owned()
    });
    (told["success"].as_array().unwrap().len(), ids.collect())
}

#[tokio::test]
async fn of_a_batch_what_grows_too_large_is_told_and_what_shrinks_is_written() {
    let broker = broker("quotas: {bytes: 20000}\n").await;
    let batch: Vec<Value> = (0..10).map(|n| of_length(&format!("urn:x:{n}"), 1000)).collect();
    let answer = broker
        .post("/entityOperations/create", &Value::Array(batch).to_string())
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Four get smaller, one much larger than there is room for, and one as large as it was.
    let batch = json!([
        of_length("urn:x:0", 10),
        of_length("urn:x:1", 10),
        of_length("urn:x:2", 30_000),
        of_length("urn:x:3", 10),
        of_length("urn:x:4", 10),
        of_length("urn:x:5", 1000)
    ]);
    let answer = broker.post("/entityOperations/upsert", &batch.to_string()).await;
    assert_eq!(
        told(&answer, "may have 20000 bytes"),
        (5, vec!["urn:x:2".to_owned()])
    );
    let kept = broker.get("/entities/urn:x:2?options=keyValues").await.json();
    assert_eq!(kept["p"], "x".repeat(1000));
    let (noted, there) = used(&broker, "", "bytes");
    assert_eq!(noted, there);
    // What shrinks makes room for what grows beside it, where nothing else is left.
    broker.configure(&format!("quotas: {{bytes: {there}}}\n"));
    until_limit(&broker, "", "bytes", &there).await;
    let batch = json!([of_length("urn:x:5", 100), of_length("urn:x:6", 1900)]);
    let answer = broker.post("/entityOperations/upsert", &batch.to_string()).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(used(&broker, "", "bytes"), (there.clone(), there));
}

#[tokio::test]
async fn a_batch_that_is_too_much_by_one_limit_or_by_two_is_written_as_far_as_it_fits_at_the_third_try() {
    let broker = broker(
        "tenants: [one]\nquotas: {bytes: 20000, tenants: [{tenant: one, entities: 100, bytes: 20000}]}\n",
    )
    .await;
    let batch: Vec<Value> = (0..200)
        .map(|n| of_length(&format!("urn:x:{n:03}"), 200))
        .collect();
    let batch = Value::Array(batch).to_string();
    for (tenant, tries) in [("", 2), ("one", 3)] {
        let refusals = || {
            broker
                .database
                .log()
                .matches("ERROR:  the tenant may have")
                .count()
        };
        let before = refusals();
        let answer = broker
            .send(
                "POST",
                "/entityOperations/create",
                &as_tenant(tenant),
                Some(&batch),
            )
            .await;
        assert_eq!(answer.status, 207, "{}", answer.text());
        let count = answer.json()["success"].as_array().unwrap().len();
        assert!((20..100).contains(&count), "{count}");
        let (noted, there) = used(&broker, tenant, "bytes");
        assert_eq!(noted, there);
        let one: usize = there.parse::<usize>().unwrap() / count;
        assert!(
            (count + 1) * one > 20_000,
            "one more would have fitted: {count} of {one}"
        );
        assert_eq!(refusals() - before, tries - 1);
        let kept = broker
            .send(
                "GET",
                "/entities?type=A&limit=1000&options=keyValues",
                &as_tenant(tenant),
                None,
            )
            .await
            .json();
        let kept = kept.as_array().unwrap().iter();
        let kept: Vec<_> = kept
            .map(|entity| entity["id"].as_str().unwrap().to_owned())
            .collect();
        let first: Vec<_> = (0..count).map(|n| format!("urn:x:{n:03}")).collect();
        assert_eq!(kept, first, "those that fit are the first ones");
    }
}

#[tokio::test]
async fn of_an_id_that_comes_twice_in_a_batch_nothing_is_kept_where_the_last_is_too_large() {
    let broker = broker("quotas: {bytes: 5000}\n").await;
    let batch = json!([
        of_length("urn:x:1", 10),
        of_length("urn:x:2", 10),
        of_length("urn:x:1", 30_000),
        of_length("urn:x:2", 20)
    ]);
    let answer = broker.post("/entityOperations/upsert", &batch.to_string()).await;
    assert_eq!(told(&answer, "may have 5000 bytes").1, ["urn:x:1"]);
    assert_eq!(broker.get("/entities/urn:x:1").await.status, 404);
    let kept = broker.get("/entities/urn:x:2?options=keyValues").await.json();
    assert_eq!(kept["p"], "x".repeat(20));
    let (noted, there) = used(&broker, "", "bytes");
    assert_eq!(noted, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_at_two_replicas_at_once_fill_what_there_is_and_tell_the_rest() {
    let one = broker("quotas: {entities: 100, bytes: 30000}\n").await;
    let other = Broker::start_with(Arc::clone(&one.database), Arc::clone(&one.config));
    other.until_ready().await;
    let batches = (0..12).map(|n| {
        let at = if n % 2 == 0 { &one } else { &other };
        async move {
            // Each writes ids of its own, and some that all write.
            let ids = (0..20).map(|m| {
                if m < 5 {
                    format!("urn:x:{m}")
                } else {
                    format!("urn:x:{n}:{m}")
                }
            });
            let batch: Vec<Value> = ids.map(|id| of_length(&id, 10 * n + 100)).collect();
            let body = Value::Array(batch).to_string();
            at.post("/entityOperations/upsert", &body).await
        }
    });
    for answer in futures::future::join_all(batches).await {
        if answer.status == 207 {
            let (written, refused) = told(&answer, "the tenant may have");
            assert_eq!(written + refused.len(), 20);
        } else {
            assert!([201, 204].contains(&answer.status), "{}", answer.text());
        }
    }
    let (noted, there) = used(&one, "", "bytes");
    assert_eq!(noted, there);
    assert!(there.parse::<usize>().unwrap() <= 30_000, "{there}");
    let (noted, there) = used(&one, "", "entities");
    assert_eq!(noted, there);
    assert!((50..=100).contains(&there.parse::<usize>().unwrap()), "{there}");
}

#[tokio::test]
async fn bytes_are_those_of_entities_and_a_change_that_does_not_grow_is_none() {
    let broker = broker("temporal: {mode: Enabled}\nquotas: {bytes: 100000}\n").await;
    let patch = async |body: &str| broker.send("PATCH", "/entities/urn:x:1", &[], Some(body)).await;
    broker
        .create(r#"{"id":"urn:x:1","type":"A","p":10,"q":"abc"}"#)
        .await;
    let before = used(&broker, "", "bytes");
    assert_eq!(before.0, before.1);
    broker.configure(&format!(
        "temporal: {{mode: Enabled}}\nquotas: {{bytes: {}}}\n",
        before.0
    ));
    until_limit(&broker, "", "bytes", &before.0).await;
    // The past grows with each of these, and the times of the attributes are written for the first time.
    for value in 11..20 {
        let answer = patch(&json!({"p": value, "q": "xyz"}).to_string()).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    assert_eq!(used(&broker, "", "bytes"), before);
    let longer = patch(r#"{"q":"abcd"}"#).await;
    is_refused(&longer, &["bytes of entities and has", "this would add 1:"]);
    let scope = patch(r#"{"scope":"/a"}"#).await;
    is_refused(&scope, &["bytes of entities"]);
    assert_eq!(patch(r#"{"q":"ab"}"#).await.status, 204);
    assert_eq!(patch(r#"{"q":"abc"}"#).await.status, 204, "what went made room");
    let replace = async |body: &str| broker.send("PUT", "/entities/urn:x:1", &[], Some(body)).await;
    let larger = replace(r#"{"id":"urn:x:1","type":"A","p":10,"q":"abc","r":1}"#).await;
    is_refused(&larger, &["bytes of entities"]);
    let smaller = replace(r#"{"id":"urn:x:1","type":"A","p":10}"#).await;
    assert_eq!(smaller.status, 204, "{}", smaller.text());
    is_refused(&create(&broker, "", "urn:x:2").await, &["bytes of entities"]);
    delete(&broker, "", "/entities/urn:x:1").await;
    assert_eq!(used(&broker, "", "bytes"), ("0".into(), "0".into()));
}

#[tokio::test]
async fn what_a_client_sends_counts_whole_also_where_it_looks_like_times_of_the_broker() {
    let broker = broker("quotas: {bytes: 20000}\n").await;
    let time = "2026-11-29T10:00:00.123456789Z";
    let times = json!({"a": 1, "createdAt": time, "modifiedAt": time});
    let deep = json!({"type": "Property", "value": 1, "sub": {"type": "Property", "value": [[vec![times.clone(); 300]]]}});
    let long = |name: &str| json!({"type": "Property", "value": {"a": 1, name: "x".repeat(30_000)}});
    for attribute in [
        long("modifiedAt"),
        long("createdAt"),
        json!({"type": "Property", "value": vec![times; 300]}),
        deep,
    ] {
        let body = json!({"id": "urn:x:1", "type": "A", "p": attribute});
        is_refused(
            &broker.post("/entities", &body.to_string()).await,
            &["bytes of entities"],
        );
    }
    assert_eq!(used(&broker, "", "bytes"), ("0".into(), "0".into()));
}

#[tokio::test]
async fn the_past_counts_nothing_and_the_entity_that_comes_with_it_as_any_other() {
    let config = "temporal: {mode: Enabled}\nquotas: {entities: 1}\n";
    let broker = broker(config).await;
    let past = async |id: &str| {
        let body = json!({"id": id, "type": "A", "p": [{"type": "Property", "value": 1, "observedAt": "2026-11-01T00:00:00Z"}]});
        broker.post("/temporal/entities", &body.to_string()).await
    };
    for id in ["urn:x:1", "urn:x:2"] {
        assert_eq!(past(id).await.status, 201);
    }
    assert_eq!(used(&broker, "", "entities"), ("0".into(), "0".into()));
    broker.configure(&format!(
        "{config}compatibility: {{temporalCreate: PastAndEntity}}\n"
    ));
    eventually(15, "an entity comes with its past", async || {
        past("urn:x:3").await;
        used(&broker, "", "entities") == ("1".into(), "1".into())
    })
    .await;
    is_refused(&past("urn:x:4").await, &["may have 1 entities and has 1"]);
    assert_eq!(broker.get("/temporal/entities/urn:x:4").await.status, 404);
}

#[tokio::test]
async fn a_subscription_too_many_is_refused_and_leaves_nothing() {
    let broker = broker("tenants: [one]\nquotas: {subscriptions: 2}\n").await;
    assert_eq!(subscribe(&broker, "", "urn:s:0").await.status, 201);
    for n in 0..2 {
        let answer = subscribe(&broker, "one", &format!("urn:s:{n}")).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let contexts = || broker.database.psql("select count(*) from mim.contexts");
    let before = contexts();
    is_refused(
        &subscribe(&broker, "one", "urn:s:2").await,
        &["may have 2 subscriptions and has 2", "would add 1"],
    );
    assert_eq!(contexts(), before, "its context went with it");
    assert_eq!(
        subscribe(&broker, "one", "urn:s:1").await.error(),
        "AlreadyExists"
    );
    let patch = r#"{"isActive":false}"#;
    let patched = broker
        .send("PATCH", "/subscriptions/urn:s:1", &as_tenant("one"), Some(patch))
        .await;
    assert_eq!(patched.status, 204);
    delete(&broker, "one", "/subscriptions/urn:s:1").await;
    assert_eq!(subscribe(&broker, "one", "urn:s:2").await.status, 201);
    assert_eq!(used(&broker, "one", "subscriptions"), ("2".into(), "2".into()));
}

#[tokio::test]
async fn limits_change_while_it_runs_and_one_below_what_is_used_takes_nothing_and_refuses_only_what_adds() {
    let broker = broker("tenants: [one]\n").await;
    for n in 0..5 {
        assert_eq!(create(&broker, "one", &format!("urn:x:{n}")).await.status, 201);
    }
    let pid = broker.process.id();
    broker.configure("tenants: [one]\nquotas: {entities: 2}\n");
    until_limit(&broker, "one", "entities", "2").await;
    assert_eq!(
        used(&broker, "one", "entities"),
        ("5".into(), "5".into()),
        "what was there is counted"
    );
    is_refused(
        &create(&broker, "one", "urn:x:9").await,
        &["may have 2 entities and has 5"],
    );
    let change = broker
        .send(
            "PATCH",
            "/entities/urn:x:1/attrs",
            &as_tenant("one"),
            Some(r#"{"p":"a longer value"}"#),
        )
        .await;
    assert_eq!(change.status, 204);
    for n in 0..3 {
        is_refused(&create(&broker, "one", "urn:x:9").await, &["may have 2 entities"]);
        delete(&broker, "one", &format!("/entities/urn:x:{n}")).await;
    }
    is_refused(&create(&broker, "one", "urn:x:9").await, &["has 2"]);
    broker.configure("tenants: [one]\nquotas: {entities: 3}\n");
    until_limit(&broker, "one", "entities", "3").await;
    assert_eq!(create(&broker, "one", "urn:x:9").await.status, 201);
    broker.configure("tenants: [one]\n");
    until_limit(&broker, "one", "entities", "none").await;
    assert_eq!(create(&broker, "one", "urn:x:10").await.status, 201);
    assert_eq!(broker.process.id(), pid);
    assert_eq!(broker.readyz().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_while_others_write_is_exact() {
    let broker = broker("tenants: [one]\n").await;
    let write = async |worker: usize| {
        for n in 0..60 {
            let id = format!("urn:x:{worker}:{n}");
            assert_eq!(create(&broker, "one", &id).await.status, 201);
            if n % 3 == 0 {
                delete(&broker, "one", &format!("/entities/{id}")).await;
            }
            if worker == 0 && n == 10 {
                broker.configure("tenants: [one]\nquotas: {entities: 100000, bytes: 100000000}\n");
            }
        }
    };
    futures::join!(write(0), write(1), write(2), write(3));
    until_limit(&broker, "one", "entities", "100000").await;
    until_limit(&broker, "one", "bytes", "100000000").await;
    assert_eq!(used(&broker, "one", "entities"), ("160".into(), "160".into()));
    let (noted, there) = used(&broker, "one", "bytes");
    assert_eq!(noted, there);
}

/// What a broker of any version writes, as SQL.
fn insert(id: &str) -> String {
    format!(
        "insert into mim.entities (tenant, id, types, scope, attrs, terms, created, modified) \
         select t.id, '{id}', '{{A}}', '{{}}', '{{}}', '{{}}', now(), now() from mim.tenants t where t.name = 'one'"
    )
}

#[tokio::test]
async fn who_wrote_before_a_limit_was_there_and_ends_after_it_is_counted_too() {
    let broker = broker("tenants: [one]\n").await;
    let mut writer = broker.database.transaction(&insert("urn:x:1"));
    eventually(10, "it is in its transaction", async || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
        broker.database.psql(sql) == "1"
    })
    .await;
    broker.configure("tenants: [one]\nquotas: {entities: 1}\n");
    eventually(30, "there is a limit that is to be counted", async || {
        broker
            .database
            .psql("select count(*) from mim.usage where since is not null and not counted")
            != "0"
    })
    .await;
    // Nobody counts while it may still write what nobody sees.
    assert_eq!(create(&broker, "one", "urn:x:2").await.status, 201);
    writer.stdin.take().unwrap().write_all(b"commit;\n").unwrap();
    assert!(writer.wait().unwrap().success());
    until_limit(&broker, "one", "entities", "1").await;
    assert_eq!(used(&broker, "one", "entities"), ("2".into(), "2".into()));
    is_refused(
        &create(&broker, "one", "urn:x:3").await,
        &["may have 1 entities and has 2"],
    );
}

#[tokio::test]
async fn metrics_tell_how_tenants_fare_and_none_by_name() {
    let broker = broker("tenants: [one, two]\nquotas: {entities: 4, tenants: [{tenant: two}]}\n").await;
    for n in 0..4 {
        assert_eq!(create(&broker, "one", &format!("urn:x:{n}")).await.status, 201);
    }
    let tenants = async |state: &str| {
        let name = format!("mim_broker_quota_tenants{{quota=\"entities\",tenants=\"{state}\"}}");
        broker.metric(&name).await
    };
    eventually(15, "it is told", async || tenants("full").await == 1).await;
    assert_eq!(
        (
            tenants("limited").await,
            tenants("nearly_full").await,
            tenants("counting").await
        ),
        (2, 1, 0)
    );
    let text = broker
        .client
        .send(broker.health, "GET", "/metrics", &[], None)
        .await
        .text();
    assert!(
        text.contains("mim_broker_quota_greatest_share{quota=\"entities\"} 1.0"),
        "{text}"
    );
    assert!(!text.contains("\"one\""), "{text}");
}

#[tokio::test]
async fn a_dropped_tenant_goes_with_all_that_was_noted_of_it() {
    let broker = broker("tenants: [one]\nquotas: {entities: 4, bytes: 10000}\n").await;
    assert_eq!(create(&broker, "one", "urn:x:1").await.status, 201);
    broker.configure("droppedTenants: [one]\nquotas: {entities: 4, bytes: 10000}\n");
    eventually(15, "it is marked", async || {
        broker
            .database
            .psql("select count(*) from mim.tenants where dropped is not null")
            == "1"
    })
    .await;
    broker
        .database
        .psql("update mim.tenants set dropped = dropped - interval '10 minutes' where dropped is not null");
    eventually(40, "it is gone", async || {
        broker
            .database
            .psql("select count(*) from mim.tenants where was = 'one'")
            == "0"
    })
    .await;
    assert_eq!(
        broker
            .database
            .psql("select count(distinct tenant) from mim.usage"),
        "1"
    );
    broker.configure("tenants: [one]\nquotas: {entities: 4, bytes: 10000}\n");
    eventually(15, "one of its name comes", async || {
        create(&broker, "one", "urn:x:1").await.status == 201
    })
    .await;
    assert_eq!(
        used(&broker, "one", "entities"),
        ("1".into(), "1".into()),
        "it begins with nothing"
    );
}

/// A broker from before quotas knows the rows of an entity, and nothing of limits.
#[tokio::test]
async fn what_a_broker_from_before_quotas_writes_counts_and_it_tells_a_refusal_in_the_same_words() {
    let broker = broker("tenants: [one]\nquotas: {entities: 2}\n").await;
    for id in ["urn:x:1", "urn:x:2"] {
        broker.database.psql(&insert(id));
    }
    is_refused(&create(&broker, "one", "urn:x:3").await, &["has 2"]);
    let told = broker.database.psql(&format!(
        "create function pg_temp.told() returns text language plpgsql as $$ \
         begin {}; return 'kept'; exception when others then return sqlstate || ' ' || sqlerrm; end $$; select pg_temp.told()",
        insert("urn:x:3")
    ));
    // To all of class 54 it answers 400 `BadRequestData` with the message.
    assert!(
        told.contains("54Q01 the tenant may have 2 entities and has 2"),
        "{told}"
    );
}
