//! Schemas from the attribute tables that PyPI's `pysmartdatamodels` ships: a row for each attribute and sub-attribute of
//! some thousand models, with name, JSON type, kind, enumeration and format. The schemas themselves are not in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// How many attributes a model has to have.
const ATTRIBUTES: std::ops::RangeInclusive<usize> = 10..=60;

/// A row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    property: String,
    data_model: String,
    repo_name: String,
    parent_id: Option<String>,
    #[serde(rename = "type")]
    json_type: Option<Value>,
    #[serde(rename = "typeNGSI")]
    kind: Option<String>,
    #[serde(rename = "enum")]
    values: Option<Value>,
    format: Option<String>,
    description: Option<String>,
}

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its type.
    pub name: String,
    /// Name, kind and schema of the value of each attribute.
    pub attributes: Vec<(String, &'static str, Value)>,
}

/// All models of the table that have enough attributes, in an order that mixes their subjects.
pub fn of_tables(path: &Path) -> Result<Vec<Model>, Error> {
    let file = File::open(path).map_err(Error::file(path))?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    let rows: Vec<Row> = serde_json::from_reader(text).map_err(|problem| {
        Error::Unexpected(format!("{} is no table of attributes: {problem}", path.display()))
    })?;
    let mut models: BTreeMap<(String, String), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = (row.data_model.clone(), row.repo_name.clone());
        models.entry(key).or_default().push(row);
    }
    let models = models.into_iter().map(|((name, _), rows)| model(name, &rows));
    Ok(models
        .filter(|model| ATTRIBUTES.contains(&model.attributes.len()))
        .collect())
}

fn model(name: String, rows: &[Row]) -> Model {
    let mut parts: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(parent) = &row.parent_id {
            parts.entry(parent).or_default().push(row);
        }
    }
    let mut attributes: BTreeMap<&str, (&'static str, Value)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.parent_id.is_none()) {
        if matches!(row.property.as_str(), "id" | "type" | "@context") {
            continue;
        }
        let parts = parts.get(row.id.as_str()).map_or(&[][..], Vec::as_slice);
        let attribute = match row.kind.as_deref() {
            Some("GeoProperty") => ("GeoProperty", geometry()),
            Some("Relationship") if is_array(row) => {
                ("Relationship", json!({"type": "array", "items": identifier()}))
            }
            Some("Relationship") => ("Relationship", identifier()),
            Some("Property") => ("Property", value(row, parts)),
            _ => continue,
        };
        attributes.insert(&row.property, attribute);
    }
    let attributes = attributes
        .into_iter()
        .map(|(name, (kind, schema))| (name.to_owned(), kind, schema));
    Model {
        name,
        attributes: attributes.collect(),
    }
}

fn is_array(row: &Row) -> bool {
    row.json_type.as_ref().and_then(Value::as_str) == Some("array")
}

/// The schema of a Property's value.
fn value(row: &Row, parts: &[&Row]) -> Value {
    let Some(Value::String(json_type)) = &row.json_type else {
        return json!({});
    };
    let mut schema = json!({"type": json_type});
    let values = row.values.as_ref().and_then(Value::as_array);
    let values: Option<Vec<&str>> = values.map(|values| values.iter().filter_map(Value::as_str).collect());
    let values = values.filter(|values| !values.is_empty());
    set(
        &mut schema,
        "description",
        row.description.as_ref().map(|text| json!(text)),
    );
    match json_type.as_str() {
        "string" => {
            set(&mut schema, "enum", values.map(|values| json!(distinct(values))));
            let format = row.format.as_deref();
            let known = format.filter(|format| matches!(*format, "date-time" | "date" | "uri"));
            set(&mut schema, "format", known.map(|format| json!(format)));
        }
        "array" => {
            let items = values.map(|values| json!({"type": "string", "enum": distinct(values)}));
            set(&mut schema, "items", items);
        }
        "object" if !parts.is_empty() => {
            let members = parts.iter().map(|part| (part.property.clone(), value(part, &[])));
            set(&mut schema, "properties", Some(members.collect()));
        }
        _ => {}
    }
    schema
}

fn set(schema: &mut Value, name: &str, value: Option<Value>) {
    if let (Value::Object(members), Some(value)) = (schema, value) {
        members.insert(name.to_owned(), value);
    }
}

fn distinct(values: Vec<&str>) -> Vec<&str> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// As `GSMA-Commons` says of identifiers.
fn identifier() -> Value {
    json!({"anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[\w\-\.\{\}\$\+\*\[\]`|~^@!,:\\]+$"},
        {"type": "string", "format": "uri"},
    ]})
}

/// As `Location-Commons` says of points, lines and polygons.
fn geometry() -> Value {
    let position = json!({"type": "array", "minItems": 2, "items": {"type": "number"}});
    let line = json!({"type": "array", "minItems": 2, "items": position});
    let ring = json!({"type": "array", "minItems": 4, "items": position});
    let of = |name: &str, coordinates: Value| {
        json!({"type": "object", "required": ["type", "coordinates"], "properties": {
            "type": {"type": "string", "enum": [name]},
            "coordinates": coordinates,
            "bbox": {"type": "array", "minItems": 4, "items": {"type": "number"}},
        }})
    };
    json!({"oneOf": [
        of("Point", position.clone()),
        of("LineString", line),
        of("Polygon", json!({"type": "array", "items": ring})),
    ]})
}

impl Model {
    /// The schema, as Smart Data Models write it: of the simplified representation.
    #[must_use]
    pub fn simplified(&self) -> Value {
        self.schema(|_, schema| schema.clone())
    }

    /// The same said of the normalized representation, as peers need it.
    #[must_use]
    pub fn normalized(&self) -> Value {
        self.schema(|kind, schema| {
            let member = member_of(kind);
            json!({"type": "object", "required": ["type", member], "properties": {"type": {"const": kind}, member: schema}})
        })
    }

    fn schema(&self, attribute: impl Fn(&str, &Value) -> Value) -> Value {
        let mut properties = Map::new();
        properties.insert("id".to_owned(), identifier());
        properties.insert("type".to_owned(), json!({"type": "string", "enum": [self.name]}));
        for (name, kind, schema) in &self.attributes {
            properties.insert(name.clone(), attribute(kind, schema));
        }
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["id", "type"],
            "properties": properties,
        })
    }
}

/// Which member of a normalized attribute has its value.
#[must_use]
pub fn member_of(kind: &str) -> &'static str {
    if kind == "Relationship" { "object" } else { "value" }
}

/// Writes `models.ndjson`, a line for each of the first models.
pub fn write(models: &[Model], most: usize, folder: &Path) -> Result<(), Error> {
    let path = folder.join("models.ndjson");
    let mut file = BufWriter::new(File::create(&path).map_err(Error::file(&path))?);
    for model in models.iter().take(most) {
        let line =
            json!({"type": model.name, "simplified": model.simplified(), "normalized": model.normalized()});
        writeln!(file, "{line}").map_err(Error::file(&path))?;
    }
    file.flush().map_err(Error::file(&path))
}
