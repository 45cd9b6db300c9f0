//! Merging (clauses 5.5.12 and 5.6.17, after RFC 7396): what is sent changes what it names, as deep as it goes, and leaves
//! all else as it is. `urn:ngsi-ld:null` deletes at every depth. Arrays, and typed values of JSON-LD, are replaced whole.

use crate::model::change::{add_types, put};
use crate::model::entity::{Attributes, Entity, Instance, Kind, deletes_languages};
use crate::model::geometry::looks_like_geometry;
use crate::model::json::Json;
use crate::model::names::{is_date_time, time_text};
use crate::model::read::{
    Form, MAX_INSTANCES, Reader, SYSTEM, form, in_its_place, is_of_attributes, is_of_entities,
    looks_like_instance,
};
use crate::model::values::{dataset, geometry, id, is_language_tag, is_null, shortened};
use crate::model::{Refusal, refuse};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a request says beside the patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    simplified: bool,
    observed_at: Option<String>,
    lang: Option<String>,
}

impl Manner {
    /// `simplified`: attributes are sent as their values only. `observed_at`: the time for merged attributes that have
    /// one and are sent none. `lang`: the language of texts that are sent for a `LanguageProperty`.
    pub fn new(simplified: bool, observed_at: Option<&str>, lang: Option<&str>) -> Result<Self, Refusal> {
        if observed_at.is_some_and(|time| !is_date_time(time)) {
            return refuse(
                "observedAt is a DateTime in UTC like 2024-01-31T12:00:00Z or 2024-01-31T12:00:00.123456Z",
            );
        }
        if let Some(lang) = lang.filter(|lang| !is_language_tag(lang)) {
            return refuse(format!("lang: {:?} is not one language tag", shortened(lang)));
        }
        Ok(Self {
            simplified,
            observed_at: observed_at.map(str::to_owned),
            lang: lang.map(str::to_owned),
        })
    }
}

/// Merges a client's document into an entity. After a refusal the entity may be merged in part: throw it away. The reader
/// takes nulls at every depth.
pub fn merge(
    entity: &mut Entity,
    patch: &Json,
    reader: &Reader<'_>,
    manner: &Manner,
    now: Timestamp,
) -> Result<(), Refusal> {
    let merger = Merger {
        reader,
        manner,
        stamp: time_text(now),
        is_blind: false,
    };
    if merger.entity(entity, patch, now)? {
        entity.modified = now;
    }
    Ok(())
}

/// Refuses a document that could be merged into no entity, whatever that has.
pub fn check(patch: &Json, reader: &Reader<'_>, manner: &Manner) -> Result<(), Refusal> {
    let merger = Merger {
        reader,
        manner,
        stamp: String::new(),
        is_blind: true,
    };
    let own = patch.get("id").or_else(|| patch.get("@id"));
    let mut nothing = Entity {
        id: own.map(id).transpose()?.unwrap_or_default(),
        types: Vec::new(),
        scope: Vec::new(),
        attributes: Attributes::new(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    };
    merger.entity(&mut nothing, patch, Timestamp::UNIX_EPOCH)?;
    Ok(())
}

/// What is sent for one instance.
enum Part<'j> {
    /// Its value alone; what kind it is of says what is there.
    Value(&'j Json),
    /// Members. The kind is the one they name (`told`), or what the member with the value implies.
    Members {
        kind: Kind,
        told: bool,
        members: &'j [(String, Json)],
    },
}

impl<'j> Part<'j> {
    fn get(&self, name: &str) -> Option<&'j Json> {
        match self {
            Self::Value(_) => None,
            Self::Members { members, .. } => members.iter().find(|(n, _)| n == name).map(|(_, value)| value),
        }
    }

    fn value(&self) -> Option<&'j Json> {
        match self {
            Self::Value(value) => Some(value),
            Self::Members { kind, .. } => self.get(kind.member()),
        }
    }

    /// The kind, where nothing is there yet.
    fn kind(&self) -> Kind {
        match self {
            Self::Value(value) if looks_like_geometry(value) => Kind::GeoProperty,
            Self::Value(_) => Kind::Property,
            Self::Members { kind, .. } => *kind,
        }
    }

    fn dataset(&self) -> Result<Option<String>, Refusal> {
        match self.get("datasetId") {
            Some(value) if is_null(value) => refuse("a datasetId cannot be deleted"),
            Some(value) => dataset(value),
            None => Ok(None),
        }
    }

    fn deletes(&self) -> bool {
        match self.value() {
            Some(Json::Object(members)) => {
                self.kind() == Kind::LanguageProperty && deletes_languages(members)
            }
            Some(value) => is_null(value),
            None => false,
        }
    }
}

struct Merger<'a> {
    reader: &'a Reader<'a>,
    manner: &'a Manner,
    stamp: String,
    /// Nothing is known of what there is to merge into.
    is_blind: bool,
}

