//! Entities that others link to (clause 4.5.23): which of them are still to be read, and where they stand in an answer.
//!
//! Nothing here holds entities. What links to others is written as text at once, with a note of each place where a
//! linked entity belongs; linked entities are written in the same way, level by level; at the end the texts are put
//! into each other. So an answer takes the memory of its text, not that of its graph.

use crate::model::json::{Json, write_string};
use crate::model::view::join::{Form, Join};
use crate::model::view::projection::Shown;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// How many linked entities one answer may have, each counted once.
pub const MAX_LINKED: usize = 5000;
/// How many places for them one answer may have, and how many bytes each takes beside its id.
const MAX_PLACES: usize = 50_000;
const WEIGHT_OF_PLACE: usize = 100;

/// Is told of each relationship of an entity when it is written.
pub trait Links {
    /// Called in the order of the places.
    fn link(&mut self, link: &Link<'_>);
}

/// For whom linked entities do not matter.
pub struct Unlinked;

impl Links for Unlinked {
    fn link(&mut self, _: &Link<'_>) {}
}

/// A relationship that is shown.
pub struct Link<'l> {
    /// Its IRI.
    pub relationship: &'l str,
    /// URIs of what it leads to.
    pub targets: &'l [Json],
    /// Where that may be shown as well.
    pub place: Place,
}

/// Where linked entities belong in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// As a member more, at this position.
    Beside {
        /// The position, in bytes.
        at: usize,
        /// The name of the member.
        member: &'static str,
        /// Whether it is an array.
        several: bool,
    },
    /// In place of the URI that stands there.
    Instead(Range<usize>),
}

/// A place that linked entities may fill.
struct Hole<'s> {
    place: Place,
    /// The entity whose relationship it is.
    holder: Arc<str>,
    targets: Vec<String>,
    shown: Shown<'s>,
}

/// A text with places for linked entities, in order.
#[derive(Default)]
struct Fragment<'s> {
    text: String,
    holes: Vec<Hole<'s>>,
}

/// The linked entities of one answer.
pub struct Linked<'s> {
    join: &'s Join,
    /// What was asked for already, and what is shown of it.
    known: HashMap<String, Vec<Shown<'s>>>,
    /// What is being read.
    current: BTreeMap<String, Vec<Shown<'s>>>,
    /// What is to be read next.
    next: BTreeMap<String, Vec<Shown<'s>>>,
    /// Whether entities that are written now may link to others that are shown.
    goes_on: bool,
    level: usize,
    /// Places in the text of those that were asked for; where linked entities stand inside of them.
    holes: Vec<Hole<'s>>,
    /// Linked entities, where they stand inside of others.
    fragments: HashMap<String, Vec<(Shown<'s>, Fragment<'s>)>>,
    /// How many linked entities there are, places for them, and bytes that all of that takes.
    number: usize,
    places: usize,
    size: usize,
    too_many: bool,
}

impl<'s> Linked<'s> {
    /// Of an answer to this wish.
    #[must_use]
    pub fn new(join: &'s Join) -> Self {
        Self {
            join,
            known: HashMap::new(),
            current: BTreeMap::new(),
            next: BTreeMap::new(),
            goes_on: true,
            level: 0,
            holes: Vec::new(),
            fragments: HashMap::new(),
            number: 0,
            places: 0,
            size: 0,
            too_many: false,
        }
    }

    /// Where they stand.
    #[must_use]
    pub fn form(&self) -> Form {
        self.join.form
    }

    /// Whether there are more of them than one answer may have.
    #[must_use]
    pub fn are_too_many(&self) -> bool {
        self.too_many
    }

    /// How many bytes it holds, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes note that an entity is in the answer because it was asked for.
    pub fn has(&mut self, id: &str) {
        if self.join.form == Form::Flat {
            // It is not shown again.
            self.number -= usize::from(self.next.remove(id).is_some());
            self.known.insert(id.to_owned(), Vec::new());
        }
    }

