//! Notifications of an interval: all that match, however many and however large they are, and at least once.

use crate::support::interval::subscribe;
use crate::support::{Broker, Receiver, eventually};
use serde_json::{Value, json};
use std::time::Duration;

/// The most that one notification has.
const ENTITIES: usize = 1000;
const BYTES: usize = 8 * 1024 * 1024;
/// Of an entity that is not read without room.
const LARGE: usize = 70_000;

async fn shown(broker: &Broker, id: &str) -> Value {
    broker.get(&format!("/subscriptions/{id}")).await.json()["notification"].clone()
}

/// Waits until an interval of ten minutes is told, so that the next one comes in its time.
async fn until_over(broker: &Broker) {
    let over = "select due > clock_timestamp() + interval '8 minutes' from mim.subscriptions";
    eventually(20, "the interval is told", async || {
        broker.database.psql(over) == "t"
    })
    .await;
}

fn id(n: usize) -> String {
    format!("urn:x:{n:05}")
}

/// Creates an entity for each of these sizes; their ids, in order.
async fn create(broker: &Broker, sizes: &[usize]) -> Vec<String> {
    let entity = |(n, size): (usize, &usize)| json!({"id": id(n), "type": "T", "text": "x".repeat(*size)});
    let entities: Vec<Value> = sizes.iter().enumerate().map(entity).collect();
    for some in entities.chunks(100) {
        let body = Value::from(some).to_string();
        let answer = broker.post("/entityOperations/create", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    (0..sizes.len()).map(id).collect()
}

fn ids(entities: &[Value]) -> Vec<&str> {
    entities
        .iter()
        .map(|entity| entity["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_large_entity_is_told_and_silences_none_that_follow_it() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[LARGE, 1, 3_000_000, 1, LARGE, 1]).await;
    let receiver = Receiver::start().await;
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    let told = receiver.until(all.len()).await;
    assert_eq!(ids(&told), all);
    let sizes: Vec<_> = told.iter().map(|e| e["text"].as_str().unwrap().len()).collect();
    assert_eq!(sizes, [LARGE, 1, 3_000_000, 1, LARGE, 1]);
    assert_eq!(receiver.all().len(), 1);
}

#[tokio::test]
async fn more_entities_than_one_notification_has_are_told_once_each_in_several() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[1; 2 * ENTITIES + 1]).await;
    let receiver = Receiver::start().await;
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    let told = receiver.until(all.len()).await;
    assert_eq!(ids(&told), all);
    let each: Vec<_> = receiver
        .all()
        .iter()
        .map(|one| one.body["data"].as_array().unwrap().len())
        .collect();
    assert_eq!(each, [ENTITIES, ENTITIES, 1]);
    eventually(10, "each of them is counted", async || {
        shown(&broker, "urn:s:1").await["timesSent"] == 3
    })
    .await;
}

#[tokio::test]
async fn larger_entities_than_one_notification_has_are_told_once_each_in_several() {
    let broker = Broker::ready().await;
    let sizes: Vec<usize> = (0..300)
        .map(|n| if n % 3 == 0 { LARGE } else { 60_000 })
        .collect();
    let all = create(&broker, &sizes).await;
    let receiver = Receiver::start().await;
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    let told = receiver.until(all.len()).await;
    assert_eq!(ids(&told), all);
    for one in receiver.all() {
        let size = one.body.to_string().len();
        assert!(size < BYTES + 2 * LARGE, "{size}");
    }
    let sent = receiver.all().len();
    assert!((3..=6).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_notification_that_was_not_taken_is_tried_again_before_a_long_interval_is_over() {
    let broker = Broker::ready().await;
    create(&broker, &[1]).await;
    let receiver = Receiver::start().await;
    receiver.answers(500);
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    eventually(10, "it was tried", async || !receiver.all().is_empty()).await;
    eventually(10, "it is shown as failed", async || {
        let shown = shown(&broker, "urn:s:1").await;
        shown["status"] == "failed" && shown["lastFailure"].is_string()
    })
    .await;
    receiver.answers(204);
    receiver.until(1).await;
    eventually(10, "it is shown as well", async || {
        let shown = shown(&broker, "urn:s:1").await;
        let (sent, failed) = (shown["timesSent"].as_u64(), shown["timesFailed"].as_u64());
        let tried = receiver.all().len() as u64;
        shown["status"] == "ok" && sent == Some(tried) && failed == Some(tried - 1)
    })
    .await;
    // The next one comes when the interval is over, counted from the first.
    let next = "select due - created > interval '599 seconds' and due - created < interval '602 seconds' from mim.subscriptions";
    assert_eq!(broker.database.psql(next), "t");
}

#[tokio::test]
async fn what_was_taken_of_an_interval_is_not_told_again_where_the_rest_was_not_taken() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[1; ENTITIES + 500]).await;
    let receiver = Receiver::start().await;
    // Long enough for what comes next to be said before it comes.
    receiver.takes(Duration::from_secs(3));
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    eventually(20, "the first is being told", async || receiver.all().len() == 1).await;
    receiver.answers(500);
    receiver.takes(Duration::ZERO);
    eventually(20, "the second was not taken", async || receiver.all().len() >= 2).await;
    receiver.answers(204);
    assert_eq!(ids(&receiver.until(all.len()).await), all);
    assert_eq!(receiver.all().iter().filter(|one| one.status == 204).count(), 2);
}

#[tokio::test]
async fn of_an_interval_that_has_begun_meanwhile_what_was_taken_is_not_told_again_either() {
    let broker = Broker::ready().await;
    create(&broker, &[1; ENTITIES + 1]).await;
    let (receiver, second) = (Receiver::start().await, id(ENTITIES));
    receiver.refuses(&second);
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    let told = |taken: bool| {
        receiver
            .all()
            .iter()
            .filter(|one| (one.status == 204) == taken)
            .count()
    };
    eventually(20, "the second is refused", async || told(false) > 0).await;
    assert_eq!(told(true), 1);
    let noted = "select hold is null and told_to is not null from mim.subscriptions";
    eventually(20, "that is noted", async || broker.database.psql(noted) == "t").await;
    // The next interval begins: the first one is told again, and once.
    broker.database.psql(
        "update mim.subscriptions set owed = owed - interval '601 seconds', modified = modified - interval '601 seconds'",
    );
    eventually(20, "the next interval is told", async || told(true) == 2).await;
    let before = told(false);
    eventually(20, "the second is refused again and again", async || {
        told(false) >= before + 3
    })
    .await;
    assert_eq!(told(true), 2);
}

#[tokio::test]
async fn an_interval_of_next_to_nothing_is_told_and_counted_whether_it_is_taken_or_not() {
    let broker = Broker::ready().await;
    create(&broker, &[1]).await;
    let (good, bad) = (Receiver::start().await, Receiver::start().await);
    bad.answers(500);
    for (id, receiver) in [("urn:s:good", &good), ("urn:s:bad", &bad)] {
        let body = format!(
            r#"{{"id":"{id}","type":"Subscription","entities":[{{"type":"T"}}],"timeInterval":1e-320,"notification":{{"endpoint":{{"uri":"{}"}}}}}}"#,
            receiver.url()
        );
        let answer = broker.post("/subscriptions", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    eventually(20, "what was taken is counted", async || {
        let shown = shown(&broker, "urn:s:good").await;
        shown["timesSent"].as_u64() > Some(3) && shown["lastSuccess"].is_string()
    })
    .await;
    eventually(20, "what was not is counted", async || {
        let shown = shown(&broker, "urn:s:bad").await;
        shown["timesFailed"].as_u64() > Some(1) && shown["status"] == "failed"
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_takes_again_what_it_is_sent_is_one_that_takes_it() {
    let broker = Broker::ready().await;
    // After these it has to be asked whether there are more.
    create(&broker, &[1; ENTITIES]).await;
    let receiver = Receiver::start().await;
    receiver.answers(500);
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    let is_doubtful = "select failures > 0 from mim.subscriptions";
    eventually(20, "it has failed", async || {
        broker.database.psql(is_doubtful) == "t"
    })
    .await;
    receiver.answers(204);
    receiver.until(ENTITIES).await;
    until_over(&broker).await;
    assert_eq!(broker.database.psql(is_doubtful), "");
}

#[tokio::test]
async fn a_receiver_that_takes_its_time_is_told_all_by_a_place_for_such() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[1; ENTITIES + 1]).await;
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_secs(6));
    let endpoint = json!({"uri": receiver.url(), "timeout": 60_000});
    subscribe(&broker, "urn:s:1", 600.0, endpoint).await;
    eventually(20, "the second is being told", async || receiver.all().len() == 2).await;
    let class = "select failures from mim.subscriptions";
    assert_eq!(broker.database.psql(class), "0");
    receiver.takes(Duration::ZERO);
    until_over(&broker).await;
    assert_eq!(ids(&receiver.taken()), all);
    assert_eq!(receiver.all().len(), 2);
}

#[tokio::test]
async fn what_is_paused_or_expired_is_not_looked_at_until_it_is_changed() {
    let broker = Broker::ready().await;
    create(&broker, &[1]).await;
    let (paused, expiring) = (Receiver::start().await, Receiver::start().await);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
    for (id, receiver, more) in [
        ("urn:s:paused", &paused, json!({"isActive": false})),
        (
            "urn:s:expiring",
            &expiring,
            json!({"expiresAt": format!("{soon:.3}")}),
        ),
    ] {
        let mut body = json!({"id": id, "type": "Subscription", "entities": [{"type": "T"}], "timeInterval": 0.1,
            "notification": {"endpoint": {"uri": receiver.url()}}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = broker.post("/subscriptions", &body.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    expiring.until(2).await;
    eventually(20, "neither is due any more", async || {
        broker.database.psql("select count(due) from mim.subscriptions") == "0"
    })
    .await;
    assert!(paused.all().is_empty());
    let change = json!({"isActive": true}).to_string();
    let changed = broker
        .send("PATCH", "/subscriptions/urn:s:paused", &[], Some(&change))
        .await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    paused.until(2).await;
}

/// What the broker of before holds were known writes where a subscription is changed.
const CHANGED_BY_THE_BROKER_OF_BEFORE: &str = "update mim.subscriptions set modified = now(), due = now(), quiet_until = null, \
    body = jsonb_set(body, '{notification,endpoint,uri}', to_jsonb('$URI'::text)); \
    update mim.tenants set subscriptions = subscriptions + 1";

#[tokio::test]
async fn a_subscription_that_the_broker_of_before_changes_is_told_whole_though_its_receiver_hangs() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[1; ENTITIES + 1]).await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.takes(Duration::from_secs(2));
    subscribe(&broker, "urn:s:1", 600.0, json!({"uri": hanging.url()})).await;
    eventually(10, "the first is being told", async || hanging.all().len() == 1).await;
    hanging.answers(0);
    eventually(10, "the second is being told", async || hanging.all().len() == 2).await;
    let change = CHANGED_BY_THE_BROKER_OF_BEFORE.replace("$URI", &good.url());
    broker.database.psql(&change);
    assert_eq!(ids(&good.until(all.len()).await), all);
    eventually(20, "nothing is under way", async || hanging.under_way() == 0).await;
    until_over(&broker).await;
    assert_eq!((hanging.all().len(), good.all().len()), (2, 2));
}

#[tokio::test]
async fn a_subscription_that_is_changed_is_told_at_once_though_its_receiver_hangs() {
    let broker = Broker::ready().await;
    create(&broker, &[1]).await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(0);
    let endpoint = json!({"uri": hanging.url(), "timeout": 60_000});
    subscribe(&broker, "urn:s:1", 600.0, endpoint).await;
    eventually(10, "it is being told", async || !hanging.all().is_empty()).await;
    let change = json!({"notification": {"endpoint": {"uri": good.url()}}}).to_string();
    let changed = broker
        .send("PATCH", "/subscriptions/urn:s:1", &[], Some(&change))
        .await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    good.until(1).await;
    // The call that was under way is given up.
    eventually(20, "nothing is under way", async || hanging.under_way() == 0).await;
    assert_eq!((hanging.all().len(), good.all().len()), (1, 1));
}
