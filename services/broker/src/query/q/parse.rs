//! From text to a query. What is read is bounded: how long a text may be, how deep and how wide what it says.

use super::{Operand, Order, Part, Path, Query, System, Term, Test, Value};
use crate::context::Context;
use crate::model::json::Json;
use crate::model::names::{is_date, is_date_time, is_name, is_time, is_uri};
use crate::model::read::expanded_name;
use crate::model::view::join::MAX_LEVELS;
use crate::model::{Refusal, refuse};
use crate::query::pattern::Pattern;
use std::collections::BTreeSet;

/// The longest query, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;
/// How many terms a query may have.
pub const MAX_TERMS: usize = 100;
/// How many values a list may have.
pub const MAX_VALUES: usize = 500;
/// How deep parentheses and paths may go.
pub const MAX_DEPTH: usize = 16;

/// How names and values of a query are understood.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    context: &'a Context,
    /// Attributes whose values are names.
    expand_values: BTreeSet<String>,
    /// Attributes whose values have members that are not expanded.
    json_keys: BTreeSet<String>,
}

impl<'a> Reading<'a> {
    /// By a context alone.
    #[must_use]
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            expand_values: BTreeSet::new(),
            json_keys: BTreeSet::new(),
        }
    }

    /// By a context, `expandValues` and `jsonKeys`: names of attributes.
    pub fn of(
        context: &'a Context,
        expand_values: Option<&[&str]>,
        json_keys: Option<&[&str]>,
    ) -> Result<Self, Refusal> {
        let read = |what: &str, names: Option<&[&str]>| {
            let names = names.unwrap_or_default();
            if names.len() > MAX_VALUES {
                return refuse(format!("{what}: more than {MAX_VALUES} names"));
            }
            let expanded = names.iter().map(|name| expanded_name(context, name));
            let expanded: Result<_, Refusal> = expanded.collect();
            expanded.map_err(|Refusal(why)| Refusal(format!("{what}: {why}")))
        };
        Ok(Self {
            context,
            expand_values: read("expandValues", expand_values)?,
            json_keys: read("jsonKeys", json_keys)?,
        })
    }
}

/// Reads a query; names are expanded by the context.
pub fn parse(text: &str, context: &Context) -> Result<Query, Refusal> {
    parse_as(text, &Reading::new(context))
}

/// Reads a query in a way of its own.
pub fn parse_as(text: &str, reading: &Reading<'_>) -> Result<Query, Refusal> {
    if text.len() > MAX_LENGTH {
        return refuse(format!("q: longer than {MAX_LENGTH} bytes"));
    }
    let mut parser = Parser::new(text, reading);
    let query = parser.or(0)?;
    parser.at_end().map(|()| query)
}

/// Reads a path alone.
pub fn path(text: &str, reading: &Reading<'_>) -> Result<Path, Refusal> {
    let mut parser = Parser::new(text, reading);
    let path = parser.path(0)?;
    parser.at_end().map(|()| path)
}

