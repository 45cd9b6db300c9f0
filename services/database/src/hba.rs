//! Who may connect, and how: the generated `pg_hba.conf`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::credentials::Credentials;
use crate::error::Error;
use crate::prepare::READERS;

/// The file's text: the superuser on the local socket by the process' own user (peer), the broker's role on its own
/// database from anywhere over TLS with SCRAM, as are the readers of that database, nobody else.
///
/// Names are quoted, so that none is read as a keyword (`all`, `replication`, `samerole`).
#[must_use]
pub fn text(credentials: &Credentials) -> String {
    format!(
        "# Written by mim-database at every start and change; edits are lost.\n\
         local all postgres peer\n\
         hostssl \"{database}\" \"{}\" all scram-sha-256\n\
         hostssl \"{database}\" +{READERS} all scram-sha-256\n",
        credentials.role,
        database = credentials.database
    )
}

/// Puts the file in place, whole or not at all; readable by this user only.
pub fn write(path: &Path, credentials: &Credentials) -> Result<(), Error> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Error::file("create", &new))?;
    file.write_all(text(credentials).as_bytes())
        .map_err(Error::file("write", &new))?;
    fs::rename(&new, path).map_err(Error::file("replace", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_superuser_on_the_socket_and_the_role_and_its_readers_over_tls_get_in() {
        let credentials = Credentials::checked("all".into(), "replication".into(), "x".into()).unwrap();
        let text = text(&credentials);
        let rules: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rules,
            [
                "local all postgres peer",
                "hostssl \"all\" \"replication\" all scram-sha-256",
                "hostssl \"all\" +mim_readers all scram-sha-256"
            ]
        );
    }
}
