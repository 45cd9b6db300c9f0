//! Areas of rules and places of entities, in the plane of longitude and latitude, as the broker and PostGIS compare
//! them. Nothing crosses the date line.

use crate::{Refused, refuse};
use geo::{
    BoundingRect as _, Coord, CoordsIter as _, Geometry, Intersects as _, LineString, MultiLineString,
    MultiPoint, MultiPolygon, Point, Polygon, Rect, Relate as _,
};
use mim_grammar::validity;
use serde_json::{Value, json};

/// The most positions of an area, and of a place that is compared here: as many as the broker searches with.
pub const MAX_POSITIONS: usize = 1000;

/// An area: a valid Polygon or MultiPolygon of at most [`MAX_POSITIONS`] positions, its border included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Area {
    geometry: Geometry,
    bounds: Rect,
}

impl Area {
    /// Reads GeoJSON (RFC 7946). Refused is what the broker would refuse or repair.
    pub fn of(value: &Value) -> Result<Self, Refused> {
        let (kind, coordinates) = members(value)?;
        let geometry: Geometry = match kind {
            "Polygon" => polygon(coordinates)?.into(),
            "MultiPolygon" => MultiPolygon(list(coordinates, polygon)?).into(),
            _ => return refuse("an area is a Polygon or a MultiPolygon"),
        };
        let geometry = checked(geometry)?;
        match geometry.bounding_rect() {
            Some(bounds) => Ok(Self { geometry, bounds }),
            None => refuse("an area has positions"),
        }
    }

    /// Whether no point of a place is outside of it.
    pub fn has(&self, place: &Place) -> bool {
        place.bounds.intersects(&self.bounds)
            && match &place.geometry {
                Geometry::Point(point) => self.geometry.intersects(point),
                geometry => geometry.relate(&self.geometry).is_coveredby(),
            }
    }

    /// As it travels: GeoJSON.
    pub fn to_json(&self) -> Value {
        let line = |line: &LineString| -> Value { line.coords().map(|at| json!([at.x, at.y])).collect() };
        let rings = |polygon: &Polygon| -> Value {
            let rings = std::iter::once(polygon.exterior()).chain(polygon.interiors());
            rings.map(line).collect()
        };
        match &self.geometry {
            Geometry::Polygon(polygon) => json!({"type": "Polygon", "coordinates": rings(polygon)}),
            Geometry::MultiPolygon(several) => {
                let all: Value = several.iter().map(rings).collect();
                json!({"type": "MultiPolygon", "coordinates": all})
            }
            // There is no other: see `of`.
            _ => Value::Null,
        }
    }
}

/// Where an entity is: a geometry that is compared as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    geometry: Geometry,
    bounds: Rect,
}

impl Place {
    /// Reads the value of a GeoProperty: GeoJSON (RFC 7946) without GeometryCollection. `None` where that is none, has more
    /// than [`MAX_POSITIONS`] positions, or is not valid, so that the broker repairs it: whose place it is, is then not
    /// known here.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let geometry = checked(geometry(value).ok()?).ok()?;
        let bounds = geometry.bounding_rect()?;
        Some(Self { geometry, bounds })
    }
}

fn checked(geometry: Geometry) -> Result<Geometry, Refused> {
    if geometry.coords_count() > MAX_POSITIONS {
        return refuse(format!("a geometry has at most {MAX_POSITIONS} positions here"));
    }
    if validity::is_valid(&geometry) {
        Ok(geometry)
    } else {
        refuse("rings cross, touch themselves, or lie on each other")
    }
}

fn geometry(value: &Value) -> Result<Geometry, Refused> {
    let (kind, coordinates) = members(value)?;
    Ok(match kind {
        "Point" => Point(position(coordinates)?).into(),
        "MultiPoint" => MultiPoint(list(coordinates, |at| position(at).map(Point))?).into(),
        "LineString" => line(coordinates)?.into(),
        "MultiLineString" => MultiLineString(list(coordinates, line)?).into(),
        "Polygon" => polygon(coordinates)?.into(),
        "MultiPolygon" => MultiPolygon(list(coordinates, polygon)?).into(),
        _ => return refuse("no type of geometry"),
    })
}

