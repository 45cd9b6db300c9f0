//! The official JSON Schema test suite, as the sources of Python's `jsonschema` ship it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod support;

use mim_validator::tape::{Scratch, Tape};
use mim_validator::{Arena, Extent, Level, Library, Reading, Representation, Source, check, compile};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files whose schemas are in words of their own (`$vocabulary`): those are refused, whatever they would mean.
const REFUSED: [&str; 1] = ["vocabulary"];

fn suite() -> PathBuf {
    support::oracle().join("json")
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What the suite's schemas refer to.
fn library() -> Library {
    let remotes = suite().join("remotes");
    let document = |path: PathBuf| {
        let name = path.strip_prefix(&remotes).unwrap().to_str().unwrap().to_owned();
        (format!("http://localhost:1234/{name}"), json(&path))
    };
    files(&remotes).into_iter().map(document).collect()
}

/// What a draft's tests come to: how many hold, and which do not.
fn run(draft: &str, schema: &str, formats: bool, folder: &str) -> (usize, Vec<String>) {
    let library = Arc::new(library());
    let (mut good, mut bad) = (0, Vec::new());
    for path in files(&suite().join("tests").join(draft).join(folder)) {
        let is_of = |part: &str| path.to_str().unwrap().contains(part);
        if (folder.is_empty() && is_of("/optional/")) || (folder == "optional" && is_of("/format/")) {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for case in json(&path).as_array().unwrap() {
            let mut document = case["schema"].clone();
            if let Some(members) = document.as_object_mut()
                && !members.contains_key("$schema")
            {
                members.insert("$schema".to_owned(), schema.into());
            }
            let mut arena = Arena::default();
            let source = Source {
                schema: &document,
                uri: "http://localhost:1234/test/schema.json",
                level: Level::Value,
                type_name: None,
                formats,
            };
            let root = compile(&mut arena, source, &library);
            for test in case["tests"].as_array().unwrap() {
                let name = format!("{file}: {}: {}", case["description"], test["description"]);
                let wanted = test["valid"].as_bool().unwrap();
                let found = match &root {
                    Err(refusal) => Err(refusal.to_string()),
                    Ok(root) => Ok(verdict(&arena, *root, &test["data"])),
                };
                let right = match &found {
                    Ok(found) => *found == wanted,
                    Err(why) => REFUSED.contains(&file.as_str()) && why.contains("$schema"),
                };
                if right {
                    good += 1;
                } else {
                    bad.push(format!("{name}: {found:?}"));
                }
            }
        }
    }
    (good, bad)
}

fn verdict(arena: &Arena, root: mim_validator::NodeId, data: &Json) -> bool {
    let text = data.to_string();
    let mut scratch = Scratch::default();
    let tape = Tape::parse(text.as_bytes(), &mut scratch).unwrap();
    let reading = Reading {
        representation: Representation::Simplified,
        extent: Extent::Whole,
        names: None,
    };
    check(arena, root, tape.root(), reading).is_ok()
}

const DRAFTS: [(&str, &str); 3] = [
    ("draft7", "http://json-schema.org/draft-07/schema#"),
    ("draft2019-09", "https://json-schema.org/draft/2019-09/schema"),
    ("draft2020-12", "https://json-schema.org/draft/2020-12/schema"),
];

#[test]
fn all_drafts_are_as_the_official_suite_says() {
    for (draft, schema) in DRAFTS {
        let (good, bad) = run(draft, schema, false, "");
        assert!(
            bad.is_empty(),
            "{draft}: {} are not:\n{}",
            bad.len(),
            bad.join("\n")
        );
        assert!(good > 500, "{draft}: only {good} tests");
    }
}

#[test]
fn formats_are_as_the_official_suite_says() {
    for (draft, schema) in DRAFTS {
        let (good, bad) = run(draft, schema, true, "optional/format");
        assert!(
            bad.is_empty(),
            "{draft}: {} are not:\n{}",
            bad.len(),
            bad.join("\n")
        );
        assert!(good > 100, "{draft}: only {good} tests");
    }
}

#[test]
fn what_is_optional_is_as_the_official_suite_says_but_for_what_is_not_checked() {
    // What a text holds is not looked into: contentEncoding and contentMediaType are annotations (2020-12 validation, §8).
    // The last two schemas are in words of their own.
    let not_checked = ["content: ", "format-assertion: "];
    for (draft, schema) in DRAFTS {
        let (good, mut bad) = run(draft, schema, true, "optional");
        bad.retain(|name| !not_checked.iter().any(|start| name.starts_with(start)));
        assert!(
            bad.is_empty(),
            "{draft}: {} are not:\n{}",
            bad.len(),
            bad.join("\n")
        );
        assert!(good > 100, "{draft}: only {good} tests");
    }
}
