//! The entities of the benchmark: ten attributes each, of all that one usually sees, in the shape of a measuring station.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::http::write_request;
use crate::error::Error;
use crate::random::mixed;
use crate::report::count;

/// The type.
pub const KIND: &str = "AirQualityObserved";
/// How many entities a request of the load has, and how many of them are under way.
const BATCH: usize = 500;
const LOADERS: usize = 6;
/// Where all of them are: a degree from here, east and north.
const WEST: f64 = 10.0;
const SOUTH: f64 = 50.0;

/// The id of an entity.
#[must_use]
pub fn id(number: impl std::fmt::Display) -> String {
    format!("urn:ngsi-ld:{KIND}:{number}")
}

/// Where an entity is, by its number.
#[must_use]
pub fn place(number: u64) -> (f64, f64) {
    let part = |shift: u32| {
        let bits = u16::try_from(mixed(number) >> shift & 0xffff).unwrap_or_default();
        f64::from(bits) / 65536.0
    };
    (WEST + part(32), SOUTH + part(48))
}

/// Writes an entity. `level` is a number below 1,000, `quarter` one of 100 texts, `district` one of 5, `side` one of 2:
/// each is what it is by chance, and independent of the others, so that a query has the share of entities that it says.
pub fn write(out: &mut String, id: &str, number: u64) {
    use std::fmt::Write as _;
    let chance = mixed(number);
    let (longitude, latitude) = place(number);
    let mixed_again = mixed(chance);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        concat!(
            r#"{{"id":"{id}","type":"{kind}","#,
            r#""location":{{"type":"GeoProperty","value":{{"type":"Point","coordinates":[{longitude},{latitude}]}}}},"#,
            r#""quarter":{{"type":"Property","value":"q-{quarter:02}"}},"#,
            r#""district":{{"type":"Property","value":"d-{district}"}},"#,
            r#""side":{{"type":"Property","value":"{side}"}},"#,
            r#""level":{{"type":"Property","value":{level}}},"#,
            r#""temperature":{{"type":"Property","value":{temperature}.5,"unitCode":"CEL","observedAt":"2026-11-28T12:00:00Z"}},"#,
            r#""no2":{{"type":"Property","value":{no2},"unitCode":"GQ","observedAt":"2026-11-28T12:00:00Z"}},"#,
            r#""status":{{"type":"Property","value":"working"}},"#,
            r#""name":{{"type":"Property","value":"Station {number} by the river"}},"#,
            r#""refDevice":{{"type":"Relationship","object":"urn:ngsi-ld:Device:{device}"}}}}"#
        ),
        id = id,
        kind = KIND,
        longitude = longitude,
        latitude = latitude,
        quarter = mixed_again % 100,
        district = mixed_again / 100 % 5,
        side = if (mixed_again / 500).is_multiple_of(2) {
            "left"
        } else {
            "right"
        },
        level = mixed_again / 1000 % 1000,
        temperature = chance % 40,
        no2 = chance % 200,
        number = number,
        device = number / 10,
    );
}

/// Writes a list of entities with these numbers; `name` makes their ids.
pub fn write_all(out: &mut String, numbers: impl Iterator<Item = u64>, name: impl Fn(u64) -> String) {
    out.push('[');
    for number in numbers {
        if !out.ends_with('[') {
            out.push(',');
        }
        write(out, &name(number), number);
    }
    out.push(']');
}

/// Creates the first so many entities by batch upserts; entities per second.
pub fn load(at: SocketAddr, tenant: &str, entities: usize) -> Result<f64, Error> {
    let next = AtomicUsize::new(0);
    let batches = entities.div_ceil(BATCH);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..LOADERS.min(batches))
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = super::http::Connection::open(at).map_err(lost)?;
                    loop {
                        let batch = next.fetch_add(1, Ordering::Relaxed);
                        if batch >= batches {
                            return Ok(());
                        }
                        let numbers = batch * BATCH..entities.min((batch + 1) * BATCH);
                        let mut body = String::new();
                        write_all(&mut body, numbers.map(|number| number as u64), id);
                        let mut request = Vec::new();
                        write_request(&mut request, "POST", UPSERT, tenant, body.as_bytes());
                        let status = connection.call(&request).map_err(lost)?;
                        if status != 201 {
                            return Err(unexpected(UPSERT, status, connection.body()));
                        }
                    }
                })
            })
            .collect();
        loaders
            .into_iter()
            .try_for_each(|loader| loader.join().unwrap_or_else(|_| Err(panicked())))
    })?;
    Ok(count(entities) / started.elapsed().as_secs_f64())
}

/// Where batches go.
pub const UPSERT: &str = "/ngsi-ld/v1/entityOperations/upsert";

fn lost(source: std::io::Error) -> Error {
    Error::Connection {
        what: "the load of entities".to_owned(),
        source,
    }
}

fn panicked() -> Error {
    Error::Unexpected("the load of entities panicked".to_owned())
}

fn unexpected(target: &str, status: u16, body: &[u8]) -> Error {
    Error::Answer {
        method: "POST".to_owned(),
        target: target.to_owned(),
        status,
        body: String::from_utf8_lossy(body).chars().take(400).collect(),
    }
}

/// One request, whose answer must be a success.
pub fn call(at: SocketAddr, method: &str, target: &str, tenant: &str, body: &str) -> Result<Vec<u8>, Error> {
    let mut connection = super::http::Connection::open(at).map_err(lost)?;
    let mut request = Vec::new();
    write_request(&mut request, method, target, tenant, body.as_bytes());
    let status = connection.call(&request).map_err(lost)?;
    if (200..300).contains(&status) {
        return Ok(connection.body().to_vec());
    }
    Err(unexpected(target, status, connection.body()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_json_of_ten_attributes() {
        let mut text = String::new();
        write_all(&mut text, 0..3, id);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        for entity in read.as_array().unwrap() {
            assert_eq!(entity.as_object().unwrap().len(), 12);
        }
        assert_eq!(read[2]["id"], "urn:ngsi-ld:AirQualityObserved:2");
    }

    #[test]
    fn values_are_spread_as_they_are_said_to_be() {
        let mut low = 0;
        for number in 0..10_000 {
            let mut text = String::new();
            write(&mut text, "urn:x:1", number);
            let entity: serde_json::Value = serde_json::from_str(&text).unwrap();
            low += u32::from(entity["level"]["value"].as_u64().unwrap() < 100);
        }
        assert!((900..1100).contains(&low), "{low}");
    }
}
