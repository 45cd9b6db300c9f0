//! What the person who runs it reads: a table of groups, then each difference.

use crate::compare::{Outcome, Verdict};
use crate::expected::{Expected, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The longest part of a message that is shown.
const MESSAGE: usize = 160;

/// Verdicts by group, in the order of the run.
#[derive(Debug, Default)]
pub struct Table(Vec<(&'static str, Vec<Verdict>)>);

#[derive(Default)]
struct Counts {
    cases: usize,
    passed: usize,
    expected: usize,
    unexpected: usize,
    outdated: usize,
    skipped: usize,
}

impl Counts {
    fn of<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Self {
        let mut counts = Self::default();
        for verdict in verdicts {
            counts.cases += 1;
            *match verdict.outcome {
                Outcome::Passed => &mut counts.passed,
                Outcome::FailedAsExpected(_) => &mut counts.expected,
                Outcome::FailedUnexpectedly(_) => &mut counts.unexpected,
                Outcome::PassedUnexpectedly => &mut counts.outdated,
                Outcome::Skipped(_) => &mut counts.skipped,
            } += 1;
        }
        counts
    }

    fn row(&self, name: &str) -> String {
        let Self {
            cases,
            passed,
            expected,
            unexpected,
            outdated,
            skipped,
        } = self;
        format!("| {name} | {cases} | {passed} | {expected} | {unexpected} | {outdated} | {skipped} |\n")
    }
}

impl Table {
    /// Adds a group that has been run.
    pub fn add(&mut self, group: &'static str, verdicts: Vec<Verdict>) {
        let counts = Counts::of(verdicts.iter());
        println!("{group}: {} of {} passed", counts.passed, counts.cases);
        self.0.push((group, verdicts));
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.0.iter().flat_map(|(_, verdicts)| verdicts)
    }

    /// Whether every case came to what was expected of it. A case that the suite skipped has shown nothing.
    pub fn is_as_expected(&self) -> bool {
        self.verdicts()
            .all(|verdict| matches!(verdict.outcome, Outcome::Passed | Outcome::FailedAsExpected(_)))
    }

    /// Cases of the file that no group has. Means something only where all groups were run.
    pub fn never_run(&self, expected: &Expected) -> Vec<String> {
        let run: BTreeSet<&str> = self.verdicts().map(|verdict| &*verdict.name).collect();
        expected
            .names()
            .filter(|name| !run.contains(name))
            .map(str::to_owned)
            .collect()
    }

    /// The table in Markdown, and the differences below it.
    pub fn text(&self, never_run: &[String]) -> String {
        let mut text = String::from(
            "\n| group | cases | passed | failed as expected | failed unexpectedly | passed unexpectedly | skipped |\n|---|---|---|---|---|---|---|\n",
        );
        for (group, verdicts) in &self.0 {
            text += &Counts::of(verdicts.iter()).row(group);
        }
        text += &Counts::of(self.verdicts()).row("all");
        self.reasons(&mut text);
        self.differences(&mut text, never_run);
        text
    }

    fn reasons(&self, text: &mut String) {
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for verdict in self.verdicts() {
            if let Outcome::FailedAsExpected(reason) = &verdict.outcome {
                let reason = match reason {
                    Reason::Standard { clause, why } => format!("clause {clause}: {why}"),
                    Reason::OutOfScope { feature } => format!("out of scope: {feature}"),
                };
                *numbers.entry(reason).or_default() += 1;
            }
        }
        if !numbers.is_empty() {
            text.push_str("\nFailed as expected:\n");
        }
        for (reason, number) in numbers {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "  {number} × {reason}");
        }
    }

    fn differences(&self, text: &mut String, never_run: &[String]) {
        for verdict in self.verdicts() {
            let name = &verdict.name;
            let _ = match &verdict.outcome {
                Outcome::FailedUnexpectedly(why) => writeln!(text, "failed: {name}: {}", short(why)),
                Outcome::Skipped(why) => writeln!(text, "skipped: {name}: {}", short(why)),
                Outcome::PassedUnexpectedly => {
                    writeln!(
                        text,
                        "passed: {name}: take it out of the file of expected failures"
                    )
                }
                Outcome::Passed | Outcome::FailedAsExpected(_) => Ok(()),
            };
        }
        for name in never_run {
            let _ = writeln!(
                text,
                "not in the suite: {name}: take it out of the file of expected failures"
            );
        }
    }
}

/// The beginning of a message, on one line.
fn short(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(&line)),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, outcome: Outcome) -> Verdict {
        Verdict {
            name: name.to_owned(),
            outcome,
        }
    }

    fn out_of_scope() -> Outcome {
        Outcome::FailedAsExpected(Reason::OutOfScope {
            feature: "registrations".to_owned(),
        })
    }

    #[test]
    fn only_what_passed_or_failed_as_expected_is_as_expected() {
        let with = |outcome| {
            Table(vec![(
                "a",
                vec![verdict("1", Outcome::Passed), verdict("2", outcome)],
            )])
        };
        assert!(with(Outcome::Passed).is_as_expected());
        assert!(with(out_of_scope()).is_as_expected());
        assert!(!with(Outcome::FailedUnexpectedly(String::new())).is_as_expected());
        assert!(!with(Outcome::PassedUnexpectedly).is_as_expected());
        assert!(!with(Outcome::Skipped(String::new())).is_as_expected());
    }

    #[test]
    fn the_table_counts_each_group_and_all_and_names_every_difference() {
        let table = Table(vec![
            (
                "a",
                vec![verdict("1", Outcome::Passed), verdict("2", out_of_scope())],
            ),
            (
                "b",
                vec![
                    verdict("3", Outcome::FailedUnexpectedly("400\n!= 200".to_owned())),
                    verdict("4", Outcome::PassedUnexpectedly),
                ],
            ),
        ]);
        let text = table.text(&["5".to_owned()]);
        for line in [
            "| a | 2 | 1 | 1 | 0 | 0 | 0 |\n",
            "| b | 2 | 0 | 0 | 1 | 1 | 0 |\n",
            "| all | 4 | 1 | 1 | 1 | 1 | 0 |\n",
            "  1 × out of scope: registrations\n",
            "failed: 3: 400 != 200\n",
            "passed: 4: ",
            "not in the suite: 5: ",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
