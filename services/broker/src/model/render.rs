//! From an entity to what a client asked for: normalized, concise or simplified, as JSON or as a GeoJSON Feature
//! (clauses 4.5.0 to 4.5.24), with the names of the client's context.

use crate::context::{Context, keeps_its_name};
use crate::model::entity::{Attributes, Entity, Instance, Kind};
use crate::model::geometry::{is_geometry_type, looks_like_geometry};
use crate::model::json::{Json, write_string};
use crate::model::names::{NONE, time_text};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The representations of clauses 4.5.2, 4.5.24 and 4.5.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Representation {
    /// Everything, each attribute with its type.
    #[default]
    Normalized,
    /// Everything, types left out where they are implied.
    Concise,
    /// Values only.
    Simplified,
}

/// How entities are shown.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The context that gives names.
    pub context: &'a Context,
    /// The representation.
    pub representation: Representation,
    /// Whether `createdAt` and `modifiedAt` are shown.
    pub sys_attrs: bool,
    /// The attributes to show, by IRI; `None` shows all.
    pub only: Option<&'a BTreeSet<String>>,
    /// Whether `@context` is a member of each entity.
    pub with_context: bool,
}

/// An object that is being written.
struct Members<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Members<'o> {
    fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    /// Writes a name; the value is to follow.
    fn name(&mut self, name: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        write_string(self.out, name);
        self.out.push(':');
        self.out
    }

    fn text(&mut self, name: &str, value: &str) {
        let out = self.name(name);
        write_string(out, value);
    }

    fn close(self) {
        self.out.push('}');
    }
}

/// Texts: one as a string, several as an array.
fn write_texts<'t>(out: &mut String, texts: impl ExactSizeIterator<Item = Cow<'t, str>>) {
    let several = texts.len() != 1;
    if several {
        out.push('[');
    }
    for (n, text) in texts.enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(out, &text);
    }
    if several {
        out.push(']');
    }
}

/// Created and modified, as an attribute without its own has them from what holds it.
#[derive(Clone, Copy)]
struct Times<'t> {
    created: &'t str,
    modified: &'t str,
}

impl<'t> Times<'t> {
    fn of(instance: &'t Instance, holder: Self) -> Self {
        match (&instance.created, &instance.modified) {
            (None, None) => holder,
            (Some(created), None) => Self {
                created,
                modified: created,
            },
            (created, Some(modified)) => Self {
                created: created.as_deref().unwrap_or(holder.created),
                modified,
            },
        }
    }
}

/// How the members of one object are called, so that no two have the same name.
#[derive(Clone, Copy)]
struct Naming<'n> {
    context: &'n Context,
    /// One of the IRIs looks like a compact IRI of this context and is none (`ex:a`, where `ex` is a prefix): it might be
    /// what another one becomes. So here no IRI becomes a compact one; terms, which have no colon, still are used.
    whole: bool,
}

impl<'n> Naming<'n> {
    fn name(&self, iri: &'n str) -> Cow<'n, str> {
        let name = self.context.compact(iri);
        if self.whole && name.contains(':') {
            Cow::Borrowed(iri)
        } else {
            name
        }
    }
}

impl View<'_> {
    /// Appends the entity as JSON.
    pub fn entity(&self, entity: &Entity, out: &mut String) {
        let mut members = Members::open(out);
        members.text("id", &entity.id);
        self.body(entity, &mut members, true);
        if self.with_context {
            members.text("@context", self.context.link());
        }
        members.close();
    }

    /// Appends the entity as a GeoJSON Feature, with the geometry of the attribute with this IRI, or null.
    pub fn feature(&self, entity: &Entity, geometry: &str, out: &mut String) {
        let mut members = Members::open(out);
        members.text("id", &entity.id);
        members.text("type", "Feature");
        let instances = entity
            .attributes
            .get(geometry)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let default = instances
            .iter()
            .find(|i| i.dataset.is_none())
            .or_else(|| instances.first());
        let value = default
            .filter(|i| i.kind == Kind::GeoProperty)
            .map_or(&Json::Null, |i| &i.value);
        value.write(members.name("geometry"));
        let out = members.name("properties");
        let mut properties = Members::open(out);
        self.body(entity, &mut properties, true);
        properties.close();
        if self.with_context {
            members.text("@context", self.context.link());
        }
        members.close();
    }

    /// Type, scope, attributes and times.
    fn body(&self, entity: &Entity, members: &mut Members<'_>, scope: bool) {
        write_texts(
            members.name("type"),
            entity.types.iter().map(|t| self.context.compact(t)),
        );
        if scope && !entity.scope.is_empty() {
            write_texts(
                members.name("scope"),
                entity.scope.iter().map(|s| s.as_str().into()),
            );
        }
        let (mut created, mut modified) = (String::new(), String::new());
        if self.sys_attrs {
            created = time_text(entity.created);
            modified = time_text(entity.modified);
        }
        let times = Times {
            created: &created,
            modified: &created,
        };
        let naming = self.naming(entity.attributes.keys());
        for (iri, instances) in &entity.attributes {
            if self.only.is_none_or(|only| only.contains(iri)) {
                self.attribute(members.name(&naming.name(iri)), instances, times);
            }
        }
        if self.sys_attrs {
            members.text("createdAt", &created);
            members.text("modifiedAt", &modified);
        }
    }

