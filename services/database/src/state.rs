//! What `run` tells `probe`: a file beside the socket with one sentence.

use std::fs;
use std::path::PathBuf;

use crate::config::Config;
use crate::error::Error;

/// How the file starts once role, database and extension are made; the name of the database follows.
const PREPARED: &str = "prepared ";

fn path(config: &Config) -> PathBuf {
    config.sockets.join("mim-database.state")
}

/// Forgets the state of an earlier container of the same pod, whose files outlive it.
pub fn starting(config: &Config) -> Result<(), Error> {
    write(
        config,
        "PostgreSQL is starting; its role, database and extension are not made yet",
    )
}

/// Role, database and extension are as the Secret says. Later failures do not take this back: a server that works
/// with the last good Secret must not be restarted for a bad new one.
pub fn prepared(config: &Config, database: &str) -> Result<(), Error> {
    write(config, &format!("{PREPARED}{database}"))
}

/// Why they are not made yet.
pub fn hindered(config: &Config, reason: &str) -> Result<(), Error> {
    write(config, reason)
}

/// The name of the database that is prepared, or the sentence that `run` has left.
pub fn database(config: &Config) -> Result<String, Error> {
    match fs::read_to_string(path(config)) {
        Ok(text) => text
            .strip_prefix(PREPARED)
            .map(str::to_owned)
            .ok_or(Error::NotPrepared(text)),
        Err(_) => Err(Error::NotPrepared(
            "`mim-database run` has not started PostgreSQL yet".to_owned(),
        )),
    }
}

fn write(config: &Config, text: &str) -> Result<(), Error> {
    let (path, new) = (path(config), path(config).with_extension("new"));
    fs::write(&new, text).map_err(Error::file("write", &new))?;
    fs::rename(&new, &path).map_err(Error::file("replace", &path))
}
