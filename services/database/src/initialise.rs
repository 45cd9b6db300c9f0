//! Makes the data folder on an empty volume, or tells what is there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use crate::config::Config;
use crate::error::Error;
use crate::lock;
use crate::volume::{self, Decision, Layout};

/// Makes sure that the volume holds a whole database and returns its system identifier.
///
/// On an empty volume initdb works in a folder of another name, which is renamed when all of it is on disk: a kill at
/// any moment leaves either nothing or everything. Where the identity is known and the volume is empty or holds
/// something else, nothing is changed and the error starts with `DataLost: `. Dropping the future gives the work up;
/// an initdb that still runs keeps the lock, and the next call waits for it.
pub async fn initialise(config: &Config) -> Result<String, Error> {
    let expected = volume::expected_identifier(config)?;
    let layout = Layout::of(config)?;
    let found = volume::inspect(&config.volume, &layout)?;
    if volume::decide(&found, expected.as_deref(), &layout)? == Decision::Initialise {
        make_home(config, &layout)?;
        let _lock = lock::acquire(&layout).await?;
        // Whoever held the lock may have finished the work.
        let found = volume::inspect(&config.volume, &layout)?;
        if volume::decide(&found, expected.as_deref(), &layout)? == Decision::Initialise {
            make_data(config, &layout).await?;
        }
    }
    let identifier = volume::system_identifier(config, &layout.data)?;
    volume::compare(&identifier, expected.as_deref())?;
    volume::restrict(&layout.data)?;
    Ok(identifier)
}

/// What the container's termination message says on success; part of the contract.
#[must_use]
pub fn message(identifier: &str) -> String {
    format!("{{\"systemIdentifier\": \"{identifier}\"}}")
}

fn make_home(config: &Config, layout: &Layout) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(&layout.home) {
        Ok(()) => sync(&config.volume),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::file("create", &layout.home)(error)),
    }
}

async fn make_data(config: &Config, layout: &Layout) -> Result<(), Error> {
    remove(&layout.partial)?;
    // An empty folder of that name would stand in the way of the rename on some file systems.
    match fs::remove_dir(&layout.data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("remove the empty folder", &layout.data)(error));
        }
        _ => {}
    }
    tracing::info!(volume = %config.volume.display(), "the volume is empty: making a new database");
    // initdb writes everything to disk before it ends.
    let command = initdb(config, &layout.partial);
    tokio::task::spawn_blocking(|| volume::output(command, "initdb"))
        .await
        .map_err(|error| Error::Program {
            program: "initdb".to_owned(),
            reason: error.to_string(),
        })??;
    sync(&layout.partial)?;
    fs::rename(&layout.partial, &layout.data).map_err(Error::file("rename", &layout.partial))?;
    sync(&layout.home)
}

fn initdb(config: &Config, data: &Path) -> Command {
    let mut command = Command::new(config.program("initdb"));
    command
        .env_clear()
        .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("PATH", "/usr/bin:/bin")])
        .arg("--pgdata")
        .arg(data)
        .args([
            "--username",
            "postgres",
            "--data-checksums",
            "--locale",
            "C.UTF-8",
            "--encoding",
            "UTF8",
        ])
        .args([
            "--auth-local",
            "peer",
            "--auth-host",
            "scram-sha-256",
            "--no-instructions",
        ]);
    command
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file("write to disk", folder))
}
