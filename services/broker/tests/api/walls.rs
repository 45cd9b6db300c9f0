//! The walls between folders, as `docs/architecture.md` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Walls = BTreeMap<String, BTreeSet<String>>;

/// What each folder may use, of the page's table.
fn shown() -> Walls {
    let page = include_str!("../../../../docs/architecture.md");
    let section = page.split_once("\n## The broker's walls\n").unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(|name| name.trim_end_matches('/').to_owned())
            .collect()
    };
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (names(cells[1]).pop_first().unwrap(), names(cells[2]))
    });
    rows.collect()
}

/// The folders of ours that the sources of a folder name, tests and comments left out.
fn used(folder: &Path, own: &str, all: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            used(&path, own, all, found);
        } else if !name.ends_with("tests.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            for rest in lines.flat_map(|line| line.split("crate::").skip(1)) {
                let name = rest
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .next();
                found.extend(
                    name.map(str::to_owned)
                        .filter(|name| name != own && all.contains(name)),
                );
            }
        }
    }
}

#[test]
fn the_folders_use_each_other_as_the_page_about_architecture_shows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = std::fs::read_dir(&source)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let all: BTreeSet<String> = folders
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut there = Walls::new();
    for folder in &all {
        let mut found = BTreeSet::new();
        used(&source.join(folder), folder, &all, &mut found);
        there.insert(folder.clone(), found);
    }
    assert_eq!(shown(), there);
}
