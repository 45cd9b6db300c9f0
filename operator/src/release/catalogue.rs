//! The file: read once, checked whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::step::{ReleaseError, step};

/// Programs that a release has an image of. A catalogue may name more (for a newer operator); it must name these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operand {
    /// The native context broker.
    Broker,
    /// PostgreSQL with PostGIS.
    Postgis,
}

impl Operand {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Broker, Self::Postgis];

    /// Its key under `images`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Postgis => "postgis",
        }
    }
}

/// An image, without the registry it is pulled from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Path in the registry, for example `mim/broker`.
    pub repository: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

/// A named set of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its name, as a spec names it.
    pub name: String,
    /// Major version of PostgreSQL.
    pub postgresql: u32,
    broker: Image,
    postgis: Image,
}

impl Release {
    /// The image of an operand.
    #[must_use]
    pub const fn image(&self, operand: Operand) -> &Image {
        match operand {
            Operand::Broker => &self.broker,
            Operand::Postgis => &self.postgis,
        }
    }
}

/// The catalogue, in the order of the file: older before newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Releases {
    all: Vec<Release>,
    default: usize,
    registry: Option<String>,
}

/// Why a catalogue is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file cannot be read.
    #[error("the release catalogue {path} cannot be read: {error}; give its path with --releases")]
    Unreadable {
        /// Where it should be.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is no YAML of the shape above.
    #[error("the release catalogue is not of the expected shape: {0}")]
    Shape(#[from] serde_yaml::Error),
    /// There is no release in it.
    #[error("the release catalogue names no release; write at least one under releases")]
    Empty,
    /// Something in it is not as it must be.
    #[error("the release catalogue is wrong at {at}: {problem}")]
    Wrong {
        /// Path in the file.
        at: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// The prefix of the registry is not usable.
    #[error(
        "the image registry {0:?} is not usable: write a host, an optional port and an optional path, without scheme and final slash, for example registry.example.org:5000/mirror"
    )]
    Registry(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<String>,
    #[serde(default)]
    releases: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    postgresql: u32,
    images: BTreeMap<String, Image>,
}

impl Releases {
    /// Reads a file. `registry` is put before every repository; without it the repository says where to pull from.
    pub fn load(path: &Path, registry: Option<&str>) -> Result<Self, CatalogueError> {
        let text = std::fs::read_to_string(path).map_err(|error| CatalogueError::Unreadable {
            path: path.display().to_string(),
            error,
        })?;
        Self::parse(&text, registry)
    }

    /// Reads a text. Every release is checked, also those that nobody uses, so that a bad catalogue shows at start.
    pub fn parse(text: &str, registry: Option<&str>) -> Result<Self, CatalogueError> {
        let registry = registry.filter(|registry| !registry.is_empty());
        if let Some(registry) = registry
            && !is_registry(registry)
        {
            return Err(CatalogueError::Registry(registry.to_owned()));
        }
        let file: File = serde_yaml::from_str(text)?;
        let mut names = BTreeSet::new();
        let mut releases = Vec::with_capacity(file.releases.len());
        for (index, entry) in file.releases.into_iter().enumerate() {
            let at = format!("releases[{index}]");
            if !names.insert(entry.name.clone()) {
                return Err(wrong(
                    format!("{at}.name"),
                    format!(
                        "{:?} is there twice; a published release never changes",
                        entry.name
                    ),
                ));
            }
            releases.push(entry.check(&at)?);
        }
        let Some(last) = releases.len().checked_sub(1) else {
            return Err(CatalogueError::Empty);
        };
        let default = match file.default {
            None => last,
            Some(name) => releases
                .iter()
                .position(|release| release.name == name)
                .ok_or_else(|| {
                    wrong(
                        "default".to_owned(),
                        format!("there is no release {name:?}; there are {}", listed(&releases)),
                    )
                })?,
        };
        Ok(Self {
            all: releases,
            default,
            registry: registry.map(str::to_owned),
        })
    }

    /// What a new object gets when its spec names none.
    #[must_use]
    pub fn preferred(&self) -> Option<&Release> {
        self.all.get(self.default)
    }

    /// The release of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Release> {
        self.all.iter().find(|release| release.name == name)
    }

    /// Older before newer.
    pub fn iter(&self) -> impl Iterator<Item = &Release> {
        self.all.iter()
    }

    /// The release that an object uses: the one its spec wants, else the one on record, else the default. A step from the one on
    /// record that is not allowed is refused.
    pub fn choose(&self, wanted: Option<&str>, recorded: Option<&str>) -> Result<&Release, ReleaseError> {
        let known = |name: &str| {
            self.get(name).ok_or_else(|| ReleaseError::Unknown {
                name: name.to_owned(),
                known: self.all.iter().map(|release| release.name.clone()).collect(),
            })
        };
        match (wanted, recorded) {
            (Some(wanted), Some(recorded)) if wanted != recorded => {
                let to = known(wanted)?;
                let from = self.get(recorded).ok_or_else(|| ReleaseError::Unrecorded {
                    from: recorded.to_owned(),
                    to: wanted.to_owned(),
                })?;
                step(from, to).map(|_| to)
            }
            (Some(name), _) | (None, Some(name)) => known(name),
            (None, None) => self.preferred().ok_or_else(|| ReleaseError::Unknown {
                name: String::new(),
                known: Vec::new(),
            }),
        }
    }

    /// Where the kubelet pulls an operand from: `[registry/]repository@digest`.
    #[must_use]
    pub fn image(&self, release: &Release, operand: Operand) -> String {
        let Image { repository, digest } = release.image(operand);
        match &self.registry {
            Some(registry) => format!("{registry}/{repository}@{digest}"),
            None => format!("{repository}@{digest}"),
        }
    }
}

