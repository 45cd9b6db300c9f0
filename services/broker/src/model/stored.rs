//! The text that the database keeps of an entity's attributes (column `attrs` of `mim.entities`, jsonb).
//!
//! `{IRI: [instance, …]}`; an instance is `{"type", "value", "datasetId", "observedAt", "unitCode", "objectType",
//! "createdAt", "modifiedAt", IRI: [instance, …]}`. The value is always called `value`, whatever the kind, so that
//! queries need not know kinds; attributes of attributes are told by the colon in their name. `createdAt` is there
//! only where an instance is younger than what holds it, `modifiedAt` only once it was changed.

use crate::model::entity::{Attributes, Instance, Kind};
use crate::model::json::{Json, digits_written_out, write_string};

/// The stored text is not what [`write`] writes: somebody else changed the database.
#[derive(Debug, thiserror::Error)]
#[error("the stored entity cannot be read: {0}")]
pub struct Damaged(String);

impl Damaged {
    /// With these words.
    pub fn of(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// The most that is kept of one entity: bytes of its text as the database writes it, and JSON values in it. An entity
/// grows by many requests, and whoever reads it, or a page with it, holds it in memory whole.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
/// See [`MAX_BYTES`].
pub const MAX_VALUES: usize = 500_000;

/// The entity would be larger than what is kept of one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the entity would be too large: at most {MAX_BYTES} bytes and {MAX_VALUES} values as it is stored; split it into several"
)]
pub struct TooLarge;

/// Writes attributes; what it writes, [`read`] reads.
pub fn write(attributes: &Attributes) -> Result<String, TooLarge> {
    let mut out = String::with_capacity(256);
    write_into(&mut out, attributes);
    let size = Size::of(attributes);
    if size.values > MAX_VALUES || out.len() + size.values + size.digits > MAX_BYTES {
        return Err(TooLarge);
    }
    Ok(out)
}

/// Appends attributes that are stored already, so that their size is known to be one that is kept.
pub fn write_into(out: &mut String, attributes: &Attributes) {
    write_attributes(out, attributes, "{");
    out.push('}');
}

/// What the text does not show of the size of what is stored.
#[derive(Clone, Copy, Default)]
struct Size {
    /// JSON values. The database writes a blank after each comma and colon, about one for each value.
    values: usize,
    /// Digits that exponents become when the database writes them out.
    digits: usize,
}

impl Size {
    fn of(attributes: &Attributes) -> Self {
        let mut size = Self { values: 1, digits: 0 };
        for instances in attributes.values() {
            size.values += 1;
            for instance in instances {
                // The instance, its type, at most five plain members, its types of targets.
                size.values += 8 + instance.object_type.len();
                size.add(&instance.value);
                let subs = Self::of(&instance.subs);
                size.values += subs.values;
                size.digits += subs.digits;
            }
        }
        size
    }

    fn add(&mut self, value: &Json) {
        self.values += 1;
        match value {
            Json::Number(text) => self.digits += digits_written_out(text).saturating_sub(text.len()),
            Json::Array(items) => items.iter().for_each(|item| self.add(item)),
            Json::Object(members) => members.iter().for_each(|(_, value)| self.add(value)),
            _ => {}
        }
    }
}

fn write_attributes(out: &mut String, attributes: &Attributes, before_first: &str) {
    out.push_str(if attributes.is_empty() && before_first == "," {
        ""
    } else {
        before_first
    });
    for (n, (iri, instances)) in attributes.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(out, iri);
        out.push_str(":[");
        for (n, instance) in instances.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            write_instance(out, instance);
        }
        out.push(']');
    }
}

/// The text of one instance, as it stands in that of its entity.
#[must_use]
pub fn instance_text(instance: &Instance) -> String {
    let mut out = String::with_capacity(128);
    write_instance(&mut out, instance);
    out
}

