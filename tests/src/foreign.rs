//! TLS of somebody else: an authority of its own, and the server that it vouches for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a part of tests: a failed expectation is the result"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mim_operator::reconcile::certificate::{Authority, Decision, Party, authority, leaf};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

const LIFETIME: Duration = Duration::from_hours(24);

/// An authority of its own; `bundle` is its certificate.
#[must_use]
pub fn any_authority() -> Authority {
    let made = authority(None, "somebody", LIFETIME, Timestamp::now(), &mut rand::rng()).unwrap();
    let Decision::Issue { made, .. } = made else {
        panic!("an authority where there is none")
    };
    made
}

/// Takes connections as a server of these names.
#[must_use]
pub fn acceptor(authority: &Authority, names: &[String]) -> TlsAcceptor {
    let party = (Party::Server, names);
    let made = leaf(
        None,
        authority,
        party,
        LIFETIME,
        Timestamp::now(),
        &mut rand::rng(),
    )
    .unwrap();
    let Decision::Issue { made, .. } = made else {
        panic!("a certificate where there is none")
    };
    let chain = CertificateDer::pem_slice_iter(made.certificate.as_bytes());
    let chain: Vec<_> = chain.map(|certificate| certificate.unwrap()).collect();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}
