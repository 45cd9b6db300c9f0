use super::*;
use crate::context::Context;
use crate::model::read::Nulls;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn fragment(text: &str) -> Fragment {
    let context = Context::core();
    Reader {
        context: &context,
        nulls: Nulls::Delete,
    }
    .fragment(&Json::parse(text.as_bytes()).unwrap())
    .unwrap()
}

fn iri(name: &str) -> String {
    format!("https://uri.etsi.org/ngsi-ld/default-context/{name}")
}

fn entity() -> Entity {
    create(
        fragment(
            r#"{"id":"urn:x:1","type":"T","a":{"type":"Property","value":1},"b":[{"value":1},{"value":2,"datasetId":"urn:d"}]}"#,
        ),
        time(0),
    )
}

#[test]
fn a_new_entity_has_one_age() {
    let entity = entity();
    assert_eq!((entity.created, entity.modified), (time(0), time(0)));
    assert!(
        entity
            .attributes
            .values()
            .flatten()
            .all(|i| i.created.is_none() && i.modified.is_none())
    );
}

#[test]
fn what_goes_on_keeps_its_age_and_what_is_new_has_its_own() {
    let mut changed = entity();
    update(
        &mut changed,
        fragment(r#"{"a":{"value":2},"c":{"value":3}}"#),
        time(9),
    );
    let (a, c) = (
        &changed.attributes[&iri("a")][0],
        &changed.attributes[&iri("c")][0],
    );
    assert_eq!(
        (a.created.as_deref(), a.modified.as_deref()),
        (None, Some("1970-01-01T00:00:09.000000Z"))
    );
    assert_eq!(
        (c.created.as_deref(), c.modified.as_deref()),
        (Some("1970-01-01T00:00:09.000000Z"), None)
    );
    assert_eq!((changed.created, changed.modified), (time(0), time(9)));
    let replaced = replace(&changed, fragment(r#"{"type":"T","c":{"value":4}}"#), time(20));
    let c = &replaced.attributes[&iri("c")][0];
    assert_eq!(
        (c.created.as_deref(), c.modified.as_deref()),
        (
            Some("1970-01-01T00:00:09.000000Z"),
            Some("1970-01-01T00:00:20.000000Z")
        )
    );
    assert_eq!(replaced.created, time(0));
}

#[test]
fn nothing_that_happens_is_no_change() {
    let mut kept = entity();
    let result = append(
        &mut kept,
        fragment(r#"{"a":{"value":2}}"#),
        Existing::Kept,
        time(9),
    );
    assert_eq!((result.updated.len(), result.not_updated.len()), (0, 1));
    assert_eq!(kept, entity());
    let result = update(&mut kept, fragment(r#"{"none":"urn:ngsi-ld:null"}"#), time(9));
    assert_eq!(result.not_updated[0].0, iri("none"));
    assert_eq!(kept, entity());
}

#[test]
fn instances_are_told_apart_by_dataset() {
    let mut changed = entity();
    update(
        &mut changed,
        fragment(r#"{"b":{"value":"urn:ngsi-ld:null","type":"Property","datasetId":"urn:d"}}"#),
        time(9),
    );
    assert_eq!(changed.attributes[&iri("b")].len(), 1);
    append(
        &mut changed,
        fragment(r#"{"b":{"value":7,"datasetId":"urn:e"}}"#),
        Existing::Overwritten,
        time(9),
    );
    let datasets: Vec<_> = changed.attributes[&iri("b")]
        .iter()
        .map(|i| i.dataset.as_deref())
        .collect();
    assert_eq!(datasets, [None, Some("urn:e")]);
    assert_eq!(
        delete_attribute(&mut changed, &iri("b"), &Which::Dataset("urn:e".into()), time(9)),
        Ok(())
    );
    assert_eq!(
        delete_attribute(&mut changed, &iri("b"), &Which::Default, time(9)),
        Ok(())
    );
    assert!(matches!(
        delete_attribute(&mut changed, &iri("b"), &Which::All, time(9)),
        Err(AttributeError::NotFound(_))
    ));
}

#[test]
fn new_types_and_scopes_are_changes() {
    let mut changed = entity();
    append(
        &mut changed,
        fragment(r#"{"type":["T","U"]}"#),
        Existing::Kept,
        time(9),
    );
    assert_eq!((changed.types.len(), changed.modified), (2, time(9)));
    let result = update(&mut changed, fragment(r#"{"scope":"/a"}"#), time(10));
    assert_eq!((result.not_updated.len(), changed.scope.len()), (1, 0));
    append(
        &mut changed,
        fragment(r#"{"scope":"/a"}"#),
        Existing::Overwritten,
        time(11),
    );
    assert_eq!((changed.scope.len(), changed.modified), (1, time(11)));
}

const DELETED: &str = r#"{"value":1,"gone":{"value":"urn:ngsi-ld:null"},"kept":{"value":2,"deeper":{"object":"urn:ngsi-ld:null"},"datasets":[{"value":3},{"value":"urn:ngsi-ld:null","datasetId":"urn:d"}]}}"#;

fn has_null(instances: &[Instance]) -> bool {
    instances
        .iter()
        .any(|i| i.is_deletion() || i.subs.values().any(|subs| has_null(subs)))
}

#[test]
fn nulls_inside_what_is_written_whole_are_not_kept() {
    let mut changed = entity();
    update(&mut changed, fragment(&format!(r#"{{"a":{DELETED}}}"#)), time(9));
    let a = &changed.attributes[&iri("a")];
    assert!(!has_null(a), "{a:?}");
    let kept = &a[0].subs[&iri("kept")][0];
    assert!(!a[0].subs.contains_key(&iri("gone")) && !kept.subs.contains_key(&iri("deeper")));
    assert_eq!(kept.subs[&iri("datasets")].len(), 1);

    let context = Context::core();
    let reader = Reader {
        context: &context,
        nulls: Nulls::Delete,
    };
    let body = Json::parse(format!(r#"{{"s":{DELETED}}}"#).as_bytes()).unwrap();
    update_partially(&mut changed, &iri("a"), &body, &reader, time(10)).unwrap();
    assert!(!has_null(&changed.attributes[&iri("a")]));
    assert!(
        changed.attributes[&iri("a")][0].subs.contains_key(&iri("kept")),
        "what was not named stays"
    );
}

#[test]
fn scopes_are_added_where_nothing_may_be_overwritten() {
    let mut changed = entity();
    for (scope, expected) in [(r#"["/a"]"#, vec!["/a"]), (r#"["/b","/a"]"#, vec!["/a", "/b"])] {
        let body = format!(r#"{{"scope":{scope}}}"#);
        let result = append(&mut changed, fragment(&body), Existing::Kept, time(9));
        assert_eq!(
            (&changed.scope, result.not_updated.len()),
            (&expected.iter().map(|&s| s.to_owned()).collect(), 0)
        );
    }
    append(
        &mut changed,
        fragment(r#"{"scope":"/c"}"#),
        Existing::Overwritten,
        time(9),
    );
    assert_eq!(changed.scope, ["/c"]);
    assert_eq!(delete_scope(&mut changed, time(10)), Ok(()));
    assert_eq!((changed.scope.len(), changed.modified), (0, time(10)));
    assert!(matches!(
        delete_scope(&mut changed, time(11)),
        Err(AttributeError::NotFound(_))
    ));
    assert_eq!(changed.modified, time(10));
}

#[test]
fn what_may_not_be_overwritten_is_not_deleted_either() {
    let mut kept = entity();
    let result = append(
        &mut kept,
        fragment(r#"{"a":"urn:ngsi-ld:null"}"#),
        Existing::Kept,
        time(9),
    );
    assert_eq!((result.not_updated.len(), kept), (1, entity()));
}

#[test]
fn a_reduction_takes_attributes_and_leaves_the_entity() {
    let names = |names: &[&str]| names.iter().map(|name| iri(name)).collect();
    let drop = |attributes: &[&str], scope| Reduction::Drop {
        attributes: names(attributes),
        scope,
    };
    for (reduction, left) in [
        (Reduction::Keep(names(&["a", "none"])), vec!["a"]),
        (Reduction::Keep(names(&[])), vec![]),
        (drop(&["a"], false), vec!["b"]),
        (drop(&[], true), vec!["a", "b"]),
    ] {
        let mut reduced = entity();
        reduced.scope = vec!["/s".to_owned()];
        assert!(reduce(&mut reduced, &reduction, time(9)), "{reduction:?}");
        assert_eq!(
            reduced.attributes.keys().cloned().collect::<Vec<_>>(),
            names(&left).into_iter().collect::<Vec<String>>()
        );
        assert_eq!(
            (reduced.scope.is_empty(), reduced.modified),
            (reduction == drop(&[], true), time(9))
        );
    }
    let mut same = entity();
    for nothing in [drop(&["none"], true), Reduction::Keep(names(&["a", "b"]))] {
        assert!(!reduce(&mut same, &nothing, time(9)));
    }
    assert_eq!(same, entity());
}
