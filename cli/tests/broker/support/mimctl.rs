//! `mimctl` as a process.

use std::ffi::OsStr;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A run of `mimctl broker`. It ends with the value.
pub struct Run(Child);

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What it wrote on standard error.
    pub said: String,
}

impl Run {
    /// Starts one, with what comes after `mimctl broker`.
    pub fn start(arguments: &[impl AsRef<OsStr>]) -> Self {
        Self::with(arguments, &[])
    }

    /// As [`Self::start`], with these variables in the environment.
    pub fn with(arguments: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mimctl"));
        command.arg("broker").args(arguments);
        for name in ["URL", "TENANT", "CA_FILE", "TOKEN", "TOKEN_FILE"] {
            command.env_remove(format!("MIMCTL_{name}"));
        }
        command.envs(variables.iter().copied());
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        Self(started.unwrap())
    }

    /// Waits for its end.
    pub async fn end(self) -> Ended {
        let output = self.0.wait_with_output().await.unwrap();
        assert!(output.stdout.is_empty(), "nothing is written on standard output");
        Ended {
            code: output.status.code().unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Kills it as nothing can prevent (SIGKILL).
    pub async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }
}

/// Runs `mimctl broker` to its end.
pub async fn mimctl(arguments: &[impl AsRef<OsStr>]) -> Ended {
    Run::start(arguments).end().await
}

impl Ended {
    /// Insists on an exit code.
    #[track_caller]
    pub fn with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.said);
        self.said
    }
}
