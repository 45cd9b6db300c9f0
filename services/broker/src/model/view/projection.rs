//! The attribute projection language (clause 4.21): `pick` and `omit`, and `attrs`, their older sister.
//!
//! `id,name,locatedAt{name,isInCountry{id}}`: members of an entity, and in braces those of the entities that a
//! relationship leads to. A comma and a `|` mean the same.

use crate::context::{Context, core_term};
use crate::model::read::expanded_name;
use crate::model::view::join::MAX_LEVELS;
use crate::model::{Refusal, refuse};
use std::collections::BTreeMap;

/// The longest list, in bytes, and how many names it may have.
const MAX_LENGTH: usize = 16 * 1024;
const MAX_NAMES: usize = 500;

/// A member of an entity that is no attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// `id`
    Id,
    /// `type`
    Type,
    /// `scope`
    Scope,
    /// `createdAt`
    CreatedAt,
    /// `modifiedAt`
    ModifiedAt,
}

impl Member {
    const ALL: [Self; 5] = [
        Self::Id,
        Self::Type,
        Self::Scope,
        Self::CreatedAt,
        Self::ModifiedAt,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Type => "type",
            Self::Scope => "scope",
            Self::CreatedAt => "createdAt",
            Self::ModifiedAt => "modifiedAt",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "id" | "@id" => Self::Id,
            "type" | "@type" => Self::Type,
            "scope" => Self::Scope,
            "createdAt" => Self::CreatedAt,
            "modifiedAt" => Self::ModifiedAt,
            _ => return None,
        })
    }
}

/// Some members of entities. Attributes are IRIs; beside a relationship may stand members of what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    own: Vec<Member>,
    attributes: BTreeMap<String, Option<Members>>,
}

impl Members {
    /// Everything that is no attribute, and these attributes.
    fn whole_with(attributes: &[String]) -> Self {
        Self {
            own: Member::ALL.to_vec(),
            attributes: attributes.iter().map(|iri| (iri.clone(), None)).collect(),
        }
    }

    /// How many levels of linked entities it has members of.
    #[must_use]
    pub fn depth(&self) -> usize {
        let of_linked = self.attributes.values().flatten();
        of_linked.map(|linked| 1 + linked.depth()).max().unwrap_or(0)
    }

    /// A name that both have: what is picked and omitted at once.
    fn common(&self, other: &Self) -> Option<String> {
        if let Some(member) = self.own.iter().find(|member| other.own.contains(member)) {
            return Some(member.name().to_owned());
        }
        self.attributes
            .iter()
            .find_map(|(iri, linked)| match (linked, other.attributes.get(iri)?) {
                (_, None) => Some(iri.clone()),
                (Some(linked), Some(other)) => linked.common(other),
                (None, Some(_)) => None,
            })
    }
}

/// Which members of entities a client wishes to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    pick: Option<Members>,
    omit: Option<Members>,
}

impl Projection {
    /// Puts `pick` and `omit` together, each the texts of one list. No name may stand in both.
    pub fn of(pick: Option<&[&str]>, omit: Option<&[&str]>, context: &Context) -> Result<Self, Refusal> {
        let read = |what, texts: Option<&[&str]>| texts.map(|texts| parse(what, texts, context)).transpose();
        let found = Self {
            pick: read("pick", pick)?,
            omit: read("omit", omit)?,
        };
        if let (Some(pick), Some(omit)) = (&found.pick, &found.omit)
            && let Some(name) = pick.common(omit)
        {
            return refuse(format!("{name} stands in pick and in omit"));
        }
        Ok(found)
    }

    /// All but attributes, and of these only some.
    #[must_use]
    pub fn of_attributes(attributes: &[String]) -> Self {
        Self {
            pick: Some(Members::whole_with(attributes)),
            omit: None,
        }
    }

    /// The attributes that alone are shown, and whether scopes are; `None`: nothing is picked.
    #[must_use]
    pub fn picked(&self) -> Option<(Vec<String>, bool)> {
        let pick = self.pick.as_ref()?;
        let attributes = pick.attributes.keys().cloned().collect();
        Some((attributes, pick.own.contains(&Member::Scope)))
    }

    /// The attributes that are left out, and whether scopes are.
    #[must_use]
    pub fn omitted(&self) -> (Vec<String>, bool) {
        let Some(omit) = &self.omit else {
            return (Vec::new(), false);
        };
        let whole = omit.attributes.iter().filter(|(_, linked)| linked.is_none());
        let attributes = whole.map(|(iri, _)| iri.clone()).collect();
        (attributes, omit.own.contains(&Member::Scope))
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.pick.is_none() && self.omit.is_none()
    }

    /// How many levels of linked entities it speaks of.
    #[must_use]
    pub fn depth(&self) -> usize {
        let both = self.pick.iter().chain(&self.omit);
        both.map(Members::depth).max().unwrap_or(0)
    }

    /// What is shown of the entities that were asked for.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        Shown {
            only: self.pick.as_ref(),
            without: self.omit.as_ref(),
        }
    }
}

/// What is shown of the entities at one place of the graph. By default everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown<'s> {
    only: Option<&'s Members>,
    without: Option<&'s Members>,
}

