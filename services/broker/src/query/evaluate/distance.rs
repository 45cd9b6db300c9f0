//! Distances on the WGS 84 ellipsoid, as PostGIS measures them between geographies: edges are arcs of great circles of
//! a sphere; the two points that are nearest to each other there are measured on the ellipsoid.

use crate::query::evaluate::vector::Vector;
use geo::{Coord, Distance as _, Geodesic, LineString, Point};
use std::ops::{Add as _, Range};

/// A geometry as distances are measured: its corners as vectors, and its edges in small bundles with a ball around
/// each, so that most pairs of edges are never looked at.
#[derive(Debug)]
pub struct Shape {
    corners: Vec<Corner>,
    bundles: Vec<Bundle>,
    /// The corners of each ring, polygon by polygon.
    polygons: Vec<Vec<Range<usize>>>,
}

#[derive(Clone, Copy, Debug)]
struct Corner {
    at: Coord,
    vector: Vector,
}

/// Consecutive edges of one line or ring, or a single point.
#[derive(Debug)]
struct Bundle {
    corners: Range<usize>,
    centre: Vector,
    radius: f64,
}

/// How many edges a bundle has.
const BUNDLE: usize = 16;

impl Shape {
    /// How many bytes each position takes, nearly.
    pub const WEIGHT_OF_POSITION: usize = size_of::<Corner>() + size_of::<Bundle>() / BUNDLE;

    /// Of a geometry in degrees.
    #[must_use]
    pub fn of(geometry: &geo::Geometry) -> Self {
        let mut shape = Self {
            corners: Vec::with_capacity(geo::CoordsIter::coords_count(geometry)),
            bundles: Vec::new(),
            polygons: Vec::new(),
        };
        match geometry {
            geo::Geometry::Point(point) => shape.add_line(&[point.0]),
            geo::Geometry::MultiPoint(points) => points.iter().for_each(|point| shape.add_line(&[point.0])),
            geo::Geometry::LineString(line) => shape.add_line(&line.0),
            geo::Geometry::MultiLineString(lines) => lines.iter().for_each(|line| shape.add_line(&line.0)),
            geo::Geometry::Polygon(polygon) => shape.add_polygon(polygon),
            geo::Geometry::MultiPolygon(several) => {
                several.iter().for_each(|polygon| shape.add_polygon(polygon));
            }
            // The model has no other kinds.
            _ => {}
        }
        shape
    }

    fn add_polygon(&mut self, polygon: &geo::Polygon) {
        let inner = polygon.interiors().iter();
        let rings = std::iter::once(polygon.exterior()).chain(inner);
        let rings: Vec<_> = rings.map(|LineString(ring)| self.add(ring)).collect();
        self.polygons.push(rings);
    }

    fn add_line(&mut self, line: &[Coord]) {
        self.add(line);
    }

    fn add(&mut self, line: &[Coord]) -> Range<usize> {
        let first = self.corners.len();
        self.corners.extend(line.iter().map(|at| Corner {
            at: *at,
            vector: Vector::of(*at),
        }));
        let last = self.corners.len().saturating_sub(1);
        let mut from = first;
        while from <= last && from < self.corners.len() {
            // The last corner of a bundle is the first of the next.
            let to = (from + BUNDLE).min(last);
            self.bundle(from..to + 1);
            if to == last {
                break;
            }
            from = to;
        }
        first..self.corners.len()
    }

    fn bundle(&mut self, corners: Range<usize>) {
        let vectors = || {
            self.corners
                .get(corners.clone())
                .unwrap_or_default()
                .iter()
                .map(|c| c.vector)
        };
        let sum = vectors().fold(Vector::default(), Vector::add);
        let centre = sum.unit().unwrap_or(sum);
        let radius = vectors().map(|v| (v - centre).length()).fold(0.0, f64::max);
        // An arc between two corners stays within a cap that is smaller than a half sphere, and may leave a larger one.
        let radius = if radius < 1.4 { radius } else { 2.0 };
        self.bundles.push(Bundle {
            corners,
            centre,
            radius,
        });
    }

    fn corners(&self, range: &Range<usize>) -> &[Corner] {
        self.corners.get(range.clone()).unwrap_or_default()
    }

    fn edges(&self, bundle: &Bundle) -> impl Iterator<Item = (Corner, Corner)> {
        let corners = self.corners(&bundle.corners);
        let alone = match corners {
            [single] => Some((*single, *single)),
            _ => None,
        };
        let pairs = corners.iter().zip(corners.iter().skip(1)).map(|(a, b)| (*a, *b));
        pairs.chain(alone)
    }

    /// Whether some line, point or ring of the other begins inside of a polygon of this one.
    fn holds_some_of(&self, other: &Self) -> bool {
        let begins = || {
            other
                .bundles
                .iter()
                .filter_map(|b| other.corners.get(b.corners.start))
        };
        self.polygons
            .iter()
            .any(|rings| begins().any(|corner| self.is_inside(rings, corner)))
    }

