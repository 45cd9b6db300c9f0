//! Keeps the running server as the mounted files say.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::credentials::{Credentials, current_version};
use crate::error::Error;
use crate::prepare::prepare;
use crate::{hba, state};

/// How often the mounted files are compared.
const PACE: Duration = Duration::from_secs(1);
/// How often a server that is still starting is asked.
const STARTING: Duration = Duration::from_millis(100);
/// How long to wait after a statement of ours was refused.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Which certificate is mounted: its text, and which file the key is. The key itself is not kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate {
    chain: Vec<u8>,
    key: (u64, u64, Option<SystemTime>),
}

impl Certificate {
    /// Reads what is mounted now.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let version = current_version(folder);
        let (chain, key) = (version.join("tls.crt"), version.join("tls.key"));
        let metadata = fs::metadata(&key).map_err(Error::file("read", &key))?;
        Ok(Self {
            chain: fs::read(&chain).map_err(Error::file("read", &chain))?,
            key: (metadata.ino(), metadata.len(), metadata.modified().ok()),
        })
    }
}

/// Makes role, database and extension, then follows changes of Secret and certificate. `reload` tells the server to
/// read its files again. Never ends by itself; a bad Secret is told in the log and changes nothing.
pub async fn keep(config: &Config, mut certificate: Certificate, reload: impl Fn()) -> Infallible {
    let mut applied: Option<Credentials> = None;
    let mut told = String::new();
    loop {
        let wait = match follow(config, &mut applied, &reload).await {
            Ok(()) => {
                told.clear();
                PACE
            }
            Err(error) => {
                let sentence = error.to_string();
                let starting = matches!(error, Error::NotReady(_));
                if told != sentence {
                    tell(config, &sentence, starting, applied.is_some());
                    told = sentence;
                }
                if starting { STARTING } else { AFTER_FAILURE }
            }
        };
        if let Ok(mounted) = Certificate::read(&config.tls)
            && mounted != certificate
        {
            tracing::info!("the certificate changed: PostgreSQL reloads");
            certificate = mounted;
            reload();
        }
        tokio::time::sleep(wait).await;
    }
}

/// One comparison of the Secret with what was applied last.
async fn follow(config: &Config, applied: &mut Option<Credentials>, reload: &impl Fn()) -> Result<(), Error> {
    let mounted = Credentials::read(&config.credentials)?;
    if applied.as_ref() == Some(&mounted) {
        return Ok(());
    }
    prepare(config, &mounted).await?;
    hba::write(&config.hba_file(), &mounted)?;
    reload();
    state::prepared(config, &mounted.database)?;
    tracing::info!(
        role = mounted.role,
        database = mounted.database,
        "role, database and PostGIS are as the Secret says"
    );
    *applied = Some(mounted);
    Ok(())
}

fn tell(config: &Config, sentence: &str, starting: bool, prepared_before: bool) {
    if starting {
        tracing::debug!("{sentence}");
    } else {
        tracing::warn!("{sentence}; trying again");
    }
    if !prepared_before && let Err(error) = state::hindered(config, sentence) {
        tracing::warn!("{error}");
    }
}
