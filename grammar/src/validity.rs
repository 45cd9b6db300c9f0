//! Whether predicates take a geometry as it is, in the plane: what PostGIS calls valid (OGC 06-103r4, 6.1.11).

use geo::algorithm::kernels::RobustKernel;
use geo::{Kernel as _, LineString, Orientation, Polygon, RemoveRepeatedPoints as _, Validation as _};

/// Whether predicates take a geometry as it is.
#[must_use]
pub fn is_valid(geometry: &geo::Geometry) -> bool {
    let is_plain = |polygon: &Polygon| {
        let mut rings = std::iter::once(polygon.exterior()).chain(polygon.interiors());
        rings.all(|ring| !turns_back(ring))
    };
    // The check of the crate is for what has an extent.
    match geometry {
        geo::Geometry::LineString(line) => has_extent(line),
        geo::Geometry::MultiLineString(several) => several.iter().all(has_extent),
        geo::Geometry::Polygon(polygon) => is_plain(polygon) && polygon.is_valid(),
        geo::Geometry::MultiPolygon(several) => several.iter().all(is_plain) && several.is_valid(),
        _ => true,
    }
}

/// Whether a line has more than one position.
#[must_use]
pub fn has_extent(line: &LineString) -> bool {
    line.0.iter().any(|position| Some(position) != line.0.first())
}

/// Whether a ring goes back somewhere on the line on which it came, which the check of the crate does not see.
#[must_use]
pub fn turns_back(ring: &LineString) -> bool {
    let LineString(mut corners) = ring.remove_repeated_points();
    corners.pop();
    let after = |n: usize| corners.iter().cycle().skip(n);
    let triples = after(0).zip(after(1)).zip(after(2)).take(corners.len());
    corners.len() < 3
        || triples.into_iter().any(|((before, at), next)| {
            let back = (before.x - at.x) * (next.x - at.x) + (before.y - at.y) * (next.y - at.y);
            back > 0.0 && RobustKernel::orient2d(*before, *at, *next) == Orientation::Collinear
        })
}
