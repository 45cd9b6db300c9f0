//! The type selection language (clause 4.17): `A,B` and `A|B` are or, `;` is and, parentheses group, `*` is all.

use crate::context::Context;
use crate::model::read::expanded_name;
use crate::model::{Refusal, refuse};

/// How many names one selection may have.
const MAX_NAMES: usize = 200;
const MAX_DEPTH: usize = 16;

/// Which types an entity must have. Names are IRIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeSelection {
    /// Any type: `*`.
    All,
    /// This one.
    One(String),
    /// All of these.
    And(Vec<TypeSelection>),
    /// Any of these.
    Or(Vec<TypeSelection>),
}

impl TypeSelection {
    /// Every name in it.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => Vec::new(),
            Self::One(name) => vec![name],
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::names).collect(),
        }
    }

    /// Whether an entity of these types is selected.
    #[must_use]
    pub fn selects(&self, types: &[String]) -> bool {
        match self {
            Self::All => true,
            Self::One(name) => types.contains(name),
            Self::And(parts) => parts.iter().all(|p| p.selects(types)),
            Self::Or(parts) => parts.iter().any(|p| p.selects(types)),
        }
    }
}

/// Reads a selection; names are expanded by the context.
pub fn parse(text: &str, context: &Context) -> Result<TypeSelection, Refusal> {
    if text == "*" {
        return Ok(TypeSelection::All);
    }
    let mut parser = Parser {
        rest: text,
        context,
        names: 0,
    };
    let found = parser.or(0)?;
    if !parser.rest.is_empty() {
        return refuse(format!(
            "type: unexpected {:?}",
            parser.rest.chars().take(20).collect::<String>()
        ));
    }
    Ok(found)
}

struct Parser<'a> {
    rest: &'a str,
    context: &'a Context,
    names: usize,
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

    fn or(&mut self, depth: usize) -> Result<TypeSelection, Refusal> {
        let mut parts = vec![self.and(depth)?];
        while self.eat(&[',', '|']) {
            parts.push(self.and(depth)?);
        }
        Ok(one_or(parts, TypeSelection::Or))
    }

    fn and(&mut self, depth: usize) -> Result<TypeSelection, Refusal> {
        let mut parts = vec![self.unit(depth)?];
        while self.eat(&[';']) {
            parts.push(self.unit(depth)?);
        }
        Ok(one_or(parts, TypeSelection::And))
    }

    fn unit(&mut self, depth: usize) -> Result<TypeSelection, Refusal> {
        if depth > MAX_DEPTH {
            return refuse("type: parentheses nested too deep");
        }
        if self.eat(&['(']) {
            let inner = self.or(depth + 1)?;
            if !self.eat(&[')']) {
                return refuse("type: a parenthesis is not closed");
            }
            return Ok(inner);
        }
        let end = self
            .rest
            .find([',', '|', ';', '(', ')'])
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.names += 1;
        if self.names > MAX_NAMES {
            return refuse(format!("type: more than {MAX_NAMES} names"));
        }
        expanded_name(self.context, name)
            .map(TypeSelection::One)
            .map_err(|Refusal(why)| Refusal(format!("type: {why}")))
    }
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
    use proptest::prelude::*;

    fn selects(text: &str, types: &[&str]) -> bool {
        let types: Vec<String> = types
            .iter()
            .map(|t| format!("https://uri.etsi.org/ngsi-ld/default-context/{t}"))
            .collect();
        parse(text, &Context::core()).unwrap().selects(&types)
    }

    #[test]
    fn selections_combine() {
        assert!(selects("A,B", &["B"]) && selects("A|B", &["A"]) && !selects("A,B", &["C"]));
        assert!(selects("(A;B)", &["A", "B"]) && !selects("(A;B)", &["A"]));
        assert!(selects("A;B|C", &["C"]) && selects("(A|C);B", &["C", "B"]) && !selects("(A|C);B", &["C"]));
        assert!(selects("*", &[]));
    }

    #[test]
    fn malformed_selections_are_refused() {
        for bad in [
            "",
            ",",
            "A,",
            "(A",
            "A)",
            "A;;B",
            "A(B)",
            "1A",
            "A B",
            "*;A",
            "'; drop table x; --",
        ] {
            assert!(parse(bad, &Context::core()).is_err(), "{bad}");
        }
        assert!(parse(&"(".repeat(100_000), &Context::core()).is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[A-C,|;()*' ]{0,30}") {
            let _ = parse(&text, &Context::core());
        }
    }
}
