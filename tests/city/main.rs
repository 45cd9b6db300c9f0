//! The whole stack on the lab's real node: images as `make images` builds them, the charts, the examples. One test at a time: there is one node.
//!
//! Needs root, as the lab does. `MIM_IMAGES` names a folder of images to use as they are; else they are built of these sources.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod changes;
mod city;
mod cluster_mode;
mod database;
mod deletion;
mod demo;
mod doors;
mod examples;
mod external;
mod foreign_broker;
mod foreign_database;
mod network;
mod operator;
mod probe;
mod rollout;
