//! What all replicas share of contexts, as [`crate::context`] needs it; the database behind it is
//! [`crate::store::contexts`].

use crate::context::uses::Used;
use crate::store::{StoreError, TenantId};
use futures::future::BoxFuture;
use jiff::Timestamp;

/// What comes back from a shelf.
pub type Brought<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A document that was fetched before, by this replica or another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The value of its `@context`, as JSON.
    pub document: String,
    /// When it was fetched.
    pub at: Timestamp,
    /// Whether it is to be fetched again before it is used, as long as that can be done.
    pub due: bool,
}

/// How a document is put where others find it.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Where it comes from.
    pub url: &'a str,
    /// Which addresses the broker may reach; a document is not used under another guard.
    pub guard: &'a str,
    /// The value of its `@context`, as JSON.
    pub document: &'a str,
    /// When it was asked for.
    pub at: Timestamp,
    /// Whether copies of others end even where it is what they have.
    pub force: bool,
}

/// Keeps contexts where all replicas find them.
pub trait Shelf: Send + Sync + 'static {
    /// A number that changes with every change that copies in memory may not outlive.
    fn epoch(&self) -> Brought<'_, i64>;

    /// The value of `@context` of a Hosted or ImplicitlyCreated context of the tenant; `None`: there is none.
    fn own<'a>(&'a self, tenant: TenantId, id: &'a str) -> Brought<'a, Option<String>>;

    /// What was fetched from a URL under this guard.
    fn fetched<'a>(&'a self, url: &'a str, guard: &'a str) -> Brought<'a, Option<Fetched>>;

    /// Keeps what was fetched, and changes the epoch where others may have something else; false when a later one is
    /// there.
    fn put<'a>(&'a self, put: Put<'a>) -> Brought<'a, bool>;

    /// Counts uses; those of a URL that the tenant had not used before make it one of its Cached contexts.
    fn count_uses<'a>(&'a self, used: &'a [Used]) -> Brought<'a, ()>;
}
