//! From a selection to SQL. The text is put together from constants of this file and parameter numbers; nothing a
//! client sent is ever part of it.
//!
//! The tree is evaluated so that no row can make a statement fail: comparisons are between jsonb values or texts, never
//! casts of what is stored. Beside each exact condition stands a wider one that the index of terms answers.

mod condition;
pub mod discovery;
mod order;
pub mod past;
mod permitted;

use crate::model::geometry::boxes_around;
use crate::model::terms;
use crate::permissions::reach::Reach;
use crate::query::geo::{GeoQuery, GeoRelation};
use crate::query::order::Ordering;
use crate::query::scope::{ScopePattern, ScopeQuery};
use crate::query::types::TypeSelection;
use crate::query::{EntitySelector, Selection};
use crate::store::TenantId;
use crate::store::rows::{SIZE, Sizes, columns_of};
use jiff::Timestamp;
use permitted::Permitted;
use uuid::Uuid;

/// A bound parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// text
    Text(String),
    /// text[]
    Texts(Vec<String>),
    /// int4
    Tenant(i32),
    /// int8
    Integer(i64),
    /// int8[]
    Integers(Vec<i64>),
    /// float8
    Float(f64),
    /// bytea
    Bytes(Vec<u8>),
    /// timestamptz
    Time(Timestamp),
    /// uuid
    Instance(Uuid),
}

/// A statement with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// `$1` and following.
    pub params: Vec<Param>,
}

/// Which part of a result is read.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many entities at most.
    pub limit: usize,
    /// How many come before them.
    pub offset: u64,
}

/// A page of the entities that a selection selects, in the order asked for and then by id; it asks for one more than the
/// limit, to know whether there are more.
#[must_use]
pub fn page(
    reach: Reach<'_>,
    selection: &Selection,
    ordering: Option<&Ordering>,
    window: Window,
    sizes: Sizes,
) -> Statement {
    paged(reach, selection, ordering, window, columns_of(sizes))
}

/// The same page, with the sizes of its entities in their place.
#[must_use]
pub fn page_of_sizes(
    reach: Reach<'_>,
    selection: &Selection,
    ordering: Option<&Ordering>,
    window: Window,
) -> Statement {
    paged(reach, selection, ordering, window, SIZE)
}

fn paged(
    reach: Reach<'_>,
    selection: &Selection,
    ordering: Option<&Ordering>,
    window: Window,
    columns: &str,
) -> Statement {
    let mut builder = Builder::new(reach);
    let From { tables, conditions } = builder.from(selection);
    let (sources, mut keys) = builder.ordered_by(ordering);
    keys.push(id(selection).to_owned());
    let limit = i64::try_from(window.limit).unwrap_or(i64::MAX - 1) + 1;
    let limit = builder.bind(Param::Integer(limit));
    let offset = builder.bind(Param::Integer(i64::try_from(window.offset).unwrap_or(i64::MAX)));
    let order = keys.join(", ");
    builder.done(format!(
        "select {columns} from {tables}{sources} where {conditions} order by {order} limit {limit} offset {offset}"
    ))
}

/// How many entities a selection selects.
#[must_use]
pub fn count(reach: Reach<'_>, selection: &Selection) -> Statement {
    let mut builder = Builder::new(reach);
    let From { tables, conditions } = builder.from(selection);
    builder.done(format!("select count(*) from {tables} where {conditions}"))
}