    /// Who is to be told of the links of an entity.
    pub fn links_of<'c>(&'c mut self, id: &str, shown: &'c [Shown<'s>]) -> Collector<'c, 's> {
        Collector {
            holder: Arc::from(id),
            shown,
            holes: Vec::new(),
            linked: self,
        }
    }

    /// Goes on to the next level; gives the ids to read, none at the end.
    pub fn next_level(&mut self) -> Vec<String> {
        for (id, shown) in std::mem::take(&mut self.current) {
            self.known.entry(id).or_default().extend(shown);
        }
        if self.level == self.join.levels || self.too_many {
            return Vec::new();
        }
        self.level += 1;
        self.goes_on = self.level < self.join.levels;
        self.current = std::mem::take(&mut self.next);
        self.current.keys().cloned().collect()
    }

    /// What is shown of a linked entity of this level, once for each text that is needed.
    #[must_use]
    pub fn shown_of(&self, id: &str) -> Vec<Vec<Shown<'s>>> {
        let shown = self.current.get(id).cloned().unwrap_or_default();
        match self.join.form {
            Form::Flat if shown.is_empty() => Vec::new(),
            Form::Flat => vec![shown],
            Form::Inline => shown.into_iter().map(|one| vec![one]).collect(),
        }
    }

    fn want(&mut self, id: &str, shown: &[Shown<'s>]) {
        let known = [self.known.get(id), self.current.get(id)];
        let is_known = known.iter().any(Option::is_some);
        if self.join.form == Form::Flat && is_known {
            return;
        }
        let known: Vec<Shown<'s>> = known.into_iter().flatten().flatten().copied().collect();
        let mut missing = shown.iter().filter(|shown| !known.contains(shown)).peekable();
        if missing.peek().is_none() {
            return;
        }
        self.number += usize::from(!is_known && !self.next.contains_key(id));
        let next = self.next.entry(id.to_owned()).or_default();
        for shown in missing {
            if !next.contains(shown) {
                next.push(*shown);
            }
        }
        self.too_many |= self.number > MAX_LINKED;
    }

    /// Whether anything is to be put into the text of those that were asked for.
    #[must_use]
    pub fn fills(&self) -> bool {
        !self.fragments.is_empty() && !self.holes.is_empty()
    }

    /// Gives the text of those that were asked for with all linked entities in their places, piece by piece, until
    /// `take` says false. An entity is never put inside of itself.
    pub fn filled(&self, text: &str, take: &mut dyn FnMut(&str) -> bool) -> bool {
        self.fill(text, &self.holes, self.join.levels, &mut Vec::new(), take)
    }

    fn fill<'f>(
        &'f self,
        text: &str,
        holes: &'f [Hole<'s>],
        levels: usize,
        path: &mut Vec<&'f str>,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        let mut done = 0;
        for hole in holes {
            path.push(&hole.holder);
            let found: Vec<&Fragment<'s>> = if levels == 0 {
                Vec::new()
            } else {
                let targets = hole.targets.iter().filter(|id| !path.contains(&id.as_str()));
                targets.filter_map(|id| self.fragment(id, hole.shown)).collect()
            };
            let whole = found.is_empty() || {
                let (start, end) = match &hole.place {
                    Place::Beside { at, .. } => (*at, *at),
                    Place::Instead(range) => (range.start, range.end),
                };
                let before = take(text.get(done..start).unwrap_or_default());
                done = end;
                before && self.fill_one(hole, &found, levels - 1, path, take)
            };
            path.pop();
            if !whole {
                return false;
            }
        }
        take(text.get(done..).unwrap_or_default())
    }

    fn fill_one<'f>(
        &'f self,
        hole: &Hole<'s>,
        found: &[&'f Fragment<'s>],
        levels: usize,
        path: &mut Vec<&'f str>,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        let (mut before, mut after) = (String::new(), "");
        if let Place::Beside { member, several, .. } = &hole.place {
            before.push(',');
            write_string(&mut before, member);
            before.push(':');
            if *several {
                before.push('[');
                after = "]";
            }
        }
        let mut whole = take(&before);
        for (n, fragment) in found.iter().enumerate() {
            whole = whole
                && (n == 0 || take(","))
                && self.fill(&fragment.text, &fragment.holes, levels, path, take);
        }
        whole && take(after)
    }

    fn fragment(&self, id: &str, shown: Shown<'s>) -> Option<&Fragment<'s>> {
        let fragments = self.fragments.get(id)?;
        let found = fragments.iter().find(|(of, _)| *of == shown);
        found.map(|(_, fragment)| fragment)
    }
}

/// Is told of the links of one entity.
pub struct Collector<'c, 's> {
    holder: Arc<str>,
    shown: &'c [Shown<'s>],
    holes: Vec<Hole<'s>>,
    linked: &'c mut Linked<'s>,
}

impl Collector<'_, '_> {
    /// Keeps the places of an entity that was asked for; the text is kept by who wrote it.
    pub fn keep_places(self) {
        self.linked.holes.extend(self.holes);
    }

    /// Keeps a linked entity with its places, to be put inside of others.
    pub fn keep_text(self, text: String) {
        let Some(shown) = self.shown.first().copied() else {
            return;
        };
        self.linked.size += text.len();
        let fragments = self.linked.fragments.entry(self.holder.as_ref().to_owned());
        fragments.or_default().push((
            shown,
            Fragment {
                text,
                holes: self.holes,
            },
        ));
    }
}

impl Links for Collector<'_, '_> {
    fn link(&mut self, link: &Link<'_>) {
        if !self.linked.goes_on || self.linked.too_many {
            return;
        }
        let shown = self
            .shown
            .iter()
            .filter(|shown| shown.attribute(link.relationship));
        let beyond: Vec<_> = shown.map(|shown| shown.beyond(link.relationship)).collect();
        let Some(first) = beyond.first().copied() else {
            return;
        };
        let is_inline = self.linked.join.form == Form::Inline;
        let mut targets = Vec::new();
        for id in link.targets.iter().filter_map(Json::as_str) {
            if self.linked.too_many {
                return;
            }
            if self.linked.join.contained_by.contains(id) {
                continue;
            }
            self.linked.want(id, &beyond);
            if is_inline {
                self.linked.places += 1;
                self.linked.size += id.len() + WEIGHT_OF_PLACE;
                self.linked.too_many |= self.linked.places > MAX_PLACES;
                targets.push(id.to_owned());
            }
        }
        if !targets.is_empty() {
            self.holes.push(Hole {
                place: link.place.clone(),
                holder: Arc::clone(&self.holder),
                targets,
                shown: first,
            });
        }
    }
}

#[cfg(test)]
#[path = "linked_tests.rs"]
mod tests;
