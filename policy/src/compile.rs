//! From rules as they were written to rules that cannot be wrong.

use crate::area::Area;
use crate::grant::{Grant, Ids, MAX_PATTERNS, Scope, texts};
use crate::merge::{patterns, scopes};
use crate::rule::{DEFAULT_TENANT, Effect, Holder, On, Operation, Rule};
use crate::{Refused, refuse};
use mim_grammar::names::{is_tenant_name, is_uri};
use mim_grammar::pattern::Pattern;
use mim_grammar::scope::{self, ScopeQuery};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most rules of a table.
pub const MAX_RULES: usize = 500;
/// The most tenants that a table names: as many as the broker makes.
pub const MAX_TENANTS: usize = 1000;
/// The most items of one list of a rule.
pub const MAX_ITEMS: usize = 2000;
/// The longest name of a rule, in bytes.
const MAX_NAME: usize = 63;
/// The longest role, group, client, claim and value of a claim, in bytes.
const MAX_TEXT: usize = 1024;
/// How many bytes the patterns of a table may take.
const MAX_WEIGHT: usize = 16 << 20;
/// The IRI of `scope`, which is no attribute for a permission set: scopes are of the entity as such.
const SCOPE: &str = "https://uri.etsi.org/ngsi-ld/scope";

/// Why a rule is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("rule {rule:?}: {path}: {why}")]
pub struct Refusal {
    /// The name of the rule, at most 63 characters of it.
    pub rule: String,
    /// Where: `rules[3].on.idPatterns[0]`.
    pub path: String,
    /// One sentence.
    pub why: String,
}

/// A rule, checked.
#[derive(Debug)]
pub(crate) struct Line {
    pub name: Box<str>,
    pub effect: Effect,
    pub holders: Box<[Holder]>,
    pub operations: Operations,
    /// Names; the default tenant's is empty. `None`: all tenants.
    pub tenants: Option<BTreeSet<Box<str>>>,
    pub grant: Grant,
}

/// Some operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations(u8);

impl Operations {
    /// Those of a list.
    fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |all, one| all | 1 << *one as u8))
    }

    /// Whether one is among them.
    pub fn has(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u8) != 0
    }

    /// Whether one of some others is among them.
    pub fn meet(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether all of some others are among them.
    pub fn have(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// Checks rules. Every fault of every rule is told, in their order.
pub(crate) fn lines(rules: &[Rule]) -> Result<Vec<Line>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    if rules.len() > MAX_RULES {
        return Err(vec![of_all(format!(
            "{} rules; at most {MAX_RULES}",
            rules.len()
        ))]);
    }
    let tenants: BTreeSet<&String> = rules
        .iter()
        .filter_map(|rule| rule.on.tenants.as_ref())
        .flatten()
        .collect();
    if tenants.len() > MAX_TENANTS {
        return Err(vec![of_all(format!(
            "{} tenants; at most {MAX_TENANTS}",
            tenants.len()
        ))]);
    }
    let (mut names, mut weight) = (BTreeSet::new(), 0);
    let mut lines = Vec::with_capacity(rules.len());
    for (at, rule) in rules.iter().enumerate() {
        let mut reader = Reader {
            rule: rule.name.chars().take(MAX_NAME).collect(),
            at,
            refusals: &mut refusals,
            weight: &mut weight,
        };
        if !names.insert(&rule.name) {
            reader.no("name", "another rule has this name");
        }
        lines.push(reader.line(rule));
    }
    if refusals.is_empty() {
        Ok(lines)
    } else {
        Err(refusals)
    }
}

fn of_all(why: String) -> Refusal {
    Refusal {
        rule: String::new(),
        path: "rules".to_owned(),
        why,
    }
}

struct Reader<'r> {
    rule: String,
    at: usize,
    refusals: &'r mut Vec<Refusal>,
    /// How many bytes the patterns of all rules take.
    weight: &'r mut usize,
}

