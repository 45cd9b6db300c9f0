//! Which entities have a past to be read: current ones, and those of which only the past is known.
//!
//! Who sees an entity as it is now sees its past, of the attributes that it sees now. Of an entity of the past only there are
//! types and id to go by: who sees it by its scope or its place does not see it any more, and who might not see it by those
//! does not.

use super::{Past, next_name};
use crate::model::entity::SCOPE;
use crate::model::temporal::Clock;
use crate::query::Selection;
use crate::query::scope::ScopeQuery;
use crate::query::sql::permitted::Known;
use crate::query::sql::{Builder, Param, all, single_type};

impl Builder {
    /// The entities of a selection that have an instance in the interval: current ones, and those of the past only.
    pub(super) fn selected(&mut self, past: &Past, selection: &Selection, order: &str) -> [String; 2] {
        let mut tables = "mim.entities e";
        let mut current = Vec::new();
        if let Some(name) = single_type(selection) {
            let name = self.text(name);
            tables = "mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id";
            current.push(format!("t.tenant = $1 and t.type = {name}"));
        }
        self.entities(&selection.entities, &mut current);
        let past_only = self.selected_by_name("e", &selection.entities);
        let mut conditions = Vec::new();
        if selection.attrs.is_empty() {
            conditions.push(has_some(past));
        } else {
            let attrs = self.bind(Param::Texts(selection.attrs.clone()));
            conditions.push(past.has(&format!("any({attrs})")));
        }
        self.past = Some(past.clone());
        if let Some(geo) = &selection.geo {
            let (property, test) = self.geo_test(geo);
            conditions.push(format!(
                "exists (select 1 from {} cross join lateral (select mim.past_geometry(i0.v) as geom) g where {test})",
                past.instances(&property)
            ));
        }
        if let Some(scope) = &selection.scope {
            let condition = self.scoped(past, scope);
            conditions.push(condition);
        }
        if let Some(q) = &selection.q {
            let condition = self.query(q);
            conditions.push(condition);
        }
        self.past = None;
        current.extend(conditions.iter().cloned());
        conditions.push(past_only);
        [
            format!("{}{order}", self.current_entities(tables, &all(&current))),
            format!("{}{order}", self.past_entities(&all(&conditions))),
        ]
    }

    /// That the entity `e` had such scopes in the interval: some that were set in it, or those that it had when the interval
    /// began. Where no scope is kept of it, it has had those of now for longer than anything is kept.
    fn scoped(&mut self, past: &Past, query: &ScopeQuery) -> String {
        let attr = self.text(SCOPE);
        let rows = format!(
            "from mim.history h where h.tenant = $1 and h.entity = e.id and h.attr = {attr} and h.instance >= b.first"
        );
        let set = match past.clock {
            Clock::Any | Clock::Observed => "coalesce(h.observed, h.recorded)",
            Clock::Created | Clock::Modified | Clock::Deleted => "h.recorded",
        };
        let within = self.bounds(set, past.interval, Param::Time);
        let before = past.interval.from.map_or_else(String::new, |from| {
            let from = self.bind(Param::Time(from));
            format!(
                " union all (select h.body {rows} and {set} < {from} order by {set} desc, h.instance desc limit 1)"
            )
        });
        let condition = self.scope("e", query);
        format!(
            "exists (select 1 from ( \
               select array(select jsonb_array_elements_text(s.body -> 'value')) as scope \
               from (select h.body {rows}{within}{before}) s where jsonb_typeof(s.body -> 'value') = 'array' \
               union all select c.scope from mim.entities c \
               where c.tenant = $1 and c.id = e.id and not exists (select 1 {rows})) e where {condition})"
        )
    }

    /// The entity of an id, current or of the past only: one of both is there.
    pub(super) fn entity(&self, id: &str) -> [String; 2] {
        let of_id = format!("e.id = {id}");
        [
            self.current_entities("mim.entities e", &of_id),
            self.past_entities(&of_id),
        ]
    }

    /// Current entities `e`, whose past begins with the instance `b.first`.
    fn current_entities(&self, tables: &str, conditions: &str) -> String {
        const CREATED: &str = "coalesce((select t.created from mim.temporal_entities t where t.tenant = $1 and t.id = e.id), e.created)";
        self.entities_with_past(tables, Known::Current, CREATED, conditions)
    }

    /// Entities `e` of which only the past is known: they have no scope.
    fn past_entities(&self, conditions: &str) -> String {
        const PAST_ONLY: &str = "(select t.tenant, t.id, t.types, t.created, t.modified, '{}'::text[] as scope \
            from mim.temporal_entities t) e";
        let none_current = "not exists (select 1 from mim.entities c where c.tenant = $1 and c.id = e.id)";
        self.entities_with_past(
            PAST_ONLY,
            Known::PastOnly,
            "e.created",
            &format!("{conditions} and {none_current}"),
        )
    }

    /// Instances older than the first are a predecessor's, or are forgotten. It is computed once for each entity, which
    /// `offset 0` sees to.
    fn entities_with_past(&self, tables: &str, known: Known, created: &str, conditions: &str) -> String {
        let (visible, mut shown) = (self.visible_as("e", known), self.shown_columns("e", known));
        let mut columns = "";
        if !shown.is_empty() {
            shown.insert_str(0, ", ");
            columns = ", b.allowed, b.denied";
        }
        format!(
            "select e.id, e.types, {created} as created, e.modified, b.first{columns} from {tables} cross join lateral ( \
               select greatest(mim.first_instance({created}), \
                 (select f.before from mim.forgotten f where f.tenant = $1 and f.entity = e.id)) as first{shown} offset 0) b \
             where e.tenant = $1 and {visible} and {conditions}"
        )
    }
}

/// That the entity `e` has an instance in the interval. It is looked for attribute by attribute, as the index of times begins
/// with them.
fn has_some(past: &Past) -> String {
    let without = format!(" and {}", past.shown);
    format!(
        "exists (with recursive a(attr) as (select ({}) union all select ({}) from a where a.attr is not null) \
         select 1 from a where a.attr is not null and {})",
        next_name("e.id", "b.first", "", &without),
        next_name("e.id", "b.first", " and h.attr > a.attr", &without),
        past.has("a.attr")
    )
}
