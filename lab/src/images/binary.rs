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
    command.env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    command.env("CARGO_INCREMENTAL", "0");
    for (name, _) in env::vars_os() {
        if is_foreign(&name.to_string_lossy()) {
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

/// Whether a variable would change the programs, or make cargo think that they are out of date: a profile or C flags
/// from outside, and what an outer `cargo run` or `cargo test` says about itself, which build scripts watch.
fn is_foreign(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PROFILE_", "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    const NAMES: [&str; 7] = [
        "CARGO_BUILD_TARGET",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "CFLAGS",
        "OUT_DIR",
        "RUSTFLAGS",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_outer_cargo_says_about_itself_does_not_reach_the_build() {
        for name in [
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "OUT_DIR",
            "RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!is_foreign(name), "{name}");
        }
    }

    #[test]
    fn the_folder_of_crates_is_not_told() {
        let flags = flags().unwrap();
        let home = cargo_home().unwrap();
        assert!(
            flags.contains(&format!("--remap-path-prefix={}=/cargo", home.display())),
            "{flags}"
        );
        assert!(flags.ends_with("=/cargo/registry/src"), "{flags}");
    }
}
