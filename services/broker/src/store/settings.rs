//! Where the database is, from the files of a mounted Secret with the keys of CloudNativePG's app Secret.

use crate::store::trouble::Trouble;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folder with `host`, `port`, `dbname`, `username`, `password`.
    pub database: PathBuf,
    /// The CA certificate (PEM); where there is none, the system's trust store is used.
    pub ca: PathBuf,
}

/// What is needed to connect. Its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// A host name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub dbname: String,
    /// The role.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The CA certificates to trust (PEM), `None` for the system's.
    pub ca: Option<Vec<u8>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.username, self.host, self.port, self.dbname)
    }
}

impl Settings {
    /// Reads the files as they are now.
    pub async fn read(places: &Places) -> Result<Self, Trouble> {
        let folder = &places.database;
        let port = text(folder, "port").await?;
        let port = port.parse().map_err(|_| {
            Trouble::Settings(format!(
                "the file port of the database's Secret says {port:?}, which is no port"
            ))
        })?;
        let ca = match tokio::fs::read(&places.ca).await {
            Ok(pem) => Some(pem),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                return Err(Trouble::Settings(format!(
                    "the CA certificate {} cannot be read: {e}",
                    places.ca.display()
                )));
            }
        };
        Ok(Self {
            host: text(folder, "host").await?,
            port,
            dbname: text(folder, "dbname").await?,
            username: text(folder, "username").await?,
            password: text(folder, "password").await?,
            ca,
        })
    }
}

async fn text(folder: &Path, name: &str) -> Result<String, Trouble> {
    let path = folder.join(name);
    let text = tokio::fs::read_to_string(&path).await;
    let text = text.map_err(|e| {
        Trouble::Settings(format!(
            "the database's Secret has no usable file {}: {e}",
            path.display()
        ))
    })?;
    // Secrets made by hand often end in a line break.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Trouble::Settings(format!(
            "the file {} of the database's Secret is empty",
            path.display()
        )));
    }
    Ok(text.to_owned())
}
