//! What the pages say is there: links lead somewhere, and the tables of tests in `docs/architecture.md` name every test of an invariant or of a
//! fault, and only tests that exist.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mim_tests::demo::programs::checkout;

/// Folders with sources or pages of ours.
const FOLDERS: [&str; 14] = [
    "bench", "charts", "cli", "crds", "docs", "egress", "examples", "grammar", "images", "lab", "operator",
    "policy", "services", "tests",
];

/// All files with this ending that are ours.
fn files(ending: &str) -> Vec<PathBuf> {
    let root = checkout();
    let at_top = std::fs::read_dir(checkout())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let mut found: Vec<_> = at_top.collect();
    for folder in FOLDERS {
        below(&root.join(folder), &mut found);
    }
    found.retain(|path| path.extension().is_some_and(|of| of == ending));
    assert!(!found.is_empty(), "no .{ending} in {}", root.display());
    found
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// `(text, target)` of every link of a page in Markdown, code blocks left out.
fn links(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let mut rest = if in_code { "" } else { line };
        while let Some((before, after)) = rest.split_once("](") {
            let text = before.rsplit_once('[').map_or(before, |(_, text)| text);
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            found.push((text.to_owned(), target.to_owned()));
            rest = after;
        }
    }
    found
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut dead = Vec::new();
    for page in files("md") {
        for (_, target) in links(&std::fs::read_to_string(&page).unwrap()) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !page.parent().unwrap().join(path).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Names of the tests of a source file: functions that an attribute above them has cargo run.
fn tests_of(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines() {
        let line = line.trim_start();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let function = line.trim_start_matches("async ").strip_prefix("fn ");
            let name = function.and_then(|rest| rest.split(['(', '<']).next());
            found.extend(name.filter(|_| is_test).map(str::to_owned));
            is_test = false;
        }
    }
    found
}

#[test]
fn a_function_is_a_test_only_if_cargo_runs_it() {
    let source = "#[test]\n// Why.\n#[should_panic]\nfn row_a() {}\nfn row_b() {}\n\
                  \n  #[tokio::test(flavor = \"multi_thread\")]\n  async fn row_c() {}\n#[test]\nconst X: u8 = 1;\nasync fn row_d() {}\n";
    assert_eq!(
        tests_of(source),
        BTreeSet::from(["row_a".to_owned(), "row_c".to_owned()])
    );
}

#[test]
fn the_tables_of_tests_name_every_test_of_an_invariant_or_a_fault_and_no_other() {
    let architecture = checkout().join("docs/architecture.md");
    let mut listed = BTreeSet::new();
    for (text, target) in links(&std::fs::read_to_string(&architecture).unwrap()) {
        let file = architecture.with_file_name(&target);
        // A name in code style is a test's.
        let name = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        if let Some(name) = name.filter(|_| file.extension().is_some_and(|of| of == "rs")) {
            let source =
                std::fs::read_to_string(&file).unwrap_or_else(|problem| panic!("{target}: {problem}"));
            assert!(tests_of(&source).contains(name), "{target} has no test {name}");
            listed.insert(name.to_owned());
        }
    }
    let sources = files("rs")
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let there: BTreeSet<_> = sources
        .flat_map(|source| tests_of(&source))
        .filter(|name| name.starts_with("row_") || name.starts_with("invariant_"))
        .collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md does not list {missing:#?}"
    );
}

/// The items of a list under a heading, each with the names of the tests under it.
fn items(page: &str, heading: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let below = page.split_once(&format!("\n## {heading}\n")).unwrap().1;
    for line in below.lines().take_while(|line| !line.starts_with("## ")) {
        let number = line
            .split_once(". ")
            .filter(|(number, _)| number.parse::<u32>().is_ok());
        if line.starts_with("* ") || number.is_some() {
            found.push((line.to_owned(), Vec::new()));
        } else if let Some((_, tests)) = found.last_mut() {
            tests.extend(links(line).into_iter().map(|(text, _)| text.replace('`', "")));
        }
    }
    found
}

/// Words of each row of the table of bad input and faults, and what the names of its tests begin with.
const ROWS: [(&str, &[&str]); 17] = [
    ("refused at apply", &["row_refused_at_apply_"]),
    (
        "a Secret or ConfigMap named in the spec is missing",
        &["row_secret_named_in_spec_missing_"],
    ),
    (
        "a child is deleted or edited by hand",
        &["row_child_deleted_by_hand_", "row_child_edited_by_hand_"],
    ),
    (
        "somebody else's object has our child's name",
        &["row_someone_elses_object_"],
    ),
    (
        "image, crash loop, volume or quota",
        &[
            "row_image_cannot_be_pulled_or_pod_crash_loops_",
            "row_pvc_pending_",
            "row_quota_exceeded_",
        ],
    ),
    ("size, number of pods", &["row_a_larger_size_", "row_scale_"]),
    (
        "cluster mode, a namespace that is not onboarded",
        &["row_cluster_mode_namespace_not_onboarded_"],
    ),
    (
        "the operator is killed between any two requests",
        &["invariant_3_a_broker_ends_", "invariant_3_a_platform_ends_"],
    ),
    (
        "the database is killed under load",
        &["row_database_killed_under_load_"],
    ),
    (
        "the database is read-only, full or out of connections",
        &[
            "row_database_read_only_",
            "row_database_full_",
            "row_database_out_of_connections_",
        ],
    ),
    ("the database is slow", &["row_database_slow_"]),
    (
        "two replicas change one entity at once",
        &["row_broker_concurrent_"],
    ),
    (
        "a new broker beside an old one",
        &["row_migration_", "row_old_broker_serves_"],
    ),
    (
        "the Secret of credentials, or the claim, is deleted",
        &[
            "row_secret_of_credentials_deleted_",
            "row_claim_deleted_is_data_lost_",
        ],
    ),
    (
        "an external broker or database answers, or says why not",
        &["row_external_broker_", "row_external_database_"],
    ),
    ("hostile requests to the broker", &["row_broker_"]),
    (
        "a platform or a namespace is deleted",
        &[
            "row_platform_deleted_with_retain_",
            "row_platform_deleted_with_confirmed_delete_",
            "row_namespace_deletion_deletes_the_data_",
        ],
    ),
];

#[test]
fn every_row_of_bad_input_and_faults_has_a_test_whose_name_says_so() {
    let page = std::fs::read_to_string(checkout().join("docs/architecture.md")).unwrap();
    let rows = items(&page, "Bad input and faults");
    let mut wrong = Vec::new();
    for (row, tests) in &rows {
        if tests.is_empty() {
            wrong.push(format!("{row} has no test"));
        }
    }
    for (words, names) in ROWS {
        let found = rows.iter().find(|(row, _)| row.contains(words));
        let Some((_, tests)) = found else {
            wrong.push(format!("there is no row \"{words}\""));
            continue;
        };
        let lacks = names
            .iter()
            .filter(|name| !tests.iter().any(|test| test.starts_with(**name)));
        wrong.extend(lacks.map(|name| format!("\"{words}\" has no test {name}…")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_invariant_has_a_test_whose_name_says_so() {
    let page = std::fs::read_to_string(checkout().join("docs/architecture.md")).unwrap();
    let invariants = items(&page, "Invariants and the tests that hold them");
    assert_eq!(invariants.len(), 11);
    for (number, (line, tests)) in (1..).zip(&invariants) {
        assert!(line.starts_with(&format!("{number}. ")), "{line}");
        let own = format!("invariant_{number}_");
        assert!(!tests.is_empty(), "{line} has no test");
        for test in tests {
            assert!(test.starts_with(&own), "{test} stands under {line}");
        }
    }
}

#[test]
fn every_metric_of_the_broker_is_told_with_what_it_says() {
    let source = std::fs::read_to_string(checkout().join("services/broker/src/server/metrics.rs")).unwrap();
    let page = std::fs::read_to_string(checkout().join("docs/operands.md")).unwrap();
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let registered = lines
        .windows(2)
        .filter(|two| two[0].ends_with("register(") || two[0].ends_with("register_with_unit("));
    let names: Vec<&str> = registered.map(|two| two[1].trim_matches([',', '"'])).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let begin = format!("| `mim_broker_{name}");
        assert!(page.contains(&begin), "docs/operands.md does not tell of {name}");
    }
}

#[test]
fn no_page_has_marks_of_two_versions_that_were_not_made_one() {
    for file in files("md") {
        let page = std::fs::read_to_string(&file).unwrap();
        let is_mark = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
        assert!(!page.lines().any(is_mark), "{}", file.display());
    }
}
