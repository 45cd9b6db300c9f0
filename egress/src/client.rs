//! The edge: one call over one connection to an address that was checked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::error::Error;
use crate::policy::Policy;
use crate::resolve::{Resolve, SystemResolver};
use crate::stream::Stream;
use crate::target::{Allow, Target, TargetHost};
use crate::tls;

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Largest head of a response, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Makes guarded calls. Cheap to clone; holds no connections.
#[derive(Clone)]
pub struct Client {
    policy: Policy,
    resolver: Arc<dyn Resolve>,
    system_tls: Arc<OnceCell<Arc<ClientConfig>>>,
}

/// A bearer token. Never shown: its `Debug` is a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// One request. Its `Debug` tells of the body how long it is: it may hold what is secret.
#[derive(Clone)]
pub struct Request {
    /// What is asked; GET unless a caller says otherwise.
    pub method: Method,
    /// Where to; http or https, any port, without a user name.
    pub url: Url,
    /// Further headers. `Host`, `Accept-Encoding` and the headers of the connection itself cannot be set.
    pub headers: HeaderMap,
    /// Sent as `Authorization: Bearer`; https only.
    pub token: Option<Token>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// What is sent; empty: no body. Its type is one of `headers`.
    pub body: Bytes,
    /// From the look-up of the name to the last byte of the body.
    pub timeout: Duration,
    /// Largest body in bytes.
    pub max_body: usize,
    /// What may be reached beyond the client's policy.
    pub allow: Allow,
}

/// What a server answered, of any status but a redirect.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: http::StatusCode,
    /// Value of `Content-Type`, where it is readable text.
    pub content_type: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body, at most `max_body` bytes. Not to be echoed to whoever named the URL.
    pub body: Bytes,
    /// Where the body came from: the URL of the request, as redirects are not followed.
    pub url: Url,
}

impl Request {
    /// A GET without token or own CA, 5 s, 1 MiB, nothing beyond the policy.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            token: None,
            ca_pem: None,
            body: Bytes::new(),
            timeout: Duration::from_secs(5),
            max_body: 1024 * 1024,
            allow: Allow::PolicyOnly,
        }
    }
}

impl Token {
    /// A token as it stands in a Secret; white space around it is left out.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url.as_str())
            .field("headers", &self.headers)
            .field("token", &self.token)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("timeout", &self.timeout)
            .field("max_body", &self.max_body)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client that resolves names as the system does.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with_resolver(policy, SystemResolver)
    }

    /// A client with another resolver, for tests.
    #[must_use]
    pub fn with_resolver(policy: Policy, resolver: impl Resolve) -> Self {
        Self {
            policy,
            resolver: Arc::new(resolver),
            system_tls: Arc::new(OnceCell::new()),
        }
    }

    /// [`Self::send`] with GET and without a body, whatever the request says.
    pub async fn get(&self, request: Request) -> Result<Response, Error> {
        let request = Request {
            method: Method::GET,
            body: Bytes::new(),
            ..request
        };
        self.send(request).await
    }

    /// Makes one call, within the request's timeout. Any status that is not a redirect is a response, 5xx too. Nothing is sent twice: what
    /// became of a call without an answer is for the caller to find out.
    ///
    /// Dropping the future ends the call and its connection.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let target = Target::parse(&request.url, &request.allow)?;
        let head = head(&target, &request)?;
        let timeout = request.timeout;
        let deadline = Instant::now() + timeout;
        tokio::time::timeout_at(deadline, self.call(&target, head, request, deadline))
            .await
            .unwrap_or_else(|_| {
                Err(Error::Timeout {
                    place: target.place.clone(),
                    after: timeout,
                })
            })
    }

    async fn call(
        &self,
        target: &Target,
        head: http::Request<Full<Bytes>>,
        request: Request,
        deadline: Instant,
    ) -> Result<Response, Error> {
        let stream = self.open(target, request.ca_pem.as_deref(), deadline).await?;
        let (response, _connection) = send(target, stream, head).await?;
        receive(target, response, request).await
    }

    /// Connects to one of the addresses that were checked, with TLS where the target asks for it.
    pub(crate) async fn open(
        &self,
        target: &Target,
        ca_pem: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Stream, Error> {
        let tls = if target.tls {
            Some(self.tls(target, ca_pem).await?)
        } else {
            None
        };
        let addresses = self.checked_addresses(target).await?;
        let stream = connect(target, &addresses, deadline).await?;
        let Some(config) = tls else {
            return Ok(Stream::Plain(stream));
        };
        let stream = TlsConnector::from(config)
            .connect(target.server_name()?, stream)
            .await;
        stream
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| Error::Tls {
                place: target.place.clone(),
                cause: tls_words(&error),
            })
    }

    /// Every address of the host, all of them allowed; an answer with one refused address is refused whole, because
    /// a name that mixes the two is not what its owner says it is.
    async fn checked_addresses(&self, target: &Target) -> Result<Vec<IpAddr>, Error> {
        let addresses = match &target.host {
            TargetHost::Address(address) => vec![*address],
            TargetHost::Name(name) => self.resolver.resolve(name).await.unwrap_or_default(),
        };
        for address in &addresses {
            self.policy
                .check(*address, target.private_allowed)
                .map_err(|reason| Error::AddressRefused {
                    place: target.place.clone(),
                    reason,
                })?;
        }
        if addresses.is_empty() {
            return Err(Error::NotResolved {
                place: target.place.clone(),
            });
        }
        Ok(addresses
            .into_iter()
            .take(MAX_ADDRESSES)
            .map(|address| address.to_canonical())
            .collect())
    }

    async fn tls(&self, target: &Target, ca_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, Error> {
        let found = match ca_pem {
            Some(pem) => tls::trusting_bundle(pem),
            None => self.system_tls.get_or_try_init(system_tls).await.cloned(),
        };
        let found = found.map(|config| {
            if target.http {
                config
            } else {
                tls::without_http(&config)
            }
        });
        found.map_err(|why| match why {
            tls::NoRoots::NotReadable => Error::CaNotReadable {
                place: target.place.clone(),
            },
            tls::NoRoots::NoneOnSystem => Error::NoTrustStore {
                place: target.place.clone(),
            },
        })
    }
}

