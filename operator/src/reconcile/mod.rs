//! How any kind is reconciled.
//!
//! One pass: guard, dereference, validate, build, apply, prune, step, observe, status. A kind brings
//! the four functions of [`kind::Kind`]; everything that talks to the API server is here and is written once. What a kind keeps outside
//! Kubernetes is a second trait, [`remote::Remote`].

mod answers;
pub mod apply;
pub mod certificate;
pub mod child;
pub mod client;
pub mod context;
pub mod controller;
pub mod credentials;
pub mod event;
pub mod kind;
pub mod lease;
pub mod live;
pub mod memory;
pub mod ownership;
pub mod pass;
pub mod peers;
pub mod probes;
pub mod reader;
pub mod remote;
pub mod request;
pub mod retention;
pub mod retry;
pub mod secret;
pub mod seen;
pub mod status;
pub mod suspects;
pub mod trigger;
pub mod trouble;
pub mod watch;
pub mod words;
