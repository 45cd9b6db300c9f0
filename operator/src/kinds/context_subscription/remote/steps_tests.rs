//! The next step, from every state in which a turn, or a crash, may leave things.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::context_subscription::remote::fixtures::{ID, shown, wanted};

/// The step in short: method, path, and the members of its body.
fn told(step: Option<Step>) -> String {
    let Some(step) = step else {
        return "nothing".to_owned();
    };
    let path = step.request.url.path().to_owned();
    let body: Value = serde_json::from_slice(&step.request.body).unwrap_or_default();
    let names = body.as_object().into_iter().flatten().map(|(name, value)| {
        let gone = if value.is_null() { "-" } else { "" };
        format!("{gone}{name}")
    });
    let note = step.note.map_or("", |_| " and tells");
    format!(
        "{} {path} {}{note}",
        step.request.method,
        names.collect::<Vec<_>>().join(",")
    )
    .trim_end()
    .to_owned()
}

fn as_written(wanted: &Wanted) -> Written {
    Written {
        place: Some(wanted.broker.endpoint.clone()),
        applied: wanted.body.as_ref().map(applied),
        shown: shown(wanted, &json!({})).digest(wanted),
    }
}

const ALL: &str = "/base/ngsi-ld/v1/subscriptions";

fn one() -> String {
    format!("{ALL}/{ID}")
}

const WHOLE: &str = "entities,isActive,notification,subscriptionName";

#[test]
fn what_is_not_there_is_made_and_told_only_where_it_was_there_before() {
    let wanted = wanted(&json!({}));
    let create = format!("POST {ALL} entities,id,isActive,notification,subscriptionName,type");
    let nothing = Found::nothing();
    assert_eq!(told(next(&wanted, &nothing, &Written::default())), create);
    let written = as_written(&wanted);
    assert_eq!(
        told(next(&wanted, &nothing, &written)),
        format!("{create} and tells")
    );
}

#[test]
fn what_is_as_written_is_left_alone() {
    let wanted = wanted(&json!({"q": "a>1"}));
    let found = shown(&wanted, &json!({}));
    assert_eq!(told(next(&wanted, &found, &as_written(&wanted))), "nothing");
    // Just made: it is looked at once, and is as it is.
    let just_made = Written {
        shown: None,
        ..as_written(&wanted)
    };
    assert_eq!(told(next(&wanted, &found, &just_made)), "nothing");
    let elsewise = shown(
        &wanted,
        &json!({"q": "(a>1)", "notificationTrigger": ["attributeCreated", "attributeUpdated"]}),
    );
    assert_eq!(
        told(next(&wanted, &elsewise, &just_made)),
        "nothing",
        "a broker has ways of its own"
    );
}

#[test]
fn another_spec_is_merged_and_what_is_not_wanted_any_more_is_taken_away() {
    let before = wanted(&json!({"q": "a>1", "throttling": "PT5S"}));
    let found = shown(&before, &json!({}));
    let now = wanted(&json!({"mode": "Paused"}));
    let step = next(&now, &found, &as_written(&before)).unwrap();
    assert_eq!(
        told(Some(step.clone())),
        format!(
            "PATCH {} entities,isActive,notification,-q,subscriptionName,-throttling",
            one()
        )
    );
    assert_eq!(step.then.applied, now.body.as_ref().map(applied));
    assert_eq!(step.then.shown, None, "what it shows is read next");
}

#[test]
fn what_a_merge_leaves_goes_with_the_whole_and_only_after_the_merge_was_taken() {
    let now = wanted(&json!({}));
    let stubborn = shown(&now, &json!({"notification": {"pick": ["id"]}}));
    // Nobody knows what was written: the merge comes first, so that a spec that is refused stops nothing.
    assert_eq!(
        told(next(&now, &stubborn, &Written::default())),
        format!("PATCH {} {WHOLE}", one())
    );
    let merged = Written {
        shown: None,
        ..as_written(&now)
    };
    assert_eq!(told(next(&now, &stubborn, &merged)), format!("DELETE {}", one()));
}

#[test]
fn what_was_changed_by_hand_is_set_back_and_told() {
    let wanted = wanted(&json!({}));
    let edited = shown(&wanted, &json!({"isActive": false, "q": "a>1"}));
    assert_eq!(
        told(next(&wanted, &edited, &as_written(&wanted))),
        format!(
            "PATCH {} entities,isActive,notification,-q,subscriptionName and tells",
            one()
        )
    );
}