async fn system_tls() -> Result<Arc<ClientConfig>, tls::NoRoots> {
    tokio::task::spawn_blocking(tls::trusting_system)
        .await
        .unwrap_or(Err(tls::NoRoots::NoneOnSystem))
}

/// Request line and headers; refuses a credential over plain http and headers that belong to the connection.
pub(crate) fn head(target: &Target, request: &Request) -> Result<http::Request<Full<Bytes>>, Error> {
    let place = || target.place.clone();
    let mut headers = request.headers.clone();
    if let Some(name) = OWN_HEADERS.iter().find(|name| headers.contains_key(*name)) {
        return Err(Error::HeaderNotAllowed {
            place: place(),
            name: name.to_string(),
        });
    }
    if let Some(token) = &request.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0))
            .map_err(|_| Error::TokenNotSendable { place: place() })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if !target.tls && CREDENTIALS.iter().any(|name| headers.contains_key(name)) {
        return Err(Error::TokenOverPlainHttp { place: place() });
    }
    let host = HeaderValue::from_str(&target.authority).map_err(|_| Error::NoHost)?;
    headers.insert(header::HOST, host);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
    let mut built = http::Request::builder()
        .method(&request.method)
        .uri(&target.path_and_query)
        .body(Full::new(request.body.clone()))
        .map_err(|_| Error::NoHost)?;
    *built.headers_mut() = headers;
    Ok(built)
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("mim-egress/", env!("CARGO_PKG_VERSION")));
const OWN_HEADERS: [HeaderName; 7] = [
    header::HOST,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// Tries the addresses in turn; each gets an equal share of the time that is left, so that one dead address does not
/// use up the time of a living one.
async fn connect(target: &Target, addresses: &[IpAddr], deadline: Instant) -> Result<TcpStream, Error> {
    let mut cause = String::from("timed out");
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match tokio::time::timeout(share, TcpStream::connect(SocketAddr::new(*address, target.port))).await {
            Ok(Ok(stream)) => {
                // Best effort: a socket that refuses the option still works.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => cause = error.kind().to_string(),
            Err(_) => "timed out".clone_into(&mut cause),
        }
    }
    Err(Error::NotConnected {
        place: target.place.clone(),
        cause,
    })
}

/// A connection of one call; it ends with this value.
struct Connection(tokio::task::AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(
    target: &Target,
    stream: Stream,
    head: http::Request<Full<Bytes>>,
) -> Result<(http::Response<Incoming>, Connection), Error> {
    let broken = |_| Error::Http {
        place: target.place.clone(),
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        // Names of headers are the same in any case, but not every receiver knows.
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let task = tokio::spawn(async move {
        // Its error reaches the caller through the response or the body.
        let _ = connection.await;
    });
    let connection = Connection(task.abort_handle());
    let response = sender.send_request(head).await.map_err(broken)?;
    Ok((response, connection))
}

/// Reads the body of an answer, which is no redirect, within the request's bound.
pub(crate) async fn receive(
    target: &Target,
    mut response: http::Response<Incoming>,
    request: Request,
) -> Result<Response, Error> {
    let place = || target.place.clone();
    let status = response.status();
    if matches!(status.as_u16(), 300..=303 | 305..=308) {
        return Err(Error::Redirect {
            place: place(),
            status: status.as_u16(),
        });
    }
    let limit = request.max_body;
    let too_large = || Error::BodyTooLarge {
        place: place(),
        limit,
    };
    let body = response.body_mut();
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Http { place: place() })?;
        if let Some(data) = frame.data_ref() {
            if received.len().saturating_add(data.len()) > limit {
                return Err(too_large());
            }
            received.extend_from_slice(data);
        }
    }
    let headers = std::mem::take(response.headers_mut());
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    Ok(Response {
        status,
        content_type,
        headers,
        body: received.freeze(),
        url: request.url,
    })
}

/// The TLS library's reason without the wrapping of the I/O error; it names no received bytes.
fn tls_words(error: &std::io::Error) -> String {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            format!("its certificate is not valid here ({reason}); check the CA and the host name")
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "the port does not speak TLS; check scheme and port".to_owned()
        }
        Some(reason) => format!("handshake failed ({reason})"),
        None => format!("handshake broke off ({})", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Refused;

    /// What one call may reach where every name resolves to this address. Looks at the check alone: no test sends
    /// anything to an address that is not this machine's.
    async fn checked(host: &str, address: &str) -> Result<Vec<IpAddr>, Error> {
        let address: IpAddr = address.parse().unwrap();
        let policy = Policy::new(vec![], vec!["10.96.0.1/32".parse().unwrap()]);
        let client = Client::with_resolver(policy, move |_: &str| Ok(vec![address]));
        let url = Url::parse(&format!("http://{host}/")).unwrap();
        let target = Target::parse(&url, &Allow::ServicesOf("city".into())).unwrap();
        client.checked_addresses(&target).await
    }

    fn reason(checked: Result<Vec<IpAddr>, Error>) -> Refused {
        match checked {
            Err(Error::AddressRefused { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_service_of_the_namespace_may_be_private_and_others_not() {
        for host in ["broker.city.svc", "broker.city.svc.cluster.local"] {
            assert_eq!(
                checked(host, "10.2.3.4").await.unwrap(),
                ["10.2.3.4".parse::<IpAddr>().unwrap()]
            );
        }
        for host in ["broker.other.svc", "broker.example.org", "10.2.3.4"] {
            assert_eq!(
                reason(checked(host, "10.2.3.4").await),
                Refused::Private,
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn a_service_of_the_namespace_cannot_lead_to_the_node_the_metadata_or_the_api_server() {
        for (address, why) in [
            ("127.0.0.1", Refused::Loopback),
            ("169.254.169.254", Refused::LinkLocal),
            ("fd00:ec2::254", Refused::Metadata),
            ("10.96.0.1", Refused::Forbidden),
            ("::ffff:10.96.0.1", Refused::Forbidden),
        ] {
            assert_eq!(
                reason(checked("broker.city.svc", address).await),
                why,
                "{address}"
            );
        }
    }

    #[tokio::test]
    async fn a_mapped_address_is_connected_to_as_what_it_is() {
        assert_eq!(
            checked("example.org", "::ffff:1.1.1.1").await.unwrap(),
            ["1.1.1.1".parse::<IpAddr>().unwrap()]
        );
    }
}
