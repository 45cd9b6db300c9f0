//! A real single-node Kubernetes from package registries alone, for tests and for trying things out.
//!
//! [`ControlPlane`] is an etcd and an API server (and controllers, if asked) that live as long as the value; many may
//! run side by side. [`Node`] is the whole of it, at most one per machine: `mim-lab up`.

mod background;
mod binaries;
mod cgroup;
mod command;
mod components;
mod control_plane;
mod error;
mod files;
mod host;
pub mod images;
mod kubeconfig;
mod load;
mod mounts;
pub mod netpol;
mod network;
mod node;
mod pki;
mod process;
mod progress;
mod recipes;
mod state;
mod system_images;
pub mod volumes;

pub use background::Background;
pub use binaries::{Binaries, Binary, KUBERNETES_VERSION, binaries};
pub use control_plane::{Audit, ControlPlane, Options};
pub use error::Error;
pub use network::BRIDGE;
pub use node::config::NODE_NAME;
pub use node::{Node, Status};
pub use progress::Progress;
pub use system_images::{PAUSE_IMAGE, PROBE_IMAGE};
