//! What the broker makes of a permission set: its own reader, asked of an entity in memory.

use crate::oracle::{Right, Thing};
use crate::random::LOCATION;
use jiff::Timestamp;
use mim_broker::model::entity::{Attributes, Entity, Instance, Kind};
use mim_broker::model::json::Json;
use mim_broker::permissions::{Permissions, Rules, wire};
use mim_broker::query::evaluate::Subject;
use std::collections::BTreeSet;

/// Reads a header.
pub fn read(header: &str) -> Permissions {
    wire::read(header.as_bytes()).unwrap()
}

/// What rules of the broker allow of an entity.
pub fn right(rules: &Rules, thing: &Thing) -> Option<Right> {
    let entity = entity(thing);
    let mut subject = Subject::of(&entity);
    let share = rules.share(&mut subject)?;
    assert!(!subject.was_too_costly());
    Some(Right {
        attributes: thing
            .attributes
            .iter()
            .filter(|name| share.has(name))
            .cloned()
            .collect(),
        as_such: share.is_of_entity(),
    })
}

/// A place as GeoJSON.
pub fn geometry(line: &[(i32, i32)]) -> serde_json::Value {
    match line {
        [(x, y)] => serde_json::json!({"type": "Point", "coordinates": [x, y]}),
        line => serde_json::json!({"type": "LineString", "coordinates": line}),
    }
}

/// Whether rules of the broker allow an entity that is at a place.
pub fn allows(rules: &Rules, place: &serde_json::Value) -> bool {
    let nowhere = Thing {
        id: "urn:t:1".to_owned(),
        types: vec!["urn:T".to_owned()],
        scopes: vec![],
        location: vec![],
        attributes: BTreeSet::new(),
    };
    let mut entity = entity(&nowhere);
    let value = Json::parse(place.to_string().as_bytes()).unwrap();
    let instance = Instance::new(Kind::GeoProperty, value);
    entity.attributes.insert(LOCATION.to_owned(), vec![instance]);
    rules.share(&mut Subject::of(&entity)).is_some()
}

fn entity(thing: &Thing) -> Entity {
    let plain = |name: &String| {
        (
            name.clone(),
            vec![Instance::new(Kind::Property, Json::string("1"))],
        )
    };
    let mut attributes: Attributes = thing.attributes.iter().map(plain).collect();
    let places = thing.location.iter().enumerate().map(|(at, line)| {
        let value = Json::parse(geometry(line).to_string().as_bytes()).unwrap();
        let dataset = (at > 0).then(|| format!("urn:dataset:{at}"));
        Instance {
            dataset,
            ..Instance::new(Kind::GeoProperty, value)
        }
    });
    if !thing.location.is_empty() {
        attributes.insert(LOCATION.to_owned(), places.collect());
    }
    Entity {
        id: thing.id.clone(),
        types: thing.types.clone(),
        scope: thing.scopes.clone(),
        attributes,
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    }
}
