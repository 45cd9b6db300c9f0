//! A network of the run's own.
//!
//! The suite listens on fixed ports, its receivers need an address that the broker's guard lets through, which loopback
//! is not, and nothing that it measures may depend on what this machine can reach. So all of it runs in a network that
//! has nothing but a loopback interface with one private address.

use crate::error::{Error, Result};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The address of the suite's receivers and servers.
pub const ADDRESS: &str = "10.255.255.1";

/// Starts this program again in a network of its own, in place of this process. Returns only when that failed.
pub fn enter() -> Error {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => {
            return Error::NoNetwork {
                why: error.to_string(),
            };
        }
    };
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        // The same user, who may set up the network that is theirs.
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command
        .arg("--")
        .arg(own)
        .args(std::env::args_os().skip(1))
        .arg("--inside");
    let error = command.exec();
    Error::NoNetwork {
        why: format!("unshare (util-linux 2.38 or newer) cannot be started: {error}"),
    }
}

/// Gives the network its loopback interface and the address.
pub fn bring_up() -> Result<()> {
    ip(&["link", "set", "dev", "lo", "up"])?;
    ip(&["address", "replace", &format!("{ADDRESS}/32"), "dev", "lo"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| Error::NoNetwork {
            why: format!("ip (iproute2) cannot be started: {error}"),
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::NoNetwork {
        why: format!(
            "`ip {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    })
}