    /// Whether a position is inside of a polygon: seen from the middle of the polygon, where arcs of great circles are
    /// straight lines, a ray from it crosses an odd number of edges.
    fn is_inside(&self, rings: &[Range<usize>], corner: &Corner) -> bool {
        let corners = || rings.iter().flat_map(|ring| self.corners(ring)).map(|c| c.vector);
        let middle = corners().fold(Vector::default(), Vector::add).unit();
        // What is a quarter of the globe away cannot be seen from there: such a polygon is taken as a plane one.
        let middle = middle.filter(|middle| corners().all(|corner| corner.dot(*middle) > 0.01));
        let view = middle.and_then(View::above).unwrap_or(View::Plane);
        let Some(point) = view.of(corner) else {
            return false;
        };
        let crossings = rings.iter().flat_map(|ring| {
            let corners = self.corners(ring);
            corners.iter().zip(corners.iter().skip(1))
        });
        let crossed = crossings.filter(|(a, b)| match (view.of(a), view.of(b)) {
            (Some(a), Some(b)) => is_crossed(point, a, b),
            _ => false,
        });
        crossed.count() % 2 == 1
    }
}

/// A way to look at the sphere as a plane.
enum View {
    /// From the centre of the sphere onto the plane that touches it in the middle.
    Central {
        middle: Vector,
        right: Vector,
        up: Vector,
    },
    /// Longitude and latitude.
    Plane,
}

impl View {
    /// From above this position; `None` where it is not one.
    fn above(middle: Vector) -> Option<Self> {
        let aside = if middle.dot(Vector::NORTH).abs() < 0.9 {
            Vector::NORTH
        } else {
            Vector::ORIGIN
        };
        let right = aside.cross(middle).unit()?;
        let up = middle.cross(right);
        Some(Self::Central { middle, right, up })
    }

    fn of(&self, corner: &Corner) -> Option<[f64; 2]> {
        match self {
            Self::Plane => Some([corner.at.x, corner.at.y]),
            Self::Central { middle, right, up } => {
                let towards = corner.vector.dot(*middle);
                let seen = [*right, *up].map(|axis| corner.vector.dot(axis) / towards);
                (towards > 0.0).then_some(seen)
            }
        }
    }
}

/// Whether a ray from the point in the direction of the first axis crosses the edge.
fn is_crossed([x, y]: [f64; 2], [ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> bool {
    (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax
}

/// How many metres are between two geometries; `None` where one of them is empty.
#[must_use]
pub fn metres_between(one: &Shape, other: &Shape) -> Option<f64> {
    if let ([a], [b]) = (one.corners.as_slice(), other.corners.as_slice()) {
        return Some(metres(a.at, b.at));
    }
    let mut nearest = Nearest::default();
    for ours in &one.bundles {
        for theirs in &other.bundles {
            let least = (ours.centre - theirs.centre).length() - ours.radius - theirs.radius;
            if least > nearest.away {
                continue;
            }
            for a in one.edges(ours) {
                for b in other.edges(theirs) {
                    nearest.look_at(a, b);
                }
            }
        }
    }
    let (a, b) = nearest.pair?;
    if one.holds_some_of(other) || other.holds_some_of(one) {
        return Some(0.0);
    }
    Some(metres(a, b))
}

fn metres(a: Coord, b: Coord) -> f64 {
    Geodesic.distance(Point(a), Point(b))
}

/// The nearest two points so far, and how far they are apart through the sphere.
struct Nearest {
    away: f64,
    pair: Option<(Coord, Coord)>,
}

impl Default for Nearest {
    fn default() -> Self {
        Self {
            away: f64::INFINITY,
            pair: None,
        }
    }
}

impl Nearest {
    fn look_at(&mut self, one: (Corner, Corner), other: (Corner, Corner)) {
        if cross_each_other(one, other) {
            self.away = 0.0;
            self.pair = Some((one.0.at, one.0.at));
            return;
        }
        for (corner, arc, turned) in [
            (one.0, other, false),
            (one.1, other, false),
            (other.0, one, true),
            (other.1, one, true),
        ] {
            let on_arc = nearest_on(arc, corner.vector);
            let away = (on_arc.vector - corner.vector).length();
            if away < self.away {
                self.away = away;
                let pair = (corner.at, on_arc.at);
                self.pair = Some(if turned { (pair.1, pair.0) } else { pair });
            }
        }
    }
}

/// Whether two arcs have a point in common that is an end of neither.
fn cross_each_other((a, b): (Corner, Corner), (c, d): (Corner, Corner)) -> bool {
    let (ab, cd) = (a.vector.cross(b.vector), c.vector.cross(d.vector));
    let sides = |normal: Vector, from: Corner, to: Corner| normal.dot(from.vector) * normal.dot(to.vector);
    if sides(ab, c, d) >= 0.0 || sides(cd, a, b) >= 0.0 {
        return false;
    }
    // The two great circles meet in two points opposite of each other; both arcs must go through the same.
    let meeting = ab.cross(cd);
    let half = |from: Corner, to: Corner| meeting.dot(from.vector + to.vector);
    half(a, b) * half(c, d) > 0.0
}

/// The point of an arc that is nearest to a position.
fn nearest_on((a, b): (Corner, Corner), to: Vector) -> Corner {
    if let Some(normal) = a.vector.cross(b.vector).unit() {
        let is_between = normal.cross(a.vector).dot(to) >= 0.0 && b.vector.cross(normal).dot(to) >= 0.0;
        let foot = (to - normal * to.dot(normal)).unit();
        if let (true, Some(vector)) = (is_between, foot) {
            return Corner {
                at: vector.coord(),
                vector,
            };
        }
    }
    if (a.vector - to).length() <= (b.vector - to).length() {
        a
    } else {
        b
    }
}
