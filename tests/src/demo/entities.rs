//! A small city as NGSI-LD entities: air quality stations, car parks with their spots, street lights.
//!
//! Types, attributes and words are those of the public Smart Data Models (subjects Environment, Parking, Streetlighting). The values are made
//! up by a seeded generator: the same seed and time give the same city, so what a query must find is computed here and compared.

use jiff::{SignedDuration, Timestamp, Unit};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::geography::Place;

/// Where the city is: the middle of Vienna.
pub const CENTRE: Place = Place {
    longitude: 16.3725,
    latitude: 48.2083,
};
/// Half the width of the city in degrees.
const REACH: (f64, f64) = (0.055, 0.035);

/// Type of an air quality station's observation.
pub const AIR_QUALITY: &str = "AirQualityObserved";
/// Type of a car park.
pub const CAR_PARK: &str = "OffStreetParking";
/// Type of one spot in a car park.
pub const SPOT: &str = "ParkingSpot";
/// Type of one lamp.
pub const STREET_LIGHT: &str = "Streetlight";

const STATIONS: usize = 60;
const CAR_PARKS: usize = 15;
const SPOTS_PER_CAR_PARK: usize = 8;
const STREETS: usize = 12;
const LIGHTS_PER_STREET: usize = 15;

const DISTRICTS: [&str; 10] = [
    "Innere Stadt",
    "Leopoldstadt",
    "Landstraße",
    "Wieden",
    "Margareten",
    "Mariahilf",
    "Neubau",
    "Josefstadt",
    "Alsergrund",
    "Favoriten",
];
const STREET_NAMES: [&str; STREETS] = [
    "Praterstraße",
    "Mariahilfer Straße",
    "Landstraßer Hauptstraße",
    "Wiedner Hauptstraße",
    "Burggasse",
    "Alser Straße",
    "Währinger Straße",
    "Favoritenstraße",
    "Rennweg",
    "Taborstraße",
    "Gumpendorfer Straße",
    "Josefstädter Straße",
];

/// One entity, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// The NGSI-LD entity, normalized.
    pub body: Value,
    /// What its `location` says.
    pub place: Place,
}

impl Entity {
    /// The entity's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.body.get("id").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is of this type.
    #[must_use]
    pub fn is_a(&self, name: &str) -> bool {
        self.body.get("type").and_then(Value::as_str) == Some(name)
    }

    /// The value of a property.
    #[must_use]
    pub fn value(&self, property: &str) -> Option<&Value> {
        self.body.get(property)?.get("value")
    }
}

/// The whole city: the same for the same seed and time.
#[must_use]
pub fn city(seed: u64, now: Timestamp) -> Vec<Entity> {
    let mut maker = Maker::new(seed, now);
    let mut entities: Vec<Entity> = (1..=STATIONS).map(|number| maker.station(number)).collect();
    for number in 1..=CAR_PARKS {
        entities.extend(maker.car_park(number));
    }
    for (number, street) in STREET_NAMES.into_iter().enumerate() {
        entities.extend(maker.street(number + 1, street));
    }
    entities
}

/// One more observation, as a station would send it; `number` makes its id.
#[must_use]
pub fn observation(name: &str, number: usize, now: Timestamp) -> Entity {
    let mut maker = Maker::new(u64::try_from(number).unwrap_or_default(), now);
    let place = maker.place();
    maker.air_quality(&format!("urn:ngsi-ld:{AIR_QUALITY}:{name}-{number:05}"), place)
}

struct Maker {
    random: StdRng,
    now: Timestamp,
}

