//! From `q` to a condition (clause 4.9). [`crate::query::evaluate`] says the same of an entity in memory.

use super::{Builder, Param, all, any};
use crate::model::moment::Moment;
use crate::model::names::instant;
use crate::model::terms;
use crate::query::q::{Operand, Order, Part, Path, Query, System, Term, Test, Value};
use crate::store::TenantId;

impl Builder {
    /// A condition on the entity `e`, and in front of what an index helps with.
    pub(super) fn query(&mut self, query: &Query) -> String {
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
    pub(super) fn instances(&mut self, entity: &str, names: &[String]) -> (String, String) {
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
    pub(super) fn looked_at(&mut self, entity: &str, instance: &str, part: &Part) -> String {
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
