//! `mimctl`, the command line of a city's platform.
//!
//! * [`arguments`]: what can be written on the command line;
//! * [`broker`]: `mimctl broker export` and `import`, for any NGSI-LD broker;
//! * [`failure`]: why a command ends without having done what it was asked, and its exit codes.

pub mod arguments;
pub mod broker;
pub mod failure;
