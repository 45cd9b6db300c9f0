//! Scope queries.

use super::{assert_is_short, joined, statement};
use crate::model::names::is_scope;
use crate::query::Selection;
use crate::query::pattern::{Pattern, Scratch};
use crate::query::scope::{Level, ScopePattern, ScopeQuery, parse};

/// Holds of any text.
pub fn scope(text: &str) {
    let mut lines = text.lines();
    let query = match parse(lines.next().unwrap_or_default()) {
        Ok(query) => query,
        Err(refusal) => return assert_is_short(&refusal),
    };
    assert_eq!(parse(&written_or(&query)), Ok(query.clone()));
    let [own, other] = [query.clone(), masked(&query)].map(|query| {
        statement(&Selection {
            scope: Some(query),
            ..Selection::default()
        })
    });
    assert_eq!(own.sql, other.sql);
    let scopes: Vec<String> = lines.filter(|line| is_scope(line)).map(str::to_owned).collect();
    let mut scratch = Scratch::default();
    for pattern in patterns(&query) {
        let expression = Pattern::new(&pattern.expression());
        for scope in &scopes {
            let selected = ScopeQuery::One(pattern.clone()).selects(std::slice::from_ref(scope));
            // The database looks for this expression where some name is not given, or else for that scope.
            if let Ok(expression) = &expression {
                assert_eq!(
                    expression.is_found_in(scope, &mut scratch),
                    selected,
                    "{pattern:?} {scope}"
                );
            }
            if let Some(named) = pattern.named() {
                let inside = *scope == named || (pattern.below && scope.starts_with(&format!("{named}/")));
                assert_eq!(inside, selected, "{pattern:?} {scope}");
            }
        }
    }
}

fn patterns(query: &ScopeQuery) -> Vec<&ScopePattern> {
    match query {
        ScopeQuery::And(parts) | ScopeQuery::Or(parts) => parts.iter().flat_map(patterns).collect(),
        ScopeQuery::One(pattern) => vec![pattern],
    }
}

fn written_or(query: &ScopeQuery) -> String {
    match query {
        ScopeQuery::Or(parts) => joined(parts, ",", written_and),
        other => written_and(other),
    }
}

fn written_and(query: &ScopeQuery) -> String {
    match query {
        ScopeQuery::And(parts) => joined(parts, ";", written_unit),
        other => written_unit(other),
    }
}

fn written_unit(query: &ScopeQuery) -> String {
    match query {
        ScopeQuery::One(ScopePattern { levels, below }) => {
            let level = |level: &Level| match level {
                Level::Any => "/+".to_owned(),
                Level::Named(name) => format!("/{name}"),
            };
            joined(levels, "", level) + if *below { "/#" } else { "" }
        }
        several => format!("({})", written_or(several)),
    }
}

/// A query of the same shape with other names.
fn masked(query: &ScopeQuery) -> ScopeQuery {
    let all = |parts: &[ScopeQuery]| parts.iter().map(masked).collect();
    match query {
        ScopeQuery::And(parts) => ScopeQuery::And(all(parts)),
        ScopeQuery::Or(parts) => ScopeQuery::Or(all(parts)),
        ScopeQuery::One(ScopePattern { levels, below }) => {
            let level = |level: &Level| match level {
                Level::Any => Level::Any,
                Level::Named(_) => Level::Named("masked".to_owned()),
            };
            ScopeQuery::One(ScopePattern {
                levels: levels.iter().map(level).collect(),
                below: *below,
            })
        }
    }
}
