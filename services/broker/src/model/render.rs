//! From an entity to what a client asked for: normalized, concise or simplified, as JSON or as a GeoJSON Feature
//! (clauses 4.5.0 to 4.5.24), with the names of the client's context.

mod members;
pub mod past;

use crate::context::{Context, keeps_its_name};
use crate::model::diff::says_the_same;
use crate::model::entity::{Attributes, Entity, Instance, Kind};
use crate::model::geometry::{is_geometry_type, looks_like_geometry};
use crate::model::json::{Json, write_string};
use crate::model::linked::{Link, Links, Place, Unlinked};
use crate::model::names::{NONE, time_text};
use crate::model::render::members::{Members, write_texts};
use crate::model::view::projection::{Member, Shown};
use crate::model::view::{Datasets, Representation, Shape};
use std::borrow::Cow;

/// Members that answers have of their own; an attribute of that name stands in their place.
const LANG: &str = "https://uri.etsi.org/ngsi-ld/lang";
const ENTITY: &str = "https://uri.etsi.org/ngsi-ld/entity";
const ENTITY_LIST: &str = "https://uri.etsi.org/ngsi-ld/entityList";

/// How entities are shown.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The context that gives names.
    pub context: &'a Context,
    /// What the client wishes.
    pub shape: &'a Shape,
    /// Whether `@context` is a member of each entity.
    pub with_context: bool,
    /// Of which datasets instances are shown; `None`: of all.
    datasets: Option<&'a Datasets>,
    /// What attributes said before, where that is shown beside what they say now.
    before: Option<&'a Attributes>,
    /// Since when the entity is gone.
    deleted: Option<&'a str>,
    /// Since when instances are gone that are shown as null.
    gone: Option<&'a str>,
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
    /// Of an attribute.
    fn attribute(&self, iri: &'n str) -> Cow<'n, str> {
        self.fitting(self.context.name(iri), iri)
    }

    /// Of a member of a value.
    fn member(&self, iri: &'n str) -> Cow<'n, str> {
        self.fitting(self.context.compact(iri), iri)
    }

    fn fitting(&self, name: Cow<'n, str>, iri: &'n str) -> Cow<'n, str> {
        if self.whole && name.contains(':') {
            Cow::Borrowed(iri)
        } else {
            name
        }
    }
}

/// The instances of an attribute that are shown.
#[derive(Clone, Copy)]
struct Instances<'i> {
    all: &'i [Instance],
    of: Option<&'i Datasets>,
}

impl<'i> Instances<'i> {
    fn iter(self) -> impl Iterator<Item = &'i Instance> {
        self.all
            .iter()
            .filter(move |instance| self.of.is_none_or(|datasets| datasets.have(instance)))
    }

    fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    fn single(self) -> Option<&'i Instance> {
        let mut instances = self.iter();
        instances.next().filter(|_| instances.next().is_none())
    }
}

