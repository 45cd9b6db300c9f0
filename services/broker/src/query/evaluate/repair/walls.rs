//! Where the inside of polygons ends, whatever their rings do.

use geo::algorithm::kernels::RobustKernel;
use geo::line_intersection::line_intersection;
use geo::{Coord, Kernel as _, Line, LineIntersection, LineString, Orientation, Polygon};
use std::collections::{BTreeMap, HashSet};

/// An edge of a ring.
struct Edge {
    line: Line,
    ring: usize,
}

/// A part of edges that no other edge crosses or touches but at its ends; it goes up, or to the right where it is rather
/// level.
struct Piece {
    from: Coord,
    to: Coord,
    /// The edges that it is a part of, and whether they go in its direction.
    of: Vec<(usize, bool)>,
}

/// Polygons by the numbers of their rings.
struct Outline {
    outer: usize,
    holes: Vec<usize>,
    /// Inner rings that are not inside of the outer one.
    apart: Vec<usize>,
}

/// Pieces of the rings that have the inside on one side only, with that side to their left.
pub fn of(polygons: &[Polygon]) -> Vec<Line> {
    let mut edges = Vec::new();
    let mut outlines = Vec::new();
    let mut count = 0;
    for polygon in polygons {
        let mut number = |LineString(ring): &LineString| {
            let corners = ring.iter().zip(ring.iter().skip(1));
            let lines = corners.filter(|(a, b)| a != b).map(|(a, b)| Line::new(*a, *b));
            edges.extend(lines.map(|line| Edge { line, ring: count }));
            count += 1;
            count - 1
        };
        let outer = number(polygon.exterior());
        let inner: Vec<usize> = polygon.interiors().iter().map(number).collect();
        outlines.push((outer, inner));
    }
    let pieces = cut(&edges);
    let outlines: Vec<Outline> = outlines
        .into_iter()
        .map(|(outer, inner)| {
            let (holes, apart) = inner
                .into_iter()
                .partition(|ring| meet(*ring, outer, &edges, &pieces));
            Outline { outer, holes, apart }
        })
        .collect();
    let walls = pieces
        .iter()
        .filter_map(|piece| piece.wall(&edges, &outlines, count));
    walls.collect()
}

/// Whether what two rings go around has a point in common.
fn meet(one: usize, other: usize, edges: &[Edge], pieces: &[Piece]) -> bool {
    let corners = |ring: usize| {
        let pieces = pieces.iter().filter(move |piece| {
            let mut rings = piece.of.iter().filter_map(|(edge, _)| edges.get(*edge));
            rings.any(|edge| edge.ring == ring)
        });
        pieces.flat_map(|piece| [piece.from, piece.to])
    };
    let others: HashSet<[u64; 2]> = corners(other).map(bits).collect();
    let is_inside = |ring: usize, at: Option<Coord>| {
        at.is_some_and(|at| {
            winding(at, true, edges, &[])
                .get(&ring)
                .is_some_and(|turns| *turns != 0)
        })
    };
    // Where they cross or touch they have been cut, and share a corner.
    corners(one).any(|corner| others.contains(&bits(corner)))
        || is_inside(other, corners(one).next())
        || is_inside(one, corners(other).next())
}

/// Cuts edges where others cross or touch them.
fn cut(edges: &[Edge]) -> Vec<Piece> {
    let mut cuts: Vec<Vec<Coord>> = edges
        .iter()
        .map(|edge| vec![edge.line.start, edge.line.end])
        .collect();
    for (n, one) in edges.iter().enumerate() {
        for (m, other) in edges.iter().enumerate().skip(n + 1) {
            let common = match line_intersection(one.line, other.line) {
                None => continue,
                Some(LineIntersection::SinglePoint { intersection, .. }) => [intersection; 2],
                Some(LineIntersection::Collinear { intersection }) => [intersection.start, intersection.end],
            };
            for edge in [n, m] {
                cuts.get_mut(edge)
                    .into_iter()
                    .for_each(|cuts| cuts.extend(common));
            }
        }
    }
    let mut pieces: BTreeMap<[[u64; 2]; 2], Piece> = BTreeMap::new();
    for (n, (edge, mut cuts)) in edges.iter().zip(cuts).enumerate() {
        let Line { start, end } = edge.line;
        let along = |at: &Coord| (at.x - start.x) * (end.x - start.x) + (at.y - start.y) * (end.y - start.y);
        cuts.sort_by(|a, b| along(a).total_cmp(&along(b)));
        cuts.dedup();
        for (a, b) in cuts.iter().zip(cuts.iter().skip(1)) {
            let is_up = is_steep(*a, *b) && a.y < b.y || !is_steep(*a, *b) && a.x < b.x;
            let (from, to) = if is_up { (*a, *b) } else { (*b, *a) };
            let piece = pieces.entry([bits(from), bits(to)]).or_insert_with(|| Piece {
                from,
                to,
                of: Vec::new(),
            });
            piece.of.push((n, is_up));
        }
    }
    pieces.into_values().collect()
}

