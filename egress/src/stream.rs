//! A connection to an address that was checked, for protocols that bring their own words.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::client::Client;
use crate::error::Error;
use crate::target::{Allow, Target};

/// Bytes to and from a server, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// By TLS; the server's name was checked.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Client {
    /// Connects to the host of a URL within the timeout: by TLS for `https` and `mqtts`, without for `http` and `mqtt`.
    /// All rules of this crate hold for the connection; what travels over it is the caller's.
    pub async fn dial(&self, url: &Url, allow: &Allow, timeout: Duration) -> Result<Stream, Error> {
        let target = Target::to_dial(url, allow)?;
        let deadline = Instant::now() + timeout;
        tokio::time::timeout_at(deadline, self.open(&target, None, deadline))
            .await
            .unwrap_or_else(|_| {
                Err(Error::Timeout {
                    place: target.place.clone(),
                    after: timeout,
                })
            })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
