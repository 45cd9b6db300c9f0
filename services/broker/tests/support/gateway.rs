//! The platform's gateway as the broker knows it: a certificate of the authority, with a name, over TLS 1.3.

use super::{Answer, Broker, Postgres, eventually};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name that the broker's configuration expects.
pub const NAME: &str = "gateway.city.svc";

/// An authority that signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key for a name, both as PEM.
    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes the files of the broker's side.
    pub fn equip(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let (certificate, key) = self.sign("broker.city.svc", ExtendedKeyUsagePurpose::ServerAuth);
        std::fs::write(folder.join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.join("tls.key"), key).unwrap();
        std::fs::write(folder.join("ca.crt"), &self.pem).unwrap();
    }

    /// What whoever trusts this authority has in a file.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server with a certificate for a name.
    pub fn server(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.sign(name, ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A client with a certificate for a name; without one where there is none.
    pub fn client(&self, name: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        self.client_that_trusts(roots, name)
    }

    fn client_that_trusts(&self, roots: RootCertStore, name: Option<&str>) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.sign(name, ExtendedKeyUsagePurpose::ClientAuth);
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }

    /// A client with a certificate of this authority that trusts another one.
    pub fn client_of(&self, other: &Self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(other.pem.as_bytes()).unwrap())
            .unwrap();
        self.client_that_trusts(roots, Some(NAME))
    }
}

/// A broker with its gateway before it.
pub struct Guarded {
    pub broker: Broker,
    pub authority: Authority,
    pub door: SocketAddr,
    connector: TlsConnector,
    /// Connections that are not in use.
    idle: Mutex<Vec<Sender>>,
}

type Sender = SendRequest<Full<bytes::Bytes>>;

impl Guarded {
    /// On a new database, ready; `more` is added to the configuration.
    pub async fn ready(more: &str) -> Self {
        let config = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.equip(&config.path().join("gateway-tls"));
        let text = format!(
            "tenants: [one, two]\ngateway: {{listen: \"127.0.0.1:0\", clientNames: [{NAME}]}}\n{more}\n"
        );
        std::fs::write(config.path().join("broker.yaml"), text).unwrap();
        let database = Arc::new(Postgres::shared().database());
        let broker = Broker::start_with(database, Arc::new(config));
        broker.until_ready().await;
        let door = broker.door("listening for the gateway gateway=").await;
        let connector = authority.client(Some(NAME));
        let guarded = Self {
            broker,
            authority,
            door,
            connector,
            idle: Mutex::default(),
        };
        eventually(10, "the gateway may come in", async || {
            guarded
                .try_as("GET", "/types", Some(&everything()), None)
                .await
                .is_ok_and(|answer| answer.status == 200)
        })
        .await;
        guarded
    }

    /// A request with a permission set.
    pub async fn ask(&self, set: &serde_json::Value, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.try_as(method, path, Some(set), body).await.unwrap()
    }

    pub async fn get(&self, set: &serde_json::Value, path: &str) -> Answer {
        self.ask(set, "GET", path, None).await
    }

    /// Ids of a query, in order.
    pub async fn ids(&self, set: &serde_json::Value, query: &str) -> Vec<String> {
        let answer = self.get(set, &format!("/entities?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let json = answer.json();
        let entities = json.as_array().unwrap().iter();
        entities.map(|e| e["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn try_as(
        &self,
        method: &str,
        path: &str,
        set: Option<&serde_json::Value>,
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let value = set.map(header);
        let headers: Vec<(&str, &str)> = value
            .as_deref()
            .map(|value| ("mim-permissions", value))
            .into_iter()
            .collect();
        self.over_idle(method, path, &headers, body).await
    }

    /// Over a connection that there is, or a new one.
    async fn over_idle(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let idle = self.idle.lock().unwrap().pop();
        let mut sender = match idle.filter(Sender::is_ready) {
            Some(sender) => sender,
            None => connect(&self.connector, self.door).await?,
        };
        let answer = send_over(&mut sender, method, path, headers, body).await?;
        self.idle.lock().unwrap().push(sender);
        Ok(answer)
    }

    /// A request with a permission set to a tenant.
    pub async fn ask_in(
        &self,
        tenant: &str,
        set: &serde_json::Value,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Answer {
        let value = header(set);
        let headers = [("mim-permissions", &*value), ("ngsild-tenant", tenant)];
        self.over_idle(method, path, &headers, body).await.unwrap()
    }

    /// A request as the gateway, with these headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(&self.connector, self.door, method, path, headers, None)
            .await
            .unwrap()
    }
}

/// A set as the value of its header.
pub fn header(set: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(set.to_string())
}

/// A set that allows everything.
pub fn everything() -> serde_json::Value {
    let all = serde_json::json!({"allow": [{}]});
    serde_json::json!({"version": 1, "subject": "urn:s:admin", "admin": true, "read": all, "create": all, "update": all, "delete": all})
}

/// One request over a connection of its own.
pub async fn send(
    connector: &TlsConnector,
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Result<Answer, String> {
    let mut sender = connect(connector, to).await?;
    send_over(&mut sender, method, path, headers, body).await
}

/// A connection to that door.
pub async fn connect(connector: &TlsConnector, to: SocketAddr) -> Result<Sender, String> {
    let stream = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
    let name = ServerName::try_from("broker.city.svc").unwrap();
    let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request over it.
pub async fn send_over(
    sender: &mut Sender,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Result<Answer, String> {
    let is_whole = ["/ngsi-ld", "/admin", "/openapi.json"]
        .iter()
        .any(|begin| path.starts_with(begin));
    let path = if is_whole {
        path.to_owned()
    } else {
        format!("/ngsi-ld/v1{path}")
    };
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "broker.city.svc");
    if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::<bytes::Bytes>::from(bytes::Bytes::from(body.unwrap_or_default().to_owned()));
    let response = sender
        .send_request(request.body(body).unwrap())
        .await
        .map_err(|e| e.to_string())?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}
