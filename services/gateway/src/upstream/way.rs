//! The way to the broker: its address, and who both sides are.

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Failure;
use super::link::Stream;

/// How long a connection may take, with its handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a connection is tried that is refused at once, and how long after: a broker that restarts is back soon, and nothing was sent.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Where the broker is. Connections of one way are never used for another.
pub struct Way {
    /// Host and port.
    pub address: String,
    /// With TLS: certificates, and the name that the broker's certificate must have.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// How long the broker may take to answer.
    pub patience: Duration,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Way {
    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Stream, Failure> {
        let mut tries = 1;
        loop {
            let problem = match tokio::time::timeout(CONNECT, self.attempt()).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(problem)) => problem,
                Err(_) => return Err(Failure::Unreachable(format!("no connection within {CONNECT:?}"))),
            };
            if tries == TRIES {
                return Err(Failure::Unreachable(problem.to_string()));
            }
            tokio::time::sleep(PAUSE * tries).await;
            tries += 1;
        }
    }

    async fn attempt(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name.clone(), stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}
