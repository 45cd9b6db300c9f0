//! The scope query language (clause 4.19): `;` is and, `,` and `|` are or, parentheses group. A term is a scope, in
//! which `+` stands for any name at its level, and `/#` at the end for the scope itself and all below it; `/#` alone
//! for any scope.

use crate::names::{MAX_IRI, is_scope_level};
use crate::{Refusal, refuse};

/// How many terms one query may have.
const MAX_TERMS: usize = 100;
const MAX_DEPTH: usize = 16;

/// Which scopes an entity must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeQuery {
    /// All of these.
    And(Vec<ScopeQuery>),
    /// Any of these.
    Or(Vec<ScopeQuery>),
    /// One scope like this.
    One(ScopePattern),
}

/// What one scope must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePattern {
    /// Its names, from the top; empty only where `below` is set.
    pub levels: Vec<Level>,
    /// Whether scopes below it will do as well.
    pub below: bool,
}

/// What a name of a scope must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// Any: `+`.
    Any,
    /// This one.
    Named(String),
}

impl ScopeQuery {
    /// Whether an entity of these scopes is selected.
    #[must_use]
    pub fn selects(&self, scopes: &[String]) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|p| p.selects(scopes)),
            Self::Or(parts) => parts.iter().any(|p| p.selects(scopes)),
            Self::One(pattern) => scopes.iter().any(|scope| pattern.is_like(scope)),
        }
    }

    /// How many bytes of memory it takes beside itself.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(|p| size_of::<Self>() + p.weight()).sum(),
            Self::One(pattern) => pattern.weight(),
        }
    }
}

impl ScopePattern {
    /// Whether a scope is like it.
    #[must_use]
    pub fn is_like(&self, scope: &str) -> bool {
        let Some(names) = scope.strip_prefix('/') else {
            return false;
        };
        let mut names = names.split('/');
        let starts = self.levels.iter().all(|level| match (level, names.next()) {
            (_, None) => false,
            (Level::Any, Some(_)) => true,
            (Level::Named(wanted), Some(name)) => wanted == name,
        });
        starts && (self.below || names.next().is_none())
    }

    /// The scope that it is, or is below of, where all names are given: no `+` in it.
    #[must_use]
    pub fn named(&self) -> Option<String> {
        let names = self.levels.iter().map(|level| match level {
            Level::Any => None,
            Level::Named(name) => Some(["/", name]),
        });
        let names: Option<Vec<[&str; 2]>> = names.collect();
        names.map(|names| names.concat().concat())
    }

    fn weight(&self) -> usize {
        let beside = |level: &Level| match level {
            Level::Any => 0,
            Level::Named(name) => name.len(),
        };
        self.levels
            .iter()
            .map(|level| size_of::<Level>() + beside(level))
            .sum()
    }

    /// A regular expression that finds such scopes.
    #[must_use]
    pub fn expression(&self) -> String {
        let mut out = "^".to_owned();
        for level in &self.levels {
            out.push('/');
            match level {
                Level::Any => out.push_str("[^/]+"),
                // The only character of a name that means something in an expression.
                Level::Named(name) => out.push_str(&name.replace('.', "\\.")),
            }
        }
        out.push_str(if self.below { "(/|$)" } else { "$" });
        out
    }
}

/// Reads a scope query.
pub fn parse(text: &str) -> Result<ScopeQuery, Refusal> {
    let mut parser = Parser { rest: text, terms: 0 };
    let found = parser.or(0)?;
    if !parser.rest.is_empty() {
        return refuse(format!("scopeQ: unexpected {:?}", shortened(parser.rest)));
    }
    Ok(found)
}

struct Parser<'a> {
    rest: &'a str,
    terms: usize,
}

