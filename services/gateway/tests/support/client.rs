//! A client that sends bytes as they are, and reads what comes.

use http::StatusCode;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name of every gateway of these tests.
pub const NAME: &str = "gateway.example";

/// A connection.
pub struct Client {
    pub stream: TlsStream<TcpStream>,
    arrived: Vec<u8>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        self.field("connection") == Some("close")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub async fn connect(at: SocketAddr, tls: ClientConfig) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(at).await?, tls).await
    }

    pub async fn over(stream: TcpStream, tls: ClientConfig) -> std::io::Result<Self> {
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
        Ok(Self {
            stream,
            arrived: Vec::new(),
        })
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends, and reads the answer.
    pub async fn ask(&mut self, text: impl AsRef<[u8]>) -> Answer {
        self.send(text).await;
        self.read().await.expect("an answer")
    }

    /// A GET with these further lines.
    pub async fn get(&mut self, target: &str, lines: &str) -> Answer {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n"))
            .await
    }

    /// Reads an answer to its end; `None`: the connection has ended.
    pub async fn read(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.arrived.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.arrived.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if status.is_informational() {
            return Some(answer);
        }
        if let Some(length) = answer
            .field("content-length")
            .map(|length| length.parse().unwrap())
        {
            while self.arrived.len() < length {
                self.more().await?;
            }
            answer.body = self.arrived.drain(..length).collect();
        } else if answer.field("transfer-encoding").is_some() {
            loop {
                let line = loop {
                    if let Some(at) = self.arrived.windows(2).position(|two| two == b"\r\n") {
                        break at;
                    }
                    self.more().await?;
                };
                let size =
                    usize::from_str_radix(std::str::from_utf8(&self.arrived[..line]).unwrap(), 16).unwrap();
                while self.arrived.len() < line + 2 + size + 2 {
                    self.more().await?;
                }
                answer
                    .body
                    .extend_from_slice(&self.arrived[line + 2..line + 2 + size]);
                self.arrived.drain(..line + 2 + size + 2);
                if size == 0 {
                    break;
                }
            }
        }
        Some(answer)
    }

    async fn more(&mut self) -> Option<()> {
        let mut block = vec![0; 16 * 1024];
        match self.stream.read(&mut block).await {
            Ok(read @ 1..) => {
                self.arrived.extend_from_slice(&block[..read]);
                Some(())
            }
            _ => None,
        }
    }

    /// Whether the gateway ends the connection and sends nothing more.
    pub async fn has_ended(&mut self) -> bool {
        self.more().await.is_none() && self.arrived.is_empty()
    }
}
