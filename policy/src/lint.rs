//! What rules say to no effect, and what cannot be said of them to the broker: for whoever wrote them.

use crate::bits::Bits;
use crate::compile::Line;
use crate::merge::common;
use crate::narrow::{Purpose, TooLarge};
use crate::rule::{Effect, Holder, Operation};
use crate::table::{RuleSet, Table};
use mim_grammar::pattern::BEGIN;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};

/// What is odd about a rule. It is in force all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// The name of the rule.
    pub rule: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: Oddity,
    /// One sentence.
    pub why: String,
}

/// What may be odd about a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind")]
pub enum Oddity {
    /// It applies to nothing that there can be, or denies what no rule allows.
    NeverMatches,
    /// All that it says another rule says too, or the other one denies all that it allows: without it nothing changes.
    Shadowed {
        /// The name of the other rule, of several the first.
        by: String,
    },
    /// The past may be written where it and another rule hold at once, and for some of that there are no words: there the
    /// past may not be written.
    PastUnsaid {
        /// The name of the other rule, of several the first.
        with: String,
    },
    /// Who has everything that rules ask for cannot be given a permission set, and would be refused: it is too large. It is
    /// told of each rule that the set is made of, of the first such set.
    MayBeTooLarge,
}

impl Table {
    /// What is odd about the rules, in their order. A rule is compared with each of the others, and not with several of
    /// them together. Names that nobody knows (of roles, tenants, types) are not found: who knows them must compare.
    #[must_use]
    pub fn lint(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (at, line) in self.lines().iter().enumerate() {
            warnings.extend(
                self.never(line)
                    .map(|why| warning(line, Oddity::NeverMatches, why)),
            );
            warnings.extend(self.shadow(at, line));
            warnings.extend(self.unsaid(line));
        }
        warnings.extend(self.too_large_sets());
        warnings
    }

    fn never(&self, line: &Line) -> Option<String> {
        let ids = line.grant.ids.as_ref();
        if ids.is_some_and(|ids| {
            ids.exact.is_empty() && ids.patterns.iter().all(|one| is_in_no_uri(one.literals()))
        }) {
            return Some(
                "its patterns are found in no id, for an id is a URI, which begins with a letter".to_owned(),
            );
        }
        let is_allowed = |other: &Line| {
            other.effect == Effect::Allow
                && line.operations.meet(other.operations)
                && may_meet(&line.holders, &other.holders)
                && share_a_tenant(line, other)
        };
        let is_idle = line.effect == Effect::Deny && !self.lines().iter().any(is_allowed);
        is_idle.then(|| "it denies what no rule allows".to_owned())
    }

    fn shadow(&self, at: usize, line: &Line) -> Option<Warning> {
        let mut others = self.lines().iter().enumerate();
        let (_, by) = others.find(|(place, other)| {
            // Of two rules that say the same the later one is in the shadow.
            let comes_after = !line.is_within(other) || *place < at;
            *place != at && other.hides(line) && (comes_after || !line.hides(other))
        })?;
        let name = &by.name;
        let why = match (line.effect, by.effect) {
            (Effect::Allow, Effect::Deny) => format!("{name:?} denies all that it allows"),
            (Effect::Allow, Effect::Allow) => format!("{name:?} allows all that it allows"),
            (Effect::Deny, _) => format!("{name:?} denies all that it denies"),
        };
        Some(warning(line, Oddity::Shadowed { by: name.to_string() }, why))
    }

    /// Of a rule about `Temporal`: the first rule about writing with which it has more in common than can be said.
    fn unsaid(&self, line: &Line) -> Option<Warning> {
        if line.effect == Effect::Deny || !line.operations.has(Operation::Temporal) {
            return None;
        }
        let is_unsaid = |other: &&Line| {
            other.effect == Effect::Allow
                && WRITES.iter().any(|write| other.operations.has(*write))
                && share_a_tenant(line, other)
                && may_meet(&line.holders, &other.holders)
                && common(&other.grant, &line.grant).is_less
        };
        let with = self.lines().iter().find(is_unsaid)?.name.to_string();
        let why = format!(
            "the past may be written where it and {with:?} hold at once; of an entity that is in both by different types, \
             scopes, areas or patterns that cannot be said, so its past may not be written"
        );
        Some(warning(line, Oddity::PastUnsaid { with }, why))
    }

