//! What holds: the configuration with all files that it speaks of, read together and refused as a whole.
//!
//! One snapshot is made of everything, so a certificate and its key, or a rule and what it names, are never of two times.

use crate::config::{self, Config, Version};
use crate::identity::Issuer;
use crate::identity::claims::Terms;
use crate::identity::keyring::{Keyring, Source};
use crate::upstream::way::Way;
use mim_bundle::{Bundle, Trouble};
use mim_egress::{Client, Policy, api_server_of_this_pod};
use mim_policy::{Rule, Table};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at. The kubelet refreshes mounted ones about once a minute, at once where a pod's annotation changes.
pub const LOOK: Duration = Duration::from_secs(1);

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `gateway.yaml`.
    pub config: PathBuf,
    /// The folder with `tls.crt` and `tls.key` for clients, and `client-ca.crt` where clients show certificates.
    pub tls: PathBuf,
    /// The folder with `ca.crt`, `tls.crt` and `tls.key` for the broker.
    pub upstream_tls: PathBuf,
    /// The folder with authorities of issuers.
    pub identity: PathBuf,
    /// The folder with the bundle.
    pub bundle: PathBuf,
}

/// The files as they are.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    config: String,
    tls: Pair,
    client_ca: Option<Vec<u8>>,
    upstream: Option<(Pair, Vec<u8>)>,
    /// Of each issuer in its order.
    authorities: Vec<Option<Vec<u8>>>,
    /// `None`: it is not there yet, or nobody asks for it.
    bundle: Option<Loaded>,
}

/// A bundle that was read; two of one digest are one.
#[derive(Clone)]
struct Loaded(Arc<Bundle>);

impl PartialEq for Loaded {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Loaded {}

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What is made of them.
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// Greets clients.
    pub acceptor: TlsAcceptor,
    /// The way to the broker.
    pub way: Arc<Way>,
    /// The issuers of tokens.
    pub issuers: Vec<Issuer>,
    /// The rules of the city; `None`: they are not there yet, or nobody asks for them.
    pub policy: Option<Arc<Table>>,
    /// Another one for each settings of this process.
    pub number: u64,
    files: Files,
}

