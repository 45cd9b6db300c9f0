//! The catalogue of operand images, and the rules between versions.
//!
//! A release is a named, tested set of images, pinned by digest. The catalogue is a file beside the operator, so that a
//! platform's images change when its spec says so, and not because the operator was upgraded. A published release never changes.
//!
//! ```yaml
//! default: "2026.1"            # optional; else the last one
//! releases:
//!   - name: "2026.1"
//!     postgresql: 15           # major version: the folder of the data
//!     images:
//!       broker: {repository: mim/broker, digest: "sha256:…"}
//!       postgis: {repository: mim/postgis, digest: "sha256:…"}
//! ```

mod catalogue;
mod step;

pub use catalogue::{CatalogueError, Image, Operand, Release, Releases};
pub use step::{ReleaseError, Step, step};

#[cfg(test)]
mod tests;
