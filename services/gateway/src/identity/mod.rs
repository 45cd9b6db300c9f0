//! Who asks: a token of an issuer, an API key, a client certificate, or nobody that is known.
//!
//! [`jws`], [`keys`], [`claims`] and [`dpop`] are pure; [`keyring`] fetches the keys of an issuer, [`tokens`] remembers what was verified.

pub mod claims;
pub mod dpop;
pub mod jws;
pub mod keyring;
pub mod keys;
pub mod shown;
pub mod subject;
pub mod tokens;

use crate::config::Identity;
use crate::problem::Problem;
use crate::settings::Settings;
use claims::{Bound, Wrong};
use dpop::Proofs;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName};
use http::{HeaderValue, Method};
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

/// A request, as far as it matters to who asks.
pub struct Asking<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path in its one form.
    pub path: &'a str,
    /// The certificate that was shown.
    pub certificate: Option<&'a Certificate>,
}

/// What is remembered: by this worker, and by all together.
pub struct Memory {
    /// Tokens that were verified.
    pub tokens: Tokens,
    /// Proofs that were shown.
    pub proofs: Arc<Proofs>,
}

/// Finds out who asks. What was shown is taken out of the fields: nobody behind us needs it.
pub async fn identify(
    settings: &Settings,
    memory: &Memory,
    fields: &mut HeaderMap,
    asking: Asking<'_>,
) -> Result<Arc<Subject>, Problem> {
    let Some(identity) = &settings.config.identity else {
        return Ok(Subject::nobody());
    };
    let subject = match shown::read(fields)? {
        Shown::Token(token) => verified(settings, memory, token, &asking).await?,
        Shown::Proven(token, proof) => {
            let host = fields
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default();
            proven(settings, memory, token, proof, (&asking, host)).await?
        }
        Shown::Key(key) => known_key(identity, key).ok_or_else(|| refused(Wrong::Key))?,
        Shown::Nothing => match asking.certificate {
            Some(certificate) => known_certificate(identity, certificate)?,
            None if identity.anonymous => Subject::nobody(),
            None => return Err(unknown()),
        },
    };
    for name in [AUTHORIZATION, API_KEY, DPOP] {
        fields.remove(name);
    }
    Ok(subject)
}

/// Whom a token is of that is shown alone.
async fn verified(
    settings: &Settings,
    memory: &Memory,
    token: &str,
    asking: &Asking<'_>,
) -> Result<Arc<Subject>, Problem> {
    let found = found(settings, memory, token, now()).await?;
    let is_free = match (&found.bound_to, asking.certificate) {
        (Bound::Nobody, _) => true,
        (Bound::Certificate(thumbprint), Some(shown)) => *thumbprint == shown.thumbprint,
        (Bound::Certificate(_), None) | (Bound::Key(_), _) => false,
    };
    if is_free {
        Ok(found.subject)
    } else {
        Err(refused(Wrong::Binding))
    }
}

/// Whom a token is of that is shown with a proof. Without names of our own a proof for somebody else's URL could be one for ours.
async fn proven(
    settings: &Settings,
    memory: &Memory,
    token: &str,
    proof: &str,
    (asking, host): (&Asking<'_>, &str),
) -> Result<Arc<Subject>, Problem> {
    let now = now();
    let found = found(settings, memory, token, now).await?;
    let Bound::Key(key) = &found.bound_to else {
        return Err(refused(Wrong::Binding));
    };
    if settings.config.hosts.is_empty() {
        return Err(unproven(Wrong::Proof));
    }
    let of = dpop::Of {
        token,
        key,
        method: asking.method,
        host,
        path: asking.path,
    };
    let name = dpop::check(proof, &of, now).map_err(unproven)?;
    memory.proofs.take(name, now).map_err(unproven)?;
    Ok(found.subject)
}

async fn found(
    settings: &Settings,
    memory: &Memory,
    token: &str,
    now: u64,
) -> Result<tokens::Verified, Problem> {
    let digest = tokens::digest(token);
    if let Some(known) = memory.tokens.known(&digest, settings, now) {
        return Ok(known);
    }
    let found = check(settings, token, now).await?;
    memory.tokens.remember(digest, settings, &found);
    Ok(found)
}

/// Verifies a token that is not known. A key that is not known may be new: the issuer is asked once, and not again for a while.
async fn check(settings: &Settings, token: &str, now: u64) -> Result<tokens::Verified, Problem> {
    let token = jws::Token::read_access(token).map_err(refused)?;
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
pub(crate) fn unknown() -> Problem {
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

fn unproven(wrong: Wrong) -> Problem {
    let challenge = HeaderValue::from_static("DPoP error=\"invalid_dpop_proof\"");
    Problem::unauthorized(wrong.cause(), wrong.words(), challenge)
}

fn no_keys(why: NoKeys) -> Problem {
    let words = match why {
        NoKeys::Never => "the keys of the issuer are not known yet",
        NoKeys::Stale => "the keys of the issuer are too old",
    };
    Problem::unavailable("no_keys", words)
}
