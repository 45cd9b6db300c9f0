use super::*;
use crate::model::entity::{Instance, Kind};
use crate::model::json::Json;
use crate::permissions::wire;
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const NAMES: [&str; 4] = ["urn:a", "urn:b", "urn:c", "urn:d"];

fn who(read: &BTreeSet<usize>, update: &BTreeSet<usize>) -> Who {
    let grants = |names: &BTreeSet<usize>| {
        let names: Vec<String> = names.iter().map(|n| format!("\"{}\"", NAMES[*n])).collect();
        if names.is_empty() {
            "{\"attributes\":[\"urn:none\"]}".to_owned()
        } else {
            format!("{{\"attributes\":[{}]}}", names.join(","))
        }
    };
    let text = format!(
        r#"{{"version":1,"subject":"s","read":{{"allow":[{}]}},"update":{{"allow":[{}]}}}}"#,
        grants(read),
        grants(update)
    );
    let set = wire::of_json(&Json::parse(text.as_bytes()).unwrap()).unwrap();
    Who::Subject(Arc::new(set))
}

fn entity(names: &BTreeSet<usize>) -> Entity {
    let instance = |n: &usize| {
        let value = Json::Number(n.to_string().into());
        (NAMES[*n].to_owned(), vec![Instance::new(Kind::Property, value)])
    };
    Entity {
        id: "urn:x:1".to_owned(),
        types: vec!["urn:T".to_owned()],
        scope: Vec::new(),
        attributes: names.iter().map(instance).collect(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    }
}

/// Sets an attribute, or takes it away where it is there.
type Step = (usize, bool);

fn apply(entity: &mut Entity, steps: &[Step]) -> Result<(), &'static str> {
    for (n, is_set) in steps {
        let name = NAMES[*n];
        if *is_set {
            let value = Json::string("new");
            let instances = vec![Instance::new(Kind::Property, value)];
            entity.attributes.insert(name.to_owned(), instances);
        } else if entity.attributes.remove(name).is_none() {
            return Err("not found");
        }
    }
    Ok(())
}

fn changed(
    who: &Who,
    before: &BTreeSet<usize>,
    extent: Extent,
    steps: &[Step],
) -> Result<Entity, &'static str> {
    let mut entity = entity(before);
    let denied = |denied| match denied {
        Denied::NotSeen => "not seen",
        Denied::NotAllowed => "not allowed",
    };
    who.change(&mut entity, extent, denied, |entity| apply(entity, steps))?;
    Ok(entity)
}

fn names() -> impl Strategy<Value = BTreeSet<usize>> {
    proptest::collection::btree_set(0..NAMES.len(), 0..NAMES.len())
}

proptest! {
    #[test]
    fn only_what_is_allowed_is_changed(
        read in names(), update in names(), there in names(), whole in any::<bool>(),
        steps in proptest::collection::vec((0..NAMES.len(), any::<bool>()), 0..5),
    ) {
        let extent = if whole { Extent::Whole } else { Extent::Parts };
        let before = entity(&there);
        if let Ok(after) = changed(&who(&read, &update), &there, extent, &steps) {
            for (n, name) in NAMES.iter().enumerate() {
                let same = before.attributes.get(*name) == after.attributes.get(*name);
                prop_assert!(same || update.contains(&n), "{name}: {before:?} {after:?}");
            }
        }
    }

    #[test]
    fn what_is_neither_seen_nor_allowed_changes_no_answer_by_being_there(
        read in names(), update in names(), there in names(), hidden in 0..NAMES.len(),
        steps in proptest::collection::vec((0..NAMES.len(), any::<bool>()), 0..5),
    ) {
        prop_assume!(!read.contains(&hidden) && !update.contains(&hidden));
        let who = who(&read, &update);
        let (mut with, mut without) = (there.clone(), there);
        with.insert(hidden);
        without.remove(&hidden);
        // A step that sets what is hidden is not allowed, and one that then takes it away again would be.
        prop_assume!(!steps.contains(&(hidden, true)) || !steps.contains(&(hidden, false)));
        let answers = [&with, &without].map(|there| changed(&who, there, Extent::Parts, &steps).err());
        prop_assert_eq!(answers[0], answers[1]);
    }
}
