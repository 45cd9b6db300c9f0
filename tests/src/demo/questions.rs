//! What is asked of the city: by type, by attribute, by area. What must be found is computed from the entities that were loaded.

use http::{Method, StatusCode};
use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use super::entities::{AIR_QUALITY, CAR_PARK, CENTRE, Entity, SPOT, STREET_LIGHT};
use super::error::{Error, Result};
use super::http::Broker;

/// Radius of the query around the centre, in metres.
const NEAR: f64 = 2_000.0;
/// Half the width and height of the rectangle around the centre, in degrees.
const REACH: (f64, f64) = (0.02, 0.012);
/// A place that is closer than this part to the edge of a circle may be found or not: sphere and ellipsoid differ by so much.
const DOUBT: f64 = 0.006;
/// Entities in one batch.
const BATCH: usize = 100;

/// One query.
pub struct Question {
    /// In words.
    pub words: String,
    /// The query part of its URL.
    pub query: String,
    /// How many entities it must find: at least and at most.
    pub expected: (usize, usize),
}

/// Writes the entities in batches; each must be accepted whole.
pub async fn load(broker: &Broker, entities: &[Entity]) -> Result<()> {
    for batch in entities.chunks(BATCH) {
        let body = Value::Array(batch.iter().map(|entity| entity.body.clone()).collect());
        let path = "/ngsi-ld/v1/entityOperations/upsert";
        let answer = broker.send(Method::POST, path, Some(&body)).await?;
        if !matches!(answer.status, StatusCode::CREATED | StatusCode::NO_CONTENT) {
            return Err(Error::NoAnswer {
                request: format!("POST {path}"),
                reason: answer.to_string(),
            });
        }
    }
    Ok(())
}

/// The questions of the demo. Ids limit them to what was loaded, so that other runs' entities do not count.
#[must_use]
pub fn questions(entities: &[Entity]) -> Vec<Question> {
    let count = |wanted: &dyn Fn(&Entity) -> bool| entities.iter().filter(|entity| wanted(entity)).count();
    let number = |entity: &Entity, name: &str| entity.value(name).and_then(Value::as_f64).unwrap_or_default();
    let exactly = |words: String, query: String, found: usize| Question {
        words,
        query,
        expected: (found, found),
    };
    let mut all: Vec<Question> = [AIR_QUALITY, CAR_PARK, SPOT, STREET_LIGHT]
        .into_iter()
        .map(|name| {
            exactly(
                format!("type {name}"),
                format!("type={name}"),
                count(&|entity| entity.is_a(name)),
            )
        })
        .collect();
    all.push(exactly(
        "air with more than 40 µg/m³ of NO₂".to_owned(),
        format!("type={AIR_QUALITY}&q=no2%3E40"),
        count(&|entity| entity.is_a(AIR_QUALITY) && number(entity, "no2") > 40.0),
    ));
    all.push(exactly(
        "free parking spots".to_owned(),
        format!("type={SPOT}&q=status==%22free%22"),
        count(&|entity| entity.is_a(SPOT) && entity.value("status") == Some(&"free".into())),
    ));
    all.push(exactly(
        "broken street lights".to_owned(),
        format!("type={STREET_LIGHT}&q=status==%22defectiveLamp%22"),
        count(&|entity| entity.is_a(STREET_LIGHT) && entity.value("status") == Some(&"defectiveLamp".into())),
    ));
    let near =
        |entity: &Entity, radius: f64| entity.is_a(CAR_PARK) && entity.place.metres_to(CENTRE) <= radius;
    all.push(Question {
        words: "car parks within 2 km of the centre".to_owned(),
        query: format!(
            "type={CAR_PARK}&georel=near;maxDistance=={NEAR}&geometry=Point&coordinates=[{},{}]",
            CENTRE.longitude, CENTRE.latitude
        ),
        expected: (
            count(&|entity| near(entity, NEAR * (1.0 - DOUBT))),
            count(&|entity| near(entity, NEAR * (1.0 + DOUBT))),
        ),
    });
    all.push(exactly(
        "street lights in a rectangle around the centre".to_owned(),
        format!(
            "type={STREET_LIGHT}&georel=within&geometry=Polygon&coordinates={}",
            rectangle()
        ),
        count(&|entity| entity.is_a(STREET_LIGHT) && entity.place.within(CENTRE, REACH)),
    ));
    all
}

