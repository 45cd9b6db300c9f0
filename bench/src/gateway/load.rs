//! Clients with TLS: threads, each with one connection that is kept. Times are those of the broker's load.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::broker::load::Schedule;
use crate::error::Error;
use crate::report::{count, quantile};

/// The name of both proxies.
pub const NAME: &str = "localhost";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How clients speak TLS.
pub type Tls = Arc<ClientConfig>;
/// Writes the next request of a client; the number is another one for each request.
pub type Work<'a> = dyn Fn(usize, &mut Vec<u8>) + Sync + 'a;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The proxy.
    pub at: SocketAddr,
    /// How many connections.
    pub clients: usize,
    /// For how long.
    pub seconds: f64,
    /// Requests per second; `None`: as many as come.
    pub rate: Option<f64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Sample {
    /// Latency of each request, in milliseconds.
    pub latencies: Vec<f64>,
    seconds: f64,
}

impl Sample {
    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        count(self.latencies.len()) / self.seconds
    }

    /// The latency that this share of requests does not exceed.
    pub fn latency(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }
}

/// Writes a request with a further line, as a client of NGSI-LD does.
pub fn get(out: &mut Vec<u8>, line: &str) {
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "GET /ngsi-ld/v1/entities/urn:ngsi-ld:A:1 HTTP/1.1\r\nHost: {NAME}\r\nAccept: application/json\r\nUser-Agent: bench\r\n{line}\r\n"
    );
}

/// A connection whose handshake is done.
pub fn connect(at: SocketAddr, tls: &Tls) -> Result<StreamOwned<ClientConnection, TcpStream>, Error> {
    let connected = || {
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(
            ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?,
            stream,
        );
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    };
    connected().map_err(failed(at))
}

fn failed(at: SocketAddr) -> impl Fn(io::Error) -> Error {
    move |source| Error::Connection {
        what: format!("a client of {at}"),
        source,
    }
}

/// Runs it. An answer that is not 200 ends it.
pub fn run(load: &Load, tls: &Tls, work: &Work<'_>) -> Result<Sample, Error> {
    let connections: Result<Vec<_>, Error> = (0..load.clients).map(|_| connect(load.at, tls)).collect();
    let schedule = Schedule::new(load.rate, load.seconds);
    let ready = Barrier::new(load.clients);
    let started = Instant::now();
    let (schedule, ready) = (&schedule, &ready);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (connections?.into_iter().enumerate())
            .map(|(number, stream)| scope.spawn(move || client(stream, number, schedule, ready, work)))
            .collect();
        let lost = || Err(io::Error::other("a client panicked"));
        Ok::<_, Error>(
            clients
                .into_iter()
                .map(|client| client.join().unwrap_or_else(|_| lost()))
                .collect(),
        )
    })?;
    let latencies: io::Result<Vec<Vec<f64>>> = outcomes.into_iter().collect();
    Ok(Sample {
        latencies: latencies.map_err(failed(load.at))?.concat(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn client(
    mut stream: StreamOwned<ClientConnection, TcpStream>,
    number: usize,
    schedule: &Schedule,
    ready: &Barrier,
    work: &Work<'_>,
) -> io::Result<Vec<f64>> {
    ready.wait();
    let started = Instant::now();
    let (mut latencies, mut request, mut answer) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
    let mut next = number;
    while let Some(due) = schedule.wait(started) {
        request.clear();
        work(next, &mut request);
        // Clients take numbers of their own: all of them are used, by nobody twice in a row.
        next += 37;
        stream.write_all(&request)?;
        read(&mut stream, &mut answer)?;
        latencies.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(latencies)
}

/// Reads an answer to its end.
fn read(stream: &mut impl io::Read, space: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        match stream.read(space.get_mut(filled..).unwrap_or_default())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        let arrived = space.get(..filled).unwrap_or_default();
        let Some(head) = arrived.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(arrived.get(..head).unwrap_or_default()).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            return Err(io::Error::other(text));
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let length: usize = length.ok_or_else(|| io::Error::other("an answer says not how long it is"))?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}
