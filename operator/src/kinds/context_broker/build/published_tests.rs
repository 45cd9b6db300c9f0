//! Invariant 9: what the pods of a published release are made from never changes, so a newer operator restarts none of them.
//!
//! `templates.lock` has a line for each pod template of each published release (`images/releases/<name>.yaml`, `published: true`): the release, the plan
//! and the workload, and a digest. As long as nothing is published there is nothing to hold.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use super::fixtures::{all, pod_templates};
use crate::reconcile::child::digest;

const LOCK: &str = include_str!("templates.lock");

/// Digests of all templates of workloads, by `<plan>/<workload>`. A preflight pod is made anew for each template, so it is none of them.
fn templates() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (plan_name, plan) in all() {
        for (workload, template) in pod_templates(&plan) {
            if workload != "preflight" {
                found.insert(format!("{plan_name}/{workload}"), digest(&template));
            }
        }
    }
    found
}

/// Names of the published releases.
fn published() -> Vec<String> {
    #[derive(Deserialize)]
    struct Kept {
        published: bool,
        name: String,
    }
    // There is no such folder before the first release.
    let Ok(folder) = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../images/releases")) else {
        return Vec::new();
    };
    let files = folder.map(|entry| entry.unwrap().path());
    files
        .map(|path| serde_yaml::from_str::<Kept>(&fs::read_to_string(path).unwrap()).unwrap())
        .filter(|kept| kept.published)
        .map(|kept| kept.name)
        .collect()
}

/// What is not as the lock has it, in words.
fn broken(lock: &str, published: &[String], now: &BTreeMap<String, String>) -> Vec<String> {
    let mut words = Vec::new();
    for release in published {
        let lines = lock
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let held: Vec<_> = lines
            .filter(|line| line.first() == Some(&release.as_str()))
            .collect();
        if held.is_empty() {
            let lines: Vec<_> = now
                .iter()
                .map(|(template, digest)| format!("{release} {template} {digest}"))
                .collect();
            words.push(format!(
                "release {release} is published: add its pod templates to templates.lock\n{}",
                lines.join("\n")
            ));
        }
        for line in held {
            let [_, template, digest] = line[..] else {
                words.push(format!(
                    "templates.lock: {line:?} is not a release, a template and a digest"
                ));
                continue;
            };
            if now.get(template).map(String::as_str) != Some(digest) {
                words.push(format!(
                    "{template} is not what release {release} was published with, so a newer operator would restart its pods: build the old template \
                     for that release still, and leave the fixture of that plan as it was"
                ));
            }
        }
    }
    words
}

#[test]
fn invariant_9_pod_templates_of_a_published_release_never_change() {
    let broken = broken(LOCK, &published(), &templates());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_template_that_is_not_what_its_release_was_published_with_is_told_by_name() {
    let (now, releases) = (templates(), ["2026.1".to_owned()]);
    assert!(now.contains_key("minimal/vienna-broker") && now.contains_key("everything/vienna-database"));
    assert_eq!(broken("", &[], &now), Vec::<String>::new());
    let missing = broken(
        "# a comment\n2025.9 minimal/vienna-broker v1-0\n",
        &releases,
        &now,
    );
    let [missing] = missing.as_slice() else {
        panic!("{missing:#?}")
    };
    let (_, lock) = missing.split_once('\n').unwrap();
    assert_eq!(lock.lines().count(), now.len());
    assert_eq!(broken(lock, &releases, &now), Vec::<String>::new());
    let mut changed = now;
    changed.insert("minimal/vienna-broker".into(), "v1-0".into());
    changed.remove("single/vienna-database");
    let told = broken(lock, &releases, &changed);
    assert_eq!(told.len(), 2, "{told:#?}");
    for (words, template) in told
        .iter()
        .zip(["minimal/vienna-broker", "single/vienna-database"])
    {
        assert!(
            words.starts_with(template) && words.contains("release 2026.1"),
            "{words}"
        );
    }
}
