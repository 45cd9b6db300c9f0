//! The programs: built by cargo so that they do not tell, and do not depend on, where they were built.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{error::Error, process::Tool, source::Sources};

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`, so that paths may hold spaces.
const FLAG_SEPARATOR: &str = "\x1f";

const CARGO: Tool = Tool {
    name: "cargo",
    purpose: "build the images' programs",
    install: "install Rust with rustup; rust-toolchain.toml names the version",
};

/// Builds these crates' programs with a profile and returns the folder they are in.
///
/// All are built in one call, whichever image was asked for: cargo unites the features of what it builds together, so
/// another set of crates would give other programs. Flags of the caller's `RUSTFLAGS` do not reach the build.
pub(super) fn build(
    sources: &Sources,
    packages: &[String],
    profile: &str,
    target: &Path,
) -> Result<PathBuf, Error> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| CARGO.name.into()));
    command
        .current_dir(&sources.root)
        .args(["build", "--locked", "--bins", "--profile", profile]);
    command.arg("--target-dir").arg(target);
    for package in packages {
        command.args(["--package", package]);
    }
    command
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    command
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("CARGO_BUILD_TARGET");
    for (name, _) in env::vars_os() {
        // A profile changed from outside would make another program under the same name.
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                Error::ToolMissing {
                    tool: CARGO.name,
                    purpose: CARGO.purpose,
                    install: CARGO.install,
                }
            } else {
                Error::file("start", CARGO.name)(source)
            }
        })?;
    if !status.success() {
        return Err(Error::Command {
            command: format!(
                "cargo build --profile {profile} --package {}",
                packages.join(" --package ")
            ),
            status,
            output: "see above".into(),
        });
    }
    Ok(target.join(if profile == "dev" { "debug" } else { profile }))
}

/// Compiler flags that replace this machine's folders by names that are the same everywhere. They are the same for every
/// checkout, so that checkouts may share a target folder.
fn flags() -> Result<String, Error> {
    let mut flags = Vec::new();
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    // The workspace's own files need none: cargo names them from its root. Later flags win, so the folders of sources
    // come after those they stand in.
    if let Some(home) = cargo_home() {
        remap(&home, "/cargo");
        let registries = home.join("registry/src");
        if registries.is_dir() {
            // The folder's name is a digest of where crates come from, which a mirror changes.
            for entry in fs::read_dir(&registries).map_err(Error::file("read", &registries))? {
                let entry = entry.map_err(Error::file("read", &registries))?;
                remap(&entry.path(), "/cargo/registry/src");
            }
        }
    }
    Ok(flags.join(FLAG_SEPARATOR))
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}
