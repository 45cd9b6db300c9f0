//! The kernel's side: the `nft` program and the switch that shows bridged packets to it.

use std::{ffi::OsString, io, path::Path, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use super::Error;

/// How `nft` is called.
#[derive(Debug, Clone)]
pub struct Nft {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Default for Nft {
    /// The `nft` of this machine, in the network namespace of this process.
    fn default() -> Self {
        Self {
            program: "nft".into(),
            arguments: Vec::new(),
        }
    }
}

impl Nft {
    /// `nft` in a named network namespace, as `ip netns` knows it.
    #[must_use]
    pub fn in_namespace(name: &str) -> Self {
        Self {
            program: "ip".into(),
            arguments: ["netns", "exec", name, "nft"].map(OsString::from).into(),
        }
    }

    /// Carries out a whole text in one transaction: all of it holds afterwards, or none.
    pub async fn apply(&self, text: &str) -> Result<(), Error> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.not_started(source))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended early says why on its standard error, which is read below.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        let output = child
            .wait_with_output()
            .await
            .map_err(|source| self.not_started(source))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Refused {
            status: output.status,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn not_started(&self, source: io::Error) -> Error {
        Error::NotStarted {
            program: self.program.to_string_lossy().into_owned(),
            source,
        }
    }
}

/// The kernel's switches for packets that cross a bridge, IPv4 and IPv6.
const SWITCHES: [&str; 2] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
];

/// Makes bridged packets pass the packet filter; without it two pods on one bridge talk past every policy.
pub async fn show_bridged_packets() -> Result<(), Error> {
    for switch in SWITCHES {
        if !Path::new(switch).exists() {
            // The module may be built in, or `modprobe` absent: what counts is whether the switch is there afterwards.
            let _ = Command::new("modprobe").arg("br_netfilter").output().await;
        }
        turn_on(switch)
            .await
            .map_err(|source| Error::BridgedPacketsUnseen { switch, source })?;
    }
    Ok(())
}

async fn turn_on(switch: &str) -> io::Result<()> {
    if tokio::fs::read_to_string(switch).await?.trim() == "1" {
        return Ok(());
    }
    tokio::fs::write(switch, "1").await
}