#[test]
fn another_context_is_another_subscription_once_the_broker_has_taken_the_new_names() {
    let before = wanted(&json!({"jsonldContext": "https://example.org/one"}));
    let found = shown(&before, &json!({}));
    for spec in [json!({"jsonldContext": "https://example.org/two"}), json!({})] {
        let now = wanted(&spec);
        let step = next(&now, &found, &as_written(&before)).unwrap();
        assert!(told(Some(step.clone())).starts_with("PATCH"), "{spec}");
        assert_ne!(
            step.then.applied,
            now.body.as_ref().map(applied),
            "it is made with the old one still"
        );
        assert_eq!(
            told(next(&now, &found, &step.then)),
            format!("DELETE {}", one()),
            "{spec}"
        );
    }
}

#[test]
fn what_has_ended_is_left_as_it_is_until_it_is_to_go() {
    let ended = Wanted {
        expired: true,
        ..wanted(&json!({"expiresAt": "2020-01-01T00:00:00Z"}))
    };
    let found = shown(&ended, &json!({"isActive": false}));
    assert_eq!(told(next(&ended, &found, &as_written(&ended))), "nothing");
    assert_eq!(
        told(next(&ended, &Found::nothing(), &Written::default())),
        "nothing"
    );
    let gone = Wanted::gone(ended.broker.clone(), None, ID.into());
    assert_eq!(
        told(next(&gone, &found, &as_written(&ended))),
        format!("DELETE {}", one())
    );
    assert_eq!(
        told(next(&gone, &Found::nothing(), &as_written(&ended))),
        "nothing"
    );
}

#[test]
fn requests_carry_token_tenant_context_and_type_and_no_secret_in_their_words() {
    let wanted = wanted(&json!({"jsonldContext": "https://example.org/c"}));
    let request = next(&wanted, &Found::nothing(), &Written::default())
        .unwrap()
        .request;
    assert_eq!(
        request.url.as_str(),
        "https://broker.example.org/base/ngsi-ld/v1/subscriptions"
    );
    assert_eq!(request.headers["ngsild-tenant"], "north");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(
        request.headers["link"],
        r#"<https://example.org/c>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json""#
    );
    assert!(request.token.is_some());
    assert!(
        !format!("{request:?}").contains("token-not-to-be-told"),
        "{request:?}"
    );
    let look = wanted.request(Method::GET, wanted.url());
    assert_eq!(look.url.path(), one());
    assert!(
        look.headers.get("link").is_none(),
        "a look needs no context, and must not fail for one"
    );
}

/// A broker of few words: what it does with a step, and what it may leave out.
fn play(found: &mut Found, wanted: &Wanted, step: &Step, deaf: bool) {
    let body: Option<Value> = serde_json::from_slice(&step.request.body).ok();
    *found = match step.request.method.as_str() {
        "POST" => shown(wanted, &json!({})),
        "PATCH" if deaf => found.clone(),
        "PATCH" => {
            let mut held = serde_json::to_value(found.body_for_tests()).unwrap();
            for (name, value) in body.unwrap().as_object().unwrap() {
                if value.is_null() {
                    held.as_object_mut().unwrap().remove(name);
                } else {
                    held[name] = value.clone();
                }
            }
            Found::read(held.as_object().unwrap().clone())
        }
        _ => Found::nothing(),
    };
}

proptest! {
    /// From any state that is there, whatever is known of it, with a crash after any step, a few steps lead to rest; and rest stays.
    #[test]
    fn every_state_comes_to_rest(
        old in 0..4_usize, new in 0..4_usize, there: bool, knows in 0..4_usize, edited: bool, deaf: bool, crashes in 0..4_usize,
    ) {
        let specs = [
            json!({}),
            json!({"q": "a>1", "throttling": "PT5S"}),
            json!({"notification": {"pick": ["id"]}}),
            json!({"jsonldContext": "https://example.org/c"}),
        ];
        let (before, now) = (wanted(&specs[old]), wanted(&specs[new]));
        let edit = if edited { json!({"isActive": false}) } else { json!({}) };
        let mut found = if there { shown(&before, &edit) } else { Found::nothing() };
        let mut written = match knows {
            0 => Written::default(),
            1 => as_written(&before),
            2 => Written { shown: None, ..as_written(&before) },
            _ => as_written(&now),
        };
        let recorded = written.clone();
        let mut steps = 0;
        while let Some(step) = next(&now, &found, &written) {
            steps += 1;
            prop_assert!(steps <= 8, "{}", told(Some(step)));
            play(&mut found, &now, &step, deaf);
            // A crash forgets what was not in the status yet.
            written = if steps == crashes { recorded.clone() } else { step.then };
        }
        prop_assert!(found.is_there());
        written.shown = found.digest(&now);
        prop_assert!(next(&now, &found, &written).is_none(), "rest stays");
        if !deaf {
            prop_assert_eq!(found.left_over(&now), Vec::<&str>::new());
        }
    }
}
