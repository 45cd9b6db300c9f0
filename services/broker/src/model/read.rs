//! From what a client sends to the model: normalized, concise and simplified, in any mix (clauses 4.5.0 to 4.5.24).

pub mod past;

use crate::context::{Context, core_iri, core_term, keeps_its_name};
use crate::model::entity::{
    Attributes, Fragment, Instance, Kind, LOCATION, OBSERVATION_SPACE, OPERATION_SPACE, deletes_languages,
};
use crate::model::geometry::looks_like_geometry;
use crate::model::json::Json;
use crate::model::names::{MAX_IRI, NULL, is_name, is_uri};
use crate::model::values::{
    dataset, date_time, geometry, id, is_language_tag, is_null, no_nulls, object_list, one_or_more,
    relationship, scope, shortened,
};
use crate::model::{Refusal, refuse};
use std::collections::BTreeMap;

/// Whether `urn:ngsi-ld:null` as a value means "delete this", or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// The operation does not delete by value.
    Refused,
    /// It does.
    Delete,
    /// It does, members inside values too.
    Deep,
}

/// How many instances an attribute may have in one document.
pub(super) const MAX_INSTANCES: usize = 1000;

/// Members of an entity that clients may send and the broker keeps itself.
pub(super) const SYSTEM: [&str; 3] = ["createdAt", "modifiedAt", "deletedAt"];

/// Whether the core term names a member of entities that is no attribute.
pub(super) fn is_of_entities(term: &str) -> bool {
    matches!(term, "scope" | "expiresAt") || SYSTEM.contains(&term)
}

/// Whether the core term names a member of attributes that is no attribute of theirs.
pub(super) fn is_of_attributes(term: &str) -> bool {
    matches!(
        term,
        "observedAt" | "datasetId" | "unitCode" | "objectType" | "instanceId"
    ) || SYSTEM.contains(&term)
        || is_of_the_past(term)
        || Kind::ALL.iter().any(|kind| kind.member() == term)
}

/// Whether the name is one of those under which notifications show what was before; clients may send them back.
pub(super) fn is_of_the_past(name: &str) -> bool {
    name.starts_with("previous") && core_iri(name).is_some()
}

/// Reads one client's document in its context.
pub struct Reader<'a> {
    /// What names mean.
    pub context: &'a Context,
    /// What a null means.
    pub nulls: Nulls,
}