fn write_instance(out: &mut String, instance: &Instance) {
    out.push_str("{\"type\":");
    write_string(out, instance.kind.name());
    out.push_str(",\"value\":");
    instance.value.write(out);
    let plain = [
        ("datasetId", &instance.dataset),
        ("observedAt", &instance.observed_at),
        ("unitCode", &instance.unit_code),
        ("createdAt", &instance.created),
        ("modifiedAt", &instance.modified),
    ];
    for (name, value) in plain {
        if let Some(value) = value {
            out.push(',');
            write_string(out, name);
            out.push(':');
            write_string(out, value);
        }
    }
    if !instance.object_type.is_empty() {
        out.push_str(",\"objectType\":");
        Json::Array(instance.object_type.iter().map(Json::string).collect()).write(out);
    }
    write_attributes(out, &instance.subs, ",");
    out.push('}');
}

/// Reads what [`write`] wrote, or what PostgreSQL made of it.
pub fn read(text: &str) -> Result<Attributes, Damaged> {
    of_json(Json::parse_stored(text).map_err(|e| Damaged(e.to_string()))?)
}

/// The same, of text that was parsed.
pub fn of_json(json: Json) -> Result<Attributes, Damaged> {
    match json {
        Json::Object(members) => members
            .into_iter()
            .map(|(iri, value)| Ok((iri, instances(value)?)))
            .collect(),
        other => Err(Damaged(format!("{} instead of attributes", other.kind()))),
    }
}

/// Reads what [`instance_text`] wrote, or what PostgreSQL made of it.
pub fn read_instance(text: &str) -> Result<Instance, Damaged> {
    instance(Json::parse_stored(text).map_err(|e| Damaged(e.to_string()))?)
}

fn instances(value: Json) -> Result<Vec<Instance>, Damaged> {
    match value {
        Json::Array(items) => items.into_iter().map(instance).collect(),
        other => Err(Damaged(format!("{} instead of instances", other.kind()))),
    }
}

fn instance(value: Json) -> Result<Instance, Damaged> {
    let Json::Object(members) = value else {
        return Err(Damaged(format!("{} instead of an instance", value.kind())));
    };
    let mut instance = Instance::new(Kind::Property, Json::Null);
    for (name, value) in members {
        match (name.as_str(), value) {
            ("type", Json::String(kind)) => {
                instance.kind = Kind::named(&kind).ok_or_else(|| Damaged(format!("the kind {kind}")))?;
            }
            ("value", value) => instance.value = value,
            ("datasetId", Json::String(text)) => instance.dataset = Some(text),
            ("observedAt", Json::String(text)) => instance.observed_at = Some(text),
            ("unitCode", Json::String(text)) => instance.unit_code = Some(text),
            ("createdAt", Json::String(text)) => instance.created = Some(text),
            ("modifiedAt", Json::String(text)) => instance.modified = Some(text),
            ("objectType", Json::Array(types)) => {
                instance.object_type = types.iter().filter_map(Json::as_str).map(str::to_owned).collect();
            }
            // A member that a newer broker added: kept out, not an error.
            (name, _) if !name.contains(':') => {}
            (_, value) => {
                instance.subs.insert(name, instances(value)?);
            }
        }
    }
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_ours_is_an_error_not_a_panic() {
        for bad in [
            "",
            "[]",
            "{\"urn:a\":5}",
            "{\"urn:a\":[5]}",
            "{\"urn:a\":[{\"type\":\"X\"}]}",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_of_an_instance_is_kept() {
        let text = r#"{"urn:a":[{"type":"Relationship","value":"urn:b","datasetId":"urn:d","observedAt":"2024-01-01T00:00:00Z","unitCode":"C","createdAt":"x","modifiedAt":"y","objectType":["urn:t"],"urn:sub":[{"type":"Property","value":5.0}]}]}"#;
        assert_eq!(write(&read(text).unwrap()).unwrap(), text);
    }

    proptest! {
        #[test]
        fn any_text_reads_or_is_an_error(text in "[\\[\\]{}\":a-z,0-9]{0,60}") {
            let _ = read(&text);
        }
    }
}
