//! The API from outside: the real broker on a real PostgreSQL.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::zombie_processes,
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "a test that cannot go on should stop; what the tests share is not used by each of them"
)]

#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod attributes;
mod batch;
mod batch_repeated;
mod batches;
mod contexts;
mod contexts_kept;
mod contexts_preloaded;
mod contexts_shared;
mod contract_indexes;
mod contract_readers;
mod contract_tenants;
mod contract_views;
mod data_models;
mod discovery;
mod endpoints;
mod entities;
mod geometries;
mod history;
mod intervals;
mod joins;
mod kept;
mod merge;
mod mqtt;
mod notification_criteria;
mod notification_forms;
mod notifications;
mod notifications_shown;
mod openapi;
mod ordering;
mod permissions_batches;
mod permissions_door;
mod permissions_past;
mod permissions_reads;
mod permissions_routes;
mod permissions_subscriptions;
mod permissions_world;
mod permissions_writes;
mod plans;
mod plans_large;
mod posted;
mod purge;
mod queried_contexts;
mod query;
mod quotas;
mod refusals;
mod round_trips;
mod selected_types;
mod shapes;
mod shared_connections;
mod subscribed_contexts;
mod subscription_locks;
mod subscriptions;
mod temporal;
mod temporal_aggregates;
mod temporal_clocks;
mod temporal_deletes;
mod temporal_plans;
mod temporal_queries;
mod temporal_reads;
mod temporal_replicas;
mod tenant_creation;
mod tenants;
mod tenants_apart;
mod tenants_dropped;
mod types;
mod walls;
mod world;
mod wrong_requests;
