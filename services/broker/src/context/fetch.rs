//! How an @context is fetched: one GET through the guard for URLs that a client has given.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, HeaderValue};
use mim_egress::{Client, Request};
use std::time::Duration;

/// The largest @context that is taken, in bytes.
pub const MAX_DOCUMENT: usize = 4 * 1024 * 1024;
/// How long a server may take from the look-up of its name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Brings the bytes behind a URL, or one plain sentence why not.
pub trait Fetch: Send + Sync + 'static {
    /// Fetches the document. Bounded in time and size by whoever implements it.
    fn fetch<'a>(&'a self, url: &'a url::Url) -> BoxFuture<'a, Result<Bytes, String>>;
}

impl Fetch for Client {
    fn fetch<'a>(&'a self, url: &'a url::Url) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let mut request = Request::new(url.clone());
            request.headers.insert(
                ACCEPT,
                HeaderValue::from_static("application/ld+json, application/json;q=0.9"),
            );
            request.timeout = TIMEOUT;
            request.max_body = MAX_DOCUMENT;
            let response = self.get(request).await.map_err(|e| e.to_string())?;
            if response.status != http::StatusCode::OK {
                return Err(format!(
                    "the server answered with status {}",
                    response.status.as_u16()
                ));
            }
            Ok(response.body)
        })
    }
}
