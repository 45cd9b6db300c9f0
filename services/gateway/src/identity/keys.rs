//! The keys of an issuer (RFC 7517), and whether one of them has signed a token.

use super::claims::Wrong;
use super::jws::{Algorithm, Token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// A set of keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: Option<String>,
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key as it is written (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a set. Keys of other kinds and for other purposes are left out (RFC 7517 §5); a set without any key that verifies is none.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(text).ok()?;
        let keys: Vec<Key> = set
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok().and_then(Key::of))
            .collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// A set of one key that somebody shows, and its thumbprint (RFC 7638, base64url). A private half makes it none.
    #[must_use]
    pub fn one(shown: &Value) -> Option<(Self, String)> {
        if shown.get("d").is_some() {
            return None;
        }
        let jwk: Jwk = serde_json::from_value(shown.clone()).ok()?;
        let key = Key::of(Jwk {
            // What it is called is its own business.
            kid: None,
            ..jwk
        })?;
        let thumbprint = key.thumbprint();
        Some((Self(vec![key]), thumbprint))
    }

    /// Whether a key of this set has signed the token, by an algorithm that is allowed and that the key is for.
    pub fn verify(&self, token: &Token<'_>, allowed: &[Algorithm]) -> Result<(), Wrong> {
        if !allowed.contains(&token.algorithm) {
            return Err(Wrong::Algorithm);
        }
        let named: Vec<&Key> = match &token.key {
            Some(name) => self
                .0
                .iter()
                .filter(|key| key.name.as_ref() == Some(name))
                .collect(),
            // Whoever has one key need not name it.
            None => self.0.iter().filter(|key| key.may(token.algorithm)).collect(),
        };
        match named.as_slice() {
            [] => Err(Wrong::UnknownKey),
            [key] if key.may(token.algorithm) => key.verify(token),
            [_] => Err(Wrong::Algorithm),
            // Two keys of one name, as some issuers have for a while: any of them.
            several => several
                .iter()
                .filter(|key| key.may(token.algorithm))
                .map(|key| key.verify(token))
                .find(Result::is_ok)
                .unwrap_or(Err(Wrong::Signature)),
        }
    }
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        let is_for_us = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk
                .key_ops
                .as_ref()
                .is_none_or(|all| all.iter().any(|one| one == "verify"));
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let point = |size: usize| {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            // SEC 1 §2.3.3, uncompressed.
            (x.len() == size && y.len() == size).then(|| [&[4], x.as_slice(), &y].concat())
        };
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", None) => Material::Rsa {
                n: bytes(&jwk.n)?,
                e: bytes(&jwk.e)?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?),
            _ => return None,
        };
        is_for_us.then_some(Self {
            name: jwk.kid,
            algorithm: jwk.alg,
            material,
        })
    }

    /// RFC 7638 §3: SHA-256 over its members in the order of their names.
    fn thumbprint(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |curve: &str, key: &[u8]| {
            let (x, y) = key.get(1..).unwrap_or_default().split_at(key.len() / 2);
            format!(
                r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#,
                text(x),
                text(y)
            )
        };
        let members = match &self.material {
            Material::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
            Material::P256(key) => point("P-256", key),
            Material::P384(key) => point("P-384", key),
            Material::Ed25519(key) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(key)),
        };
        text(digest(&SHA256, members.as_bytes()).as_ref())
    }

    /// Whether it is for this algorithm: by its kind, and by what it says itself.
    fn may(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let suits = matches!(
            (&self.material, algorithm),
            (
                Material::Rsa { .. },
                RS256 | RS384 | RS512 | PS256 | PS384 | PS512
            ) | (Material::P256(_), ES256)
                | (Material::P384(_), ES384)
                | (Material::Ed25519(_), EdDSA)
        );
        // Ed25519 is how newer editions call EdDSA with this curve (RFC 9864).
        suits
            && self
                .algorithm
                .as_deref()
                .is_none_or(|own| own == format!("{algorithm:?}") || (own == "Ed25519" && algorithm == EdDSA))
    }

    fn verify(&self, token: &Token<'_>) -> Result<(), Wrong> {
        let plain = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(token.signed, &token.signature)
        };
        let verdict = match &self.material {
            Material::Rsa { n, e } => match rsa(token.algorithm) {
                Some(parameters) => {
                    RsaPublicKeyComponents { n, e }.verify(parameters, token.signed, &token.signature)
                }
                None => return Err(Wrong::Algorithm),
            },
            Material::P256(key) => plain(&ECDSA_P256_SHA256_FIXED, key),
            Material::P384(key) => plain(&ECDSA_P384_SHA384_FIXED, key),
            Material::Ed25519(key) => plain(&ED25519, key),
        };
        verdict.map_err(|_| Wrong::Signature)
    }
}

/// Keys of less than 2,048 bits verify nothing.
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_of_the_standard_s_key_is_the_standard_s() {
        // RFC 8037 appendix A.3.
        let key = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let (_, thumbprint) = Keys::one(&key).unwrap();
        assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let mut private = key;
        private["d"] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".into();
        assert!(Keys::one(&private).is_none());
    }

    #[test]
    fn a_set_without_a_key_that_verifies_is_none() {
        for bad in [
            "",
            "{}",
            r#"{"keys": []}"#,
            r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#,
            r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc"}]}"#,
            r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}"#,
        ] {
            assert_eq!(Keys::read(bad.as_bytes()), None, "{bad}");
        }
    }
}
