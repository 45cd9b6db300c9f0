//! What rules allow and deny for one need: the one reading of rules, of which decisions and permission sets are made.

use crate::grant::Grant;
use crate::merge::{common, merged};
use crate::rule::{Effect, Operation};
use crate::table::{RuleSet, Table};
use std::borrow::Cow;

/// How many pairs of grants are compared for what they have in common.
const MAX_PAIRS: usize = 400;

/// What must be allowed for something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// One operation.
    One(Operation),
    /// This operation and `Temporal`.
    OfPast(Operation),
}

/// A grant, and the place of its rule in the table.
pub(crate) type Placed<'t> = (usize, Cow<'t, Grant>);

/// What rules allow and deny of one need.
pub(crate) struct Lists<'t> {
    /// What any of these has is allowed,
    pub allow: Vec<Placed<'t>>,
    /// but what one of these has.
    pub deny: Vec<Placed<'t>>,
    /// Whether there is too much to be compared. Nothing is allowed then, and `allow` has what would have been compared.
    pub is_too_much: bool,
}

impl Table {
    /// What rules say of one need. A set of another table's rules says nothing here.
    pub(crate) fn lists(&self, rules: &RuleSet, need: Need) -> Lists<'_> {
        let list = |operation, effect| {
            let grants = self.grants(rules, operation, effect);
            grants.map(|(at, grant)| (at, Cow::Borrowed(grant))).collect()
        };
        match need {
            Need::One(operation) => Lists {
                allow: list(operation, Effect::Allow),
                deny: list(operation, Effect::Deny),
                is_too_much: false,
            },
            Need::OfPast(operation) => {
                let mut deny: Vec<Placed<'_>> = list(operation, Effect::Deny);
                deny.extend(list(Operation::Temporal, Effect::Deny));
                of_both(
                    list(operation, Effect::Allow),
                    list(Operation::Temporal, Effect::Allow),
                    deny,
                )
            }
        }
    }
}

/// What both of two lists allow. Of many grants fewer are made before, and their rules can no longer be told apart.
fn of_both<'t>(one: Vec<Placed<'t>>, other: Vec<Placed<'t>>, deny: Vec<Placed<'t>>) -> Lists<'t> {
    let pairs = pairs(&one, &other).or_else(|| pairs(&fewer(&one), &fewer(&other)));
    let is_too_much = pairs.is_none();
    Lists {
        allow: pairs.unwrap_or_else(|| one.into_iter().chain(other).collect()),
        deny,
        is_too_much,
    }
}

/// What each of one list has in common with each of another; `None`: they are too many.
fn pairs<'t>(one: &[Placed<'_>], other: &[Placed<'_>]) -> Option<Vec<Placed<'t>>> {
    if one.len() * other.len() > MAX_PAIRS {
        return None;
    }
    let pairs = one
        .iter()
        .flat_map(|one| other.iter().map(move |other| (one, other)));
    let common = pairs.filter_map(|((at, one), (_, other))| {
        let common = common(one, other).grant?;
        Some((*at, Cow::Owned(common)))
    });
    Some(common.collect())
}

fn fewer(list: &[Placed<'_>]) -> Vec<Placed<'static>> {
    let first = list.first().map_or(0, |(at, _)| *at);
    let grants = merged(list.iter().map(|(_, grant)| grant.clone().into_owned()).collect());
    grants
        .into_iter()
        .map(|grant| (first, Cow::Owned(grant)))
        .collect()
}
