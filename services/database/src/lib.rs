//! First process of the PostgreSQL operand: initialises, starts and looks after one server.
//!
//! The contract with the operator is `docs/operands.md`. Three commands:
//!
//! * [`initialise`](initialise::initialise): makes the data folder on an empty volume, whole or not at all, and tells
//!   the identity of what is there. It never initialises where data is known to have been.
//! * [`run`](run::run): is the parent of PostgreSQL: forwards signals, reaps orphans, passes the exit code; makes role,
//!   database and extension as the mounted Secret says, now and whenever it changes; reloads on a new certificate.
//! * [`probe`](probe::probe): asks one real question on the local socket.
//!
//! Pure parts: [`volume::decide`], [`credentials`], [`hba`], [`server`]. The others touch files, processes and SQL.
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
