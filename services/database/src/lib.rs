//! First process of the PostgreSQL operand: initialises, starts and looks after one server.
//!
//! The contract with the operator is `docs/operands.md`. Three commands:
//!
//! * [`initialise`](initialise::initialise): makes the data folder on an empty volume, whole or not at all, and tells
//!   the identity of what is there. It never initialises where data is known to have been.
//! * [`run`](run::run): is the parent of PostgreSQL: forwards signals, reaps orphans, passes the exit code; makes role,
//!   database, extension and functions for readers as the mounted Secret says, now and whenever it changes; reloads on a new certificate.
//! * [`probe`](probe::probe): asks one real question on the local socket.
//!
//! Pure parts: [`volume::decide`], [`credentials`], [`hba`], [`server`]. The others touch files, processes and SQL.
//!
//! What it needs from image and pod: a user named `postgres` with the uid it runs as (peer authentication and initdb
//! look the name up); the server's key readable by that user alone (its own 0600, or root's 0440 with its group);
//! a volume that its group may write to.
//!
//! What a change of the Secret does while the server runs: a new `password` holds for new sessions, open ones go on. A
//! new `username` becomes the owner of the database and of all in it; the former role can open no session any more, but
//! its open ones keep their rights by membership in the new role. A new `dbname` is a new, empty database beside the
//! old one, which stays untouched.
//!
//! Mounted files are compared once a second instead of watched with inotify: the files are tiny, a second is far below
//! the kubelet's own delay, and a node that has used up its inotify instances (a common state) would leave an operand
//! that starts but never notices a change. A poll has no such state.

pub mod config;
pub mod credentials;
pub mod error;
pub mod hba;
pub mod initialise;
pub mod keep;
pub mod lock;
pub mod prepare;
pub mod probe;
pub mod run;
pub mod server;
pub mod session;
pub mod state;
pub mod volume;

pub use config::Config;
pub use error::Error;
