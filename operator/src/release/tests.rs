use std::path::Path;

use super::*;

fn digest(fill: char) -> String {
    format!("sha256:{}", fill.to_string().repeat(64))
}

fn entry(name: &str, postgresql: u32) -> String {
    format!(
        "  - name: {name:?}\n    postgresql: {postgresql}\n    images:\n      broker: {{repository: mim/broker, digest: \"{}\"}}\n      postgis: {{repository: mim/postgis, digest: \"{}\"}}\n",
        digest('a'),
        digest('b')
    )
}

fn catalogue() -> String {
    format!(
        "releases:\n{}{}{}",
        entry("2026.1", 15),
        entry("2026.2", 15),
        entry("2027.1", 17)
    )
}

#[test]
fn the_last_release_is_the_default_unless_the_file_says_otherwise() {
    let name = |text: &str| {
        Releases::parse(text, None)
            .unwrap()
            .preferred()
            .unwrap()
            .name
            .clone()
    };
    assert_eq!(name(&catalogue()), "2027.1");
    assert_eq!(name(&format!("default: \"2026.1\"\n{}", catalogue())), "2026.1");
}

#[test]
fn an_image_is_pulled_by_digest_from_the_registry_where_one_is_given() {
    for (registry, image) in [
        (None, format!("mim/broker@{}", digest('a'))),
        (Some(""), format!("mim/broker@{}", digest('a'))),
        (
            Some("registry.example.org:5000/mirror"),
            format!("registry.example.org:5000/mirror/mim/broker@{}", digest('a')),
        ),
    ] {
        let releases = Releases::parse(&catalogue(), registry).unwrap();
        assert_eq!(
            releases.image(releases.get("2026.1").unwrap(), Operand::Broker),
            image
        );
    }
}

#[test]
fn the_wanted_release_comes_before_the_recorded_one_and_that_before_the_default() {
    let releases = Releases::parse(&catalogue(), None).unwrap();
    for (wanted, recorded, chosen) in [
        (None, None, "2027.1"),
        (None, Some("2026.1"), "2026.1"),
        (Some("2026.2"), Some("2026.1"), "2026.2"),
        (Some("2026.1"), None, "2026.1"),
        (Some("2026.1"), Some("2026.1"), "2026.1"),
    ] {
        assert_eq!(releases.choose(wanted, recorded).unwrap().name, chosen);
    }
}

#[test]
fn a_release_that_is_not_there_is_named_with_those_that_are() {
    let releases = Releases::parse(&catalogue(), None).unwrap();
    let error = releases.choose(Some("2099.9"), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "release 2099.9 is not in this operator's catalogue; write one of 2026.1, 2026.2, 2027.1"
    );
    assert_eq!(error.reason(), mim_crds::Reason::ReleaseUnknown);
    assert!(
        releases.choose(None, Some("2020.1")).is_err(),
        "the release on record is gone"
    );
}

#[test]
fn a_step_over_a_major_version_is_refused_and_so_is_one_from_a_release_that_nobody_knows() {
    let releases = Releases::parse(&catalogue(), None).unwrap();
    for recorded in ["2026.1", "2020.1"] {
        let error = releases.choose(Some("2027.1"), Some(recorded)).unwrap_err();
        assert_eq!(error.reason(), mim_crds::Reason::ReleaseStepRefused, "{error}");
    }
}

#[test]
fn each_mistake_is_told_with_its_place_and_what_to_write() {
    let good = catalogue();
    let cases = [
        (
            good.replacen("sha256:aaaa", "sha256:AAAA", 1),
            "releases[0].images.broker.digest",
        ),
        (
            good.replacen("mim/postgis", "mim/postgis:latest", 1),
            "releases[0].images.postgis.repository",
        ),
        (
            good.replacen("mim/broker", "Mim/broker", 1),
            "releases[0].images.broker.repository",
        ),
        (good.replacen("\"2026.2\"", "\"2026.1\"", 1), "releases[1].name"),
        (good.replacen("\"2026.2\"", "\"-x\"", 1), "releases[1].name"),
        (
            good.replacen("postgresql: 17", "postgresql: 9", 1),
            "releases[2].postgresql",
        ),
        (good.replacen("broker:", "brocker:", 1), "releases[0].images"),
        (format!("default: nothing\n{good}"), "default"),
    ];
    for (text, place) in cases {
        match Releases::parse(&text, None) {
            Err(CatalogueError::Wrong { at, .. }) => assert_eq!(at, place),
            other => panic!("{place}: {other:?}"),
        }
    }
    assert!(matches!(
        Releases::parse("releases: []", None),
        Err(CatalogueError::Empty)
    ));
    assert!(matches!(
        Releases::parse("release: []", None),
        Err(CatalogueError::Shape(_))
    ));
    assert!(matches!(
        Releases::parse("- a", None),
        Err(CatalogueError::Shape(_))
    ));
    let missing = Releases::load(Path::new("/nonexistent/releases.yaml"), None).unwrap_err();
    assert!(missing.to_string().contains("--releases"), "{missing}");
}

#[test]
fn a_catalogue_for_a_newer_operator_may_name_more_operands() {
    let text = catalogue().replacen(
        "    images:\n",
        &format!(
            "    images:\n      gateway: {{repository: mim/gateway, digest: \"{}\"}}\n",
            digest('c')
        ),
        1,
    );
    assert!(Releases::parse(&text, None).is_ok());
}

#[test]
fn a_registry_is_a_host_a_port_and_a_path() {
    for good in [
        "localhost",
        "localhost:5000",
        "registry.example.org",
        "r.example.org:443/a/b-c",
    ] {
        assert!(Releases::parse(&catalogue(), Some(good)).is_ok(), "{good}");
    }
    for bad in [
        "https://r.example.org",
        "r.example.org/",
        "/a",
        "r:0",
        "r:x",
        "a b",
        "r/A",
        "-r",
    ] {
        assert!(
            matches!(
                Releases::parse(&catalogue(), Some(bad)),
                Err(CatalogueError::Registry(_))
            ),
            "{bad}"
        );
    }
}