impl<'s> Shown<'s> {
    /// Whether a member that is no attribute is shown.
    #[must_use]
    pub fn member(&self, member: Member) -> bool {
        self.only.is_none_or(|only| only.own.contains(&member))
            && !self.without.is_some_and(|without| without.own.contains(&member))
    }

    /// Whether an attribute is shown.
    #[must_use]
    pub fn attribute(&self, iri: &str) -> bool {
        // What is left out of linked entities does not leave out the relationship.
        self.only.is_none_or(|only| only.attributes.contains_key(iri))
            && !self
                .without
                .is_some_and(|without| matches!(without.attributes.get(iri), Some(None)))
    }

    /// What is shown of the entities that a relationship of such an entity leads to.
    #[must_use]
    pub fn beyond(&self, relationship: &str) -> Shown<'s> {
        let linked = |members: &'s Members| members.attributes.get(relationship)?.as_ref();
        Shown {
            only: self.only.and_then(linked),
            without: self.without.and_then(linked),
        }
    }
}

/// Reads a comma list of names of attributes, as `attrs` has them: IRIs, without those of members that every entity
/// has.
pub fn attributes(names: &[&str], context: &Context) -> Result<Vec<String>, Refusal> {
    if names.len() > MAX_NAMES {
        return refuse(format!("attrs: more than {MAX_NAMES} names"));
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match Member::named(name) {
            Some(Member::Id | Member::Type | Member::Scope) => {
                return refuse(format!("attrs: {name} is no attribute; use pick"));
            }
            Some(Member::CreatedAt | Member::ModifiedAt) => {}
            None => found.push(named("attrs", context, name)?),
        }
    }
    Ok(found)
}

fn named(what: &str, context: &Context, name: &str) -> Result<String, Refusal> {
    expanded_name(context, name).map_err(|Refusal(why)| Refusal(format!("{what}: {why}")))
}

/// Reads one list, which may come in several texts.
fn parse(what: &'static str, texts: &[&str], context: &Context) -> Result<Members, Refusal> {
    if texts.iter().map(|text| text.len()).sum::<usize>() > MAX_LENGTH {
        return refuse(format!("{what}: longer than {MAX_LENGTH} bytes"));
    }
    let mut members = Members::default();
    let mut names = 0;
    for text in texts {
        let mut parser = Parser {
            what,
            rest: text,
            context,
            names,
        };
        parser.list(&mut members, 0)?;
        if !parser.rest.is_empty() {
            return parser.unexpected();
        }
        names = parser.names;
    }
    Ok(members)
}

struct Parser<'a> {
    what: &'static str,
    rest: &'a str,
    context: &'a Context,
    names: usize,
}

impl Parser<'_> {
    fn unexpected<T>(&self) -> Result<T, Refusal> {
        let found: String = self.rest.chars().take(20).collect();
        if found.is_empty() {
            refuse(format!("{}: ends too early", self.what))
        } else {
            refuse(format!("{}: unexpected {found:?}", self.what))
        }
    }

    fn eat(&mut self, letters: &[char]) -> bool {
        match self.rest.strip_prefix(letters) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn list(&mut self, members: &mut Members, depth: usize) -> Result<(), Refusal> {
        loop {
            self.term(members, depth)?;
            if !self.eat(&[',', '|']) {
                return Ok(());
            }
        }
    }

    fn term(&mut self, members: &mut Members, depth: usize) -> Result<(), Refusal> {
        let end = self.rest.find([',', '|', '{', '}']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return self.unexpected();
        }
        self.rest = rest;
        self.names += 1;
        if self.names > MAX_NAMES {
            return refuse(format!("{}: more than {MAX_NAMES} names", self.what));
        }
        let iri = match Member::named(name) {
            Some(member) => return self.own(members, member, name),
            None => named(self.what, self.context, name)?,
        };
        if let Some(member) = core_term(&iri).and_then(Member::named) {
            return self.own(members, member, name);
        }
        let linked = if self.eat(&['{']) {
            Some(self.linked(depth + 1)?)
        } else {
            None
        };
        if members.attributes.insert(iri, linked).is_some() {
            return refuse(format!("{}: {name} is there twice", self.what));
        }
        Ok(())
    }

    fn own(&self, members: &mut Members, member: Member, name: &str) -> Result<(), Refusal> {
        if self.rest.starts_with('{') {
            return self.unexpected();
        }
        if members.own.contains(&member) {
            return refuse(format!("{}: {name} is there twice", self.what));
        }
        members.own.push(member);
        Ok(())
    }

    /// What stands in braces, the first of which is read.
    fn linked(&mut self, depth: usize) -> Result<Members, Refusal> {
        if depth > MAX_LEVELS {
            return refuse(format!("{}: braces deeper than {MAX_LEVELS} levels", self.what));
        }
        let mut linked = Members::default();
        self.list(&mut linked, depth)?;
        if self.eat(&['}']) {
            Ok(linked)
        } else {
            self.unexpected()
        }
    }
}

#[cfg(test)]
#[path = "projection_tests.rs"]
mod tests;
