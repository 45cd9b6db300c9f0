use super::*;
use crate::context::Context;
use crate::model::change;
use crate::model::read::{Nulls, Reader};
use crate::query::evaluate::Subject;
use crate::query::pattern::Pattern;
use crate::query::{EntitySelector, Selection, q, types};
use jiff::Timestamp;
use proptest::prelude::*;

fn iri(name: &str) -> String {
    Context::core().expand(name).into_owned()
}

fn entity(document: &str) -> Entity {
    let json = Json::parse(document.as_bytes()).unwrap();
    let reader = Reader {
        context: &Context::core(),
        nulls: Nulls::Refused,
    };
    change::create(reader.entity(&json).unwrap(), Timestamp::UNIX_EPOCH)
}

#[derive(Clone, Debug, Default)]
struct Asked {
    types: Option<String>,
    ids: Vec<String>,
    id_pattern: Option<String>,
    q: Option<String>,
    watched: Vec<String>,
}

impl Asked {
    fn prepared(&self) -> Prepared {
        let context = &Context::core();
        let types = self.types.as_ref();
        let one = EntitySelector {
            types: types.map(|text| types::parse(text, context).unwrap()),
            ids: self.ids.clone(),
            id_pattern: self.id_pattern.as_ref().map(|text| Pattern::new(text).unwrap()),
        };
        Prepared::of(&Selection {
            entities: vec![one],
            q: self.q.as_ref().map(|text| q::parse(text, context).unwrap()),
            ..Selection::default()
        })
        .unwrap()
    }
}

fn typed(q: &str) -> Asked {
    Asked {
        types: Some("T".to_owned()),
        q: Some(q.to_owned()),
        ..Asked::default()
    }
}

fn found(index: &Index<usize>, entity: &Entity, touched: &[&str]) -> Vec<usize> {
    let touched: Vec<String> = touched.iter().map(|name| iri(name)).collect();
    index
        .candidates(entity, touched.iter().map(String::as_str))
        .collect()
}