/// A parking spot that is not free.
pub fn a_spot_that_is_taken(entities: &[Entity]) -> Result<&Entity> {
    let taken = |entity: &&Entity| entity.is_a(SPOT) && entity.value("status") == Some(&"occupied".into());
    let none = || Error::Broken("every parking spot of the city is free: try another --seed".to_owned());
    entities.iter().find(taken).ok_or_else(none)
}

/// Writes that a spot is free now.
pub async fn set_free(broker: &Broker, spot: &Entity) -> Result<()> {
    let path = format!("/ngsi-ld/v1/entities/{}/attrs/status", spot.id());
    // NGSI-LD has at most microseconds (clause 4.6.3), this clock has more.
    let now = Timestamp::now();
    let now = now.round(Unit::Microsecond).unwrap_or(now);
    let body = json!({"type": "Property", "value": "free", "observedAt": now});
    broker
        .expect(StatusCode::NO_CONTENT, Method::PATCH, &path, Some(&body))
        .await
        .map(drop)
}

/// What a spot's status was and is, as the broker keeps it: the latest two, in the order of time.
pub async fn statuses(broker: &Broker, spot: &Entity) -> Result<Vec<String>> {
    let path = format!(
        "/ngsi-ld/v1/temporal/entities/{}?attrs=status&timeproperty=modifiedAt&lastN=2&options=temporalValues",
        spot.id()
    );
    let answer = broker.expect(StatusCode::OK, Method::GET, &path, None).await?;
    let pairs = answer.body.pointer("/status/values").and_then(Value::as_array);
    let mut values: Vec<(&str, &str)> = pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.get(1)?.as_str()?, pair.get(0)?.as_str()?)))
        .collect();
    // Times of one form sort as they are written.
    values.sort_unstable();
    let values: Vec<String> = values.into_iter().map(|(_, value)| value.to_owned()).collect();
    if values != ["occupied", "free"] {
        return Err(Error::Broken(format!(
            "{} was occupied and became free, but the broker tells {values:?} (GET {path})",
            spot.id()
        )));
    }
    Ok(values)
}

fn rectangle() -> String {
    let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)].map(|(east, north)| {
        let corner = CENTRE.moved(east * REACH.0, north * REACH.1);
        format!("[{},{}]", corner.longitude, corner.latitude)
    });
    format!("[[{}]]", corners.join(","))
}

impl Question {
    /// Asks, and returns how many were found; an error where that is not what was loaded.
    pub async fn ask(&self, broker: &Broker) -> Result<usize> {
        let path = format!(
            "/ngsi-ld/v1/entities?{}&idPattern=%5Eurn:ngsi-ld:[A-Za-z]%2B:vienna-&count=true&limit=1000",
            self.query
        );
        let answer = broker.expect(StatusCode::OK, Method::GET, &path, None).await?;
        let found = answer.body.as_array().map_or(0, Vec::len);
        let counted = answer
            .headers
            .get("NGSILD-Results-Count")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let (least, most) = self.expected;
        if counted != Some(found) || !(least..=most).contains(&found) {
            return Err(Error::Broken(format!(
                "{}: found {found} entities, the header says {counted:?}, {least} to {most} were loaded (GET {path})",
                self.words
            )));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::entities::city;

    #[test]
    fn every_question_finds_something_but_not_everything() {
        let city = city(7, "2026-05-04T08:30:00Z".parse().unwrap());
        let questions = questions(&city);
        assert_eq!(questions.len(), 9);
        for question in questions {
            let (least, most) = question.expected;
            assert!(
                least > 0 && most < city.len(),
                "{}: {least} to {most}",
                question.words
            );
        }
    }
}