/// Among which entities a selection selects.
#[derive(Clone, Copy, Debug)]
pub enum Among<'a> {
    /// Those whose id comes after this one.
    After(&'a str),
    /// These.
    These(&'a [String]),
}

/// The first entities by id that a selection selects among some: the id of each, when it was created and modified.
#[must_use]
pub fn stamps(reach: Reach<'_>, selection: &Selection, among: Among<'_>, limit: usize) -> Statement {
    firsts(reach, selection, among, limit, "e.id, e.created, e.modified")
}

/// The first entities by id that a selection selects among some.
#[must_use]
pub fn first(
    reach: Reach<'_>,
    selection: &Selection,
    among: Among<'_>,
    limit: usize,
    sizes: Sizes,
) -> Statement {
    firsts(reach, selection, among, limit, columns_of(sizes))
}

fn firsts(
    reach: Reach<'_>,
    selection: &Selection,
    among: Among<'_>,
    limit: usize,
    columns: &str,
) -> Statement {
    let mut builder = Builder::new(reach);
    let From { tables, conditions } = builder.from(selection);
    let id = id(selection);
    let among = match among {
        Among::After(after) => format!("{id} > {}", builder.text(after)),
        Among::These(ids) => format!("{id} = any({})", builder.bind(Param::Texts(ids.to_vec()))),
    };
    let limit = builder.bind(Param::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    builder.done(format!(
        "select {columns} from {tables} where {conditions} and {among} order by {id} limit {limit}"
    ))
}

/// The entities of these ids, by id.
#[must_use]
pub fn some(reach: Reach<'_>, ids: &[String], sizes: Sizes) -> Statement {
    let mut builder = Builder::new(reach);
    let ids = builder.bind(Param::Texts(ids.to_vec()));
    let (columns, visible) = (columns_of(sizes), builder.visible("e"));
    builder.done(format!(
        "select {columns} from mim.entities e where e.tenant = $1 and e.id = any({ids}) and {visible} order by e.id"
    ))
}

/// The column of ids in whose order entities are read: with one type that of its key, from which they are read off.
fn id(selection: &Selection) -> &'static str {
    match single_type(selection) {
        Some(_) => "t.id",
        None => "e.id",
    }
}

fn single_type(selection: &Selection) -> Option<&str> {
    match selection.entities.as_slice() {
        [
            EntitySelector {
                types: Some(TypeSelection::One(name)),
                ..
            },
        ] => Some(name),
        _ => None,
    }
}

/// Where rows come from.
struct From {
    /// What follows `from`.
    tables: String,
    /// What follows `where`.
    conditions: String,
}

struct Builder {
    tenant: TenantId,
    params: Vec<Param>,
    /// Where the past is asked: its rows, in the place of attributes that entities have now.
    past: Option<past::Past>,
    /// Where not everything is seen: what is.
    permitted: Option<Permitted>,
}

/// `and`, the way it is written.
fn all(conditions: &[String]) -> String {
    if conditions.is_empty() {
        "true".to_owned()
    } else {
        format!("({})", conditions.join(" and "))
    }
}

fn any(conditions: &[String]) -> String {
    if conditions.is_empty() {
        "false".to_owned()
    } else {
        format!("({})", conditions.join(" or "))
    }
}

impl Builder {
    fn new(reach: Reach<'_>) -> Self {
        let tenant = reach.tenant;
        let mut builder = Self {
            tenant,
            params: vec![Param::Tenant(tenant.0)],
            past: None,
            permitted: None,
        };
        if let Some(rules) = reach.rules() {
            builder.permit(rules);
        }
        builder
    }

    fn bind(&mut self, param: Param) -> String {
        self.params.push(param);
        format!("${}", self.params.len())
    }

    fn text(&mut self, text: &str) -> String {
        self.bind(Param::Text(text.to_owned()))
    }

    fn done(self, sql: String) -> Statement {
        Statement {
            sql,
            params: self.params,
        }
    }

    fn from(&mut self, selection: &Selection) -> From {
        let mut conditions = vec!["e.tenant = $1".to_owned()];
        // With one type a page is read off the key of types in order; the planner may still begin elsewhere.
        let tables = match single_type(selection) {
            Some(name) => {
                let name = self.text(name);
                conditions.push(format!("t.tenant = $1 and t.type = {name}"));
                "mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id"
            }
            None => "mim.entities e",
        };
        self.entities(&selection.entities, &mut conditions);
        if self.permitted.is_some() {
            if selection.entities.is_empty() {
                conditions.extend(self.common_of("e"));
            }
            conditions.push(self.visible("e"));
        }
        if !selection.attrs.is_empty() {
            conditions.push(self.has_attributes(&selection.attrs));
        }
        if let Some(geo) = &selection.geo {
            let condition = self.geo(geo);
            conditions.push(condition);
        }
        if let Some(scope) = &selection.scope {
            let condition = self.scope("e", scope);
            conditions.push(condition);
        }
        if let Some(q) = &selection.q {
            let condition = self.query(q);
            conditions.push(condition);
        }
        From {
            tables: format!("{tables}{}", self.shown("e")),
            conditions: conditions.join(" and "),
        }
    }

    /// At least one of these attributes is there, and seen.
    fn has_attributes(&mut self, attrs: &[String]) -> String {
        let terms = attrs
            .iter()
            .map(|iri| terms::of_attribute(self.tenant.0, iri))
            .collect();
        let terms = self.bind(Param::Integers(terms));
        let names = self.bind(Param::Texts(attrs.to_vec()));
        let shown = self.shows("e", "n.x");
        if shown == "true" {
            return format!("e.terms && {terms} and e.attrs ?| {names}");
        }
        format!(
            "e.terms && {terms} and exists (select 1 from unnest({names}) n(x) where e.attrs ? n.x and {shown})"
        )
    }

    /// Any of the selectors. Beside what they say exactly stands what all of them have in common, for the indexes.
    fn entities(&mut self, selectors: &[EntitySelector], conditions: &mut Vec<String>) {
        let types = selectors.iter().map(|one| match &one.types {
            None | Some(TypeSelection::All) => None,
            Some(types) => Some(types.names()),
        });
        let types: Option<Vec<_>> = types.collect();
        // One type alone is what the page is read off.
        let is_single = matches!(selectors, [one] if matches!(one.types, Some(TypeSelection::One(_))));
        if let Some(names) = types.filter(|names| !names.is_empty() && !is_single) {
            let names = names.concat().into_iter().map(str::to_owned).collect();
            let names = self.bind(Param::Texts(names));
            conditions.push(format!(
                "e.id in (select n.id from mim.entity_types n where n.tenant = $1 and n.type = any({names}))"
            ));
        }
        match selectors {
            [] => {}
            [one] => conditions.push(self.selector("e", one, is_single)),
            several => {
                if several.iter().all(|one| !one.ids.is_empty()) {
                    let ids = several.iter().flat_map(|one| &one.ids).cloned().collect();
                    let ids = self.bind(Param::Texts(ids));
                    conditions.push(format!("e.id = any({ids})"));
                }
                let each: Vec<String> = several.iter().map(|one| self.selector("e", one, false)).collect();
                conditions.push(any(&each));
            }
        }
    }

    fn selector(&mut self, entity: &str, one: &EntitySelector, has_type: bool) -> String {
        let mut conditions = Vec::new();
        if let Some(types) = one.types.as_ref().filter(|_| !has_type) {
            conditions.push(self.types(entity, types));
        }
        if !one.ids.is_empty() {
            let ids = self.bind(Param::Texts(one.ids.clone()));
            conditions.push(format!("{entity}.id = any({ids})"));
        }
        if let Some(pattern) = &one.id_pattern {
            let pattern = self.text(pattern.text());
            conditions.push(format!("{entity}.id ~ {pattern}"));
        }
        all(&conditions)
    }

    fn types(&mut self, entity: &str, selection: &TypeSelection) -> String {
        match selection {
            TypeSelection::All => "true".to_owned(),
            TypeSelection::One(name) => {
                let name = self.text(name);
                format!("{name} = any({entity}.types)")
            }
            TypeSelection::And(parts) => {
                all(&parts.iter().map(|p| self.types(entity, p)).collect::<Vec<_>>())
            }
            TypeSelection::Or(parts) => any(&parts.iter().map(|p| self.types(entity, p)).collect::<Vec<_>>()),
        }
    }

    fn scope(&mut self, entity: &str, query: &ScopeQuery) -> String {
        match query {
            ScopeQuery::And(parts) => all(&parts.iter().map(|p| self.scope(entity, p)).collect::<Vec<_>>()),
            ScopeQuery::Or(parts) => any(&parts.iter().map(|p| self.scope(entity, p)).collect::<Vec<_>>()),
            ScopeQuery::One(pattern) => self.scope_like(entity, pattern),
        }
    }

    fn scope_like(&mut self, entity: &str, pattern: &ScopePattern) -> String {
        let ScopePattern { levels, below } = pattern;
        if levels.is_empty() {
            return format!("cardinality({entity}.scope) > 0");
        }
        let test = match pattern.named() {
            None => format!("s.x collate \"C\" ~ {}", self.text(&pattern.expression())),
            Some(named) => {
                let same = self.text(&named);
                if !below {
                    return format!("{same} = any({entity}.scope)");
                }
                format!(
                    "s.x = {same} or starts_with(s.x, {})",
                    self.text(&format!("{named}/"))
                )
            }
        };
        format!("exists (select 1 from unnest({entity}.scope) s(x) where {test})")
    }

    fn geo(&mut self, geo: &GeoQuery) -> String {
        let (property, test) = self.geo_test(geo);
        let shown = self.shows("e", &property);
        format!(
            "{shown} and e.id in (select g.id from mim.entity_geometries g where g.tenant = $1 and g.attr = {property} and {test})"
        )
    }

    /// The IRI of the attribute, and what its geometry `g.geom` has to be.
    fn geo_test(&mut self, geo: &GeoQuery) -> (String, String) {
        let property = self.text(&geo.property);
        let ewkb = self.bind(Param::Bytes(geo.geometry.to_ewkb()));
        let given = format!("ST_GeomFromEWKB({ewkb})");
        let area = format!("mim.searchable({given})");
        let test = match geo.relation {
            GeoRelation::Within(metres) => {
                let boxes: Vec<String> = boxes_around(geo.geometry.bounds(), metres)
                    .into_iter()
                    .map(|bounds| {
                        let [w, s, e, n] = bounds.map(|side| self.bind(Param::Float(side)));
                        format!("g.geom && ST_MakeEnvelope({w}, {s}, {e}, {n}, 4326)")
                    })
                    .collect();
                let metres = self.bind(Param::Float(metres));
                format!(
                    "{} and ST_DWithin(g.geom::geography, {given}::geography, {metres})",
                    any(&boxes)
                )
            }
            GeoRelation::Beyond(metres) => {
                let metres = self.bind(Param::Float(metres));
                format!("ST_Distance(g.geom::geography, {given}::geography) >= {metres}")
            }
            GeoRelation::Inside => format!("ST_CoveredBy(g.geom, {area})"),
            GeoRelation::Contains => format!("ST_Covers(g.geom, {area})"),
            GeoRelation::Overlaps => format!("ST_Overlaps(g.geom, {area})"),
            GeoRelation::Intersects => format!("ST_Intersects(g.geom, {area})"),
            GeoRelation::Equals => format!("ST_Equals(g.geom, {area})"),
            GeoRelation::Disjoint => format!("not ST_Intersects(g.geom, {area})"),
        };
        (property, test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::query::q;

    fn sql(text: &str) -> Option<Statement> {
        let q = q::parse(text, &Context::core()).ok()?;
        Some(page(
            Reach::all(TenantId(1)),
            &Selection {
                q: Some(q),
                ..Selection::default()
            },
            None,
            Window { limit: 20, offset: 0 },
            Sizes::Small,
        ))
    }

    #[test]
    fn what_a_client_sends_is_in_the_parameters_only() {
        let hostile = sql("name==\"Robert'); drop table x;--\"").unwrap();
        assert!(!hostile.sql.contains("Robert") && !hostile.sql.contains("drop"));
        assert!(
            hostile
                .params
                .contains(&Param::Text("Robert'); drop table x;--".to_owned()))
        );
    }
}