#[test]
fn a_write_meets_few_of_ten_thousand_selections_of_its_type() {
    let mut index = Index::default();
    for n in 0..10_000 {
        let mut asked = typed("n");
        match n % 3 {
            0 => asked.ids = vec![format!("urn:ngsi-ld:T:{n}")],
            1 => asked.id_pattern = Some(format!("^urn:ngsi-ld:T:{n}$")),
            _ => asked.q = Some(format!("n=={n}")),
        }
        index.insert(n, &asked.prepared(), &[]);
    }
    for n in 0..300 {
        let n = n * 31;
        let entity = entity(&format!(r#"{{"id":"urn:ngsi-ld:T:{n}","type":"T","n":{n}}}"#));
        let met = found(&index, &entity, &["n"]);
        assert_eq!(met, [n], "{n}");
    }
}

#[test]
fn numbers_meet_what_begins_below_and_ends_above() {
    let mut index = Index::default();
    for (n, q) in ["n>10", "n<=10", "n==5..15", "n==5.0,7", "m==1..2;n>0"]
        .into_iter()
        .enumerate()
    {
        index.insert(n, &typed(q).prepared(), &[]);
    }
    let met = |n: &str| {
        found(
            &index,
            &entity(&format!(r#"{{"id":"urn:x:1","type":"T","n":{n}}}"#)),
            &["n"],
        )
    };
    assert_eq!(met("12"), [0, 2]);
    assert_eq!(met("5e0"), [1, 2, 3]);
    assert_eq!(met("-3"), [1]);
    assert_eq!(met("\"5\""), [0; 0]);
}

#[test]
fn who_watches_attributes_is_met_when_one_of_them_is_touched() {
    let mut index = Index::default();
    let watched = [iri("a"), iri("b")];
    index.insert(1, &typed("n").prepared(), &watched);
    index.insert(2, &Asked::default().prepared(), &watched);
    index.insert(3, &typed("n").prepared(), &[]);
    index.insert(4, &Asked::default().prepared(), &[]);
    let ours = entity(r#"{"id":"urn:x:1","type":["T","U"],"n":1,"a":2}"#);
    assert_eq!(found(&index, &ours, &["a", "b"]), [1, 2, 3, 4]);
    // One that was deleted is touched, too.
    assert_eq!(found(&index, &ours, &["b"]), [1, 2, 3, 4]);
    assert_eq!(found(&index, &ours, &["n"]), [3, 4]);
    let other = entity(r#"{"id":"urn:x:1","type":"U","n":1,"a":2}"#);
    assert_eq!(found(&index, &other, &["a"]), [2, 4]);
}

#[test]
fn a_selection_in_place_of_another_forgets_it_and_nothing_is_left_in_the_end() {
    let mut index = Index::default();
    for q in ["n==1", "n>1", "n", "s==\"x\",\"y\""] {
        index.insert(1, &typed(q).prepared(), &[]);
        assert_eq!(index.len(), 1);
    }
    let pattern = Asked {
        id_pattern: Some("abc".to_owned()),
        ..Asked::default()
    };
    index.insert(2, &pattern.prepared(), &[]);
    assert_eq!(
        found(&index, &entity(r#"{"id":"urn:abc","type":"T","n":1}"#), &[]),
        [2]
    );
    index.remove(1);
    index.remove(2);
    index.remove(3);
    assert!(index.is_empty() && index.places.is_empty() && index.pieces.is_empty());
    assert!(index.numbers.is_empty() && index.valued.is_empty());
}

fn term() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        3 => "[0-3](\\.0)?",
        1 => "\"[xy]\"",
        1 => Just("true".to_owned()),
        1 => Just("2024-01-01".to_owned()),
        1 => Just("0..2".to_owned()),
    ];
    let single = "[0-3]|\"x\"";
    prop_oneof![
        ("[ab]", value.clone()).prop_map(|(name, value)| format!("{name}=={value}")),
        ("[ab]", value.clone(), value.clone())
            .prop_map(|(name, one, other)| format!("{name}=={one},{other}")),
        ("[ab]", value).prop_map(|(name, value)| format!("{name}!={value}")),
        ("[ab]", "[<>]=?", single).prop_map(|(name, operator, value)| format!("{name}{operator}{value}")),
        "[ab]",
        "[ab]\\.[ab]==1",
        Just("createdAt>1960-01-01T00:00:00Z".to_owned()),
    ]
}

fn query() -> impl Strategy<Value = String> {
    term().prop_recursive(2, 6, 3, |inner| {
        let several = proptest::collection::vec(inner, 1..3);
        (several, "[;|]").prop_map(|(parts, operator)| format!("({})", parts.join(&operator)))
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        proptest::option::of("[TU]|T,U|\\(T;U\\)|\\*"),
        proptest::collection::vec("urn:[xy]:[01]", 0..2),
        proptest::option::of("\\^?urn:x|x:[01]\\$|x|[xy]:1|urn:(x|y)"),
        proptest::option::of(query()),
        proptest::collection::vec("[abc]", 0..2),
    )
        .prop_map(|(types, ids, id_pattern, q, watched)| Asked {
            types,
            ids,
            id_pattern,
            q,
            watched: watched.iter().map(|name| iri(name)).collect(),
        })
}

fn document() -> impl Strategy<Value = String> {
    let value = || {
        prop_oneof![
            3 => "[0-3](\\.0)?",
            1 => "\"[xy]\"",
            1 => Just("true".to_owned()),
            1 => Just("[1,\"x\",[2]]".to_owned()),
            1 => Just("{\"@value\":\"2024-01-01\"}".to_owned()),
            1 => Just("{\"type\":\"Property\",\"value\":1,\"a\":1}".to_owned()),
        ]
    };
    (
        "urn:[xy]:[01]",
        "\"T\"|\"U\"|\\[\"T\",\"U\"\\]",
        value(),
        value(),
        any::<bool>(),
    )
        .prop_map(|(id, kind, a, b, both)| {
            let b = if both {
                format!(",\"b\":{b}")
            } else {
                String::new()
            };
            format!("{{\"id\":\"{id}\",\"type\":{kind},\"a\":{a}{b}}}")
        })
}

proptest! {
    #[test]
    fn who_selects_an_entity_is_among_the_candidates(
        all in proptest::collection::vec(asked(), 1..12),
        document in document(),
        touched in "[abc]",
        gone in 0..12_usize,
    ) {
        let entity = entity(&document);
        let mut index = Index::default();
        for (n, asked) in all.iter().enumerate() {
            index.insert(n, &asked.prepared(), &asked.watched);
        }
        index.remove(gone);
        let candidates = found(&index, &entity, &[&touched]);
        for (n, asked) in all.iter().enumerate().filter(|(n, _)| *n != gone) {
            let wanted = asked.watched.is_empty() || asked.watched.contains(&iri(&touched));
            if wanted && asked.prepared().selects(&mut Subject::of(&entity)) {
                prop_assert!(candidates.contains(&n), "{:?} {}", asked, document);
            }
        }
        prop_assert!(!candidates.contains(&gone));
        prop_assert!(candidates.is_sorted_by(|a, b| a < b));
    }
}
