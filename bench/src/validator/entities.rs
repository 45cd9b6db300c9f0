//! Normalized entities of models, of which every tenth has a value that its model does not let in.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::models::{Model, member_of};
use crate::error::Error;
use crate::random::Random;
use crate::report::count;

/// Writes `entities.ndjson`, types in turn; the mean size of an entity in bytes.
pub fn write(models: &[&Model], many: usize, folder: &Path) -> Result<f64, Error> {
    let path = folder.join("entities.ndjson");
    let mut file = BufWriter::new(File::create(&path).map_err(Error::file(&path))?);
    let mut random = Random::new(6);
    let mut size = 0;
    for number in 0..many {
        let place = number % models.len().max(1);
        let Some(model) = models.get(place) else { break };
        let entity = entity(model, number, &mut random);
        size += entity.to_string().len();
        writeln!(file, "{}", json!({"model": place, "entity": entity})).map_err(Error::file(&path))?;
    }
    file.flush().map_err(Error::file(&path))?;
    Ok(count(size) / count(many))
}

fn entity(model: &Model, number: usize, random: &mut Random) -> Value {
    let wrong = (number % 10 == 9).then(|| below(random, model.attributes.len()));
    let mut entity = Map::new();
    entity.insert(
        "id".to_owned(),
        json!(format!("urn:ngsi-ld:{}:{number}", model.name)),
    );
    entity.insert("type".to_owned(), json!(model.name));
    for (place, (name, kind, schema)) in model.attributes.iter().enumerate() {
        let value = if wrong == Some(place) {
            not_of(schema)
        } else {
            of(schema, random)
        };
        let mut attribute = json!({"type": kind, member_of(kind): value});
        if let (Value::Object(members), true) = (&mut attribute, *kind == "Property" && random.below(3) == 0)
        {
            members.insert("observedAt".to_owned(), json!("2026-11-30T12:00:00Z"));
        }
        entity.insert(name.clone(), attribute);
    }
    Value::Object(entity)
}

fn below(random: &mut Random, limit: usize) -> usize {
    usize::try_from(random.below(limit as u64)).unwrap_or_default()
}

/// A value that the schema lets in.
fn of(schema: &Value, random: &mut Random) -> Value {
    if schema.get("oneOf").is_some() {
        return json!({"type": "Point", "coordinates": [random.share() * 180.0, random.share() * 90.0]});
    }
    if schema.get("anyOf").is_some() {
        return json!(format!("urn:ngsi-ld:Device:{}", random.below(1_000_000)));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values
            .get(below(random, values.len()))
            .cloned()
            .unwrap_or_default();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => text(schema, random),
        Some("number") => json!((random.share() * 100_000.0).round() / 100.0),
        Some("integer") => json!(random.below(1_000)),
        Some("boolean") => json!(random.below(2) == 0),
        Some("array") => {
            let text = json!({"type": "string"});
            let items = schema.get("items").unwrap_or(&text);
            (0..=random.below(3)).map(|_| of(items, random)).collect()
        }
        Some("object") => {
            let members = schema.get("properties").and_then(Value::as_object);
            let members = members.into_iter().flatten().take(8);
            members
                .map(|(name, schema)| (name.clone(), of(schema, random)))
                .collect()
        }
        _ => json!(1),
    }
}

fn text(schema: &Value, random: &mut Random) -> Value {
    let (month, day, hour) = (1 + random.below(12), 1 + random.below(28), random.below(24));
    match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => json!(format!("2026-{month:02}-{day:02}T{hour:02}:15:00Z")),
        Some("date") => json!(format!("2026-{month:02}-{day:02}")),
        Some("uri") => json!(format!("https://city.example/items/{}", random.below(10_000))),
        _ => match random.below(4) {
            0 => json!("Calle Mayor"),
            1 => json!("north side of the station"),
            2 => json!("Praça do Comércio"),
            _ => json!("x".repeat(1 + below(random, 40))),
        },
    }
}

/// A value that it does not let in: of another type, or nothing that it lists. Where it lets in everything, one that it does.
fn not_of(schema: &Value) -> Value {
    let is_text =
        schema.get("anyOf").is_some() || schema.get("type").and_then(Value::as_str) == Some("string");
    if is_text { json!(-1) } else { json!("none") }
}
