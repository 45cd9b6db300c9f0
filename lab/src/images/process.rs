//! Programs that the build starts.

use std::{io, process::Command};

use super::error::Error;

/// Lines of a failed program that an error repeats.
const TAIL_LINES: usize = 15;

/// A program of the build host: what it is for and how to get it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    pub name: &'static str,
    pub purpose: &'static str,
    pub install: &'static str,
}

/// Sets up a Debian mirror with its keys, whatever the host is.
pub(super) const MMDEBSTRAP: Tool = Tool {
    name: "mmdebstrap",
    purpose: "download Debian packages",
    install: "apt-get install mmdebstrap (Debian, Ubuntu; elsewhere your distribution's package, with debian-archive-keyring)",
};

/// Reads Debian packages.
pub(super) const DPKG_DEB: Tool = Tool {
    name: "dpkg-deb",
    purpose: "read Debian packages",
    install: "install your distribution's package dpkg",
};

/// Tells which commit the sources are.
pub(super) const GIT: Tool = Tool {
    name: "git",
    purpose: "tell which commit the images are built from",
    install: "install git, or set SOURCE_DATE_EPOCH and --revision",
};

/// Runs a tool and returns what it printed; a failure carries the end of what it said.
pub(super) fn output(tool: Tool, command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::ToolMissing {
            tool: tool.name,
            purpose: tool.purpose,
            install: tool.install,
        },
        _ => Error::file("start", tool.name)(source),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines
        .iter()
        .skip(lines.len().saturating_sub(TAIL_LINES))
        .copied()
        .collect::<Vec<_>>();
    let argument = command
        .get_args()
        .next()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Err(Error::Command {
        command: format!("{} {argument}", tool.name).trim_end().to_owned(),
        status: output.status,
        output: tail.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SH: Tool = Tool {
        name: "sh",
        purpose: "test",
        install: "-",
    };

    #[test]
    fn a_failure_repeats_the_end_of_what_was_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "for i in $(seq 40); do echo line $i >&2; done; exit 3"]);
        let error = output(SH, &mut command).unwrap_err().to_string();
        assert!(
            error.contains("line 40") && !error.contains("line 20\n"),
            "{error}"
        );
        assert!(error.contains("sh -c failed") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_missing_tool_says_how_to_install_it() {
        let mut command = Command::new("no-such-program-anywhere");
        let error = output(MMDEBSTRAP, &mut command).unwrap_err().to_string();
        assert!(error.contains("apt-get install mmdebstrap"), "{error}");
    }
}
