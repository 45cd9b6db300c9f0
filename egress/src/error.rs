//! What can go wrong with a call, in words that a condition may show.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::policy::Refused;

/// Scheme, host and port of a URL: what messages show of it. Path, query and user name may hold secrets and are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// The showable part of a URL.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        let host: String = url.host_str().unwrap_or_default().chars().take(253).collect();
        Self(match url.port() {
            Some(port) => format!("{}://{host}:{port}", url.scheme()),
            None => format!("{}://{host}", url.scheme()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a call gave no response. Every text is one plain sentence without path, query, token or received bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL is neither http nor https.
    #[error("the URL's scheme is {scheme}; write an http or https URL")]
    Scheme {
        /// The scheme, at most 32 characters of it.
        scheme: String,
    },
    /// The URL has no host.
    #[error("the URL names no host; write https://<host>/<path>")]
    NoHost,
    /// The URL holds a user name or a password.
    #[error("the URL for {place} holds a user name or password; take it out and put a token into a Secret")]
    UserInfo {
        /// Where to.
        place: Place,
    },
    /// The URL is longer than [`crate::target::MAX_URL`].
    #[error("the URL for {place} is longer than 8192 bytes; shorten it")]
    TooLong {
        /// Where to.
        place: Place,
    },
    /// The URL names the Service of the Kubernetes API server.
    #[error("{place} is the Kubernetes API server, which is never called for a URL; name another host")]
    ApiServer {
        /// Where to.
        place: Place,
    },
    /// A token or a header with a credential would travel in clear text.
    #[error("a token is never sent over plain http; use an https URL for {place}, or leave the token out")]
    TokenOverPlainHttp {
        /// Where to.
        place: Place,
    },
    /// A caller's header that this client sets itself.
    #[error("the header {name} may not be set for {place}; it is set by the client itself")]
    HeaderNotAllowed {
        /// Where to.
        place: Place,
        /// Name of the header.
        name: String,
    },
    /// The token has characters that no HTTP header carries.
    #[error(
        "the token for {place} has characters that HTTP cannot carry; store it as one line of plain ASCII"
    )]
    TokenNotSendable {
        /// Where to.
        place: Place,
    },
    /// The policy refuses an address.
    #[error("{place} is not called: it resolves to an address that is {reason}")]
    AddressRefused {
        /// Where to.
        place: Place,
        /// Which rule.
        reason: Refused,
    },
    /// The name has no address.
    #[error("the host name of {place} does not resolve; check its spelling and the cluster's DNS")]
    NotResolved {
        /// Where to.
        place: Place,
    },
    /// No address of the name accepted a connection.
    #[error("no connection to {place} ({cause}); check that it is up and that no network policy forbids it")]
    NotConnected {
        /// Where to.
        place: Place,
        /// The system's word for it: refused, unreachable, timed out.
        cause: String,
    },
    /// The host cannot stand in a certificate.
    #[error(
        "the host name of {place} cannot stand in a TLS certificate; use a name of letters, digits, dots and hyphens"
    )]
    NotACertificateName {
        /// Where to.
        place: Place,
    },
    /// The TLS handshake failed; the cause is the TLS library's, e.g. an unknown issuer or an expired certificate.
    #[error("no TLS with {place}: {cause}")]
    Tls {
        /// Where to.
        place: Place,
        /// What the TLS library says.
        cause: String,
    },
    /// The CA bundle of the call holds no readable certificate.
    #[error(
        "the CA bundle for {place} holds no readable PEM certificate; put the issuer's certificate into it"
    )]
    CaNotReadable {
        /// Where to.
        place: Place,
    },
    /// This system has no trust store, and the call names no CA.
    #[error("this system trusts no certificate authority, so {place} cannot be verified; name a CA for it")]
    NoTrustStore {
        /// Where to.
        place: Place,
    },
    /// The server answered with a redirect.
    #[error("{place} answers {status}, a redirect, which is not followed; write the final URL")]
    Redirect {
        /// Where to.
        place: Place,
        /// Status code, 301 to 308.
        status: u16,
    },
    /// The body is larger than the call allows.
    #[error("the answer of {place} is larger than {limit} bytes")]
    BodyTooLarge {
        /// Where to.
        place: Place,
        /// The cap in bytes.
        limit: usize,
    },
    /// The call took longer than its timeout.
    #[error("{place} gave no whole answer within {}", seconds(.after))]
    Timeout {
        /// Where to.
        place: Place,
        /// The timeout.
        after: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("{place} broke off or does not speak HTTP/1.1")]
    Http {
        /// Where to.
        place: Place,
    },
}

impl Error {
    /// True where the guard said no before or without any connection: the URL, the policy or the call must change.
    /// False where the other side or the network failed and a later try may go through. A refused address counts as
    /// the guard's word although DNS may change.
    #[must_use]
    pub fn by_guard(&self) -> bool {
        !matches!(
            self,
            Self::NotResolved { .. }
                | Self::NotConnected { .. }
                | Self::Tls { .. }
                | Self::Redirect { .. }
                | Self::BodyTooLarge { .. }
                | Self::Timeout { .. }
                | Self::Http { .. }
        )
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
