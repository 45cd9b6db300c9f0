//! Which URLs may be called, before any look-up. Pure.

use rustls::pki_types::ServerName;
use std::net::IpAddr;
use url::{Host, Url};

use crate::error::{Error, Place};

/// Longest URL that is called, in bytes.
pub const MAX_URL: usize = 8 * 1024;

/// What one call may reach beyond what the [`crate::Policy`] opens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Allow {
    /// Nothing beyond the policy.
    #[default]
    PolicyOnly,
    /// Services of this namespace by their cluster names `<service>.<namespace>.svc` and
    /// `<service>.<namespace>.svc.cluster.local`: their addresses may be private without an allowance of the
    /// administrator. Loopback, link-local, metadata and forbidden addresses stay refused.
    ServicesOf(String),
}

/// A URL that passed the rules on URLs; its host is not yet resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// Scheme, host and port: all that messages may show.
    pub place: Place,
    /// Speak TLS.
    pub tls: bool,
    /// Speak HTTP, and offer it in the TLS handshake.
    pub http: bool,
    /// What to resolve, or an address that needs no look-up.
    pub host: TargetHost,
    /// Port, that of the scheme where the URL has none.
    pub port: u16,
    /// Value of the `Host` header.
    pub authority: String,
    /// Path and query as they go into the request line.
    pub path_and_query: String,
    /// Private addresses need no allowance of the administrator: the host is a Service of the allowed namespace.
    pub private_allowed: bool,
}

/// Host of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetHost {
    /// A DNS name, lower case, without a dot at its end.
    Name(String),
    /// An address that stands in the URL.
    Address(IpAddr),
}

impl Target {
    /// Checks everything about a URL that needs no network: scheme, user name, length, host, names of the API server.
    pub fn parse(url: &Url, allow: &Allow) -> Result<Self, Error> {
        Self::checked(url, Place::of(url), allow)
    }

    /// As [`Self::parse`], also for `mqtt` and `mqtts`. Their hosts are read by the rules for web addresses, so that
    /// the same notations are known as addresses.
    pub fn to_dial(url: &Url, allow: &Allow) -> Result<Self, Error> {
        let (web, port) = match url.scheme() {
            "mqtt" => ("http", 1883),
            "mqtts" => ("https", 8883),
            _ => return Self::parse(url, allow),
        };
        let place = Place::of(url);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::UserInfo { place });
        }
        let host = url.host_str().ok_or(Error::NoHost)?;
        let port = url.port().unwrap_or(port);
        let web = Url::parse(&format!("{web}://{host}:{port}/")).map_err(|_| Error::NoHost)?;
        let target = Self::checked(&web, place, allow)?;
        Ok(Self {
            http: false,
            ..target
        })
    }

    fn checked(url: &Url, place: Place, allow: &Allow) -> Result<Self, Error> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                return Err(Error::Scheme {
                    scheme: other.chars().take(32).collect(),
                });
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::UserInfo { place });
        }
        if url.as_str().len() > MAX_URL {
            return Err(Error::TooLong { place });
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Error::NoHost);
        };
        let host = match host {
            Host::Ipv4(v4) => TargetHost::Address(v4.into()),
            Host::Ipv6(v6) => TargetHost::Address(IpAddr::from(v6).to_canonical()),
            Host::Domain(name) => TargetHost::Name(plain_name(name).ok_or(Error::NoHost)?),
        };
        let private_allowed = match &host {
            TargetHost::Name(name) if names_api_server(name) => return Err(Error::ApiServer { place }),
            TargetHost::Name(name) => is_service_of(name, allow),
            TargetHost::Address(_) => false,
        };
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self {
            place,
            tls,
            http: true,
            host,
            port,
            authority,
            path_and_query,
            private_allowed,
        })
    }

    /// The name that the server's certificate must carry.
    pub fn server_name(&self) -> Result<ServerName<'static>, Error> {
        match &self.host {
            TargetHost::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| Error::NotACertificateName {
                    place: self.place.clone(),
                })
            }
            TargetHost::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        }
    }
}

/// The name without the dot of the root; none where nothing is left.
fn plain_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty() && !name.ends_with('.')).then(|| name.to_ascii_lowercase())
}

/// The Service of the API server has these names in every cluster, whatever its address.
fn names_api_server(name: &str) -> bool {
    matches!(
        name,
        "kubernetes" | "kubernetes.default" | "kubernetes.default.svc"
    ) || name.starts_with("kubernetes.default.svc.")
}

