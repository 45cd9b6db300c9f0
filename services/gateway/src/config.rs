//! `gateway.yaml`. Unlike other services of ours the gateway refuses members that it does not know: one could be a restriction.

use crate::identity::jws::{self, Algorithm};
use crate::identity::subject::Subject;
use ipnet::IpNet;
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use url::Url;

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The broker.
    pub upstream: Upstream,
    /// The clients' side of TLS.
    #[serde(default)]
    pub tls: Tls,
    /// Names by which the gateway is called; absent: any. Proofs of possession are accepted only where there are some.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Ranges of proxies in front of the gateway that are believed about their clients.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether these proxies speak the PROXY protocol.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// What one request may have.
    #[serde(default)]
    pub limits: Limits,
    /// Who may ask; absent: nobody is asked who it is, and credentials go on to the broker.
    pub identity: Option<Identity>,
    /// Whether rules say what whoever asks may do; they are the part `policy` of the bundle. Until they are there nobody may do anything.
    #[serde(default)]
    pub policy: bool,
    /// Which web pages may call; absent: those of no other origin.
    pub cors: Option<Cors>,
    /// What is told of each request.
    #[serde(default)]
    pub audit: Audit,
}

/// The broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Upstream {
    /// Host and port.
    pub address: String,
    /// The name that its certificate must have; absent: plain HTTP, which is for brokers that speak nothing else.
    pub server_name: Option<String>,
    /// Seconds that it may take to answer.
    #[serde(default = "Upstream::usual_timeout")]
    pub timeout: NonZeroU32,
}

impl Upstream {
    fn usual_timeout() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(59)
    }
}

/// The clients' side of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// Seconds for which browsers are told to come by TLS only (RFC 6797); 0: they are not told.
    pub hsts: u32,
    /// Whether clients are asked for a certificate; those of the authorities in the file `client-ca.crt` say who they are.
    pub client_certificates: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// TLS 1.2 and 1.3.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Identity {
    /// Whether requests that show nothing go on, as those of nobody.
    #[serde(default)]
    pub anonymous: bool,
    /// Issuers of tokens.
    #[serde(default)]
    pub issuers: Vec<Issuer>,
    /// Keys of programs and devices.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
    /// What is known of certificates beyond their names.
    #[serde(default)]
    pub client_certificates: Vec<ClientCertificate>,
    /// Private ranges in which issuers may be.
    #[serde(default)]
    pub allowed_private_cidrs: Vec<IpNet>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Issuer {
    /// `iss`, to the letter.
    pub issuer: String,
    /// Who we are: one of these is in `aud`.
    pub audiences: Vec<String>,
    /// Where its keys are; https.
    pub jwks: Url,
    /// A file of the identity folder with certificates to trust there instead of the system's.
    pub authority: Option<String>,
    /// How its tokens may be signed.
    #[serde(default = "Issuer::usual_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// How many seconds clocks may differ by.
    #[serde(default = "Issuer::usual_skew")]
    pub skew: u16,
    /// For how many seconds keys are used that cannot be fetched anew.
    #[serde(default = "Issuer::usual_stale")]
    pub max_stale: NonZeroU32,
    /// Where tokens say whom they are of.
    #[serde(default)]
    pub claims: Claims,
}

impl Issuer {
    fn usual_algorithms() -> Vec<Algorithm> {
        jws::ALL.to_vec()
    }

    const fn usual_skew() -> u16 {
        30
    }

    fn usual_stale() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(3599)
    }
}

/// Where tokens say whom they are of: names of claims, or paths with dots. Absent: where Keycloak has them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Claims {
    /// The subject.
    pub id: String,
    /// The program that it uses.
    pub client: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// Other claims that rules speak of.
    pub others: Vec<String>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            id: "sub".to_owned(),
            client: "azp".to_owned(),
            roles: vec!["realm_access.roles".to_owned()],
            groups: vec!["groups".to_owned()],
            others: Vec::new(),
        }
    }
}

/// A key of a program or a device, which stands here only as a hash: it is to be of 128 bits of chance at least.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Named")]
pub struct ApiKey {
    digest: [u8; 32],
    /// Whose it is.
    pub subject: Arc<Subject>,
}

impl ApiKey {
    /// Whether a key with this SHA-256 is this one, in a time that does not depend on it.
    #[must_use]
    pub fn is(&self, digest: &[u8]) -> bool {
        self.digest.ct_eq(digest).into()
    }
}

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Named")]
pub struct ClientCertificate {
    /// One of its names.
    pub name: String,
    /// Whose it is.
    pub subject: Arc<Subject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Named {
    name: String,
    sha256: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
}

impl TryFrom<Named> for ApiKey {
    type Error = &'static str;

    fn try_from(named: Named) -> Result<Self, Self::Error> {
        let digest = named.sha256.as_deref().and_then(hexadecimal);
        Ok(Self {
            digest: digest.ok_or("sha256 of an API key is to be 64 hexadecimal digits")?,
            subject: Arc::new(Subject::of_key(&named.name, named.roles, named.groups)),
        })
    }
}

impl TryFrom<Named> for ClientCertificate {
    type Error = &'static str;

