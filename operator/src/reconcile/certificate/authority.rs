//! The authority.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rand::CryptoRng;
use rcgen::{BasicConstraints, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

use super::x509::{Facts, certificates, end_of, parameters, pem};
use super::{CertificateError, Decision, Why};

/// An authority, as its Secret holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// `ca.crt`: its certificate, then those of earlier authorities that have not expired yet. Clients trust all of them.
    pub bundle: String,
    /// `ca.key`: the private key of the first certificate.
    pub key: String,
}

/// Never the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads it for signing: its own certificate first.
    pub(super) fn open(&self) -> Result<Opened, String> {
        let bundle = certificates(&self.bundle)?;
        let own = bundle.first().ok_or("there is no certificate in it")?;
        let facts = Facts::read(own)?;
        if !facts.signs {
            return Err("its certificate is not that of an authority".to_owned());
        }
        let key = facts.key(&self.key)?;
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|error| error.to_string())?;
        Ok(Opened {
            facts,
            bundle,
            issuer,
        })
    }
}

/// An authority that can sign.
pub(super) struct Opened {
    pub facts: Facts,
    /// Its own certificate first.
    pub bundle: Vec<CertificateDer<'static>>,
    pub issuer: Issuer<'static, KeyPair>,
}

/// Decides about the authority. `existing` is what its Secret holds; `common_name` names it for people.
pub fn authority(
    existing: Option<&Authority>,
    common_name: &str,
    lifetime: Duration,
    now: Timestamp,
    random: &mut impl CryptoRng,
) -> Result<Decision<Authority>, CertificateError> {
    let why = match existing.map(Authority::open) {
        None => Why::Missing,
        Some(Err(problem)) => Why::Unusable(problem),
        Some(Ok(opened)) if now < opened.facts.renew_at() => {
            return Ok(Decision::Keep {
                renew_at: opened.facts.renew_at(),
            });
        }
        Some(Ok(_)) => Why::Due,
    };
    let key = KeyPair::generate()?;
    let dies = end_of(now, lifetime)?;
    let mut parameters = parameters(&[], Some(&cut(common_name)), now, dies, random)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    let facts = Facts::read(certificate.der()).map_err(CertificateError::Read)?;
    let mut bundle = pem(certificate.der());
    for old in existing
        .into_iter()
        .flat_map(|existing| still_valid(&existing.bundle, now))
    {
        bundle.push_str(&pem(&old));
    }
    let made = Authority {
        bundle,
        key: key.serialize_pem(),
    };
    Ok(Decision::Issue {
        why,
        made,
        renew_at: facts.renew_at(),
    })
}

/// Certificates of authorities in a bundle that have not expired; what cannot be read is left out.
fn still_valid(bundle: &str, now: Timestamp) -> Vec<CertificateDer<'static>> {
    let mut found = certificates(bundle).unwrap_or_default();
    found.retain(|der| Facts::read(der).is_ok_and(|facts| facts.signs && now < facts.dies));
    found
}

/// A common name has at most 64 characters (RFC 5280, `ub-common-name`).
fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}
