//! `make bench-policy`: mim-policy beside Cedar and Rego, on the same rules. Each answers the same requests, and all must
//! answer alike, or nothing is measured.

mod cedar;
mod ours;
mod rego;
mod workload;

use serde_json::{Value, json};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use workload::Request;

/// What is asked of each.
pub trait Engine {
    /// Whether a request is allowed, from the request as a gateway has it: what an engine needs of it is made here.
    fn decide(&mut self, request: &Request) -> bool;
    /// What the person of a request may see and do, whatever the entity: how many bytes that is.
    fn narrow(&mut self, request: &Request) -> usize;
    /// What comes out of that.
    fn what_narrowing_gives(&self) -> &'static str;
}

const NAMES: [&str; 3] = ["mim-policy", "cedar", "rego"];
const SIZES: [usize; 2] = [20, 200];
const ROUNDS: usize = 7;

fn engine(name: &str, rules: &[Value]) -> Box<dyn Engine> {
    match name {
        "mim-policy" => Box::new(ours::Ours::new(rules)),
        "cedar" => Box::new(cedar::Cedar::new(rules)),
        _ => Box::new(rego::Rego::new(rules)),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, size] = &arguments[..] {
        assert_eq!(flag, "--memory");
        println!("{}", memory_of(name, size.parse().unwrap()));
        return;
    }
    println!("{}", machine());
    let mut rows = Vec::new();
    println!(
        "{:<12} {:>6} {:>12} {:>8} {:>12} {:>8} {:>10} {:>8}",
        "engine", "rules", "decide", "ratio", "narrow", "ratio", "bytes", "memory"
    );
    for size in SIZES {
        rows.extend(measured(size));
    }
    for name in NAMES {
        println!(
            "{name}: narrowing gives {}",
            engine(name, &workload::rules(20)).what_narrowing_gives()
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/policy.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
}

/// Processor, and what else it does.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or_default().trim_start_matches(['\t', ' ', ':']);
    format!("rig: {model}, load {} at the start", read("/proc/loadavg").trim())
}

fn measured(size: usize) -> Vec<Value> {
    let rules = workload::rules(size);
    let requests = workload::requests(1000);
    let mut engines: Vec<Box<dyn Engine>> = NAMES.iter().map(|name| engine(name, &rules)).collect();
    let allowed = agreed(&mut engines, &requests);
    println!(
        "{size} rules: {allowed} of {} requests allowed, by all alike",
        requests.len()
    );
    let mut times = vec![(Vec::new(), Vec::new()); engines.len()];
    for _ in 0..ROUNDS {
        // One after the other in each round, so that what else the machine does hits all.
        for (engine, (decide, narrow)) in engines.iter_mut().zip(&mut times) {
            decide.push(time_of(&requests, |request| usize::from(engine.decide(request))));
            narrow.push(time_of(&requests, |request| engine.narrow(request)));
        }
    }
    let medians: Vec<(f64, f64)> = times
        .into_iter()
        .map(|(decide, narrow)| (median(decide), median(narrow)))
        .collect();
    let mut rows = Vec::new();
    for ((name, engine), (decide, narrow)) in NAMES.iter().zip(&mut engines).zip(&medians) {
        let bytes = requests
            .iter()
            .map(|request| engine.narrow(request))
            .sum::<usize>()
            / requests.len();
        let memory = memory_in_child(name, size);
        let (of_decide, of_narrow) = (decide / medians[0].0, narrow / medians[0].1);
        println!(
            "{name:<12} {size:>6} {decide:>9.2} µs {of_decide:>7.1}x {narrow:>9.2} µs {of_narrow:>7.1}x {bytes:>10} {memory:>5} KiB"
        );
        for (what, value, unit) in [
            ("decide", *decide, "µs"),
            ("narrow", *narrow, "µs"),
            ("decide, times mim-policy", of_decide, "ratio"),
            ("narrow, times mim-policy", of_narrow, "ratio"),
            ("memory", memory as f64, "KiB"),
        ] {
            rows.push(json!({"name": format!("{name}, {size} rules: {what}"), "value": value, "unit": unit, "goal": null, "met": null}));
        }
    }
    rows
}

/// How many requests are allowed; all engines must say so of the same.
fn agreed(engines: &mut [Box<dyn Engine>], requests: &[Request]) -> usize {
    let allowed = requests.iter().filter(|request| {
        let answers: Vec<bool> = engines.iter_mut().map(|engine| engine.decide(request)).collect();
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{}: {answers:?}",
            request.id
        );
        answers[0]
    });
    allowed.count()
}

/// Microseconds for one.
fn time_of(requests: &[Request], mut ask: impl FnMut(&Request) -> usize) -> f64 {
    let start = Instant::now();
    for request in requests {
        black_box(ask(black_box(request)));
    }
    start.elapsed().as_secs_f64() * 1e6 / requests.len() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Kibibytes that an engine takes with its rules, when it has answered some requests: in a process of its own.
fn memory_in_child(name: &str, size: usize) -> usize {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--memory", name, &size.to_string()])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn memory_of(name: &str, size: usize) -> usize {
    let rules = workload::rules(size);
    let requests = workload::requests(100);
    let before = resident();
    let mut engine = engine(name, &rules);
    for request in &requests {
        black_box((engine.decide(request), engine.narrow(request)));
    }
    resident().saturating_sub(before)
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
