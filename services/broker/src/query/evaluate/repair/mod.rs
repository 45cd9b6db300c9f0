//! Geometries as `mim.searchable` makes them of what was sent.
//!
//! Boolean operations of the crate `geo` would do the same, but the crate beneath them leaves out bounds checks where it
//! trusts what it has computed before, which does not always hold for rings that nearly touch; these come from clients.
//!
//! * `walls`: cuts rings where they cross, and keeps the pieces that have the inside on one side only;
//! * `trace`: puts the pieces together to rings.

mod trace;
mod walls;

use geo::coordinate_position::{CoordPos, CoordinatePosition as _};
use geo::{Area as _, Coord, LineString, MultiLineString, MultiPolygon, Polygon};
use mim_grammar::validity::{has_extent, turns_back};

/// What `ST_MakeValid` with the method `structure` makes of a geometry: all that an outer ring goes around, in whatever
/// direction, without what its inner rings go around; an inner ring that is apart from it counts as an outer one. Lines
/// and rings without extent vanish.
pub fn repaired(geometry: geo::Geometry) -> geo::Geometry {
    let polygons = match &geometry {
        geo::Geometry::LineString(line) => return lines(std::slice::from_ref(line)),
        geo::Geometry::MultiLineString(several) => return lines(&several.0),
        geo::Geometry::Polygon(polygon) => std::slice::from_ref(polygon),
        geo::Geometry::MultiPolygon(several) => &several.0,
        _ => return geometry,
    };
    let rings = trace::rings(&walls::of(polygons));
    put_together(rings).into()
}

fn lines(lines: &[LineString]) -> geo::Geometry {
    MultiLineString(lines.iter().filter(|line| has_extent(line)).cloned().collect()).into()
}

/// Polygons of rings: those with the inside on their left are outer ones; the others are holes of the smallest outer one
/// that they are in.
fn put_together(rings: Vec<Vec<Coord>>) -> MultiPolygon {
    let rings = rings
        .into_iter()
        .map(|corners| Polygon::new(LineString(corners), Vec::new()));
    let rings = rings.filter(|ring| !turns_back(ring.exterior()));
    let (mut outer, inner): (Vec<_>, Vec<_>) = rings.partition(|ring| ring.signed_area() > 0.0);
    outer.sort_by(|a, b| a.unsigned_area().total_cmp(&b.unsigned_area()));
    for hole in inner {
        let (hole, _) = hole.into_inner();
        if let Some(around) = outer
            .iter_mut()
            .find(|polygon| is_around(polygon.exterior(), &hole))
        {
            around.interiors_push(hole);
        }
    }
    MultiPolygon(outer)
}

/// Whether a ring goes around another one that does not cross it.
fn is_around(outer: &LineString, inner: &LineString) -> bool {
    let around = Polygon::new(outer.clone(), Vec::new());
    let places = inner.0.iter().map(|corner| around.coordinate_position(corner));
    // A corner of the inner ring may lie on the outer one.
    let told = places.into_iter().find(|place| *place != CoordPos::OnBoundary);
    told == Some(CoordPos::Inside)
}
