//! The wire between a broker and its database, on which round trips are counted, though what travels is encrypted.

use super::Database;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Passes on what goes between a broker and its database.
pub struct Wire {
    trips: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    /// From now on whoever reads the Secret of this database reaches it through here.
    pub async fn before(database: &Database) -> Self {
        let server = SocketAddr::from(([127, 0, 0, 1], database.postgres.port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        database.set("port", &listener.local_addr().unwrap().port().to_string());
        let trips = Arc::<AtomicUsize>::default();
        let sent = Arc::<AtomicUsize>::default();
        let counted = [Arc::clone(&trips), Arc::clone(&sent)];
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                pass(client, server, &counted);
            }
        });
        Self { trips, sent, task }
    }

    /// How many bytes the broker has sent, on all connections.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// How often the broker has spoken after the database had, on all connections.
    pub fn round_trips(&self) -> usize {
        self.trips.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the broker sends before it has heard something is one round trip, however many pieces it comes in.
fn pass(client: TcpStream, server: TcpStream, counted: &[Arc<AtomicUsize>; 2]) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let heard = Arc::new(AtomicBool::new(true));
    let (speaks, [trips, sent]) = (Arc::clone(&heard), counted.clone());
    tokio::spawn(copy(from_client, to_server, move |bytes| {
        sent.fetch_add(bytes, Ordering::SeqCst);
        if speaks.swap(false, Ordering::SeqCst) {
            trips.fetch_add(1, Ordering::SeqCst);
        }
    }));
    tokio::spawn(copy(from_server, to_client, move |_| {
        heard.store(true, Ordering::SeqCst);
    }));
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut seen: impl FnMut(usize),
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        seen(length);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
