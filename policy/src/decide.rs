//! Whether something may be done, as far as that is known before the broker looks.

use crate::answer::Answer;
use crate::facts::{Extent, Facts};
use crate::grant::Grant;
use crate::lists::{Lists, Need, Placed};
use crate::narrow::Purpose;
use crate::rule::Operation;
use crate::table::{RuleSet, Table};
use mim_grammar::pattern::Scratch;
use serde::Serialize;
use std::borrow::Cow;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Act {
    /// Sees entities, types or attributes: needs `Read`.
    Read,
    /// Makes an entity: needs `Create`.
    Create,
    /// Changes an entity: needs `Update`.
    Update,
    /// Deletes an entity: needs `Delete`.
    Delete,
    /// Sees the past: needs `Temporal`.
    ReadPast,
    /// Begins the past of an entity: needs `Temporal` and `Create`.
    CreatePast,
    /// Writes the past of an entity: needs `Temporal` and `Update`.
    UpdatePast,
    /// Has the past of an entity forgotten: needs `Temporal` and `Delete`.
    DeletePast,
    /// Subscribes, and sees and changes its own subscriptions: needs `Subscribe`.
    Subscribe,
    /// Sees or changes what belongs to others or to nobody: needs `Admin`. Facts do not matter.
    Administer,
}

impl Act {
    pub(crate) fn need(self) -> Need {
        match self {
            Self::Read => Need::One(Operation::Read),
            Self::Create => Need::One(Operation::Create),
            Self::Update => Need::One(Operation::Update),
            Self::Delete => Need::One(Operation::Delete),
            Self::ReadPast => Need::One(Operation::Temporal),
            Self::CreatePast => Need::OfPast(Operation::Create),
            Self::UpdatePast => Need::OfPast(Operation::Update),
            Self::DeletePast => Need::OfPast(Operation::Delete),
            Self::Subscribe => Need::One(Operation::Subscribe),
            Self::Administer => Need::One(Operation::Admin),
        }
    }

    /// Which permission set the broker is to be given with it.
    #[must_use]
    pub fn purpose(self) -> Purpose {
        match self {
            Self::Read | Self::Create | Self::Update | Self::Delete => Purpose::Entities,
            Self::ReadPast | Self::CreatePast | Self::UpdatePast | Self::DeletePast => Purpose::Past,
            Self::Subscribe | Self::Administer => Purpose::Subscriptions,
        }
    }
}

/// What was decided, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision<'t> {
    /// What.
    pub verdict: Verdict,
    /// The first rule that made it so; none: no rule allows it, or more than the rules must be known.
    pub rule: Option<&'t str>,
}

/// Whether something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It may, whatever else comes to be known.
    Allowed,
    /// It may not, whatever else comes to be known.
    Denied,
    /// It depends on what is not known: who knows all of it (the broker, of its permission set) decides. Where nobody does,
    /// it is not allowed.
    Depends,
}

impl Table {
    /// Whether an act is allowed. It is allowed of everything that the facts speak of, or not: of a query, whose answer is
    /// narrowed, ask whether its attributes may be seen at all.
    #[must_use]
    pub fn decide(&self, rules: &RuleSet, act: Act, facts: &Facts<'_>) -> Decision<'_> {
        if act == Act::Administer {
            return self.administration(rules);
        }
        let asked = Asked::of(self.lists(rules, act.need()), facts);
        let (verdict, by) = match asked.answer(facts) {
            Answer::No => (Verdict::Denied, asked.denier(facts)),
            Answer::Yes => (Verdict::Allowed, asked.allower(facts)),
            Answer::Unknown => (Verdict::Depends, asked.doubt(facts)),
        };
        Decision {
            verdict,
            rule: by.map(|at| self.name(at)),
        }
    }

    fn administration(&self, rules: &RuleSet) -> Decision<'_> {
        let lists = self.lists(rules, Need::One(Operation::Admin));
        let first = |list: &[Placed<'_>]| list.first().map(|(at, _)| self.name(*at));
        let (allow, deny) = (first(&lists.allow), first(&lists.deny));
        match (allow, deny) {
            (_, Some(_)) | (None, None) => Decision {
                verdict: Verdict::Denied,
                rule: deny,
            },
            (Some(_), None) => Decision {
                verdict: Verdict::Allowed,
                rule: allow,
            },
        }
    }
}

/// A grant of a rule that has been asked whether it selects the entity.
struct Given<'t> {
    at: usize,
    grant: Cow<'t, Grant>,
    selects: Answer,
}

