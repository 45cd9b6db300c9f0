//! Validates entities against data models, before they are stored.
//!
//! A model's JSON Schema (draft-07, 2019-09 or 2020-12) is compiled once, with all that it refers to, into nodes of an
//! [`Arena`]; an entity is parsed into a [`tape::Tape`], on which the nodes are evaluated. Schemas of data models describe the
//! simplified representation; entities come normalized, concise or simplified. So the *schema* knows at which of its members
//! attributes begin ([`Level::Entity`]), and looks for their values where the representation has them.
//!
//! * [`tape`]: JSON as it is looked at, without building it;
//! * `compile`: from documents to nodes; says where and why one does not compile;
//! * `node`: nodes, of which equal ones are one;
//! * `evaluate`: whether a value is as a node says, and where not;
//! * `format`, `pattern`: what texts look like;
//! * [`catalogue`]: documents that models commonly refer to;
//! * [`set`]: the models of a city, asked by what types and names mean.
//!
//! All input is hostile. Time is linear in the size of the document for every pattern, and bounded for every schema; an
//! evaluation that would take more is a violation.

mod catalogue;
mod compile;
mod cycle;
mod evaluate;
mod format;
mod node;
mod pattern;
pub mod set;
pub mod tape;
mod violation;

pub use catalogue::catalogue;
pub use compile::{Level, Library, Refusal, Source, compile};
pub use evaluate::{Extent, Names, Reading, Representation, check};
pub use node::{Arena, NodeId};
pub use violation::{SHOWN, Violation};
