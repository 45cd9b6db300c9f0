//! The peer: pgbench, doing by hand what the broker does, with prepared statements over the same TLS.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use super::load::Sample;
use super::postgres::{Database, binary, run};
use crate::error::Error;
use crate::report::count;

/// Threads of pgbench: as many as the machine of the goals has cores.
const THREADS: usize = 2;
/// As the broker's sessions: commits are on disk before they are acknowledged, nothing is compiled at run time.
const SESSION: &str = "-c search_path=mim,public -c synchronous_commit=on -c jit=off";

/// One transaction, and the texts that it is sent with as parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// pgbench's language: SQL with `:name` for a parameter.
    pub text: String,
    /// Names and values.
    pub variables: Vec<(String, String)>,
}

/// How prepared statements are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plans {
    /// As the server likes: after some executions once for all values.
    Kept,
    /// For the values of each execution, as the broker has its queries planned: one plan for all values would be a worse one
    /// for most.
    OfEach,
}

/// Runs transactions that are chosen from these scripts by chance, with so many connections, for so long; with a rate,
/// latency counts from the time at which a transaction is due.
pub fn bench(
    database: &Database,
    scripts: &[Script],
    plans: Plans,
    connections: usize,
    seconds: f64,
    rate: Option<f64>,
) -> Result<Sample, Error> {
    let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
    let seconds = seconds.ceil().max(1.0);
    let session = match plans {
        Plans::Kept => SESSION.to_owned(),
        Plans::OfEach => format!("{SESSION} -c plan_cache_mode=force_custom_plan"),
    };
    let mut command = Command::new(binary("pgbench"));
    command
        .args(["-h", "localhost", "-p", &database.port().to_string()])
        .args(["-U", &database.name, "-n", "-M", "prepared"])
        .args([
            "-c",
            &connections.to_string(),
            "-j",
            &THREADS.min(connections).to_string(),
        ])
        .args(["-T", &seconds.to_string()])
        .env("PGPASSWORD", database.password())
        .env("PGHOSTADDR", "127.0.0.1")
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", database.ca())
        .env("PGOPTIONS", session);
    for (number, script) in scripts.iter().enumerate() {
        let path = folder.path().join(format!("{number}.sql"));
        fs::write(&path, &script.text).map_err(Error::file(&path))?;
        command.arg("-f").arg(&path);
        for (name, value) in &script.variables {
            command.arg("-D").arg(format!("{name}={value}"));
        }
    }
    if let Some(rate) = rate {
        let mut prefix = OsString::from("--log-prefix=");
        prefix.push(folder.path().join("log"));
        command
            .args(["--log", "--rate", &rate.max(0.1).to_string()])
            .arg(prefix);
    }
    let said = run(command.arg(&database.name))?;
    let told = (
        told::<f64>(&said, "tps = "),
        told(&said, "number of transactions actually processed: "),
        told(&said, "number of failed transactions: "),
    );
    let (Some(per_second), Some(requests), Some(0)) = told else {
        return Err(Error::Program {
            program: "pgbench".to_owned(),
            said,
        });
    };
    Ok(Sample {
        requests,
        refused: 0,
        seconds: count(requests) / per_second,
        latencies: latencies(folder.path())?,
    })
}

/// The number that stands behind these words.
fn told<T: FromStr>(said: &str, words: &str) -> Option<T> {
    said.lines()
        .find_map(|line| line.strip_prefix(words))?
        .split([' ', '/'])
        .next()?
        .parse()
        .ok()
}

/// The third column of each line of the logs: microseconds from when a transaction was due until its end.
fn latencies(folder: &Path) -> Result<Vec<f64>, Error> {
    let mut latencies = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        let is_log = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("log."));
        if is_log {
            let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
            latencies.extend(text.lines().filter_map(milliseconds));
        }
    }
    Ok(latencies)
}

fn milliseconds(line: &str) -> Option<f64> {
    let micros: f64 = line.split(' ').nth(2)?.parse().ok()?;
    Some(micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_off_what_pgbench_says() {
        let said = "number of transactions actually processed: 12/12\nnumber of failed transactions: 0 (0.000%)\ntps = 512.5 (without initial connection time)";
        assert_eq!(told(said, "tps = "), Some(512.5));
        assert_eq!(
            told(said, "number of transactions actually processed: "),
            Some(12)
        );
        assert_eq!(told(said, "number of failed transactions: "), Some(0.0));
        assert_eq!(told::<f64>(said, "latency"), None);
    }

    #[test]
    fn latency_is_the_third_column() {
        assert_eq!(milliseconds("0 1 2500 0 1500000000 100 12"), Some(2.5));
        assert_eq!(milliseconds("0 1 skipped 0 1500000000 100"), None);
    }
}
