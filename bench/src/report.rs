//! Rows with goals: a table on screen and `bench/results/<name>.json`. A missed goal is a row that says so, never a failed run.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was measured, with its conditions.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// The goal in words that a program can read, `<= 1.25` or `>= 0.5`; absent for what has none.
    pub goal: Option<String>,
    /// Whether the goal is met; absent where there is none.
    pub met: Option<bool>,
}

/// The rows of one benchmark, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a number without a goal.
    pub fn fact(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.push(name.into(), value, unit, None);
    }

    /// Adds a number that must not be smaller than its goal.
    pub fn at_least(&mut self, name: impl Into<String>, value: f64, unit: &str, goal: f64) {
        let judged = (format!(">= {goal}"), value >= goal);
        self.push(name.into(), value, unit, Some(judged));
    }

    /// Adds a number that must not be larger than its goal.
    pub fn at_most(&mut self, name: impl Into<String>, value: f64, unit: &str, goal: f64) {
        let judged = (format!("<= {goal}"), value <= goal);
        self.push(name.into(), value, unit, Some(judged));
    }

    /// Adds a row; goals are judged before the number is rounded.
    fn push(&mut self, name: String, value: f64, unit: &str, judged: Option<(String, bool)>) {
        let (goal, met) = judged.unzip();
        self.rows.push(Row {
            name,
            value: rounded(value),
            unit: unit.to_owned(),
            goal,
            met,
        });
    }

    /// The rows so far.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows as a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let widest = |of: fn(&Row) -> usize| self.rows.iter().map(of).max().unwrap_or(0);
        let name = widest(|row| row.name.chars().count());
        let value = widest(|row| row.value.to_string().len());
        let unit = widest(|row| row.unit.chars().count());
        let mut table = String::new();
        for row in &self.rows {
            let judged = match (&row.goal, row.met) {
                (Some(goal), Some(true)) => format!("goal {goal}: met"),
                (Some(goal), _) => format!("goal {goal}: MISSED"),
                (None, _) => String::new(),
            };
            let line = format!(
                "{:<name$}  {:>value$} {:<unit$}  {judged}",
                row.name, row.value, row.unit
            );
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{}", line.trim_end());
        }
        table
    }

    /// Writes `<folder>/<name>.json` and says where.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf, Error> {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
        let path = folder.join(format!("{name}.json"));
        let mut text = serde_json::to_string_pretty(&self.rows)
            .map_err(|problem| Error::Unexpected(format!("the rows cannot be written as JSON: {problem}")))?;
        text.push('\n');
        fs::write(&path, text).map_err(Error::file(&path))?;
        Ok(path)
    }
}

/// Three decimals: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle of the values, the mean of the middle two where their number is even; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `share` (0 to 1) of the values are, interpolated between neighbours; 0 of none.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = count(last) * share.clamp(0.0, 1.0);
    let at = |place: f64| {
        let index = (0..=last).find(|index| count(*index) >= place).unwrap_or(last);
        sorted.get(index).copied().unwrap_or(0.0)
    };
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// A count as a number to calculate with; exact up to 2^32.
#[must_use]
pub fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_a_quantile_lies_between_neighbours() {
        for (values, share, expected) in [
            (vec![3.0, 1.0, 2.0], 0.5, 2.0),
            (vec![4.0, 1.0, 2.0, 3.0], 0.5, 2.5),
            (vec![7.0], 0.99, 7.0),
            (vec![], 0.5, 0.0),
            (vec![0.0, 10.0], 0.9, 9.0),
        ] {
            assert!(
                (quantile(&values, share) - expected).abs() < 1e-9,
                "{values:?} {share}"
            );
        }
        assert!((median(&[5.0, 1.0, 9.0, 3.0, 7.0]) - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_missed_goal_is_a_row_that_says_so() {
        let mut report = Report::default();
        report.at_most("ratio", 1.250_4, "x", 1.25);
        report.at_most("memory", 24.9, "MiB", 25.0);
        report.fact("time", 1.0, "s");
        report.at_least("share", 0.5, "x", 0.5);
        assert_eq!(
            serde_json::to_value(report.rows()).unwrap(),
            serde_json::json!([
                {"name": "ratio", "value": 1.25, "unit": "x", "goal": "<= 1.25", "met": false},
                {"name": "memory", "value": 24.9, "unit": "MiB", "goal": "<= 25", "met": true},
                {"name": "time", "value": 1.0, "unit": "s", "goal": null, "met": null},
                {"name": "share", "value": 0.5, "unit": "x", "goal": ">= 0.5", "met": true},
            ])
        );
        let table = report.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].ends_with("goal <= 1.25: MISSED") && lines[1].ends_with("met"));
    }

    #[test]
    fn rows_are_written_where_they_are_said_to_be() {
        let folder = std::env::temp_dir().join(format!("mim-bench-report-{}", std::process::id()));
        let mut report = Report::default();
        report.fact("time", 1.5, "s");
        let path = report.write(&folder, "sample").unwrap();
        let read: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read[0]["value"], 1.5);
        fs::remove_dir_all(&folder).unwrap();
    }
}