impl Reader<'_> {
    /// Reads an entity or a part of one.
    pub fn fragment(&self, body: &Json) -> Result<Fragment, Refusal> {
        let Json::Object(members) = body else {
            return refuse(format!("an entity is an object, not {}", body.kind()));
        };
        let mut found = Fragment::default();
        for (name, value) in members {
            match name.as_str() {
                "id" | "@id" => found.id = Some(id(value)?),
                "type" | "@type" => found.types = self.types(value)?,
                "scope" => found.scope = Some(self.scope(value)?),
                "expiresAt" => return refuse("expiresAt is not supported"),
                "@context" => {}
                name if SYSTEM.contains(&name) => {}
                name => self.attribute_into(&mut found.attributes, name, value, is_of_entities)?,
            }
        }
        Ok(found)
    }

    /// Reads an entity that is whole: with id and type.
    pub fn entity(&self, body: &Json) -> Result<Fragment, Refusal> {
        let found = self.fragment(body)?;
        if found.id.is_none() {
            return refuse("the entity has no id");
        }
        if found.types.is_empty() {
            return refuse("the entity has no type");
        }
        Ok(found)
    }

    /// Reads the body of an operation on one attribute; the kind may be left out of a partial update.
    pub fn attribute(&self, name: &str, body: &Json) -> Result<(String, Vec<Instance>), Refusal> {
        let iri = self.name(name)?;
        let instances = self.instances(&iri, name, body)?;
        Ok((iri, instances))
    }

    /// Expands the name of an attribute.
    pub fn name(&self, name: &str) -> Result<String, Refusal> {
        expanded_name(self.context, name)
    }

    pub(super) fn types(&self, value: &Json) -> Result<Vec<String>, Refusal> {
        let names = one_or_more(value, "type")?;
        let mut types: Vec<String> = Vec::with_capacity(names.len());
        for name in names {
            if name == NULL {
                return refuse(format!("{NULL} is not a type"));
            }
            let iri = expanded_name(self.context, name)?;
            if !types.contains(&iri) {
                types.push(iri);
            }
        }
        Ok(types)
    }

    /// The scopes; none where a null deletes them.
    pub(super) fn scope(&self, value: &Json) -> Result<Vec<String>, Refusal> {
        if self.nulls != Nulls::Refused && is_null(value) {
            return Ok(Vec::new());
        }
        scope(value)
    }

    fn attribute_into(
        &self,
        attributes: &mut Attributes,
        name: &str,
        value: &Json,
        is_member: fn(&str) -> bool,
    ) -> Result<(), Refusal> {
        let iri = self.own_name(name, is_member)?;
        let instances = self.instances(&iri, name, value)?;
        if attributes.insert(iri, instances).is_some() {
            return refuse(format!("two members mean the attribute {name:?}"));
        }
        Ok(())
    }

    /// Expands the name of an attribute that stands among other members.
    pub(super) fn own_name(&self, name: &str, is_member: fn(&str) -> bool) -> Result<String, Refusal> {
        let iri = self.name(name)?;
        // A member of that name, sent as itself, does not come here: this one would be shown beside it.
        if let Some(term) = core_term(&iri).filter(|term| is_member(term)) {
            return refuse(format!(
                "the name {name:?} means {iri}, which is the member {term:?} and no attribute here"
            ));
        }
        Ok(iri)
    }

    fn instances(&self, iri: &str, name: &str, value: &Json) -> Result<Vec<Instance>, Refusal> {
        if let Json::Array(items) = value
            && items.len() > MAX_INSTANCES
            && items.iter().all(looks_like_instance)
        {
            return refuse(format!("attribute {name:?}: more than {MAX_INSTANCES} instances"));
        }
        let several = match value {
            Json::Array(items) if !items.is_empty() && items.iter().all(looks_like_instance) => {
                items.as_slice()
            }
            single => std::slice::from_ref(single),
        };
        let mut instances: Vec<Instance> = Vec::with_capacity(several.len());
        for value in several {
            let instance = self
                .instance(value)
                .map_err(|Refusal(why)| Refusal(format!("attribute {name:?}: {why}")))?;
            if instances.iter().any(|other| other.dataset == instance.dataset) {
                return refuse(format!(
                    "attribute {name:?}: two instances have the same datasetId"
                ));
            }
            if !instance.is_deletion() {
                in_its_place(iri, name, instance.kind)?;
            }
            instances.push(instance);
        }
        Ok(instances)
    }

    fn instance(&self, value: &Json) -> Result<Instance, Refusal> {
        match form(value)? {
            Form::Bare(kind) => {
                let value = self.value(kind, value)?;
                self.checked(Instance::new(kind, value))
            }
            Form::Members(kind, members) => {
                let Some((_, sent)) = members.iter().find(|(name, _)| name == kind.member()) else {
                    return refuse(format!("a {} needs the member {:?}", kind.name(), kind.member()));
                };
                let mut instance = Instance::new(kind, self.value(kind, sent)?);
                for (name, value) in members {
                    self.member(&mut instance, name, value)?;
                }
                self.checked(instance)
            }
        }
    }

    fn checked(&self, instance: Instance) -> Result<Instance, Refusal> {
        if self.nulls == Nulls::Refused && instance.is_deletion() {
            return refuse(format!("{NULL} is not a value here"));
        }
        Ok(instance)
    }

    /// Reads what is beside the value.
    pub(super) fn member(&self, instance: &mut Instance, name: &str, value: &Json) -> Result<(), Refusal> {
        match name {
            // Where the attribute is written whole there is none of these to delete.
            "observedAt" | "unitCode" | "objectType" if is_null(value) && self.nulls != Nulls::Refused => {}
            "observedAt" => instance.observed_at = Some(date_time(value)?),
            "unitCode" if is_null(value) => return refuse(format!("{NULL} is not a unitCode here")),
            "datasetId" => instance.dataset = dataset(value)?,
            "unitCode" => match value {
                Json::String(code) => instance.unit_code = Some(code.clone()),
                other => return refuse(format!("unitCode is a string, not {}", other.kind())),
            },
            "objectType" => instance.object_type = self.types(value)?,
            "@context" => return refuse("an @context inside an attribute is not allowed"),
            "type" | "@type" | "instanceId" => {}
            // An answer with linked entities inside of it, sent back.
            "entity" | "entityList" if instance.kind.links() => {}
            name if SYSTEM.contains(&name) || is_of_the_past(name) => {}
            name if name == instance.kind.member() => {}
            name if Kind::ALL.iter().any(|kind| kind.member() == name) => {
                return refuse(format!("a {} has no member {name:?}", instance.kind.name()));
            }
            name => self.attribute_into(&mut instance.subs, name, value, is_of_attributes)?,
        }
        Ok(())
    }

    /// Reads the value of a kind.
    pub(super) fn value(&self, kind: Kind, value: &Json) -> Result<Json, Refusal> {
        if is_null(value) {
            return Ok(value.clone());
        }
        match kind {
            Kind::Property => self.expanded(value),
            Kind::GeoProperty => geometry(value),
            Kind::Relationship => relationship(value),
            Kind::LanguageProperty => self.language_map(value),
            Kind::VocabProperty => self.vocab(value),
            Kind::JsonProperty => match value {
                Json::Object(_) | Json::Array(_) => self.only_deletions(value).map(|()| value.clone()),
                other => refuse(format!("json is an object or an array, not {}", other.kind())),
            },
            Kind::ListProperty => match value {
                Json::Array(_) => self.expanded(value),
                other => refuse(format!("valueList is an array, not {}", other.kind())),
            },
            Kind::ListRelationship => object_list(value),
        }
    }

    fn vocab(&self, value: &Json) -> Result<Json, Refusal> {
        let expand = |name: &str| Json::string(self.context.expand(name).into_owned());
        no_nulls(value)?;
        match value {
            Json::String(name) => Ok(expand(name)),
            Json::Array(_) => Ok(Json::Array(
                one_or_more(value, "vocab")?.into_iter().map(expand).collect(),
            )),
            other => refuse(format!(
                "vocab is a string or an array of strings, not {}",
                other.kind()
            )),
        }
    }

    fn language_map(&self, value: &Json) -> Result<Json, Refusal> {
        let Json::Object(members) = value else {
            return refuse(format!("languageMap is an object, not {}", value.kind()));
        };
        // Alone, the null of no language deletes the attribute.
        if !deletes_languages(members) {
            self.only_deletions(value)?;
        }
        for (tag, text) in members {
            if !is_language_tag(tag) {
                return refuse(format!("{:?} is not a language tag", shortened(tag)));
            }
            one_or_more(text, "a text of a languageMap")?;
        }
        Ok(value.clone())
    }

    /// Refuses nulls that delete nothing: all, or where members inside values may be deleted those that stand in an
    /// array, which is replaced whole.
    fn only_deletions(&self, value: &Json) -> Result<(), Refusal> {
        match value {
            Json::Object(members) if self.nulls == Nulls::Deep => {
                let kept = members.iter().filter(|(_, value)| !is_null(value));
                kept.map(|(_, value)| value)
                    .try_for_each(|value| self.only_deletions(value))
            }
            other => no_nulls(other),
        }
    }

    /// A value with the members of its objects expanded, as JSON-LD does with them.
    fn expanded(&self, value: &Json) -> Result<Json, Refusal> {
        self.only_deletions(value)?;
        self.expanded_members(value)
    }

    fn expanded_members(&self, value: &Json) -> Result<Json, Refusal> {
        match value {
            Json::Null => refuse("null is not a value"),
            Json::Array(items) => Ok(Json::Array(
                items
                    .iter()
                    .map(|i| self.expanded_members(i))
                    .collect::<Result<_, _>>()?,
            )),
            Json::Object(members) => {
                let mut expanded: BTreeMap<String, Json> = BTreeMap::new();
                for (name, value) in members {
                    let name = if keeps_its_name(name) {
                        name.clone()
                    } else {
                        self.context.expand(name).into_owned()
                    };
                    // Only a plain member may be null: a value that is null was refused above.
                    let value = if *value == Json::Null {
                        Json::Null
                    } else {
                        self.expanded_members(value)?
                    };
                    if expanded.insert(name, value).is_some() {
                        return refuse("two members of a value mean the same IRI");
                    }
                }
                Ok(Json::Object(expanded.into_iter().collect()))
            }
            plain => Ok(plain.clone()),
        }
    }
}

