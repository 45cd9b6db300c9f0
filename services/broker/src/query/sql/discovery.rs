//! Which types and attributes entities have (clauses 5.7.5 to 5.7.10), of the entities that are seen.

use super::{Builder, Param, Statement};
use crate::model::terms;
use crate::permissions::reach::Reach;

/// Which part of a list is read.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// How many come before it.
    pub offset: i64,
    /// How many it has at most.
    pub limit: i64,
}

impl Builder {
    fn range(&mut self, range: Range) -> String {
        let offset = self.bind(Param::Integer(range.offset));
        let limit = self.bind(Param::Integer(range.limit));
        format!("offset {offset} limit {limit}")
    }
}

/// The types, where not all entities are seen. Where they are, the key of types has all names.
#[must_use]
pub fn types(reach: Reach<'_>, range: Range) -> Statement {
    let mut builder = Builder::new(reach);
    let (visible, range) = (builder.visible("e"), builder.range(range));
    builder.done(format!(
        "select t.type from mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id \
         where t.tenant = $1 and {visible} group by t.type order by t.type {range}"
    ))
}

/// The types, each with the attributes that entities of it have.
#[must_use]
pub fn types_with_attributes(reach: Reach<'_>, range: Range) -> Statement {
    let mut builder = Builder::new(reach);
    let (visible, shown, range) = (builder.visible("e"), builder.shown("e"), builder.range(range));
    let seen = builder.shows("e", "k.name");
    builder.done(format!(
        "select t.type, array_agg(distinct a.name order by a.name) filter (where a.name is not null) \
         from mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id{shown} \
         left join lateral (select k.name from jsonb_object_keys(e.attrs) as k(name) where {seen}) as a on true \
         where t.tenant = $1 and {visible} group by t.type order by t.type {range}"
    ))
}

/// How many entities have a type, and, each in a row of its own, what attributes they have with which kinds.
#[must_use]
pub fn one_type(reach: Reach<'_>, iri: &str) -> Statement {
    let mut builder = Builder::new(reach);
    let (visible, shown, iri) = (builder.visible("e"), builder.shown("e"), builder.text(iri));
    let seen = builder.shows("e", "k.name");
    builder.done(format!(
        "select count(distinct e.id), a.name, \
            array_agg(distinct i.value ->> 'type' order by i.value ->> 'type') filter (where i.value is not null) \
         from mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id{shown} \
         left join lateral (select k.name, k.instances from jsonb_each(e.attrs) as k(name, instances) where {seen}) as a on true \
         left join lateral jsonb_array_elements(a.instances) as i(value) on true \
         where t.tenant = $1 and t.type = {iri} and {visible} \
         group by grouping sets ((), (a.name)) order by a.name nulls first"
    ))
}

/// The attributes.
#[must_use]
pub fn attributes(reach: Reach<'_>, range: Range) -> Statement {
    let mut builder = Builder::new(reach);
    let (visible, shown, range) = (builder.visible("e"), builder.shown("e"), builder.range(range));
    let seen = builder.shows("e", "a.name");
    builder.done(format!(
        "select a.name from mim.entities e{shown} cross join lateral jsonb_object_keys(e.attrs) as a(name) \
         where e.tenant = $1 and {visible} and {seen} group by a.name order by a.name collate \"C\" {range}"
    ))
}

/// The attributes, each with the types of entities that have it.
#[must_use]
pub fn attributes_with_types(reach: Reach<'_>, range: Range) -> Statement {
    let mut builder = Builder::new(reach);
    let (visible, shown, range) = (builder.visible("e"), builder.shown("e"), builder.range(range));
    let seen = builder.shows("e", "a.name");
    builder.done(format!(
        "select a.name, array_agg(distinct t.name order by t.name) \
         from mim.entities e{shown} cross join lateral jsonb_object_keys(e.attrs) as a(name) \
         cross join lateral unnest(e.types) as t(name) \
         where e.tenant = $1 and {visible} and {seen} group by a.name order by a.name collate \"C\" {range}"
    ))
}

/// How many instances an attribute has, of which kinds, and the types of entities that have it. The index of terms finds the
/// entities that have it, or may have it.
#[must_use]
pub fn one_attribute(reach: Reach<'_>, iri: &str) -> Statement {
    let mut builder = Builder::new(reach);
    let terms = builder.bind(Param::Integers(vec![terms::of_attribute(reach.tenant.0, iri)]));
    let (visible, shown, iri) = (builder.visible("e"), builder.shown("e"), builder.text(iri));
    let seen = builder.shows("e", &iri);
    let has = format!("e.tenant = $1 and e.terms && {terms} and e.attrs ? {iri} and {visible} and {seen}");
    builder.done(format!(
        "select count(*), array_agg(distinct i.value ->> 'type' order by i.value ->> 'type'), \
            (select array_agg(distinct t.name order by t.name) from mim.entities e{shown} \
             cross join lateral unnest(e.types) as t(name) where {has}) \
         from mim.entities e{shown} cross join lateral jsonb_array_elements(e.attrs -> {iri}) as i(value) where {has}"
    ))
}
