//! What is known of what a request is about. What is not known makes a decision depend on it.

use crate::area::Place;

/// What is known of the entity, or of the entities, that a request is about. By default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'f> {
    /// The types: IRIs.
    pub types: Known<'f>,
    /// The id.
    pub id: Option<&'f str>,
    /// The scopes.
    pub scopes: Known<'f>,
    /// Where it is.
    pub location: Location<'f>,
    /// The attributes that the request shows, asks or changes: IRIs. Types and scopes are none of them.
    pub attributes: &'f [&'f str],
    /// What else of the entity it is about.
    pub extent: Extent,
}

/// What is known of some texts that an entity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'f> {
    /// It has these and no others.
    Exactly(&'f [&'f str]),
    /// It has these, and may have others: a query for a type finds entities that have more types.
    AtLeast(&'f [&'f str]),
}

impl Default for Known<'_> {
    fn default() -> Self {
        Self::AtLeast(&[])
    }
}

impl<'f> Known<'f> {
    /// Those that it has for sure.
    pub(crate) fn texts(self) -> &'f [&'f str] {
        let (Self::Exactly(texts) | Self::AtLeast(texts)) = self;
        texts
    }

    /// Whether there are no others.
    pub(crate) fn is_all(self) -> bool {
        matches!(self, Self::Exactly(_))
    }
}

/// What is known of where an entity is.
#[derive(Clone, Copy, Debug, Default)]
pub enum Location<'f> {
    /// Nothing.
    #[default]
    Unknown,
    /// Its `location` has these geometries and no others, one for each instance; none: it has no `location`.
    At(&'f [Place]),
}

/// What of an entity a request is about, beside the attributes that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Nothing, but that it is there.
    #[default]
    Parts,
    /// Its types or its scopes, which are of the entity as such: a change of them.
    AsSuch,
    /// All of it, whatever attributes it has: it is deleted, replaced or purged.
    Whole,
}
