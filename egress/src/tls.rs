//! TLS of outgoing calls: TLS 1.2 and 1.3 with ring, verification always on.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why there is nothing to verify a server with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoots {
    /// The given PEM text holds no certificate, or one that cannot be read.
    NotReadable,
    /// The system's trust store is empty or missing.
    NoneOnSystem,
}

/// A configuration that trusts exactly the certificates of a PEM bundle, not the system's.
pub fn trusting_bundle(pem: &[u8]) -> Result<Arc<ClientConfig>, NoRoots> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| NoRoots::NotReadable)?;
        roots.add(certificate).map_err(|_| NoRoots::NotReadable)?;
    }
    if roots.is_empty() {
        Err(NoRoots::NotReadable)
    } else {
        Ok(configured(roots))
    }
}

/// A configuration that trusts what the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are respected). Reads files:
/// call it off the async threads, and keep the result.
pub fn trusting_system() -> Result<Arc<ClientConfig>, NoRoots> {
    let mut roots = RootCertStore::empty();
    // Bundles of distributions hold certificates that webpki cannot read; the others still count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(NoRoots::NoneOnSystem)
    } else {
        Ok(configured(roots))
    }
}

/// The same, for another protocol than HTTP: a server that knows names of protocols would refuse one that it does not speak.
#[must_use]
pub fn without_http(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}

fn configured(roots: RootCertStore) -> Arc<ClientConfig> {
    // The provider is named, never the process' default: no other crate of the process can change what is spoken here.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    #[expect(
        clippy::expect_used,
        reason = "fails only for a provider without a cipher suite of TLS 1.2 and 1.3; ring has both"
    )]
    let builder = builder
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