impl Merger<'_> {
    /// Merges a document; true when anything but types came of it.
    fn entity(&self, entity: &mut Entity, patch: &Json, now: Timestamp) -> Result<bool, Refusal> {
        let Json::Object(members) = patch else {
            return refuse(format!("an entity is an object, not {}", patch.kind()));
        };
        if members.iter().all(|(name, _)| name == "@context") {
            return refuse("the body has nothing to write");
        }
        let mut seen = BTreeSet::new();
        let mut changed = false;
        for (name, value) in members {
            match name.as_str() {
                "id" | "@id" if id(value)? == entity.id => {}
                "id" | "@id" => return refuse("the id in the body is not that of the entity"),
                "type" | "@type" => add_types(entity, self.reader.types(value)?, now),
                "scope" => {
                    entity.scope = self.reader.scope(value)?;
                    changed = true;
                }
                "expiresAt" => return refuse("expiresAt is not supported"),
                "@context" => {}
                name if SYSTEM.contains(&name) => {}
                name => {
                    let iri = self.reader.own_name(name, is_of_entities)?;
                    changed |=
                        self.attribute(&mut entity.attributes, &mut seen, iri, (name, value), false)?;
                }
            }
        }
        Ok(changed)
    }

    /// Merges one attribute; true when anything came of it. `fresh`: what holds it is new, and so is it.
    fn attribute(
        &self,
        there: &mut Attributes,
        seen: &mut BTreeSet<String>,
        iri: String,
        (name, value): (&str, &Json),
        fresh: bool,
    ) -> Result<bool, Refusal> {
        let instances = there.entry(iri.clone()).or_default();
        let changed = self
            .instances(instances, (&iri, name), value, fresh)
            .map_err(|Refusal(why)| Refusal(format!("attribute {name:?}: {why}")))?;
        if instances.is_empty() {
            there.remove(&iri);
        }
        if !seen.insert(iri) {
            return refuse(format!("two members mean the attribute {name:?}"));
        }
        Ok(changed)
    }

    fn instances(
        &self,
        there: &mut Vec<Instance>,
        (iri, name): (&str, &str),
        value: &Json,
        fresh: bool,
    ) -> Result<bool, Refusal> {
        let mut changed = false;
        let mut seen = BTreeSet::new();
        for (dataset, part) in self.parts(value)? {
            let at = there.iter().position(|t| t.dataset == dataset);
            match at.and_then(|at| there.get_mut(at)) {
                None if part.deletes() => {}
                Some(_) if part.deletes() => {
                    there.retain(|t| t.dataset != dataset);
                    changed = true;
                }
                Some(instance) => {
                    self.instance(instance, &part, false)?;
                    in_its_place(iri, name, instance.kind)?;
                    instance.modified = Some(self.stamp.clone());
                    changed = true;
                }
                None => {
                    let mut instance = Instance::new(part.kind(), Json::Null);
                    instance.dataset.clone_from(&dataset);
                    self.instance(&mut instance, &part, true)?;
                    in_its_place(iri, name, instance.kind)?;
                    instance.created = (!fresh).then(|| self.stamp.clone());
                    put(there, None, instance);
                    changed = true;
                }
            }
            if !seen.insert(dataset) {
                return refuse("two instances have the same datasetId");
            }
        }
        Ok(changed)
    }

    /// What is sent, instance by instance, with the dataset of each.
    fn parts<'j>(&self, value: &'j Json) -> Result<Vec<(Option<String>, Part<'j>)>, Refusal> {
        if self.manner.simplified {
            return match by_dataset(value) {
                Some(instances) => instances
                    .iter()
                    .map(|(name, value)| Ok((dataset(&Json::string(name))?, simplified(value))))
                    .collect(),
                None => Ok(vec![(None, simplified(value))]),
            };
        }
        let several = match value {
            Json::Array(items) if !items.is_empty() && items.iter().all(looks_like_instance) => {
                items.as_slice()
            }
            single => std::slice::from_ref(single),
        };
        if several.len() > MAX_INSTANCES {
            return refuse(format!("more than {MAX_INSTANCES} instances"));
        }
        let part = |value| {
            let part = match form(value)? {
                Form::Bare(_) => Part::Value(value),
                Form::Members(kind, members) => Part::Members {
                    kind,
                    told: members
                        .iter()
                        .any(|(n, _)| matches!(n.as_str(), "type" | "@type")),
                    members,
                },
            };
            Ok((part.dataset()?, part))
        };
        several.iter().map(part).collect()
    }

    /// Merges what is sent for an instance into it. It may be a new one, without a value yet.
    fn instance(&self, target: &mut Instance, part: &Part<'_>, fresh: bool) -> Result<(), Refusal> {
        if let Part::Members { kind, told, .. } = part {
            self.change_kind(target, *kind, *told, part.value())?;
        }
        if let Some(sent) = part.value() {
            let there = std::mem::replace(&mut target.value, Json::Null);
            target.value = self.value(target.kind, there, sent)?;
        }
        if target.value == Json::Null && !self.is_blind {
            return refuse(format!(
                "a {} needs the member {:?}",
                target.kind.name(),
                target.kind.member()
            ));
        }
        let common = self.manner.observed_at.as_ref();
        if let Some(common) = common.filter(|_| !fresh && target.observed_at.is_some()) {
            target.observed_at = Some(common.clone());
        }
        if let Part::Members { kind, members, .. } = part {
            let mut seen = BTreeSet::new();
            for (name, value) in members.iter().filter(|(name, _)| name != kind.member()) {
                self.member(target, &mut seen, name, value, fresh)?;
            }
        }
        Ok(())
    }

    /// Gives an instance another kind where the patch is of another one and may be. What the new kind has no place for
    /// goes.
    fn change_kind(
        &self,
        target: &mut Instance,
        kind: Kind,
        told: bool,
        sent: Option<&Json>,
    ) -> Result<(), Refusal> {
        let same = target.kind == kind || (!told && target.kind.member() == kind.member());
        let is_text = matches!(sent, Some(Json::String(_) | Json::Array(_)));
        let of_language = target.kind == Kind::LanguageProperty && kind == Kind::Property;
        if same || (of_language && is_text && self.manner.lang.is_some()) {
            return Ok(());
        }
        if self.manner.simplified {
            return refuse(format!(
                "the attribute is a {}; its type cannot become {} in the simplified representation",
                target.kind.name(),
                kind.name()
            ));
        }
        target.kind = kind;
        target.value = Json::Null;
        if !matches!(kind, Kind::Property | Kind::ListProperty) {
            target.unit_code = None;
        }
        if !kind.links() {
            target.object_type.clear();
        }
        Ok(())
    }

    /// What becomes of a value.
    fn value(&self, kind: Kind, there: Json, sent: &Json) -> Result<Json, Refusal> {
        match (kind, sent) {
            (Kind::Property | Kind::JsonProperty | Kind::LanguageProperty, Json::Object(_)) => {
                Ok(patched(there, self.reader.value(kind, sent)?))
            }
            (Kind::GeoProperty, Json::Object(_)) if !looks_like_geometry(sent) => {
                geometry(&patched(there, sent.clone()))
            }
            (Kind::LanguageProperty, Json::String(_) | Json::Array(_)) => {
                let Some(lang) = &self.manner.lang else {
                    return refuse(
                        "it is a LanguageProperty: say with the parameter lang which language the text is in, or send a languageMap",
                    );
                };
                let sent = Json::Object(vec![(lang.clone(), sent.clone())]);
                Ok(patched(there, self.reader.value(kind, &sent)?))
            }
            _ => self.reader.value(kind, sent),
        }
    }

    /// Merges a member beside the value.
    fn member(
        &self,
        target: &mut Instance,
        seen: &mut BTreeSet<String>,
        name: &str,
        value: &Json,
        fresh: bool,
    ) -> Result<(), Refusal> {
        match name {
            "observedAt" if is_null(value) => target.observed_at = None,
            "unitCode" if is_null(value) => target.unit_code = None,
            "objectType" if is_null(value) => target.object_type.clear(),
            name if is_of_attributes(name) || matches!(name, "type" | "@type" | "@context") => {
                self.reader.member(target, name, value)?;
            }
            name => {
                let iri = self.reader.own_name(name, is_of_attributes)?;
                self.attribute(&mut target.subs, seen, iri, (name, value), fresh)?;
            }
        }
        Ok(())
    }
}

