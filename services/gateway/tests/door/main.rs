//! What comes in at the door, what goes on, and what does not.

#[path = "../support/mod.rs"]
mod support;

mod ending;
mod passing;
mod retries;
mod settings;
mod smuggling;
