//! A port between `mimctl` and a broker: it leads to one, to another one or nowhere, counts requests, and lets the test say
//! what becomes of one of them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It stays here, and so does who waits for its answer.
    Hold,
    /// The connection ends, and the door leads nowhere.
    Close,
    /// The broker does it; the connection ends instead of an answer.
    LoseAnswer,
}

/// A door.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    leads: watch::Sender<Option<SocketAddr>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Everything that came from clients.
    seen: Vec<u8>,
    requests: usize,
    acts: Vec<(usize, Act)>,
    /// How many requests something was done to.
    acted: usize,
}

impl Door {
    /// A door to a broker.
    pub async fn to(broker: SocketAddr) -> Self {
        Self::open(broker, None).await
    }

    /// A door that ends TLS.
    pub async fn with_tls(broker: SocketAddr, tls: TlsAcceptor) -> Self {
        Self::open(broker, Some(tls)).await
    }

    async fn open(broker: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            leads: watch::Sender::new(Some(broker)),
            state: Mutex::default(),
        });
        let all = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(Arc::clone(&all), client, tls.clone()));
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// Lets it lead elsewhere, or nowhere. Connections that are there end.
    pub fn lead_to(&self, broker: Option<SocketAddr>) {
        self.shared.leads.send_replace(broker);
    }

    /// What is to become of the request of this number, from 1, counted from now.
    pub fn act_on(&self, number: usize, act: Act) {
        let mut state = self.shared.state.lock().unwrap();
        let number = state.requests + number;
        state.acts.push((number, act));
    }

    /// How many requests something was done to.
    pub fn acted(&self) -> usize {
        self.shared.state.lock().unwrap().acted
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.shared.state.lock().unwrap().requests
    }

    /// Everything that came from clients.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.shared.state.lock().unwrap().seen).into_owned()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(door: Arc<Shared>, client: TcpStream, tls: Option<TlsAcceptor>) {
    let mut leads = door.leads.subscribe();
    let Some(broker) = *leads.borrow_and_update() else {
        return;
    };
    let through = async {
        match tls {
            None => door.through(client, broker).await,
            Some(tls) => door.through(tls.accept(client).await?, broker).await,
        }
    };
    tokio::select! {
        _ = through => {}
        _ = leads.changed() => {}
    }
}

impl Shared {
    async fn through<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut client: S,
        broker: SocketAddr,
    ) -> io::Result<()> {
        let mut server = TcpStream::connect(broker).await?;
        let (mut there, mut back) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut loses = false;
        loop {
            tokio::select! {
                read = client.read(&mut there) => {
                    let sent = &there[..read?];
                    match self.came(sent) {
                        _ if sent.is_empty() => return Ok(()),
                        Some(Act::Hold) => std::future::pending().await,
                        Some(Act::Close) => {
                            self.leads.send_replace(None);
                        }
                        Some(Act::LoseAnswer) => loses = true,
                        None => {}
                    }
                    server.write_all(sent).await?;
                }
                read = server.read(&mut back) => {
                    let read = read?;
                    if read == 0 || loses {
                        return Ok(());
                    }
                    client.write_all(&back[..read]).await?;
                }
            }
        }
    }

    /// Notes what came, and what is to become of it. A client sends one request after the other, so each begins what is read.
    fn came(&self, sent: &[u8]) -> Option<Act> {
        let mut state = self.state.lock().unwrap();
        state.seen.extend_from_slice(sent);
        if !sent.starts_with(b"GET ") && !sent.starts_with(b"POST ") {
            return None;
        }
        state.requests += 1;
        let number = state.requests;
        let act = state
            .acts
            .iter()
            .find(|(of, _)| *of == number)
            .map(|(_, act)| *act);
        state.acted += usize::from(act.is_some());
        act
    }
}
