//! Certificates of servers that we run, and of those who come in to them: an authority per server, and certificates signed by it.
//!
//! Both functions are decisions over what there is (as read from Secrets) and the time: keep it until then, or write
//! this instead, and why. They are pure but for the keys, which `rcgen` draws from the system.
//!
//! Renewal is at 2/3 of a life. When an authority is made anew, the old certificate stays in the bundle until it
//! expires, so everything that was signed by it stays trusted. A leaf moves to the new authority only after every client has had
//! time to see the new bundle (kubelets refresh a mounted Secret within about two minutes; an hour is given).
//!
//! | Secret | keys |
//! |---|---|
//! | authority, mounted by nobody | `ca.crt` ([`Authority::bundle`]), `ca.key` |
//! | server or client | `tls.crt`, `tls.key` ([`Leaf`]), `ca.crt` (the same bundle) |

mod authority;
mod leaf;
mod x509;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

pub use authority::{Authority, authority};
pub use leaf::{Leaf, leaf};

/// How long an authority lives, unless told otherwise: 10 years.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// How long the certificate of a server or a client lives, unless told otherwise: 90 days.
pub const LEAF_LIFETIME: Duration = Duration::from_hours(90 * 24);

/// A certificate is valid from a little before it is made, since clocks of machines differ.
const BACKDATE: Duration = Duration::from_mins(5);

/// Which side of a connection a certificate is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// It is reached by the names of the certificate.
    Server,
    /// It is known by them.
    Client,
}

/// What to do about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// It is in order.
    Keep {
        /// When to look again.
        renew_at: Timestamp,
    },
    /// Write this instead, over exactly the version that was read.
    Issue {
        /// Why, for events and logs.
        why: Why,
        /// What to write.
        made: T,
        /// When to look again.
        renew_at: Timestamp,
    },
}

/// Why a certificate is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// What there is cannot be used.
    Unusable(String),
    /// Two thirds of its life are over.
    Due,
    /// It is for other names.
    OtherNames,
    /// No authority of the bundle has signed it.
    OtherAuthority,
}

/// A sentence for an event.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there was none"),
            Self::Unusable(problem) => write!(f, "the one there was cannot be used: {problem}"),
            Self::Due => f.write_str("two thirds of its life are over"),
            Self::OtherNames => f.write_str("it was for other names"),
            Self::OtherAuthority => f.write_str("it was signed by an authority that is not ours"),
        }
    }
}

/// Why a certificate cannot be made. The inputs are ours, so this is a bug or a machine without randomness.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name cannot stand in a certificate.
    #[error("{0:?} cannot be a name in a certificate")]
    Name(String),
    /// A certificate without a name would serve nobody.
    #[error("a certificate needs at least one name")]
    NoName,
    /// The end of its life is beyond what a date can say.
    #[error("a lifetime of {0:?} is too long for a certificate")]
    Lifetime(Duration),
    /// Making or signing it failed.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What was just made or found in order cannot be read.
    #[error("a certificate could not be read: {0}")]
    Read(String),
}

#[cfg(test)]
mod tests;
