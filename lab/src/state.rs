//! What the lab writes down about itself: who made it, from what, and which processes it started.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files;
use crate::process::{ProcessId, Program};
use crate::progress::Progress;

/// Which lab this is: one with another origin is never used as if it were this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The folder of the sources of the program that made the lab.
    pub checkout: String,
    /// Digest of those sources and of the programs it runs.
    pub build: String,
    /// The boot of the machine in which it was made: none of its processes and mounts lives longer.
    pub boot: String,
}

impl Origin {
    /// What a lab made now, by this program, would have.
    pub fn current(binaries_digest: &str) -> Result<Self, Error> {
        let boot = files::read(Path::new("/proc/sys/kernel/random/boot_id"))?
            .trim()
            .to_owned();
        Ok(Self {
            checkout: env!("CARGO_MANIFEST_DIR").trim_end_matches("/lab").to_owned(),
            build: format!("{}-{}", short(env!("MIM_LAB_SOURCES")), short(binaries_digest)),
            boot,
        })
    }

    /// Why a lab of this origin must not be used by one of `current`; none when it may.
    pub fn difference(&self, current: &Self) -> Option<String> {
        if self.boot != current.boot {
            Some("it was left by an earlier boot of this machine".to_owned())
        } else if self.checkout != current.checkout {
            Some(format!("it belongs to another checkout, {}", self.checkout))
        } else if self.build != current.build {
            Some(format!(
                "it was made by another build, {} (this one is {})",
                self.build, current.build
            ))
        } else {
            None
        }
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The first thing that is written and the last that is removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub origin: Origin,
    /// False until everything was started: what was killed in the middle is not trusted.
    pub ready: bool,
    /// The kernel's switches before the lab.
    pub switches: BTreeMap<String, String>,
}

/// The folder of a lab.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub folder: PathBuf,
}

impl State {
    fn stamp_file(&self) -> PathBuf {
        self.folder.join("stamp.json")
    }

    fn record(&self, name: &str) -> PathBuf {
        self.folder.join("run").join(format!("{name}.json"))
    }

    /// What was written down, when there is a lab.
    pub fn stamp(&self) -> Result<Option<Stamp>, Error> {
        let Some(text) = files::read_optional(&self.stamp_file())? else {
            return Ok(None);
        };
        let reason = |error: serde_json::Error| Error::Content {
            path: self.stamp_file(),
            reason: error.to_string(),
        };
        serde_json::from_str(&text).map(Some).map_err(reason)
    }

    pub fn write_stamp(&self, stamp: &Stamp) -> Result<(), Error> {
        files::folder(&self.folder.join("run"))?;
        files::folder(&self.folder.join("log"))?;
        files::replace(&self.stamp_file(), &serde_json::to_string_pretty(stamp)?)
    }

    /// Starts a program that goes on when this process has ended, in the given control groups, and writes down which
    /// process it is. Returns at once where the one written down still runs.
    pub fn start(&self, program: &Program, groups: &[PathBuf]) -> Result<ProcessId, Error> {
        if let Some(running) = self.process(program.name)?.filter(|process| process.alive()) {
            return Ok(running);
        }
        let log = self.folder.join("log").join(format!("{}.log", program.name));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Error::file("write", &log))?;
        let errors = output.try_clone().map_err(Error::file("write", &log))?;
        let mut command = Command::new("sh");
        // The shell enters the groups, then becomes setsid(1), which becomes the program: one process id all along.
        command
            .args(["-c", ENTER, "sh"])
            .arg(groups.len().to_string())
            .args(groups);
        command.arg(&program.binary).args(&program.args);
        command.envs(program.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .current_dir(&self.folder);
        let child = command.spawn().map_err(Error::run(program.name))?;
        let ended = || Error::Ended {
            name: program.name.to_owned(),
            status: "at once".to_owned(),
            log: log.clone(),
            tail: files::tail(&log),
        };
        let process = ProcessId::of(child.id()).ok_or_else(ended)?;
        files::replace(&self.record(program.name), &serde_json::to_string(&process)?)?;
        Ok(process)
    }

