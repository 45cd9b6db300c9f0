//! A control plane that goes on in the background: `mim-lab up --control-plane`. Needs no root; several may run, by name.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::binaries;
use crate::control_plane::ControlPlane;
use crate::error::Error;
use crate::files;
use crate::process::Program;
use crate::progress::Progress;
use crate::state::{Origin, Stamp, State, lock};

/// The name of the process in the state.
const HOLDER: &str = "control-plane";
const START_LIMIT: Duration = Duration::from_mins(3);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A control plane in the background, whether it is up or not.
pub struct Background {
    state: State,
}

impl Background {
    /// The one of this name.
    pub fn new(name: &str) -> Result<Self, Error> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Error::Refused(format!(
                "{name:?} is no name for a control plane; use letters, digits, - and _"
            )));
        }
        Ok(Self {
            state: State {
                folder: base().join(name),
            },
        })
    }

    /// The administrator's kubeconfig; an error where it is not up.
    pub fn kubeconfig(&self) -> Result<PathBuf, Error> {
        let path = self.kubeconfig_file();
        let runs = self
            .state
            .process(HOLDER)?
            .is_some_and(crate::process::ProcessId::alive);
        if runs && path.exists() {
            Ok(path)
        } else {
            Err(Error::NotUp(self.state.folder.clone()))
        }
    }

    /// Starts it and waits until it is ready. Where it is up already, nothing happens; one of other sources is replaced.
    pub fn up(&self) -> Result<(), Error> {
        let origin = Origin::current(&binaries(&ControlPlane::BINARIES)?.digest())?;
        let progress = Progress::new(1);
        progress.step("start a control plane");
        let _lock = self.lock(&progress)?;
        if let Some(stamp) = self.state.stamp()? {
            let reason = match stamp.origin.difference(&origin) {
                None if self.kubeconfig().is_ok() => {
                    progress.say("the control plane is up already");
                    progress.done();
                    return Ok(());
                }
                None => "it has ended".to_owned(),
                Some(reason) => reason,
            };
            progress.say(&format!("replacing the control plane that is there: {reason}"));
            self.remove()?;
        }
        self.state.write_stamp(&Stamp {
            origin,
            ready: true,
            switches: std::collections::BTreeMap::default(),
        })?;
        let own = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe"))?;
        let kubeconfig = self.kubeconfig_file();
        let program = Program::new(HOLDER, &own)
            .arg("hold")
            .flag("kubeconfig", kubeconfig.display());
        self.state.start(&program, &[])?;
        let start = Instant::now();
        while !kubeconfig.exists() {
            self.state.check(HOLDER)?;
            if start.elapsed() > START_LIMIT {
                let last = files::tail(&self.state.folder.join("log").join(format!("{HOLDER}.log")));
                let what = "the control plane to be ready".to_owned();
                return Err(Error::Timeout {
                    what,
                    seconds: START_LIMIT.as_secs(),
                    last,
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        progress.done();
        Ok(())
    }

    /// Ends it and leaves nothing. Fine where there is none.
    pub fn down(&self) -> Result<(), Error> {
        let _lock = self.lock(&Progress::new(1))?;
        self.remove()
    }

    fn remove(&self) -> Result<(), Error> {
        if let Some(process) = self.state.process(HOLDER)? {
            process.signal(Signal::TERM);
            if !process.ended_within(STOP_LIMIT) {
                process.signal(Signal::KILL);
            }
        }
        files::remove_folder(&self.state.folder)
    }

    fn kubeconfig_file(&self) -> PathBuf {
        self.state.folder.join("kubeconfig")
    }

    /// Beside the folder, which comes and goes.
    fn lock(&self, progress: &Progress) -> Result<std::fs::File, Error> {
        own_folder(&base())?;
        lock(&self.state.folder.with_extension("lock"), progress)
    }
}

/// Makes the folder for control planes. Below /tmp somebody else may have made it first; then it is not used.
fn own_folder(path: &Path) -> Result<(), Error> {
    if let Err(error) = DirBuilder::new().mode(0o700).create(path)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(Error::file("create", path)(error));
    }
    let owner = std::fs::symlink_metadata(path).map_err(Error::file("read", path))?;
    if owner.is_dir() && owner.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} belongs to somebody else; remove it or set XDG_RUNTIME_DIR",
        path.display()
    )))
}

/// A folder of this user that does not outlive the boot, where there is one.
fn base() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .map_or_else(
            || Path::new("/tmp").join(format!("mim-lab-{user}")),
            |runtime| runtime.join("mim-lab"),
        )
}
