//! What stands behind the proxies: it answers each request with the same entity of 1 kB, over connections that are kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::error::Error;

/// A server. It ends with the process.
pub struct Server(SocketAddr);

impl Server {
    /// Listens on loopback, by TLS where that is configured.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::file(Path::new("127.0.0.1:0")))?;
        let at = listener
            .local_addr()
            .map_err(Error::file(Path::new("127.0.0.1:0")))?;
        let answer = answer();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, tls) = (answer.clone(), tls.clone());
                thread::spawn(move || welcome(stream, tls, &answer));
            }
        });
        Ok(Self(at))
    }

    /// Where it listens.
    pub const fn at(&self) -> SocketAddr {
        self.0
    }
}

fn answer() -> Vec<u8> {
    let attributes: Vec<String> = (0..10)
        .map(|n| format!("\"attribute{n}\":{{\"type\":\"Property\",\"value\":{n}.5,\"observedAt\":\"2026-01-01T00:00:00Z\"}}"))
        .collect();
    let body = format!(
        "{{\"id\":\"urn:ngsi-ld:A:1\",\"type\":\"A\",{}}}",
        attributes.join(",")
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

fn welcome(stream: TcpStream, tls: Option<Arc<ServerConfig>>, answer: &[u8]) {
    let _ = stream.set_nodelay(true);
    match tls.map(ServerConnection::new) {
        None => serve(stream, answer),
        Some(Ok(session)) => serve(StreamOwned::new(session, stream), answer),
        Some(Err(_)) => {}
    }
}

/// Requests have no body here, so one ends with its head.
fn serve(mut stream: impl Read + Write, answer: &[u8]) {
    let (mut arrived, mut block) = (Vec::new(), vec![0; 16 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut block) {
        arrived.extend_from_slice(block.get(..read).unwrap_or_default());
        while let Some(end) = arrived.windows(4).position(|four| four == b"\r\n\r\n") {
            arrived.drain(..end + 4);
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}