    /// The process that was written down under this name.
    pub fn process(&self, name: &str) -> Result<Option<ProcessId>, Error> {
        let Some(text) = files::read_optional(&self.record(name))? else {
            return Ok(None);
        };
        // A record is replaced whole, so one that is not readable is none of ours.
        Ok(serde_json::from_str(&text).ok())
    }

    /// An error with the end of its log, when a process that was written down has ended.
    pub fn check(&self, name: &str) -> Result<(), Error> {
        match self.process(name)? {
            Some(process) if !process.alive() => {
                let log = self.folder.join("log").join(format!("{name}.log"));
                let tail = files::tail(&log);
                Err(Error::Ended {
                    name: name.to_owned(),
                    status: "by itself".to_owned(),
                    log,
                    tail,
                })
            }
            _ => Ok(()),
        }
    }

    /// Strikes out the processes that have ended, so that [`State::check`] is about those that are started from here on.
    pub fn forget_ended(&self) -> Result<(), Error> {
        for name in self.names()? {
            if !self.process(&name)?.is_some_and(ProcessId::alive) {
                files::remove(&self.record(&name))?;
            }
        }
        Ok(())
    }

    /// The names of all processes that were written down.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = files::list(&self.folder.join("run"))?
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }
}

/// `$1` is the number of groups, then come their files, then the program and its arguments.
const ENTER: &str = r#"n=$1; shift
while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 1; shift; n=$((n - 1)); done
exec setsid "$@""#;

/// Keeps other processes that want the same lock waiting until the file is dropped.
pub(crate) fn lock(path: &Path, progress: &Progress) -> Result<File, Error> {
    if let Some(parent) = path.parent() {
        files::folder(parent)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::file("open", path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress.add_steps(1);
                    progress.step("wait for another mim-lab");
                    progress.waits_for(format!("the lock {}", path.display()));
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", path)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            checkout: "/a".to_owned(),
            build: "b".to_owned(),
            boot: "c".to_owned(),
        }
    }

    #[test]
    fn a_lab_of_another_origin_is_recognised() {
        assert_eq!(origin().difference(&origin()), None);
        let told = |other: Origin| other.difference(&origin()).unwrap();
        assert!(
            told(Origin {
                checkout: "/other".to_owned(),
                ..origin()
            })
            .contains("another checkout, /other")
        );
        assert!(
            told(Origin {
                build: "old".to_owned(),
                ..origin()
            })
            .contains("another build, old")
        );
        assert!(
            told(Origin {
                boot: "before".to_owned(),
                ..origin()
            })
            .contains("earlier boot")
        );
    }

    #[test]
    fn a_started_program_is_found_again_and_started_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = State {
            folder: folder.path().to_owned(),
        };
        let stamp = Stamp {
            origin: origin(),
            ready: false,
            switches: BTreeMap::new(),
        };
        state.write_stamp(&stamp).unwrap();
        assert!(!state.stamp().unwrap().unwrap().ready);

        let program = Program::new("sleeper", Path::new("sleep")).arg("60");
        let process = state.start(&program, &[]).unwrap();
        assert_eq!(state.start(&program, &[]).unwrap(), process);
        assert_eq!(state.names().unwrap(), ["sleeper"]);
        state.check("sleeper").unwrap();

        process.signal(rustix::process::Signal::KILL);
        assert!(process.ended_within(Duration::from_secs(5)));
        assert!(
            state
                .check("sleeper")
                .unwrap_err()
                .to_string()
                .contains("sleeper ended")
        );
        assert_ne!(state.start(&program, &[]).unwrap(), process);
        state
            .process("sleeper")
            .unwrap()
            .unwrap()
            .signal(rustix::process::Signal::KILL);
    }
}
