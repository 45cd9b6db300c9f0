//! One connection, and one answer of bounded size.

use crate::broker::client::Answer;
use crate::broker::client::target::Target;
use crate::failure::Failure;
use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::LOCATION;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Host;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The largest answer that is taken: what this process may have in memory of one.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// It is worth to try again.
    Passing(String),
    /// It is not.
    Lasting(Failure),
}

/// A connection that carries one request at a time.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Opens one.
    pub async fn open(target: &Target) -> Result<Self, Trouble> {
        let late = |_| Trouble::Passing(format!("no connection within {} s", CONNECT.as_secs()));
        tokio::time::timeout(CONNECT, connected(target))
            .await
            .map_err(late)?
    }

    /// Whether it can carry another request.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request, and reads its answer. The connection comes back where it can be used again.
    pub async fn send(mut self, request: Request<Full<Bytes>>) -> Result<(Answer, Option<Self>), Trouble> {
        let lost = |error: hyper::Error| Trouble::Passing(format!("the connection was lost ({error})"));
        self.sender.ready().await.map_err(lost)?;
        let response = self.sender.send_request(request).await.map_err(lost)?;
        let (head, body) = response.into_parts();
        if head.status.is_redirection() {
            let to = head.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            return Err(Trouble::Lasting(Failure::Refused(format!(
                "the broker answers {} and points to {:?}; name that one in --url if you trust it",
                head.status,
                to.unwrap_or_default()
            ))));
        }
        let body = collected(body).await.map_err(lost)?;
        let connection = body.is_some().then_some(self);
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body,
        };
        Ok((answer, connection))
    }
}

/// The body; `None` where it is larger than what is taken.
async fn collected(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > MAX_ANSWER {
                return Ok(None);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Some(whole.freeze()))
}

async fn connected(target: &Target) -> Result<Connection, Trouble> {
    let url = target.url();
    let host = url.host().map(|host| host.to_owned());
    let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
        return Err(Trouble::Lasting(Failure::Usage(format!("{url} has no host"))));
    };
    let passing = |error: std::io::Error| Trouble::Passing(format!("{url} cannot be reached ({error})"));
    let stream = match &host {
        Host::Domain(name) => TcpStream::connect((name.as_str(), port)).await,
        Host::Ipv4(address) => TcpStream::connect((*address, port)).await,
        Host::Ipv6(address) => TcpStream::connect((*address, port)).await,
    };
    let stream = stream.map_err(passing)?;
    let _ = stream.set_nodelay(true);
    let Some(tls) = target.tls() else {
        return over(stream).await;
    };
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name).map_err(|_| {
            Trouble::Lasting(Failure::Usage(format!(
                "{url} has no host that a certificate can name"
            )))
        })?,
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(address)),
    };
    let connector = TlsConnector::from(std::sync::Arc::clone(tls));
    match connector.connect(name, stream).await {
        Ok(stream) => over(stream).await,
        // A certificate does not become right by waiting.
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Trouble::Lasting(Failure::Refused(
            format!("{url} is not trusted: {error}; --ca-file names its authority"),
        ))),
        Err(error) => Err(passing(error)),
    }
}

async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Connection, Trouble> {
    let shaken = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| Trouble::Passing(error.to_string()))?;
    // Ends with the connection; how it ended is told by the request that was under way.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Connection { sender })
}
