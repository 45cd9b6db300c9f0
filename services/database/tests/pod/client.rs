//! The broker's side: TLS with the pod's authority, SCRAM with a password.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Pod;

/// A server certificate with the authority that issued it, in PEM.
pub struct Certificate {
    pub authority: String,
    pub chain: String,
    pub key: String,
}

impl Certificate {
    pub fn for_name(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        Self {
            authority: authority.pem(),
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Who connects, and to what.
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub database: &'a str,
}

impl<'a> Login<'a> {
    pub fn app(password: &'a str) -> Self {
        Self {
            user: "app",
            password,
            database: "app",
        }
    }

    fn options(&self, pod: &Pod) -> tokio_postgres::Config {
        let mut options = tokio_postgres::Config::new();
        options
            .host("database")
            .hostaddr("127.0.0.1".parse().unwrap())
            .port(pod.port)
            .user(self.user)
            .password(self.password)
            .dbname(self.database);
        options
    }

    /// Connects over TLS that trusts the mounted authority; SCRAM is bound to the TLS channel.
    pub async fn connect(&self, pod: &Pod) -> Result<Client, String> {
        let authority = std::fs::read(pod.path("tls/ca.crt")).unwrap();
        self.connect_trusting(pod, &authority).await
    }

    pub async fn connect_trusting(&self, pod: &Pod, authority: &[u8]) -> Result<Client, String> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut options = self.options(pod);
        options
            .ssl_mode(SslMode::Require)
            .channel_binding(ChannelBinding::Require);
        let (client, connection) = options
            .connect(MakeRustlsConnect::new(tls))
            .await
            .map_err(|error| words(&error))?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Connects without TLS.
    pub async fn connect_plain(&self, pod: &Pod) -> Result<Client, String> {
        let (client, connection) = self
            .options(pod)
            .ssl_mode(SslMode::Disable)
            .connect(NoTls)
            .await
            .map_err(|error| words(&error))?;
        tokio::spawn(connection);
        Ok(client)
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => server.message().to_owned(),
        None => format!(
            "{error}: {:?}",
            std::error::Error::source(error).map(ToString::to_string)
        ),
    }
}
