//! Which of many prepared selections an entity can be selected by: a few candidates, each of which is then asked.
//!
//! Every selection is kept where an entity must lead to be selected by it: at one of its ids, at a value that its query
//! asks for, at three letters that its pattern of ids has, in an order of numbers, or at its types and attributes,
//! whichever of these tells most ([`needs`]). So a write looks where its entity leads, however many selections there
//! are, and at those that ask for nothing in particular.

mod needs;

use crate::model::entity::{Entity, Instance};
use crate::model::json::Json;
use crate::model::number;
use crate::query::evaluate::Prepared;
use crate::query::index::needs::{Need, Number};
use crate::query::pattern::{BEGIN, END};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash, RandomState};

/// Selections by what an entity must be like to be selected. `K` says which selection it is.
#[derive(Clone, Debug)]
pub struct Index<K> {
    /// By the hash of what an entity must have. Two may share one: candidates are only that.
    places: HashMap<u64, Vec<K>>,
    /// By three bytes of an id: what more of it there must be, and which selection.
    pieces: HashMap<[u8; 3], Vec<(Box<str>, K)>>,
    /// By the hash of an attribute: by the least number, the greatest, and which selection.
    numbers: HashMap<u64, BTreeMap<Number, Vec<(Number, K)>>>,
    /// How many places there are for values of an attribute, by its hash.
    valued: HashMap<u64, usize>,
    /// Where each selection is kept.
    kept: HashMap<K, Vec<Place>>,
    hasher: RandomState,
}

/// Where a selection is kept.
#[derive(Clone, Copy, Debug)]
enum Place {
    Hash(u64),
    Value {
        attribute: u64,
        value: u64,
    },
    Piece([u8; 3]),
    Numbers {
        attribute: u64,
        least: Number,
        greatest: Number,
    },
}

