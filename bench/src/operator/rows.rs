//! From runs to rows: which numbers are told, and which have goals.

use super::recording::Sequence;
use super::rounds::{OperatorRun, per_object};
use super::steady::{AT_START, Steady};
use super::{GOAL_OBJECTS, Racer, kubelet};
use crate::report::{Report, count, median, quantile};

fn of<R>(runs: &[R], value: impl Fn(&R) -> f64) -> Vec<f64> {
    runs.iter().map(value).collect()
}

/// Rows of the race.
pub fn race(
    report: &mut Report,
    objects: usize,
    sequences: &[Sequence],
    operator: &[OperatorRun],
    racers: &[Racer],
) {
    let times = of(operator, |run| run.seconds);
    for (round, seconds) in times.iter().enumerate() {
        report.fact(
            format!("operator, {objects} objects to Ready, round {}", round + 1),
            *seconds,
            "s",
        );
    }
    let best = racers.iter().min_by(|one, other| {
        let time = |racer: &Racer| median(&of(&racer.1, |run| run.seconds));
        time(one).total_cmp(&time(other))
    });
    for (concurrency, runs) in racers {
        for (round, run) in runs.iter().enumerate() {
            let name = format!(
                "bare client, {concurrency} at a time, {objects} objects to Ready, round {}",
                round + 1
            );
            report.fact(name, run.seconds, "s");
        }
    }
    let time = median(&times);
    report.fact(format!("operator, {objects} objects to Ready, median"), time, "s");
    if let Some((concurrency, runs)) = best {
        let bare = median(&of(runs, |run| run.seconds));
        report.fact(
            format!("bare client, best ({concurrency} at a time), median"),
            bare,
            "s",
        );
        let last_answer = median(&of(runs, |run| run.client_seconds));
        report.fact("bare client, until its last answer, median", last_answer, "s");
        report.at_most(
            format!("operator / bare client, {objects} objects to Ready"),
            time / bare,
            "x",
            1.25,
        );
        report.fact(
            "API server CPU, operator's runs, median",
            median(&of(operator, |run| run.api_server_cpu)),
            "s",
        );
        report.fact(
            "API server CPU, bare client's runs, median",
            median(&of(runs, |run| run.api_server_cpu)),
            "s",
        );
    }
    let each: Vec<f64> = operator.iter().flat_map(|run| run.each.iter().copied()).collect();
    report.fact(
        "operator, create to Ready of one object, p50",
        quantile(&each, 0.5),
        "s",
    );
    report.fact(
        "operator, create to Ready of one object, p99",
        quantile(&each, 0.99),
        "s",
    );
    report.fact(
        format!("operator CPU, {objects} objects"),
        median(&of(operator, |run| run.cpu)),
        "s",
    );
    request_rows(report, objects, sequences, operator);
    memory_rows(report, objects, operator);
}

fn request_rows(report: &mut Report, objects: usize, sequences: &[Sequence], operator: &[OperatorRun]) {
    let children = sequences.iter().map(Sequence::children).max().unwrap_or(0);
    report.fact("children of one object", count(children), "");
    let recorded: Vec<f64> = sequences
        .iter()
        .map(|sequence| count(sequence.writes()))
        .collect();
    report.fact(
        "changes per object, recorded and replayed",
        median(&recorded),
        "requests",
    );
    report.at_most(
        "changes per object, operator (goal: children + 2)",
        median(&of(operator, |run| per_object(run.counts.changes(), objects))),
        "requests",
        count(children + 2),
    );
    report.fact(
        "reads per object, operator",
        median(&of(operator, |run| per_object(run.counts.reads(), objects))),
        "requests",
    );
    report.fact(
        "events per object, operator",
        median(&of(operator, |run| per_object(run.counts.events(), objects))),
        "requests",
    );
    report.fact(
        "changes per object, simulated kubelet",
        count(kubelet::REQUESTS),
        "requests",
    );
}

