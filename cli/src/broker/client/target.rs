//! Where a broker is, and who asks it.

use crate::arguments::BrokerArguments;
use crate::broker::client::Ask;
use crate::broker::client::connection::Trouble;
use crate::failure::Failure;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http_body_util::Full;
use mim_egress::tls::{trusting_bundle, trusting_system};
use rustls::ClientConfig;
use std::path::PathBuf;
use std::sync::Arc;
use url::{Host, Url};

/// The path of the API.
const API: &str = "/ngsi-ld/v1";
/// The environment's variable with a token.
const TOKEN: &str = "MIMCTL_TOKEN";

/// A broker and a tenant of it.
pub struct Target {
    url: Url,
    tenant: Option<HeaderValue>,
    token: Option<Token>,
    tls: Option<Arc<ClientConfig>>,
}

/// Where the token is. It is never on the command line, which others on the machine can read.
enum Token {
    File(PathBuf),
    Text(String),
}

impl Target {
    /// What the command line says, checked.
    pub fn of(arguments: &BrokerArguments) -> Result<Self, Failure> {
        let token = match &arguments.token_file {
            Some(path) => Some(Token::File(path.clone())),
            None => std::env::var(TOKEN)
                .ok()
                .filter(|text| !text.is_empty())
                .map(Token::Text),
        };
        Self::with(arguments, token)
    }

    fn with(arguments: &BrokerArguments, token: Option<Token>) -> Result<Self, Failure> {
        let url = base(&arguments.url)?;
        let tenant = arguments.tenant.as_deref().filter(|name| !name.is_empty());
        let tenant = tenant.map(HeaderValue::from_str).transpose();
        let tenant = tenant.map_err(|_| Failure::Usage("--tenant is not a name".to_owned()))?;
        let tls = (url.scheme() == "https").then(|| trust(arguments)).transpose()?;
        if token.is_some() && tls.is_none() && !is_this_machine(&url) {
            return Err(Failure::Usage(format!(
                "a token is not sent to {url}, which has no TLS; write https"
            )));
        }
        let target = Self {
            url,
            tenant,
            token,
            tls,
        };
        target.authorization()?;
        Ok(target)
    }

    /// The broker's API, as it is told and kept.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The tenant; empty for the default one.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.tenant
            .as_ref()
            .and_then(|name| name.to_str().ok())
            .unwrap_or_default()
    }

    /// How it is trusted; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// A request as it is sent.
    pub fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Trouble> {
        let wrong = |error: http::Error| {
            Trouble::Lasting(Failure::Usage(format!("the request cannot be made: {error}")))
        };
        let path = format!("{}{}", self.url.path(), ask.path);
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(path)
            .header(HOST, self.host());
        if !ask.body.is_empty() {
            request = request.header(CONTENT_LENGTH, ask.body.len());
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header(HeaderName::from_static("ngsild-tenant"), tenant);
        }
        if let Some(authorization) = self.authorization().map_err(Trouble::Lasting)? {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(ask.body.clone())).map_err(wrong)
    }

    fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Read anew each time: tokens are shorter than large exports, and whoever renews them replaces the file.
    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let text = match &self.token {
            None => return Ok(None),
            Some(Token::Text(text)) => text.clone(),
            Some(Token::File(path)) => std::fs::read_to_string(path).map_err(Failure::of(path))?,
        };
        let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
        let mut value =
            value.map_err(|_| Failure::Usage("the token is not one line of plain text".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The URL of the API.
fn base(url: &Url) -> Result<Url, Failure> {
    let said = |why: &str| Failure::Usage(format!("--url {why}; write it like https://broker.example"));
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(said("is not one of http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(said(
            "has a user: credentials are a token in a file or in MIMCTL_TOKEN",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(said("has a query or a fragment"));
    }
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/');
    let path = match path.strip_suffix(API) {
        Some(_) => path.to_owned(),
        None => format!("{path}{API}"),
    };
    url.set_path(&path);
    Ok(url)
}

fn trust(arguments: &BrokerArguments) -> Result<Arc<ClientConfig>, Failure> {
    match &arguments.ca_file {
        Some(path) => {
            let pem = std::fs::read(path).map_err(Failure::of(path))?;
            trusting_bundle(&pem).map_err(|_| {
                Failure::Usage(format!("{} has no certificates that can be read", path.display()))
            })
        }
        None => trusting_system().map_err(|_| {
            Failure::Usage(
                "this machine trusts nobody: write --ca-file with the broker's authority".to_owned(),
            )
        }),
    }
}

/// A forwarded port, mostly.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn arguments(url: &str) -> BrokerArguments {
        BrokerArguments {
            url: url.parse().unwrap(),
            tenant: Some("one".to_owned()),
            ca_file: None,
            token_file: None,
            patience: 1,
            timeout: 1,
        }
    }

    #[test]
    fn the_path_of_the_api_is_added_once() {
        for (url, expected) in [
            ("http://b.example", "http://b.example/ngsi-ld/v1"),
            ("http://b.example/city/", "http://b.example/city/ngsi-ld/v1"),
            (
                "http://b.example:1026/ngsi-ld/v1/",
                "http://b.example:1026/ngsi-ld/v1",
            ),
        ] {
            assert_eq!(base(&url.parse().unwrap()).unwrap().as_str(), expected);
        }
        for bad in [
            "ftp://b.example",
            "http://u:p@b.example",
            "http://b.example?x=1",
            "file:///x",
        ] {
            assert_eq!(base(&bad.parse().unwrap()).unwrap_err().code(), 2, "{bad}");
        }
    }

    #[test]
    fn a_token_goes_nowhere_without_tls_but_to_this_machine() {
        let token = || Some(Token::Text("t0ken\n".to_owned()));
        assert!(Target::with(&arguments("http://b.example"), token()).is_err());
        for url in ["http://localhost:1026", "http://127.0.0.1", "http://[::1]"] {
            let target = Target::with(&arguments(url), token()).unwrap();
            let ask = Ask {
                method: Method::GET,
                path: "/types".to_owned(),
                headers: Vec::new(),
                body: Bytes::new(),
            };
            let Ok(request) = target.request(&ask) else {
                panic!("a request can be made")
            };
            assert_eq!(request.uri(), "/ngsi-ld/v1/types");
            assert_eq!(request.headers()["authorization"], "Bearer t0ken");
            assert_eq!(request.headers()["ngsild-tenant"], "one");
            assert!(!format!("{request:?}").contains("t0ken"));
        }
        let two_lines = Some(Token::Text("a\nb".to_owned()));
        assert!(Target::with(&arguments("http://localhost"), two_lines).is_err());
    }
}
