//! What a request shows of who it is from.

use super::{API_KEY, DPOP};
use crate::problem::Problem;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The longest API key, in bytes.
const MAX_KEY: usize = 512;

/// What was shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// A token (RFC 6750 §2.1).
    Token(&'a str),
    /// A token and a proof that its key is there (RFC 9449 §7.1).
    Proven(&'a str, &'a str),
    /// An API key.
    Key(&'a [u8]),
}

/// Reads what is shown. Two things are one too many: whoever is behind us could take the other one.
pub fn read(fields: &HeaderMap) -> Result<Shown<'_>, Problem> {
    let key = fields.get(API_KEY).map(HeaderValue::as_bytes);
    match (fields.get(AUTHORIZATION), key) {
        (None, None) => Ok(Shown::Nothing),
        (None, Some(key)) if key.len() <= MAX_KEY => Ok(Shown::Key(key)),
        (Some(value), None) => token(value, fields.get(DPOP)).ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

/// RFC 6750 §3.1: a request that is wrong itself is 400 with `invalid_request`.
fn malformed() -> Problem {
    let words = "a request shows one token or one key, in the way that the standard has for it";
    Problem::new(StatusCode::BAD_REQUEST, "malformed_credentials", words).with(
        http::header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer error=\"invalid_request\""),
    )
}

fn token<'a>(value: &'a HeaderValue, proof: Option<&'a HeaderValue>) -> Option<Shown<'a>> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    if token.is_empty() || token.contains(' ') {
        return None;
    }
    match proof {
        None if scheme.eq_ignore_ascii_case("bearer") => Some(Shown::Token(token)),
        Some(proof) if scheme.eq_ignore_ascii_case("dpop") => {
            Some(Shown::Proven(token, proof.to_str().ok()?))
        }
        _ => None,
    }
}

/// A certificate that a client has shown, of an authority that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its names: URIs, then DNS names, then addresses of mail (RFC 5280 §4.2.1.6).
    pub names: Vec<String>,
    /// SHA-256 of the whole (RFC 8705 §3.1).
    pub thumbprint: [u8; 32],
}

impl Certificate {
    /// Reads its DER. One that cannot be read has no names.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Self {
            names: names(der).unwrap_or_default(),
            thumbprint,
        }
    }
}

fn names(der: &[u8]) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let of = |pick: fn(&GeneralName<'_>) -> Option<String>| names.iter().filter_map(pick).collect::<Vec<_>>();
    let uris = of(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    let hosts = of(|name| match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        _ => None,
    });
    let mails = of(|name| match name {
        GeneralName::RFC822Name(mail) => Some((*mail).to_owned()),
        _ => None,
    });
    Some([uris, hosts, mails].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[(&'static str, &'static str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        read(&map).ok().map(|shown| format!("{shown:?}"))
    }

    #[test]
    fn one_thing_is_shown_in_one_way() {
        assert_eq!(shown(&[]).as_deref(), Some("Nothing"));
        assert_eq!(
            shown(&[("authorization", "bearer a.b.c")]).as_deref(),
            Some("Token(\"a.b.c\")")
        );
        assert_eq!(shown(&[("x-api-key", "a")]).as_deref(), Some("Key([97])"));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Basic YTpi",
            "a.b.c",
            "Bearer\ta",
        ] {
            assert_eq!(shown(&[("authorization", bad)]), None, "{bad}");
        }
        assert_eq!(shown(&[("authorization", "Bearer a"), ("x-api-key", "a")]), None);
        let proven = shown(&[("authorization", "DPoP a"), ("dpop", "b")]);
        assert_eq!(proven.as_deref(), Some("Proven(\"a\", \"b\")"));
        assert_eq!(shown(&[("authorization", "DPoP a")]), None);
        assert_eq!(shown(&[("authorization", "Bearer a"), ("dpop", "b")]), None);
    }
}
