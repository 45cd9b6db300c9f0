//! A real single-node Kubernetes from package registries alone, for tests and for trying things out.
//!
//! [`ControlPlane`] is an etcd and an API server (and controllers, if asked) that live as long as the value; many may
//! run side by side. The whole node (`mim-lab up`) is the binary's business; see [`node`].

mod binaries;
#[allow(dead_code, reason = "the node uses the rest")]
mod components;
mod control_plane;
mod error;
#[allow(dead_code, reason = "the node uses the rest")]
mod files;
pub mod images;
mod kubeconfig;
pub mod netpol;
mod pki;
#[allow(dead_code, reason = "the node uses the rest")]
mod process;
mod progress;
mod recipes;

pub use binaries::{Binaries, Binary, KUBERNETES_VERSION, binaries};
pub use control_plane::{Audit, ControlPlane, Options};
pub use error::Error;
pub use progress::Progress;
