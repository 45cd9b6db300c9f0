//! Debian packages as files: downloaded through apt with its signatures checked, never installed, so no maintainer
//! script runs and any Linux host with mmdebstrap will do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    cache::Cache,
    error::Error,
    layer::sha256_hex,
    lock::{Locked, PackageLock, SUITE},
    process::{DPKG_DEB, MMDEBSTRAP, output},
    tree::Tree,
};

/// Where [`Cache`] keeps `.deb` files, by SHA-256.
const KIND: &str = "debs";

/// Names of one processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Debian's and OCI's name, which are the same for those listed here.
    pub name: &'static str,
    /// Debian's folder of libraries.
    pub multiarch: &'static str,
}

impl Architecture {
    /// That of the running program, which is also that of the programs it builds.
    pub fn of_host() -> Result<Self, Error> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self {
                name: "amd64",
                multiarch: "x86_64-linux-gnu",
            }),
            // Another one needs a lock of its packages and its dynamic linker in the recipes.
            other => Err(Error::Document {
                document: "architecture",
                reason: format!("images are built on amd64 only so far, this is {other}"),
            }),
        }
    }
}

/// A package with its content.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub locked: Locked,
    /// Architecture as the package says it: that of the host, or `all`.
    pub architecture: String,
    /// The control file.
    pub control: String,
    pub tree: Tree,
}

/// The `.deb` files of these names: the locked versions from the cache or the mirror; where the mirror no longer has
/// one, the newest of all. Sorted by name.
pub(super) fn obtain(
    cache: &Cache,
    names: &[String],
    lock: &PackageLock,
    architecture: Architecture,
) -> Result<Vec<Locked>, Error> {
    if let Some(locked) = lock.select(names) {
        if locked.iter().all(|package| file(cache, package).is_file()) {
            return Ok(locked);
        }
        match download(cache, names, &locked, architecture) {
            Err(Error::Command { output, .. }) if output.contains("was not found") => {}
            other => return other,
        }
    }
    download(cache, names, &[], architecture)
}

/// Downloads the newest of all these packages, whatever the lock says.
pub(super) fn download_newest(
    cache: &Cache,
    names: &[String],
    architecture: Architecture,
) -> Result<Vec<Locked>, Error> {
    download(cache, names, &[], architecture)
}

fn file(cache: &Cache, package: &Locked) -> PathBuf {
    cache.path(KIND, &format!("{}.deb", package.sha256))
}

/// mmdebstrap brings a private apt with the mirror and keys of the suite. Nothing is installed, so it needs no chroot and
/// with that no root (`--mode=chrootless`).
fn download(
    cache: &Cache,
    names: &[String],
    locked: &[Locked],
    architecture: Architecture,
) -> Result<Vec<Locked>, Error> {
    let mut wanted = String::new();
    for name in names {
        wanted.push(' ');
        wanted.push_str(shell_safe(name)?);
        if let Some(package) = locked.iter().find(|package| package.name == *name) {
            wanted.push('=');
            wanted.push_str(shell_safe(&package.version)?);
        }
    }
    let hook = format!(
        "mkdir \"$1/debs\" && cd \"$1/debs\" && APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get -qq download{wanted}"
    );
    let mut command = Command::new(MMDEBSTRAP.name);
    command.args(["--mode=chrootless", "--variant=custom", "--format=tar"]);
    command.arg(format!("--architectures={}", architecture.name));
    command.arg(format!("--customize-hook={hook}")).args([SUITE, "-"]);
    let tar = output(MMDEBSTRAP, &mut command)?;
    let tree = Tree::from_tar(tar.as_slice()).map_err(Error::file("read", "mmdebstrap's output"))?;
    let scratch = cache.scratch()?;
    let mut found = Vec::new();
    for (path, _) in tree.iter().filter(|(path, _)| path.starts_with("debs/")) {
        let Some(bytes) = tree.bytes(path) else { continue };
        let made = scratch.path().join("package.deb");
        fs::write(&made, bytes).map_err(Error::file("write", &made))?;
        let package = Locked {
            name: field(&made, "Package")?,
            version: field(&made, "Version")?,
            sha256: sha256_hex(bytes),
        };
        cache.keep_file(&made, KIND, &format!("{}.deb", package.sha256))?;
        found.push(package);
    }
    found.sort();
    match names
        .iter()
        .find(|name| !found.iter().any(|package| package.name == **name))
    {
        None => Ok(found),
        Some(name) => Err(Error::Package {
            package: name.clone(),
            reason: "apt-get download brought no file of it".into(),
        }),
    }
}

/// Reads a package that [`obtain`] brought, and checks that the cache still holds what was put there.
pub(super) fn read(cache: &Cache, locked: &Locked) -> Result<Package, Error> {
    let path = file(cache, locked);
    let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
    let found = sha256_hex(&bytes);
    if found != locked.sha256 {
        return Err(Error::Package {
            package: format!("{} {}", locked.name, locked.version),
            reason: format!(
                "{} is damaged (SHA-256 {found}): delete it and build again",
                path.display()
            ),
        });
    }
    let tar = output(
        DPKG_DEB,
        Command::new(DPKG_DEB.name).arg("--fsys-tarfile").arg(&path),
    )?;
    let tree = Tree::from_tar(tar.as_slice()).map_err(Error::file("read", &path))?;
    let control = output(DPKG_DEB, Command::new(DPKG_DEB.name).arg("--field").arg(&path))?;
    Ok(Package {
        locked: locked.clone(),
        architecture: field(&path, "Architecture")?,
        control: String::from_utf8_lossy(&control).into_owned(),
        tree,
    })
}

fn field(path: &Path, name: &str) -> Result<String, Error> {
    let text = output(
        DPKG_DEB,
        Command::new(DPKG_DEB.name).arg("--field").arg(path).arg(name),
    )?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Names and versions go into a shell line of mmdebstrap's: only Debian policy's own characters (5.6.1, 5.6.12).
fn shell_safe(word: &str) -> Result<&str, Error> {
    let safe = |character: char| character.is_ascii_alphanumeric() || "+-.:~".contains(character);
    if !word.is_empty() && word.chars().all(safe) {
        Ok(word)
    } else {
        Err(Error::Package {
            package: word.to_owned(),
            reason: "this is no name or version of a Debian package; mend the recipe or the lock".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_a_shell_command_is_refused() {
        assert!(shell_safe("libstdc++6").is_ok());
        assert!(shell_safe("1:1.2.13.dfsg-1+deb12u1~x").is_ok());
        for word in ["", "a b", "$(id)", "a;b", "'"] {
            assert!(shell_safe(word).is_err(), "{word}");
        }
    }
}