    fn attribute(&self, out: &mut String, instances: &[Instance], times: Times<'_>) {
        match (instances, self.representation) {
            ([single], Representation::Simplified) if single.dataset.is_none() => {
                self.simplified(out, single);
            }
            (several, Representation::Simplified) => {
                let mut members = Members::open(out);
                let mut datasets = Members::open(members.name("dataset"));
                for instance in several {
                    self.simplified(
                        datasets.name(instance.dataset.as_deref().unwrap_or(NONE)),
                        instance,
                    );
                }
                datasets.close();
                members.close();
            }
            ([single], Representation::Concise) if !self.sys_attrs && is_bare(single) => {
                self.value(out, single);
            }
            ([single], _) => self.instance(out, single, times),
            (several, _) => {
                out.push('[');
                for (n, instance) in several.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    self.instance(out, instance, times);
                }
                out.push(']');
            }
        }
    }

    fn simplified(&self, out: &mut String, instance: &Instance) {
        match instance.kind {
            Kind::LanguageProperty | Kind::VocabProperty | Kind::JsonProperty => {
                let mut members = Members::open(out);
                self.value(members.name(instance.kind.member()), instance);
                members.close();
            }
            Kind::ListRelationship => instance.value.write(out),
            _ => self.value(out, instance),
        }
    }

    fn instance(&self, out: &mut String, instance: &Instance, holder: Times<'_>) {
        let concise = self.representation == Representation::Concise;
        let mut members = Members::open(out);
        if !concise || is_mistakable(instance) {
            members.text("type", instance.kind.name());
        }
        self.value(members.name(instance.kind.member()), instance);
        if !instance.object_type.is_empty() {
            let types = instance.object_type.iter().map(|t| self.context.compact(t));
            write_texts(members.name("objectType"), types);
        }
        let plain = [
            ("unitCode", &instance.unit_code),
            ("observedAt", &instance.observed_at),
            ("datasetId", &instance.dataset),
        ];
        for (name, value) in plain {
            if let Some(value) = value {
                members.text(name, value);
            }
        }
        let times = Times::of(instance, holder);
        self.subs(&mut members, &instance.subs, times);
        if self.sys_attrs {
            members.text("createdAt", times.created);
            members.text("modifiedAt", times.modified);
        }
        members.close();
    }

    fn subs(&self, members: &mut Members<'_>, subs: &Attributes, times: Times<'_>) {
        let naming = self.naming(subs.keys());
        for (iri, instances) in subs {
            self.attribute(members.name(&naming.name(iri)), instances, times);
        }
    }

    fn naming<'n>(&'n self, mut iris: impl Iterator<Item = &'n String>) -> Naming<'n> {
        Naming {
            context: self.context,
            whole: iris.any(|iri| self.context.is_misread(iri)),
        }
    }

    fn value(&self, out: &mut String, instance: &Instance) {
        match instance.kind {
            Kind::Property | Kind::ListProperty => self.compacted(out, &instance.value),
            Kind::VocabProperty => match &instance.value {
                Json::Array(items) => {
                    out.push('[');
                    for (n, item) in items.iter().enumerate() {
                        if n > 0 {
                            out.push(',');
                        }
                        write_string(out, &self.context.compact(item.as_str().unwrap_or_default()));
                    }
                    out.push(']');
                }
                single => write_string(out, &self.context.compact(single.as_str().unwrap_or_default())),
            },
            Kind::ListRelationship => match &instance.value {
                Json::Array(items) => {
                    let objects = items
                        .iter()
                        .map(|i| Json::Object(vec![("object".to_owned(), i.clone())]));
                    Json::Array(objects.collect()).write(out);
                }
                other => other.write(out),
            },
            _ => instance.value.write(out),
        }
    }

    /// A value with the names of the context for the members of its objects.
    fn compacted(&self, out: &mut String, value: &Json) {
        match value {
            Json::Object(values) => {
                let mut members = Members::open(out);
                let naming = self.naming(values.iter().map(|(name, _)| name));
                for (name, value) in values {
                    let shown = if keeps_its_name(name) {
                        name.into()
                    } else {
                        naming.name(name)
                    };
                    let out = members.name(&shown);
                    self.compacted(out, value);
                }
                members.close();
            }
            Json::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    self.compacted(out, item);
                }
                out.push(']');
            }
            plain => plain.write(out),
        }
    }
}

/// Whether concise is the value alone: nothing else to say, and it reads back as the same kind.
fn is_bare(instance: &Instance) -> bool {
    let alone = instance.dataset.is_none()
        && instance.observed_at.is_none()
        && instance.unit_code.is_none()
        && instance.object_type.is_empty()
        && instance.subs.is_empty();
    let reads_back = match instance.kind {
        Kind::Property => match &instance.value {
            Json::Object(_) => false,
            Json::Array(items) => !items.iter().any(|i| matches!(i, Json::Object(_))),
            _ => true,
        },
        Kind::GeoProperty => looks_like_geometry(&instance.value),
        _ => false,
    };
    alone && reads_back
}

/// Whether an attribute without its type would be read as another kind.
fn is_mistakable(instance: &Instance) -> bool {
    // The members of a property's value are expanded, so the type alone tells.
    let typed_as_geometry = instance
        .value
        .get("type")
        .and_then(Json::as_str)
        .is_some_and(is_geometry_type);
    (instance.kind == Kind::Property && typed_as_geometry)
        || (instance.kind == Kind::GeoProperty && !looks_like_geometry(&instance.value))
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
