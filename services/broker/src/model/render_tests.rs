use super::*;
use crate::context::compile::Terms;
use crate::model::change::create;
use crate::model::read::{Nulls, Reader};
use crate::model::stored;
use jiff::Timestamp;
use proptest::prelude::*;

fn shown(text: &str, representation: Representation, sys_attrs: bool) -> String {
    let context = Context::core();
    let json = Json::parse(text.as_bytes()).unwrap();
    let fragment = Reader {
        context: &context,
        nulls: Nulls::Refused,
    }
    .entity(&json)
    .unwrap();
    let entity = create(fragment, Timestamp::UNIX_EPOCH);
    let view = View {
        context: &context,
        representation,
        sys_attrs,
        only: None,
        with_context: false,
    };
    let mut out = String::new();
    view.entity(&entity, &mut out);
    out
}

const ROOM: &str = r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"],"p":{"type":"Property","value":1,"q":{"type":"Property","value":2}}}"#;

#[test]
fn system_times_are_inherited_by_what_has_none() {
    let text = shown(ROOM, Representation::Normalized, true);
    assert_eq!(
        text.matches("\"createdAt\":\"1970-01-01T00:00:00.000000Z\"")
            .count(),
        3
    );
    assert_eq!(
        text.matches("\"modifiedAt\":\"1970-01-01T00:00:00.000000Z\"")
            .count(),
        3
    );
    assert!(!shown(ROOM, Representation::Normalized, false).contains("createdAt"));
}

#[test]
fn representations_of_one_entity() {
    assert_eq!(
        shown(ROOM, Representation::Concise, false),
        r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"],"p":{"value":1,"q":2}}"#
    );
    assert_eq!(
        shown(ROOM, Representation::Simplified, false),
        r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"],"p":1}"#
    );
}

#[test]
fn a_property_that_looks_like_a_geometry_keeps_its_type_when_concise() {
    let text =
        r#"{"id":"urn:x:1","type":"T","p":{"type":"Property","value":{"type":"Point","coordinates":[1,2]}}}"#;
    assert!(shown(text, Representation::Concise, false).contains("\"type\":\"Property\""));
}

/// Names that are up to mischief: those of core members, IRIs that look like compact ones, relative ones, separators.
const NAMES: [&str; 14] = [
    "a",
    "x",
    "ex:a",
    "urn:a:a",
    "x",
    "ex:a",
    "urn:a:a",
    "scope",
    "createdAt",
    "unitCode",
    "https://uri.etsi.org/ngsi-ld/createdAt",
    "https://uri.etsi.org/ngsi-ld/hasValue",
    "https://uri.etsi.org/ngsi-ld/default-context/id",
    "https://uri.etsi.org/ngsi-ld/default-context/@id",
];
const TERMS: [&str; 8] = ["a", "x", "ex", "ex", "id", "type", "value", "urn:a:a"];
const IRIS: [&str; 14] = [
    "urn:a:",
    "urn:a:",
    "urn:a:",
    "urn:a:a",
    "ex:a",
    "ngsi-ld:scope",
    "https://uri.etsi.org/ngsi-ld/default-context/",
    "https://uri.etsi.org/ngsi-ld/default-context/id",
    "https://uri.etsi.org/ngsi-ld/hasValue",
    "https://b.example/",
    "id",
    "@type",
    "urn:a\u{1f}urn:b",
    "",
];

fn pooled(pool: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(pool).prop_map(str::to_owned)
}

fn any_context() -> impl Strategy<Value = Option<Context>> {
    let terms = prop::collection::vec((pooled(&TERMS), pooled(&IRIS)), 0..4);
    (terms, prop::option::weighted(0.3, pooled(&IRIS))).prop_map(|(terms, vocabulary)| {
        let members = terms
            .into_iter()
            .chain(vocabulary.map(|v| ("@vocab".to_owned(), v)));
        let members: Vec<_> = members.map(|(term, iri)| (term, Json::String(iri))).collect();
        let mut compiled = Terms::default();
        compiled.add(&members).ok()?;
        Some(Context::new(compiled.iris, &compiled.prefixes, None))
    })
}

fn any_members() -> impl Strategy<Value = Vec<(String, Json)>> {
    let value = (pooled(&NAMES), pooled(&NAMES)).prop_map(|(a, b)| {
        Json::Object(vec![(
            "value".to_owned(),
            Json::Object(vec![(a, Json::Bool(true)), (b, Json::Bool(false))]),
        )])
    });
    let with_subs =
        prop::collection::vec((pooled(&NAMES), Just(Json::string("v"))), 0..4).prop_map(|mut subs| {
            subs.push(("value".to_owned(), Json::string("v")));
            Json::Object(subs)
        });
    prop::collection::vec((pooled(&NAMES), prop_oneof![value, with_subs]), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_global_rejects: 100_000, ..ProptestConfig::default() })]
    #[test]
    fn no_answer_has_a_member_twice_and_nothing_accepted_is_lost(written_in in any_context(), read_in in any_context(), members in any_members()) {
        prop_assume!(written_in.is_some() && read_in.is_some());
        let (written_in, read_in) = (written_in.unwrap(), read_in.unwrap());
        let mut whole = vec![("id".to_owned(), Json::string("urn:x:1")), ("type".to_owned(), Json::string("T"))];
        whole.extend(members);
        let fragment = Reader { context: &written_in, nulls: Nulls::Refused }.entity(&Json::Object(whole));
        prop_assume!(fragment.is_ok());
        let entity = create(fragment.unwrap(), Timestamp::UNIX_EPOCH);
        let stored = stored::read(&stored::write(&entity.attributes).unwrap()).unwrap();
        prop_assert_eq!(&stored, &entity.attributes);
        for representation in [Representation::Normalized, Representation::Concise, Representation::Simplified] {
            let view = View { context: &read_in, representation, sys_attrs: true, only: None, with_context: true };
            for feature in [false, true] {
                let mut out = String::new();
                if feature { view.feature(&entity, "urn:none", &mut out) } else { view.entity(&entity, &mut out) }
                // The parser refuses an object that has a member twice.
                let shown = Json::parse(out.as_bytes());
                prop_assert!(shown.is_ok(), "{:?}: {}", shown, out);
                let shown = shown.unwrap();
                prop_assert_eq!(shown.get("id"), Some(&Json::string("urn:x:1")));
            }
        }
    }
}
