//! An issuer that shows its key, and tokens that are good for a day.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::peers::Keys;
use crate::error::Error;

/// What tokens say of who has issued them.
pub const NAME: &str = "https://issuer.example/realms/city";

/// The issuer. It ends with the process.
pub struct Issuer {
    at: SocketAddr,
    lines: Vec<String>,
}

impl Issuer {
    /// Makes a key and so many tokens, and shows the key.
    pub fn start(tokens: usize, keys: &Keys) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let unexpected = |_| Error::Unexpected("no key can be made".to_owned());
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(unexpected)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random)
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        let lines: Result<Vec<_>, _> = (0..tokens)
            .map(|number| {
                token(&pair, number, &random).map(|token| format!("Authorization: Bearer {token}\r\n"))
            })
            .collect();
        let at = show(&pair, keys)?;
        Ok(Self {
            at,
            lines: lines.map_err(unexpected)?,
        })
    }

    /// Where its key is shown, by TLS.
    pub const fn at(&self) -> SocketAddr {
        self.at
    }

    /// The line with a token.
    pub fn line(&self, number: usize) -> &str {
        let at = number.checked_rem(self.lines.len()).unwrap_or_default();
        self.lines.get(at).map_or("", String::as_str)
    }
}

fn text(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// As large as one of Keycloak's.
fn token(
    pair: &EcdsaKeyPair,
    number: usize,
    random: &SystemRandom,
) -> Result<String, ring::error::Unspecified> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let roles: Vec<String> = (0..8).map(|role| format!("role-of-a-city-{role}")).collect();
    let claims = json!({
        "iss": NAME, "aud": ["broker", "account"], "sub": format!("00000000-0000-0000-0000-{number:012}"), "azp": "app",
        "iat": now, "exp": now + 86_400, "typ": "Bearer", "sid": "00000000-0000-0000-0000-000000000000", "scope": "openid profile email",
        "realm_access": {"roles": roles}, "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
        "preferred_username": format!("user-{number}"), "email": format!("user-{number}@city.example"),
    });
    let signed = [json!({"alg": "ES256", "typ": "JWT", "kid": "k"}), claims]
        .map(|part| text(&part))
        .join(".");
    let signature = pair.sign(random, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
}

fn show(pair: &EcdsaKeyPair, keys: &Keys) -> Result<SocketAddr, Error> {
    let place = Path::new("127.0.0.1:0");
    let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at(point.len() / 2);
    let part = |bytes| URL_SAFE_NO_PAD.encode(bytes);
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "x": part(x), "y": part(y)}]}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{set}",
        set.len()
    );
    let tls = keys.server()?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::file(place))?;
    let at = listener.local_addr().map_err(Error::file(place))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(connection) = ServerConnection::new(Arc::clone(&tls)) else {
                return;
            };
            let mut stream = StreamOwned::new(connection, stream);
            let mut block = [0; 4096];
            let _ = stream.read(&mut block);
            let _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    Ok(at)
}
