//! Geo-queries asked of an entity in memory, as PostGIS answers them: relations in the plane of longitude and latitude
//! between geometries that are valid, or were repaired as `mim.searchable` repairs them; distances on the ellipsoid.

use crate::model::geometry::{Bounds, Geometry, Position, boxes_around};
use crate::model::{Refusal, refuse};
use crate::query::evaluate::Subject;
use crate::query::evaluate::distance::{Shape, metres_between};
use crate::query::evaluate::repair::repaired;
use crate::query::geo::{GeoQuery, GeoRelation};
use geo::{
    BoundingRect as _, Coord, Intersects as _, LineString, MultiLineString, MultiPoint, MultiPolygon, Point,
    Polygon, Rect, Relate as _,
};
use mim_grammar::validity::is_valid;
use std::sync::OnceLock;

/// The most positions of a geometry that is repaired, as in the database.
const MAX_REPAIRED: usize = 200;

/// A geometry as it is searched.
#[derive(Debug)]
pub struct Place {
    geometry: geo::Geometry,
    /// The box around it; `None` where nothing of it was left by its repair.
    bounds: Option<Rect>,
    shape: OnceLock<Shape>,
}

impl Place {
    fn of(geometry: geo::Geometry) -> Self {
        Self {
            bounds: geometry.bounding_rect(),
            geometry,
            shape: OnceLock::new(),
        }
    }

    /// Of a geometry that the database has stored. One with more positions than are repaired is valid: the database
    /// would have refused it.
    #[must_use]
    pub fn stored(geometry: &Geometry) -> Self {
        let plane = in_plane(geometry);
        let is_small = geometry.positions().len() <= MAX_REPAIRED;
        Self::of(if is_small && !is_valid(&plane) {
            repaired(plane)
        } else {
            plane
        })
    }

    /// Of a geometry to search with.
    fn searched(geometry: &Geometry) -> Result<Self, Refusal> {
        let plane = in_plane(geometry);
        if is_valid(&plane) {
            return Ok(Self::of(plane));
        }
        let positions = geometry.positions().len();
        if positions > MAX_REPAIRED {
            return refuse(format!(
                "coordinates: a geometry whose rings cross may have {MAX_REPAIRED} positions; this one has {positions}"
            ));
        }
        Ok(Self::of(repaired(plane)))
    }

    /// As distances are measured.
    fn shape(&self) -> &Shape {
        self.shape.get_or_init(|| Shape::of(&self.geometry))
    }

    fn has_point_in_common_with(&self, other: &Self) -> bool {
        let (one, other) = (&self.geometry, &other.geometry);
        match (one, other) {
            (geo::Geometry::Point(_), _) | (_, geo::Geometry::Point(_)) => one.intersects(other),
            _ => one.relate(other).is_intersects(),
        }
    }

    /// Whether no point of it is outside of the other.
    fn is_covered_by(&self, other: &Self) -> bool {
        match &self.geometry {
            geo::Geometry::Point(point) => other.geometry.intersects(point),
            geometry => geometry.relate(&other.geometry).is_coveredby(),
        }
    }
}

/// What a geo-query asks for, prepared.
#[derive(Debug)]
pub struct Area {
    property: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    /// At most so many metres away. The boxes are what SQL looks into: they hold all that is so near.
    Near {
        from: Box<Place>,
        metres: f64,
        boxes: Vec<Bounds>,
    },
    /// At least so many metres away.
    Far { from: Box<Place>, metres: f64 },
    /// In a relation to a geometry.
    Relation { of: Relation, to: Box<Place> },
}

#[derive(Clone, Copy, Debug)]
enum Relation {
    Inside,
    Contains,
    Overlaps,
    Intersects,
    Equals,
    Disjoint,
}

impl Area {
    /// Prepares a geo-query.
    pub fn of(query: &GeoQuery) -> Result<Self, Refusal> {
        // Distances are measured from what was given, valid or not.
        let given = || Box::new(Place::of(in_plane(&query.geometry)));
        let relation = |of| {
            Ok(Test::Relation {
                of,
                to: Box::new(Place::searched(&query.geometry)?),
            })
        };
        let test = match query.relation {
            GeoRelation::Within(metres) => Test::Near {
                from: given(),
                metres,
                boxes: boxes_around(query.geometry.bounds(), metres),
            },
            GeoRelation::Beyond(metres) => Test::Far {
                from: given(),
                metres,
            },
            GeoRelation::Inside => relation(Relation::Inside)?,
            GeoRelation::Contains => relation(Relation::Contains)?,
            GeoRelation::Overlaps => relation(Relation::Overlaps)?,
            GeoRelation::Intersects => relation(Relation::Intersects)?,
            GeoRelation::Equals => relation(Relation::Equals)?,
            GeoRelation::Disjoint => relation(Relation::Disjoint)?,
        };
        Ok(Self {
            property: query.property.clone(),
            test,
        })
    }

