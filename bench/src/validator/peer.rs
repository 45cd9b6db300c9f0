//! One implementation as a process: it reads models and entities, then answers lines. `verdicts` is answered with a 1 or 0
//! for each entity, a number of seconds with `{"count", "cpu"}`: how many verdicts it came to in that time, and the CPU seconds
//! of the whole process that they cost.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use crate::error::Error;

/// A running process. It ends when the value is dropped, as its input ends.
pub struct Peer {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What one measurement came to.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Round {
    count: f64,
    cpu: f64,
}

impl Round {
    /// CPU seconds for each verdict.
    #[must_use]
    pub fn cpu_each(&self) -> f64 {
        self.cpu / self.count
    }
}

/// What loading models took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Loaded {
    /// How many.
    pub models: usize,
    /// Bytes of each, in the mean.
    pub size: f64,
    /// How long, reading their JSON included.
    pub seconds: f64,
    /// The most that was ever resident.
    pub mebibytes: f64,
}

impl Peer {
    /// Starts the implementation of this name.
    pub fn start(name: &'static str, peers: &Path, data: &Path) -> Result<Self, Error> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("validator");
        let mut command = match name {
            "ajv" => {
                let mut node = Command::new("node");
                node.arg(scripts.join("ajv.cjs"))
                    .env("NODE_PATH", peers.join("node_modules"));
                node
            }
            "fastjsonschema" | "python-jsonschema" => {
                let mut python = Command::new(peers.join("venv/bin/python"));
                python.arg(scripts.join("peer.py")).arg(name);
                python
            }
            own => ourselves(own)?,
        };
        let mut child = command
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|problem| trouble(name, &problem.to_string()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| trouble(name, "it has no output"))?;
        Ok(Self {
            name,
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A 1 or 0 for each entity.
    pub fn verdicts(&mut self) -> Result<String, Error> {
        self.ask("verdicts")
    }

    /// Measures for some seconds.
    pub fn round(&mut self, seconds: f64) -> Result<Round, Error> {
        let answer = self.ask(&seconds.to_string())?;
        serde_json::from_str(&answer).map_err(|_| trouble(self.name, &format!("it says {answer:?}")))
    }

    fn ask(&mut self, question: &str) -> Result<String, Error> {
        let lost = |problem: std::io::Error| trouble(self.name, &problem.to_string());
        let input = self
            .input
            .as_mut()
            .ok_or_else(|| trouble(self.name, "it has no input"))?;
        writeln!(input, "{question}").map_err(lost)?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(lost)?;
        if line.is_empty() {
            return Err(trouble(self.name, "it has ended"));
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        // It is ours, and has nothing more to do.
        let _ = self.child.wait();
    }
}

/// Loads the models of the folder in a process of its own.
pub fn loaded(data: &Path) -> Result<Loaded, Error> {
    let output = ourselves("load")?.arg(data).output();
    let output = output.map_err(|problem| trouble("load", &problem.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|_| trouble("load", &format!("it says {text:?}")))
}

fn ourselves(which: &str) -> Result<Command, Error> {
    let own = std::env::current_exe().map_err(Error::file(Path::new("/proc/self/exe")))?;
    let mut command = Command::new(own);
    command.args(["--peers", "none", "--serve", which, "--data"]);
    Ok(command)
}

fn trouble(program: &str, said: &str) -> Error {
    Error::Program {
        program: program.to_owned(),
        said: said.to_owned(),
    }
}