impl Settings {
    /// What is not there yet, without which nothing is let through.
    #[must_use]
    pub fn lack(&self) -> Option<&'static str> {
        let lacks = self.config.policy && self.policy.is_none();
        lacks.then_some("the bundle with the rules of the city is not there yet")
    }

    /// The digest of the bundle in force.
    #[must_use]
    pub fn bundle(&self) -> Option<&str> {
        self.files.bundle.as_ref().map(|bundle| bundle.0.digest.as_str())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Reads and follows the settings.
pub struct Loader {
    places: Places,
    /// Whether issuers may be on this machine: for tests.
    loopback: bool,
    /// Kept over changes: a client that comes back resumes its session.
    tickets: Arc<dyn ProducesTickets>,
}

impl Loader {
    /// A loader of these places.
    pub fn new(places: Places, loopback: bool) -> Result<Self, String> {
        let tickets = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
        Ok(Self {
            places,
            loopback,
            tickets,
        })
    }

    /// The settings as the files say.
    pub async fn load(&self) -> Result<Settings, String> {
        let files = self.read(None).await?;
        self.made_of(files, None)
    }

    /// Follows the files for ever. Settings that cannot be used leave those that hold as they are; `trouble` says why, `None` that all is well.
    pub async fn follow(
        self,
        settings: watch::Sender<Arc<Settings>>,
        trouble: watch::Sender<Option<String>>,
    ) {
        loop {
            tokio::time::sleep(LOOK).await;
            let current = Arc::clone(&settings.borrow());
            let news = match self.read(current.files.bundle.as_ref()).await {
                Ok(files) if files == current.files => Ok(None),
                Ok(files) => self.made_of(files, Some(&current)).map(Some),
                Err(why) => Err(why),
            };
            let why = match news {
                Ok(None) => None,
                Ok(Some(new)) => {
                    tracing::info!(bundle = new.bundle(), "new settings are in force");
                    settings.send_replace(Arc::new(new));
                    None
                }
                Err(why) => Some(why),
            };
            trouble.send_if_modified(|told| {
                let is_news = *told != why;
                if let (true, Some(why)) = (is_news, &why) {
                    tracing::warn!(%why, "the settings from before hold on");
                }
                told.clone_from(&why);
                is_news
            });
        }
    }

    async fn read(&self, known: Option<&Loaded>) -> Result<Files, String> {
        let config = read(&self.places.config).await?;
        let config = String::from_utf8(config).map_err(|_| "gateway.yaml is not UTF-8".to_owned())?;
        // What is read depends on what it says; whether it says it well is found out later.
        let parsed = config::parse(&config).map_err(|why| format!("gateway.yaml: {why}"))?;
        let upstream = if parsed.upstream.server_name.is_some() {
            let folder = &self.places.upstream_tls;
            Some((pair(folder).await?, read(&folder.join("ca.crt")).await?))
        } else {
            None
        };
        let client_ca = if parsed.tls.client_certificates {
            Some(read(&self.places.tls.join("client-ca.crt")).await?)
        } else {
            None
        };
        let mut authorities = Vec::new();
        for issuer in parsed.identity.iter().flat_map(|identity| &identity.issuers) {
            authorities.push(match &issuer.authority {
                Some(name) => Some(read(&self.places.identity.join(name)).await?),
                None => None,
            });
        }
        let bundle = if parsed.policy {
            bundle(&self.places.bundle, known).await?
        } else {
            None
        };
        Ok(Files {
            authorities,
            bundle,
            config,
            tls: pair(&self.places.tls).await?,
            client_ca,
            upstream,
        })
    }

    fn made_of(&self, files: Files, before: Option<&Settings>) -> Result<Settings, String> {
        let config = config::parse(&files.config).map_err(|why| format!("gateway.yaml: {why}"))?;
        let acceptor = self.acceptor(&files, &config)?;
        let same = before.filter(|before| {
            before.config.upstream == config.upstream && before.files.upstream == files.upstream
        });
        let way = match same {
            // The connections that are open stay in use.
            Some(before) => Arc::clone(&before.way),
            None => Arc::new(way(&files, &config)?),
        };
        let issuers = self.issuers(&files, &config, before);
        let policy = match before.filter(|before| before.files.bundle == files.bundle) {
            Some(before) => before.policy.clone(),
            None => files.bundle.as_ref().map(|bundle| table(&bundle.0)).transpose()?,
        };
        Ok(Settings {
            issuers,
            policy,
            number: before.map_or(0, |before| before.number + 1),
            config,
            acceptor,
            way,
            files,
        })
    }

    /// Keys of an issuer that was there before are known already.
    fn issuers(&self, files: &Files, config: &Config, before: Option<&Settings>) -> Vec<Issuer> {
        let Some(identity) = &config.identity else {
            return Vec::new();
        };
        let policy = Policy::new(identity.allowed_private_cidrs.clone(), api_server_of_this_pod());
        let policy = if self.loopback {
            policy.with_loopback_for_tests()
        } else {
            policy
        };
        let client = Client::new(policy);
        let ranges = |config: &Config| {
            config
                .identity
                .as_ref()
                .map(|identity| identity.allowed_private_cidrs.clone())
        };
        let before = before.filter(|before| ranges(&before.config) == ranges(config));
        let known: Vec<_> = before
            .iter()
            .flat_map(|before| &before.issuers)
            .map(|issuer| &issuer.keyring)
            .collect();
        let made = identity
            .issuers
            .iter()
            .zip(&files.authorities)
            .map(|(issuer, authority)| {
                let source = Source {
                    url: issuer.jwks.clone(),
                    authority: authority.clone(),
                    max_stale: Duration::from_secs(issuer.max_stale.get().into()),
                };
                let keyring = match known.iter().find(|keyring| *keyring.source() == source) {
                    Some(keyring) => Arc::clone(keyring),
                    None => Keyring::start(source, client.clone()),
                };
                Issuer {
                    terms: terms(issuer),
                    keyring,
                }
            });
        made.collect()
    }

    fn acceptor(&self, files: &Files, config: &Config) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match config.tls.min_version {
            Version::Tls13 => &[&rustls::version::TLS13],
            Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(roots(pem, "client-ca.crt")?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| format!("client-ca.crt: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = files.tls.read()?;
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("tls.crt and tls.key of clients: {error}"))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if files.client_ca.is_some() {
            // A session that is resumed is not verified again, and would outlive its certificate, or its authority.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        } else {
            server.ticketer = Arc::clone(&self.tickets);
        }
        Ok(TlsAcceptor::from(Arc::new(server)))
    }
}

fn terms(issuer: &config::Issuer) -> Terms {
    let claims = issuer.claims.clone();
    Terms {
        issuer: issuer.issuer.clone(),
        audiences: issuer.audiences.clone(),
        algorithms: issuer.algorithms.clone(),
        skew: issuer.skew.into(),
        id: claims.id,
        client: claims.client,
        roles: claims.roles,
        groups: claims.groups,
        others: claims.others,
    }
}

fn way(files: &Files, config: &Config) -> Result<Way, String> {
    let tls = match (&config.upstream.server_name, &files.upstream) {
        (Some(name), Some((pair, authority))) => {
            let (chain, key) = pair.read()?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let client = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots(authority, "ca.crt")?)
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("tls.crt and tls.key for the broker: {error}"))?;
            let name = ServerName::try_from(name.clone())
                .map_err(|_| "upstream.serverName is no name".to_owned())?;
            Some((Arc::new(client), name))
        }
        _ => None,
    };
    Ok(Way {
        address: config.upstream.address.clone(),
        tls,
        patience: Duration::from_secs(config.upstream.timeout.get().into()),
    })
}

