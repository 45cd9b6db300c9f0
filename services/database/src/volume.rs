//! What a volume holds, and what may be done with it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::Config;
use crate::error::Error;

/// The folders of one major version on the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Major version of the server's programs.
    pub major: u32,
    /// `<volume>/<major>`.
    pub home: PathBuf,
    /// `<volume>/<major>/data`; exists only whole.
    pub data: PathBuf,
    /// Where a new data folder is made before it gets its name.
    pub partial: PathBuf,
    /// Held locked by whoever works on the data.
    pub lock: PathBuf,
}

/// What was found on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No data of any version.
    Nothing,
    /// A data folder of this version.
    Database,
    /// Data of another major version only.
    OtherMajor(u32),
    /// The data folder is there, but this is missing in it.
    Damaged(&'static str),
}

/// What `initialise` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Make a new data folder.
    Initialise,
    /// Keep what is there; its identifier is still to be compared.
    Keep,
}

impl Layout {
    /// The folders for the server version that is installed.
    pub fn of(config: &Config) -> Result<Self, Error> {
        let major = installed_major(config)?;
        let home = config.volume.join(major.to_string());
        Ok(Self {
            major,
            data: home.join("data"),
            partial: home.join("data.partial"),
            lock: home.join("lock"),
            home,
        })
    }
}

/// Looks at a volume; changes nothing.
pub fn inspect(volume: &Path, layout: &Layout) -> Result<Found, Error> {
    if has_entries(&layout.data)? {
        let missing = [
            ("PG_VERSION", "PG_VERSION"),
            ("global/pg_control", "global/pg_control"),
        ]
        .into_iter()
        .find(|(_, path)| !layout.data.join(path).is_file());
        return Ok(missing.map_or(Found::Database, |(name, _)| Found::Damaged(name)));
    }
    for entry in fs::read_dir(volume).map_err(Error::file("read", volume))? {
        let entry = entry.map_err(Error::file("read", volume))?;
        let major = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        if let Some(major) = major.filter(|major| *major != layout.major)
            && has_entries(&entry.path().join("data"))?
        {
            return Ok(Found::OtherMajor(major));
        }
    }
    Ok(Found::Nothing)
}

/// Decides from what was found and which identifier the volume is known to have held.
pub fn decide(found: &Found, expected: Option<&str>, layout: &Layout) -> Result<Decision, Error> {
    match (found, expected) {
        (Found::Nothing, None) => Ok(Decision::Initialise),
        (Found::Nothing, Some(identifier)) => Err(Error::DataLost(format!(
            "the volume is empty, but it held database {identifier}; attach the volume that holds it, or accept the loss"
        ))),
        (Found::Database, _) => Ok(Decision::Keep),
        (Found::OtherMajor(major), _) => Err(Error::Volume(format!(
            "the volume holds data of PostgreSQL {major}, and this image is PostgreSQL {}; use a release with \
             PostgreSQL {major}, or dump there and restore into a new volume",
            layout.major
        ))),
        (Found::Damaged(missing), Some(identifier)) => Err(Error::DataLost(format!(
            "the data folder has lost {missing}, so it is no longer database {identifier}; restore the volume, or \
             accept the loss and empty it"
        ))),
        (Found::Damaged(missing), None) => Err(Error::Volume(format!(
            "{} is not empty and has no {missing}, so it is no whole database; nothing was changed: restore the \
             volume, or empty it",
            layout.data.display()
        ))),
    }
}

/// Compares what is there with what is known to have been there.
pub fn compare(identifier: &str, expected: Option<&str>) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != identifier => Err(Error::DataLost(format!(
            "the volume holds database {identifier}, but it held database {expected}; attach the volume that holds \
             it, or accept the loss"
        ))),
        _ => Ok(()),
    }
}

/// The identifier that the operator has kept; none where it has kept none yet.
pub fn expected_identifier(config: &Config) -> Result<Option<String>, Error> {
    if config.preflight {
        return Ok(None);
    }
    match fs::read_to_string(&config.identity) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", &config.identity)(error)),
    }
}

/// The number that initdb gave to the data, as `pg_controldata` reads it.
pub fn system_identifier(config: &Config, data: &Path) -> Result<String, Error> {
    let mut command = Command::new(config.program("pg_controldata"));
    command.env("LC_ALL", "C").arg("-D").arg(data);
    let text = output(command, "pg_controldata")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("Database system identifier:"));
    value
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Error::Program {
            program: "pg_controldata".to_owned(),
            reason: "it names no system identifier".to_owned(),
        })
}

