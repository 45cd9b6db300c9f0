//! From walls to rings.

use crate::query::evaluate::repair::walls::bits;
use geo::{Coord, Line};
use std::collections::HashMap;

/// Follows walls, the inside to the left, to rings that touch themselves nowhere; the last corner of each is its first.
/// Walls that lead nowhere are left out.
pub fn rings(walls: &[Line]) -> Vec<Vec<Coord>> {
    let mut from: HashMap<[u64; 2], Vec<usize>> = HashMap::new();
    for (n, wall) in walls.iter().enumerate() {
        from.entry(bits(wall.start)).or_default().push(n);
    }
    let mut rings = Vec::new();
    for wall in walls {
        // Another path may have gone this way already.
        let is_open = from.get(&bits(wall.start)).is_some_and(|open| !open.is_empty());
        if is_open {
            follow(wall.start, walls, &mut from, &mut rings);
        }
    }
    rings
}

/// Follows walls from a corner until there is none that leads on.
fn follow(
    start: Coord,
    walls: &[Line],
    from: &mut HashMap<[u64; 2], Vec<usize>>,
    rings: &mut Vec<Vec<Coord>>,
) {
    let mut path = vec![start];
    while let Some(at) = path.last().copied() {
        let before = path.iter().rev().nth(1).copied();
        let Some(next) = take_next(before, at, walls, from) else {
            return;
        };
        path.push(next);
        // Where the path comes back to itself, a ring is closed.
        let again = path.iter().rev().skip(1).position(|corner| *corner == next);
        if let Some(steps) = again {
            let first = path.len() - 2 - steps;
            let ring = path.split_off(first);
            path.push(next);
            rings.push(ring);
        }
    }
}

/// Takes the wall that goes on from a corner with the narrowest inside between it and the wall on which one came.
fn take_next(
    before: Option<Coord>,
    at: Coord,
    walls: &[Line],
    from: &mut HashMap<[u64; 2], Vec<usize>>,
) -> Option<Coord> {
    let open = from.get_mut(&bits(at))?;
    let turned = |wall: usize| {
        let end = walls.get(wall).map_or(at, |wall| wall.end);
        before.map_or(0.0, |before| clockwise(at, before, end))
    };
    let narrowest = open
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| turned(**a).total_cmp(&turned(**b)));
    let (place, wall) = narrowest.map(|(place, wall)| (place, *wall))?;
    open.swap_remove(place);
    walls.get(wall).map(|wall| wall.end)
}

/// The angle by which one turns clockwise at a corner from the direction of one position to that of another.
fn clockwise(at: Coord, from: Coord, to: Coord) -> f64 {
    let angle = |other: Coord| (other.y - at.y).atan2(other.x - at.x);
    let turned = angle(from) - angle(to);
    let turned = turned.rem_euclid(std::f64::consts::TAU);
    // Straight back is a whole turn.
    if turned == 0.0 {
        std::f64::consts::TAU
    } else {
        turned
    }
}
