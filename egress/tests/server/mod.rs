//! Small servers that answer bytes, not requests: what a hostile or broken server would send is written down as is.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server on a free port of this machine; it ends with this value.
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
    calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

/// A certificate and the authority that issued it.
pub struct Issued {
    pub ca_pem: String,
    config: Arc<rustls::ServerConfig>,
}

/// What is written after the head of a request was read.
#[derive(Clone)]
struct Script {
    first: String,
    then: String,
    pause: Duration,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Writes these bytes for every request, then keeps the connection open until the client closes it.
    pub async fn answering(bytes: &str) -> Self {
        Self::start(Script {
            first: bytes.into(),
            then: String::new(),
            pause: Duration::ZERO,
            tls: None,
        })
        .await
    }

    /// Writes `first`, then `then` again and again.
    pub async fn endless(first: &str, then: &str) -> Self {
        Self::slow(first, then, Duration::ZERO).await
    }

    /// As [`Self::endless`], with a pause before each.
    pub async fn slow(first: &str, then: &str, pause: Duration) -> Self {
        Self::start(Script {
            first: first.into(),
            then: then.into(),
            pause,
            tls: None,
        })
        .await
    }

    /// As [`Self::answering`], over TLS.
    pub async fn tls(issued: &Issued, bytes: &str) -> Self {
        let tls = Some(TlsAcceptor::from(issued.config.clone()));
        Self::start(Script {
            first: bytes.into(),
            then: String::new(),
            pause: Duration::ZERO,
            tls,
        })
        .await
    }

    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::new(AtomicUsize::new(0));
        let (log, count) = (seen.clone(), calls.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, script.clone(), log.clone()));
            }
        });
        Self {
            port,
            seen,
            calls,
            task,
        }
    }

    pub fn http(&self) -> String {
        format!("http://broker.example.org:{}/", self.port)
    }

    /// All that clients have sent, header names written as most programs write them.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Connections so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: tokio::net::TcpStream, script: Script, seen: Arc<Mutex<Vec<u8>>>) {
    match script.tls.clone() {
        None => answer(stream, script, seen).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, script, seen).await;
            }
        }
    }
}

/// Answers one request after the other, or one without end.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, seen: Arc<Mutex<Vec<u8>>>) {
    while let Some(request) = request(&mut stream).await {
        seen.lock().unwrap().extend_from_slice(&request);
        let _ = stream.write_all(script.first.as_bytes()).await;
        let _ = stream.flush().await;
        while !script.then.is_empty() {
            tokio::time::sleep(script.pause).await;
            if stream.write_all(script.then.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let length = String::from_utf8_lossy(&head)
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    head.extend_from_slice(&body);
    Some(head)
}

/// Makes an authority and a certificate of it for one name.
pub fn issue(name: &str) -> Issued {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    Issued {
        ca_pem: authority.pem(),
        config: Arc::new(config),
    }
}