    /// Whether some geometry of the attribute is as it is asked for.
    pub fn meets(&self, subject: &mut Subject) -> bool {
        subject
            .places(&self.property)
            .iter()
            .any(|place| self.is_met_by(place))
    }

    /// Whether a geometry is as it is asked for.
    #[must_use]
    pub fn is_met_by(&self, place: &Place) -> bool {
        self.test.meets(place)
    }

    /// How many bytes of memory it takes, nearly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let (place, of_position, boxes) = match &self.test {
            Test::Near { from, boxes, .. } => (from, Shape::WEIGHT_OF_POSITION, boxes.len()),
            Test::Far { from, .. } => (from, Shape::WEIGHT_OF_POSITION, 0),
            Test::Relation { to, .. } => (to, 0, 0),
        };
        let positions = geo::CoordsIter::coords_count(&place.geometry);
        size_of::<Self>()
            + size_of::<Place>()
            + self.property.len()
            + boxes * size_of::<Bounds>()
            + positions * (size_of::<Coord>() + of_position)
    }
}

impl Test {
    fn meets(&self, place: &Place) -> bool {
        match self {
            Self::Near { from, metres, boxes } => {
                place
                    .bounds
                    .is_some_and(|bounds| boxes.iter().any(|b| meet(&bounds, b)))
                    && metres_between(place.shape(), from.shape()).is_some_and(|away| away <= *metres)
            }
            Self::Far { from, metres } => {
                metres_between(place.shape(), from.shape()).is_some_and(|away| away >= *metres)
            }
            Self::Relation { of, to } => of.holds(place, to),
        }
    }
}

impl Relation {
    fn holds(self, place: &Place, area: &Place) -> bool {
        let (Some(bounds), Some(around)) = (place.bounds, area.bounds) else {
            // Where there is nothing, nothing is in common.
            return match self {
                Self::Disjoint => true,
                Self::Equals => place.bounds.is_none() && area.bounds.is_none(),
                _ => false,
            };
        };
        let meet = bounds.intersects(&around);
        match self {
            Self::Inside => meet && place.is_covered_by(area),
            Self::Contains => meet && area.is_covered_by(place),
            Self::Overlaps => meet && place.geometry.relate(&area.geometry).is_overlaps(),
            Self::Intersects => meet && place.has_point_in_common_with(area),
            Self::Equals => meet && place.geometry.relate(&area.geometry).is_equal_topo(),
            Self::Disjoint => !(meet && place.has_point_in_common_with(area)),
        }
    }
}

fn meet(bounds: &Rect, [west, south, east, north]: &Bounds) -> bool {
    let (min, max) = (bounds.min(), bounds.max());
    min.x <= *east && max.x >= *west && min.y <= *north && max.y >= *south
}

/// A geometry in the plane of longitude and latitude.
fn in_plane(geometry: &Geometry) -> geo::Geometry {
    let coord = |(x, y): &Position| Coord { x: *x, y: *y };
    let line = |positions: &Vec<Position>| LineString(positions.iter().map(coord).collect());
    let polygon = |rings: &Vec<Vec<Position>>| {
        let mut rings = rings.iter().map(line);
        let outer = rings.next().unwrap_or_else(|| LineString(Vec::new()));
        Polygon::new(outer, rings.collect())
    };
    match geometry {
        Geometry::Point(position) => Point(coord(position)).into(),
        Geometry::MultiPoint(positions) => {
            MultiPoint(positions.iter().map(|p| Point(coord(p))).collect()).into()
        }
        Geometry::LineString(positions) => line(positions).into(),
        Geometry::MultiLineString(lines) => MultiLineString(lines.iter().map(line).collect()).into(),
        Geometry::Polygon(rings) => polygon(rings).into(),
        Geometry::MultiPolygon(polygons) => MultiPolygon(polygons.iter().map(polygon).collect()).into(),
    }
}