    /// The first set that is too large of somebody who has all roles, groups, claims and clients at once, or who is
    /// anonymous.
    fn too_large_sets(&self) -> Vec<Warning> {
        // Of all tenants that no rule names each is like any other.
        let tenants: BTreeSet<Option<&str>> = self.tenants().map(Some).chain([None]).collect();
        let people = [of_anybody_known as fn(&Holder) -> bool, of_anonymous];
        let sets = people.iter().flat_map(|is_meant| {
            let rules = tenants.iter().map(|tenant| self.rules_of(*is_meant, *tenant));
            rules.map(|rules| self.set(rules)).collect::<Vec<_>>()
        });
        let mut seen = HashSet::new();
        let mut sets = sets.filter(|set| seen.insert(set.clone()));
        let Some(fault) = sets.find_map(|set| self.too_large_set(&set)) else {
            return Vec::new();
        };
        let why = format!(
            "who is given all that the rules ask for is refused: {}",
            fault.what
        );
        let warnings = fault.rules.into_iter().map(|rule| Warning {
            rule,
            kind: Oddity::MayBeTooLarge,
            why: why.clone(),
        });
        warnings.collect()
    }

    fn too_large_set(&self, set: &RuleSet) -> Option<TooLarge> {
        let mut purposes = Purpose::ALL.into_iter();
        purposes.find_map(|purpose| self.narrow(set, purpose).err())
    }

    fn rules_of(&self, is_meant: fn(&Holder) -> bool, tenant: Option<&str>) -> Bits {
        let mut rules = Bits::none(self.lines().len());
        for (at, line) in self.lines().iter().enumerate() {
            let is_here = |names: &BTreeSet<Box<str>>| tenant.is_some_and(|name| names.contains(name));
            if line.holders.iter().any(is_meant) && line.tenants.as_ref().is_none_or(is_here) {
                rules.add(at);
            }
        }
        rules
    }
}

const WRITES: [Operation; 3] = [Operation::Create, Operation::Update, Operation::Delete];

impl Line {
    /// Whether it makes another rule say nothing: whoever and whatever that one speaks of, it speaks of too.
    fn hides(&self, other: &Self) -> bool {
        // Without its attributes an entity that is allowed is still there.
        let denies_all = self.effect == Effect::Deny && self.grant.is_of_entity();
        (self.effect == other.effect || denies_all) && other.is_within(self)
    }

    /// Whether another rule speaks of all that it speaks of, whatever it says of it.
    fn is_within(&self, other: &Self) -> bool {
        let tenants = match (&self.tenants, &other.tenants) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(these), Some(others)) => these.is_subset(others),
        };
        tenants
            && other.operations.have(self.operations)
            && self.holders.iter().all(|holder| is_among(holder, &other.holders))
            && other.grant.covers(&self.grant)
    }
}

/// Whether who is meant by a holder is meant by one of these.
fn is_among(holder: &Holder, these: &[Holder]) -> bool {
    these.contains(holder) || (of_anybody_known(holder) && these.contains(&Holder::Authenticated))
}

/// Whether somebody can be meant by one of each.
fn may_meet(these: &[Holder], others: &[Holder]) -> bool {
    let both = |is_meant: fn(&Holder) -> bool| these.iter().any(is_meant) && others.iter().any(is_meant);
    both(of_anonymous) || both(of_anybody_known)
}

fn of_anonymous(holder: &Holder) -> bool {
    *holder == Holder::Anonymous
}

fn of_anybody_known(holder: &Holder) -> bool {
    !of_anonymous(holder)
}

fn share_a_tenant(one: &Line, other: &Line) -> bool {
    match (&one.tenants, &other.tenants) {
        (Some(these), Some(others)) => !these.is_disjoint(others),
        _ => true,
    }
}

/// Whether pieces that must all be in a text are in no URI.
fn is_in_no_uri<'p>(mut pieces: impl Iterator<Item = &'p str>) -> bool {
    pieces.any(|piece| {
        let begins_wrong = piece
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.chars().next())
            .is_some_and(|first| !first.is_ascii_alphabetic());
        let is_foreign = |letter: char| letter.is_whitespace() || "<>\"{}|\\^`".contains(letter);
        begins_wrong || piece.contains(is_foreign)
    })
}

fn warning(line: &Line, kind: Oddity, why: String) -> Warning {
    Warning {
        rule: line.name.to_string(),
        kind,
        why,
    }
}
