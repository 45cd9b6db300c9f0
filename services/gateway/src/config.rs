//! `gateway.yaml`. Unlike other services of ours the gateway refuses members that it does not know: one could be a restriction.

use ipnet::IpNet;
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroU64};

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The broker.
    pub upstream: Upstream,
    /// The clients' side of TLS.
    #[serde(default)]
    pub tls: Tls,
    /// Ranges of proxies in front of the gateway that are believed about their clients.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether these proxies speak the PROXY protocol.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// What one request may have.
    #[serde(default)]
    pub limits: Limits,
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

/// What one request may have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of a body.
    pub body: NonZeroU64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What the broker takes.
            body: NonZeroU64::MIN.saturating_add(8 * 1024 * 1024 - 1),
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
}

impl Default for Audit {
    fn default() -> Self {
        Self { enabled: true }
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
    Ok(config)
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
            "upstream: {address: \"broker:1\"}\ntls: {minVersion: \"1.1\"}",
            "upstream: {address: \"broker:1\"}\nproxyProtocol: true",
            "upstream: {address: \"broker:1\"}\ntrustedProxies: [10.0.0.0]",
            "upstream: {address: \"broker:1\"}\nlimits: {body: 0}",
            "upstream: {address: \"broker:1\", timeout: 0}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