fn members(value: &Value) -> Result<(&str, &Value), Refused> {
    let members = value.as_object();
    let is_known = |name: &String| matches!(name.as_str(), "type" | "coordinates" | "bbox");
    let members = members.filter(|members| members.keys().all(is_known));
    let found = members.and_then(|of| Some((of.get("type")?.as_str()?, of.get("coordinates")?)));
    found.map_or_else(|| refuse("a geometry is an object with type and coordinates"), Ok)
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> Result<T, Refused>) -> Result<Vec<T>, Refused> {
    match value.as_array() {
        Some(items) if !items.is_empty() => items.iter().map(item).collect(),
        _ => refuse("coordinates are arrays that are not empty"),
    }
}

fn position(value: &Value) -> Result<Coord, Refused> {
    let numbers: Option<Vec<f64>> = value
        .as_array()
        .filter(|numbers| numbers.len() <= 3)
        .and_then(|numbers| numbers.iter().map(Value::as_f64).collect());
    match numbers.as_deref() {
        Some([x, y] | [x, y, _]) if (-180.0..=180.0).contains(x) && (-90.0..=90.0).contains(y) => {
            Ok(Coord { x: *x, y: *y })
        }
        _ => refuse("a position is a longitude and a latitude in degrees"),
    }
}

fn line(value: &Value) -> Result<LineString, Refused> {
    let positions = list(value, position)?;
    if positions.len() < 2 {
        return refuse("a line has at least two positions");
    }
    Ok(LineString(positions))
}

fn polygon(value: &Value) -> Result<Polygon, Refused> {
    let mut rings = list(value, ring)?.into_iter();
    let outer = rings.next().unwrap_or_else(|| LineString(Vec::new()));
    Ok(Polygon::new(outer, rings.collect()))
}

fn ring(value: &Value) -> Result<LineString, Refused> {
    let positions = list(value, position)?;
    if positions.len() < 4 || positions.first() != positions.last() {
        return refuse("a ring has at least four positions, and the last is the first");
    }
    Ok(LineString(positions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(west: f64, south: f64, side: f64) -> Value {
        let (east, north) = (west + side, south + side);
        json!({"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]})
    }

    fn has(area: &Value, place: &Value) -> bool {
        Area::of(area).unwrap().has(&Place::of(place).unwrap())
    }

    #[test]
    fn an_area_has_what_is_inside_and_on_its_border_and_nothing_that_leaves_it() {
        let area = square(0.0, 0.0, 2.0);
        for inside in [
            json!({"type": "Point", "coordinates": [1, 1]}),
            json!({"type": "Point", "coordinates": [2, 1, 400]}),
            json!({"type": "LineString", "coordinates": [[0, 0], [2, 2]]}),
            json!({"type": "MultiPoint", "coordinates": [[0, 0], [1, 2]]}),
            square(0.0, 0.0, 2.0),
        ] {
            assert!(has(&area, &inside), "{inside}");
        }
        for outside in [
            json!({"type": "Point", "coordinates": [3, 1]}),
            json!({"type": "LineString", "coordinates": [[1, 1], [3, 1]]}),
            json!({"type": "MultiPoint", "coordinates": [[1, 1], [3, 1]]}),
            square(1.0, 1.0, 2.0),
        ] {
            assert!(!has(&area, &outside), "{outside}");
        }
    }

    #[test]
    fn what_the_broker_would_refuse_or_repair_is_no_area() {
        for bad in [
            json!(null),
            json!({"type": "Point", "coordinates": [1, 1]}),
            json!({"type": "Polygon", "coordinates": []}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [181, 0], [1, 1], [0, 0]]]}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [1, 0], [0, 0]]]}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]], "crs": "x"}),
        ] {
            assert!(Area::of(&bad).is_err(), "{bad}");
        }
        let many: Vec<Value> = (0..=1000)
            .map(|n| json!([f64::from(n) / 10.0, f64::from(n * n) / 100_000.0]))
            .collect();
        let ring: Vec<Value> = many.iter().chain(many.first()).cloned().collect();
        assert!(Area::of(&json!({"type": "Polygon", "coordinates": [ring]})).is_err());
    }

    #[test]
    fn an_area_comes_back_from_its_json() {
        let area = Area::of(&square(8.5, 47.25, 0.125)).unwrap();
        assert_eq!(Area::of(&area.to_json()).unwrap(), area);
        let two = json!({"type": "MultiPolygon", "coordinates": [square(0.0, 0.0, 1.0)["coordinates"], square(2.0, 0.0, 1.0)["coordinates"]]});
        assert_eq!(
            Area::of(&two).unwrap().to_json()["coordinates"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
}