/// Expands the name of a type or an attribute. The result is an absolute IRI, short enough to be a key.
pub fn expanded_name(context: &Context, name: &str) -> Result<String, Refusal> {
    if !is_name(name) {
        return refuse(format!(
            "{:?} is not a name: a letter, then letters, digits and _, or an IRI",
            shortened(name)
        ));
    }
    // Their meaning is a keyword of JSON-LD, which is no IRI.
    if keeps_its_name(name) {
        return refuse(format!(
            "{name} is a word of JSON-LD, so nothing can be called so"
        ));
    }
    let iri = context.expand(name).into_owned();
    if !is_uri(&iri) {
        return refuse(format!(
            "{:?} means {:?}, which is no absolute IRI of at most {MAX_IRI} bytes",
            shortened(name),
            shortened(&iri)
        ));
    }
    Ok(iri)
}

/// Refuses a kind that an attribute of the core vocabulary cannot have.
pub(super) fn in_its_place(iri: &str, name: &str, kind: Kind) -> Result<(), Refusal> {
    let must_be_geo = matches!(iri, LOCATION | OBSERVATION_SPACE | OPERATION_SPACE);
    if must_be_geo && kind != Kind::GeoProperty {
        return refuse(format!("attribute {name:?}: it must be a GeoProperty"));
    }
    Ok(())
}