impl Entry {
    fn check(mut self, at: &str) -> Result<Release, CatalogueError> {
        if !is_name(&self.name) {
            return Err(wrong(
                format!("{at}.name"),
                format!(
                    "{:?} cannot be the value of a label: write at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
                    self.name
                ),
            ));
        }
        // PostGIS 3 and the broker's SQL need 13; two digits leave room for what comes.
        if !(13..=99).contains(&self.postgresql) {
            return Err(wrong(
                format!("{at}.postgresql"),
                format!(
                    "{} is no major version of PostgreSQL that can be run; write 15, for example",
                    self.postgresql
                ),
            ));
        }
        for (key, image) in &self.images {
            image.check(&format!("{at}.images.{key}"))?;
        }
        let mut take = |operand: Operand| {
            self.images.remove(operand.key()).ok_or_else(|| {
                wrong(
                    format!("{at}.images"),
                    format!(
                        "there is no image {}; add its repository and digest",
                        operand.key()
                    ),
                )
            })
        };
        let (broker, postgis) = (take(Operand::Broker)?, take(Operand::Postgis)?);
        Ok(Release {
            name: self.name,
            postgresql: self.postgresql,
            broker,
            postgis,
        })
    }
}

impl Image {
    fn check(&self, at: &str) -> Result<(), CatalogueError> {
        if !is_repository(&self.repository) {
            return Err(wrong(
                format!("{at}.repository"),
                format!(
                    "{:?} is no repository: write lower-case letters, digits, '.', '_', '-' and '/', without tag or digest, for example mim/broker",
                    self.repository
                ),
            ));
        }
        let hex = self.digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong(
                format!("{at}.digest"),
                format!(
                    "{:?} is no digest: write sha256: and 64 lower-case hexadecimal digits",
                    self.digest
                ),
            ));
        }
        Ok(())
    }
}

const fn wrong(at: String, problem: String) -> CatalogueError {
    CatalogueError::Wrong { at, problem }
}

fn listed(releases: &[Release]) -> impl fmt::Display {
    releases
        .iter()
        .map(|release| release.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The value of a Kubernetes label that is not empty.
fn is_name(name: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && is_end(name.bytes().next())
        && is_end(name.bytes().next_back())
}

/// A repository by the grammar of the OCI distribution specification (`name`), where the first part may also be a host with
/// a port.
fn is_repository(repository: &str) -> bool {
    let (host, path) = repository.split_once('/').unwrap_or_default();
    if host.contains(':') {
        return is_host(host) && is_path(path);
    }
    is_path(repository)
}

fn is_registry(registry: &str) -> bool {
    let (host, path) = registry
        .split_once('/')
        .map_or((registry, None), |(host, path)| (host, Some(path)));
    is_host(host) && path.is_none_or(is_path)
}

fn is_host(host: &str) -> bool {
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`
fn is_path(path: &str) -> bool {
    path.len() <= 255
        && path.split('/').all(|part| {
            let is_edge =
                |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            is_edge(part.bytes().next())
                && is_edge(part.bytes().next_back())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
                && !["..", "._", ".-", "_.", "-.", "___", "_-", "-_"]
                    .iter()
                    .any(|bad| part.contains(bad))
        })
}
