//! Reading certificates, and the few parameters that both kinds share.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use rand::CryptoRng;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SerialNumber};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{BACKDATE, CertificateError};

/// What is asked of a certificate that there is.
pub(super) struct Facts {
    /// First moment of its life, the backdating left out.
    pub born: Timestamp,
    /// Last moment of its life.
    pub dies: Timestamp,
    /// DNS names.
    pub names: BTreeSet<String>,
    /// Whether it may sign others.
    pub signs: bool,
    /// Its public key, raw.
    pub public_key: Vec<u8>,
}

impl Facts {
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("it is no certificate ({error})"))?;
        let second = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| format!("its dates are wrong ({error})"))
        };
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let names = alternatives
            .into_iter()
            .flat_map(|found| &found.value.general_names);
        let validity = certificate.validity();
        Ok(Self {
            born: second(validity.not_before)?
                .saturating_add(BACKDATE)
                .map_err(|error| error.to_string())?,
            dies: second(validity.not_after)?,
            names: names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect(),
            signs: certificate.is_ca(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// At 2/3 of its life.
    pub fn renew_at(&self) -> Timestamp {
        let third = self.dies.duration_since(self.born) / 3;
        self.dies.checked_sub(third).unwrap_or(self.born)
    }

    /// Reads a private key and checks that it belongs to this certificate.
    pub fn key(&self, pem: &str) -> Result<KeyPair, String> {
        let key =
            KeyPair::from_pem(pem).map_err(|error| format!("its private key cannot be read ({error})"))?;
        if key.der_bytes() == self.public_key {
            Ok(key)
        } else {
            Err("its private key belongs to another certificate".to_owned())
        }
    }
}

/// The certificates of a PEM text, in order. Other blocks are passed over.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("it is no PEM ({error})"))?;
    if found.is_empty() {
        Err("there is no certificate in it".to_owned())
    } else {
        Ok(found)
    }
}

/// Whether `issuer` has signed `certificate`.
pub(super) fn has_signed(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) = (
        X509Certificate::from_der(issuer),
        X509Certificate::from_der(certificate),
    ) else {
        return false;
    };
    certificate.issuer() == issuer.subject()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// A certificate as PEM, with its line end, so that bundles can be put together.
pub(super) fn pem(der: &CertificateDer<'_>) -> String {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n",
        base64_lines(der)
    )
}

fn base64_lines(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut lines = String::with_capacity(text.len() + text.len() / 64 + 1);
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    lines.push('\n');
    lines
}

/// Parameters with a life that begins now and a random serial number.
pub(super) fn parameters(
    names: &[String],
    common_name: Option<&str>,
    now: Timestamp,
    dies: Timestamp,
    random: &mut impl CryptoRng,
) -> Result<CertificateParams, CertificateError> {
    let mut parameters =
        CertificateParams::new(names).map_err(|_| CertificateError::Name(names.join(", ")))?;
    let out_of_range = |_| CertificateError::Lifetime(Duration::from_secs(dies.as_second().unsigned_abs()));
    let date = |at: Timestamp| OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(out_of_range);
    parameters.not_before = date(now.saturating_sub(BACKDATE).unwrap_or(now))?;
    parameters.not_after = date(dies)?;
    parameters.distinguished_name = DistinguishedName::new();
    if let Some(name) = common_name {
        parameters.distinguished_name.push(DnType::CommonName, name);
    }
    let mut serial = [0; 16];
    random.fill_bytes(&mut serial);
    // Positive and not zero (RFC 5280 §4.1.2.2).
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}

/// The end of a life that begins now.
pub(super) fn end_of(now: Timestamp, lifetime: Duration) -> Result<Timestamp, CertificateError> {
    now.checked_add(lifetime)
        .map_err(|_| CertificateError::Lifetime(lifetime))
}
