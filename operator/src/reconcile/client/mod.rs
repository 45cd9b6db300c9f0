//! The client: one stack of layers, written out, and the typed edge that every write goes through.
//!
//! kube's own stack is not used for two reasons. It sends a request again by itself, up to fifteen times and 1,000 s
//! (`kube::client::retry`), out of sight of whoever counts; and a POST whose 504 hid a success would be sent twice.
//! Here nothing is sent again: what failed is the business of the next pass, which looks first.

mod requests;

use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use tower::{BoxError, ServiceBuilder};

pub use requests::{ONLY_IF_ABSENT, Requests};

use super::request::RequestLayer;

/// Name and version by which the API server's audit log and metrics know this operator.
pub const USER_AGENT_VALUE: &str = concat!("mim-operator/", env!("CARGO_PKG_VERSION"));

/// How long TCP may take to connect. The API server is near; a longer wait only hides that it is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection without traffic is probed after this time and given up after three probes, so a watch whose other side has
/// vanished without a word ends within a minute and not at its own time limit.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Idle connections are closed before load balancers and NATs, which forget them after 240 s at the earliest, do it silently.
const IDLE: Duration = Duration::from_mins(1);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig names a proxy.
    #[error(
        "the kubeconfig names the proxy {0}, which this operator does not speak; give it a way to the API server without a proxy"
    )]
    Proxy(http::Uri),
    /// CA, client certificate, token or another part of the configuration is not usable.
    #[error("the configuration of the Kubernetes client is not usable: {0}")]
    Config(#[from] kube::Error),
}

/// A client whose every request passes `layer`.
///
/// Call it inside a tokio runtime. The TLS provider of the process must be installed before.
pub fn connect(mut config: kube::Config, layer: &RequestLayer) -> Result<kube::Client, ConnectError> {
    if let Some(proxy) = config.proxy_url {
        return Err(ConnectError::Proxy(proxy));
    }
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE)));

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE / 2));
    tcp.set_keepalive_retries(Some(3));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let connections: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector);

    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(layer)
        .map_err(BoxError::from)
        .service(connections);
    Ok(kube::Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests;
