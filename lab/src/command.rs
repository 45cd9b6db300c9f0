//! Running a program to its end, with an error that shows what it said.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Error;

/// Runs a program, gives it `input`, and returns what it printed.
pub(crate) fn run(program: impl AsRef<Path>, args: &[&str], input: Option<&str>) -> Result<String, Error> {
    use std::io::Write as _;
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(args)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::run(program))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).map_err(Error::run(program))?;
    }
    let output = child.wait_with_output().map_err(Error::run(program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stderr, output.stdout].concat();
    Err(Error::Command {
        command: format!("{} {}", program.display(), args.join(" ")),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

/// Where a program is: on PATH, or in the folders where administrators' programs are.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
