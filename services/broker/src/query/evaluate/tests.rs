use super::*;
use crate::context::Context;
use crate::model::change;
use crate::model::json::Json;
use crate::model::read::{Nulls, Reader};
use crate::query::geo::{GeoQuery, GeoRelation};
use crate::query::{geo, q};
use jiff::Timestamp;
use proptest::prelude::*;

fn entity(document: &str) -> Entity {
    let json = Json::parse(document.as_bytes()).unwrap();
    let reader = Reader {
        context: &Context::core(),
        nulls: Nulls::Refused,
    };
    change::create(reader.entity(&json).unwrap(), Timestamp::UNIX_EPOCH)
}

fn by_q(text: &str) -> Prepared {
    let q = Some(q::parse(text, &Context::core()).unwrap());
    Prepared::of(&Selection {
        q,
        ..Selection::default()
    })
    .unwrap()
}

fn by_area(relation: &str, kind: &str, coordinates: &str) -> Result<Prepared, Refusal> {
    Prepared::of(&Selection {
        geo: geo::parse(
            Some(relation),
            Some(kind),
            Some(coordinates),
            None,
            &Context::core(),
        )?,
        ..Selection::default()
    })
}

#[test]
fn a_selection_of_nothing_in_particular_selects_all() {
    let entity = entity(r#"{"id":"urn:x:1","type":"T"}"#);
    let all = Prepared::of(&Selection::default()).unwrap();
    assert!(all.selects(&mut Subject::of(&entity)));
}

#[test]
fn one_subject_is_asked_by_many() {
    let entity = entity(
        r#"{"id":"urn:x:1","type":"T","n":5.0,"s":"abc","location":{"type":"Point","coordinates":[8,47]}}"#,
    );
    let mut subject = Subject::of(&entity);
    for (q, expected) in [
        ("n==5", true),
        ("n>5", false),
        ("s~=b.$", true),
        ("s~=^b", false),
        ("createdAt==1970-01-01T00:00:00Z", true),
        ("n.modifiedAt<1971-01-01T00:00:00Z", true),
        ("none", false),
    ] {
        assert_eq!(by_q(q).selects(&mut subject), expected, "{q}");
    }
    for (relation, expected) in [
        ("near;maxDistance==1", false),
        ("near;maxDistance==1200", true),
        ("near;minDistance==1", true),
    ] {
        let near = by_area(relation, "Point", "[8.01,47.005]").unwrap();
        assert_eq!(near.selects(&mut subject), expected, "{relation}");
    }
}

#[test]
fn ten_thousand_simple_selections_take_a_few_megabytes() {
    let simple = by_q("temperature>20");
    assert!(simple.weight() < 1024, "{}", simple.weight());
    let pattern = Selection {
        entities: vec![EntitySelector {
            id_pattern: Some(Pattern::new("^urn:ngsi-ld:Vehicle:[0-9]+$").unwrap()),
            ..EntitySelector::default()
        }],
        ..Selection::default()
    };
    let pattern = Prepared::of(&pattern).unwrap();
    assert!(pattern.weight() < 3072, "{}", pattern.weight());
}

#[test]
fn row_broker_an_area_that_cannot_be_repaired_is_refused_when_it_is_prepared() {
    let ring = |count: u32| {
        let jumps = (0..count).map(|n| format!("[{},{}]", n * 7919 % 101, n * 104_729 % 89));
        let jumps: Vec<String> = jumps.collect();
        format!("[[{},{}]]", jumps.join(","), jumps[0])
    };
    assert!(by_area("within", "Polygon", &ring(199)).is_ok());
    let Refusal(why) = by_area("within", "Polygon", &ring(200)).unwrap_err();
    assert!(why.contains("200 positions"), "{why}");
}

#[test]
fn a_line_of_ten_thousand_positions_is_measured_in_bounded_time() {
    let zigzag = |count: u32| {
        let positions =
            (0..count).map(|n| format!("[{},{}]", f64::from(n) / 1000.0, f64::from(n % 7) / 10.0));
        format!("[{}]", positions.collect::<Vec<_>>().join(","))
    };
    let line = format!(
        r#"{{"id":"urn:x:1","type":"T","location":{{"type":"LineString","coordinates":{}}}}}"#,
        zigzag(10_000)
    );
    let entity = entity(&line);
    let started = std::time::Instant::now();
    let near = by_area("near;maxDistance==1000", "LineString", &zigzag(1000)).unwrap();
    assert!(near.selects(&mut Subject::of(&entity)));
    let far = by_area("near;minDistance==1000", "Point", "[0,80]").unwrap();
    assert!(far.selects(&mut Subject::of(&entity)));
    let crossing = by_area("intersects", "LineString", &zigzag(1000)).unwrap();
    assert!(crossing.selects(&mut Subject::of(&entity)));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn row_broker_a_query_that_costs_too_much_selects_nothing_and_takes_bounded_time() {
    let items = vec!["1"; 200_000].join(",");
    let text = "ab".repeat(500_000);
    let entity = entity(&format!(
        r#"{{"id":"urn:x:1","type":"T","n":[{items}],"s":"{text}","m":1}}"#
    ));
    let values = (2..500).map(|n: u32| n.to_string()).collect::<Vec<_>>().join(",");
    let started = std::time::Instant::now();
    let mut subject = Subject::of(&entity);
    for q in [
        format!("n=={values}"),
        format!("n!={values}"),
        format!("m|n!={values}"),
        "s~=\"((a|b|c|d){1,30}){1,20}e\"".to_owned(),
        "s!~=\"((a|b|c|d){1,30}){1,20}e\"".to_owned(),
    ] {
        assert_eq!(by_q(&q).selects(&mut subject), q.starts_with("m|"), "{q:.20}");
    }
    assert!(subject.was_too_costly());
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    // What is asked next is not concerned.
    assert!(by_q("m==1").selects(&mut subject));
    let mut another = Subject::of(&entity);
    assert!(by_q("s~=\"^(ab)+$\";n!=2").selects(&mut another) && !another.was_too_costly());
}

#[test]
fn what_is_prepared_is_shared_by_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Prepared>();
    is_shared::<crate::query::index::Index<u64>>();
}

/// Positions that meet, nearly meet, or are anywhere.
fn position() -> impl Strategy<Value = (f64, f64)> {
    prop_oneof![
        3 => (0..4_i32, 0..4_i32).prop_map(|(x, y)| (f64::from(x), f64::from(y))),
        2 => (0..9_i32, 0..9_i32).prop_map(|(x, y)| (f64::from(x) * 0.1, f64::from(y) * 0.3)),
        1 => (0..4_i32, 0..4_i32).prop_map(|(x, y)| (f64::from(x) / 3.0, f64::from(x) * 0.7 / 3.0 + f64::from(y) * 1e-16)),
        1 => (-180.0..180.0, -90.0..90.0),
    ]
}

fn ring() -> impl Strategy<Value = Vec<(f64, f64)>> {
    proptest::collection::vec(position(), 3..8).prop_map(|mut ring| {
        ring.push(ring[0]);
        ring
    })
}

fn geometry() -> impl Strategy<Value = Geometry> {
    let line = || proptest::collection::vec(position(), 2..6);
    let rings = || proptest::collection::vec(ring(), 1..3);
    prop_oneof![
        position().prop_map(Geometry::Point),
        proptest::collection::vec(position(), 1..4).prop_map(Geometry::MultiPoint),
        line().prop_map(Geometry::LineString),
        proptest::collection::vec(line(), 1..4).prop_map(Geometry::MultiLineString),
        rings().prop_map(Geometry::Polygon),
        proptest::collection::vec(rings(), 1..4).prop_map(Geometry::MultiPolygon),
    ]
}

proptest! {
    #[test]
    fn row_broker_any_two_geometries_are_related_without_a_panic(given in geometry(), stored in geometry(), metres in 1.0..1e7) {
        let stored = Place::stored(&stored);
        for relation in [
            GeoRelation::Within(metres),
            GeoRelation::Beyond(metres),
            GeoRelation::Inside,
            GeoRelation::Contains,
            GeoRelation::Overlaps,
            GeoRelation::Intersects,
            GeoRelation::Equals,
            GeoRelation::Disjoint,
        ] {
            let query = GeoQuery { relation, geometry: given.clone(), property: String::new() };
            let _ = Area::of(&query).unwrap().is_met_by(&stored);
        }
    }
}
