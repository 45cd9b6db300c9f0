//! Many calls to few servers: connections stay open between calls. A server is checked when it is connected to; a
//! connection that stays open goes on to that address and to no other.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;
use url::Url;

use crate::client::{Client, Request, Response, head, receive};
use crate::error::Error;
use crate::stream::Stream;
use crate::target::{Allow, Target};

/// How long a connection stays open without a call. Servers mostly wait longer before they close it.
const IDLE: Duration = Duration::from_secs(20);
/// How many connections to one server stay open.
const IDLE_OF_SERVER: usize = 8;
/// How long a connection may take, whatever the call's own timeout.
const CONNECT: Duration = Duration::from_secs(10);

/// Makes guarded calls over connections that stay open. Cheap to clone.
#[derive(Clone)]
pub struct KeepAlive {
    calls: legacy::Client<Dial, Full<Bytes>>,
    allow: Allow,
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

impl KeepAlive {
    /// Calls of this client. `allow` holds for all of them; that of a request is not asked.
    #[must_use]
    pub fn new(client: Client, allow: Allow) -> Self {
        let dial = Dial {
            client,
            allow: allow.clone(),
        };
        let calls = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_OF_SERVER)
            // Names of headers are the same in any case, but not every receiver knows.
            .http1_title_case_headers(true)
            .build(dial);
        Self { calls, allow }
    }

    /// Makes one call, as [`Client::send`] does. Certificates to trust are the system's: `ca_pem` is not for these calls.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let target = Target::parse(&request.url, &self.allow)?;
        let mut built = head(&target, &request)?;
        let scheme = if target.tls { "https" } else { "http" };
        let absolute = format!("{scheme}://{}{}", target.authority, target.path_and_query);
        *built.uri_mut() = absolute.parse().map_err(|_| Error::NoHost)?;
        let timeout = request.timeout;
        let call = async {
            let response = self
                .calls
                .request(built)
                .await
                .map_err(|error| of(&error, &target))?;
            receive(&target, response, request).await
        };
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                place: target.place.clone(),
                after: timeout,
            })
        })
    }
}

/// Our own error where the connection was not made; else the server has broken off.
fn of(error: &legacy::Error, target: &Target) -> Error {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<Error>() {
            return ours.clone();
        }
        source = cause.source();
    }
    Error::Http {
        place: target.place.clone(),
    }
}

/// Connects for the pool.
#[derive(Clone)]
struct Dial {
    client: Client,
    allow: Allow,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { client, allow } = self.clone();
        Box::pin(async move {
            let url = Url::parse(&uri.to_string()).map_err(|_| Error::NoHost)?;
            client.dial(&url, &allow, CONNECT).await.map(TokioIo::new)
        })
    }
}
