//! A process that is measured from outside: `/proc` for memory and time, HTTP for what it tells itself.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::error::Error;

/// How long a process may take to end after SIGTERM.
const END: Duration = Duration::from_secs(15);

/// Memory in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// `VmRSS`: what is resident now, mapped files included.
    pub resident: f64,
    /// `VmHWM`: the most that was ever resident.
    pub peak: f64,
    /// `RssAnon`: what is resident now without mapped files.
    pub anonymous: f64,
}

/// A running process. It is killed when the value is dropped.
pub struct Measured {
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Measured {
    /// Starts a program; both its outputs go to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, Error> {
        let out = File::create(log).map_err(Error::file(log))?;
        let both = out.try_clone().map_err(Error::file(log))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(both)
            .kill_on_drop(true)
            .spawn()
            .map_err(|problem| Error::Process(format!("it does not start: {problem}"), log.to_owned()))?;
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            child,
            pid,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.pid
    }

    /// Memory now.
    pub fn memory(&self) -> Result<Memory, Error> {
        let path = PathBuf::from(format!("/proc/{}/status", self.pid));
        let status = fs::read_to_string(&path).map_err(Error::file(&path))?;
        Ok(memory_in(&status))
    }

    /// CPU seconds so far, user and system.
    pub fn cpu(&self) -> Result<f64, Error> {
        cpu_of(self.pid)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| self.trouble("it has no process id"))?;
        rustix::process::kill_process(pid, signal).map_err(|problem| self.trouble(&problem.to_string()))
    }

    /// Fails when it has ended.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.trouble(&format!("it ended by itself ({status})"))),
            Err(problem) => Err(self.trouble(&problem.to_string())),
        }
    }

    /// Ends it with SIGTERM.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(END, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.trouble(&format!("told to end, it ended with {status}"))),
            Ok(Err(problem)) => Err(self.trouble(&problem.to_string())),
            Err(_) => Err(self.trouble(&format!("told to end, it had not ended after {END:?}"))),
        }
    }

    /// An error that names the log.
    #[must_use]
    pub fn trouble(&self, what: &str) -> Error {
        Error::Process(what.to_owned(), self.log.clone())
    }
}

/// CPU seconds of a process so far, user and system.
pub fn cpu_of(pid: u32) -> Result<f64, Error> {
    cpu_in(pid, OWN)
}

/// CPU seconds of this process so far.
pub fn own_cpu() -> Result<f64, Error> {
    cpu_in(std::process::id(), OWN)
}

/// Memory of this process.
pub fn own_memory() -> Result<Memory, Error> {
    let path = Path::new("/proc/self/status");
    let status = fs::read_to_string(path).map_err(Error::file(path))?;
    Ok(memory_in(&status))
}

/// CPU seconds of children of this process that have ended, and of theirs.
pub fn cpu_of_ended_children() -> Result<f64, Error> {
    cpu_in(std::process::id(), ENDED_CHILDREN)
}

/// CPU seconds of a process and of all its children, ended ones included.
pub fn cpu_of_family(pid: u32) -> Result<f64, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
    let children = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let mut sum = cpu_in(pid, OWN)? + cpu_in(pid, ENDED_CHILDREN)?;
    for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // One that has ended since is counted with its parent the next time.
        sum += cpu_in(child, OWN).unwrap_or_default();
    }
    Ok(sum)
}

/// `utime` and `stime`, fields 14 and 15 of proc_pid_stat(5), as counted from the end of field 2.
const OWN: usize = 11;
/// `cutime` and `cstime`, the two fields after them.
const ENDED_CHILDREN: usize = 13;

fn cpu_in(pid: u32, fields: usize) -> Result<f64, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let ticks = ticks_in(&stat, fields)
        .ok_or_else(|| Error::Unexpected(format!("{} is not readable", path.display())))?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Ok(f64::from(ticks) / f64::from(per_second))
}

/// The sum of two fields. The name in field 2 may hold anything but ends at the last `)`.
fn ticks_in(stat: &str, fields: usize) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(fields);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn memory_in(status: &str) -> Memory {
    let mebibytes = |name: &str| {
        let kibibytes: Option<u32> = status.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        });
        f64::from(kibibytes.unwrap_or(0)) / 1024.0
    };
    Memory {
        resident: mebibytes("VmRSS"),
        peak: mebibytes("VmHWM"),
        anonymous: mebibytes("RssAnon"),
    }
}

/// A loopback address that nobody listens on now.
pub async fn free_address() -> Result<SocketAddr, Error> {
    let place = Path::new("127.0.0.1:0");
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(Error::file(place))?;
    listener.local_addr().map_err(Error::file(place))
}

/// A GET over a connection of its own: status and body.
pub async fn get(at: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status
        .map(|status| (status, body.to_owned()))
        .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// Asks until it is so, every few milliseconds; `check` says how things stand until then.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<Result<T, String>, Error>,
) -> Result<T, Error> {
    let started = Instant::now();
    loop {
        let last = match check().await? {
            Ok(found) => return Ok(found),
            Err(last) => last,
        };
        if started.elapsed() > limit {
            return Err(Error::Timeout {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                last,
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(ticks_in(stat, OWN), Some(300));
        assert_eq!(ticks_in(stat, ENDED_CHILDREN), Some(27));
        assert_eq!(ticks_in("12 (x) S", OWN), None);
    }

    #[test]
    fn memory_is_read_in_mebibytes() {
        let found = memory_in("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     512 kB\n");
        let expected = Memory {
            resident: 1.0,
            peak: 2.0,
            anonymous: 0.5,
        };
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_process_that_ended_is_noticed_and_its_log_is_named() {
        let log = std::env::temp_dir().join(format!("mim-bench-process-{}", std::process::id()));
        let mut measured =
            Measured::start(Command::new("sh").args(["-c", "echo hello; exit 3"]), &log).unwrap();
        let ended = wait_until("the end", Duration::from_secs(10), async || {
            Ok(measured.check().err().ok_or_else(|| "runs".to_owned()))
        })
        .await
        .unwrap();
        assert!(
            ended.to_string().contains("exit status: 3")
                && ended.to_string().contains(&*log.to_string_lossy())
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), "hello\n");
        fs::remove_file(&log).unwrap();
    }
}