fn memory_rows(report: &mut Report, objects: usize, operator: &[OperatorRun]) {
    let rows = [
        ("settled", median(&of(operator, |run| run.memory.resident))),
        ("peak", median(&of(operator, |run| run.memory.peak))),
    ];
    for (what, value) in rows {
        memory_row(
            report,
            format!("operator RSS, {objects} objects made, {what}"),
            value,
            objects,
        );
    }
    let anonymous = median(&of(operator, |run| run.memory.anonymous));
    report.fact(
        format!("of it anonymous, {objects} objects made, settled"),
        anonymous,
        "MiB",
    );
}

/// The goal speaks of a thousand objects.
fn memory_row(report: &mut Report, name: String, value: f64, objects: usize) {
    if objects >= GOAL_OBJECTS {
        report.at_most(name, value, "MiB", 50.0);
    } else {
        report.fact(name, value, "MiB");
    }
}

/// Rows of the steady part.
pub fn steady(report: &mut Report, objects: usize, idle_minutes: f64, steady: &Steady) {
    steady_memory(report, objects, steady);
    starts(report, objects, steady);
    silence(report, objects, idle_minutes, steady);
    two_counts(report, objects, steady);
}

fn steady_memory(report: &mut Report, objects: usize, steady: &Steady) {
    let one = "operator RSS, 1 object";
    report.at_most(format!("{one}, settled"), steady.with_one.resident, "MiB", 25.0);
    report.at_most(format!("{one}, peak"), steady.with_one.peak, "MiB", 25.0);
    report.fact(
        "of it anonymous, 1 object, settled",
        steady.with_one.anonymous,
        "MiB",
    );
    let found = [
        ("settled", steady.restarted.resident),
        ("peak", steady.restarted.peak),
    ];
    for (what, value) in found {
        let name = format!("operator RSS, {objects} objects found at start, {what}");
        memory_row(report, name, value, objects);
    }
    report.fact(
        "operator RSS at the end of all",
        steady.at_the_end.resident,
        "MiB",
    );
}

fn starts(report: &mut Report, objects: usize, steady: &Steady) {
    let existing = AT_START.min(objects);
    let name = format!(
        "start to all watches ready, {existing} objects, median of {}",
        steady.starts.len()
    );
    report.at_most(name, median(&steady.starts), "s", 1.0);
    let name = format!("start to leading, {existing} objects, median");
    report.fact(name, median(&steady.leads), "s");
    let name = format!("start to all watches ready, {objects} objects");
    report.fact(name, steady.start_with_all, "s");
}

fn silence(report: &mut Report, objects: usize, minutes: f64, steady: &Steady) {
    let mut none = |name: String, value: u32| report.at_most(name, f64::from(value), "requests", 0.0);
    let idle = format!("requests besides watches and lease in {minutes} idle minutes");
    none(format!("{idle}, by the operator"), steady.idle_operator);
    none(format!("{idle}, by the API server"), steady.idle_api_server);
    let resync = format!("changes after a forced resync of {objects} objects");
    none(format!("{resync}, by the operator"), steady.resync_operator);
    none(format!("{resync}, by the API server"), steady.resync_api_server);
    none(
        format!("changes of a restarted operator, {objects} objects"),
        steady.found.operator.changes(),
    );
    report.fact(
        format!("operator CPU in {minutes} idle minutes"),
        steady.idle_cpu,
        "s",
    );
    report.fact("operator CPU of that resync", steady.resync_cpu, "s");
}

fn two_counts(report: &mut Report, objects: usize, steady: &Steady) {
    let made = format!(
        "requests but for the lease, {} objects made",
        objects - AT_START.min(objects)
    );
    let own = f64::from(steady.made.operator.without_lease());
    report.fact(format!("{made}, by the operator"), own, "requests");
    let served = f64::from(steady.made.api_server.without_lease);
    report.fact(format!("{made}, by the API server"), served, "requests");
    let difference = f64::from(steady.made.difference() + steady.found.difference());
    report.at_most("difference of the two counts", difference, "requests", 0.0);
}