impl Parser<'_> {
    fn eat(&mut self, letters: &[char]) -> bool {
        match self.rest.strip_prefix(letters) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn or(&mut self, depth: usize) -> Result<ScopeQuery, Refusal> {
        let mut parts = vec![self.and(depth)?];
        while self.eat(&[',', '|']) {
            parts.push(self.and(depth)?);
        }
        Ok(one_or(parts, ScopeQuery::Or))
    }

    fn and(&mut self, depth: usize) -> Result<ScopeQuery, Refusal> {
        let mut parts = vec![self.unit(depth)?];
        while self.eat(&[';']) {
            parts.push(self.unit(depth)?);
        }
        Ok(one_or(parts, ScopeQuery::And))
    }

    fn unit(&mut self, depth: usize) -> Result<ScopeQuery, Refusal> {
        if depth > MAX_DEPTH {
            return refuse("scopeQ: parentheses nested too deep");
        }
        if self.eat(&['(']) {
            let inner = self.or(depth + 1)?;
            if !self.eat(&[')']) {
                return refuse("scopeQ: a parenthesis is not closed");
            }
            return Ok(inner);
        }
        let end = self
            .rest
            .find([',', '|', ';', '(', ')'])
            .unwrap_or(self.rest.len());
        let (term, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return refuse(format!("scopeQ: more than {MAX_TERMS} terms"));
        }
        pattern(term).map(ScopeQuery::One)
    }
}

fn pattern(term: &str) -> Result<ScopePattern, Refusal> {
    let wrong = || {
        Refusal(format!(
            "scopeQ: {:?} is not a scope like /Madrid/Gardens, /Madrid/+ or /Madrid/#",
            shortened(term)
        ))
    };
    if term.len() > MAX_IRI {
        return Err(wrong());
    }
    let (names, below) = match term.strip_suffix("/#") {
        Some(names) => (names, true),
        None => (term, false),
    };
    if names.is_empty() && below {
        return Ok(ScopePattern {
            levels: Vec::new(),
            below,
        });
    }
    let names = names.strip_prefix('/').ok_or_else(wrong)?;
    let level = |name: &str| match name {
        "+" => Ok(Level::Any),
        name if is_scope_level(name) => Ok(Level::Named(name.to_owned())),
        _ => Err(wrong()),
    };
    Ok(ScopePattern {
        levels: names.split('/').map(level).collect::<Result<_, _>>()?,
        below,
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn one_or<T>(mut parts: Vec<T>, many: fn(Vec<T>) -> T) -> T {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            many(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(text: &str, scopes: &[&str]) -> bool {
        let scopes: Vec<String> = scopes.iter().map(|&s| s.to_owned()).collect();
        parse(text).unwrap().selects(&scopes)
    }

    #[test]
    fn a_scope_is_itself_and_nothing_else() {
        assert!(selects("/A/B", &["/C", "/A/B"]));
        for other in ["/A", "/A/B/C", "/A/b", "/B/A", "/A/BB"] {
            assert!(!selects("/A/B", &[other]), "{other}");
        }
        assert!(!selects("/A", &[]));
    }

    #[test]
    fn a_plus_is_one_level_and_a_hash_all_below_and_the_scope_itself() {
        assert!(selects("/A/+/C", &["/A/B/C"]) && !selects("/A/+/C", &["/A/C"]));
        assert!(selects("/+", &["/A"]) && !selects("/+", &["/A/B"]));
        assert!(selects("/A/#", &["/A"]) && selects("/A/#", &["/A/B/C"]) && !selects("/A/#", &["/AB"]));
        assert!(selects("/+/B/#", &["/A/B/C"]) && !selects("/+/B/#", &["/A/C/B"]));
        assert!(selects("/#", &["/A"]) && !selects("/#", &[]));
    }

    #[test]
    fn terms_combine_and_an_entity_may_have_several_scopes() {
        assert!(selects("/A;/B", &["/A", "/B"]) && !selects("/A;/B", &["/A"]));
        assert!(selects("/A,/B", &["/B"]) && selects("/A|/B", &["/A"]) && !selects("/A,/B", &["/C"]));
        assert!(selects("/A;/B,/C", &["/C"]) && !selects("/A;(/B,/C)", &["/C"]));
        assert!(selects("(/A|/C);/B", &["/C", "/B"]));
    }

    #[test]
    fn malformed_queries_are_refused() {
        for bad in [
            "",
            ",",
            "/",
            "A",
            "/A,",
            "/A;;/B",
            "(/A",
            "/A)",
            "/A(/B)",
            "/A//B",
            "/A/",
            "#",
            "/A#",
            "/#/A",
            "/A/#/#",
            "/A+",
            "/A/ /B",
            "//#",
            "/A\\",
            "/A'; drop table x;--",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&vec!["/A"; 101].join(",")).is_err());
        assert!(parse(&"/A".repeat(1000)).is_err());
    }
}
