//! The two proxies: one worker each, the same certificate, connections to the server that are kept.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::load::{NAME, Tls};
use crate::error::Error;
use crate::process::{Measured, cpu_of_family, free_address, wait_until};

/// How long a proxy may take to listen.
const START: Duration = Duration::from_secs(10);

/// A certificate for everybody here, and the authority that has signed it.
pub struct Keys {
    folder: PathBuf,
    authority: CertificateDer<'static>,
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(format!("no certificate can be made: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file(path))
}

impl Keys {
    /// Writes `tls.crt`, `tls.key` and `ca.crt` of ECDSA, P-256.
    pub fn write(folder: &Path) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(wrong)?).map_err(wrong)?;
        let key = KeyPair::generate().map_err(wrong)?;
        let params = CertificateParams::new(vec![NAME.to_owned()]).map_err(wrong)?;
        let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
        write(&folder.join("tls.crt"), &certificate.pem())?;
        write(&folder.join("tls.key"), &key.serialize_pem())?;
        write(&folder.join("ca.crt"), &issuer.pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            authority: issuer.der().clone(),
        })
    }

    /// Clients of HTTP/1.1 that trust the authority.
    #[expect(
        clippy::expect_used,
        reason = "the authority was made here, and ring has suites of TLS 1.3"
    )]
    pub fn client(&self) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an authority of ours");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let config = config
            .expect("suites of TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A server with the certificate.
    pub fn server(&self) -> Result<Arc<ServerConfig>, Error> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(self.folder.join("tls.crt"))
            .map_err(wrong)?
            .collect();
        let key = PrivateKeyDer::from_pem_file(self.folder.join("tls.key")).map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let config = builder
            .with_no_client_auth()
            .with_single_cert(chain.map_err(wrong)?, key);
        config.map(Arc::new).map_err(wrong)
    }
}

/// A proxy that runs.
pub struct Peer {
    /// Where clients come in.
    pub at: SocketAddr,
    /// The process.
    pub process: Measured,
}

impl Peer {
    /// nginx with one worker and nothing that it need not do.
    pub async fn nginx(program: &Path, folder: &Path, server: SocketAddr) -> Result<Self, Error> {
        let at = free_address().await?;
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log off; keepalive_requests 1000000000;\n\
             client_body_temp_path .; proxy_temp_path .; fastcgi_temp_path .; uwsgi_temp_path .; scgi_temp_path .;\n\
             upstream server {{ server {server}; keepalive 256; keepalive_requests 1000000000; }}\n\
             server {{ listen {at} ssl; ssl_certificate tls.crt; ssl_certificate_key tls.key; ssl_protocols TLSv1.3;\n\
             location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }} }} }}\n"
        );
        write(&folder.join("nginx.conf"), &config)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder).args(["-c", "nginx.conf"]);
        Self::start(command, at, &folder.join("nginx.log")).await
    }

    /// The gateway with one worker and this configuration.
    pub async fn gateway(program: &Path, folder: &Path, name: &str, config: &str) -> Result<Self, Error> {
        let (at, health) = (free_address().await?, free_address().await?);
        let path = folder.join(format!("{name}.yaml"));
        write(&path, config)?;
        let mut command = Command::new(program);
        command.args([
            "run",
            "--workers",
            "1",
            "--drain-delay",
            "0",
            "--loopback-for-tests",
        ]);
        command.args([
            "--listen",
            &at.to_string(),
            "--health-listen",
            &health.to_string(),
        ]);
        command
            .arg("--config")
            .arg(path)
            .arg("--tls")
            .arg(folder)
            .arg("--identity")
            .arg(folder)
            .arg("--upstream-tls")
            .arg(folder)
            .arg("--bundle")
            .arg(folder);
        Self::start(command, at, &folder.join(format!("{name}.log"))).await
    }

    async fn start(mut command: Command, at: SocketAddr, log: &Path) -> Result<Self, Error> {
        let mut process = Measured::start(&mut command, log)?;
        wait_until("the proxy listens", START, async || {
            process.check()?;
            Ok(TcpStream::connect(at).await.map_err(|error| error.to_string()))
        })
        .await?;
        Ok(Self { at, process })
    }

    /// CPU seconds so far, those of children included.
    pub fn cpu(&self) -> Result<f64, Error> {
        cpu_of_family(self.process.id())
    }
}
