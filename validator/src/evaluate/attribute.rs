//! The values of an attribute, as a schema of the simplified representation means them (ETSI GS CIM 009, 4.5.2 to 4.5.4).

use super::{Representation, Run, Step};
use crate::node::NodeId;
use crate::tape::{Kind, Value};

/// What deletes an attribute or a value (4.5.5, 5.5.12).
const NULL: &str = "urn:ngsi-ld:null";
/// The types of attributes, and which member has the value.
const TYPES: [(&str, &str); 8] = [
    ("Property", VALUE),
    ("GeoProperty", VALUE),
    ("Relationship", OBJECT),
    ("LanguageProperty", "languageMap"),
    ("VocabProperty", "vocab"),
    ("JsonProperty", JSON),
    ("ListProperty", "valueList"),
    ("ListRelationship", "objectList"),
];
const VALUE: &str = "value";
const OBJECT: &str = "object";
const JSON: &str = "json";
const GEOMETRIES: [&str; 7] = [
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
];

/// Where the value of an instance is.
enum Place<'t> {
    /// It is the value itself.
    Here,
    /// It is a geometry itself.
    Geometry,
    /// It is in this member.
    In(&'static str, Value<'t>),
}

impl<'t> Run<'_, 't> {
    /// Asks a schema of each value of an attribute.
    pub(super) fn attribute<const TELL: bool>(&mut self, schema: NodeId, value: Value<'t>) -> bool {
        match self.reading.representation {
            Representation::Simplified => self.simplified::<TELL>(schema, value),
            Representation::Full if is_several(&value) => {
                let mut holds = true;
                for (number, instance) in value.items().enumerate() {
                    let step = || Step::Item(number);
                    holds &= self.within::<TELL>(step, |run| run.instance::<TELL>(schema, instance));
                }
                holds
            }
            Representation::Full => self.instance::<TELL>(schema, value),
        }
    }

    fn simplified<const TELL: bool>(&mut self, schema: NodeId, value: Value<'t>) -> bool {
        let Some((name, datasets)) = datasets(&value) else {
            return self.node::<TELL>(schema, value);
        };
        let name = || Step::Name(name.text().unwrap_or_default());
        self.within::<TELL>(name, |run| {
            let values = datasets.members();
            values.fold(true, |holds, (key, value)| {
                run.member_is::<TELL>(schema, key, value) && holds
            })
        })
    }

    fn instance<const TELL: bool>(&mut self, schema: NodeId, value: Value<'t>) -> bool {
        match place(&value) {
            Place::Here => self.node::<TELL>(schema, value),
            Place::Geometry => self.literally(|run| run.node::<TELL>(schema, value)),
            Place::In("languageMap" | "vocab" | JSON, _) => self.as_object::<TELL>(schema, value),
            Place::In(name, inner) => {
                let inner = if name == "objectList" {
                    inner.with_targets()
                } else {
                    inner
                };
                let step = || Step::Name(name.into());
                self.within::<TELL>(step, |run| run.node::<TELL>(schema, inner))
            }
        }
    }

    /// What is simplified to an object with one member.
    fn as_object<const TELL: bool>(&mut self, schema: NodeId, value: Value<'t>) -> bool {
        let Place::In(name, _) = place(&value) else {
            return false;
        };
        let Some(seen) = value.with_only(name) else {
            return false;
        };
        self.literally(|run| run.node::<TELL>(schema, seen))
    }

    fn literally(&mut self, then: impl FnOnce(&mut Self) -> bool) -> bool {
        let before = std::mem::replace(&mut self.literal, true);
        let holds = then(self);
        self.literal = before;
        holds
    }
}

fn place<'t>(value: &Value<'t>) -> Place<'t> {
    if value.kind() != Kind::Object {
        return Place::Here;
    }
    let Some(named) = value.member("type").or_else(|| value.member("@type")) else {
        let mut members = TYPES.iter().map(|(_, member)| *member);
        let found = members.find_map(|member| Some((member, value.member(member)?)));
        return found.map_or(Place::Here, |(member, inner)| Place::In(member, inner));
    };
    let known = TYPES.iter().find(|(name, _)| named.is_text(name));
    match known.and_then(|(_, member)| Some((*member, value.member(member)?))) {
        Some((member, inner)) => Place::In(member, inner),
        None if is_geometry(value, &named) => Place::Geometry,
        None => Place::Here,
    }
}

fn is_geometry(value: &Value<'_>, named: &Value<'_>) -> bool {
    GEOMETRIES.iter().any(|name| named.is_text(name)) && value.member("coordinates").is_some()
}

/// Whether it is an array of instances, and not one that is a value.
fn is_several(value: &Value<'_>) -> bool {
    value.kind() == Kind::Array
        && value.items().next().is_some()
        && value.items().all(|item| matches!(place(&item), Place::In(..)))
}

/// The instances of an attribute that has more than the default one.
fn datasets<'t>(value: &Value<'t>) -> Option<(Value<'t>, Value<'t>)> {
    let mut members = value.members();
    let (name, datasets) = members.next()?;
    let is_dataset = |(key, _): (Value<'_>, Value<'_>)| key.is_text("@none") || key.raw().contains(':');
    let only = members.next().is_none() && name.is_text("dataset") && datasets.kind() == Kind::Object;
    (only && datasets.members().all(is_dataset)).then_some((name, datasets))
}

/// Whether it deletes the attribute, or its value.
pub(super) fn deletes(value: &Value<'_>) -> bool {
    if value.kind() == Kind::Null || value.is_text(NULL) {
        return true;
    }
    matches!(place(value), Place::In(_, inner) if inner.is_text(NULL))
}