    fn try_from(named: Named) -> Result<Self, Self::Error> {
        if named.sha256.is_some() {
            return Err("a certificate is known by its name");
        }
        Ok(Self {
            subject: Arc::new(Subject::of_certificate(&named.name, named.roles, named.groups)),
            name: named.name,
        })
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..32)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

/// What requests may have. Rates are those of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Everybody who is known, each for itself.
    pub everybody: Allowance,
    /// Who is not known, each address for itself; absent: as everybody.
    pub anonymous: Option<Allowance>,
    /// Whoever has a role: the first of these that is its own holds instead.
    pub roles: Vec<RoleLimits>,
}

/// What whoever has a role may have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RoleLimits {
    /// The role.
    pub role: String,
    /// What it may have.
    pub may: Allowance,
}

/// What one subject may have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Allowance {
    /// Bytes of a body.
    pub body: NonZeroU64,
    /// Requests per second in the long run; absent: as many as come.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests at once beyond that; absent: those of a second.
    pub burst: Option<NonZeroU32>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            // What the broker takes.
            body: NonZeroU64::MIN.saturating_add(8 * 1024 * 1024 - 1),
            requests_per_second: None,
            burst: None,
        }
    }
}

/// Which web pages may call (Fetch Standard, CORS protocol).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cors {
    /// Their origins, to the letter; `*`: all. Credentials travel in `Authorization`, never in cookies.
    pub origins: Vec<String>,
    /// Seconds for which a browser may keep the answer.
    #[serde(default = "Cors::usual_age")]
    pub max_age: u32,
}

impl Cors {
    const fn usual_age() -> u32 {
        600
    }
}

/// What is told of each request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Audit {
    /// Whether there are lines at all.
    pub enabled: bool,
    /// How many ids of a request a line has at most.
    pub ids: u8,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            ids: 10,
        }
    }
}

/// Reads the text; the words of the error name the place and never a value.
pub fn parse(text: &str) -> Result<Config, String> {
    let config: Config = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if config.proxy_protocol && config.trusted_proxies.is_empty() {
        return Err("proxyProtocol is spoken by trustedProxies, and there are none".to_owned());
    }
    if !config.upstream.address.contains(':') {
        return Err("upstream.address is to be a host and a port".to_owned());
    }
    if let Some(identity) = &config.identity {
        check_identity(identity)?;
    }
    if config.policy && config.identity.is_none() {
        return Err("policy is about who asks: say how that is known, in identity".to_owned());
    }
    if config.policy && config.upstream.server_name.is_none() {
        return Err(
            "policy is obeyed by the broker, which believes whoever shows a certificate: say its upstream.serverName".to_owned(),
        );
    }
    Ok(config)
}

fn check_identity(identity: &Identity) -> Result<(), String> {
    for (number, issuer) in identity.issuers.iter().enumerate() {
        let refuse = |why: &str| Err(format!("identity.issuers[{number}]{why}"));
        if issuer.jwks.scheme() != "https" {
            return refuse(".jwks is to be an https URL: whoever changes keys on their way makes tokens");
        }
        if issuer.audiences.is_empty() || issuer.algorithms.is_empty() {
            return refuse(" has no audiences or no algorithms: no token would be accepted");
        }
        if issuer
            .authority
            .as_ref()
            .is_some_and(|name| name.contains('/') || name.starts_with('.'))
        {
            return refuse(".authority is to be the name of a file of the identity folder");
        }
        if identity
            .issuers
            .iter()
            .take(number)
            .any(|before| before.issuer == issuer.issuer)
        {
            return refuse(".issuer is that of one before");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_enough_and_the_rest_is_safe() {
        let config = parse("upstream: {address: \"broker:1027\", serverName: broker}").unwrap();
        assert_eq!(config.tls.min_version, Version::Tls13);
        assert!(config.trusted_proxies.is_empty() && config.cors.is_none() && config.audit.enabled);
        assert_eq!(config.upstream.timeout.get(), 60);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "{}",
            "upstream: {address: broker}",
            "upstream: {address: \"broker:1\", tls: true}",
            "upstream: {address: \"broker:1\"}\nfuture: 1",
            "upstream: {address: \"broker:1\", serverName: a}\npolicy: true",
            "upstream: {address: \"broker:1\"}\nidentity: {anonymous: true}\npolicy: true",
            "upstream: {address: \"broker:1\"}\ntls: {minVersion: \"1.1\"}",
            "upstream: {address: \"broker:1\"}\nproxyProtocol: true",
            "upstream: {address: \"broker:1\"}\ntrustedProxies: [10.0.0.0]",
            "upstream: {address: \"broker:1\"}\nlimits: {everybody: {body: 0}}",
            "upstream: {address: \"broker:1\", timeout: 0}",
            "upstream: {address: \"broker:1\"}\nlimits: {future: 1}",
            "upstream: {address: \"broker:1\"}\nlimits: {anonymous: {future: 1}}",
            "upstream: {address: \"broker:1\"}\nidentity: {apiKeys: [{name: a, sha256: abc}]}",
            "upstream: {address: \"broker:1\"}\nidentity: {issuers: [{issuer: a, audiences: [b], jwks: \"http://a/\"}]}",
            "upstream: {address: \"broker:1\"}\nidentity: {issuers: [{issuer: a, audiences: [], jwks: \"https://a/\"}]}",
            "upstream: {address: \"broker:1\"}\nidentity: {issuers: [{issuer: a, audiences: [b], jwks: \"https://a/\", algorithms: [HS256]}]}",
            "upstream: {address: \"broker:1\"}\nidentity: {issuers: [{issuer: a, audiences: [b], jwks: \"https://a/\", authority: ../a}]}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
