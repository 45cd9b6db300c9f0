//! Proofs of possession (DPoP, RFC 9449 §4): whoever shows a token shows with each request that it has the key that the token is bound to.

use super::claims::Wrong;
use super::jws::{self, Token};
use super::keys::Keys;
use super::tokens::Digest;
use crate::checks::target::Target;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// How old a proof may be, in seconds, and how far ahead its clock.
const MAX_AGE: u64 = 60;
const MAX_AHEAD: u64 = 10;
/// The longest name of a proof, in bytes.
const MAX_NAME: usize = 256;
/// How many proofs are remembered of the time in which they hold: beyond that none is accepted.
const MAX_PROOFS: usize = 200_000;

/// What a proof is to be of.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The token.
    pub token: &'a str,
    /// The thumbprint of the key that it is bound to (RFC 7638, base64url).
    pub key: &'a str,
    /// The method of the request.
    pub method: &'a Method,
    /// The host that it names, one of ours.
    pub host: &'a str,
    /// Its path in its one form.
    pub path: &'a str,
}

/// Checks a proof but for whether it was shown before; its name. `now` is in seconds of Unix time.
pub fn check(proof: &str, of: &Of<'_>, now: u64) -> Result<Digest, Wrong> {
    let proof = Token::read(proof).map_err(|_| Wrong::Proof)?;
    let (Some("dpop+jwt"), Some(key)) = (proof.kind.as_deref(), &proof.shown) else {
        return Err(Wrong::Proof);
    };
    // RFC 9449 §4.2: never the private half.
    let (keys, thumbprint) = Keys::one(key).ok_or(Wrong::Proof)?;
    keys.verify(&proof, &jws::ALL).map_err(|_| Wrong::Proof)?;
    let text = |name: &str| {
        proof
            .payload
            .get(name)
            .and_then(Value::as_str)
            .ok_or(Wrong::Proof)
    };
    let issued = proof
        .payload
        .get("iat")
        .and_then(Value::as_u64)
        .ok_or(Wrong::Proof)?;
    let is_of_now = issued <= now + MAX_AHEAD && now <= issued.saturating_add(MAX_AGE);
    let hash = URL_SAFE_NO_PAD.encode(super::tokens::digest(of.token));
    let name = text("jti")?;
    let is_of_this = text("htm")? == of.method.as_str()
        && is_url_of(text("htu")?, of)
        && text("ath")? == hash
        && thumbprint == of.key
        && (1..=MAX_NAME).contains(&name.len());
    if is_of_now && is_of_this {
        Ok(super::tokens::digest(&format!("{thumbprint} {name}")))
    } else {
        Err(Wrong::Proof)
    }
}

/// RFC 9449 §4.3: without query and fragment, as both are normalised.
fn is_url_of(url: &str, of: &Of<'_>) -> bool {
    let usual = |host: &str| host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
    let Some((host, path)) = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split_at_checked(rest.find('/')?))
    else {
        return false;
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    usual(host) == usual(of.host)
        && Target::read(path.as_bytes()).is_ok_and(|target| target.path() == of.path)
}

/// Proofs that were shown, of this replica: each counts once.
#[derive(Default)]
pub struct Proofs(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
    since: u64,
}

impl Proofs {
    /// Remembers a proof for as long as it holds. An error: it was shown before, or there are too many.
    pub fn take(&self, name: Digest, now: u64) -> Result<(), Wrong> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is two spans old has expired.
        let span = MAX_AGE + MAX_AHEAD;
        if now >= shown.since + span {
            let is_long_ago = now >= shown.since + 2 * span;
            shown.old = std::mem::take(&mut shown.young);
            if is_long_ago {
                shown.old.clear();
            }
            shown.since = now;
        }
        if shown.young.len() >= MAX_PROOFS || shown.old.contains(&name) || !shown.young.insert(name) {
            return Err(Wrong::Proof);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_counts_once_for_as_long_as_it_holds() {
        let proofs = Proofs::default();
        let (a, b) = ([1; 32], [2; 32]);
        assert_eq!(proofs.take(a, 1000), Ok(()));
        for now in [1000, 1069, 1070, 1139] {
            assert_eq!(proofs.take(a, now), Err(Wrong::Proof), "{now}");
        }
        assert_eq!(proofs.take(b, 1139), Ok(()));
        assert_eq!(proofs.take(a, 1300), Ok(()));
    }

    #[test]
    fn a_url_is_compared_in_its_one_form() {
        let method = Method::GET;
        let of = Of {
            token: "",
            key: "",
            method: &method,
            host: "city.example:443",
            path: "/a/b",
        };
        for good in ["https://city.example/a/b", "https://CITY.example:443/a/%62?q#f"] {
            assert!(is_url_of(good, &of), "{good}");
        }
        for bad in [
            "http://city.example/a/b",
            "https://city.example/a/",
            "https://city.example",
            "https://city.example.evil/a/b",
            "https://city.example:8443/a/b",
            "https://city.example/a/../a/b",
            "/a/b",
        ] {
            assert!(!is_url_of(bad, &of), "{bad}");
        }
    }
}
