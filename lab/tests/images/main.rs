//! The images as their users see them: archives, what stands in them, and that they start.
//!
//! The first of these tests builds the programs where they are not built yet.
//! `MIM_IMAGES_PROFILE` names another cargo profile than `release`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod container;
mod oci;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use container::Container;
use oci::Archive;
use serde_json::Value;

const IMAGES: [&str; 4] = ["broker", "mosquitto", "operator", "postgis"];

/// Runs `mim-lab images` into a folder, with a cache folder of its own if one is given.
fn build(out: &Path, cache: Option<&Path>, more: &[&str]) -> Output {
    let profile = std::env::var("MIM_IMAGES_PROFILE").unwrap_or_else(|_| "release".into());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mim-lab"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .arg("images")
        .arg("--out")
        .arg(out);
    command.args(["--profile", &profile]).args(more);
    if let Some(cache) = cache {
        command.env("XDG_CACHE_HOME", cache);
    }
    command.output().unwrap()
}

fn must_build(out: &Path, cache: Option<&Path>) {
    let output = build(out, cache, &[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A folder with all images, built once for this process.
fn images() -> &'static Path {
    // A failure is kept as well: building again for every test would only fail later.
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        let output = build(&out, None, &[]);
        if output.status.success() {
            Ok(out)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });
    built.as_deref().expect("images are built")
}

fn open(name: &str) -> Archive {
    Archive::read(&images().join(format!("{name}.tar")))
}

fn yaml(path: &Path) -> Value {
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Repository and digest of every image, operands and operator, as their files name them.
fn references(out: &Path) -> Vec<(String, String)> {
    let catalogue = yaml(&out.join("releases.yaml"));
    let releases = catalogue["releases"].as_array().unwrap();
    let newest = releases.last().unwrap()["images"].as_object().unwrap();
    let operator = yaml(&out.join("operator.yaml"))["image"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    newest
        .values()
        .chain([&operator])
        .map(|image| (text(&image["repository"]), text(&image["digest"])))
        .collect()
}

#[test]
fn an_image_built_twice_of_the_same_programs_has_the_same_digest() {
    // Another machine, as far as layers are concerned: an empty cache, so packages come from the mirror again. Programs take minutes, and are
    // built a second time by `make proof` (`mim-lab images --check`).
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("out");
    let cache = elsewhere.path().join("cache");
    must_build(&out, Some(&cache));
    assert_eq!(references(&out), references(images()));
    for name in IMAGES {
        let file = |out: &Path, ending: &str| fs::read(out.join(format!("{name}{ending}"))).unwrap();
        assert!(
            file(&out, ".tar") == file(images(), ".tar"),
            "archives of {name} differ"
        );
        assert!(
            file(&out, ".cdx.json") == file(images(), ".cdx.json"),
            "bills of materials of {name} differ"
        );
    }

    // A layer that was cut short is not taken for a whole one, nor is a damaged package.
    let bases = cache.join("mim-lab/images/bases");
    for entry in fs::read_dir(&bases).unwrap() {
        let layer = entry.unwrap().path().join("layer.tar.gz");
        let whole = fs::read(&layer).unwrap();
        fs::write(&layer, &whole[..whole.len() / 2]).unwrap();
    }
    must_build(&out, Some(&cache));
    assert_eq!(references(&out), references(images()));
    fs::remove_dir_all(&bases).unwrap();
    let package = fs::read_dir(cache.join("mim-lab/images/debs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(&package, "cut").unwrap();
    let refused = build(&out, Some(&cache), &[]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("is damaged") && said.contains("delete it"),
        "{said}"
    );
}

#[test]
fn the_catalogue_names_the_archives_by_digest() {
    let catalogue = yaml(&images().join("releases.yaml"));
    let release = catalogue["releases"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(release["name"], env!("CARGO_PKG_VERSION"));
    assert_eq!(release["postgresql"], 15);
    for name in ["broker", "postgis"] {
        assert_eq!(release["images"][name]["repository"], format!("mim/{name}"));
        assert_eq!(release["images"][name]["digest"], open(name).digest);
    }
    assert_eq!(
        release["images"].as_object().unwrap().len(),
        2,
        "operator and mosquitto are no operands"
    );
    for name in ["operator", "mosquitto"] {
        let values = yaml(&images().join(format!("{name}.yaml")));
        assert_eq!(values["image"]["repository"], format!("mim/{name}"));
        assert_eq!(values["image"]["digest"], open(name).digest);
    }
}

#[test]
fn every_blob_is_what_its_name_says_and_every_layer_unpacks_to_its_diff_id() {
    for name in IMAGES {
        open(name).verify();
    }
}

#[test]
fn an_import_knows_the_image_by_tag_and_by_digest_under_the_registry_of_the_lab() {
    for name in IMAGES {
        let archive = open(name);
        let repository = format!("{}/mim/{name}", mim_lab::images::LAB_REGISTRY);
        let expected = BTreeSet::from([
            format!("{repository}:{}", env!("CARGO_PKG_VERSION")),
            format!("{repository}@{}", archive.digest),
        ]);
        assert_eq!(archive.names, expected);
    }
}

#[test]
fn an_image_says_what_it_is_and_runs_as_a_numeric_user_who_is_not_root() {
    for (name, program, user) in [
        ("broker", "/usr/bin/mim-broker", "65532:65532"),
        ("mosquitto", "/usr/sbin/mosquitto", "65532:65532"),
        ("operator", "/usr/bin/mim-operator", "65532:65532"),
        ("postgis", "/usr/bin/mim-database", "999:999"),
    ] {
        let config = open(name).config;
        assert_eq!(config["os"], "linux");
        let run = &config["config"];
        assert_eq!(run["User"], user);
        assert_eq!(run["Entrypoint"], serde_json::json!([program]));
        assert_eq!(run["StopSignal"], "SIGTERM");
        let label = |key: &str| {
            run["Labels"][format!("org.opencontainers.image.{key}")]
                .as_str()
                .unwrap_or_default()
        };
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert!(
            label("licenses").contains("Apache-2.0"),
            "{name}: {}",
            label("licenses")
        );
        assert!(
            !label("title").is_empty() && !label("description").is_empty() && !label("created").is_empty()
        );
        let commit = label("revision").trim_end_matches("-dirty");
        assert!(
            commit.len() == 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit()),
            "{commit}"
        );
    }
}

#[test]
fn images_other_than_the_database_hold_no_shell_and_nothing_to_run_but_their_program() {
    for (name, program) in [
        ("broker", "usr/bin/mim-broker"),
        ("mosquitto", "usr/sbin/mosquitto"),
        ("operator", "usr/bin/mim-operator"),
    ] {
        let archive = open(name);
        let programs: Vec<&str> = archive
            .entries()
            .filter(|(path, entry)| entry.is_file && entry.mode & 0o111 != 0 && !path.starts_with("usr/lib/"))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(programs, [program]);
        for (path, _) in archive
            .entries()
            .filter(|(_, entry)| entry.is_file || entry.is_link)
        {
            let file = path.rsplit('/').next().unwrap();
            assert!(
                !["sh", "bash", "dash", "busybox", "perl", "apt", "dpkg"].contains(&file),
                "{path}"
            );
        }
        assert!(archive.bytes < 40 << 20, "{name} has {} bytes", archive.bytes);
    }
}

#[test]
fn nothing_in_an_image_changes_who_it_runs_as_and_only_named_folders_are_writable() {
    for name in IMAGES {
        for (path, entry) in open(name).entries() {
            assert_eq!(entry.mode & 0o6000, 0, "{name}: {path} is setuid or setgid");
            let ours = ["tmp", "run/postgresql", "var/lib/postgresql"].contains(&path);
            assert!(
                ours || entry.is_link || entry.mode & 0o022 == 0,
                "{name}: {path} has mode {:o}",
                entry.mode
            );
            assert!(ours || entry.uid == 0, "{name}: {path} belongs to {}", entry.uid);
        }
    }
}

#[test]
fn the_bill_of_materials_names_crates_and_packages_once_and_the_image_by_digest() {
    for (name, expected) in [
        ("broker", ["pkg:cargo/tokio@", "pkg:deb/debian/libc6@"]),
        (
            "mosquitto",
            ["pkg:deb/debian/mosquitto@", "pkg:deb/debian/libc6@"],
        ),
        (
            "operator",
            ["pkg:cargo/kube-client@", "pkg:deb/debian/ca-certificates@"],
        ),
        (
            "postgis",
            [
                "pkg:cargo/mim-database@",
                "pkg:deb/debian/postgresql-15-postgis-3@",
            ],
        ),
    ] {
        let text = fs::read_to_string(images().join(format!("{name}.cdx.json"))).unwrap();
        let bill: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(bill["bomFormat"], "CycloneDX");
        let components = bill["components"].as_array().unwrap();
        let names: Vec<&str> = components
            .iter()
            .map(|one| one["purl"].as_str().unwrap())
            .collect();
        for start in expected {
            assert!(
                names.iter().any(|name| name.starts_with(start)),
                "{name}: no {start}"
            );
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(
            !names.iter().any(|name| name.contains("serde_derive")),
            "a macro is not in the program"
        );
        let about = bill["metadata"]["component"]["purl"].as_str().unwrap();
        assert!(about.replace("%3A", ":").contains(&open(name).digest), "{about}");
        // Scanners that look into the image find the same packages.
        let archive = open(name);
        for package in components
            .iter()
            .filter(|one| one["purl"].as_str().unwrap().starts_with("pkg:deb/"))
        {
            let status = format!("var/lib/dpkg/status.d/{}", package["name"].as_str().unwrap());
            assert!(
                archive.entries().any(|(path, _)| path == status),
                "{name}: no {status}"
            );
        }
    }
}

#[test]
fn the_programs_start_under_the_restrictions_of_a_pod() {
    for (name, program) in [
        ("broker", "mim-broker"),
        ("operator", "mim-operator"),
        ("postgis", "mim-database"),
    ] {
        let container = Container::new(&open(name));
        let said = container.run(&[&format!("/usr/bin/{program}"), "--version"]);
        assert!(
            said.contains(env!("CARGO_PKG_VERSION")),
            "{program} said {said:?}"
        );
    }
}

#[test]
fn the_database_image_runs_postgis_in_c_utf8_as_uid_999() {
    let script = "set -e
        data=/var/lib/postgresql/15/data
        initdb --pgdata=$data --locale=C.UTF-8 --encoding=UTF8 --data-checksums --auth=peer >/tmp/initdb
        pg_ctl --pgdata=$data --wait --log=/tmp/log --options='-c listen_addresses= \
            -c unix_socket_directories=/run/postgresql' start >/tmp/start
        psql() { command psql --host=/run/postgresql --no-psqlrc --quiet --tuples-only --no-align postgres \"$@\"; }
        psql --command='create extension postgis; create extension postgis_topology; create extension pg_trgm'
        psql --command=\"select datcollate from pg_database where datname = 'postgres'\"
        psql --command=\"select lower('ÅÉ')\"
        psql --command='select round(st_x(st_transform(st_setsrid(st_makepoint(4.35, 50.85), 4326), 31370)))'
        psql --command=\"select '2026-07-01 12:00 Europe/Brussels'::timestamptz at time zone 'UTC'\"
        pg_dump --host=/run/postgresql --schema-only postgres >/tmp/dump
        pg_ctl --pgdata=$data --mode=fast --wait stop >/tmp/stop";
    let container = Container::new(&open("postgis"));
    let said = container.run(&["/bin/sh", "-c", script]);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["C.UTF-8", "åé", "148679", "2026-07-01 10:00:00"]
    );
}

#[test]
fn another_mirror_state_is_refused_when_exactly_the_locked_packages_are_wanted() {
    let elsewhere = tempfile::tempdir().unwrap();
    let workspace = oci::copy_of_workspace(elsewhere.path());
    let lock = fs::read_dir(workspace.join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "lock"))
        .expect("a lock of Debian packages");
    let text = fs::read_to_string(&lock).unwrap();
    let old: Vec<String> = text
        .lines()
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["libc6", _, sha256] => format!("libc6 2.36-1 {}", sha256.replace(['a', 'b', 'c'], "d")),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(&lock, old.join("\n")).unwrap();
    let out = elsewhere.path().join("out");
    let output = build(
        &out,
        None,
        &["--locked", "--workspace", workspace.to_str().unwrap()],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("instead of 2.36-1") && said.contains("--update-packages"),
        "{said}"
    );
    assert!(!out.exists());
}
