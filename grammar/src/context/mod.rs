//! What names mean: @context documents, compiled once and then only looked up.
//!
//! * [`core`]: the core context, as data;
//! * [`compile`]: from @context documents to a [`Context`];
//! * [`terms`]: texts with names in them, that mean the same later.
//!
//! Where documents come from is the business of who has them.

pub mod compile;
pub mod core;
mod prefixes;
pub mod terms;

use crate::context::prefixes::Prefixes;
use crate::names::is_name;
use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Why documents are no context that NGSI-LD allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

struct Core {
    iris: HashMap<&'static str, String>,
    terms: HashMap<String, &'static str>,
}

static CORE: LazyLock<Core> = LazyLock::new(|| Core {
    iris: core::terms().collect(),
    terms: core::terms().map(|(term, iri)| (iri, term)).collect(),
});

/// What a link to a context is called.
pub const RELATION: &str = "http://www.w3.org/ns/json-ld#context";

/// The meaning of a core term.
pub fn core_iri(term: &str) -> Option<&'static str> {
    CORE.iris.get(term).map(String::as_str)
}

/// The core term that stands for this IRI.
#[must_use]
pub fn core_term(iri: &str) -> Option<&'static str> {
    CORE.terms.get(iri).copied()
}

/// Names that have their meaning from JSON-LD itself, whatever a context says of them.
#[must_use]
pub fn keeps_its_name(member: &str) -> bool {
    member.starts_with('@') || matches!(member, "type" | "id")
}

