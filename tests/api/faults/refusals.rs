//! What cannot be is refused at apply, with the field and what to write; what only the operator can know is `Stalled` with the same words.

use serde_json::{Value, json};

use mim_tests::cluster::apply;

use crate::city::{City, broker, platform};

/// Applies an object as a user does; it must be refused. Gives field and message of each cause.
async fn refused(city: &City, object: &Value) -> Vec<(String, String)> {
    let answer = apply(&city.client, &city.namespace, object).await;
    let Err(kube::Error::Api(status)) = answer else {
        panic!("let in: {object}")
    };
    assert_eq!(status.code, 422, "{}", status.message);
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .map(|cause| (cause.field.clone(), cause.message.clone()))
        .collect()
}

/// One of the causes names this field and says these words.
fn named(causes: &[(String, String)], field: &str, words: &[&str]) {
    let says = |message: &str| words.iter().all(|word| message.contains(word));
    let found = causes.iter().any(|(at, message)| at == field && says(message));
    assert!(found, "{field} {words:?} is not in {causes:#?}");
}

/// A broker, and the same as a platform's section: what is tried, and where it stands there.
fn both(section: &Value) -> [(Value, &'static str); 2] {
    [
        (broker("vienna", section), "spec"),
        (platform("vienna", &json!({"broker": section})), "spec.broker"),
    ]
}

#[tokio::test]
async fn row_refused_at_apply_external_without_url_names_the_field_and_an_address_to_write() {
    let city = City::without_operator("refused").await;
    for (object, at) in both(&json!({"engine": "External"})) {
        let causes = refused(&city, &object).await;
        let words = ["engine External needs external.url", "https://broker.example.org"];
        named(&causes, &format!("{at}.external"), &words);
    }
    for (object, at) in both(&json!({"engine": "External", "external": {}})) {
        let causes = refused(&city, &object).await;
        named(&causes, &format!("{at}.external.url"), &["Required value"]);
    }
}

#[tokio::test]
async fn row_refused_at_apply_both_storages_says_to_write_exactly_one() {
    let city = City::without_operator("refused").await;
    let storage = json!({"managed": {}, "external": {"secretRef": {"name": "db"}}});
    for (object, at) in both(&json!({"storage": storage})) {
        let causes = refused(&city, &object).await;
        let words = ["exactly one of managed", "external"];
        named(&causes, &format!("{at}.storage"), &words);
    }
}

#[tokio::test]
async fn row_refused_at_apply_a_smaller_size_says_to_write_the_old_or_a_larger_one() {
    let city = City::without_operator("refused").await;
    let of = |size: &str| both(&json!({"storage": {"managed": {"size": size}}}));
    for ((before, at), (smaller, _)) in of("20Gi").into_iter().zip(of("19Gi")) {
        city.apply(&before).await;
        let causes = refused(&city, &smaller).await;
        let words = ["cannot shrink", "write the old size or a larger one"];
        named(&causes, &format!("{at}.storage"), &words);
    }
}

#[tokio::test]
async fn row_refused_at_apply_a_name_of_41_characters_says_how_long_it_may_be() {
    let city = City::without_operator("refused").await;
    let name = "a".repeat(41);
    for object in [broker(&name, &json!({})), platform(&name, &json!({}))] {
        let causes = refused(&city, &object).await;
        let found = causes
            .iter()
            .any(|(_, message)| message.contains("40 characters"));
        assert!(found, "{causes:#?}");
    }
}

#[tokio::test]
async fn row_refused_at_apply_an_unknown_engine_lists_those_that_there_are() {
    let city = City::without_operator("refused").await;
    for (object, at) in both(&json!({"engine": "Scorpio"})) {
        let causes = refused(&city, &object).await;
        named(&causes, &format!("{at}.engine"), &["Native", "External"]);
    }
}

/// The catalogue is the operator's: the API server cannot know it.
#[tokio::test]
async fn row_refused_at_apply_or_stalled_an_unknown_release_names_the_field_and_lists_the_known_ones() {
    let city = City::new("release").await;
    city.apply(&broker("linz", &json!({"release": "9.9.9"}))).await;
    let words = ["spec.release", "9.9.9", "0.1.0", "0.2.0"];
    city.broker_complains("linz", "ReleaseUnknown", true, &words)
        .await;
    city.apply(&platform("vienna", &json!({"release": "9.9.9", "broker": {}})))
        .await;
    let held = city.platform_says("vienna", "False", "ReleaseUnknown").await;
    let conditions = held.status.unwrap().conditions;
    let stalled = conditions.iter().find(|of| of.type_ == "Stalled").unwrap();
    assert_eq!(stalled.status, "True");
    for word in words {
        assert!(stalled.message.contains(word), "{}", stalled.message);
    }
    assert_eq!(city.children("UrbanDataPlatform", "vienna").await.len(), 0);
    // What cannot be a name at all is refused at once.
    let causes = refused(&city, &broker("graz", &json!({"release": "Latest!"}))).await;
    named(&causes, "spec.release", &["should match"]);
}
