//! A text together with what its names mean, so that it means the same later, whatever becomes of the context.

use crate::context::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a client wrote in a language that has names in it, as `q` or `pick`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expression {
    /// As sent.
    pub text: String,
    /// The terms of the client's context that may stand in the text; others mean what they mean in any context.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    terms: BTreeMap<String, String>,
}

/// What no name has in it: whatever is between two of these may be a name, or a prefix.
const ENDS: &[char] = &[
    ' ', '\t', '\n', ';', '|', '(', ')', '=', '<', '>', '!', '~', ',', '"', '[', ']', '{', '}',
];

impl Expression {
    /// A text as a client sent it, in its context.
    #[must_use]
    pub fn new(text: &str, context: &Context) -> Self {
        let whole = text.split(ENDS);
        // The parts of a path, and what stands before the colon of a compact IRI.
        let parts = text.split(ENDS).flat_map(|name| name.split(['.', ':']));
        let terms = whole
            .chain(parts)
            .filter_map(|name| Some((name.to_owned(), context.iris.get(name)?.clone())))
            .collect();
        Self {
            text: text.to_owned(),
            terms,
        }
    }

    /// A context in which the text means what it meant to the client.
    #[must_use]
    pub fn context(&self) -> Context {
        Self::context_of([self])
    }

    /// A context for several texts. Of two that came in different contexts and have a term in common the later one's
    /// meaning counts.
    #[must_use]
    pub fn context_of<'e>(expressions: impl IntoIterator<Item = &'e Self>) -> Context {
        let terms = expressions.into_iter().flat_map(|expression| &expression.terms);
        let iris = terms.map(|(term, iri)| (term.clone(), iri.clone()));
        Context::new(iris.collect(), [], None)
    }
}
