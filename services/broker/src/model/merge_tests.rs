use super::*;
use crate::context::Context;
use crate::model::change::create;
use crate::model::linked::Unlinked;
use crate::model::read::Nulls;
use crate::model::read::tests as read_tests;
use crate::model::render::View;
use crate::model::stored;
use crate::model::view::{Representation, Shape};
use proptest::prelude::*;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn reader(context: &Context, nulls: Nulls) -> Reader<'_> {
    Reader { context, nulls }
}

fn entity(body: &str) -> Entity {
    let context = Context::core();
    let fragment = reader(&context, Nulls::Refused).entity(&json(body)).unwrap();
    create(fragment, time(0))
}

fn shown(entity: &Entity, representation: Representation) -> Json {
    let context = Context::core();
    let mut text = String::new();
    let shape = Shape {
        representation,
        ..Shape::default()
    };
    let view = View::new(&context, &shape, false);
    view.entity(entity, &[shape.shown()], &mut text, &mut Unlinked);
    json(&text)
}

fn try_merge(before: &Entity, patch: &Json, manner: &Manner) -> Result<Entity, Refusal> {
    let context = Context::core();
    let mut merged = before.clone();
    merge(
        &mut merged,
        patch,
        &reader(&context, Nulls::Deep),
        manner,
        time(9),
    )?;
    Ok(merged)
}

/// What a patch makes of an entity with the one attribute `a`, as clients see that.
fn of_attribute(before: &str, patch: &str) -> Result<String, Refusal> {
    in_manner(before, patch, &Manner::default())
}