pub(super) enum Form<'a> {
    /// The value alone.
    Bare(Kind),
    /// An object with the members of an attribute.
    Members(Kind, &'a [(String, Json)]),
}

pub(super) fn form(value: &Json) -> Result<Form<'_>, Refusal> {
    let Json::Object(members) = value else {
        return Ok(Form::Bare(Kind::Property));
    };
    if looks_like_geometry(value) {
        return Ok(Form::Bare(Kind::GeoProperty));
    }
    let named = value
        .get("type")
        .or_else(|| value.get("@type").filter(|_| value.get("@value").is_none()));
    match named {
        Some(Json::String(name)) => match Kind::named(name) {
            Some(kind) => Ok(Form::Members(kind, members)),
            None => refuse(format!("{name:?} is no type of attribute")),
        },
        Some(other) => refuse(format!(
            "the type of an attribute is a string, not {}",
            other.kind()
        )),
        None => Ok(implied(value).map_or(Form::Bare(Kind::Property), |kind| Form::Members(kind, members))),
    }
}

/// The kind of a concise attribute, told by the member that carries the value.
pub(super) fn implied(value: &Json) -> Option<Kind> {
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| value.get(kind.member()).is_some())?;
    let geo = kind == Kind::Property && value.get("value").is_some_and(looks_like_geometry);
    Some(if geo { Kind::GeoProperty } else { kind })
}

pub(super) fn looks_like_instance(value: &Json) -> bool {
    let typed = value
        .get("type")
        .and_then(Json::as_str)
        .is_some_and(|name| Kind::named(name).is_some());
    typed || (value.get("type").is_none() && implied(value).is_some())
}

#[cfg(test)]
#[path = "read_tests.rs"]
pub(super) mod tests;
