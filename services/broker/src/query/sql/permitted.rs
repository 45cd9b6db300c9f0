//! What somebody may see, as conditions on the entities of a statement. Parameters of grants are bound once, however many
//! entities the statement speaks of.

use super::{Builder, Param, all, any};
use crate::model::entity::SCOPE;
use crate::permissions::{Grant, Rules};
use crate::query::geo::GeoQuery;
use crate::query::types::TypeSelection;
use crate::query::{EntitySelector, Selection};

/// Stands for the name of an entity in texts of conditions; no name has it.
const ENTITY: &str = "\u{1}";

/// Rules, their parameters bound.
pub(super) struct Permitted {
    allow: Vec<Bound>,
    deny: Vec<Bound>,
    /// Conditions that all visible entities meet, for the indexes.
    common: Vec<String>,
}

/// A grant, its parameters bound.
struct Bound {
    /// Which entities.
    condition: String,
    /// Which entities by types and ids alone.
    by_name: String,
    /// Names of attributes; `None`: all, and the entity as such.
    attributes: Option<String>,
}

impl Bound {
    fn of(&self, entity: &str) -> String {
        self.condition.replace(ENTITY, entity)
    }

    /// As a denial: what cannot be told is denied, and of an entity of which only the past is known so is what it would be
    /// denied by its scope or its place.
    fn denying(&self, entity: &str, known: Known) -> String {
        let condition = match known {
            Known::Current => &self.condition,
            Known::PastOnly => &self.by_name,
        };
        format!("({}) is not false", condition.replace(ENTITY, entity))
    }
}

/// What is known of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// What they are now.
    Current,
    /// Their past, and with that neither scope nor place.
    PastOnly,
}

impl Builder {
    /// Binds rules; from then on statements are of what they allow.
    pub(super) fn permit(&mut self, rules: &Rules) {
        let allow = self.bound(rules.allow(), &[SCOPE]);
        let deny = self.bound(rules.deny(), &[]);
        let common = self.common(rules.allow());
        self.permitted = Some(Permitted { allow, deny, common });
    }

    fn bound(&mut self, grants: &[Grant], and: &[&str]) -> Vec<Bound> {
        let bound = |grant: &Grant| {
            let Selection {
                entities, scope, geo, ..
            } = grant.selection();
            let by_name = self.selected_by_name(ENTITY, entities);
            let mut condition = vec![by_name.clone()];
            condition.extend(scope.as_ref().map(|scope| self.scope(ENTITY, scope)));
            condition.extend(geo.as_ref().map(|geo| self.placed(ENTITY, geo)));
            let condition = all(&condition);
            let names = grant.attributes();
            let attributes = names.map(|names| {
                // Scopes are seen wherever the entity is, and stand among the attributes of the past.
                let names = names
                    .iter()
                    .cloned()
                    .chain(and.iter().map(|iri| (*iri).to_owned()));
                self.bind(Param::Texts(names.collect()))
            });
            Bound {
                condition,
                by_name,
                attributes,
            }
        };
        grants.iter().map(bound).collect()
    }

    /// Any of the selectors of a grant, asked of one row alone: of several conditions that are joined by `or` no index is
    /// used.
    pub(super) fn selected_by_name(&mut self, entity: &str, selectors: &[EntitySelector]) -> String {
        if selectors.is_empty() {
            return "true".to_owned();
        }
        let each: Vec<String> = selectors
            .iter()
            .map(|one| self.selector(entity, one, false))
            .collect();
        any(&each)
    }

    fn placed(&mut self, entity: &str, geo: &GeoQuery) -> String {
        let (property, test) = self.geo_test(geo);
        format!(
            "exists (select 1 from mim.entity_geometries g where g.tenant = $1 and g.id = {entity}.id \
             and g.attr = {property} and {test})"
        )
    }