struct Parser<'a> {
    rest: &'a str,
    reading: &'a Reading<'a>,
    terms: usize,
    /// Whether values of the condition that is read are names.
    values_are_names: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, reading: &'a Reading<'a>) -> Self {
        Self {
            rest: text,
            reading,
            terms: 0,
            values_are_names: false,
        }
    }

    fn at_end(&self) -> Result<(), Refusal> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    fn unexpected<T>(&self) -> Result<T, Refusal> {
        let found: String = self.rest.chars().take(20).collect();
        if found.is_empty() {
            refuse("q: ends too early")
        } else {
            refuse(format!("q: unexpected {found:?}"))
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes what comes before the first of these characters.
    fn until(&mut self, stop: &[char]) -> &'a str {
        let end = self.rest.find(stop).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn or(&mut self, depth: usize) -> Result<Query, Refusal> {
        let first = self.and(depth)?;
        let mut parts = vec![first];
        while self.eat("|") {
            parts.push(self.and(depth)?);
        }
        Ok(joined(parts, Query::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Query, Refusal> {
        let mut parts = vec![self.unit(depth)?];
        while self.eat(";") {
            parts.push(self.unit(depth)?);
        }
        Ok(joined(parts, Query::And))
    }

    fn unit(&mut self, depth: usize) -> Result<Query, Refusal> {
        if depth > MAX_DEPTH {
            return refuse("q: parentheses nested too deep");
        }
        if self.eat("(") {
            let inner = self.or(depth + 1)?;
            return if self.eat(")") {
                Ok(inner)
            } else {
                self.unexpected()
            };
        }
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return refuse(format!("q: more than {MAX_TERMS} terms"));
        }
        let path = self.path(0)?;
        self.values_are_names = self.has_names(&path);
        let test = self.test()?;
        Ok(Query::Term(Term { path, test }))
    }

    /// Whether `expandValues` names the attribute at the end of the path.
    fn has_names(&self, path: &Path) -> bool {
        match path {
            Path::CreatedAt | Path::ModifiedAt => false,
            Path::Attribute { names, .. } => names
                .last()
                .is_some_and(|name| self.reading.expand_values.contains(name)),
            Path::Linked { path, .. } => self.has_names(path),
        }
    }

    fn path(&mut self, depth: usize) -> Result<Path, Refusal> {
        let text = self.until(&[
            '=', '!', '<', '>', '~', ';', '|', '(', ')', '[', '"', ',', ' ', '{', '}',
        ]);
        if text.is_empty() {
            return self.unexpected();
        }
        if self.eat("{") {
            return self.linked(text, depth + 1);
        }
        // A full IRI has dots of its own.
        let mut names: Vec<&str> = if text.contains("://") {
            vec![text]
        } else {
            text.split('.').collect()
        };
        if names.len() > MAX_DEPTH {
            return refuse("q: a path that is too long");
        }
        if !self.rest.starts_with('[') {
            match names.as_slice() {
                ["createdAt"] => return Ok(Path::CreatedAt),
                ["modifiedAt"] => return Ok(Path::ModifiedAt),
                _ => {}
            }
        }
        let system = if names.len() > 1 {
            names.last().and_then(|n| System::named(n))
        } else {
            None
        };
        let mut part = Part::Value;
        if let Some(system) = system {
            names.pop();
            part = Part::System(system);
        }
        let names = names
            .into_iter()
            .map(|n| self.name(n))
            .collect::<Result<Vec<_>, _>>()?;
        if self.eat("[") {
            let inner = self.until(&[']']);
            if !self.eat("]") || inner.is_empty() || part != Part::Value {
                return refuse("q: a bracket that is not closed, empty, or after a system attribute");
            }
            part = self.member(names.last(), inner)?;
        }
        Ok(Path::Attribute { names, part })
    }

    /// What follows the name of a relationship and a brace: types, a colon and a path; or a path alone.
    fn linked(&mut self, relationship: &str, depth: usize) -> Result<Path, Refusal> {
        if depth > MAX_LEVELS {
            return refuse(format!("q: braces deeper than {MAX_LEVELS} levels"));
        }
        let relationship = self.name(relationship)?;
        let types = self.types()?;
        let path = Box::new(self.path(depth)?);
        if !self.eat("}") {
            return self.unexpected();
        }
        Ok(Path::Linked {
            relationship,
            types,
            path,
        })
    }

    /// Takes types with the colon after them; nothing where a name comes at once.
    fn types(&mut self) -> Result<Vec<String>, Refusal> {
        let start = self.rest;
        let mut types = Vec::new();
        while types.len() < MAX_VALUES {
            let Some(name) = self.type_name() else { break };
            if self.eat(",") {
                types.push(self.name(name)?);
            } else if self.eat(":") {
                types.push(self.name(name)?);
                return Ok(types);
            } else {
                break;
            }
        }
        self.rest = start;
        Ok(Vec::new())
    }

    /// Takes what may be a type. A colon also follows a prefix, so the context decides; and the scheme of a full IRI,
    /// which is taken for the name of an attribute.
    fn type_name(&mut self) -> Option<&'a str> {
        let start = self.rest;
        let name = self.letters();
        if matches!(name, "urn" | "http" | "https") {
            return None;
        }
        if self.rest.starts_with(':') && self.is_prefix(name) {
            self.eat(":");
            self.letters();
        }
        start.get(..start.len() - self.rest.len())
    }

    fn letters(&mut self) -> &'a str {
        let is_other = |c: char| !(c.is_alphanumeric() || c == '_');
        let end = self.rest.find(is_other).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn is_prefix(&self, name: &str) -> bool {
        let compact = format!("{name}:x");
        self.reading.context.expand(&compact) != compact.as_str()
    }

    fn name(&self, name: &str) -> Result<String, Refusal> {
        expanded_name(self.reading.context, name).map_err(|Refusal(why)| Refusal(format!("q: {why}")))
    }

    fn member(&self, attribute: Option<&String>, inner: &str) -> Result<Part, Refusal> {
        if inner == "*" {
            return Ok(Part::AnyLanguage);
        }
        let sent: Vec<String> = inner.split('.').map(str::to_owned).collect();
        if sent.len() > MAX_DEPTH || sent.iter().any(String::is_empty) {
            return refuse("q: a path in brackets that is too long or has an empty name");
        }
        let is_json = attribute.is_some_and(|attribute| self.reading.json_keys.contains(attribute));
        let expand = |name: &String| {
            if is_json || crate::context::keeps_its_name(name) {
                name.clone()
            } else {
                self.reading.context.expand(name).into_owned()
            }
        };
        Ok(Part::Member {
            expanded: sent.iter().map(expand).collect(),
            sent,
        })
    }

    fn test(&mut self) -> Result<Test, Refusal> {
        const OPERATORS: [&str; 8] = ["!~=", "~=", "==", "!=", ">=", "<=", ">", "<"];
        let Some(operator) = OPERATORS.into_iter().find(|o| self.eat(o)) else {
            return Ok(Test::Exists);
        };
        Ok(match operator {
            "!~=" => Test::Matches {
                not: true,
                pattern: self.pattern()?,
            },
            "~=" => Test::Matches {
                not: false,
                pattern: self.pattern()?,
            },
            "==" => Test::Equals {
                not: false,
                any_of: self.operands()?,
            },
            "!=" => Test::Equals {
                not: true,
                any_of: self.operands()?,
            },
            ">=" => Test::Order(Order::GreaterOrEqual, self.value()?),
            "<=" => Test::Order(Order::LessOrEqual, self.value()?),
            ">" => Test::Order(Order::Greater, self.value()?),
            _ => Test::Order(Order::Less, self.value()?),
        })
    }

    fn pattern(&mut self) -> Result<Pattern, Refusal> {
        let text = if self.rest.starts_with('"') {
            self.quoted()?
        } else {
            self.until(&[';', '|', ')']).to_owned()
        };
        if text.is_empty() {
            return refuse("q: an empty pattern");
        }
        Pattern::new(&text).map_err(|Refusal(why)| Refusal(format!("q: {why}")))
    }

    fn operands(&mut self) -> Result<Vec<Operand>, Refusal> {
        let mut operands = Vec::new();
        loop {
            let first = self.value()?;
            operands.push(if self.eat("..") {
                Operand::Range(first, self.value()?)
            } else {
                Operand::One(first)
            });
            if operands.len() > MAX_VALUES {
                return refuse(format!("q: more than {MAX_VALUES} values in a list"));
            }
            if !self.eat(",") {
                return Ok(operands);
            }
        }
    }

    fn value(&mut self) -> Result<Value, Refusal> {
        if self.rest.starts_with('"') {
            let text = self.quoted()?;
            return Ok(if is_date_time(&text) && !self.values_are_names {
                Value::DateTime(text)
            } else {
                Value::Text(self.meant(text))
            });
        }
        let (token, rest) = self.rest.split_at(self.end_of_value());
        let value = match token {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ if is_date_time(token) => Value::DateTime(token.to_owned()),
            _ if is_date(token) => Value::Date(token.to_owned()),
            _ if is_time(token) => Value::Time(token.to_owned()),
            _ => match Json::parse(token.as_bytes()) {
                Ok(Json::Number(number)) => Value::Number(number.into()),
                _ if is_uri(token) || (self.values_are_names && is_name(token)) => {
                    Value::Text(self.meant(token.to_owned()))
                }
                _ => return self.unexpected(),
            },
        };
        self.rest = rest;
        Ok(value)
    }

    /// What a text of the condition means: where values are names, an IRI.
    fn meant(&self, text: String) -> String {
        if self.values_are_names {
            self.reading.context.expand(&text).into_owned()
        } else {
            text
        }
    }

    /// Where a value ends that is not in quotes: before a comma, unless that is the one of a fraction of a second.
    fn end_of_value(&self) -> usize {
        let whole = self.rest.find([';', '|', ')']).unwrap_or(self.rest.len());
        let whole = self.rest.get(..whole).unwrap_or_default();
        let range = whole.find("..").unwrap_or(whole.len());
        let upto = whole.get(..range).unwrap_or_default();
        let mut commas = upto.match_indices(',').map(|(at, _)| at);
        let Some(first) = commas.next() else {
            return range;
        };
        let second = commas.next().unwrap_or(range);
        let long = upto.get(..second).unwrap_or_default();
        let is_time = is_date_time(long) || (long.ends_with('Z') && is_time(long));
        if is_time { second } else { first }
    }

    /// A text in quotes, escaped as in JSON.
    fn quoted(&mut self) -> Result<String, Refusal> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((end, _)) = end else {
            return refuse("q: a quote that is not closed");
        };
        let (text, rest) = self.rest.split_at(end + 1);
        match Json::parse(text.as_bytes()) {
            Ok(Json::String(text)) => {
                self.rest = rest;
                Ok(text)
            }
            _ => refuse("q: a text in quotes with a wrong escape"),
        }
    }
}

fn joined(mut parts: Vec<Query>, many: fn(Vec<Query>) -> Query) -> Query {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            many(parts)
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