/// Where a member is faulty that is told, and what comes of it is not used.
impl Reader<'_> {
    fn no(&mut self, path: &str, why: impl Into<String>) {
        self.refusals.push(Refusal {
            rule: self.rule.clone(),
            path: format!("rules[{}].{path}", self.at),
            why: why.into(),
        });
    }

    /// Tells a fault, or hands on what has none.
    fn told<T>(&mut self, path: &str, found: Result<T, Refused>) -> Option<T> {
        found.map_err(|Refused(why)| self.no(path, why)).ok()
    }

    fn line(&mut self, rule: &Rule) -> Line {
        if !(1..=MAX_NAME).contains(&rule.name.len()) || rule.name.chars().any(char::is_control) {
            let why = format!("a name has 1 to {MAX_NAME} bytes and no control characters");
            self.no("name", why);
        }
        self.holders(&rule.subjects);
        Line {
            name: rule.name.as_str().into(),
            effect: rule.effect,
            holders: rule.subjects.clone().into(),
            operations: self.operations(rule),
            tenants: self.tenants(&rule.on),
            grant: self.grant(&rule.on),
        }
    }

    fn holders(&mut self, holders: &[Holder]) {
        if !(1..=MAX_ITEMS).contains(&holders.len()) {
            self.no("subjects", format!("a rule speaks of 1 to {MAX_ITEMS} subjects"));
        }
        for (at, holder) in holders.iter().enumerate() {
            let texts = match holder {
                Holder::Role(text) | Holder::Group(text) | Holder::Client(text) => vec![text],
                Holder::Claim(claim) => vec![&claim.name, &claim.value],
                Holder::Anonymous | Holder::Authenticated => vec![],
            };
            if texts.iter().any(|text| !(1..=MAX_TEXT).contains(&text.len())) {
                let why = format!("a text of 1 to {MAX_TEXT} bytes is needed");
                self.no(&format!("subjects[{at}]"), why);
            }
        }
    }

    fn operations(&mut self, rule: &Rule) -> Operations {
        let operations = Operations::of(&rule.operations);
        if rule.operations.is_empty() {
            let why = "no operation is named, so the rule would never apply; write at least one";
            self.no("operations", why);
        }
        let of_tenants = On {
            tenants: rule.on.tenants.clone(),
            ..On::default()
        };
        let is_plain = operations == Operations::of(&[Operation::Admin]) && rule.on == of_tenants;
        if operations.has(Operation::Admin) && !is_plain {
            let why = "Admin is of no entities: write it in a rule of its own, which may name tenants and nothing else";
            self.no("operations", why);
        }
        operations
    }

    fn tenants(&mut self, on: &On) -> Option<BTreeSet<Box<str>>> {
        let names = self.items("on.tenants", on.tenants.as_deref(), MAX_ITEMS, tenant)?;
        Some(names.into_iter().collect())
    }

    fn grant(&mut self, on: &On) -> Grant {
        let types = self.items("on.types", on.types.as_deref(), MAX_ITEMS, iri);
        let scopes = self.items("on.scopes", on.scopes.as_deref(), MAX_ITEMS, term);
        let attributes = self.items("on.attributes", on.attributes.as_deref(), MAX_ITEMS, attribute);
        let area = on.area.as_ref().map(Area::of);
        Grant {
            types: types.map(texts),
            ids: self.ids(on),
            scopes: scopes.map(|terms| self::scopes(terms.into_iter())),
            area: area.and_then(|area| self.told("on.area", area)).map(Arc::new),
            attributes: attributes.map(texts),
        }
    }

    fn ids(&mut self, on: &On) -> Option<Ids> {
        if *self.weight > MAX_WEIGHT {
            // Told of the rule before, and reading more would take more.
            return None;
        }
        let exact = self.items("on.ids", on.ids.as_deref(), MAX_ITEMS, iri);
        let found = self.items(
            "on.idPatterns",
            on.id_patterns.as_deref(),
            MAX_PATTERNS,
            Pattern::new,
        );
        if exact.is_none() && found.is_none() {
            return None;
        }
        let ids = Ids {
            exact: texts(exact.unwrap_or_default()),
            patterns: patterns(found.unwrap_or_default().into_iter()),
        };
        *self.weight += ids.patterns.iter().map(Pattern::weight).sum::<usize>();
        if !ids.is_affordable() || *self.weight > MAX_WEIGHT {
            let why = "the patterns of this rule, or of this and all before, take too much to run; write simpler ones";
            self.no("on.idPatterns", why);
        }
        Some(ids)
    }

    /// Reads each item of a list that may be absent.
    fn items<T>(
        &mut self,
        path: &str,
        list: Option<&[String]>,
        most: usize,
        read: impl Fn(&str) -> Result<T, Refused>,
    ) -> Option<Vec<T>> {
        let list = list?;
        if !(1..=most).contains(&list.len()) {
            let why = format!("a list has 1 to {most} items; one that is absent does not restrict");
            self.no(path, why);
            return None;
        }
        let items = list.iter().enumerate();
        let read = items.filter_map(|(at, text)| self.told(&format!("{path}[{at}]"), read(text)));
        Some(read.collect())
    }
}

fn tenant(name: &str) -> Result<Box<str>, Refused> {
    match name {
        DEFAULT_TENANT => Ok("".into()),
        name if is_tenant_name(name) => Ok(name.into()),
        _ => refuse(format!(
            "a tenant has a name of 1 to 63 letters, digits, - and _; the default one is {DEFAULT_TENANT}"
        )),
    }
}

fn iri(text: &str) -> Result<Box<str>, Refused> {
    if is_uri(text) {
        Ok(text.into())
    } else {
        refuse("a name in full is needed: an IRI")
    }
}

fn attribute(text: &str) -> Result<Box<str>, Refused> {
    if text == SCOPE {
        return refuse("scope is no attribute here: it is seen wherever the entity is");
    }
    iri(text)
}

fn term(text: &str) -> Result<Scope, Refused> {
    match scope::parse(text)? {
        ScopeQuery::One(pattern) => Ok(Scope {
            text: text.into(),
            pattern,
        }),
        ScopeQuery::And(_) | ScopeQuery::Or(_) => {
            refuse("an item is one term; write each in an item of its own")
        }
    }
}