/// Whether any of these show the member.
fn show(shown: &[Shown<'_>], member: Member) -> bool {
    shown.iter().any(|shown| shown.member(member))
}

impl<'a> View<'a> {
    /// How entities are shown that were asked for.
    #[must_use]
    pub fn new(context: &'a Context, shape: &'a Shape, with_context: bool) -> Self {
        Self {
            context,
            shape,
            with_context,
            datasets: shape.datasets.as_ref(),
            before: None,
            deleted: None,
            gone: None,
        }
    }

    /// Shows as well what attributes said before, of those that say something else now.
    #[must_use]
    pub fn with_changes(self, before: &'a Attributes) -> Self {
        Self {
            before: Some(before),
            ..self
        }
    }

    /// Shows as well since when the entity is gone.
    #[must_use]
    pub fn of_deleted(self, since: &'a str) -> Self {
        Self {
            deleted: Some(since),
            ..self
        }
    }

    /// Shows as well, beside times, since when instances are gone that are shown as null.
    #[must_use]
    pub fn with_what_went(self, since: &'a str) -> Self {
        Self {
            gone: Some(since),
            ..self
        }
    }

    /// How those are shown that they link to: datasets are of the entities that were asked for.
    #[must_use]
    pub fn of_linked(self) -> Self {
        Self {
            datasets: None,
            before: None,
            gone: None,
            ..self
        }
    }

    /// Appends the entity as JSON. It shows what any of `shown` do.
    pub fn entity(&self, entity: &Entity, shown: &[Shown<'_>], out: &mut String, links: &mut dyn Links) {
        let mut members = Members::open(out);
        if show(shown, Member::Id) {
            members.text("id", &entity.id);
        }
        self.body(entity, shown, &mut members, links);
        if self.with_context {
            members.text("@context", self.context.link());
        }
        members.close();
    }

    /// Appends the entity as a GeoJSON Feature, with the geometry of the attribute that was asked for, or null.
    pub fn feature(&self, entity: &Entity, shown: &[Shown<'_>], out: &mut String, links: &mut dyn Links) {
        let mut members = Members::open(out);
        if show(shown, Member::Id) {
            members.text("id", &entity.id);
        }
        members.text("type", "Feature");
        let instances = entity.attributes.get(self.shape.geometry());
        let instances = self.instances(instances.map(Vec::as_slice).unwrap_or_default());
        let default = instances
            .iter()
            .find(|i| i.dataset.is_none())
            .or_else(|| instances.iter().next());
        let value = default
            .filter(|i| i.kind == Kind::GeoProperty)
            .map_or(&Json::Null, |i| &i.value);
        value.write(members.name("geometry"));
        let out = members.name("properties");
        let mut properties = Members::open(out);
        self.body(entity, shown, &mut properties, links);
        properties.close();
        if self.with_context {
            members.text("@context", self.context.link());
        }
        members.close();
    }

    /// Whether the entity has anything that is shown.
    #[must_use]
    pub fn shows_something(&self, entity: &Entity, shown: &[Shown<'_>]) -> bool {
        let times =
            self.shape.sys_attrs && (show(shown, Member::CreatedAt) || show(shown, Member::ModifiedAt));
        let scope = !entity.scope.is_empty() && show(shown, Member::Scope);
        let mut attributes = entity.attributes.iter();
        times
            || scope
            || show(shown, Member::Id)
            || show(shown, Member::Type)
            || attributes.any(|(iri, instances)| self.shows(iri, instances, shown))
    }

    fn shows(&self, iri: &str, instances: &[Instance], shown: &[Shown<'_>]) -> bool {
        shown.iter().any(|shown| shown.attribute(iri)) && !self.instances(instances).is_empty()
    }

    /// Of the attributes of an entity, those of the datasets that were asked for.
    fn instances<'i>(&'i self, all: &'i [Instance]) -> Instances<'i> {
        Instances {
            all,
            of: self.datasets,
        }
    }

    /// Type, scope, attributes and times.
    fn body(&self, entity: &Entity, shown: &[Shown<'_>], members: &mut Members<'_>, links: &mut dyn Links) {
        if show(shown, Member::Type) {
            write_texts(
                members.name("type"),
                entity.types.iter().map(|t| self.context.name(t)),
            );
        }
        if !entity.scope.is_empty() && show(shown, Member::Scope) {
            write_texts(
                members.name("scope"),
                entity.scope.iter().map(|s| s.as_str().into()),
            );
        }
        let (mut created, mut modified) = (String::new(), String::new());
        if self.shape.sys_attrs {
            created = time_text(entity.created);
            modified = time_text(entity.modified);
        }
        let times = Times {
            created: &created,
            modified: &created,
        };
        let naming = self.naming(entity.attributes.keys());
        for (iri, instances) in &entity.attributes {
            if self.shows(iri, instances, shown) {
                let out = members.name(&naming.attribute(iri));
                self.attribute(out, iri, self.instances(instances), times, links);
            }
        }
        if self.shape.sys_attrs && show(shown, Member::CreatedAt) {
            members.text("createdAt", &created);
        }
        if self.shape.sys_attrs && show(shown, Member::ModifiedAt) {
            members.text("modifiedAt", &modified);
        }
        if let Some(since) = self.deleted {
            members.text("deletedAt", since);
        }
    }

    /// What an instance said before, where that is shown and was something else.
    fn before(&self, iri: &str, instance: &Instance) -> Option<&'a Instance> {
        let there = self.before?.get(iri)?;
        let before = there.iter().find(|before| before.dataset == instance.dataset)?;
        (!says_the_same(before, instance)).then_some(before)
    }

    fn attribute(
        &self,
        out: &mut String,
        iri: &str,
        instances: Instances<'_>,
        times: Times<'_>,
        links: &mut dyn Links,
    ) {
        match (instances.single(), self.shape.representation) {
            (Some(single), Representation::Simplified) if single.dataset.is_none() => {
                self.simplified(out, iri, single, links);
            }
            (_, Representation::Simplified) => {
                let mut members = Members::open(out);
                let mut datasets = Members::open(members.name("dataset"));
                for instance in instances.iter() {
                    let out = datasets.name(instance.dataset.as_deref().unwrap_or(NONE));
                    self.simplified(out, iri, instance, links);
                }
                datasets.close();
                members.close();
            }
            (Some(single), Representation::Concise)
                if !self.shape.sys_attrs && is_bare(single) && self.before(iri, single).is_none() =>
            {
                self.value(out, single);
            }
            (Some(single), _) => self.instance(out, iri, single, times, links),
            (None, _) => {
                out.push('[');
                for (n, instance) in instances.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    self.instance(out, iri, instance, times, links);
                }
                out.push(']');
            }
        }
    }

    fn simplified(&self, out: &mut String, iri: &str, instance: &Instance, links: &mut dyn Links) {
        if let Some((_, text)) = self.in_one_language(instance) {
            return text.write(out);
        }
        match (instance.kind, &instance.value) {
            (Kind::LanguageProperty | Kind::VocabProperty | Kind::JsonProperty, _) => {
                let mut members = Members::open(out);
                self.value(members.name(instance.kind.member()), instance);
                members.close();
            }
            (Kind::Relationship | Kind::ListRelationship, Json::Array(targets)) => {
                out.push('[');
                for (n, target) in targets.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_target(out, iri, target, links);
                }
                out.push(']');
            }
            (Kind::Relationship, target) => write_target(out, iri, target, links),
            (Kind::ListRelationship, other) => other.write(out),
            _ => self.value(out, instance),
        }
    }

    fn instance(
        &self,
        out: &mut String,
        iri: &str,
        instance: &Instance,
        holder: Times<'_>,
        links: &mut dyn Links,
    ) {
        let mut members = Members::open(out);
        let times = self.instance_members(&mut members, iri, instance, holder, links);
        if self.shape.sys_attrs {
            members.text("createdAt", times.created);
            members.text("modifiedAt", times.modified);
            if let Some(since) = self.gone.filter(|_| instance.is_deletion()) {
                members.text("deletedAt", since);
            }
        }
        members.close();
    }

    /// All of an instance but its own times, which are returned.
    fn instance_members<'t>(
        &self,
        members: &mut Members<'_>,
        iri: &str,
        instance: &'t Instance,
        holder: Times<'t>,
        links: &mut dyn Links,
    ) -> Times<'t> {
        let concise = self.shape.representation == Representation::Concise;
        let language = self.in_one_language(instance);
        if let Some((tag, text)) = language {
            if !concise {
                members.text("type", Kind::Property.name());
            }
            text.write(members.name(Kind::Property.member()));
            members.text("lang", tag);
        } else {
            if !concise || is_mistakable(instance) {
                members.text("type", instance.kind.name());
            }
            self.value(members.name(instance.kind.member()), instance);
            tell_of(instance, iri, members.position(), links);
        }
        if let Some(before) = self.before(iri, instance) {
            self.previous(members, before);
        }
        if !instance.object_type.is_empty() {
            let types = instance.object_type.iter().map(|t| self.context.name(t));
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
        self.subs(members, &instance.subs, times, language.is_some());
        times
    }

    fn previous(&self, members: &mut Members<'_>, before: &Instance) {
        match self.in_one_language(before) {
            Some((_, text)) => text.write(members.name(Kind::Property.previous())),
            None => self.value(members.name(before.kind.previous()), before),
        }
    }

    /// The one language that is shown of a text that has several, with its tag.
    fn in_one_language<'i>(&self, instance: &'i Instance) -> Option<(&'i str, &'i Json)> {
        let languages = self.shape.languages.as_ref()?;
        match (instance.kind, &instance.value) {
            (Kind::LanguageProperty, Json::Object(map)) => {
                languages.choose(map).map(|(tag, text)| (tag.as_str(), text))
            }
            _ => None,
        }
    }

    fn subs(&self, members: &mut Members<'_>, subs: &Attributes, times: Times<'_>, has_lang: bool) {
        let view = Self {
            before: None,
            ..*self
        };
        let naming = self.naming(subs.keys());
        for (iri, instances) in subs.iter().filter(|(iri, _)| !has_lang || *iri != LANG) {
            let all = Instances {
                all: instances,
                of: None,
            };
            view.attribute(
                members.name(&naming.attribute(iri)),
                iri,
                all,
                times,
                &mut Unlinked,
            );
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
                        naming.member(name)
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

/// Writes the URI of a linked entity, which the entity itself may take the place of.
fn write_target(out: &mut String, relationship: &str, target: &Json, links: &mut dyn Links) {
    let start = out.len();
    target.write(out);
    links.link(&Link {
        relationship,
        targets: std::slice::from_ref(target),
        place: Place::Instead(start..out.len()),
    });
}

/// Tells of a relationship whose URIs were just written, up to the position.
fn tell_of(instance: &Instance, relationship: &str, at: usize, links: &mut dyn Links) {
    let (member, iri) = match instance.kind {
        Kind::Relationship => ("entity", ENTITY),
        Kind::ListRelationship => ("entityList", ENTITY_LIST),
        _ => return,
    };
    if instance.subs.contains_key(iri) {
        return;
    }
    let (targets, several) = match &instance.value {
        Json::Array(targets) => (targets.as_slice(), true),
        single => (std::slice::from_ref(single), false),
    };
    links.link(&Link {
        relationship,
        targets,
        place: Place::Beside { at, member, several },
    });
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