fn is_service_of(name: &str, allow: &Allow) -> bool {
    let Allow::ServicesOf(namespace) = allow else {
        return false;
    };
    let name = name.strip_suffix(".cluster.local").unwrap_or(name);
    let Some((service, rest)) = name.split_once('.') else {
        return false;
    };
    !service.is_empty() && !namespace.is_empty() && rest.strip_suffix(".svc") == Some(namespace.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, Error> {
        Target::parse(&Url::parse(text).unwrap(), &Allow::ServicesOf("city".into()))
    }

    #[test]
    fn odd_ports_paths_and_queries_are_kept() {
        let target = target("http://Example.org.:8123/a%20b?q=1#frag").unwrap();
        assert_eq!(target.host, TargetHost::Name("example.org".into()));
        assert_eq!((target.port, target.tls), (8123, false));
        assert_eq!(target.authority, "example.org.:8123");
        assert_eq!(target.path_and_query, "/a%20b?q=1");
    }

    #[test]
    fn other_schemes_and_user_names_are_refused_without_being_shown() {
        assert!(matches!(target("ftp://example.org/"), Err(Error::Scheme { .. })));
        assert!(matches!(target("file:///etc/passwd"), Err(Error::Scheme { .. })));
        let error = target("https://alice:secret-word@example.org/private/path").unwrap_err();
        assert!(matches!(error, Error::UserInfo { .. }));
        let words = format!("{error} {error:?}");
        assert!(
            !words.contains("secret-word") && !words.contains("alice") && !words.contains("private"),
            "{words}"
        );
    }

    #[test]
    fn numbers_in_any_notation_are_addresses() {
        for text in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(
                target(text).unwrap().host,
                TargetHost::Address("127.0.0.1".parse().unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn only_services_of_the_namespace_may_be_private() {
        for name in [
            "db.city.svc",
            "db.city.svc.cluster.local",
            "db.city.svc.cluster.local.",
        ] {
            assert!(
                target(&format!("http://{name}:1026/")).unwrap().private_allowed,
                "{name}"
            );
        }
        for name in [
            "db.other.svc",
            "city.svc",
            "db.city",
            "db.city.svc.example.org",
            "a.db.city.svc",
            "db.city.svc.cluster.localx",
            "xcity.svc",
            "db.xcity.svc",
            "db.city.xsvc",
            "10.0.0.1",
        ] {
            assert!(
                !target(&format!("http://{name}/")).unwrap().private_allowed,
                "{name}"
            );
        }
        let url = Url::parse("http://db.city.svc/").unwrap();
        assert!(!Target::parse(&url, &Allow::PolicyOnly).unwrap().private_allowed);
    }

    #[test]
    fn the_api_server_is_refused_by_name() {
        for name in [
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "Kubernetes.Default",
            "kubernetes",
        ] {
            assert!(
                matches!(
                    target(&format!("https://{name}/api")),
                    Err(Error::ApiServer { .. })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn servers_of_mqtt_are_dialed_by_the_same_rules() {
        let dial =
            |text: &str| Target::to_dial(&Url::parse(text).unwrap(), &Allow::ServicesOf("city".into()));
        for (text, tls, port) in [
            ("mqtt://example.org/topic", false, 1883),
            ("mqtts://Example.org./topic", true, 8883),
            ("mqtts://example.org:443", true, 443),
            ("http://example.org", false, 80),
        ] {
            let target = dial(text).unwrap();
            assert_eq!((target.tls, target.port), (tls, port), "{text}");
            assert_eq!(target.host, TargetHost::Name("example.org".into()), "{text}");
            assert_eq!(target.http, text.starts_with("http"), "{text}");
        }
        for text in [
            "mqtt://0x7f.1:1883/",
            "mqtt://2130706433",
            "mqtts://[::ffff:127.0.0.1]/a",
        ] {
            let host = dial(text).unwrap().host;
            assert_eq!(host, TargetHost::Address("127.0.0.1".parse().unwrap()), "{text}");
        }
        assert!(dial("mqtt://mosquitto.city.svc/a").unwrap().private_allowed);
        assert!(!dial("mqtt://mosquitto.other.svc/a").unwrap().private_allowed);
        let refused = dial("mqtts://kubernetes.default.svc:6443/a").unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("mqtts://kubernetes.default.svc:6443 "),
            "{refused}"
        );
        assert!(matches!(
            dial("mqtt://user:word@example.org/"),
            Err(Error::UserInfo { .. })
        ));
        assert!(matches!(dial("amqp://example.org/"), Err(Error::Scheme { .. })));
        assert!(matches!(target("mqtt://example.org/"), Err(Error::Scheme { .. })));
    }

    #[test]
    fn a_very_long_url_is_refused() {
        assert!(matches!(
            target(&format!("https://example.org/{}", "a".repeat(MAX_URL))),
            Err(Error::TooLong { .. })
        ));
    }
}