/// Instances by dataset, as the simplified representation shows several.
fn by_dataset(value: &Json) -> Option<&[(String, Json)]> {
    match value {
        Json::Object(members) => match members.as_slice() {
            [(name, Json::Object(instances))] if name == "dataset" && !instances.is_empty() => {
                Some(instances)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Reads the simplified representation: a value, whatever members it has; but for kinds whose value it wraps, and for
/// an attribute that is sent normalized all the same.
fn simplified(value: &Json) -> Part<'_> {
    let Json::Object(members) = value else {
        return Part::Value(value);
    };
    let wrapped = [Kind::LanguageProperty, Kind::VocabProperty, Kind::JsonProperty];
    let named = value.get("type").and_then(Json::as_str).and_then(Kind::named);
    if let Some(kind) = named.filter(|kind| value.get(kind.member()).is_some()) {
        return Part::Members {
            kind,
            told: true,
            members,
        };
    }
    let only = match members.as_slice() {
        [(only, _)] => wrapped.into_iter().find(|kind| kind.member() == only),
        _ => None,
    };
    match only {
        Some(kind) => Part::Members {
            kind,
            told: false,
            members,
        },
        None => Part::Value(value),
    }
}

/// The algorithm of RFC 7396, with `urn:ngsi-ld:null` as null. A typed value of JSON-LD is a value, not an object with
/// members.
fn patched(there: Json, patch: Json) -> Json {
    let Json::Object(changes) = patch else {
        return patch;
    };
    let is_typed = |members: &[(String, Json)]| members.iter().any(|(name, _)| name == "@value");
    let mut members: BTreeMap<String, Json> = match there {
        Json::Object(members) if !is_typed(&members) && !is_typed(&changes) => members.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    for (name, change) in changes {
        if is_null(&change) {
            members.remove(&name);
        } else {
            let before = members.remove(&name).unwrap_or(Json::Null);
            members.insert(name, patched(before, change));
        }
    }
    Json::Object(members.into_iter().collect())
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
