//! An issuer of tokens: keys of each kind, a set of them behind TLS, and tokens that are right or wrong as a test wants.

use super::tls::{Authority, Signed};
use super::upstream::{Asked, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_rustls::TlsAcceptor;

/// What the tokens of these tests say of who has issued them; nothing listens there.
pub const ISSUER: &str = "https://issuer.example/realms/city";

/// A key.
pub enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub fn p256() -> Self {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::P256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random).unwrap(),
        )
    }

    pub fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
    }

    /// Always the same one: making one takes long.
    pub fn rsa() -> Self {
        let text: String = include_str!("rsa_key_of_tests.base64")
            .split_whitespace()
            .collect();
        Self::Rsa(RsaKeyPair::from_pkcs8(&STANDARD.decode(text).unwrap()).unwrap())
    }

    /// The public half, as an issuer shows it.
    pub fn public(&self, name: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kid": name, "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "use": "sig"})
            }
            Self::Ed25519(pair) => {
                json!({"kid": name, "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Self::Rsa(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kid": name, "kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
        }
    }

    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::P256(pair) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let encoding: &dyn RsaEncoding = if algorithm == "PS256" {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, text, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with this header and these claims.
    pub fn token(&self, header: Value, claims: Value) -> String {
        let algorithm = header["alg"].as_str().unwrap().to_owned();
        let signed = [header, claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&algorithm, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Claims of a token that is good for an hour, changed as a test wants.
pub fn claims(change: Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": ["account", "broker"], "sub": "7f3a", "azp": "app", "exp": now + 3600, "iat": now,
        "realm_access": {"roles": ["reader"]},
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A proof that `key` is there, for a request with this token (RFC 9449 §4.2), changed as a test wants.
pub fn proof(key: &Key, token: &str, change: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let hash = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    let name: [u8; 16] = ring::rand::generate(&SystemRandom::new()).unwrap().expose();
    let mut claims = json!({
        "jti": URL_SAFE_NO_PAD.encode(name), "htm": "GET", "htu": "https://gateway.example/ngsi-ld/v1/entities", "iat": now, "ath": hash,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.token(
        json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": key.public("own")}),
        claims,
    )
}

/// The thumbprint of a key on P-256 (RFC 7638).
pub fn thumbprint_of(key: &Key) -> String {
    let public = key.public("");
    let text = format!(
        r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
        public["x"], public["y"]
    );
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref())
}

/// SHA-256 as the configuration has it of an API key.
pub fn sha256(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// SHA-256 as a token has it of a certificate that it is bound to (RFC 8705 §3.1).
pub fn thumbprint(own: &Signed) -> String {
    let der: CertificateDer<'_> = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &der).as_ref())
}

/// A token that says that nothing is signed, and is not.
pub fn unsigned() -> String {
    let text = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.", text(json!({"alg": "none"})), text(claims(json!({}))))
}

/// The place where an issuer shows its keys.
pub struct Issuer {
    server: Upstream,
    authority: Authority,
    shown: Arc<Mutex<Option<Value>>>,
}

impl Issuer {
    pub async fn showing(keys: Vec<Value>) -> Self {
        let shown = Arc::new(Mutex::new(Some(json!({"keys": keys}))));
        let answers = {
            let shown = Arc::clone(&shown);
            move |_: &Asked| match &*shown.lock().unwrap() {
                Some(keys) => Response::new(Full::new(Bytes::from(keys.to_string()))),
                None => Response::builder().status(503).body(Full::default()).unwrap(),
            }
        };
        let authority = Authority::new();
        let tls = TlsAcceptor::from(Arc::new(Authority::open_server(&authority.sign(&["localhost"]))));
        let server = Upstream::start(Arc::new(answers), Some(tls)).await;
        Self {
            server,
            authority,
            shown,
        }
    }

    /// Shows other keys; `None`: is down.
    pub fn show(&self, keys: Option<Vec<Value>>) {
        *self.shown.lock().unwrap() = keys.map(|keys| json!({"keys": keys}));
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.server.asked().len()
    }

    /// The part of the configuration that knows it.
    pub fn config(&self, more: &str) -> String {
        format!(
            "{{issuer: \"{ISSUER}\", audiences: [broker], jwks: \"https://localhost:{}/certs\", authority: issuer.crt{more}}}",
            self.server.at.port()
        )
    }

    /// Puts its authority where the gateway looks for it.
    pub fn write(&self, folder: &std::path::Path) {
        std::fs::create_dir_all(folder.join("identity")).unwrap();
        std::fs::write(folder.join("identity/issuer.crt"), self.authority.pem()).unwrap();
    }
}
