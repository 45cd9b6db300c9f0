//! The text of a change, as it waits for its notifications: `{"at", "before", "after"}`, each entity as
//! `{"types", "scope", "attrs", "created", "modified"}` with attributes as they are stored.

use crate::model::entity::{Attributes, Entity};
use crate::model::json::{Json, write_string};
use crate::model::names::time_text;
use crate::model::stored::{self, Damaged};
use jiff::Timestamp;
use std::fmt::Write as _;

/// What one write did to one entity, read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// When.
    pub at: Timestamp,
    /// As it was, where somebody wants to know.
    pub before: Option<Entity>,
    /// As it is; `None`: it is gone.
    pub after: Option<Entity>,
}

/// Writes a change.
#[must_use]
pub fn write(before: Option<&Entity>, after: Option<&Entity>, at: Timestamp) -> String {
    let mut out = String::with_capacity(512);
    let _ = write!(out, "{{\"at\":\"{}\"", time_text(at));
    for (name, entity) in [("before", before), ("after", after)] {
        if let Some(entity) = entity {
            let _ = write!(out, ",\"{name}\":");
            write_entity(&mut out, entity);
        }
    }
    out.push('}');
    out
}

fn write_entity(out: &mut String, entity: &Entity) {
    out.push_str("{\"types\":");
    write_texts(out, &entity.types);
    out.push_str(",\"scope\":");
    write_texts(out, &entity.scope);
    out.push_str(",\"attrs\":");
    stored::write_into(out, &entity.attributes);
    let _ = write!(
        out,
        ",\"created\":\"{}\",\"modified\":\"{}\"}}",
        time_text(entity.created),
        time_text(entity.modified)
    );
}

fn write_texts(out: &mut String, texts: &[String]) {
    out.push('[');
    for (n, text) in texts.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(out, text);
    }
    out.push(']');
}

/// Reads what [`write`] wrote of the entity with this id.
pub fn read(id: &str, text: &str) -> Result<Recorded, Damaged> {
    let Json::Object(members) = Json::parse_stored(text).map_err(|e| Damaged::of(e.to_string()))? else {
        return Err(Damaged::of("a change that is no object"));
    };
    let mut recorded = Recorded {
        at: Timestamp::UNIX_EPOCH,
        before: None,
        after: None,
    };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("at", Json::String(text)) => recorded.at = time(&text)?,
            ("before", value) => recorded.before = Some(entity(id, value)?),
            ("after", value) => recorded.after = Some(entity(id, value)?),
            // A newer version may say more.
            _ => {}
        }
    }
    Ok(recorded)
}

fn time(text: &str) -> Result<Timestamp, Damaged> {
    text.parse().map_err(|_| Damaged::of("a change without a time"))
}

fn entity(id: &str, value: Json) -> Result<Entity, Damaged> {
    let Json::Object(members) = value else {
        return Err(Damaged::of("a change of what is no entity"));
    };
    let mut entity = Entity {
        id: id.to_owned(),
        types: Vec::new(),
        scope: Vec::new(),
        attributes: Attributes::new(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("types", value) => entity.types = texts(value),
            ("scope", value) => entity.scope = texts(value),
            ("attrs", value) => entity.attributes = stored::of_json(value)?,
            ("created", Json::String(text)) => entity.created = time(&text)?,
            ("modified", Json::String(text)) => entity.modified = time(&text)?,
            _ => {}
        }
    }
    Ok(entity)
}

fn texts(value: Json) -> Vec<String> {
    let Json::Array(items) = value else {
        return Vec::new();
    };
    let text = |item| match item {
        Json::String(text) => Some(text),
        _ => None,
    };
    items.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_back() {
        let entity = Entity {
            id: "urn:x:\"1".to_owned(),
            types: vec!["urn:T".to_owned(), "urn:\"U".to_owned()],
            scope: vec!["/a/b".to_owned()],
            attributes: stored::read(r#"{"urn:a":[{"type":"Property","value":5.0,"datasetId":"urn:d"}]}"#)
                .unwrap(),
            created: "2026-11-28T22:00:00.000001Z".parse().unwrap(),
            modified: "2026-11-28T22:00:01Z".parse().unwrap(),
        };
        for (before, after) in [
            (None, Some(&entity)),
            (Some(&entity), None),
            (Some(&entity), Some(&entity)),
        ] {
            let text = write(before, after, entity.modified);
            let recorded = read(&entity.id, &text).unwrap();
            assert_eq!(recorded.at, entity.modified);
            assert_eq!(
                (recorded.before.as_ref(), recorded.after.as_ref()),
                (before, after)
            );
        }
        for bad in [
            "",
            "5",
            "[]",
            "{\"at\":5}",
            "{\"at\":\"x\"}",
            "{\"after\":5}",
            "{\"after\":{\"attrs\":5}}",
        ] {
            let read = read("urn:x:1", bad);
            assert!(read.is_err() || bad == "{\"at\":5}", "{bad}: {read:?}");
        }
    }
}
