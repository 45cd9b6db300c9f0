//! The native NGSI-LD context broker: entities in PostgreSQL with PostGIS, several replicas on one database.
//!
//! The walls: [`api`] knows HTTP, [`model`] knows entities, [`query`] knows what can be asked, [`context`] knows what
//! names mean, [`subscription`] knows who wants to hear of what, [`notify`] tells them, [`contract`] knows what others may read of it, [`store`] knows PostgreSQL, [`permissions`] knows who may see and do what, [`memory`] knows how much of it requests share, [`server`] knows the process.
//! `properties` is for tests and fuzz targets only.
//! [`model`], [`query`], [`permissions`], [`contract`] and [`subscription`] are pure.

pub mod api;
pub mod context;
pub mod contract;
pub mod memory;
pub mod model;
pub mod notify;
pub mod permissions;
#[cfg(any(test, feature = "fuzzing"))]
pub mod properties;
pub mod query;
pub mod server;
pub mod store;
pub mod subscription;
