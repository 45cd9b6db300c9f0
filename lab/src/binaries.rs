//! The programs of the lab: built once from pinned modules, kept in the user's cache under a digest of their inputs.
//!
//! An entry of the cache appears whole, by a rename, or not at all. Several processes may ask at once: one builds, the others wait.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files;
use crate::process::spawn_tied;
use crate::progress::Progress;
pub use crate::recipes::{Binary, KUBERNETES_VERSION};
use crate::state::lock;

/// How many characters of a digest name an entry of the cache.
const DIGEST_LENGTH: usize = 24;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    paths: BTreeMap<Binary, PathBuf>,
}

impl Binaries {
    /// The file of a program, which must have been asked for when the set was made.
    pub fn path(&self, binary: Binary) -> Result<&Path, Error> {
        self.paths
            .get(&binary)
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::Missing {
                what: binary.name().to_owned(),
                install: "ask for it in `mim_lab::binaries`".to_owned(),
            })
    }

    /// Every program of the set with its file.
    pub fn iter(&self) -> impl Iterator<Item = (Binary, &Path)> {
        self.paths.iter().map(|(binary, path)| (*binary, path.as_path()))
    }

    /// One digest for the whole set: changes when any of the programs changes.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for path in self.paths.values() {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update([0]);
        }
        hex(&hash.finalize())
    }
}

/// Makes sure that these programs are in the cache and says where. Builds what is missing, which takes minutes each;
/// progress goes to standard error. Blocks.
pub fn binaries(wanted: &[Binary]) -> Result<Binaries, Error> {
    let go = Go::find()?;
    let cache = cache_folder()?;
    let mut wanted: Vec<Binary> = Binary::ALL
        .into_iter()
        .filter(|binary| wanted.contains(binary))
        .collect();
    wanted.dedup();
    let entries: BTreeMap<Binary, PathBuf> = wanted
        .iter()
        .map(|binary| (*binary, cache.join(entry_name(*binary, &go))))
        .collect();
    let missing: Vec<(Binary, &PathBuf)> = wanted
        .iter()
        .filter_map(|binary| entries.get_key_value(binary))
        .filter(|(_, entry)| !entry.exists())
        .map(|(binary, entry)| (*binary, entry))
        .collect();
    if !missing.is_empty() {
        build_missing(&cache, &go, &missing)?;
    }
    let paths = entries
        .into_iter()
        .map(|(binary, entry)| (binary, entry.join(binary.name())))
        .collect();
    Ok(Binaries { paths })
}

fn build_missing(cache: &Path, go: &Go, missing: &[(Binary, &PathBuf)]) -> Result<(), Error> {
    files::folder(cache)?;
    let progress = Progress::new(missing.len());
    let lock = lock(&cache.join("lock"), &progress)?;
    let scratch = cache.join("building");
    for (binary, entry) in missing {
        progress.step(format!("build {}", binary.name()));
        // Somebody else may have built it while this process waited for the lock.
        if !entry.exists() {
            // Only the holder of the lock builds, so what lies here was left by a build that was killed.
            files::remove_folder(&scratch)?;
            build(*binary, go, &scratch, &progress)?;
            fs::rename(scratch.join("out"), entry).map_err(Error::file("rename", entry))?;
            files::remove_folder(&scratch)?;
        }
    }
    progress.done();
    drop(lock);
    Ok(())
}

