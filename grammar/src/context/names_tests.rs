use super::*;
use proptest::prelude::*;

fn context(terms: &[(&str, &str)], prefixes: &[&str]) -> Context {
    let iris = terms
        .iter()
        .map(|(t, i)| ((*t).to_owned(), (*i).to_owned()))
        .collect();
    Context::new(
        iris,
        &prefixes.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(),
        None,
    )
}

#[test]
fn names_without_a_term_get_the_default_vocabulary() {
    let core = Context::core();
    assert_eq!(
        core.expand("speed"),
        "https://uri.etsi.org/ngsi-ld/default-context/speed"
    );
    assert_eq!(
        core.compact("https://uri.etsi.org/ngsi-ld/default-context/speed"),
        "speed"
    );
    assert_eq!(core.expand("https://schema.org/name"), "https://schema.org/name");
    assert_eq!(core.compact("https://schema.org/name"), "https://schema.org/name");
}

#[test]
fn core_terms_cannot_be_redefined() {
    let context = context(
        &[
            ("location", "https://evil.example/location"),
            ("name", "https://schema.org/name"),
        ],
        &[],
    );
    assert_eq!(
        context.expand("location"),
        "https://uri.etsi.org/ngsi-ld/location"
    );
    assert_eq!(
        context.compact("https://evil.example/location"),
        "https://evil.example/location"
    );
    assert_eq!(context.expand("name"), "https://schema.org/name");
}

#[test]
fn a_suffix_that_means_something_else_becomes_a_compact_iri() {
    let context = context(&[("almostFull", "https://example.org/almostFull")], &[]);
    assert_eq!(
        context.compact("https://uri.etsi.org/ngsi-ld/default-context/almostFull"),
        "ngsi-ld:default-context/almostFull"
    );
    assert_eq!(
        context.expand("ngsi-ld:default-context/almostFull"),
        "https://uri.etsi.org/ngsi-ld/default-context/almostFull"
    );
}

#[test]
fn what_is_no_name_that_clients_may_send_is_called_by_its_iri() {
    let core = Context::core();
    let iri = |name: &str| format!("https://uri.etsi.org/ngsi-ld/default-context/{name}");
    for name in ["a-b", "a.b", "1a", "_a", ""] {
        assert_eq!(core.name(&iri(name)), iri(name));
    }
    assert_eq!(core.name(&iri("a_1")), "a_1");
    assert_eq!(core.name("https://uri.etsi.org/ngsi-ld/x-y"), "ngsi-ld:x-y");
}

#[test]
fn prefixes_expand_and_compact() {
    let context = context(&[("schema", "https://schema.org/")], &["schema"]);
    assert_eq!(context.expand("schema:name"), "https://schema.org/name");
    assert_eq!(context.compact("https://schema.org/name"), "schema:name");
    assert_eq!(context.expand("schema://name"), "schema://name");
}

proptest! {
    #[test]
    fn a_compacted_name_means_what_it_meant(
        name in "[a-z:/@.]{0,12}",
        terms in prop::collection::hash_map("[a-z]{1,4}", prop_oneof!["https://[a-c]{1,2}[/#]", "urn:[a-c]{1,2}:", "https://uri\\.etsi\\.org/ngsi-ld/default-context/[a-z]{1,3}"], 0..8),
    ) {
        let prefixes: Vec<String> = terms.keys().filter(|k| k.len() > 1).cloned().collect();
        let context = Context::new(terms, &prefixes, None);
        let iri = context.expand(&name).into_owned();
        let compact = context.compact(&iri).into_owned();
        prop_assert_eq!(context.expand(&compact).into_owned(), iri);
    }
}
