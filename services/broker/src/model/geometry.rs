//! GeoJSON geometries (RFC 7946), checked, and in the form that PostGIS reads.

use crate::model::json::Json;
use crate::model::values::shortened;
use crate::model::{Refusal, refuse};

/// Longitude and latitude in degrees. A third coordinate is kept in the entity and not searched.
pub type Position = (f64, f64);

/// A geometry. No GeometryCollection: NGSI-LD has none (clause 4.7.1).
#[derive(Clone, Debug, PartialEq)]
pub enum Geometry {
    /// One position.
    Point(Position),
    /// Some positions.
    MultiPoint(Vec<Position>),
    /// At least two positions.
    LineString(Vec<Position>),
    /// Some lines.
    MultiLineString(Vec<Vec<Position>>),
    /// Rings, each closed, the outer one first.
    Polygon(Vec<Vec<Position>>),
    /// Some polygons.
    MultiPolygon(Vec<Vec<Vec<Position>>>),
}

/// Names of the kinds (clause 4.7).
pub const NAMES: [&str; 6] = [
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
];

/// The most positions of one geometry: more than any outline or track that is worth one answer needs, and what predicates
/// of PostGIS do within the time of a statement.
pub const MAX_POSITIONS: usize = 10_000;

/// West, south, east, north in degrees.
pub type Bounds = [f64; 4];

