//! Kubernetes operator for urban data platforms.
//!
//! [`reconcile`] is how any kind is reconciled, [`kinds`] what each kind becomes, [`release`] which images
//! it becomes it with. `docs/architecture.md` shows how they meet.

pub mod health;
pub mod kinds;
pub mod metrics;
pub mod operator;
pub mod reconcile;
pub mod release;
pub mod telemetry;
pub mod version;
