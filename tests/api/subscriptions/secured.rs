//! Subscriptions at a broker that is reached over HTTPS, with an authority of its own and a token.

use http::header::AUTHORIZATION;
use kube::api::DeleteParams;
use mim_operator::reconcile::request::Journal;
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::FakeBroker;
use mim_tests::foreign::any_authority;
use serde_json::{Value, json};

use super::{annotate, eventually_shown, subscription};
use crate::city::{City, broker};

fn secret(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}})
}

#[tokio::test]
async fn a_broker_over_https_is_told_the_token_only_where_its_authority_is_the_one_of_the_secret() {
    let mut city = City::without_operator("sub-https").await;
    let host = city.host("vienna");
    let (foreign, ca) = FakeBroker::start_secured(std::slice::from_ref(&host), "sesame").await;
    city.doors.lead(&host, &foreign);
    city.start(Journal::new());
    city.apply(&secret("vienna-ca", "ca.crt", &any_authority().bundle))
        .await;
    city.apply(&secret("vienna-token", "token", "melon")).await;
    let external = json!({"url": format!("https://{host}:1026"), "caSecretRef": {"name": "vienna-ca"}, "tokenSecretRef": {"name": "vienna-token"}});
    city.apply(&broker(
        "vienna",
        &json!({"engine": "External", "external": external}),
    ))
    .await;
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>40"})))
        .await;
    city.subscription_complains("air", "BrokerUnreachable", false, &["certificate"])
        .await;
    assert!(foreign.calls().is_empty(), "nothing is told to a stranger");
    city.apply(&secret("vienna-ca", "ca.crt", &ca)).await;
    annotate(&city, "air", "mim.city/requestedAt", "1").await;
    city.subscription_complains("air", "BrokerUnauthorised", false, &["401", "tokenSecretRef"])
        .await;
    assert_eq!(foreign.only(), None);
    city.apply(&secret("vienna-token", "token", "sesame")).await;
    annotate(&city, "air", "mim.city/requestedAt", "2").await;
    city.subscription_says("air", "True", "Ready").await;
    let made = foreign.only().unwrap();
    assert_eq!(made["q"], "no2>40");
    foreign.edit(|held| drop(held.insert("q".into(), json!("no2>1"))));
    annotate(&city, "air", "mim.city/requestedAt", "3").await;
    eventually_shown(&foreign, "the edit is set back", |shown| shown["q"] == "no2>40").await;
    city.subscriptions()
        .delete("air", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the subscription is gone, there and here", || async {
        let there = foreign.only();
        let here = city.subscriptions().get_opt("air").await.unwrap();
        if there.is_none() && here.is_none() {
            Ok(())
        } else {
            Err((there, here.and_then(|held| held.metadata.finalizers)))
        }
    })
    .await;
    assert_eq!(foreign.made_and_deleted(), (1, 1));
    let calls = foreign.calls();
    let changes = calls
        .iter()
        .filter(|call| call.changes() && call.status != Some(401));
    let tokens: Vec<_> = changes.map(|call| call.headers.get(AUTHORIZATION)).collect();
    assert!(
        tokens.len() >= 3
            && tokens
                .iter()
                .all(|token| token.is_some_and(|token| token == "Bearer sesame")),
        "{calls:#?}"
    );
}
