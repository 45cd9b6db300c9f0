//! Who asks: a token of an issuer, an API key, a client certificate, or nobody that is known.
//!
//! [`jws`], [`keys`] and [`claims`] are pure; [`keyring`] fetches the keys of an issuer, [`tokens`] remembers what was verified.

pub mod claims;
pub mod jws;
pub mod keyring;
pub mod keys;
pub mod shown;
pub mod subject;
pub mod tokens;

use crate::config::Identity;
use crate::problem::Problem;
use crate::settings::Settings;
use claims::Wrong;
use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};
use keyring::{Keyring, NoKeys};
use shown::{Certificate, Shown};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use subject::Subject;
use tokens::Tokens;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// An issuer of tokens: what its tokens must say, and its keys.
pub struct Issuer {
    /// What they must say.
    pub terms: claims::Terms,
    /// Its keys as they are known.
    pub keyring: Arc<Keyring>,
}

/// Finds out who asks. What was shown is taken out of the fields: nobody behind us needs it.
pub async fn identify(
    settings: &Settings,
    tokens: &Tokens,
    fields: &mut HeaderMap,
    certificate: Option<&Arc<Certificate>>,
) -> Result<Arc<Subject>, Problem> {
    let Some(identity) = &settings.config.identity else {
        return Ok(Subject::nobody());
    };
    let shown = shown::read(fields)?;
    let subject = match shown {
        Shown::Token(token) => verified(settings, tokens, token, certificate.map(Arc::as_ref)).await?,
        Shown::Key(key) => known_key(identity, key).ok_or_else(|| refused(Wrong::Key))?,
        Shown::Nothing => match certificate {
            Some(certificate) => known_certificate(identity, certificate)?,
            None if identity.anonymous => Subject::nobody(),
            None => return Err(unknown()),
        },
    };
    for name in [http::header::AUTHORIZATION, API_KEY, DPOP] {
        fields.remove(name);
    }
    Ok(subject)
}

async fn verified(
    settings: &Settings,
    tokens: &Tokens,
    token: &str,
    certificate: Option<&Certificate>,
) -> Result<Arc<Subject>, Problem> {
    let now = now();
    let digest = tokens::digest(token);
    let found = if let Some(known) = tokens.known(&digest, settings, now) {
        known
    } else {
        let found = check(settings, token, now).await?;
        tokens.remember(digest, settings, &found);
        found
    };
    match (&found.bound_to, certificate) {
        (None, _) => {}
        (Some(thumbprint), Some(shown)) if *thumbprint == shown.thumbprint => {}
        (Some(_), _) => return Err(refused(Wrong::Binding)),
    }
    Ok(found.subject)
}

/// Verifies a token that is not known. A key that is not known may be new: the issuer is asked once, and not again for a while.
async fn check(settings: &Settings, token: &str, now: u64) -> Result<tokens::Verified, Problem> {
    let token = jws::Token::read(token).map_err(refused)?;
    let named = claims::issuer(&token.payload).map_err(refused)?;
    let mut issuers = settings.issuers.iter().enumerate();
    let (number, issuer) = issuers
        .find(|(_, issuer)| issuer.terms.issuer == named)
        .ok_or_else(|| refused(Wrong::Issuer))?;
    let mut keys = issuer.keyring.keys().map_err(no_keys)?;
    let mut verdict = keys.verify(&token, &issuer.terms.algorithms);
    if verdict == Err(Wrong::UnknownKey) {
        keys = issuer
            .keyring
            .newer_than(&keys)
            .await
            .ok_or_else(|| refused(Wrong::UnknownKey))?;
        verdict = keys.verify(&token, &issuer.terms.algorithms);
    }
    verdict.map_err(refused)?;
    let found = claims::check(&token.payload, &issuer.terms, now).map_err(refused)?;
    Ok(tokens::Verified {
        subject: Arc::new(found.subject),
        until: found.until,
        bound_to: found.bound_to,
        issuer: number,
        keys,
    })
}

/// All keys are compared, whichever it is: how long that takes says nothing.
fn known_key(identity: &Identity, key: &[u8]) -> Option<Arc<Subject>> {
    let digest = ring::digest::digest(&ring::digest::SHA256, key);
    let keys = identity.api_keys.iter();
    let found = keys.fold(None, |found, known| {
        if known.is(digest.as_ref()) {
            Some(known)
        } else {
            found
        }
    });
    found.map(|known| Arc::clone(&known.subject))
}

fn known_certificate(identity: &Identity, shown: &Certificate) -> Result<Arc<Subject>, Problem> {
    let mut listed = identity.client_certificates.iter();
    if let Some(listed) = listed.find(|listed| shown.names.contains(&listed.name)) {
        return Ok(Arc::clone(&listed.subject));
    }
    let name = shown.names.first().ok_or_else(|| refused(Wrong::Certificate))?;
    Ok(Arc::new(Subject::of_certificate(name, Vec::new(), Vec::new())))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(u64::MAX, |since| since.as_secs())
}

/// RFC 6750 §3: without credentials no error code is told.
fn unknown() -> Problem {
    Problem::unauthorized(
        "no_credentials",
        "who asks is to say who it is",
        HeaderValue::from_static("Bearer"),
    )
}

fn refused(wrong: Wrong) -> Problem {
    Problem::unauthorized(
        wrong.cause(),
        wrong.words(),
        HeaderValue::from_static("Bearer error=\"invalid_token\""),
    )
}

fn no_keys(why: NoKeys) -> Problem {
    let words = match why {
        NoKeys::Never => "the keys of the issuer are not known yet",
        NoKeys::Stale => "the keys of the issuer are too old",
    };
    Problem::unavailable("no_keys", words)
}
