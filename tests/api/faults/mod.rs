//! The rows of bad input and faults that need no real pods, one file per subject; each test's name has the words of its row.

mod bounds;
mod by_hand;
mod dependencies;
mod names;
mod namespace;
mod reasons;
mod refusals;
mod scale;
mod volumes;

pub use namespace::delete_namespace;
