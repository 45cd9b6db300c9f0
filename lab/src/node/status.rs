//! What a node is doing.

use std::fmt;
use std::path::PathBuf;

use super::{Node, dns_ready, node_ready};
use crate::cgroup;
use crate::error::Error;
use crate::process::ProcessId;

/// A look at the node.
pub struct Status {
    kubeconfig: PathBuf,
    origin: String,
    processes: Vec<(String, Option<ProcessId>)>,
    /// Memory of everything in the lab's control groups, pods included, in bytes: each process with its part of what it shares
    /// (proportional set size).
    pub memory: u64,
    node: Result<(), Error>,
    dns: Result<(), Error>,
}

impl Status {
    /// Whether everything runs and is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.node.is_ok() && self.dns.is_ok() && self.processes.iter().all(|(_, process)| process.is_some())
    }
}

impl Node {
    /// Looks at the node; an error where there is none.
    pub async fn status(&self) -> Result<Status, Error> {
        let kubeconfig = self.kubeconfig()?;
        let stamp = self
            .state
            .stamp()?
            .ok_or_else(|| Error::NotUp(self.state.folder.clone()))?;
        let mut processes = Vec::new();
        for name in self.state.names()? {
            let process = self.state.process(&name)?.filter(|process| process.alive());
            processes.push((name, process));
        }
        let client = self.client().await?;
        Ok(Status {
            kubeconfig,
            origin: format!("{} ({})", stamp.origin.checkout, stamp.origin.build),
            processes,
            memory: cgroup::processes()?.into_iter().map(memory_of).sum(),
            node: node_ready(&client).await,
            dns: dns_ready(&client).await,
        })
    }
}

/// Proportional set size in bytes (`proc(5)`, smaps_rollup); 0 for a process that has just ended.
fn memory_of(process: ProcessId) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).unwrap_or_default();
    let kibibytes = text.lines().find_map(|line| {
        line.strip_prefix("Pss:")?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kibibytes.unwrap_or_default() * 1024
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "from        {}", self.origin)?;
        writeln!(formatter, "kubeconfig  {}", self.kubeconfig.display())?;
        for (name, result) in [("node", &self.node), ("dns", &self.dns)] {
            match result {
                Ok(()) => writeln!(formatter, "{name:<11} ready")?,
                Err(error) => writeln!(formatter, "{name:<11} NOT ready: {error}")?,
            }
        }
        for (name, process) in &self.processes {
            match process {
                Some(process) => writeln!(formatter, "process     {name} ({})", process.pid)?,
                None => writeln!(
                    formatter,
                    "process     {name} HAS ENDED; `mim-lab up` starts it again"
                )?,
            }
        }
        write!(
            formatter,
            "memory      {} MiB, pods included",
            self.memory / (1024 * 1024)
        )
    }
}
