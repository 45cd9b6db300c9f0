use super::*;
use crate::context::compile::Terms;
use crate::model::change::create;
use crate::model::read::{Nulls, Reader};
use crate::model::stored;
use crate::model::view::asked::Asked;
use crate::model::view::language::Languages;
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
    let shape = Shape {
        representation,
        sys_attrs,
        ..Shape::default()
    };
    let view = View::new(&context, &shape, false);
    let mut out = String::new();
    view.entity(&entity, &[shape.shown()], &mut out, &mut Unlinked);
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
fn what_cannot_be_sent_as_a_name_is_shown_as_its_iri() {
    let own = "https://uri.etsi.org/ngsi-ld/default-context/";
    let text = |member: &str| {
        format!(
            r#"{{"id":"urn:x:1","type":"{own}a-b","{own}c-d":{{"value":{{"{member}":1}},"{own}g-h":2}}}}"#
        )
    };
    let sent = text(&format!("{own}e-f"));
    assert_eq!(shown(&sent, Representation::Concise, false), text("e-f"));
}

#[test]
fn a_property_that_looks_like_a_geometry_keeps_its_type_when_concise() {
    let text =
        r#"{"id":"urn:x:1","type":"T","p":{"type":"Property","value":{"type":"Point","coordinates":[1,2]}}}"#;
    assert!(shown(text, Representation::Concise, false).contains("\"type\":\"Property\""));
}

fn asked(text: &str, asked: &Asked<'_>) -> String {
    let context = Context::core();
    let reader = Reader {
        context: &context,
        nulls: Nulls::Refused,
    };
    let fragment = reader.entity(&Json::parse(text.as_bytes()).unwrap()).unwrap();
    let entity = create(fragment, Timestamp::UNIX_EPOCH);
    let shape = Shape::of(asked, &context).unwrap();
    let view = View::new(&context, &shape, false);
    let mut out = String::new();
    let shown = [shape.shown()];
    assert_eq!(
        view.shows_something(&entity, &shown),
        {
            view.entity(&entity, &shown, &mut out, &mut Unlinked);
            out != "{}"
        },
        "{out}"
    );
    out
}

#[test]
fn a_text_of_several_languages_becomes_a_property_of_one() {
    const DOOR: &str = r#"{"id":"urn:x:1","type":"T","n":{"type":"LanguageProperty","languageMap":{"en":"door","fr":["porte","huis"]},"lang":"no","s":{"languageMap":{"fr":"x"}}}}"#;
    let filtered = |lang, representation| {
        asked(
            DOOR,
            &Asked {
                lang: Some(lang),
                representation,
                ..Asked::default()
            },
        )
    };
    assert_eq!(
        filtered("en", Representation::Normalized),
        r#"{"id":"urn:x:1","type":"T","n":{"type":"Property","value":"door","lang":"en","s":{"type":"Property","value":"x","lang":"fr"}}}"#
    );
    assert_eq!(
        filtered("fr-CA", Representation::Concise),
        r#"{"id":"urn:x:1","type":"T","n":{"value":["porte","huis"],"lang":"fr","s":{"value":"x","lang":"fr"}}}"#
    );
    assert_eq!(
        filtered("en", Representation::Simplified),
        r#"{"id":"urn:x:1","type":"T","n":"door"}"#
    );
}

