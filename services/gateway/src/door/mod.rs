//! Where clients come in: connections are bounded, TLS is spoken, and an end loses no request.

pub mod http1;
pub mod http2;
pub mod listen;
pub mod proxy_protocol;

use crate::identity::shown::Certificate;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A client's connection.
pub type Stream = tokio_rustls::server::TlsStream<TcpStream>;

/// Who is at the other end of a connection, as far as the connection says it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address: as the PROXY protocol says where a trusted proxy speaks it, else the socket's.
    pub address: IpAddr,
    /// The certificate that it has shown, of an authority that is known.
    pub certificate: Option<Arc<Certificate>>,
}
