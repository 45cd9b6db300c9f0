//! Doors with a certificate on either side: that of the platform's gateway, and that of administrators. Each is a port of its own, TLS 1.3.
//! The files are followed as they change; a connection that is open stays open.

use crate::server::config::{ClientName, Gateway, LOOK};
use crate::server::listen::{self, Door, Ending, Serve};
use crate::server::metrics::Metrics;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Whom a door is for. Anybody else is told that it may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// The platform's gateway.
    Gateway,
    /// Administrators.
    Administrators,
}

impl Guest {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway",
            Self::Administrators => "administrators",
        }
    }

    fn refused(self, metrics: &Metrics, cause: &'static str) {
        match self {
            Self::Gateway => metrics.permissions_refused(cause),
            Self::Administrators => metrics.administrator_refused(cause),
        }
    }
}

/// What it takes to know who comes.
pub struct Keys {
    acceptor: TlsAcceptor,
    names: Vec<ClientName>,
}

/// What the keys are made of.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

impl Files {
    async fn read(folder: &Path) -> Result<Self, String> {
        let read = async |name: &str| {
            let path = folder.join(name);
            let bytes = tokio::fs::read(&path).await;
            bytes.map_err(|e| format!("{} cannot be read: {e}", path.display()))
        };
        Ok(Self {
            certificate: read("tls.crt").await?,
            key: read("tls.key").await?,
            authority: read("ca.crt").await?,
        })
    }

    /// The words never have a part of a key in them.
    fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let certificates = |pem: &[u8]| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            all.map_err(|e| e.to_string())
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority).map_err(|e| format!("ca.crt: {e}"))? {
            roots.add(certificate).map_err(|e| format!("ca.crt: {e}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let clients = clients
            .allow_unauthenticated()
            .build()
            .map_err(|e| format!("ca.crt: {e}"))?;
        let chain = certificates(&self.certificate).map_err(|e| format!("tls.crt: {e}"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| "tls.key is no key".to_owned())?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| e.to_string())?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|e| format!("tls.crt and tls.key: {e}"))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Whoever speaks TLS and shows no certificate of another authority, and whether it is the guest that the door is for; if not, why not in a word.
pub async fn met(
    guest: Guest,
    stream: TcpStream,
    keys: &watch::Receiver<Option<Arc<Keys>>>,
    metrics: &Metrics,
) -> Option<(TlsStream<TcpStream>, Result<(), &'static str>)> {
    let keys = keys.borrow().clone()?;
    let stream = match tokio::time::timeout(HANDSHAKE, keys.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(%error, "somebody who cannot be known came to the door of {}", guest.name());
            guest.refused(metrics, "unknown_certificate");
            return None;
        }
        Err(_) => return None,
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let who = match shown.map(ParsedCertificate::try_from) {
        None => Err("no_certificate"),
        Some(Ok(certificate))
            if keys
                .names
                .iter()
                .any(|name| verify_server_name(&certificate, &name.0).is_ok()) =>
        {
            Ok(())
        }
        Some(_) => Err("another_name"),
    };
    Some((stream, who))
}

/// Opens the door where the configuration says, and keeps it so until the end.
pub async fn run(
    guest: Guest,
    mut config: watch::Receiver<Option<Gateway>>,
    folder: PathBuf,
    front: impl Serve,
    metrics: Arc<Metrics>,
    ending: Ending,
) {
    let (keys_tx, keys) = watch::channel(None);
    let (mut made_of, mut open) = (None, None::<Open>);
    let mut told = None;
    let mut stop = ending.stop.clone();
    loop {
        let wanted = config.borrow_and_update().clone();
        if open.as_ref().map(|open| open.at) != wanted.as_ref().map(|gateway| gateway.listen) {
            if let Some(open) = open.take() {
                open.close();
            }
            if let Some(gateway) = &wanted {
                open = Open::at(
                    guest,
                    gateway.listen,
                    keys.clone(),
                    front.clone(),
                    Arc::clone(&metrics),
                    &ending,
                )
                .await;
            }
        }
        match renewed(wanted.as_ref(), &folder, &made_of).await {
            Ok(Some((from, keys))) => {
                told = None;
                made_of = from;
                keys_tx.send_replace(keys);
            }
            // Who comes is known by older keys as before; without any nobody comes in.
            Err(why) if told.as_ref() != Some(&why) => {
                tracing::warn!(%why, "{} cannot be known by these files", guest.name());
                told = Some(why);
            }
            Ok(None) | Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    if let Some(Open { stop, serving, .. }) = open {
        stop.send_replace(true);
        let _ = serving.await;
    }
}

/// What keys are made of: files, and the names that are looked for.
type Source = Option<(Files, Gateway)>;

/// The keys as they are to be, if that is otherwise than before.
async fn renewed(
    wanted: Option<&Gateway>,
    folder: &Path,
    made_of: &Source,
) -> Result<Option<(Source, Option<Arc<Keys>>)>, String> {
    let Some(gateway) = wanted else {
        return Ok(made_of.is_some().then_some((None, None)));
    };
    let source = Some((Files::read(folder).await?, gateway.clone()));
    if source == *made_of {
        return Ok(None);
    }
    let acceptor = match &source {
        Some((files, _)) => files.acceptor()?,
        None => return Ok(None),
    };
    let keys = Keys {
        acceptor,
        names: gateway.client_names.clone(),
    };
    Ok(Some((source, Some(Arc::new(keys)))))
}

/// The door while it is open.
struct Open {
    at: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Open {
    async fn at(
        guest: Guest,
        at: SocketAddr,
        keys: watch::Receiver<Option<Arc<Keys>>>,
        front: impl Serve,
        metrics: Arc<Metrics>,
        ending: &Ending,
    ) -> Option<Self> {
        let listener = match TcpListener::bind(at).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%at, %error, "the door of {} cannot be opened", guest.name());
                return None;
            }
        };
        if let Ok(at) = listener.local_addr() {
            match guest {
                Guest::Gateway => tracing::info!(gateway = %at, "listening for the gateway"),
                Guest::Administrators => tracing::info!(administrators = %at, "listening for administrators"),
            }
        }
        let (stop, stopped) = watch::channel(false);
        let own = Ending {
            leaving: Arc::clone(&ending.leaving),
            stop: stopped,
        };
        let serving = tokio::spawn(listen::serve(
            listener,
            Door::Guarded(guest, keys),
            front,
            metrics,
            own,
        ));
        Some(Self { at, stop, serving })
    }

    /// Takes no new connection; open requests end by themselves.
    fn close(self) {
        self.stop.send_replace(true);
    }
}
