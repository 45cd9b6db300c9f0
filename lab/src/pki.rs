//! Keys and certificates of a lab: one authority, made anew with every lab, for servers and for clients.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use crate::error::Error;
use crate::files;

/// The certificate authority of one lab.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

impl Authority {
    /// Makes a new authority.
    pub fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("mim-lab", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// Writes `ca.crt` into `folder`. The key stays in memory: nothing is signed after the start.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        files::write(&folder.join("ca.crt"), &self.certificate())
    }

    /// The certificate of the authority itself, PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for these DNS names and addresses.
    pub fn server(&self, common_name: &str, subjects: &[String]) -> Result<Identity, Error> {
        let mut params = CertificateParams::new(subjects)?;
        params.distinguished_name = name(common_name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client certificate; Kubernetes reads the common name as the user and organisation as a group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity, Error> {
        let key = KeyPair::generate()?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key` into `folder`.
    pub fn save(&self, folder: &Path, name: &str) -> Result<(), Error> {
        files::write(&folder.join(format!("{name}.crt")), &self.certificate)?;
        files::write_private(&folder.join(format!("{name}.key")), &self.key)
    }
}

/// A key pair that signs service account tokens: `<name>.key` and `<name>.pub` in `folder`.
pub fn save_signing_key(folder: &Path, name: &str) -> Result<(), Error> {
    let key = KeyPair::generate()?;
    files::write_private(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
    files::write(&folder.join(format!("{name}.pub")), &key.public_key_pem())
}

fn name(common_name: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, common_name);
    if let Some(organisation) = organisation {
        distinguished.push(DnType::OrganizationName, organisation);
    }
    distinguished
}
