use super::*;
use crate::context::Context;
use crate::model::json::Json;
use crate::model::stored;
use crate::permissions::owner::Owner;
use proptest::prelude::*;

fn there(number: i64, version: i64, more: &str) -> There {
    let text = format!(
        r#"{{"id":"urn:s:{number}","type":"Subscription","entities":[{{"type":"T","idPattern":"x:{number}"}}],{more}"notification":{{"endpoint":{{"uri":"http://r.example/"}}}}}}"#
    );
    let json = Json::parse(text.as_bytes()).unwrap();
    let read = Subscription::read(&json, &Context::core(), "", Timestamp::UNIX_EPOCH);
    There {
        number,
        version,
        subscription: read.unwrap(),
    }
}

fn concerned(known: &Known, id: &str) -> Vec<i64> {
    let entity = Entity {
        id: id.to_owned(),
        types: vec![Context::core().expand("T").into_owned()],
        scope: Vec::new(),
        attributes: stored::read(r#"{"urn:a":[{"type":"Property","value":1}]}"#).unwrap(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    };
    known
        .concerned(None, Some(&entity), Timestamp::UNIX_EPOCH)
        .subscriptions
}

#[test]
fn each_epoch_knows_those_that_are_there_and_prepares_only_what_is_new() {
    let none = Known::default();
    let first = [(1, 10), (2, 10), (3, 10)];
    assert_eq!(none.unknown(&first), [1, 2, 3]);
    let known = none.next(1, &first, (1..=3).map(|n| there(n, 10, "")).collect());
    assert_eq!(
        (concerned(&known, "urn:x:1"), concerned(&known, "urn:x:3")),
        (vec![1], vec![3])
    );

    // The first was noted to have been told, the second paused, the third deleted, and a fourth made.
    let second = [(1, 11), (2, 11), (4, 11)];
    assert_eq!(known.unknown(&second), [1, 2, 4]);
    let read = vec![
        there(1, 11, ""),
        there(2, 11, r#""isActive":false,"#),
        there(4, 11, ""),
    ];
    let next = known.next(2, &second, read);
    assert_eq!(next.unknown(&second), [0; 0]);
    assert!(Arc::ptr_eq(known.get(1).unwrap(), next.get(1).unwrap()));
    assert!(next.get(2).is_none() && next.get(3).is_none());
    for (id, expected) in [
        ("urn:x:1", vec![1]),
        ("urn:x:2", vec![]),
        ("urn:x:3", vec![]),
        ("urn:x:4", vec![4]),
    ] {
        assert_eq!(concerned(&next, id), expected, "{id}");
    }
    // What is known of the first epoch stays as it was.
    assert_eq!(concerned(&known, "urn:x:3"), [3]);

    let resumed = next.next(3, &[(2, 12)], vec![there(2, 12, "")]);
    assert_eq!(
        (concerned(&resumed, "urn:x:2"), concerned(&resumed, "urn:x:1")),
        (vec![2], vec![])
    );
    assert!(resumed.next(4, &[], Vec::new()).is_empty());
}

/// What names without a context mean.
const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

/// An entity with values of some of the attributes, in a scope.
fn entity(scope: &str, values: [Option<u8>; 3]) -> Entity {
    let attributes = ["a", "b", "c"]
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| {
            let value = value?;
            Some(format!(
                r#""{DEFAULT}{name}":[{{"type":"Property","value":{value}}}]"#
            ))
        });
    let attributes: Vec<String> = attributes.collect();
    Entity {
        id: "urn:x:1".to_owned(),
        types: vec![format!("{DEFAULT}T")],
        scope: vec![scope.to_owned()],
        attributes: stored::read(&format!("{{{}}}", attributes.join(","))).unwrap(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    }
}

/// A subscription to entities of one type, of somebody who sees what these rules allow; `~a` is the attribute a.
fn owned(number: i64, more: &str, rules: &str) -> There {
    let text = format!(
        r#"{{"id":"urn:s:{number}","type":"Subscription","entities":[{{"type":"T"}}],{more}"notification":{{"endpoint":{{"uri":"http://r.example/"}}}}}}"#
    );
    let json = Json::parse(text.as_bytes()).unwrap();
    let read = Subscription::read(&json, &Context::core(), "", Timestamp::UNIX_EPOCH);
    let mut subscription = read.unwrap();
    let kept = serde_json::json!({"subject": "urn:s", "read": rules.replace('~', DEFAULT)}).to_string();
    subscription.owner = Some(serde_json::from_str::<Owner>(&kept).unwrap());
    There {
        number,
        version: 1,
        subscription,
    }
}

fn knowing(all: Vec<There>) -> Known {
    let there: Vec<(i64, i64)> = all.iter().map(|one| (one.number, one.version)).collect();
    Known::default().next(1, &there, all)
}

const NORTH: &str = r#"{"allow":[{"scopes":["/north"]}]}"#;

#[test]
fn what_comes_into_sight_or_leaves_it_concerns_the_owner_though_no_attribute_says_something_else() {
    let gone = r#""notificationTrigger":["entityDeleted"],"q":"a==1","#;
    let known = knowing(vec![
        owned(1, r#""q":"a==1","#, NORTH),
        owned(2, r#""watchedAttributes":["b"],"#, NORTH),
        owned(3, gone, NORTH),
        owned(4, r#""q":"a==2","#, NORTH),
    ]);
    let (south, north) = (
        entity("/south", [Some(1), Some(2), None]),
        entity("/north", [Some(1), Some(2), None]),
    );
    let concerned = |before, after| known.concerned(before, after, Timestamp::UNIX_EPOCH);
    assert_eq!(concerned(Some(&south), Some(&north)).subscriptions, [1, 2]);
    let left = concerned(Some(&north), Some(&south));
    assert_eq!((left.subscriptions, left.wants_before), (vec![3], true));
    // It left with another value, by which it cannot be found any more.
    let other = entity("/south", [Some(7), None, None]);
    assert_eq!(concerned(Some(&north), Some(&other)).subscriptions, [3]);
    assert_eq!(concerned(Some(&south), Some(&other)), Concerned::default());
}

#[test]
fn owners_who_see_the_same_share_its_rules_and_those_who_see_everything_are_asked_as_if_they_were_none() {
    let known = knowing(vec![
        owned(1, "", NORTH),
        owned(2, "", NORTH),
        owned(3, "", r#"{"allow":[{}]}"#),
    ]);
    let rules = |number| {
        let ready = known.get(number).unwrap();
        Arc::as_ptr(ready.subscription.owner.as_ref().unwrap().rules())
    };
    assert!(rules(1) == rules(2) && rules(1) != rules(3));
    assert_eq!((known.open.len(), known.owned.len()), (1, 2));
    let next = known.next(2, &[(3, 1), (4, 1)], vec![owned(4, "", NORTH)]);
    assert_eq!((next.open.len(), next.owned.len()), (1, 1));
    let changed = next.next(
        3,
        &[(3, 2)],
        vec![There {
            version: 2,
            ..owned(3, "", NORTH)
        }],
    );
    assert_eq!((changed.open.len(), changed.owned.len()), (0, 1));
}

proptest! {
    /// What the index finds is what asking all of them finds.
    #[test]
    fn whoever_is_concerned_by_what_it_sees_is_found(
        all in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "", r#""q":"a==1","#, r#""q":"b>1;c","#, r#""q":"a|b==2","#,
                    r#""watchedAttributes":["b"],"#, r#""watchedAttributes":["c"],"q":"a","#,
                    r#""notificationTrigger":["entityDeleted"],"q":"a==2","#,
                    r#""notificationTrigger":["attributeDeleted","entityCreated"],"#,
                ]),
                prop::sample::select(vec![
                    NORTH, r#"{"allow":[{"attributes":["~a"]}]}"#, r#"{"allow":[{}]}"#,
                    r#"{"allow":[{"scopes":["/north"],"attributes":["~b","~c"]}]}"#,
                    r#"{"allow":[{}],"deny":[{"attributes":["~b"]}]}"#, r#"{"allow":[{}],"deny":[{"scopes":["/north"]}]}"#,
                ]),
            ),
            1..6,
        ),
        before in prop::option::of((prop::bool::ANY, prop::array::uniform3(prop::option::of(1..3_u8)))),
        after in prop::option::of((prop::bool::ANY, prop::array::uniform3(prop::option::of(1..3_u8)))),
    ) {
        let state = |state: Option<(bool, [Option<u8>; 3])>| {
            let (is_north, values) = state?;
            Some(entity(if is_north { "/north" } else { "/south" }, values))
        };
        let (before, after) = (state(before), state(after));
        let all: Vec<There> = (1..).zip(all).map(|(n, (more, rules))| owned(n, more, rules)).collect();
        let known = knowing(all);
        let change = Change { before: before.as_ref(), after: after.as_ref(), instances: &[] };
        let asked = |number: &i64| {
            let ready = known.get(*number).unwrap();
            let rules = ready.subscription.owner.as_ref().unwrap().rules();
            ready.is_concerned_as_seen(&Sight::of(rules, &change), Timestamp::UNIX_EPOCH)
        };
        let mut expected: Vec<i64> = known.all.keys().copied().filter(asked).collect();
        expected.sort_unstable();
        let found = known.concerned(before.as_ref(), after.as_ref(), Timestamp::UNIX_EPOCH).subscriptions;
        prop_assert_eq!(found, expected);
    }
}