/// What is hashed.
#[derive(Hash)]
enum Hashed<'a> {
    Id(&'a str),
    Attribute(&'a str),
    /// The attribute of this hash has the text, or the number of this hash.
    Text(u64, &'a str),
    Number(u64, u64),
    /// An entity of the type, or of any, has the attribute, or any.
    Has(Option<&'a str>, Option<&'a str>),
    /// The attribute of an entity of the type, or of any, was touched.
    Touched(Option<&'a str>, &'a str),
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            pieces: HashMap::new(),
            numbers: HashMap::new(),
            valued: HashMap::new(),
            kept: HashMap::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Copy + Ord + Hash> Index<K> {
    /// Keeps a selection, in place of the one that had this key. Where `watched` names attributes, by IRI, it is a
    /// candidate only for writes that touch one of them.
    pub fn insert(&mut self, key: K, selection: &Prepared, watched: &[String]) {
        self.remove(key);
        let needs = needs::of(selection, watched);
        let mut places: Vec<Place> = Vec::with_capacity(needs.len());
        for need in &needs {
            let place = self.place(need);
            places.push(place);
            match place {
                Place::Hash(place) => self.places.entry(place).or_default().push(key),
                Place::Value { attribute, value } => {
                    self.places.entry(value).or_default().push(key);
                    *self.valued.entry(attribute).or_default() += 1;
                }
                Place::Piece(piece) => {
                    if let Need::Piece(whole) = need {
                        self.pieces.entry(piece).or_default().push(((*whole).into(), key));
                    }
                }
                Place::Numbers {
                    attribute,
                    least,
                    greatest,
                } => {
                    let by_least = self.numbers.entry(attribute).or_default();
                    by_least.entry(least).or_default().push((greatest, key));
                }
            }
        }
        self.kept.insert(key, places);
    }

    /// Forgets a selection.
    pub fn remove(&mut self, key: K) {
        for place in self.kept.remove(&key).unwrap_or_default() {
            match place {
                Place::Hash(place) => forget(&mut self.places, &place, |other| *other == key),
                Place::Value { attribute, value } => {
                    forget(&mut self.places, &value, |other| *other == key);
                    let count = self.valued.entry(attribute).or_default();
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.valued.remove(&attribute);
                    }
                }
                Place::Piece(piece) => forget(&mut self.pieces, &piece, |(_, other)| *other == key),
                Place::Numbers { attribute, least, .. } => self.forget_number(attribute, least, key),
            }
        }
    }

    fn forget_number(&mut self, attribute: u64, least: Number, key: K) {
        let Some(by_least) = self.numbers.get_mut(&attribute) else {
            return;
        };
        if let Some(all) = by_least.get_mut(&least) {
            all.retain(|(_, other)| *other != key);
            if all.is_empty() {
                by_least.remove(&least);
            }
        }
        if by_least.is_empty() {
            self.numbers.remove(&attribute);
        }
    }

    /// How many selections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Selections that may select the entity after a write that touched these attributes, by IRI: all that do are among
    /// them, each once, in the order of keys. Of an entity that is new or gone every attribute was touched; one that
    /// is not there any more is named among those touched.
    pub fn candidates<'t>(
        &self,
        entity: &Entity,
        touched: impl IntoIterator<Item = &'t str>,
    ) -> std::vec::IntoIter<K> {
        let mut found: Vec<K> = Vec::new();
        self.look(&mut found, &Hashed::Id(&entity.id));
        self.look_for_pieces(&mut found, &entity.id);
        let kinds = || entity.types.iter().map(|kind| Some(kind.as_str())).chain([None]);
        for kind in kinds() {
            self.look(&mut found, &Hashed::Has(kind, None));
        }
        for (iri, instances) in &entity.attributes {
            for kind in kinds() {
                self.look(&mut found, &Hashed::Has(kind, Some(iri)));
            }
            self.look_for_values(&mut found, iri, instances);
        }
        for iri in touched {
            for kind in kinds() {
                self.look(&mut found, &Hashed::Touched(kind, iri));
            }
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter()
    }

    fn hash(&self, hashed: &Hashed) -> u64 {
        self.hasher.hash_one(hashed)
    }

    fn hash_number(&self, attribute: u64, text: &str) -> u64 {
        let number = self.hasher.hash_one(number::Number::of(text));
        self.hash(&Hashed::Number(attribute, number))
    }

    fn place(&self, need: &Need) -> Place {
        match *need {
            Need::Id(id) => Place::Hash(self.hash(&Hashed::Id(id))),
            Need::Has(kind, attribute) => Place::Hash(self.hash(&Hashed::Has(kind, attribute))),
            Need::Touched(kind, attribute) => Place::Hash(self.hash(&Hashed::Touched(kind, attribute))),
            Need::Text(iri, text) => {
                let attribute = self.hash(&Hashed::Attribute(iri));
                let value = self.hash(&Hashed::Text(attribute, text));
                Place::Value { attribute, value }
            }
            Need::Number(iri, number) => {
                let attribute = self.hash(&Hashed::Attribute(iri));
                let value = self.hash_number(attribute, number);
                Place::Value { attribute, value }
            }
            Need::Between(iri, least, greatest) => Place::Numbers {
                attribute: self.hash(&Hashed::Attribute(iri)),
                least,
                greatest,
            },
            Need::Piece(literal) => Place::Piece(self.rarest_piece(literal)),
        }
    }

    /// The three bytes of a text at which the fewest selections are kept.
    fn rarest_piece(&self, literal: &str) -> [u8; 3] {
        let count = |piece: &[u8; 3]| self.pieces.get(piece).map_or(0, Vec::len);
        // Ids differ at their ends rather than at their begins.
        let pieces: Vec<_> = pieces(literal.bytes()).collect();
        pieces.into_iter().rev().min_by_key(count).unwrap_or_default()
    }

    fn look(&self, found: &mut Vec<K>, hashed: &Hashed) {
        if !self.places.is_empty() {
            found.extend(self.places.get(&self.hash(hashed)).into_iter().flatten());
        }
    }

    fn look_for_pieces(&self, found: &mut Vec<K>, id: &str) {
        if self.pieces.is_empty() {
            return;
        }
        let marked = format!("{BEGIN}{id}{END}");
        for piece in pieces(marked.bytes()) {
            let here = self.pieces.get(&piece).into_iter().flatten();
            let whole = here.filter(|(whole, _)| marked.contains(&**whole));
            found.extend(whole.map(|(_, key)| *key));
        }
    }

    /// Looks at the values of an attribute, where any selection asks for such.
    fn look_for_values(&self, found: &mut Vec<K>, iri: &str, instances: &[Instance]) {
        if self.valued.is_empty() && self.numbers.is_empty() {
            return;
        }
        let attribute = self.hash(&Hashed::Attribute(iri));
        if let Some(by_least) = self.numbers.get(&attribute) {
            let numbers = instances.iter().filter_map(|instance| match &instance.value {
                Json::Number(text) => Number::of(text),
                _ => None,
            });
            for number in numbers {
                let begun = by_least.range(..=number).flat_map(|(_, all)| all);
                found.extend(
                    begun
                        .filter(|(greatest, _)| *greatest >= number)
                        .map(|(_, key)| *key),
                );
            }
        }
        if self.valued.contains_key(&attribute) {
            for instance in instances {
                match &instance.value {
                    Json::Array(items) => items
                        .iter()
                        .for_each(|item| self.look_for_value(found, attribute, item)),
                    value => self.look_for_value(found, attribute, value.get("@value").unwrap_or(value)),
                }
            }
        }
    }

    fn look_for_value(&self, found: &mut Vec<K>, attribute: u64, value: &Json) {
        let hash = match value {
            Json::String(text) => self.hash(&Hashed::Text(attribute, text)),
            Json::Number(text) => self.hash_number(attribute, text),
            _ => return,
        };
        found.extend(self.places.get(&hash).into_iter().flatten());
    }
}

fn forget<P: Eq + Hash, T>(places: &mut HashMap<P, Vec<T>>, place: &P, is_it: impl Fn(&T) -> bool) {
    if let Some(all) = places.get_mut(place) {
        all.retain(|other| !is_it(other));
        if all.is_empty() {
            places.remove(place);
        }
    }
}

/// Every three bytes that follow each other.
fn pieces(bytes: impl Iterator<Item = u8> + Clone) -> impl Iterator<Item = [u8; 3]> {
    let (second, third) = (bytes.clone().skip(1), bytes.clone().skip(2));
    bytes.zip(second).zip(third).map(|((a, b), c)| [a, b, c])
}

#[cfg(test)]
mod tests;
