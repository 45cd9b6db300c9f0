//! The fields of a request: which may stand there once only, and which go no further.

use super::Refused;
use crate::message::head::items;
use http::header::{self, HeaderMap, HeaderName};

/// Fields of which two readers could take another one each.
const SINGLE: [HeaderName; 9] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::LINK,
    HeaderName::from_static("ngsild-tenant"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("dpop"),
];

/// Fields of this connection alone (RFC 9110 §7.6.1), beside those that `Connection` names.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields by which somebody behind us would be told what only we tell, or would read another request than we judged.
const OURS: [HeaderName; 8] = [
    HeaderName::from_static("mim-permissions"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-cert"),
];

/// Refuses doubled fields, and takes out what goes no further: what is left is judged and forwarded.
pub fn check(fields: &mut HeaderMap) -> Result<(), Refused> {
    if SINGLE
        .iter()
        .any(|name| fields.get_all(name).iter().nth(1).is_some())
    {
        return Err(Refused("a field that may stand there once stands there twice"));
    }
    only_one_host(fields)?;
    strip_nominated(fields)?;
    for name in OF_THE_CONNECTION.iter().chain(&OURS) {
        fields.remove(name);
    }
    strip_ambiguous(fields);
    Ok(())
}

/// RFC 9112 §3.2: one `Host`, with nothing but a name and a port in it.
fn only_one_host(fields: &HeaderMap) -> Result<(), Refused> {
    let host = fields
        .get(header::HOST)
        .ok_or(Refused("a request names its host"))?;
    let bytes = host.as_bytes();
    let is_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if bytes.is_empty() || bytes.len() > 255 || !bytes.iter().all(is_name) {
        return Err(Refused("the host is to be a name, perhaps with a port"));
    }
    Ok(())
}

/// A client may not make us drop what something is decided by: the broker would answer another request than the one that we judged.
fn strip_nominated(fields: &mut HeaderMap) -> Result<(), Refused> {
    if !fields.contains_key(header::CONNECTION) {
        return Ok(());
    }
    let mut nominated = Vec::new();
    for value in fields.get_all(header::CONNECTION) {
        for item in items(value.as_bytes()) {
            let name =
                HeaderName::from_bytes(item).map_err(|_| Refused("Connection is to be a list of names"))?;
            nominated.push(name);
        }
    }
    if nominated
        .iter()
        .any(|name| SINGLE.contains(name) || *name == header::TRANSFER_ENCODING)
    {
        return Err(Refused("Connection names a field that is not of the connection"));
    }
    for name in nominated {
        fields.remove(name);
    }
    Ok(())
}

/// Some servers read `_` in a name as `-`, and would so find fields that we did not see.
fn strip_ambiguous(fields: &mut HeaderMap) {
    if fields.keys().any(|name| name.as_str().contains('_')) {
        let ambiguous: Vec<_> = fields
            .keys()
            .filter(|name| name.as_str().contains('_'))
            .cloned()
            .collect();
        for name in ambiguous {
            fields.remove(name);
        }
    }
}

/// Takes out of an answer what is of the connection to the broker.
pub fn strip_answer(fields: &mut HeaderMap) {
    if let Some(value) = fields.remove(header::CONNECTION) {
        for name in items(value.as_bytes()).filter_map(|item| HeaderName::from_bytes(item).ok()) {
            if !SINGLE.contains(&name) {
                fields.remove(name);
            }
        }
    }
    for name in &OF_THE_CONNECTION {
        fields.remove(name);
    }
    fields.remove(header::SERVER);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn a_field_that_decides_something_stands_there_once() {
        for name in SINGLE {
            let name = name.as_str();
            let mut twice = map(&[("host", "a"), (name, "a"), (name, "a")]);
            assert!(check(&mut twice).is_err(), "{name}");
            let mut named = map(&[
                ("host", "a"),
                ("connection", &format!("close, {}", name.to_uppercase())),
            ]);
            assert!(check(&mut named).is_err(), "{name}");
        }
        assert!(check(&mut map(&[("host", "a"), ("accept", "a"), ("accept", "b")])).is_ok());
    }

    #[test]
    fn what_is_of_the_connection_or_ours_to_say_goes_no_further() {
        let mut fields = map(&[
            ("host", "a:8443"),
            ("connection", "keep-alive, x-own"),
            ("x-own", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("mim-permissions", "e30"),
            ("Mim_Permissions", "e30"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x-other", "1"),
        ]);
        check(&mut fields).unwrap();
        assert_eq!(fields, map(&[("host", "a:8443"), ("x-other", "1")]));
    }

    #[test]
    fn a_host_is_a_name_and_perhaps_a_port() {
        for good in ["a", "a.b:1", "[::1]:443", "10.0.0.1"] {
            assert!(check(&mut map(&[("host", good)])).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a@b", "a,b", "a?b", "a#b"] {
            assert!(check(&mut map(&[("host", bad)])).is_err(), "{bad}");
        }
        assert!(check(&mut map(&[])).is_err());
    }

    #[test]
    fn an_answer_loses_what_is_of_the_connection() {
        let mut fields = map(&[
            ("connection", "x-a"),
            ("x-a", "1"),
            ("keep-alive", "1"),
            ("etag", "1"),
            ("server", "x"),
        ]);
        strip_answer(&mut fields);
        assert_eq!(fields, map(&[("etag", "1")]));
    }
}