/// Builds one program into `<scratch>/out/<name>`.
fn build(binary: Binary, go: &Go, scratch: &Path, progress: &Progress) -> Result<(), Error> {
    let recipe = binary.recipe();
    let source = scratch.join("source");
    let out = scratch.join("out");
    files::folder(&out)?;
    for (name, text) in recipe.module.files {
        let path = source.join(name);
        if let Some(parent) = path.parent() {
            files::folder(parent)?;
        }
        files::write(&path, text)?;
    }
    let target = out.join(binary.name());
    let mut child = spawn_tied(Path::new(&go.program), |command| {
        command
            .args(["build", "-v", "-trimpath", "-ldflags", recipe.ldflags, "-o"])
            .arg(&target)
            .arg(recipe.package);
        command
            .current_dir(&source)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        build_environment(command);
    })?;
    // `go build -v` names each package as it begins to compile it, and modules as it downloads them.
    let mut last_lines: Vec<String> = Vec::new();
    let mut compiled = 0_usize;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.map_err(Error::run(&go.program))?;
            compiled += 1;
            progress.waits_for(format!("go build ({compiled} packages so far, now {line})"));
            if last_lines.len() == 30 {
                last_lines.remove(0);
            }
            last_lines.push(line);
        }
    }
    let status = child.wait().map_err(Error::run(&go.program))?;
    if !status.success() {
        return Err(Error::Command {
            command: format!(
                "go build {} (module lab/go/{})",
                recipe.package, recipe.module.name
            ),
            status: status.to_string(),
            output: last_lines.join("\n"),
        });
    }
    let file = File::open(&target).map_err(Error::file("read", &target))?;
    // On the disk before the rename says that it is whole, also after a power cut.
    file.sync_all().map_err(Error::file("sync", &target))
}

/// Settings of the user's Go must not change what is built.
fn build_environment(command: &mut Command) {
    command
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("GOWORK", "off");
    for name in ["GOEXPERIMENT", "GOAMD64", "GOARM64", "GOOS", "GOARCH"] {
        command.env_remove(name);
    }
}

/// The name of a program's entry: every input of its build is in the digest.
fn entry_name(binary: Binary, go: &Go) -> String {
    let recipe = binary.recipe();
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for text in [
        go.version.as_str(),
        std::env::consts::ARCH,
        recipe.package,
        recipe.ldflags,
        "-trimpath",
    ] {
        add(text);
    }
    for (name, text) in recipe.module.files {
        add(name);
        add(text);
    }
    let digest: String = hex(&hash.finalize()).chars().take(DIGEST_LENGTH).collect();
    format!("{}-{digest}", binary.name())
}

/// `$XDG_CACHE_HOME/mim-lab`, else `~/.cache/mim-lab`.
pub(crate) fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("mim-lab"))
        .ok_or_else(|| Error::Missing {
            what: "a cache folder".to_owned(),
            install: "set HOME or XDG_CACHE_HOME".to_owned(),
        })
}

/// The Go tool chain.
struct Go {
    program: String,
    version: String,
}

impl Go {
    fn find() -> Result<Self, Error> {
        let program = std::env::var("GO").unwrap_or_else(|_| "go".to_owned());
        let missing = || {
            Error::Missing {
            what: format!("Go 1.26 or newer (program {program:?})"),
            install: "install it (its own archive, or your distribution's package where that is new enough) and put it on PATH".to_owned(),
        }
        };
        let output = Command::new(&program)
            .args(["env", "GOVERSION"])
            .output()
            .map_err(|_| missing())?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || !new_enough(&version) {
            return Err(missing());
        }
        Ok(Self { program, version })
    }
}

/// `go1.26` and newer build Kubernetes 1.37.
fn new_enough(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches("go")
        .split(['.', '-', ' '])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(1), Some(26))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(version: &str) -> Go {
        Go {
            program: "go".to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert!(new_enough("go1.26.8") && new_enough("go1.100") && new_enough("go2.0"));
        assert!(!new_enough("go1.25.9") && !new_enough("go1.3") && !new_enough(""));
    }

    #[test]
    fn the_name_of_an_entry_changes_with_its_inputs() {
        let name = entry_name(Binary::Etcd, &go("go1.26.8"));
        assert_eq!(name, entry_name(Binary::Etcd, &go("go1.26.8")));
        assert_ne!(name, entry_name(Binary::Etcd, &go("go1.26.9")));
        assert!(name.starts_with("etcd-") && name.len() == "etcd-".len() + DIGEST_LENGTH);
    }

    #[test]
    fn a_failed_build_says_why_and_leaves_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::new(1);
        // Not a Go tool chain: the build cannot succeed.
        let broken = Go {
            program: "false".to_owned(),
            version: "go1.26".to_owned(),
        };
        let error = build(Binary::Pause, &broken, folder.path(), &progress).unwrap_err();
        assert!(error.to_string().contains("go build ./pause"), "{error}");
        assert!(!folder.path().join("out/pause").exists());
    }
}
