//! The certificate of a server or a client.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rand::CryptoRng;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

use super::authority::{Authority, Opened};
use super::x509::{Facts, certificates, end_of, has_signed, parameters, pem};
use super::{CertificateError, Decision, Party, Why};

/// How long clients have to learn of a new authority before a leaf is signed by it, at most.
const SETTLE: Duration = Duration::from_hours(1);

/// A certificate and its key, as its Secret holds them.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// `tls.crt`
    pub certificate: String,
    /// `tls.key`
    pub key: String,
}

/// Never the key.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Decides about a certificate for exactly these DNS names. `authority` must be in order, as
/// [`super::authority()`] decides; a leaf never outlives it.
pub fn leaf(
    existing: Option<&Leaf>,
    authority: &Authority,
    (party, names): (Party, &[String]),
    lifetime: Duration,
    now: Timestamp,
    random: &mut impl CryptoRng,
) -> Result<Decision<Leaf>, CertificateError> {
    let authority = authority.open().map_err(CertificateError::Read)?;
    let why = match existing.map(read) {
        None => Why::Missing,
        Some(Err(problem)) => Why::Unusable(problem),
        Some(Ok((der, facts))) => match judge(&der, &facts, &authority, names, lifetime, now) {
            Ok(renew_at) => return Ok(Decision::Keep { renew_at }),
            Err(why) => why,
        },
    };
    issue(why, &authority, (party, names), lifetime, now, random)
}

fn read(existing: &Leaf) -> Result<(CertificateDer<'static>, Facts), String> {
    let der = certificates(&existing.certificate)?
        .into_iter()
        .next()
        .ok_or("there is no certificate in it")?;
    let facts = Facts::read(&der)?;
    facts.key(&existing.key)?;
    Ok((der, facts))
}

/// When to look again, or why it must be made anew.
fn judge(
    der: &CertificateDer<'_>,
    facts: &Facts,
    authority: &Opened,
    names: &[String],
    lifetime: Duration,
    now: Timestamp,
) -> Result<Timestamp, Why> {
    if facts.names != names.iter().cloned().collect::<BTreeSet<_>>() {
        return Err(Why::OtherNames);
    }
    let trusted = |issuer: &&CertificateDer<'_>| {
        Facts::read(issuer).is_ok_and(|issuer| now < issuer.dies) && has_signed(issuer, der)
    };
    let Some(issuer) = authority.bundle.iter().find(trusted) else {
        return Err(Why::OtherAuthority);
    };
    if now < facts.renew_at() {
        return Ok(facts.renew_at());
    }
    let is_newest = authority.bundle.first() == Some(issuer);
    let settled = authority
        .facts
        .born
        .saturating_add(SETTLE.min(lifetime / 6))
        .unwrap_or(now);
    if !is_newest && now < settled && settled < facts.dies {
        return Ok(settled);
    }
    Err(Why::Due)
}

fn issue(
    why: Why,
    authority: &Opened,
    (party, names): (Party, &[String]),
    lifetime: Duration,
    now: Timestamp,
    random: &mut impl CryptoRng,
) -> Result<Decision<Leaf>, CertificateError> {
    let first = names.first().ok_or(CertificateError::NoName)?;
    let key = KeyPair::generate()?;
    let dies = end_of(now, lifetime)?.min(authority.facts.dies);
    // The common name is for people; it has room for 64 characters.
    let common_name = (first.len() <= 64).then_some(first.as_str());
    let mut parameters = parameters(names, common_name, now, dies, random)?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![match party {
        Party::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Party::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    parameters.use_authority_key_identifier_extension = true;
    let certificate = parameters.signed_by(&key, &authority.issuer)?;
    let facts = Facts::read(certificate.der()).map_err(CertificateError::Read)?;
    let made = Leaf {
        certificate: pem(certificate.der()),
        key: key.serialize_pem(),
    };
    Ok(Decision::Issue {
        why,
        made,
        renew_at: facts.renew_at(),
    })
}
