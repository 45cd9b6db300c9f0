//! Geo-queries.

use super::{assert_is_short, entity, joined, parameter, statement};
use crate::context::Context;
use crate::model::entity::{Entity, LOCATION};
use crate::model::geometry::{Geometry, Position};
use crate::query::Selection;
use crate::query::evaluate::{Prepared, Subject};
use crate::query::geo::{GeoQuery, GeoRelation, MAX_POSITIONS, parse};
use std::sync::LazyLock;

/// What is searched: geometries of every kind, one with rings that cross, one at the date line, one at a pole.
static ENTITIES: LazyLock<[Entity; 8]> = LazyLock::new(|| {
    [
        r#""Point","coordinates":[8,47]"#,
        r#""MultiPoint","coordinates":[[180,0],[-180,0],[0,90]]"#,
        r#""LineString","coordinates":[[0,0],[1,1],[1,0],[0,1]]"#,
        r#""MultiLineString","coordinates":[[[0,0],[4,0]],[[4,0],[4,4]]]"#,
        r#""Polygon","coordinates":[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[1,1],[2,1],[2,2],[1,1]]]"#,
        r#""Polygon","coordinates":[[[0,0],[4,4],[4,0],[0,4],[0,0]]]"#,
        r#""MultiPolygon","coordinates":[[[[179,-1],[180,-1],[180,1],[179,-1]]],[[[-180,-1],[-179,-1],[-179,1],[-180,-1]]]]"#,
        r#""Polygon","coordinates":[[[-180,89],[0,89],[180,89],[180,90],[-180,90],[-180,89]]]"#,
    ]
    .map(|geometry| {
        entity(&format!(
            r#"{{"id":"urn:x:1","type":"T","location":{{"type":{geometry}}}}}"#
        ))
    })
});

/// Holds of any text.
pub fn geo(text: &str) {
    let context = Context::core();
    let read = |georel: Option<&str>, coordinates: Option<&str>| {
        let [geometry, property] = ["geometry", "geoproperty"].map(|name| parameter(text, name));
        parse(georel, geometry, coordinates, property, &context)
    };
    match read(parameter(text, "georel"), parameter(text, "coordinates")) {
        Ok(Some(query)) => {
            assert!((1..=MAX_POSITIONS).contains(&query.geometry.positions().len()));
            let (georel, coordinates) = (written_relation(query.relation), written(&query.geometry));
            assert_eq!(read(Some(&georel), Some(&coordinates)), Ok(Some(query.clone())));
            reaches_the_database_as_parameters(&query);
            is_answered_without_contradiction(&query);
        }
        Ok(None) => {}
        Err(refusal) => assert_is_short(&refusal),
    }
}

/// The text of the statement tells no more than the relation, and whether what is near is beyond the date line.
fn reaches_the_database_as_parameters(query: &GeoQuery) {
    let text = |query: GeoQuery| {
        let selection = Selection {
            geo: Some(query),
            ..Selection::default()
        };
        statement(&selection).sql
    };
    let others = [(0.0, 0.0), (180.0, 0.0)].map(|position| {
        text(GeoQuery {
            relation: query.relation,
            geometry: Geometry::Point(position),
            property: "urn:masked".to_owned(),
        })
    });
    assert!(others.contains(&text(query.clone())), "{query:?}");
}

/// Relations between two geometries go together as their definitions say.
fn is_answered_without_contradiction(query: &GeoQuery) {
    let metres = match query.relation {
        GeoRelation::Within(metres) | GeoRelation::Beyond(metres) => metres,
        _ => 1000.0,
    };
    let prepared = |relation: GeoRelation| {
        let geo = GeoQuery {
            relation,
            property: LOCATION.to_owned(),
            ..query.clone()
        };
        Prepared::of(&Selection {
            geo: Some(geo),
            ..Selection::default()
        })
    };
    let near = [GeoRelation::Within(metres), GeoRelation::Beyond(metres)].map(prepared);
    let relations = [
        GeoRelation::Inside,
        GeoRelation::Contains,
        GeoRelation::Overlaps,
        GeoRelation::Intersects,
        GeoRelation::Equals,
        GeoRelation::Disjoint,
    ]
    .map(prepared);
    for entity in &*ENTITIES {
        let mut subject = Subject::of(entity);
        if let [Ok(within), Ok(beyond)] = &near {
            assert!(
                within.selects(&mut subject) || beyond.selects(&mut subject),
                "{query:?}"
            );
        }
        // Rings that cross may have too many positions to be put right.
        if let [
            Ok(inside),
            Ok(contains),
            Ok(overlaps),
            Ok(intersects),
            Ok(equals),
            Ok(disjoint),
        ] = &relations
        {
            let [inside, contains, overlaps, intersects, equals, disjoint] =
                [inside, contains, overlaps, intersects, equals, disjoint]
                    .map(|one| one.selects(&mut subject));
            let found = (inside, contains, overlaps, intersects, equals, disjoint);
            assert_ne!(disjoint, intersects, "{query:?} {found:?}");
            assert!(
                intersects || !(inside || contains || overlaps || equals),
                "{query:?} {found:?}"
            );
            assert!(!(overlaps && (inside || contains)), "{query:?} {found:?}");
            assert_eq!(equals, inside && contains, "{query:?} {found:?}");
        }
    }
}

fn written_relation(relation: GeoRelation) -> String {
    let name = match relation {
        GeoRelation::Within(metres) => return format!("near;maxDistance=={metres}"),
        GeoRelation::Beyond(metres) => return format!("near;minDistance=={metres}"),
        GeoRelation::Inside => "within",
        GeoRelation::Contains => "contains",
        GeoRelation::Overlaps => "overlaps",
        GeoRelation::Intersects => "intersects",
        GeoRelation::Equals => "equals",
        GeoRelation::Disjoint => "disjoint",
    };
    name.to_owned()
}

/// The coordinates.
fn written(geometry: &Geometry) -> String {
    let position = |(x, y): &Position| format!("[{x},{y}]");
    let line = |positions: &Vec<Position>| list(positions, position);
    let lines = |lines: &Vec<Vec<Position>>| list(lines, line);
    match geometry {
        Geometry::Point(at) => position(at),
        Geometry::MultiPoint(positions) | Geometry::LineString(positions) => line(positions),
        Geometry::MultiLineString(parts) | Geometry::Polygon(parts) => lines(parts),
        Geometry::MultiPolygon(polygons) => list(polygons, lines),
    }
}

fn list<T>(parts: &[T], written: impl Fn(&T) -> String) -> String {
    format!("[{}]", joined(parts, ",", written))
}
