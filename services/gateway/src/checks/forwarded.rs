//! Who the client is, and what the broker is told of it. Proxies in front of us are believed where the configuration names them.

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::net::IpAddr;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOW: HeaderName = HeaderName::from_static("x-forwarded-proto");
const WHERE: HeaderName = HeaderName::from_static("x-forwarded-host");
const OTHERS: [HeaderName; 4] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
];
/// The most addresses of a chain.
const MAX_CHAIN: usize = 20;

/// Whether an address is that of a proxy that is believed.
#[must_use]
pub fn is_trusted(address: IpAddr, proxies: &[IpNet]) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|range| range.contains(&address))
}

/// The address of the client. What proxies have said is replaced by what we know: `X-Forwarded-For` (the chain as far as it is
/// believed, then `peer`), `X-Forwarded-Proto` and `X-Forwarded-Host`. `Forwarded` (RFC 7239) goes: two that differ would be two readings.
pub fn rewrite(fields: &mut HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_believed = is_trusted(peer, proxies);
    let chain = if is_believed { chain(fields) } else { Vec::new() };
    // The last one that no proxy of ours has, read from the nearest: whatever stands before it may be the client's own invention.
    let told = chain.iter().rposition(|address| !is_trusted(*address, proxies));
    let client = match (
        is_believed,
        told.or(if chain.is_empty() { None } else { Some(0) }),
    ) {
        (true, Some(at)) => chain.get(at).copied().unwrap_or(peer),
        _ => peer,
    };
    let mut text = String::new();
    for address in chain.iter().skip(told.unwrap_or(0)) {
        text.push_str(&address.to_string());
        text.push_str(", ");
    }
    text.push_str(&peer.to_string());
    set(fields, FOR, HeaderValue::try_from(text).ok());
    if !is_believed || !fields.contains_key(WHERE) {
        let host = fields.get(HOST).cloned();
        set(fields, WHERE, host);
    }
    set(fields, HOW, Some(HeaderValue::from_static("https")));
    for name in &OTHERS {
        fields.remove(name);
    }
    client
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(fields.insert(name, value)),
        None => drop(fields.remove(name)),
    }
}

/// The chain as it stands there, in its order, as far as it is readable from its end.
fn chain(fields: &HeaderMap) -> Vec<IpAddr> {
    let text: Vec<&str> = fields
        .get_all(FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut chain: Vec<IpAddr> = text
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(','))
        .map_while(|item| item.trim().parse().ok())
        .take(MAX_CHAIN)
        .map(|address: IpAddr| address.to_canonical())
        .collect();
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &[(&'static str, &'static str)], peer: &str, proxies: &[&str]) -> (String, String) {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("city.example"));
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let proxies: Vec<IpNet> = proxies.iter().map(|range| range.parse().unwrap()).collect();
        let client = rewrite(&mut map, peer.parse().unwrap(), &proxies);
        assert_eq!(map[HOW], "https");
        assert!(!map.contains_key("forwarded"));
        (client.to_string(), map[FOR].to_str().unwrap().to_owned())
    }

    fn said(client: &str, chain: &str) -> (String, String) {
        (client.to_owned(), chain.to_owned())
    }

    #[test]
    fn a_client_is_not_believed_about_itself() {
        let fields = [
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(told(&fields, "192.0.2.1", &[]), said("192.0.2.1", "192.0.2.1"));
        assert_eq!(
            told(&fields, "192.0.2.1", &["10.0.0.0/8"]),
            said("192.0.2.1", "192.0.2.1")
        );
    }

    #[test]
    fn a_proxy_is_believed_and_its_client_is_not() {
        let fields = [
            ("x-forwarded-for", "127.0.0.1, 192.0.2.7"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(
            told(&fields, "10.0.0.1", &["10.0.0.0/8"]),
            said("192.0.2.7", "192.0.2.7, 10.0.0.2, 10.0.0.1")
        );
    }

    #[test]
    fn what_is_not_readable_ends_the_chain() {
        let fields = [("x-forwarded-for", "192.0.2.9, unknown, 10.0.0.2")];
        assert_eq!(
            told(&fields, "::ffff:10.0.0.1", &["10.0.0.0/8"]),
            said("10.0.0.2", "10.0.0.2, 10.0.0.1")
        );
        assert_eq!(
            told(&[], "10.0.0.1", &["10.0.0.0/8"]),
            said("10.0.0.1", "10.0.0.1")
        );
    }
}