impl Pair {
    /// The words of an error never have a part of a key in them.
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| "tls.key is no key".to_owned())?;
        Ok((chain, key))
    }
}

/// The bundle as it is now; the one that is known is not read again.
async fn bundle(folder: &Path, known: Option<&Loaded>) -> Result<Option<Loaded>, String> {
    let (folder, digest) = (folder.to_owned(), known.map(|known| known.0.digest.clone()));
    let read = move || mim_bundle::read(&folder, digest.as_deref());
    let read = tokio::task::spawn_blocking(read).await;
    match read.map_err(|error| error.to_string())? {
        Ok(Some(bundle)) => Ok(Some(Loaded(Arc::new(bundle)))),
        Ok(None) => Ok(known.cloned()),
        Err(Trouble::Absent) if known.is_none() => Ok(None),
        Err(why) => Err(format!("bundle: {why}")),
    }
}

/// The rules in a bundle. One that has none is refused: no rules are something else than rules that nobody has sent.
fn table(bundle: &Bundle) -> Result<Arc<Table>, String> {
    let part = bundle
        .parts
        .get("policy")
        .ok_or("bundle: it has no part policy")?;
    let rules = part.get("rules").cloned().unwrap_or_default();
    let rules: Vec<Rule> =
        serde_json::from_value(rules).map_err(|error| format!("bundle: policy: {error}"))?;
    let refused = |refusals: Vec<mim_policy::Refusal>| {
        let first = refusals
            .first()
            .map(|refusal| format!("{}: {}", refusal.path, refusal.why));
        format!("bundle: policy: {}", first.unwrap_or_default())
    };
    Table::compile(&rules).map(Arc::new).map_err(refused)
}

fn roots(pem: &[u8], name: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("{name}: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("{name} has no certificate"));
    }
    Ok(roots)
}

async fn pair(folder: &Path) -> Result<Pair, String> {
    Ok(Pair {
        certificate: read(&folder.join("tls.crt")).await?,
        key: read(&folder.join("tls.key")).await?,
    })
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