/// Gives the data folder the mode that PostgreSQL insists on. The kubelet opens it to the volume's group whenever it
/// mounts a volume with `fsGroup`.
pub fn restrict(data: &Path) -> Result<(), Error> {
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))
        .map_err(Error::file("restrict the mode of", data))
}

/// Runs one of PostgreSQL's programs to its end; its last line on stderr is the reason where it fails.
pub fn output(mut command: Command, program: &str) -> Result<String, Error> {
    let failed = |reason: String| Error::Program {
        program: program.to_owned(),
        reason,
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told = stderr
        .lines()
        .map(str::trim)
        .rfind(|line| line.contains("rror:") || line.contains("FATAL"));
    let last = told.or_else(|| stderr.lines().map(str::trim).rfind(|line| !line.is_empty()));
    Err(failed(
        last.map_or_else(|| output.status.to_string(), str::to_owned),
    ))
}

fn installed_major(config: &Config) -> Result<u32, Error> {
    let mut command = Command::new(config.program("postgres"));
    command.arg("--version");
    let text = output(command, "postgres --version")?;
    parse_major(&text).ok_or_else(|| Error::Program {
        program: "postgres --version".to_owned(),
        reason: format!("its answer names no version: {}", text.trim()),
    })
}

fn parse_major(text: &str) -> Option<u32> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn has_entries(folder: &Path) -> Result<bool, Error> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("read", folder)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(volume: &Path) -> Layout {
        let home = volume.join("15");
        Layout {
            major: 15,
            data: home.join("data"),
            partial: home.join("data.partial"),
            lock: home.join("lock"),
            home,
        }
    }

    fn volume_with(files: &[&str]) -> tempfile::TempDir {
        let volume = tempfile::tempdir().unwrap();
        for file in files {
            let path = volume.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        volume
    }

    #[test]
    fn a_volume_is_seen_as_what_it_is() {
        for (files, expected) in [
            (&["lost+found/x"][..], Found::Nothing),
            (&["15/data.partial/PG_VERSION", "15/lock"], Found::Nothing),
            (
                &["15/data/PG_VERSION", "15/data/global/pg_control"],
                Found::Database,
            ),
            (&["15/data/PG_VERSION"], Found::Damaged("global/pg_control")),
            (&["15/data/base/1"], Found::Damaged("PG_VERSION")),
            (&["14/data/PG_VERSION"], Found::OtherMajor(14)),
            (
                &[
                    "14/data/PG_VERSION",
                    "15/data/PG_VERSION",
                    "15/data/global/pg_control",
                ],
                Found::Database,
            ),
        ] {
            let volume = volume_with(files);
            assert_eq!(
                inspect(volume.path(), &layout(volume.path())).unwrap(),
                expected,
                "{files:?}"
            );
        }
    }

    #[test]
    fn a_volume_with_a_known_past_is_never_initialised() {
        let layout = layout(Path::new("/v"));
        for found in [Found::Nothing, Found::Damaged("PG_VERSION")] {
            let error = decide(&found, Some("7"), &layout).unwrap_err().to_string();
            assert!(error.starts_with("DataLost: "), "{error}");
        }
        assert_eq!(
            decide(&Found::Nothing, None, &layout).unwrap(),
            Decision::Initialise
        );
        assert_eq!(
            decide(&Found::Database, Some("7"), &layout).unwrap(),
            Decision::Keep
        );
    }

    #[test]
    fn what_is_not_whole_or_of_another_version_is_never_initialised_either() {
        let layout = layout(Path::new("/v"));
        for found in [Found::Damaged("PG_VERSION"), Found::OtherMajor(14)] {
            let error = decide(&found, None, &layout).unwrap_err().to_string();
            assert!(
                !error.starts_with("DataLost: ") && error.contains("volume"),
                "{error}"
            );
        }
    }

    #[test]
    fn another_identifier_is_lost_data() {
        assert!(compare("1", None).is_ok() && compare("1", Some("1")).is_ok());
        assert!(
            compare("1", Some("2"))
                .unwrap_err()
                .to_string()
                .starts_with("DataLost: ")
        );
    }

    #[test]
    fn the_major_version_is_read_from_the_program() {
        assert_eq!(
            parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }
}