/// What positions are told apart by.
pub fn bits(at: Coord) -> [u64; 2] {
    // Two zeros are one.
    [at.x, at.y].map(|part| (part + 0.0).to_bits())
}

fn is_steep(a: Coord, b: Coord) -> bool {
    (b.y - a.y).abs() >= (b.x - a.x).abs()
}

impl Piece {
    /// The piece with the inside to its left, where the inside is on one side only.
    fn wall(&self, edges: &[Edge], outlines: &[Outline], rings: usize) -> Option<Line> {
        let is_steep = is_steep(self.from, self.to);
        let middle = Coord {
            x: self.from.x.midpoint(self.to.x),
            y: self.from.y.midpoint(self.to.y),
        };
        let of: Vec<usize> = self.of.iter().map(|(edge, _)| *edge).collect();
        let found = winding(middle, is_steep, edges, &of);
        let mut beyond = vec![0; rings];
        for (ring, turns) in found {
            beyond.get_mut(ring).into_iter().for_each(|all| *all = turns);
        }
        // Rays go to the right from steep pieces, so what is left of them also crosses the piece; and they go up from
        // others, so what is below does, in the other direction.
        let mut before = beyond.clone();
        for (edge, is_up) in &self.of {
            let ring = edges.get(*edge).map_or(usize::MAX, |edge| edge.ring);
            let turns = if *is_up == is_steep { 1 } else { -1 };
            before.get_mut(ring).into_iter().for_each(|all| *all += turns);
        }
        let is_inside = |turns: &[i32]| outlines.iter().any(|outline| outline.holds(turns));
        let (left, right) = if is_steep {
            (before, beyond)
        } else {
            (beyond, before)
        };
        match (is_inside(&left), is_inside(&right)) {
            (true, false) => Some(Line::new(self.from, self.to)),
            (false, true) => Some(Line::new(self.to, self.from)),
            _ => None,
        }
    }
}

impl Outline {
    /// Whether a place is inside around which the rings go so many times.
    fn holds(&self, turns: &[i32]) -> bool {
        let is_around = |ring: &usize| turns.get(*ring).is_some_and(|turns| *turns != 0);
        (is_around(&self.outer) && !self.holes.iter().any(is_around)) || self.apart.iter().any(is_around)
    }
}

/// How many times rings go around a position: counted on a ray to the right, or up; these edges are left out.
fn winding(at: Coord, to_the_right: bool, edges: &[Edge], without: &[usize]) -> BTreeMap<usize, i32> {
    let mut found = BTreeMap::new();
    for (n, edge) in edges.iter().enumerate() {
        let Line { start, end } = edge.line;
        // Where the edge begins and ends on the axis across the ray, and whether that goes around to the left.
        let (first, last, here) = if to_the_right {
            (start.y, end.y, at.y)
        } else {
            (end.x, start.x, at.x)
        };
        let (is_left, is_right) = (first <= here && here < last, last <= here && here < first);
        if !(is_left || is_right) || without.contains(&n) {
            continue;
        }
        let turns = match RobustKernel::orient2d(start, end, at) {
            Orientation::CounterClockwise if is_left => 1,
            Orientation::Clockwise if is_right => -1,
            _ => continue,
        };
        *found.entry(edge.ring).or_default() += turns;
    }
    found
}
