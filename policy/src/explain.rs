//! Why something would be allowed: what each rule says of it, for people.

use crate::answer::Answer;
use crate::compile::Line;
use crate::decide::{Act, Decision};
use crate::facts::Facts;
use crate::grant;
use crate::lists::Need;
use crate::rule::{Effect, Operation};
use crate::subject::Subject;
use crate::table::Table;
use mim_grammar::pattern::Scratch;
use serde::Serialize;

/// A decision, and what each rule of the table says of it, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation<'t> {
    /// The decision.
    pub decision: Decision<'t>,
    /// What each rule says.
    pub rules: Vec<Told<'t>>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told<'t> {
    /// Its name.
    pub rule: &'t str,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whether it applies.
    pub applies: Applies,
}

/// Whether a rule applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Applies {
    /// It does: to these attributes of those that were asked for, and to the entity as such where it names none.
    Yes {
        /// IRIs.
        attributes: Vec<String>,
    },
    /// It does not, for this reason.
    No(Reason),
    /// It depends on this.
    Depends(Reason),
}

/// Why a rule does not apply, or what that depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// Who asks.
    Subjects,
    /// The tenant.
    Tenants,
    /// The act.
    Operations,
    /// The types of the entity.
    Types,
    /// Its id.
    Ids,
    /// Its scopes.
    Scopes,
    /// Where it is.
    Area,
    /// The attributes that are asked for.
    Attributes,
}

impl From<grant::Part> for Reason {
    fn from(part: grant::Part) -> Self {
        match part {
            grant::Part::Types => Self::Types,
            grant::Part::Ids => Self::Ids,
            grant::Part::Scopes => Self::Scopes,
            grant::Part::Area => Self::Area,
        }
    }
}

impl Table {
    /// Why an act would be allowed, denied or neither yet: [`Table::decide`], and what each rule says.
    #[must_use]
    pub fn explain(&self, subject: &Subject, tenant: &str, act: Act, facts: &Facts<'_>) -> Explanation<'_> {
        let rules = self.matching(subject, tenant);
        let mut scratch = Scratch::default();
        let told = self.lines().iter().enumerate().map(|(at, line)| Told {
            rule: &line.name,
            effect: line.effect,
            applies: match outside(line, rules.has(at), tenant, act) {
                Some(reason) => Applies::No(reason),
                None => inside(line, facts, &mut scratch),
            },
        });
        let told = told.collect();
        Explanation {
            decision: self.decide(&rules, act, facts),
            rules: told,
        }
    }
}

/// Why a rule is not asked about the entity at all.
fn outside(line: &Line, is_matching: bool, tenant: &str, act: Act) -> Option<Reason> {
    let is_of_act = match act.need() {
        Need::One(operation) => line.operations.has(operation),
        Need::OfPast(operation) => line.operations.has(operation) || line.operations.has(Operation::Temporal),
    };
    let is_of_tenant = line.tenants.as_ref().is_none_or(|names| names.contains(tenant));
    match (is_matching, is_of_tenant, is_of_act) {
        (_, false, _) => Some(Reason::Tenants),
        (false, ..) => Some(Reason::Subjects),
        (_, _, false) => Some(Reason::Operations),
        (true, true, true) => None,
    }
}

fn inside(line: &Line, facts: &Facts<'_>, scratch: &mut Scratch) -> Applies {
    let mut unknown = None;
    for (part, answer) in line.grant.parts(facts, scratch) {
        match answer {
            Answer::No => return Applies::No(part.into()),
            Answer::Unknown => unknown = unknown.or(Some(part.into())),
            Answer::Yes => {}
        }
    }
    let attributes = facts.attributes.iter().filter(|name| line.grant.has(name));
    let attributes: Vec<String> = attributes.map(|name| (*name).to_owned()).collect();
    if attributes.is_empty() && !facts.attributes.is_empty() {
        return Applies::No(Reason::Attributes);
    }
    unknown.map_or(Applies::Yes { attributes }, Applies::Depends)
}
