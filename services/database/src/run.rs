//! The first process of the container: parent of PostgreSQL.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::keep::{Certificate, keep};
use crate::volume::{self, Decision, Layout};
use crate::{hba, lock, server, state};

/// Starts PostgreSQL and stays until it ends; returns its exit code (128 + the signal where one ended it). Never on
/// data whose identity is not the known one.
///
/// SIGTERM and SIGINT are a fast shutdown, SIGQUIT an immediate one, SIGHUP a reload. A `postmaster.pid` of a server
/// that was killed does not block the start; a server that still runs on the same data does.
pub async fn run(config: &Config) -> Result<u8, Error> {
    let mut signals = Signals::register()?;
    let layout = Layout::of(config)?;
    let expected = volume::expected_identifier(config)?;
    let found = volume::inspect(&config.volume, &layout)?;
    if volume::decide(&found, expected.as_deref(), &layout)? == Decision::Initialise {
        return Err(Error::NotInitialised(layout.data));
    }
    volume::compare(
        &volume::system_identifier(config, &layout.data)?,
        expected.as_deref(),
    )?;
    let credentials = Credentials::read(&config.credentials)?;
    let certificate = Certificate::read(&config.tls)?;
    let _lock = tokio::select! {
        lock = lock::acquire(&layout) => lock?,
        () = signals.asked_to_end() => return Ok(0),
    };
    clear_stale_files(config, &layout.data)?;
    volume::restrict(&layout.data)?;
    hba::write(&config.hba_file(), &credentials)?;
    state::starting(config)?;
    let server = start(config, &layout.data)?;
    Ok(watch(config, certificate, server, signals).await)
}

/// Passes signals on, reaps children, follows the mounted files; returns when the server has ended.
async fn watch(config: &Config, certificate: Certificate, server: Pid, mut signals: Signals) -> u8 {
    let keeper = keep(config, certificate, || send(server, Signal::HUP));
    tokio::pin!(keeper);
    loop {
        // First of all, as the child may have ended before the first signal of a child was waited for.
        if let Some(code) = reap(server) {
            return code;
        }
        tokio::select! {
            _ = signals.child.recv() => {}
            _ = signals.terminate.recv() => stop(server, Signal::INT, "fast"),
            _ = signals.interrupt.recv() => stop(server, Signal::INT, "fast"),
            _ = signals.quit.recv() => stop(server, Signal::QUIT, "immediate"),
            _ = signals.hangup.recv() => send(server, Signal::HUP),
            never = &mut keeper => match never {},
        }
    }
}

fn start(config: &Config, data: &Path) -> Result<Pid, Error> {
    let statvfs = rustix::fs::statvfs(&config.volume)
        .map_err(|error| Error::file("measure", &config.volume)(error.into()))?;
    let volume_bytes = statvfs.f_blocks.saturating_mul(statvfs.f_frsize);
    let failed = |reason: String| Error::Program {
        program: "postgres".to_owned(),
        reason,
    };
    let child = Command::new(config.program("postgres"))
        .env_clear()
        .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("PATH", "/usr/bin:/bin")])
        .args(server::arguments(config, data, volume_bytes))
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    // The handle is given up on purpose: `reap` waits for all children, this one among them.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| failed("it has no process id".to_owned()))
}

/// Files of a server that was killed in an earlier container of this pod or volume. We hold the lock, so none lives.
fn clear_stale_files(config: &Config, data: &Path) -> Result<(), Error> {
    let socket = config.sockets.join(format!(".s.PGSQL.{}", config.port));
    for path in [
        data.join("postmaster.pid"),
        socket.with_extension(format!("{}.lock", config.port)),
        socket,
    ] {
        match fs::remove_file(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a killed server left"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("remove", path)(error)),
        }
    }
    Ok(())
}

/// Takes in every child that has ended, orphans too; the exit code where the server is among them.
fn reap(server: Pid) -> Option<u8> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == server {
            return Some(exit_code(status));
        }
    }
    None
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    if code == 0 {
        tracing::info!("PostgreSQL has shut down");
    } else {
        tracing::error!(code, "PostgreSQL ended; its last words are above");
    }
    code
}

fn stop(server: Pid, with: Signal, kind: &str) {
    tracing::info!("asked to end: {kind} shutdown of PostgreSQL");
    send(server, with);
}

fn send(server: Pid, signal: Signal) {
    // Fails only where the server has just ended, which the next round sees.
    let _ = rustix::process::kill_process(server, signal);
}

/// The signals that this process answers.
struct Signals {
    terminate: Stream,
    interrupt: Stream,
    quit: Stream,
    hangup: Stream,
    child: Stream,
}

impl Signals {
    fn register() -> Result<Self, Error> {
        let register = |kind| {
            signal(kind).map_err(|source| Error::System {
                action: "register for signals",
                source,
            })
        };
        Ok(Self {
            terminate: register(SignalKind::terminate())?,
            interrupt: register(SignalKind::interrupt())?,
            quit: register(SignalKind::quit())?,
            hangup: register(SignalKind::hangup())?,
            child: register(SignalKind::child())?,
        })
    }

    async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