#[test]
fn instances_of_other_datasets_are_left_out_and_attributes_with_no_instance_left() {
    const SEVERAL: &str = r#"{"id":"urn:x:1","type":"T","n":[{"value":1},{"value":2,"datasetId":"urn:d:2"},{"value":3,"datasetId":"urn:d:3"}],"m":{"value":4,"s":[{"value":5},{"value":6,"datasetId":"urn:d:2"}]}}"#;
    let of = |datasets: &[&'static str], pick: Option<&'static str>| {
        asked(
            SEVERAL,
            &Asked {
                datasets: Some(datasets.to_vec()),
                pick: pick.map(|text| vec![text]),
                representation: Representation::Simplified,
                ..Asked::default()
            },
        )
    };
    assert_eq!(of(&["@none"], None), r#"{"id":"urn:x:1","type":"T","m":4,"n":1}"#);
    assert_eq!(
        of(&["urn:d:2"], None),
        r#"{"id":"urn:x:1","type":"T","n":{"dataset":{"urn:d:2":2}}}"#
    );
    assert_eq!(
        of(&["@none", "urn:d:3"], Some("n")),
        r#"{"n":{"dataset":{"@none":1,"urn:d:3":3}}}"#
    );
    assert_eq!(of(&["urn:d:2"], Some("m")), "{}");
}

#[test]
fn members_are_picked_and_omitted() {
    let shown = |pick: Option<&'static str>, omit: Option<&'static str>| {
        asked(
            r#"{"id":"urn:x:1","type":"T","scope":"/a","p":{"value":1},"q":{"value":2}}"#,
            &Asked {
                pick: pick.map(|text| vec![text]),
                omit: omit.map(|text| vec![text]),
                representation: Representation::Concise,
                ..Asked::default()
            },
        )
    };
    assert_eq!(shown(Some("id,p"), None), r#"{"id":"urn:x:1","p":1}"#);
    assert_eq!(shown(Some("scope|q"), None), r#"{"scope":"/a","q":2}"#);
    assert_eq!(shown(None, Some("id,scope,p")), r#"{"type":"T","q":2}"#);
    assert_eq!(shown(Some("p,q"), Some("id")), r#"{"p":1,"q":2}"#);
    assert_eq!(shown(Some("none"), None), "{}");
    assert_eq!(shown(None, Some("id,type,scope,p,q")), "{}");
}

#[test]
fn an_attribute_called_as_linked_entities_are_stands_in_their_place() {
    struct Told(Vec<Place>);
    impl Links for Told {
        fn link(&mut self, link: &Link<'_>) {
            self.0.push(link.place.clone());
        }
    }
    let context = Context::core();
    let mut one = Instance::new(Kind::Relationship, Json::string("urn:x:2"));
    let shape = Shape::default();
    let view = View::new(&context, &shape, false);
    let places = |instance: &Instance| {
        let entity = Entity {
            id: "urn:x:1".to_owned(),
            types: vec!["urn:t".to_owned()],
            scope: Vec::new(),
            attributes: [("urn:r".to_owned(), vec![instance.clone()])].into(),
            created: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
        };
        let mut told = Told(Vec::new());
        view.entity(&entity, &[shape.shown()], &mut String::new(), &mut told);
        told.0.len()
    };
    assert_eq!(places(&one), 1);
    one.subs.insert(
        ENTITY.to_owned(),
        vec![Instance::new(Kind::Property, Json::Bool(true))],
    );
    assert_eq!(places(&one), 0);
}

/// Names that are up to mischief: those of core members, IRIs that look like compact ones, relative ones, separators.
const NAMES: [&str; 17] = [
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
    "lang",
    "entity",
    "https://uri.etsi.org/ngsi-ld/entityList",
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
    let with_languages =
        prop::collection::vec((pooled(&NAMES), Just(Json::string("v"))), 0..4).prop_map(|mut subs| {
            let map = vec![
                ("en".to_owned(), Json::string("v")),
                ("fr".to_owned(), Json::string("w")),
            ];
            subs.push(("languageMap".to_owned(), Json::Object(map)));
            Json::Object(subs)
        });
    let value = prop_oneof![value, with_subs, with_languages];
    prop::collection::vec((pooled(&NAMES), value), 1..4)
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
            let shape = Shape { representation, sys_attrs: true, languages: Languages::parse("fr").ok(), geometry: Some("urn:none".to_owned()), ..Shape::default() };
            let view = View::new(&read_in, &shape, true);
            for feature in [false, true] {
                let mut out = String::new();
                let shown = [shape.shown()];
                if feature { view.feature(&entity, &shown, &mut out, &mut Unlinked) } else { view.entity(&entity, &shown, &mut out, &mut Unlinked) }
                // The parser refuses an object that has a member twice.
                let shown = Json::parse(out.as_bytes());
                prop_assert!(shown.is_ok(), "{:?}: {}", shown, out);
                let shown = shown.unwrap();
                prop_assert_eq!(shown.get("id"), Some(&Json::string("urn:x:1")));
            }
        }
    }
}
