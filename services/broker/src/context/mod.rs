//! Where contexts come from. What names mean in one is [`mim_grammar::context`].
//!
//! * [`cache`]: finds and keeps compiled contexts, and sees to it that all replicas mean the same by them;
//! * [`documents`]: what they are compiled from: files ([`preloaded`]), what was fetched before, what is fetched now
//!   ([`fetch`]);
//! * [`shelf`]: what replicas share; [`uses`]: how often contexts are used.
//!
//! [`cache`] and [`documents`] are the only parts that wait.

pub mod bounded;
pub mod cache;
pub mod documents;
pub mod fetch;
pub mod preloaded;
pub mod shelf;
pub mod uses;

use crate::store::StoreError;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use mim_grammar::context::{
    Context, Invalid, RELATION, compile, core, core_iri, core_term, keeps_its_name, terms,
};

/// Nothing panics under the locks of contexts; if it did, the maps would still be maps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a context cannot be used. Both name the context, never what a server answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContextError {
    /// It could not be had: `LdContextNotAvailable`.
    #[error("the @context {url} could not be had: {why}")]
    Unavailable {
        /// The URL of the context.
        url: String,
        /// One plain sentence.
        why: String,
    },
    /// It is there, but not a context NGSI-LD allows: `BadRequestData`.
    #[error("the @context cannot be used: {0}")]
    Invalid(String),
    /// The database did not say whether what is known of it still holds.
    #[error(transparent)]
    Store(StoreError),
}

impl From<Invalid> for ContextError {
    fn from(Invalid(why): Invalid) -> Self {
        Self::Invalid(why)
    }
}

#[cfg(test)]
mod terms_tests;
