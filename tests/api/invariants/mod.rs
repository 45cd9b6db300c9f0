//! The invariants of the design at a real API server, one file per subject.

mod data;
mod isolation;
mod kstatus;
mod quiet;
mod rbac;
mod secrets;
mod upgrade;

pub use data::{api, delete_broker, hold, identifier, kept, nothing_runs};
pub use quiet::app_secret;