/// Whether the text is the `type` of a geometry.
#[must_use]
pub fn is_geometry_type(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether the value has the shape of a GeoJSON geometry: an object with a geometry's type and coordinates.
pub fn looks_like_geometry(value: &Json) -> bool {
    value
        .get("type")
        .and_then(Json::as_str)
        .is_some_and(is_geometry_type)
        && value.get("coordinates").is_some()
}

impl Geometry {
    /// Reads a GeoJSON geometry object.
    pub fn of(value: &Json) -> Result<Self, Refusal> {
        let Json::Object(members) = value else {
            return refuse(format!("a GeoJSON geometry is an object, not {}", value.kind()));
        };
        if let Some((name, _)) = members
            .iter()
            .find(|(n, _)| !matches!(n.as_str(), "type" | "coordinates" | "bbox"))
        {
            return refuse(format!("a GeoJSON geometry has no member {:?}", shortened(name)));
        }
        let kind = value.get("type").and_then(Json::as_str);
        let coordinates = value.get("coordinates");
        match (kind, coordinates) {
            (Some(kind), Some(coordinates)) => Self::from_parts(kind, coordinates),
            _ => refuse("a GeoJSON geometry needs type and coordinates"),
        }
    }

    /// Reads coordinates of a named type of geometry, of at most [`MAX_POSITIONS`].
    pub fn from_parts(kind: &str, coordinates: &Json) -> Result<Self, Refusal> {
        let geometry = Self::any_from_parts(kind, coordinates)?;
        let positions = geometry.positions().len();
        if positions > MAX_POSITIONS {
            return refuse(format!(
                "a geometry of {positions} positions; at most {MAX_POSITIONS}"
            ));
        }
        Ok(geometry)
    }

    fn any_from_parts(kind: &str, coordinates: &Json) -> Result<Self, Refusal> {
        Ok(match kind {
            "Point" => Self::Point(position(coordinates)?),
            "MultiPoint" => Self::MultiPoint(list(coordinates, position)?),
            "LineString" => Self::LineString(line(coordinates)?),
            "MultiLineString" => Self::MultiLineString(list(coordinates, line)?),
            "Polygon" => Self::Polygon(list(coordinates, ring)?),
            "MultiPolygon" => Self::MultiPolygon(list(coordinates, |p| list(p, ring))?),
            other => {
                return refuse(format!(
                    "{:?} is no type of geometry; one of {}",
                    shortened(other),
                    NAMES.join(", ")
                ));
            }
        })
    }

    /// All positions, in order.
    #[must_use]
    pub fn positions(&self) -> Vec<&Position> {
        match self {
            Self::Point(p) => vec![p],
            Self::MultiPoint(ps) | Self::LineString(ps) => ps.iter().collect(),
            Self::MultiLineString(ls) | Self::Polygon(ls) => ls.iter().flatten().collect(),
            Self::MultiPolygon(ps) => ps.iter().flatten().flatten().collect(),
        }
    }

    /// The smallest box around it.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let start = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
        self.positions().into_iter().fold(start, |[w, s, e, n], (x, y)| {
            [w.min(*x), s.min(*y), e.max(*x), n.max(*y)]
        })
    }

    /// Extended well-known binary, little endian, with the reference system WGS 84 (4326).
    #[must_use]
    pub fn to_ewkb(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 16 * self.positions().len());
        self.put(&mut out, true);
        out
    }

    fn put(&self, out: &mut Vec<u8>, outermost: bool) {
        const WITH_REFERENCE_SYSTEM: u32 = 0x2000_0000;
        let code: u32 = match self {
            Self::Point(_) => 1,
            Self::LineString(_) => 2,
            Self::Polygon(_) => 3,
            Self::MultiPoint(_) => 4,
            Self::MultiLineString(_) => 5,
            Self::MultiPolygon(_) => 6,
        };
        out.push(1);
        out.extend(
            if outermost {
                code | WITH_REFERENCE_SYSTEM
            } else {
                code
            }
            .to_le_bytes(),
        );
        if outermost {
            out.extend(4326_u32.to_le_bytes());
        }
        match self {
            Self::Point(p) => put_position(out, p),
            Self::LineString(ps) => put_line(out, ps),
            Self::Polygon(rings) => {
                put_count(out, rings.len());
                for ring in rings {
                    put_line(out, ring);
                }
            }
            Self::MultiPoint(ps) => put_all(out, ps, |p| Self::Point(*p)),
            Self::MultiLineString(ls) => put_all(out, ls, |l| Self::LineString(l.clone())),
            Self::MultiPolygon(ps) => put_all(out, ps, |p| Self::Polygon(p.clone())),
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // The limit on a body keeps counts far below 2³².
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_position(out: &mut Vec<u8>, (x, y): &Position) {
    out.extend(x.to_le_bytes());
    out.extend(y.to_le_bytes());
}

fn put_line(out: &mut Vec<u8>, line: &[Position]) {
    put_count(out, line.len());
    for position in line {
        put_position(out, position);
    }
}

fn put_all<T>(out: &mut Vec<u8>, parts: &[T], geometry: impl Fn(&T) -> Geometry) {
    put_count(out, parts.len());
    for part in parts {
        geometry(part).put(out, false);
    }
}

fn list<T>(value: &Json, item: impl Fn(&Json) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
    match value {
        Json::Array(items) if !items.is_empty() => items.iter().map(item).collect(),
        Json::Array(_) => refuse("an empty array of coordinates"),
        other => refuse(format!(
            "coordinates that are {} where an array should be",
            other.kind()
        )),
    }
}

fn position(value: &Json) -> Result<Position, Refusal> {
    let Json::Array(numbers) = value else {
        return refuse(format!(
            "a position is an array of two numbers, not {}",
            value.kind()
        ));
    };
    let numbers: Option<Vec<f64>> = numbers.iter().map(Json::as_f64).collect();
    match numbers.as_deref() {
        Some([x, y] | [x, y, _]) if (-180.0..=180.0).contains(x) && (-90.0..=90.0).contains(y) => {
            Ok((*x, *y))
        }
        Some([x, y] | [x, y, _]) => refuse(format!(
            "the position [{x}, {y}] is not a longitude and a latitude"
        )),
        _ => refuse("a position is an array of two numbers, a third may follow"),
    }
}

fn line(value: &Json) -> Result<Vec<Position>, Refusal> {
    let positions = list(value, position)?;
    if positions.len() < 2 {
        return refuse("a line has at least two positions");
    }
    Ok(positions)
}

fn ring(value: &Json) -> Result<Vec<Position>, Refusal> {
    let positions = list(value, position)?;
    if positions.len() < 4 || positions.first() != positions.last() {
        return refuse("a ring of a polygon has at least four positions, and the last is the first");
    }
    Ok(positions)
}

/// Boxes that together hold everything within a distance of the given bounds; two where they cross the date line.
///
/// Never too small: the index finds what is in the boxes, the exact distance is asked of what it finds.
#[must_use]
pub fn boxes_around([west, south, east, north]: Bounds, metres: f64) -> Vec<Bounds> {
    // Below the least length of a degree of latitude, and of longitude times the cosine of the latitude, on WGS 84.
    const METRES_PER_DEGREE: f64 = 110_500.0;
    let up = metres / METRES_PER_DEGREE;
    let (south, north) = ((south - up).max(-90.0), (north + up).min(90.0));
    let farthest = south.abs().max(north.abs());
    let whole = vec![[-180.0, south, 180.0, north]];
    if farthest > 89.0 {
        return whole;
    }
    let aside = up / farthest.to_radians().cos() * 1.02;
    let (west, east) = (west - aside, east + aside);
    if east - west >= 360.0 {
        whole
    } else if west < -180.0 {
        vec![[west + 360.0, south, 180.0, north], [-180.0, south, east, north]]
    } else if east > 180.0 {
        vec![[west, south, 180.0, north], [-180.0, south, east - 360.0, north]]
    } else {
        vec![[west, south, east, north]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry(text: &str) -> Result<Geometry, Refusal> {
        Geometry::of(&Json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn geometries_are_read_and_written() {
        let point = geometry(r#"{"type":"Point","coordinates":[8.5,47.25,400]}"#).unwrap();
        assert_eq!(point, Geometry::Point((8.5, 47.25)));
        let ewkb = [
            1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x40, 0, 0, 0, 0, 0, 0xa0, 0x47, 0x40,
        ];
        assert_eq!(point.to_ewkb(), ewkb);
        assert!(geometry(r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]]]}"#).is_ok());
    }

    #[test]
    fn what_is_no_geometry_is_refused() {
        for bad in [
            r#"{"type":"Point"}"#,
            r#"{"type":"Point","coordinates":[]}"#,
            r#"{"type":"Point","coordinates":[1]}"#,
            r#"{"type":"Point","coordinates":[1,"2"]}"#,
            r#"{"type":"Point","coordinates":[181,0]}"#,
            r#"{"type":"Point","coordinates":[0,91]}"#,
            r#"{"type":"LineString","coordinates":[[0,0]]}"#,
            r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1]]]}"#,
            r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[2,2]]]}"#,
            r#"{"type":"GeometryCollection","coordinates":[]}"#,
            r#"{"type":"Point","coordinates":[0,0],"more":1}"#,
            "[]",
            "5",
        ] {
            assert!(geometry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_repeats_little_of_what_was_sent() {
        let long = "x".repeat(10_000);
        for bad in [
            format!(r#"{{"type":"{long}","coordinates":[0,0]}}"#),
            format!(r#"{{"type":"Point","coordinates":[0,0],"{long}":1}}"#),
        ] {
            let Refusal(why) = geometry(&bad).unwrap_err();
            assert!(why.len() < 300, "{why}");
        }
    }

    #[test]
    fn boxes_cross_the_date_line_and_cover_the_poles() {
        assert_eq!(boxes_around([179.9, 0.0, 179.9, 0.0], 50_000.0).len(), 2);
        assert_eq!(
            boxes_around([0.0, 89.5, 0.0, 89.5], 1.0),
            [[-180.0, 89.499_990_950_226_25, 180.0, 89.500_009_049_773_75]]
        );
        assert_eq!(boxes_around([0.0, 0.0, 0.0, 0.0], 1e9).len(), 1);
    }

    proptest! {
        #[test]
        fn a_point_within_the_distance_on_a_sphere_is_in_a_box(x in -180.0..180.0_f64, y in -90.0..90.0_f64, bearing in 0.0..std::f64::consts::TAU, metres in 1.0..2e6_f64) {
            // The point at this bearing, a little nearer than the distance, on a sphere of the mean radius.
            let angle = metres * 0.99 / 6_371_008.8;
            let (lat, lon) = (y.to_radians(), x.to_radians());
            let to_lat = (lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos()).clamp(-1.0, 1.0).asin();
            let to_lon = lon + (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * to_lat.sin());
            let to = ((to_lon.to_degrees() + 540.0).rem_euclid(360.0) - 180.0, to_lat.to_degrees());
            let found = boxes_around([x, y, x, y], metres).into_iter().any(|[w, s, e, n]| {
                (w - 1e-9..=e + 1e-9).contains(&to.0) && (s - 1e-9..=n + 1e-9).contains(&to.1)
            });
            prop_assert!(found, "{x} {y} {bearing} {metres} -> {to:?}");
        }
    }
}