fn in_manner(before: &str, patch: &str, manner: &Manner) -> Result<String, Refusal> {
    let before = entity(&format!(r#"{{"id":"urn:x:1","type":"T","a":{before}}}"#));
    let patch = json(&format!(r#"{{"a":{patch}}}"#));
    let merged = try_merge(&before, &patch, manner)?;
    let shown = shown(&merged, Representation::Normalized);
    Ok(shown.get("a").map(Json::to_text).unwrap_or_default())
}

#[test]
fn members_that_are_not_sent_stay() {
    for (before, patch, after) in [
        // The examples of clause 5.5.12.
        (
            r#"{"value":25,"unitCode":"CEL","observedAt":"2022-03-14T01:59:26.535Z"}"#,
            r#"{"type":"Property","value":100,"observedAt":"2022-03-14T13:00:00.000Z"}"#,
            r#"{"type":"Property","value":100,"unitCode":"CEL","observedAt":"2022-03-14T13:00:00.000Z"}"#,
        ),
        (
            r#"{"value":{"street":"Straße des 17. Juni","city":"Berlin","country":"Germany"}}"#,
            r#"{"type":"Property","value":{"street":"Pariser Platz","country":"urn:ngsi-ld:null"}}"#,
            r#"{"type":"Property","value":{"city":"Berlin","street":"Pariser Platz"}}"#,
        ),
        // A value need not be sent, nor the type.
        (
            r#"{"value":1,"s":{"value":1,"t":{"value":1}}}"#,
            r#"{"type":"Property","unitCode":"X","s":{"type":"Property","t":{"value":2}}}"#,
            r#"{"type":"Property","value":1,"unitCode":"X","s":{"type":"Property","value":1,"t":{"type":"Property","value":2}}}"#,
        ),
        (
            r#"{"object":"urn:a:1","objectType":"B"}"#,
            r#"{"object":"urn:a:2"}"#,
            r#"{"type":"Relationship","object":"urn:a:2","objectType":"B"}"#,
        ),
        (
            r#"{"languageMap":{"en":"door","fr":"porte"}}"#,
            r#"{"languageMap":{"fr":"urn:ngsi-ld:null","de":"Tür"}}"#,
            r#"{"type":"LanguageProperty","languageMap":{"de":"Tür","en":"door"}}"#,
        ),
        (
            r#"{"json":{"b":{"c":1,"d":[1,2]}}}"#,
            r#"{"json":{"b":{"d":[3]},"e":null}}"#,
            r#"{"type":"JsonProperty","json":{"b":{"c":1,"d":[3]},"e":null}}"#,
        ),
        (
            r#"{"type":"Point","coordinates":[1,2]}"#,
            r#"{"value":{"coordinates":[3,4]}}"#,
            r#"{"type":"GeoProperty","value":{"coordinates":[3,4],"type":"Point"}}"#,
        ),
        (
            r#"{"valueList":[1,2]}"#,
            r#"{"valueList":[3]}"#,
            r#"{"type":"ListProperty","valueList":[3]}"#,
        ),
    ] {
        assert_eq!(of_attribute(before, patch).as_deref(), Ok(after), "{patch}");
    }
}

#[test]
fn a_whole_geometry_and_a_typed_value_take_the_place_of_what_was_there() {
    assert_eq!(
        of_attribute(
            r#"{"type":"Point","coordinates":[1,2],"bbox":[1,2,1,2]}"#,
            r#"{"type":"Point","coordinates":[3,4]}"#
        ),
        Ok(r#"{"type":"GeoProperty","value":{"type":"Point","coordinates":[3,4]}}"#.to_owned())
    );
    let date = r#"{"@type":"Date","@value":"2024-01-01"}"#;
    let plain = r#"{"b":1}"#;
    for (before, patch) in [(plain, date), (date, plain)] {
        let after = of_attribute(
            &format!(r#"{{"value":{before}}}"#),
            &format!(r#"{{"value":{patch}}}"#),
        );
        assert_eq!(after, Ok(format!(r#"{{"type":"Property","value":{patch}}}"#)));
    }
}

#[test]
fn null_deletes_at_every_depth_and_nothing_where_nothing_is() {
    let null = r#""urn:ngsi-ld:null""#;
    let sub = r#"{"value":1,"unitCode":"X","observedAt":"2024-01-01T00:00:00Z","s":{"value":2},"r":{"object":"urn:a:1"}}"#;
    for (patch, after) in [
        (null.to_owned(), String::new()),
        (format!(r#"{{"value":{null}}}"#), String::new()),
        (format!(r#"{{"type":"Property","value":{null}}}"#), String::new()),
        (
            format!(
                r#"{{"type":"Property","unitCode":{null},"observedAt":{null},"s":{null},"r":{{"object":{null}}},"none":{null}}}"#
            ),
            r#"{"type":"Property","value":1}"#.to_owned(),
        ),
        (
            format!(
                r#"{{"value":{{"b":{null},"c":{{"d":{null},"e":1}}}},"unitCode":{null},"observedAt":{null},"s":{null},"r":{null}}}"#
            ),
            r#"{"type":"Property","value":{"c":{"e":1}}}"#.to_owned(),
        ),
    ] {
        assert_eq!(of_attribute(sub, &patch), Ok(after), "{patch}");
    }
    let languages = r#"{"languageMap":{"en":"door","@none":"x"}}"#;
    for (patch, after) in [
        (r#"{"languageMap":{"@none":"urn:ngsi-ld:null"}}"#, ""),
        (
            r#"{"languageMap":{"@none":"urn:ngsi-ld:null","fr":"porte"}}"#,
            r#"{"type":"LanguageProperty","languageMap":{"en":"door","fr":"porte"}}"#,
        ),
    ] {
        assert_eq!(of_attribute(languages, patch).as_deref(), Ok(after), "{patch}");
    }
    let before = entity(r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"]}"#);
    let patch = json(
        r#"{"scope":"urn:ngsi-ld:null","none":"urn:ngsi-ld:null","s":{"value":1,"t":"urn:ngsi-ld:null"}}"#,
    );
    let merged = try_merge(&before, &patch, &Manner::default()).unwrap();
    assert_eq!(
        shown(&merged, Representation::Concise).to_text(),
        r#"{"id":"urn:x:1","type":"T","s":1}"#
    );
}

#[test]
fn instances_are_told_apart_by_their_dataset() {
    let before = r#"[{"value":1,"unitCode":"X"},{"value":2,"unitCode":"Y","datasetId":"urn:d:2"}]"#;
    for (patch, after) in [
        (
            r#"{"value":3}"#,
            r#"[{"type":"Property","value":3,"unitCode":"X"},{"type":"Property","value":2,"unitCode":"Y","datasetId":"urn:d:2"}]"#,
        ),
        (
            r#"[{"value":"urn:ngsi-ld:null"},{"value":3,"datasetId":"urn:d:2"},{"value":"urn:ngsi-ld:null","datasetId":"urn:d:9"}]"#,
            r#"{"type":"Property","value":3,"unitCode":"Y","datasetId":"urn:d:2"}"#,
        ),
        (
            r#"{"value":3,"datasetId":"urn:d:3"}"#,
            r#"[{"type":"Property","value":1,"unitCode":"X"},{"type":"Property","value":2,"unitCode":"Y","datasetId":"urn:d:2"},{"type":"Property","value":3,"datasetId":"urn:d:3"}]"#,
        ),
    ] {
        assert_eq!(of_attribute(before, patch).as_deref(), Ok(after), "{patch}");
    }
}

#[test]
fn a_value_alone_is_of_the_kind_that_is_there() {
    let simplified = Manner::new(true, None, None).unwrap();
    for (before, patch, after) in [
        (
            r#"{"object":"urn:a:1"}"#,
            r#""urn:a:2""#,
            r#"{"type":"Relationship","object":"urn:a:2"}"#,
        ),
        (
            r#"{"vocab":"b"}"#,
            r#""c""#,
            r#"{"type":"VocabProperty","vocab":"c"}"#,
        ),
        (
            r#"{"objectList":["urn:a:1"]}"#,
            r#"["urn:a:2"]"#,
            r#"{"type":"ListRelationship","objectList":[{"object":"urn:a:2"}]}"#,
        ),
        (
            r#"{"valueList":[1]}"#,
            "[2,3]",
            r#"{"type":"ListProperty","valueList":[2,3]}"#,
        ),
        (
            r#"{"json":{"b":1}}"#,
            r#"{"c":2}"#,
            r#"{"type":"JsonProperty","json":{"b":1,"c":2}}"#,
        ),
        (
            r#"{"languageMap":{"en":"x"}}"#,
            r#"{"languageMap":{"fr":"y"}}"#,
            r#"{"type":"LanguageProperty","languageMap":{"en":"x","fr":"y"}}"#,
        ),
    ] {
        for manner in [&simplified, &Manner::default()] {
            assert_eq!(in_manner(before, patch, manner).as_deref(), Ok(after), "{patch}");
        }
    }
}

#[test]
fn the_simplified_representation_has_values_with_any_members() {
    let manner = Manner::new(true, None, None).unwrap();
    let before = r#"{"value":{"type":"PostalAddress","value":1},"unitCode":"X"}"#;
    for (patch, value) in [
        (r#"{"value":2}"#, r#"{"type":"PostalAddress","value":2}"#),
        (
            r#"{"type":"Place","object":[{"value":1}]}"#,
            r#"{"object":[{"value":1}],"type":"Place","value":1}"#,
        ),
        (r#"[{"value":1}]"#, r#"[{"value":1}]"#),
    ] {
        let after = format!(r#"{{"type":"Property","value":{value},"unitCode":"X"}}"#);
        let merged = json(&in_manner(before, patch, &manner).unwrap());
        assert_eq!(
            read_tests::sorted(&merged),
            read_tests::sorted(&json(&after)),
            "{patch}"
        );
    }
    assert_eq!(
        in_manner("1", r#"{"dataset":{"@none":2,"urn:d:1":3}}"#, &manner).as_deref(),
        Ok(r#"[{"type":"Property","value":2},{"type":"Property","value":3,"datasetId":"urn:d:1"}]"#)
    );
}

#[test]
fn the_type_of_an_attribute_changes_only_where_it_is_said() {
    assert_eq!(
        of_attribute(
            r#"{"value":1,"unitCode":"X","observedAt":"2024-01-01T00:00:00Z","s":{"value":1}}"#,
            r#"{"type":"Relationship","object":"urn:a:1"}"#
        )
        .as_deref(),
        Ok(
            r#"{"type":"Relationship","object":"urn:a:1","observedAt":"2024-01-01T00:00:00Z","s":{"type":"Property","value":1}}"#
        )
    );
    assert!(of_attribute("1", r#"{"type":"Relationship"}"#).is_err());
    let simplified = Manner::new(true, None, None).unwrap();
    for patch in [
        r#"{"languageMap":{"en":"x"}}"#,
        r#"{"type":"Relationship","object":"urn:a:1"}"#,
    ] {
        let refused = in_manner("1", patch, &simplified);
        assert!(
            refused.is_err_and(|Refusal(why)| why.contains("cannot become")),
            "{patch}"
        );
    }
}

#[test]
fn a_common_time_is_for_merged_attributes_that_have_one() {
    let manner = Manner::new(false, Some("2024-05-05T00:00:00Z"), None).unwrap();
    let timed = r#"{"value":1,"observedAt":"2024-01-01T00:00:00Z"}"#;
    for (before, patch, after) in [
        (
            timed,
            "2",
            r#"{"type":"Property","value":2,"observedAt":"2024-05-05T00:00:00Z"}"#,
        ),
        (
            timed,
            r#"{"value":2,"observedAt":"2024-02-02T00:00:00Z"}"#,
            r#"{"type":"Property","value":2,"observedAt":"2024-02-02T00:00:00Z"}"#,
        ),
        ("1", "2", r#"{"type":"Property","value":2}"#),
        (
            timed,
            r#"{"value":2,"observedAt":"urn:ngsi-ld:null"}"#,
            r#"{"type":"Property","value":2}"#,
        ),
    ] {
        assert_eq!(in_manner(before, patch, &manner).as_deref(), Ok(after), "{patch}");
    }
    let before = entity(&format!(r#"{{"id":"urn:x:1","type":"T","a":{timed}}}"#));
    let merged = try_merge(&before, &json(r#"{"b":1}"#), &manner).unwrap();
    assert_eq!(
        merged
            .attributes
            .values()
            .filter(|i| i[0].observed_at.as_deref() == Some("2024-01-01T00:00:00Z"))
            .count(),
        1
    );
    for bad in ["yesterday", "2024-05-05T00:00:00+02:00", ""] {
        assert!(Manner::new(false, Some(bad), None).is_err(), "{bad}");
    }
}

#[test]
fn a_common_language_is_for_texts_of_language_properties() {
    let manner = Manner::new(true, None, Some("fr")).unwrap();
    let door = r#"{"languageMap":{"en":"door","fr":"huis"}}"#;
    for (patch, after) in [
        (
            r#""porte""#,
            r#"{"type":"LanguageProperty","languageMap":{"en":"door","fr":"porte"}}"#,
        ),
        (
            r#"["porte","huis"]"#,
            r#"{"type":"LanguageProperty","languageMap":{"en":"door","fr":["porte","huis"]}}"#,
        ),
    ] {
        assert_eq!(in_manner(door, patch, &manner).as_deref(), Ok(after), "{patch}");
    }
    // As it is shown with lang.
    let normalized = Manner::new(false, None, Some("fr")).unwrap();
    assert_eq!(
        in_manner(door, r#"{"type":"Property","value":"porte"}"#, &normalized).as_deref(),
        Ok(r#"{"type":"LanguageProperty","languageMap":{"en":"door","fr":"porte"}}"#)
    );
    assert_eq!(
        in_manner("1", r#""x""#, &manner).as_deref(),
        Ok(r#"{"type":"Property","value":"x"}"#)
    );
    assert!(of_attribute(door, r#""porte""#).is_err(), "which language?");
    for bad in ["fr-CH,fr;q=0.9", "", "*", "a b"] {
        assert!(Manner::new(false, None, Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn what_cannot_be_merged_is_refused() {
    for bad in [
        "null",
        r#"{"value":null}"#,
        r#"{"value":["urn:ngsi-ld:null"]}"#,
        r#"{"value":{"b":[{"c":"urn:ngsi-ld:null"}]}}"#,
        r#"{"json":{"b":["urn:ngsi-ld:null"]}}"#,
        r#"{"languageMap":{"en":["urn:ngsi-ld:null"]}}"#,
        r#"{"value":1,"datasetId":"urn:ngsi-ld:null"}"#,
        r#"{"value":1,"type":"urn:ngsi-ld:null"}"#,
        r#"{"value":1,"object":"urn:a:1"}"#,
        r#"{"value":1,"@context":{}}"#,
        r#"{"value":1,"unitCode":5}"#,
        r#"{"type":"Relationship","object":["urn:ngsi-ld:null"]}"#,
        r#"{"type":"Nothing","value":1}"#,
        r#"[{"value":1},{"value":2}]"#,
    ] {
        assert!(of_attribute("1", bad).is_err(), "{bad}");
        assert!(of_attribute(r#"{"value":{"b":[1]}}"#, bad).is_err(), "{bad}");
        assert!(checked(&format!(r#"{{"a":{bad}}}"#)).is_err(), "{bad}");
    }
    let before = entity(r#"{"id":"urn:x:1","type":"T","a":1}"#);
    for bad in [
        "[]",
        "{}",
        r#"{"@context":"https://c.example"}"#,
        r#"{"id":"urn:x:2","a":1}"#,
        r#"{"id":"urn:ngsi-ld:null"}"#,
        r#"{"type":"urn:ngsi-ld:null"}"#,
        r#"{"type":["T","urn:ngsi-ld:null"]}"#,
        r#"{"a":1,"https://uri.etsi.org/ngsi-ld/default-context/a":2}"#,
        r#"{"a":"urn:ngsi-ld:null","https://uri.etsi.org/ngsi-ld/default-context/a":2}"#,
        r#"{"location":5}"#,
        r#"{"bad-name":5}"#,
    ] {
        assert!(
            try_merge(&before, &json(bad), &Manner::default()).is_err(),
            "{bad}"
        );
    }
}

fn checked(patch: &str) -> Result<(), Refusal> {
    let context = Context::core();
    check(&json(patch), &reader(&context, Nulls::Deep), &Manner::default())
}

#[test]
fn what_might_be_merged_somewhere_is_not_refused_before_it_is_known_where() {
    for good in [
        r#"{"id":"urn:x:9","type":"T"}"#,
        r#"{"a":{"type":"Property","unitCode":"X","s":{"type":"Relationship","t":1}}}"#,
        r#"{"a":"urn:ngsi-ld:null","b":{"value":{"c":"urn:ngsi-ld:null"}}}"#,
    ] {
        assert_eq!(checked(good), Ok(()), "{good}");
    }
    for bad in ["{}", "5", r#"{"id":"nouri"}"#, r#"{"id":"urn:x:1","a":null}"#] {
        assert!(checked(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_merged_is_told_by_its_times() {
    let before =
        entity(r#"{"id":"urn:x:1","type":"T","a":{"value":1,"s":{"value":1},"t":{"value":1}},"b":1}"#);
    let iri = |name: &str| format!("https://uri.etsi.org/ngsi-ld/default-context/{name}");
    let patch = json(r#"{"type":"U","a":{"value":2,"s":2,"u":{"value":3,"v":4}},"c":{"value":5,"w":6}}"#);
    let merged = try_merge(&before, &patch, &Manner::default()).unwrap();
    let a = &merged.attributes[&iri("a")][0];
    let times = |i: &Instance| (i.created.is_some(), i.modified.is_some());
    assert_eq!(times(a), (false, true));
    assert_eq!(times(&a.subs[&iri("s")][0]), (false, true));
    assert_eq!(times(&a.subs[&iri("t")][0]), (false, false));
    let u = &a.subs[&iri("u")][0];
    assert_eq!(times(u), (true, false));
    assert_eq!(
        times(&u.subs[&iri("v")][0]),
        (false, false),
        "as old as what holds it"
    );
    assert_eq!(times(&merged.attributes[&iri("b")][0]), (false, false));
    let c = &merged.attributes[&iri("c")][0];
    assert_eq!(times(c), (true, false));
    assert_eq!(times(&c.subs[&iri("w")][0]), (false, false));
    assert_eq!(
        (merged.created, merged.modified, merged.types.len()),
        (time(0), time(9), 2)
    );
    let same = try_merge(
        &before,
        &json(r#"{"id":"urn:x:1","type":"T"}"#),
        &Manner::default(),
    )
    .unwrap();
    assert_eq!(same, before, "nothing came of it");
}

/// The patch that does what two do one after the other: for patches whose nulls all stand in values.
fn composed(first: &Json, second: &Json) -> Json {
    let (Json::Object(old), Json::Object(new)) = (first, second) else {
        return second.clone();
    };
    let mut members: BTreeMap<String, Json> = old.iter().cloned().collect();
    for (name, value) in new {
        let both = match members.get(name) {
            // What the second brings where the first has deleted starts from nothing, and deletes the rest.
            Some(before @ Json::Object(_)) if matches!(value, Json::Object(_)) => composed(before, value),
            _ => value.clone(),
        };
        members.insert(name.clone(), both);
    }
    Json::Object(members.into_iter().collect())
}

fn plain() -> impl Strategy<Value = Json> {
    prop_oneof![
        any::<bool>().prop_map(Json::Bool),
        "[1-9]{1,2}".prop_map(|n| Json::Number(n.into())),
        Just(Json::Array(vec![Json::Bool(true)])),
    ]
}

/// Objects in objects, with or without nulls.
fn tree(nulls: bool) -> impl Strategy<Value = Json> {
    let leaf = if nulls {
        prop_oneof![plain(), Just(Json::string("urn:ngsi-ld:null"))].boxed()
    } else {
        plain().boxed()
    };
    let inner = leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| Json::Object(m.into_iter().collect()))
    });
    prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| Json::Object(m.into_iter().collect()))
}

fn has_null(json: &Json) -> bool {
    match json {
        Json::Object(members) => members.iter().any(|(_, value)| has_null(value)),
        other => is_null(other),
    }
}

/// The same entity without its times.
fn timeless(entity: &Entity) -> Entity {
    fn forget(attributes: &mut Attributes) {
        for instance in attributes.values_mut().flatten() {
            (instance.created, instance.modified) = (None, None);
            forget(&mut instance.subs);
        }
    }
    let mut entity = entity.clone();
    forget(&mut entity.attributes);
    entity.modified = entity.created;
    // The database orders members as it likes.
    entity.attributes =
        stored::read(&read_tests::sorted(&json(&stored::write(&entity.attributes).unwrap())).to_text())
            .unwrap();
    entity
}

proptest! {
    #[test]
    fn merging_an_entity_with_itself_changes_nothing_but_times(sent in read_tests::entity()) {
        let context = Context::core();
        let Ok(fragment) = reader(&context, Nulls::Refused).entity(&sent) else {
            return Ok(());
        };
        let before = create(fragment, time(0));
        for representation in [Representation::Normalized, Representation::Concise, Representation::Simplified] {
            let manner = Manner::new(representation == Representation::Simplified, None, None).unwrap();
            let itself = shown(&before, representation);
            let merged = try_merge(&before, &itself, &manner);
            prop_assert!(merged.is_ok(), "{:?}: {}", merged, itself.to_text());
            prop_assert_eq!(timeless(&merged.unwrap()), timeless(&before), "{}", itself.to_text());
        }
    }

    #[test]
    fn merging_twice_is_merging_once(before in tree(false), patch in tree(true)) {
        let once = patched(before, patch.clone());
        prop_assert_eq!(patched(once.clone(), patch), once);
    }

    #[test]
    fn what_is_merged_into_an_object_never_keeps_a_null(before in tree(false), patch in tree(true)) {
        prop_assert!(!has_null(&patched(before, patch)));
    }

    #[test]
    fn a_patch_onto_nothing_is_what_it_brings(patch in tree(false)) {
        prop_assert_eq!(patched(Json::Null, patch.clone()), patch);
    }

    #[test]
    fn two_patches_are_one_where_the_first_deletes_nothing(before in tree(false), first in tree(false), second in tree(true)) {
        let shallow_differs = differs_in_shape(&before, &first) || differs_in_shape(&first, &second);
        // A member that changes between an object and something else starts anew, which one patch cannot say.
        prop_assume!(!shallow_differs);
        let after = patched(patched(before.clone(), first.clone()), second.clone());
        prop_assert_eq!(patched(before, composed(&first, &second)), after);
    }

    #[test]
    fn every_null_of_a_patch_deletes_its_member(before in tree(false), patch in tree(true)) {
        let after = patched(before, patch.clone());
        prop_assert!(deleted(&after, &patch));
    }

    #[test]
    fn row_broker_any_patch_is_merged_or_refused(before in read_tests::entity(), patch in read_tests::entity(), simplified in any::<bool>()) {
        let context = Context::core();
        if let Ok(fragment) = reader(&context, Nulls::Refused).entity(&before) {
            let manner = Manner::new(simplified, None, Some("en")).unwrap();
            let is_wrong_anywhere = check(&patch, &reader(&context, Nulls::Deep), &manner).is_err();
            if let Ok(merged) = try_merge(&create(fragment, time(0)), &patch, &manner) {
                prop_assert!(!is_wrong_anywhere, "{}", patch.to_text());
                let text = stored::write(&merged.attributes).unwrap();
                prop_assert_eq!(stored::read(&text).unwrap(), merged.attributes);
            }
        }
    }
}

fn differs_in_shape(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Object(members), Json::Object(_)) => members.iter().any(|(name, value)| {
            other.get(name).is_some_and(|other| {
                matches!(value, Json::Object(_)) != matches!(other, Json::Object(_))
                    || differs_in_shape(value, other)
            })
        }),
        _ => false,
    }
}

fn deleted(after: &Json, patch: &Json) -> bool {
    let Json::Object(members) = patch else {
        return true;
    };
    members.iter().all(|(name, value)| match after.get(name) {
        _ if is_null(value) => after.get(name).is_none(),
        Some(after) => deleted(after, value),
        None => false,
    })
}
