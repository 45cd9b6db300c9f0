use super::*;
use crate::images::lock::Locked;

fn package(name: &str, files: &[(&str, Entry)]) -> Package {
    let mut tree = Tree::default();
    for (path, entry) in files {
        tree.insert(path, entry.clone());
    }
    let copyright = format!("usr/share/doc/{name}/copyright");
    if tree.resolve(&copyright).is_none() && !files.iter().any(|(path, _)| path.ends_with(name)) {
        tree.insert(&copyright, Entry::file(*b"MIT", 1));
    }
    Package {
        locked: Locked {
            name: name.into(),
            version: "1".into(),
            sha256: "aa".into(),
        },
        architecture: "amd64".into(),
        control: format!("Package: {name}\n"),
        tree,
    }
}

fn base(text: &str) -> Base {
    serde_yaml::from_str(text).unwrap()
}

/// A real program: this test.
fn program() -> Entry {
    Entry::program(std::fs::read(std::env::current_exe().unwrap()).unwrap(), 1)
}

fn paths(selection: &Selection) -> Vec<&str> {
    selection
        .tree
        .iter()
        .filter(|(_, entry)| entry.node != Node::Folder)
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn what_is_kept_brings_its_links_its_licence_and_its_place_in_the_package_list() {
    let packages = [
        package(
            "a",
            &[
                ("usr/share/a/x", Entry::file(*b"x", 5)),
                ("usr/share/a/old/y", Entry::file(*b"y", 6)),
                ("usr/share/a/link", Entry::link("/usr/share/b/z", 5)),
                ("usr/share/a/nowhere", Entry::link("/etc/localtime", 5)),
            ],
        ),
        package(
            "b",
            &[
                ("usr/share/b/z", Entry::file(*b"z", 5)),
                ("usr/share/b/other", Entry::file(*b"o", 5)),
            ],
        ),
        package("unused", &[("usr/bin/unused", Entry::program(*b"u", 5))]),
    ];
    let recipe = base(
        "{packages: [a, b, unused], keep: [usr/share/a/], drop: [usr/share/a/old/], links: {usr/bin/sh: dash}}",
    );
    let selection = select(&recipe, &packages, "none").unwrap();
    assert_eq!(
        paths(&selection),
        [
            "bin",
            "usr/bin/sh",
            "usr/share/a/link",
            "usr/share/a/x",
            "usr/share/b/z",
            "usr/share/doc/a/copyright",
            "usr/share/doc/b/copyright",
            "var/lib/dpkg/status.d/a",
            "var/lib/dpkg/status.d/b",
        ]
    );
    assert_eq!(selection.used, BTreeSet::from([0, 1]));
}

#[test]
fn a_pattern_that_keeps_nothing_is_refused() {
    let packages = [package("a", &[("usr/share/a/x", Entry::file(*b"x", 5))])];
    let recipe = base("{packages: [a], keep: [usr/share/a]}");
    let error = select(&recipe, &packages, "none").unwrap_err().to_string();
    assert!(
        error.contains("usr/share/a is in none of the packages"),
        "{error}"
    );
}

#[test]
fn a_library_that_is_in_no_package_is_named_with_the_file_that_needs_it() {
    let packages = [package("a", &[("usr/bin/tool", program())])];
    let recipe = base("{packages: [a], keep: [usr/bin/tool]}");
    let error = select(&recipe, &packages, "none").unwrap_err().to_string();
    assert!(
        error.contains("needed by usr/bin/tool") && error.contains("add the package"),
        "{error}"
    );
}

#[test]
fn a_package_without_its_licence_is_refused() {
    let packages = [package(
        "a",
        &[
            ("usr/share/a/x", Entry::file(*b"x", 5)),
            ("usr/share/doc/a", Entry::link("of-another-package", 5)),
        ],
    )];
    let recipe = base("{packages: [a], keep: [usr/share/a/x]}");
    let error = select(&recipe, &packages, "none").unwrap_err().to_string();
    assert!(error.contains("usr/share/doc/a/copyright"), "{error}");
}

#[test]
fn setuid_bits_do_not_come_along() {
    let mut su = Entry::program(*b"su", 5);
    su.mode = 0o4755;
    let packages = [package("a", &[("usr/bin/su", su)])];
    let selection = select(&base("{packages: [a], keep: [usr/bin/su]}"), &packages, "none").unwrap();
    assert_eq!(selection.tree.get("usr/bin/su").unwrap().mode, 0o755);
}

#[test]
fn authorities_become_one_file_in_the_order_of_their_names() {
    let folder = "usr/share/ca-certificates/mozilla";
    let (second, first) = (format!("{folder}/B.crt"), format!("{folder}/A.crt"));
    let packages = [package(
        "ca-certificates",
        &[
            (&second, Entry::file(*b"B\n", 5)),
            (&first, Entry::file(*b"A", 5)),
        ],
    )];
    let recipe = "{packages: [ca-certificates], keep: [usr/share/doc/], caBundle: true}";
    let selection = select(&base(recipe), &packages, "none").unwrap();
    assert_eq!(selection.tree.bytes(CA_BUNDLE).unwrap().as_ref(), b"A\nB\n");
}

#[test]
fn a_program_linked_with_a_newer_glibc_than_the_base_has_is_refused() {
    let Node::File(bytes) = program().node else {
        panic!()
    };
    let links = elf::links("test", &bytes).unwrap();
    let mut libraries: Libraries = links
        .needed
        .iter()
        .map(|name| (name.clone(), BTreeSet::new()))
        .collect();
    for (library, versions) in &links.versions_needed {
        libraries
            .entry(library.clone())
            .or_default()
            .extend(versions.clone());
    }
    check_program("test", &bytes, &libraries, "slim").unwrap();

    let newest = links.versions_needed["libc.so.6"].last().unwrap().clone();
    libraries.get_mut("libc.so.6").unwrap().remove(&newest);
    let error = check_program("test", &bytes, &libraries, "slim")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&newest) && error.contains("build on Debian 12"),
        "{error}"
    );

    libraries.remove("libc.so.6");
    let error = check_program("test", &bytes, &libraries, "slim")
        .unwrap_err()
        .to_string();
    assert!(error.contains("libc.so.6 is needed by test"), "{error}");
}
