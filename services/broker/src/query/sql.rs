//! From a selection to SQL. The text is put together from constants of this file and parameter numbers; nothing a
//! client sent is ever part of it.
//!
//! The tree is evaluated so that no row can make a statement fail: comparisons are between jsonb values or texts, never
//! casts of what is stored. Beside each exact condition stands a wider one that the index of terms answers.

pub mod discovery;
mod order;
pub mod past;
mod permitted;

use crate::model::geometry::boxes_around;
use crate::model::moment::Moment;
use crate::model::names::instant;
use crate::model::terms;
use crate::permissions::reach::Reach;
use crate::query::geo::{GeoQuery, GeoRelation};
use crate::query::order::Ordering;
use crate::query::q::{Operand, Order, Part, Path, Query, System, Term, Test, Value};
use crate::query::scope::{ScopePattern, ScopeQuery};
use crate::query::types::TypeSelection;
use crate::query::{EntitySelector, Selection};
use crate::store::TenantId;
use crate::store::rows::{Sizes, columns_of};
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
    let mut builder = Builder::new(reach);
    let From { tables, conditions } = builder.from(selection);
    let (sources, mut keys) = builder.ordered_by(ordering);
    keys.push(if single_type(selection).is_some() {
        "t.id".to_owned()
    } else {
        "e.id".to_owned()
    });
    let limit = i64::try_from(window.limit).unwrap_or(i64::MAX - 1) + 1;
    let limit = builder.bind(Param::Integer(limit));
    let offset = builder.bind(Param::Integer(i64::try_from(window.offset).unwrap_or(i64::MAX)));
    let (columns, order) = (columns_of(sizes), keys.join(", "));
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
    let mut builder = Builder::new(reach);
    let From { tables, conditions } = builder.from(selection);
    let among = match among {
        Among::After(id) => format!("e.id > {}", builder.text(id)),
        Among::These(ids) => format!("e.id = any({})", builder.bind(Param::Texts(ids.to_vec()))),
    };
    let limit = builder.bind(Param::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    builder.done(format!(
        "select e.id, e.created, e.modified from {tables} where {conditions} and {among} order by e.id limit {limit}"
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

    fn query(&mut self, query: &Query) -> String {
        match query {
            Query::And(parts) => all(&parts.iter().map(|p| self.query(p)).collect::<Vec<_>>()),
            Query::Or(parts) => any(&parts.iter().map(|p| self.query(p)).collect::<Vec<_>>()),
            Query::Term(term) => self.term(term),
        }
    }

    fn term(&mut self, term: &Term) -> String {
        let terms = match &term.path {
            Path::CreatedAt | Path::ModifiedAt => return self.path("e", &term.path, &term.test),
            Path::Attribute { names, part } => terms_that_match(self.tenant, names, part, &term.test),
            Path::Linked { relationship, .. } => vec![terms::of_attribute(self.tenant.0, relationship)],
        };
        if self.past.is_some() {
            return self.path("e", &term.path, &term.test);
        }
        let terms = self.bind(Param::Integers(terms));
        let exact = self.path("e", &term.path, &term.test);
        format!("(e.terms && {terms} and {exact})")
    }

    /// A condition on the entity of this name. What of it is not seen is not there.
    fn path(&mut self, entity: &str, path: &Path, test: &Test) -> String {
        match path {
            Path::CreatedAt => self.entity_time(&format!("{entity}.created"), test),
            Path::ModifiedAt => self.entity_time(&format!("{entity}.modified"), test),
            Path::Attribute { names, part } => self.attribute(entity, names, part, test),
            Path::Linked {
                relationship,
                types,
                path,
            } => self.linked(entity, relationship, types, path, test),
        }
    }

    /// Some entity that the relationship leads to passes the test.
    fn linked(
        &mut self,
        entity: &str,
        relationship: &str,
        types: &[String],
        path: &Path,
        test: &Test,
    ) -> String {
        let relationship = self.text(relationship);
        let shown = self.shows(entity, &relationship);
        // e, el, ell: one letter more for each relationship that is followed.
        let linked = format!("{entity}l");
        let of_types = if types.is_empty() {
            String::new()
        } else {
            let types = self.bind(Param::Texts(types.to_vec()));
            format!(" and {linked}.types && {types}")
        };
        let test = self.path(&linked, path, test);
        let (visible, columns) = (self.visible(&linked), self.shown(&linked));
        format!(
            "exists (select 1 from jsonb_array_elements({entity}.attrs -> {relationship}) as r(v) \
             cross join lateral jsonb_array_elements_text( \
               case jsonb_typeof(r.v -> 'value') when 'array' then r.v -> 'value' else jsonb_build_array(r.v -> 'value') end) as u(id) \
             join mim.entities {linked} on {linked}.tenant = $1 and {linked}.id = u.id{columns} \
             where {shown} and r.v ->> 'type' in ('Relationship', 'ListRelationship'){of_types} and {visible} and {test})"
        )
    }

    fn entity_time(&mut self, column: &str, test: &Test) -> String {
        let time = |value: &Value| match value {
            Value::DateTime(sent) => instant(sent),
            _ => None,
        };
        let mut compare = |operator: &str, value: &Value| match time(value) {
            None => "false".to_owned(),
            Some(time) => {
                let time = self.bind(Param::Time(time));
                format!("{column} {operator} {time}")
            }
        };
        match test {
            Test::Exists => "true".to_owned(),
            Test::Order(order, value) => compare(operator(*order), value),
            Test::Equals { not, any_of } => {
                let each: Vec<String> = any_of
                    .iter()
                    .map(|operand| match operand {
                        Operand::One(value) => compare("=", value),
                        Operand::Range(from, to) => {
                            format!("({} and {})", compare(">=", from), compare("<=", to))
                        }
                    })
                    .collect();
                if *not {
                    format!("not {}", any(&each))
                } else {
                    any(&each)
                }
            }
            Test::Matches { not, .. } => not.to_string(),
        }
    }

    /// Some instance at the path passes the test: `x.t` is what is looked at, `i<n>.v` the instance it is of.
    fn attribute(&mut self, entity: &str, names: &[String], part: &Part, test: &Test) -> String {
        let (instances, shown) = self.instances(entity, names);
        let mut tables = vec![instances];
        let instance = format!("i{}.v", names.len().saturating_sub(1));
        if *part == Part::AnyLanguage {
            tables.push(format!(
                "jsonb_each(case when jsonb_typeof({instance} -> 'value') = 'object' then {instance} -> 'value' else '{{}}' end) as l(k, v)"
            ));
        }
        let looked_at = self.looked_at(entity, &instance, part);
        let tables = tables.join(" cross join lateral ");
        let test = self.test(&instance, test);
        format!(
            "exists (select 1 from {tables} cross join lateral (select {looked_at} as t) x where {shown} and {test})"
        )
    }

    /// The instances at a path of attributes, as tables, and that they are seen.
    fn instances(&mut self, entity: &str, names: &[String]) -> (String, String) {
        let mut tables = Vec::with_capacity(names.len());
        let mut shown = "true".to_owned();
        for (depth, name) in names.iter().enumerate() {
            let name = self.text(name);
            if depth == 0 && self.past.is_none() {
                shown = self.shows(entity, &name);
            }
            let holder = match (depth, &self.past) {
                (0, Some(past)) => {
                    tables.push(past.instances(&name));
                    continue;
                }
                (0, None) => format!("{entity}.attrs"),
                _ => format!("i{}.v", depth - 1),
            };
            tables.push(format!("jsonb_array_elements({holder} -> {name}) as i{depth}(v)"));
        }
        (tables.join(" cross join lateral "), shown)
    }

    /// What of an instance is looked at.
    fn looked_at(&mut self, entity: &str, instance: &str, part: &Part) -> String {
        match part {
            Part::Value => format!("{instance} -> 'value'"),
            Part::Member { sent, expanded } => {
                let sent = self.bind(Param::Texts(sent.clone()));
                let expanded = self.bind(Param::Texts(expanded.clone()));
                format!(
                    "case when {instance} ->> 'type' in ('LanguageProperty', 'JsonProperty') then {instance} -> 'value' #> {sent} \
                     else {instance} -> 'value' #> {expanded} end"
                )
            }
            Part::AnyLanguage => "l.v".to_owned(),
            Part::System(system) => match system {
                System::ObservedAt => format!("{instance} -> 'observedAt'"),
                System::UnitCode => format!("{instance} -> 'unitCode'"),
                System::DatasetId => format!("{instance} -> 'datasetId'"),
                // An instance of the past was created when it was stored.
                System::CreatedAt if self.past.is_some() && instance == "i0.v" => instant_of("i0.c"),
                System::ModifiedAt if self.past.is_some() && instance == "i0.v" => instant_of("i0.m"),
                // An instance without times of its own is as old as the entity.
                System::CreatedAt => {
                    format!("coalesce({instance} -> 'createdAt', {})", created_of(entity))
                }
                System::ModifiedAt => {
                    format!(
                        "coalesce({instance} -> 'modifiedAt', {instance} -> 'createdAt', {})",
                        created_of(entity)
                    )
                }
            },
        }
    }

    fn test(&mut self, instance: &str, test: &Test) -> String {
        match test {
            Test::Exists => "x.t is not null".to_owned(),
            Test::Equals { not, any_of } => {
                let each: Vec<String> = any_of
                    .iter()
                    .map(|operand| self.equals(instance, operand))
                    .collect();
                let any = any(&each);
                if *not {
                    format!("x.t is not null and {any} is not true")
                } else {
                    any
                }
            }
            Test::Order(order, value) => self.order(instance, operator(*order), value),
            Test::Matches { not, pattern } => {
                let pattern = self.text(pattern.text());
                let found = format!(
                    "({} and jsonb_typeof(x.t) = 'string' and (x.t #>> '{{}}') collate \"C\" ~ {pattern})",
                    no_link(instance)
                );
                if *not {
                    format!("x.t is not null and {found} is not true")
                } else {
                    found
                }
            }
        }
    }

    fn equals(&mut self, instance: &str, operand: &Operand) -> String {
        match operand {
            Operand::Range(from, to) => format!(
                "({} and {})",
                self.order(instance, ">=", from),
                self.order(instance, "<=", to)
            ),
            // Containment: a value equals itself, an array contains its items.
            Operand::One(Value::Number(number)) => format!("x.t @> {}::jsonb", self.text(number)),
            Operand::One(Value::Bool(value)) => format!("x.t @> {}::jsonb", self.text(&value.to_string())),
            Operand::One(Value::Text(text) | Value::Date(text)) => self.same_text(text),
            Operand::One(Value::DateTime(text)) => {
                let same = self.same_text(text);
                let key = self.text(&key_of(Moment::of_date_time(text)));
                format!("({same} or {} = {key})", instant_key())
            }
            Operand::One(Value::Time(text)) => {
                let same = self.same_text(text);
                let key = self.text(&key_of(Moment::of_time(text)));
                format!(
                    "({same} or ({TEXT} collate \"C\" ~ '{TIME}' and {} = {key}))",
                    time_key()
                )
            }
        }
    }

    /// The same text, as a value, among the items of an array, or in the typed form of JSON-LD.
    fn same_text(&mut self, text: &str) -> String {
        let sent = self.text(text);
        format!("(x.t @> to_jsonb({sent}) or x.t -> '@value' = to_jsonb({sent}))")
    }

    fn order(&mut self, instance: &str, operator: &str, value: &Value) -> String {
        match value {
            Value::Bool(_) => "false".to_owned(),
            Value::Number(number) => format!(
                "(jsonb_typeof(x.t) = 'number' and x.t {operator} {}::jsonb)",
                self.text(number)
            ),
            Value::DateTime(text) => {
                let key = self.text(&key_of(Moment::of_date_time(text)));
                format!("{} collate \"C\" {operator} {key}", instant_key())
            }
            Value::Date(text) => {
                let text = self.text(text);
                format!("({TEXT} collate \"C\" ~ '{DATE}' and {TEXT} collate \"C\" {operator} {text})")
            }
            Value::Time(text) => {
                let key = self.text(&key_of(Moment::of_time(text)));
                format!(
                    "({TEXT} collate \"C\" ~ '{TIME}' and ({}) collate \"C\" {operator} {key})",
                    time_key()
                )
            }
            Value::Text(text) => {
                let text = self.text(text);
                format!(
                    "({} and jsonb_typeof(x.t) = 'string' and (x.t #>> '{{}}') collate \"C\" {operator} {text})",
                    no_link(instance)
                )
            }
        }
    }
}

/// The shapes of texts that are compared as days and as times of day.
const DATE: &str = "^\\d{4}-\\d\\d-\\d\\d$";
const TIME: &str = "^\\d\\d:\\d\\d:\\d\\d([.,]\\d{1,6})?Z?$";

/// What sorts as the point in time that is looked at; null for what is none.
fn instant_key() -> String {
    format!("mim.instant_key({TEXT} collate \"C\")")
}

/// What sorts as the time of day that is looked at, where its text has that shape.
fn time_key() -> String {
    format!("left({TEXT}, 8) || '.' || rpad(rtrim(substr({TEXT}, 10), 'Z'), 6, '0')")
}

/// The parser takes no other values for times than those that have a key.
fn key_of(moment: Option<Moment>) -> String {
    moment.map(|moment| moment.key()).unwrap_or_default()
}

/// A relationship has no order and no pattern.
fn no_link(instance: &str) -> String {
    format!("{instance} ->> 'type' not in ('Relationship', 'ListRelationship')")
}

/// When an entity was created, in the form in which instances keep times.
fn created_of(entity: &str) -> String {
    instant_of(&format!("{entity}.created"))
}

/// The instant in a column, in the form in which instances keep times.
fn instant_of(column: &str) -> String {
    format!("to_jsonb(to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))")
}

/// The text of what is looked at: a string, or a typed value.
const TEXT: &str =
    "(case jsonb_typeof(x.t) when 'string' then x.t #>> '{}' when 'object' then x.t ->> '@value' end)";

fn operator(order: Order) -> &'static str {
    match order {
        Order::Less => "<",
        Order::LessOrEqual => "<=",
        Order::Greater => ">",
        Order::GreaterOrEqual => ">=",
    }
}

/// Terms of which every entity that passes the test has at least one.
fn terms_that_match(tenant: TenantId, names: &[String], part: &Part, test: &Test) -> Vec<i64> {
    let TenantId(tenant) = tenant;
    let [name, deeper @ ..] = names else {
        return Vec::new();
    };
    if let (Part::Value, true, Test::Equals { not: false, any_of }) = (part, deeper.is_empty(), test) {
        let exact: Option<Vec<i64>> = any_of
            .iter()
            .map(|operand| match operand {
                // Numbers and times may be written otherwise.
                Operand::One(Value::Text(sent) | Value::Date(sent)) => {
                    Some(terms::of_text(tenant, name, sent))
                }
                Operand::One(Value::Bool(value)) => Some(terms::of_bool(tenant, name, *value)),
                _ => None,
            })
            .collect();
        if let Some(mut exact) = exact {
            exact.push(terms::of_any(tenant, name));
            return exact;
        }
    }
    vec![terms::of_attribute(tenant, name)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::query::q;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn the_text_is_made_of_constants(a in "[a-z]{9,12}", s in "[^\u{0}]{9,20}", n in 100_000_000u32..) {
            let mut quoted = String::new();
            crate::model::json::write_string(&mut quoted, &s);
            let statement = sql(&format!("{a}.{a}[{a}]=={quoted},{n}..{n};{a}>={quoted}|{a}[*]!={n}")).unwrap();
            prop_assert!(!statement.sql.contains(&a) && !statement.sql.contains(&s) && !statement.sql.contains(&n.to_string()));
        }
    }
}
