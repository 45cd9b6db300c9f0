//! The programs that the demo runs: kubectl, helm, and `mim-lab` of this checkout.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::{Error, Result};

/// The root of this checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// `mim-lab`, which cargo puts beside this program.
pub fn lab() -> Result<PathBuf> {
    let advice = "build it with `cargo build -p mim-lab`";
    let start = |source| Error::Start {
        program: "mim-lab".to_owned(),
        source,
        advice,
    };
    let own = std::env::current_exe().map_err(start)?;
    // A test's program is in the folder `deps` of the one with the binaries.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("mim-lab"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            start(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "not beside this program",
            ))
        })
}

/// The program of this name on the PATH.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Runs a program to its end on this terminal.
pub async fn show(program: &Path, arguments: &[&OsStr]) -> Result<()> {
    show_with(program, arguments, &[]).await
}

/// The same with these variables in its environment.
pub async fn show_with(program: &Path, arguments: &[&OsStr], variables: &[(&str, &OsStr)]) -> Result<()> {
    let status = command(program, arguments)
        .envs(variables.iter().copied())
        .status()
        .await
        .map_err(|source| missing(program, source))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(program, arguments, status, String::new()))
}

/// Runs a program to its end and returns what it printed.
pub async fn read(program: &Path, arguments: &[&OsStr]) -> Result<String> {
    let output = command(program, arguments)
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(|source| missing(program, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = format!(": {}", String::from_utf8_lossy(&output.stderr).trim());
    Err(failed(program, arguments, output.status, said))
}

fn command(program: &Path, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .current_dir(checkout())
        .kill_on_drop(true);
    command
}

fn missing(program: &Path, source: std::io::Error) -> Error {
    Error::Start {
        program: program.display().to_string(),
        source,
        advice: "install it and put it on PATH",
    }
}

fn failed(program: &Path, arguments: &[&OsStr], status: std::process::ExitStatus, output: String) -> Error {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = std::iter::once(name)
        .chain(arguments.iter().copied())
        .map(OsStr::to_string_lossy)
        .collect();
    Error::Failed {
        command: words.join(" "),
        status,
        output,
    }
}