impl Maker {
    /// Stations tell the time by the second.
    fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            now: now.round(Unit::Second).unwrap_or(now),
        }
    }

    fn place(&mut self) -> Place {
        CENTRE.moved(
            self.random.random_range(-REACH.0..REACH.0),
            self.random.random_range(-REACH.1..REACH.1),
        )
    }

    /// A measured value with one decimal.
    fn tenths(&mut self, from: f64, to: f64) -> f64 {
        (self.random.random_range(from..to) * 10.0).round() / 10.0
    }

    /// Some time within the last hour.
    fn recently(&mut self) -> Timestamp {
        let minutes = self.random.random_range(0..60);
        self.now
            .checked_sub(SignedDuration::from_mins(minutes))
            .unwrap_or(self.now)
    }

    fn station(&mut self, number: usize) -> Entity {
        let place = self.place();
        self.air_quality(&format!("urn:ngsi-ld:{AIR_QUALITY}:vienna-{number:03}"), place)
    }

    fn air_quality(&mut self, id: &str, place: Place) -> Entity {
        let observed_at = self.recently();
        // Micrograms per cubic metre and degrees, in the codes of UN/CEFACT, as the data model asks.
        let mut measured = |from, to, unit| json!({"type": "Property", "value": self.tenths(from, to), "unitCode": unit, "observedAt": observed_at});
        let body = json!({
            "id": id,
            "type": AIR_QUALITY,
            "dateObserved": date_time(observed_at),
            "location": location(place),
            "no2": measured(5.0, 80.0, "GQ"),
            "pm10": measured(4.0, 60.0, "GQ"),
            "pm25": measured(2.0, 35.0, "GQ"),
            "o3": measured(10.0, 140.0, "GQ"),
            "temperature": measured(-5.0, 32.0, "CEL"),
            "relativeHumidity": measured(0.3, 0.95, "C62"),
            "typeOfLocation": property("outdoor"),
            "areaServed": property(self.one_of(&DISTRICTS)),
        });
        Entity { body, place }
    }

    fn car_park(&mut self, number: usize) -> Vec<Entity> {
        let place = self.place();
        let id = format!("urn:ngsi-ld:{CAR_PARK}:vienna-{number:02}");
        let district = self.one_of(&DISTRICTS);
        let total = self.random.random_range(4..80) * 10;
        let available = self.random.random_range(0..=total);
        let body = json!({
            "id": id,
            "type": CAR_PARK,
            "name": property(format!("Garage {district} {number}")),
            "category": property(["public", "underground", "feeCharged"]),
            "allowedVehicleType": property(["car", "motorcycle"]),
            "totalSpotNumber": property(total),
            "availableSpotNumber": {"type": "Property", "value": available, "observedAt": self.recently()},
            "location": location(place),
        });
        let mut entities = vec![Entity { body, place }];
        for spot in 1..=SPOTS_PER_CAR_PARK {
            // A few metres from one to the next.
            let place = place.moved(0.00004 * whole(spot), 0.0);
            let status = self.one_of(&["free", "occupied", "occupied", "closed"]);
            let body = json!({
                "id": format!("urn:ngsi-ld:{SPOT}:vienna-{number:02}-{spot:02}"),
                "type": SPOT,
                "name": property(format!("{number}-{spot}")),
                "category": property(["offStreet"]),
                "status": {"type": "Property", "value": status, "observedAt": self.recently()},
                "refParkingSite": {"type": "Relationship", "object": id},
                "location": location(place),
            });
            entities.push(Entity { body, place });
        }
        entities
    }

    fn street(&mut self, number: usize, name: &str) -> Vec<Entity> {
        let start = self.place();
        let step = (
            self.random.random_range(-0.0004..0.0004),
            self.random.random_range(-0.0003..0.0003),
        );
        (1..=LIGHTS_PER_STREET)
            .map(|light| {
                let place = start.moved(step.0 * whole(light), step.1 * whole(light));
                let status = if self.random.random_bool(0.06) { "defectiveLamp" } else { "ok" };
                let on = status == "ok" && self.random.random_bool(0.7);
                let body = json!({
                    "id": format!("urn:ngsi-ld:{STREET_LIGHT}:vienna-{number:02}-{light:02}"),
                    "type": STREET_LIGHT,
                    "status": property(status),
                    "powerState": {"type": "Property", "value": if on { "on" } else { "off" }, "observedAt": self.recently()},
                    "illuminanceLevel": property(if on { self.tenths(0.3, 1.0) } else { 0.0 }),
                    "lanternHeight": {"type": "Property", "value": self.tenths(4.0, 12.0), "unitCode": "MTR"},
                    "locationCategory": property("facade"),
                    "areaServed": property(name),
                    "location": location(place),
                });
                Entity { body, place }
            })
            .collect()
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words.choose(&mut self.random).copied().unwrap_or_default()
    }
}

fn property(value: impl serde::Serialize) -> Value {
    json!({"type": "Property", "value": value})
}

fn date_time(at: Timestamp) -> Value {
    property(json!({"@type": "DateTime", "@value": at}))
}

fn location(place: Place) -> Value {
    json!({
        "type": "GeoProperty",
        "value": {"type": "Point", "coordinates": [place.longitude, place.latitude]},
    })
}

/// A small number as a factor.
fn whole(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn now() -> Timestamp {
        "2026-05-04T08:30:00Z".parse().unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_city_and_another_gives_another() {
        assert_eq!(city(7, now()), city(7, now()));
        assert_ne!(city(7, now()), city(8, now()));
    }

    #[test]
    fn a_city_has_a_few_hundred_entities_with_an_id_each() {
        let city = city(7, now());
        let ids: BTreeSet<_> = city.iter().map(Entity::id).collect();
        assert_eq!(ids.len(), city.len());
        assert_eq!(city.len(), 60 + 15 * 9 + 12 * 15);
        for (name, count) in [
            (AIR_QUALITY, 60),
            (CAR_PARK, 15),
            (SPOT, 120),
            (STREET_LIGHT, 180),
        ] {
            assert_eq!(
                city.iter().filter(|entity| entity.is_a(name)).count(),
                count,
                "{name}"
            );
        }
    }

    #[test]
    fn every_attribute_is_a_property_a_relationship_or_a_place() {
        for entity in city(7, now()) {
            let body = entity.body.as_object().unwrap();
            for (name, attribute) in body.iter().filter(|(name, _)| *name != "id" && *name != "type") {
                let member = match attribute["type"].as_str().unwrap() {
                    "Property" | "GeoProperty" => "value",
                    "Relationship" => "object",
                    other => panic!("{name} is a {other}"),
                };
                assert!(attribute.get(member).is_some(), "{name} of {}", entity.id());
            }
            assert_eq!(
                body["location"]["value"]["coordinates"],
                json!([entity.place.longitude, entity.place.latitude])
            );
        }
    }

    #[test]
    fn spots_belong_to_a_car_park_of_the_city() {
        let city = city(7, now());
        let parks: BTreeSet<_> = city.iter().filter(|e| e.is_a(CAR_PARK)).map(Entity::id).collect();
        for spot in city.iter().filter(|entity| entity.is_a(SPOT)) {
            assert!(parks.contains(spot.body["refParkingSite"]["object"].as_str().unwrap()));
        }
    }

    #[test]
    fn observations_differ_by_number_and_are_measured_within_the_hour() {
        let (one, two) = (observation("x", 1, now()), observation("x", 2, now()));
        assert_ne!(one.id(), two.id());
        assert_ne!(one.value("no2"), two.value("no2"));
        let at: Timestamp = one.body["no2"]["observedAt"].as_str().unwrap().parse().unwrap();
        assert!(at <= now() && at > now() - SignedDuration::from_hours(1));
    }
}