/// Something that is only held.
struct Held(#[expect(dead_code, reason = "what counts is when it is dropped")] Box<dyn Any + Send + Sync>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The terms a client gave, on top of which the core terms always win (clause 5.5.7).
#[derive(Debug, Default)]
pub struct Context {
    iris: HashMap<String, String>,
    /// The best term of each IRI.
    terms: HashMap<String, String>,
    /// Terms that may stand before a colon.
    prefixes: Prefixes,
    /// What is told to the client: the URL it gave; `None` for the core context.
    link: Option<String>,
    /// See [`Context::longest`].
    longest: usize,
    /// What is let go with it.
    held: Option<Held>,
}

impl Context {
    /// The core context alone.
    #[must_use]
    pub fn core() -> Arc<Self> {
        static ALONE: LazyLock<Arc<Context>> =
            LazyLock::new(|| Arc::new(Context::new(HashMap::new(), [], None)));
        Arc::clone(&ALONE)
    }

    /// Makes a context of resolved terms. `prefixes` names those terms that may stand before a colon.
    #[must_use]
    pub fn new<'p>(
        iris: HashMap<String, String>,
        prefixes: impl IntoIterator<Item = &'p String>,
        link: Option<String>,
    ) -> Self {
        let iris: HashMap<_, _> = iris
            .into_iter()
            .filter(|(term, _)| core_iri(term).is_none() && !keeps_its_name(term))
            .collect();
        let mut terms: HashMap<String, String> = HashMap::with_capacity(iris.len());
        for (term, iri) in iris.iter().filter(|(term, iri)| shortens(term, iri)) {
            let best = terms.entry(iri.clone()).or_insert_with(|| term.clone());
            if (term.len(), term) < (best.len(), &*best) {
                best.clone_from(term);
            }
        }
        let prefixes = prefixes
            .into_iter()
            .filter(|name| is_usable_prefix(name))
            .filter_map(|name| Some((name.clone(), iris.get(name)?.clone())))
            .filter(|(name, iri)| shortens(name, iri));
        let of_core = core::PREFIXES.map(|(name, iri)| (name.to_owned(), iri.to_owned()));
        let prefixes = Prefixes::new(prefixes.chain(of_core).collect());
        let longest = iris.values().map(String::len).max().unwrap_or_default();
        Self {
            iris,
            terms,
            prefixes,
            link,
            longest: longest.max(core::DEFAULT_VOCABULARY.len()),
            held: None,
        }
    }

    /// Holds something, as the room that it takes, for as long as anybody has the context.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send + Sync) -> Self {
        self.held = Some(Held(Box::new(held)));
        self
    }

    /// How many bytes of memory it takes, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        // Term and IRI are there twice, each with what a map and an allocation add.
        const OF_TERM: usize = 250;
        let terms: usize = self
            .iris
            .iter()
            .map(|(term, iri)| 2 * (term.len() + iri.len()) + OF_TERM)
            .sum();
        terms + self.prefixes.weight() + self.link().len()
    }

    /// The length in bytes of the longest IRI that a term or the default vocabulary gives to a name, but for the
    /// name's own length.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The URL that tells a client which context its answer uses.
    #[must_use]
    pub fn link(&self) -> &str {
        self.link.as_deref().unwrap_or(core::CORE_URL)
    }

    /// The Link header that tells which context names are told in (clause 6.3.6).
    #[must_use]
    pub fn link_header(&self) -> String {
        format!(
            "<{}>; rel=\"{RELATION}\"; type=\"application/ld+json\"",
            self.link()
        )
    }

    /// The URL of the context that the client gave; `None`: none, or one without a URL.
    #[must_use]
    pub fn given_link(&self) -> Option<&str> {
        self.link.as_deref()
    }

    /// The IRI of a name of a type, an attribute or a member of a value.
    #[must_use]
    pub fn expand<'a>(&'a self, name: &'a str) -> Cow<'a, str> {
        if let Some(iri) = core_iri(name).or_else(|| self.iris.get(name).map(String::as_str)) {
            return Cow::Borrowed(iri);
        }
        if let Some((prefix, rest)) = name.split_once(':') {
            if !rest.starts_with("//")
                && let Some(iri) = self.prefix(prefix)
            {
                return Cow::Owned(format!("{iri}{rest}"));
            }
            return Cow::Borrowed(name);
        }
        Cow::Owned(format!("{}{name}", core::DEFAULT_VOCABULARY))
    }

    fn prefix(&self, name: &str) -> Option<&str> {
        if !is_usable_prefix(name) {
            return None;
        }
        let of_core = core::PREFIXES
            .iter()
            .find(|(p, _)| *p == name)
            .map(|(_, iri)| *iri);
        of_core.or_else(|| self.iris.get(name).map(String::as_str))
    }

    /// Whether the IRI, read as a name in this context, would mean another one: `ex:a` where `ex` is a prefix.
    #[must_use]
    pub fn is_misread(&self, iri: &str) -> bool {
        self.expand(iri) != iri
    }

    /// The shortest name that means this IRI in this context: its term; else what follows the default vocabulary,
    /// where that means nothing else; else a compact IRI; else the IRI itself.
    #[must_use]
    pub fn compact<'a>(&'a self, iri: &'a str) -> Cow<'a, str> {
        if let Some(term) = core_term(iri) {
            return Cow::Borrowed(term);
        }
        if let Some(term) = self.terms.get(iri) {
            return Cow::Borrowed(term);
        }
        if let Some(name) = iri.strip_prefix(core::DEFAULT_VOCABULARY)
            && self.expand(name) == iri
            && !keeps_its_name(name)
        {
            return Cow::Borrowed(name);
        }
        for (prefix, rest) in self.prefixes.of(iri) {
            let compact = format!("{prefix}:{rest}");
            if self.expand(&compact) == iri {
                return Cow::Owned(compact);
            }
        }
        Cow::Borrowed(iri)
    }

    /// What a type or an attribute is called: as [`Context::compact`] says where a client may send that back as a name, or
    /// else the IRI, as of `a-b` in the default vocabulary.
    #[must_use]
    pub fn name<'a>(&'a self, iri: &'a str) -> Cow<'a, str> {
        let name = self.compact(iri);
        if is_name(&name) { name } else { Cow::Borrowed(iri) }
    }
}

/// Whether a term is used in place of its IRI in answers. One that is long, and longer than that, could make an answer
/// many times as large as what is stored.
fn shortens(term: &str, iri: &str) -> bool {
    term.len() <= iri.len().max(64)
}

/// Whether a term of this name can be a prefix. One named like the scheme of most IRIs would change the meaning of
/// every full IRI; and a name ends at its first colon.
fn is_usable_prefix(name: &str) -> bool {
    !matches!(name, "urn" | "http" | "https") && !name.contains(':')
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
