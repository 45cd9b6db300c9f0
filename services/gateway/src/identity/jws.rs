//! A token as it is written: a JWS in compact form (RFC 7515 §3.1) whose payload is a set of claims (RFC 7519).

use super::claims::Wrong;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// An algorithm of RFC 7518 and RFC 8037 by which an issuer signs with a key that it keeps. There is no `none`, and none with a shared key: a public
/// key is never a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5, SHA-256.
    RS256,
    /// The same with SHA-384.
    RS384,
    /// The same with SHA-512.
    RS512,
    /// RSASSA-PSS, SHA-256.
    PS256,
    /// The same with SHA-384.
    PS384,
    /// The same with SHA-512.
    PS512,
    /// ECDSA, P-256 and SHA-256.
    ES256,
    /// ECDSA, P-384 and SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// All of them.
pub const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// A token, read and not verified.
#[derive(Debug)]
pub struct Token<'a> {
    /// How it says that it is signed.
    pub algorithm: Algorithm,
    /// The name of the key.
    pub key: Option<String>,
    /// What it claims.
    pub payload: Map<String, Value>,
    /// What is signed.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11). We understand none.
    crit: Option<Value>,
    /// The payload is not base64url then (RFC 7797).
    b64: Option<Value>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    pub fn read(text: &'a str) -> Result<Self, Wrong> {
        if text.len() > MAX_TOKEN {
            return Err(Wrong::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Wrong::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Wrong::Malformed)?;
        let header: Header = json(header)?;
        if header.crit.is_some() || header.b64.is_some() || !is_access_token(header.typ.as_deref()) {
            return Err(Wrong::Malformed);
        }
        Ok(Self {
            algorithm: header.alg,
            key: header.kid,
            payload: json(payload)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Wrong::Malformed)?,
        })
    }
}

/// RFC 8725 §3.11: a token for another purpose, of the same issuer, is no access token.
fn is_access_token(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| {
        let kind = kind.to_ascii_lowercase();
        matches!(
            kind.strip_prefix("application/").unwrap_or(&kind),
            "jwt" | "at+jwt"
        )
    })
}

fn json<T: for<'d> Deserialize<'d>>(part: &str) -> Result<T, Wrong> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Wrong::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Wrong::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        [header, "{}", "signature"]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    }

    #[test]
    fn a_token_is_read() {
        let text = token(r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#);
        let token = Token::read(&text).unwrap();
        assert_eq!(
            (token.algorithm, token.key.as_deref()),
            (Algorithm::ES256, Some("k"))
        );
        assert_eq!(
            (
                token.signature.as_slice(),
                text.as_bytes().starts_with(token.signed)
            ),
            (&b"signature"[..], true)
        );
    }

    #[test]
    fn no_other_algorithm_and_no_other_kind_is_read() {
        for bad in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"rs256"}"#,
            r#"{"alg":"ES512"}"#,
            r#"{"alg":["RS256"]}"#,
            "{}",
            r#"{"alg":"RS256","crit":["exp"]}"#,
            r#"{"alg":"RS256","b64":false}"#,
            r#"{"alg":"RS256","typ":"dpop+jwt"}"#,
            r#"{"alg":"RS256","typ":"logout+jwt"}"#,
            r#"{"alg":"RS256","alg":"none"}"#,
        ] {
            assert_eq!(Token::read(&token(bad)).unwrap_err(), Wrong::Malformed, "{bad}");
        }
        for bad in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d"] {
            assert_eq!(Token::read(bad).unwrap_err(), Wrong::Malformed, "{bad}");
        }
        let padded = token(r#"{"alg":"RS256"}"#) + "=";
        assert_eq!(Token::read(&padded).unwrap_err(), Wrong::Malformed);
        assert_eq!(
            Token::read(&"a".repeat(MAX_TOKEN + 1)).unwrap_err(),
            Wrong::Malformed
        );
    }
}
