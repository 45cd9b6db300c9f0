//! The mounted Secret: which role, database and password the broker uses.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Longest name of a role or database: PostgreSQL cuts longer ones silently (`NAMEDATALEN` - 1).
const MAX_NAME: usize = 63;
/// Longest password. SCRAM hashes any length; a bound keeps a mistake (a whole file as password) visible.
const MAX_PASSWORD: usize = 1024;

/// Checked content of the Secret. The password is not in its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the database.
    pub database: String,
    /// Name of the role that owns it.
    pub role: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("database", &self.database)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the three files of one version of the mounted Secret.
    ///
    /// The kubelet replaces a mounted Secret by moving the link `..data`; the link is followed once, so that user name
    /// and password never come from two versions. One line end at the end of a file is not part of the value.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let version = current_version(folder);
        let value = |name: &str| {
            let path = version.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(without_line_end(text)),
                Err(error) => {
                    let problem = match error.kind() {
                        io::ErrorKind::NotFound => format!("it has no key {name}; add it"),
                        io::ErrorKind::InvalidData => {
                            format!("its key {name} is not UTF-8 text; write plain text")
                        }
                        _ => format!("its key {name} cannot be read ({error})"),
                    };
                    Err(Error::Credentials {
                        folder: folder.to_owned(),
                        problem,
                    })
                }
            }
        };
        Self::checked(value("dbname")?, value("username")?, value("password")?).map_err(|problem| {
            Error::Credentials {
                folder: folder.to_owned(),
                problem,
            }
        })
    }

    /// Refuses names that PostgreSQL reserves, cuts or reads as something else in one of its files.
    pub fn checked(database: String, role: String, password: String) -> Result<Self, String> {
        check_name("dbname", &database)?;
        check_name("username", &role)?;
        if matches!(database.as_str(), "postgres" | "template0" | "template1") {
            return Err(format!(
                "dbname {database} belongs to PostgreSQL itself; choose another name"
            ));
        }
        if role == "postgres" || role == "public" || role == "none" || role.starts_with("pg_") {
            return Err(format!(
                "username {role} belongs to PostgreSQL itself; choose another name"
            ));
        }
        if password.is_empty() {
            return Err("its password is empty; write one".to_owned());
        }
        if password.len() > MAX_PASSWORD || password.chars().any(char::is_control) {
            return Err(format!(
                "its password is longer than {MAX_PASSWORD} bytes or has control characters; write one line of text"
            ));
        }
        Ok(Self {
            database,
            role,
            password,
        })
    }

    /// What the server stores instead of the password: a SCRAM-SHA-256 verifier with a fresh salt (RFC 5803), so that
    /// neither a statement nor a log ever holds the password.
    #[must_use]
    pub fn verifier(&self) -> String {
        postgres_protocol::password::scram_sha_256(self.password.as_bytes())
    }
}

/// The folder that holds one version of a mounted Secret or ConfigMap.
#[must_use]
pub fn current_version(folder: &Path) -> PathBuf {
    std::fs::read_link(folder.join("..data")).map_or_else(|_| folder.to_owned(), |target| folder.join(target))
}

fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn check_name(key: &str, name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(format!(
            "its {key} must be 1 to {MAX_NAME} letters, digits, hyphens, dots or underscores; correct it"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(database: &str, role: &str, password: &str) -> Result<Credentials, String> {
        Credentials::checked(database.into(), role.into(), password.into())
    }

    #[test]
    fn ordinary_names_and_odd_passwords_are_accepted() {
        checked("app", "app", "pässwörd '\"\\$ ;--").unwrap();
        checked("my-city.db_1", "A", &"x".repeat(MAX_PASSWORD)).unwrap();
    }

    #[test]
    fn names_of_postgresql_and_of_other_characters_are_refused_with_what_to_do() {
        let long = "x".repeat(64);
        for name in [
            "",
            "a b",
            "a\"b",
            "a'b",
            "a\nb",
            "ä",
            long.as_str(),
            "a,b",
            "+a",
            "@a",
        ] {
            assert!(
                checked("app", name, "x").unwrap_err().contains("correct it"),
                "{name}"
            );
            assert!(
                checked(name, "app", "x").unwrap_err().contains("correct it"),
                "{name}"
            );
        }
        for role in ["postgres", "pg_monitor", "public"] {
            assert!(
                checked("app", role, "x")
                    .unwrap_err()
                    .contains("choose another name"),
                "{role}"
            );
        }
        assert!(checked("template1", "app", "x").is_err());
        assert!(checked("app", "app", "").is_err());
        assert!(checked("app", "app", "two\nlines").is_err());
    }

    #[test]
    fn the_password_is_in_no_text_about_it() {
        let credentials = checked("app", "app", "tops3cret").unwrap();
        assert!(!format!("{credentials:?}").contains("tops3cret"));
        let verifier = credentials.verifier();
        assert!(
            verifier.starts_with("SCRAM-SHA-256$4096:") && !verifier.contains("tops3cret"),
            "{verifier}"
        );
        assert!(
            !checked("app", "app", "tops3cret\n\n")
                .unwrap_err()
                .contains("tops3cret")
        );
    }

    #[test]
    fn values_come_from_the_version_that_the_link_names() {
        let folder = tempfile::tempdir().unwrap();
        for (version, role) in [("..1", "old"), ("..2", "new")] {
            let version = folder.path().join(version);
            std::fs::create_dir(&version).unwrap();
            for (key, value) in [("dbname", "app"), ("username", role), ("password", "x\n")] {
                std::fs::write(version.join(key), value).unwrap();
            }
        }
        std::os::unix::fs::symlink("..2", folder.path().join("..data")).unwrap();
        let read = Credentials::read(folder.path()).unwrap();
        assert_eq!(read, checked("app", "new", "x").unwrap());
    }

    #[test]
    fn a_missing_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dbname"), "app").unwrap();
        let error = Credentials::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it has no key username"), "{error}");
    }
}
