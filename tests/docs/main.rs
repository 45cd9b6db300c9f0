//! What the pages say is there: links lead somewhere, and the tables of tests in `docs/architecture.md` name every test of an invariant or of a
//! fault, and only tests that exist.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mim_tests::demo::programs::checkout;

/// Folders with sources or pages of ours.
const FOLDERS: [&str; 11] = [
    "bench", "charts", "crds", "docs", "egress", "examples", "images", "lab", "operator", "services", "tests",
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

/// Names of the functions of a source file.
fn functions(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in source.lines() {
        let line = line.trim_start().trim_start_matches("async ");
        if let Some(rest) = line.strip_prefix("fn ") {
            found.extend(rest.split(['(', '<']).next().map(str::to_owned));
        }
    }
    found
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
            assert!(functions(&source).contains(name), "{target} has no test {name}");
            listed.insert(name.to_owned());
        }
    }
    let sources = files("rs")
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let there: BTreeSet<_> = sources
        .flat_map(|source| functions(&source))
        .filter(|name| name.starts_with("row_") || name.starts_with("invariant_"))
        .collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md does not list {missing:#?}"
    );
}