    /// What the indexes can find all visible entities by: types, or ids, where each grant names some.
    fn common(&mut self, grants: &[Grant]) -> Vec<String> {
        let mut conditions = Vec::new();
        if grants.is_empty() || grants.iter().any(|grant| grant.selection().entities.is_empty()) {
            return conditions;
        }
        let selectors = || grants.iter().flat_map(|grant| &grant.selection().entities);
        let types = selectors().map(|one| one.types.as_ref().map(TypeSelection::names));
        if let Some(names) = types.collect::<Option<Vec<_>>>() {
            let names = names.concat().into_iter().map(str::to_owned).collect();
            let names = self.bind(Param::Texts(names));
            conditions.push(format!(
                "{ENTITY}.id in (select n.id from mim.entity_types n where n.tenant = $1 and n.type = any({names}))"
            ));
        }
        if selectors().all(|one| !one.ids.is_empty()) {
            let ids = selectors().flat_map(|one| &one.ids).cloned().collect();
            let ids = self.bind(Param::Texts(ids));
            conditions.push(format!("{ENTITY}.id = any({ids})"));
        }
        conditions
    }

    /// Conditions that the visible entities of this name meet, for indexes of entities that there are now.
    pub(super) fn common_of(&self, entity: &str) -> Vec<String> {
        let common = self.permitted.iter().flat_map(|permitted| &permitted.common);
        common.map(|text| text.replace(ENTITY, entity)).collect()
    }

    /// That the entity of this name is seen. A condition that is null hides it.
    pub(super) fn visible(&self, entity: &str) -> String {
        self.visible_as(entity, Known::Current)
    }

    /// The same, where so much is known of the entity.
    pub(super) fn visible_as(&self, entity: &str, known: Known) -> String {
        let Some(permitted) = &self.permitted else {
            return "true".to_owned();
        };
        let allowed: Vec<String> = permitted.allow.iter().map(|grant| grant.of(entity)).collect();
        let whole = permitted.deny.iter().filter(|grant| grant.attributes.is_none());
        let denied: Vec<String> = whole.map(|grant| grant.denying(entity, known)).collect();
        format!("({} and not {})", any(&allowed), any(&denied))
    }

    /// Whether only some attributes of entities are seen.
    fn hides_attributes(&self) -> bool {
        self.permitted.as_ref().is_some_and(|permitted| {
            let mut grants = permitted.allow.iter().chain(&permitted.deny);
            grants.any(|grant| grant.attributes.is_some())
        })
    }

    /// What is joined to the entity of this name so that [`Self::shows`] can be asked of it; nothing where all attributes are
    /// seen. It is computed once for each entity, which `offset 0` sees to.
    pub(super) fn shown(&self, entity: &str) -> String {
        let columns = self.shown_columns(entity, Known::Current);
        if columns.is_empty() {
            return columns;
        }
        format!(" cross join lateral (select {columns} offset 0) {entity}v")
    }

    /// The names of attributes that are seen of an entity (null: all), and of those that are not.
    pub(super) fn shown_columns(&self, entity: &str, known: Known) -> String {
        let Some(permitted) = self.permitted.as_ref().filter(|_| self.hides_attributes()) else {
            return String::new();
        };
        let whole = permitted.allow.iter().filter(|grant| grant.attributes.is_none());
        let whole: Vec<String> = whole.map(|grant| grant.of(entity)).collect();
        format!(
            "case when {} then null::text[] else {} end as allowed, {} as denied",
            any(&whole),
            names(&permitted.allow, |grant| grant.of(entity)),
            names(&permitted.deny, |grant| grant.denying(entity, known))
        )
    }

    /// That the attribute of this name, which is SQL, is seen of an entity to which [`Self::shown`] is joined.
    pub(super) fn shows(&self, entity: &str, name: &str) -> String {
        self.shows_of(&format!("{entity}v"), name)
    }

    /// The same, where the columns of [`Self::shown_columns`] stand in another row.
    pub(super) fn shows_of(&self, row: &str, name: &str) -> String {
        if self.hides_attributes() {
            format!(
                "(({row}.allowed is null or {name} = any({row}.allowed)) and {name} <> all({row}.denied))"
            )
        } else {
            "true".to_owned()
        }
    }
}

/// The names of attributes of the grants whose condition holds.
fn names(grants: &[Bound], condition: impl Fn(&Bound) -> String) -> String {
    let one = |grant: &Bound| {
        let names = grant.attributes.as_ref()?;
        Some(format!(
            "case when {} then {names} else '{{}}'::text[] end",
            condition(grant)
        ))
    };
    let each: Vec<String> = grants.iter().filter_map(one).collect();
    if each.is_empty() {
        "'{}'::text[]".to_owned()
    } else {
        each.join(" || ")
    }
}
