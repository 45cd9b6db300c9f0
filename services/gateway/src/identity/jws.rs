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
    /// What it is for, in small letters and without `application/`.
    pub kind: Option<String>,
    /// A key that it brings itself: of meaning in proofs alone.
    pub shown: Option<Value>,
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
    jwk: Option<Value>,
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
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Wrong::Malformed);
        }
        Ok(Self {
            algorithm: header.alg,
            key: header.kid,
            kind: header.typ.as_deref().map(kind),
            shown: header.jwk,
            payload: json(payload)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Wrong::Malformed)?,
        })
    }

    /// Reads an access token. One for another purpose, of the same issuer, is none (RFC 8725 §3.11).
    pub fn read_access(text: &'a str) -> Result<Self, Wrong> {
        let token = Self::read(text)?;
        match token.kind.as_deref() {
            None | Some("jwt" | "at+jwt") => Ok(token),
            Some(_) => Err(Wrong::Malformed),
        }
    }
}

fn kind(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    text.strip_prefix("application/").unwrap_or(&text).to_owned()
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
        let token = Token::read_access(&text).unwrap();
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
            assert_eq!(
                Token::read_access(&token(bad)).unwrap_err(),
                Wrong::Malformed,
                "{bad}"
            );
        }
        for bad in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d"] {
            assert_eq!(Token::read_access(bad).unwrap_err(), Wrong::Malformed, "{bad}");
        }
        let padded = token(r#"{"alg":"RS256"}"#) + "=";
        assert_eq!(Token::read_access(&padded).unwrap_err(), Wrong::Malformed);
        assert_eq!(
            Token::read_access(&"a".repeat(MAX_TOKEN + 1)).unwrap_err(),
            Wrong::Malformed
        );
    }
}
