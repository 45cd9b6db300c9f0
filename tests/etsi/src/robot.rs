//! Runs Robot Framework and reads what it wrote.

use crate::error::{Error, Result};
use crate::groups::Group;
use crate::{mosquitto, network};
use serde::Deserialize;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a group may take. Most of that time the suite sleeps.
const PATIENCE: Duration = Duration::from_hours(1);
/// What makes a folder the suite.
const PARTS: [&str; 4] = ["TP", "resources", "data", "libraries"];

/// Robot Framework with the suite that it runs.
pub struct Robot {
    program: PathBuf,
    suite: PathBuf,
    case: Option<String>,
}

/// A case as it ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Case {
    /// Its name, which begins with its number.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// Why it did not pass.
    #[serde(default)]
    pub message: String,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Status {
    /// As the case says.
    #[serde(rename = "PASS")]
    Pass,
    /// Otherwise than the case says.
    #[serde(rename = "FAIL")]
    Fail,
    /// The suite left it out.
    #[serde(rename = "SKIP")]
    Skip,
    /// It did not come to it.
    #[serde(rename = "NOT RUN")]
    NotRun,
}

#[derive(Deserialize)]
struct Output {
    suite: Suite,
    #[serde(default)]
    errors: Vec<Message>,
}

#[derive(Deserialize)]
struct Suite {
    #[serde(default)]
    source: PathBuf,
    #[serde(default)]
    suites: Vec<Suite>,
    #[serde(default)]
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl Robot {
    /// Finds the suite and the program.
    pub fn find(suite: &Path, program: Option<&Path>, case: Option<&str>) -> Result<Self> {
        let suite = std::path::absolute(suite).map_err(|source| Error::Read {
            path: suite.to_owned(),
            source,
        })?;
        if let Some(missing) = PARTS.into_iter().find(|part| !suite.join(part).is_dir()) {
            return Err(Error::NoSuite { path: suite, missing });
        }
        let of_suite = suite.join(".venv/bin/robot");
        let program = match program {
            // It is started in the suite's folder.
            Some(program) if program.components().count() > 1 => {
                std::path::absolute(program).unwrap_or_else(|_| program.to_owned())
            }
            Some(program) => program.to_owned(),
            None if of_suite.is_file() => of_suite,
            None => PathBuf::from("robot"),
        };
        let robot = Self {
            program,
            suite,
            case: case.map(str::to_owned),
        };
        robot.try_it()?;
        Ok(robot)
    }

    /// The folder of the suite.
    pub fn suite(&self) -> &Path {
        &self.suite
    }

    fn try_it(&self) -> Result<()> {
        let output = Command::new(&self.program)
            .arg("--version")
            .output()
            .map_err(|error| self.unusable(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        // Robot ends with 251 after it has told its version.
        if said.contains("Robot Framework") {
            return Ok(());
        }
        Err(self.unusable(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    fn unusable(&self, why: String) -> Error {
        Error::NoRobot {
            program: self.program.clone(),
            why,
            venv: self.suite.join(".venv"),
        }
    }

    /// Runs a group against the broker at this address.
    pub fn run(&self, group: &Group, api: SocketAddr, out: &Path) -> Result<Vec<Case>> {
        let folder = Path::new("TP/NGSI-LD").join(group.folder);
        let mosquitto = mosquitto::Docker::instead()?;
        let mut run = Run {
            robot: self,
            group: group.name,
            api,
            path: mosquitto.path(),
            cases: Vec::new(),
        };
        if !group.file_by_file {
            run.add(&folder, out)?;
            return Ok(run.cases);
        }
        for file in files(&self.suite, &folder)? {
            let out = out.join(file.file_stem().unwrap_or_default());
            std::fs::create_dir_all(&out).map_err(|source| Error::Write {
                path: out.clone(),
                source,
            })?;
            run.add(&file, &out)?;
        }
        Ok(run.cases)
    }
}

/// A group on its way.
struct Run<'a> {
    robot: &'a Robot,
    group: &'static str,
    api: SocketAddr,
    path: OsString,
    cases: Vec<Case>,
}

impl Run<'_> {
    /// Runs the cases of a file or folder of the suite.
    fn add(&mut self, what: &Path, out: &Path) -> Result<()> {
        let console = out.join("console.txt");
        let result = out.join("output.json");
        let no_result = |why: String| Error::NoResult {
            group: self.group,
            why,
            console: console.clone(),
        };
        // What stands there is of another run.
        if result.exists() {
            std::fs::remove_file(&result).map_err(|source| Error::Write {
                path: result.clone(),
                source,
            })?;
        }
        let status = wait(self.start(what, out, &console)?).map_err(no_result)?;
        let text =
            std::fs::read_to_string(&result).map_err(|error| no_result(format!("{status}, {error}")))?;
        let output = parse(&text).map_err(no_result)?;
        let missing = output
            .errors
            .iter()
            .find(|error| error.message.contains("ing library "));
        if let Some(error) = missing {
            return Err(self.robot.unusable(error.message.clone()));
        }
        output.suite.cases(&mut self.cases);
        Ok(())
    }

    fn start(&self, what: &Path, out: &Path, console: &Path) -> Result<Child> {
        let write = |source| Error::Write {
            path: console.to_owned(),
            source,
        };
        let said = std::fs::File::create(console).map_err(write)?;
        let mut command = Command::new(&self.robot.program);
        command
            .current_dir(&self.robot.suite)
            .args(["--name", self.group, "--runemptysuite", "--consolecolors", "off"])
            .args(["--output", "output.json", "--log", "log.html", "--report", "NONE"])
            .arg("--outputdir")
            .arg(out);
        if let Some(case) = &self.robot.case {
            command.args(["--test", &format!("*{case}*")]);
        }
        for (name, value) in variables(self.api) {
            command.args(["--variable", &format!("{name}:{value}")]);
        }
        command
            .arg(what)
            .env("PATH", &self.path)
            // The suite's folder is not ours, and its calls stay on this machine.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .stdin(Stdio::null())
            .stderr(said.try_clone().map_err(write)?)
            .stdout(said);
        command
            .spawn()
            .map_err(|error| self.robot.unusable(error.to_string()))
    }
}

/// The suite's files below a folder of it, in robot's order.
fn files(suite: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let read = |source| Error::Read {
        path: suite.join(folder),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(suite.join(folder)).map_err(read)? {
        names.push(folder.join(entry.map_err(read)?.file_name()));
    }
    names.sort();
    let mut found = Vec::new();
    for name in names {
        if suite.join(&name).is_dir() {
            found.extend(files(suite, &name)?);
        } else if name.extension().is_some_and(|of| of == "robot") {
            found.push(name);
        }
    }
    Ok(found)
}

/// The suite's variables, as in its `resources/variables.py`, that name where things are. The ports are the suite's own.
fn variables(api: SocketAddr) -> [(&'static str, String); 6] {
    let url = format!("http://{api}/ngsi-ld/v1");
    let here = || network::ADDRESS.to_owned();
    [
        ("url", url.clone()),
        ("temporal_api_url", url),
        ("notification_server_host", here()),
        ("context_source_host", here()),
        ("context_server_host", here()),
        ("mqtt_broker_host", here()),
    ]
}

fn wait(mut child: Child) -> std::result::Result<ExitStatus, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            // It may have ended in between.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it took longer than {} minutes", PATIENCE.as_secs() / 60));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn parse(text: &str) -> std::result::Result<Output, String> {
    serde_json::from_str(text).map_err(|error| format!("output.json cannot be read: {error}"))
}

impl Suite {
    /// A name that was there before is followed by the file in which it stands again.
    fn cases(self, found: &mut Vec<Case>) {
        let file = self.source.file_name().unwrap_or_default().to_string_lossy();
        for mut case in self.tests {
            if found.iter().any(|other| other.name == case.name) {
                case.name = format!("{} ({file})", case.name);
            }
            found.push(case);
        }
        for suite in self.suites {
            suite.cases(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_of_all_levels_are_found_and_told_apart_with_status_and_message() {
        let text = r#"{"generator": "Robot", "suite": {"name": "a", "status": "FAIL", "suites": [
            {"name": "b", "tests": [{"name": "1_1 One", "status": "PASS", "body": []}]},
            {"name": "c", "suites": [{"name": "d", "source": "/a/c/2_9.robot", "tests": [
                {"name": "1_1 One", "status": "PASS"},
                {"name": "2_1 Two", "status": "FAIL", "message": "500 != 200"}, {"name": "2_2 Three", "status": "NOT RUN"}]}]}]},
            "errors": [{"message": "Importing library 'X' failed", "level": "ERROR"}]}"#;
        let output = parse(text).unwrap();
        assert_eq!(output.errors.len(), 1);
        let mut cases = Vec::new();
        output.suite.cases(&mut cases);
        let seen: Vec<_> = cases.iter().map(|c| (&*c.name, c.status, &*c.message)).collect();
        assert_eq!(
            seen,
            [
                ("1_1 One", Status::Pass, ""),
                ("1_1 One (2_9.robot)", Status::Pass, ""),
                ("2_1 Two", Status::Fail, "500 != 200"),
                ("2_2 Three", Status::NotRun, "")
            ]
        );
    }

    #[test]
    fn the_files_of_a_group_are_found_in_all_its_folders() {
        let suite = tempfile::tempdir().unwrap();
        for folder in ["g/b", "g/a"] {
            std::fs::create_dir_all(suite.path().join(folder)).unwrap();
        }
        for file in ["g/b/2.robot", "g/b/1.robot", "g/a/3.robot", "g/a/__init__.py"] {
            std::fs::write(suite.path().join(file), "").unwrap();
        }
        let found = files(suite.path(), Path::new("g")).unwrap();
        assert_eq!(
            found,
            ["g/a/3.robot", "g/b/1.robot", "g/b/2.robot"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_folder_that_is_not_the_suite_is_named_with_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("TP")).unwrap();
        let error = Robot::find(folder.path(), None, None).err().unwrap().to_string();
        assert!(error.contains("resources is not there"), "{error}");
    }

    #[test]
    fn a_robot_that_cannot_be_used_says_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        for part in PARTS {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        for program in ["/nowhere/robot", "/bin/false"] {
            let found = Robot::find(folder.path(), Some(Path::new(program)), None);
            let error = found.err().unwrap().to_string();
            assert!(error.contains(program) && error.contains("README"), "{error}");
        }
    }
}
