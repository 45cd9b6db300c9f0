use super::*;
use crate::model::change::{self, Existing, Which};
use crate::model::entity::{Entity, Fragment, Kind};
use crate::model::stored;
use jiff::Timestamp;
use proptest::prelude::*;

fn attributes(text: &str) -> Attributes {
    stored::read(text).unwrap()
}

fn told(before: Option<&Attributes>, after: Option<&Attributes>) -> Vec<(String, Option<String>, What)> {
    changes(before, after)
        .iter()
        .map(|c| (c.iri.to_owned(), c.dataset().map(str::to_owned), c.what()))
        .collect()
}

#[test]
fn each_instance_is_told_by_what_happened_to_it() {
    let before = attributes(
        r#"{"urn:a":[{"type":"Property","value":1},{"type":"Property","value":2,"datasetId":"urn:d"}],"urn:b":[{"type":"Property","value":3}],"urn:c":[{"type":"Property","value":4}],"urn:e":[{"type":"Property","value":5.0,"modifiedAt":"x"}]}"#,
    );
    let after = attributes(
        r#"{"urn:a":[{"type":"Property","value":7,"modifiedAt":"y"}],"urn:c":[{"type":"Property","value":4}],"urn:e":[{"type":"Property","value":5,"modifiedAt":"y"}],"urn:f":[{"type":"Property","value":6}]}"#,
    );
    let of = |iri: &str, dataset: Option<&str>, what| (iri.to_owned(), dataset.map(str::to_owned), what);
    assert_eq!(
        told(Some(&before), Some(&after)),
        [
            of("urn:a", None, What::Updated),
            of("urn:a", Some("urn:d"), What::Deleted),
            of("urn:e", None, What::Repeated),
            of("urn:f", None, What::Created),
            of("urn:b", None, What::Deleted),
        ]
    );
    assert_eq!(told(None, Some(&after)).len(), 4);
    assert!(
        told(Some(&before), None)
            .iter()
            .all(|(_, _, what)| *what == What::Deleted)
    );
}

#[test]
fn another_time_of_observation_or_another_attribute_of_an_attribute_says_something_else() {
    let read = |text: &str| attributes(text).remove("urn:a").unwrap().remove(0);
    let plain = read(r#"{"urn:a":[{"type":"Property","value":{"x":1,"y":[2]}}]}"#);
    for same in [
        r#"{"urn:a":[{"type":"Property","value":{"y":[2.0],"x":1},"createdAt":"c","modifiedAt":"m"}]}"#,
        r#"{"urn:a":[{"type":"Property","value":{"x":1e0,"y":[2]}}]}"#,
    ] {
        assert!(says_the_same(&plain, &read(same)), "{same}");
    }
    for other in [
        r#"{"urn:a":[{"type":"Property","value":{"x":1,"y":[3]}}]}"#,
        r#"{"urn:a":[{"type":"Property","value":{"x":1,"y":[2],"z":null}}]}"#,
        r#"{"urn:a":[{"type":"JsonProperty","value":{"x":1,"y":[2]}}]}"#,
        r#"{"urn:a":[{"type":"Property","value":{"x":1,"y":[2]},"observedAt":"2024-01-01T00:00:00Z"}]}"#,
        r#"{"urn:a":[{"type":"Property","value":{"x":1,"y":[2]},"unitCode":"C"}]}"#,
        r#"{"urn:a":[{"type":"Property","value":{"x":1,"y":[2]},"urn:s":[{"type":"Property","value":1}]}]}"#,
    ] {
        assert!(!says_the_same(&plain, &read(other)), "{other}");
    }
}

fn values() -> impl Strategy<Value = Attributes> {
    let instance = (0..3_i32, prop::option::of("urn:d:[ab]")).prop_map(|(value, dataset)| {
        let mut instance = Instance::new(Kind::Property, Json::Number(value.to_string().into()));
        instance.dataset = dataset;
        instance
    });
    prop::collection::btree_map(
        "urn:[a-c]",
        prop::collection::vec(instance, 1..3).prop_map(|mut instances| {
            instances.sort_by(|a, b| a.dataset.cmp(&b.dataset));
            instances.dedup_by(|a, b| a.dataset == b.dataset);
            instances
        }),
        0..4,
    )
}

proptest! {
    #[test]
    fn what_is_told_leads_from_before_to_after(before in values(), after in values()) {
        let mut rebuilt = before.clone();
        for change in changes(Some(&before), Some(&after)) {
            let there = rebuilt.entry(change.iri.to_owned()).or_default();
            there.retain(|i| i.dataset.as_deref() != change.dataset());
            there.extend(change.after.cloned());
        }
        rebuilt.retain(|_, instances| !instances.is_empty());
        for instances in rebuilt.values_mut() {
            instances.sort_by(|a, b| a.dataset.cmp(&b.dataset));
        }
        prop_assert_eq!(rebuilt, after);
    }

    #[test]
    fn only_what_a_write_names_is_told(before in values(), written in values(), later in 1..1000_i64) {
        let mut entity = Entity {
            id: "urn:x:1".to_owned(),
            types: vec!["urn:T".to_owned()],
            scope: Vec::new(),
            attributes: before.clone(),
            created: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
        };
        let fragment = Fragment { attributes: written.clone(), ..Fragment::default() };
        change::append(&mut entity, fragment, Existing::Overwritten, Timestamp::from_second(later).unwrap());
        let told = changes(Some(&before), Some(&entity.attributes));
        let named: usize = written.values().map(Vec::len).sum();
        prop_assert_eq!(told.len(), named);
        prop_assert!(told.iter().all(|c| written.contains_key(c.iri) && c.what() != What::Deleted));
        for iri in written.keys() {
            change::delete_attribute(&mut entity, iri, &Which::All, Timestamp::from_second(later).unwrap()).unwrap();
        }
        prop_assert!(changes(Some(&before), Some(&entity.attributes)).iter().all(|c| c.what() == What::Deleted));
    }
}
