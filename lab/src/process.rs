//! Programs of the lab as processes: tied to this process, or on their own with a record that finds them again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files;

/// How long a stop signal may take to reach every thread.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// A program with its arguments, not yet running.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Unique in a lab: names the log and the record.
    pub name: &'static str,
    pub binary: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Program {
    pub fn new(name: &'static str, binary: &Path) -> Self {
        Self {
            name,
            binary: binary.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, value: impl Into<String>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Adds `--name=value`.
    pub fn flag(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arg(format!("--{name}={value}"))
    }

    /// Sets a variable of the environment; the rest is inherited.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// A process that never outlives this one, however this one ends: the kernel kills it (`prctl(2)`, `PR_SET_PDEATHSIG`).
pub(crate) struct Tied {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

type SpawnRequest = (Command, Sender<io::Result<Child>>);

/// The kernel sends the death signal when the *thread* that started a child ends, so all children are started by one
/// thread that lives as long as the process. Test threads and runtime workers come and go.
static SPAWNER: LazyLock<Mutex<Sender<SpawnRequest>>> = LazyLock::new(|| {
    let (requests, received) = channel::<SpawnRequest>();
    std::thread::spawn(move || {
        for (mut command, reply) in received {
            // Who asked may have given up; then the child is dropped and ends with this process.
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(requests)
});

/// Starts a command that dies with this process. Its standard streams are as the command says.
pub(crate) fn spawn_tied(program: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Child, Error> {
    // setpriv(1) of util-linux sets the signal and then becomes the program: the same process id.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    prepare(&mut command);
    let (reply, answer) = channel();
    let gone = || Error::run(program)(io::Error::other("the thread that starts processes is gone"));
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply))
        .map_err(|_| gone())?;
    answer
        .recv()
        .map_err(|_| gone())?
        .map_err(Error::run("setpriv (Debian package util-linux)"))
}

impl Tied {
    /// Starts the program; what it prints goes to `log`.
    pub fn start(program: &Program, log: PathBuf) -> Result<Self, Error> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Error::file("write", &log))?;
        let errors = output.try_clone().map_err(Error::file("write", &log))?;
        let child = spawn_tied(&program.binary, |command| {
            command
                .args(&program.args)
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(errors);
            command.envs(program.env.iter().map(|(name, value)| (name, value)));
        })?;
        Ok(Self {
            name: program.name,
            child,
            log,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log when the process has ended.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Ended {
                name: self.name.to_owned(),
                status: status.to_string(),
                log: self.log.clone(),
                tail: files::tail(&self.log),
            }),
            Err(source) => Err(Error::run(self.name)(source)),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|errno| Error::run(self.name)(errno.into()))
    }

    /// Stops the process (SIGSTOP) and waits until each of its threads stands still.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        let start = Instant::now();
        while !files::list(&tasks)?
            .iter()
            .all(|task| state(&task.join("stat")).is_none_or(|state| state == 'T'))
        {
            if start.elapsed() > FREEZE_LIMIT {
                let last = "a thread still runs".to_owned();
                return Err(Error::Timeout {
                    what: format!("{} to freeze", self.name),
                    seconds: 10,
                    last,
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills the process and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is reaped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The state letter of a `stat` file of `/proc` (`proc(5)`); none when the thread has ended.
fn state(stat: &Path) -> Option<char> {
    let text = std::fs::read_to_string(stat).ok()?;
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Which process it is, safe against a process id that was given away again: the start time is part of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/<pid>/stat` (`proc(5)`).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this id now, if there is one that has not ended.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in field 2 may hold anything, so count from its closing bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started })
    }

    /// Whether exactly this process still runs.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(self, signal: Signal) {
        if self.alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // Ended between the look and the signal: that is what the caller wants.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until the process has ended; false when it still runs at the end of `limit`.
    pub fn ended_within(self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.alive() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.alive());
        assert!(
            !ProcessId {
                started: own.started + 1,
                ..own
            }
            .alive()
        );
    }

    #[test]
    fn a_tied_process_outlives_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new("sleep", Path::new("sleep")).arg("60");
        let log = folder.path().join("log");
        let mut tied = std::thread::spawn(move || Tied::start(&program, log))
            .join()
            .unwrap()
            .unwrap();
        // The kernel would have sent the signal before the join returned; give it a chance to act.
        std::thread::sleep(Duration::from_millis(100));
        tied.check().unwrap();
        let id = ProcessId::of(tied.pid()).unwrap();
        tied.kill();
        assert!(!id.alive());
    }
}
