//! Geo-queries (clause 4.10): `georel`, `geometry`, `coordinates`, `geoproperty`.

use crate::context::Context;
use crate::model::entity::LOCATION;
use crate::model::geometry::Geometry;
use crate::model::json::Json;
use crate::model::read::expanded_name;
use crate::model::{Refusal, refuse};

/// The most positions of a geometry to search with: it is compared with every entity that its box meets.
pub const MAX_POSITIONS: usize = 1000;

/// How an entity's geometry must relate to the given one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GeoRelation {
    /// At most so many metres away.
    Within(f64),
    /// At least so many metres away.
    Beyond(f64),
    /// Inside of it.
    Inside,
    /// Has it inside.
    Contains,
    /// Overlaps it.
    Overlaps,
    /// Has a point in common with it.
    Intersects,
    /// Is the same.
    Equals,
    /// Has no point in common with it.
    Disjoint,
}

/// One geo-query.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoQuery {
    /// The relation.
    pub relation: GeoRelation,
    /// The geometry to relate to.
    pub geometry: Geometry,
    /// The IRI of the attribute that is asked; an entity without it never matches.
    pub property: String,
}

/// Puts the parameters together. `Ok(None)` when none of the three is there.
pub fn parse(
    georel: Option<&str>,
    geometry: Option<&str>,
    coordinates: Option<&str>,
    geoproperty: Option<&str>,
    context: &Context,
) -> Result<Option<GeoQuery>, Refusal> {
    let (georel, geometry, coordinates) = match (georel, geometry, coordinates) {
        (Some(georel), Some(geometry), Some(coordinates)) => (georel, geometry, coordinates),
        (None, None, None) if geoproperty.is_none() => return Ok(None),
        _ => return refuse("georel, geometry and coordinates come together"),
    };
    let relation = relation(georel)?;
    let geometry = self::geometry(geometry, coordinates)
        .map_err(|Refusal(why)| Refusal(format!("coordinates: {why}")))?;
    let property = match geoproperty {
        None => LOCATION.to_owned(),
        Some(name) => expanded_name(context, name)?,
    };
    Ok(Some(GeoQuery {
        relation,
        geometry,
        property,
    }))
}

/// Reads a geometry to search with: its type, and its coordinates as JSON text.
pub fn geometry(kind: &str, coordinates: &str) -> Result<Geometry, Refusal> {
    let coordinates = Json::parse(coordinates.as_bytes()).map_err(|e| Refusal(e.to_string()))?;
    let geometry = Geometry::from_parts(kind, &coordinates)?;
    if geometry.positions().len() > MAX_POSITIONS {
        return refuse(format!(
            "a geometry to search with has at most {MAX_POSITIONS} positions"
        ));
    }
    Ok(geometry)
}

fn relation(text: &str) -> Result<GeoRelation, Refusal> {
    if let Some(rest) = text.strip_prefix("near") {
        let distance = |text: &str| text.parse::<f64>().ok().filter(|d| d.is_finite() && *d > 0.0);
        let near = if let Some(number) = rest.strip_prefix(";maxDistance==") {
            distance(number).map(GeoRelation::Within)
        } else {
            rest.strip_prefix(";minDistance==")
                .and_then(distance)
                .map(GeoRelation::Beyond)
        };
        return near.ok_or_else(|| {
            Refusal("georel: near needs ;maxDistance==N or ;minDistance==N, in metres, above 0".to_owned())
        });
    }
    Ok(match text {
        "within" => GeoRelation::Inside,
        "contains" => GeoRelation::Contains,
        "overlaps" => GeoRelation::Overlaps,
        "intersects" => GeoRelation::Intersects,
        "equals" => GeoRelation::Equals,
        "disjoint" => GeoRelation::Disjoint,
        other => {
            return refuse(format!(
                "georel: {:?} is no relation",
                other.chars().take(40).collect::<String>()
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geo(georel: &str, geometry: &str, coordinates: &str) -> Result<Option<GeoQuery>, Refusal> {
        parse(
            Some(georel),
            Some(geometry),
            Some(coordinates),
            None,
            &Context::core(),
        )
    }

    #[test]
    fn well_formed_queries_are_read() {
        let near = geo("near;maxDistance==360", "Point", "[8,40]").unwrap().unwrap();
        assert_eq!(
            (near.relation, near.property.as_str()),
            (GeoRelation::Within(360.0), LOCATION)
        );
        assert!(geo("within", "Polygon", "[[[0,0],[1,0],[1,1],[0,0]]]").is_ok());
        assert_eq!(parse(None, None, None, None, &Context::core()), Ok(None));
    }

    #[test]
    fn malformed_queries_are_refused() {
        for (georel, geometry, coordinates) in [
            ("near", "Point", "[8,40]"),
            ("near;maxDistance==0", "Point", "[8,40]"),
            ("near;maxDistance==-1", "Point", "[8,40]"),
            ("near;maxDistance==NaN", "Point", "[8,40]"),
            ("near;maxDistance==1e999", "Point", "[8,40]"),
            ("near;maxDistance=5", "Point", "[8,40]"),
            ("around", "Point", "[8,40]"),
            ("within", "GeometryCollection", "[]"),
            ("within", "Point", "8,40"),
            ("within", "Polygon", "[[0,0]]"),
        ] {
            assert!(
                geo(georel, geometry, coordinates).is_err(),
                "{georel} {geometry} {coordinates}"
            );
        }
        assert!(parse(Some("within"), None, None, None, &Context::core()).is_err());
        assert!(parse(None, None, None, Some("location"), &Context::core()).is_err());
    }
}