/// The grants that may select the entity.
struct Asked<'t> {
    allow: Vec<Given<'t>>,
    deny: Vec<Given<'t>>,
}

impl<'t> Asked<'t> {
    fn of(lists: Lists<'t>, facts: &Facts<'_>) -> Self {
        let mut scratch = Scratch::default();
        let mut ask = |list: Vec<Placed<'t>>| -> Vec<Given<'t>> {
            let given = list.into_iter().map(|(at, grant)| Given {
                at,
                selects: grant.selects(facts, &mut scratch),
                grant,
            });
            given.filter(|given| given.selects != Answer::No).collect()
        };
        let allow = if lists.is_too_much {
            Vec::new()
        } else {
            ask(lists.allow)
        };
        Self {
            allow,
            deny: ask(lists.deny),
        }
    }

    fn answer(&self, facts: &Facts<'_>) -> Answer {
        let attributes = || Answer::all(facts.attributes.iter().map(|name| self.attribute(name)));
        let extent = || match facts.extent {
            Extent::Parts => Answer::Yes,
            Extent::AsSuch => self.allowed(Grant::is_of_entity),
            Extent::Whole => self.whole(),
        };
        self.is_there().and(extent).and(attributes)
    }

    /// Whether the entity as such is there.
    fn is_there(&self) -> Answer {
        self.allowed(|_| true)
    }

    /// Whether some grant like this allows the entity, and none denies it as such.
    fn allowed(&self, is_like: impl Fn(&Grant) -> bool) -> Answer {
        any(&self.allow, is_like).and(|| any(&self.deny, Grant::is_of_entity).not())
    }

    fn attribute(&self, name: &str) -> Answer {
        any(&self.allow, |grant| grant.has(name)).and(|| any(&self.deny, |grant| grant.has(name)).not())
    }

    /// Whether all attributes of the entity are allowed, whichever it has. It may have none that is not.
    fn whole(&self) -> Answer {
        let surely = any(&self.allow, Grant::is_of_entity).and(|| any(&self.deny, |_| true).not());
        if surely == Answer::Yes {
            surely
        } else {
            Answer::Unknown
        }
    }

    /// The denial that decides; none: nothing allows it.
    fn denier(&self, facts: &Facts<'_>) -> Option<usize> {
        let hits =
            |grant: &Grant| grant.is_of_entity() || facts.attributes.iter().any(|name| grant.has(name));
        let denies = |given: &&Given<'_>| given.selects == Answer::Yes && hits(&given.grant);
        self.deny.iter().find(denies).map(|given| given.at)
    }

    /// The allowance that decides; of several that do so together the first.
    fn allower(&self, facts: &Facts<'_>) -> Option<usize> {
        let sure = || self.allow.iter().filter(|given| given.selects == Answer::Yes);
        let alone = sure().find(|given| facts.attributes.iter().all(|name| given.grant.has(name)));
        let first = || sure().find(|given| given.is_about(facts));
        alone.or_else(first).map(|given| given.at)
    }

    /// The rule that it depends on.
    fn doubt(&self, facts: &Facts<'_>) -> Option<usize> {
        let doubtful = |given: &&Given<'_>| given.selects == Answer::Unknown && given.is_about(facts);
        let first = |list: &[Given<'_>]| list.iter().find(doubtful).map(|given| given.at);
        first(&self.deny).or_else(|| first(&self.allow))
    }
}

impl Given<'_> {
    /// Whether it says anything of what is asked.
    fn is_about(&self, facts: &Facts<'_>) -> bool {
        let asks_nothing = facts.attributes.is_empty() && self.grant.attributes.is_some();
        self.grant.is_of_entity() || asks_nothing || facts.attributes.iter().any(|name| self.grant.has(name))
    }
}

fn any(several: &[Given<'_>], is_like: impl Fn(&Grant) -> bool) -> Answer {
    let like = several.iter().filter(|given| is_like(&given.grant));
    Answer::any(like.map(|given| given.selects))
}
