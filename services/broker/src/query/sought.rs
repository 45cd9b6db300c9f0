//! What a client searches as it wrote it. A URL and the body of a query or a subscription say it in other forms; what
//! they say is the same.

use crate::context::Context;
use crate::model::json::Json;
use crate::model::names::is_uri;
use crate::model::view::Shape;
use crate::model::view::asked::{text, texts};
use crate::model::{Refusal, refuse};
use crate::query::order::coordinates;
use crate::query::pattern::Pattern;
use crate::query::q::{self, Reading};
use crate::query::{EntitySelector, Selection, geo, scope, types};
use std::borrow::Cow;

/// How many selectors one query may have, and how many ids in all.
const MAX_SELECTORS: usize = 500;
const MAX_IDS: usize = 10_000;

/// A search, unread.
#[derive(Debug, Default)]
pub struct Sought<'a> {
    /// Any of these entities.
    pub entities: Vec<Selector<'a>>,
    /// `q`
    pub q: Option<&'a str>,
    /// `expandValues`, one name each.
    pub expand_values: Option<Vec<&'a str>>,
    /// `jsonKeys`, one name each.
    pub json_keys: Option<Vec<&'a str>>,
    /// `georel`
    pub georel: Option<&'a str>,
    /// `geometry`
    pub geometry: Option<&'a str>,
    /// `coordinates`, as JSON text.
    pub coordinates: Option<Cow<'a, str>>,
    /// `geoproperty`
    pub geoproperty: Option<&'a str>,
    /// `scopeQ`
    pub scope_q: Option<Cow<'a, str>>,
}

/// Some entities, unread.
#[derive(Debug, Default)]
pub struct Selector<'a> {
    /// `type`
    pub types: Option<&'a str>,
    /// `id`, one each.
    pub ids: Option<Vec<&'a str>>,
    /// `idPattern`
    pub id_pattern: Option<&'a str>,
}

impl<'a> Sought<'a> {
    /// Takes the search of the body of a query or a subscription (clauses 5.2.23 and 5.2.12).
    pub fn of_json(json: &'a Json) -> Result<Self, Refusal> {
        const NOTHING: &Json = &Json::Null;
        let geo = match json.get("geoQ") {
            None => NOTHING,
            Some(geo @ Json::Object(_)) => geo,
            Some(other) => return refuse(format!("geoQ is an object, not {}", other.kind())),
        };
        let area = (
            text(geo, "georel")?,
            text(geo, "geometry")?,
            geo.get("coordinates"),
        );
        if json.get("geoQ").is_some() && !matches!(area, (Some(_), Some(_), Some(_))) {
            return refuse("geoQ needs georel, geometry and coordinates");
        }
        Ok(Self {
            entities: selectors(json)?,
            q: text(json, "q")?,
            expand_values: names(json, "expandValues")?,
            json_keys: names(json, "jsonKeys")?,
            georel: area.0,
            geometry: area.1,
            coordinates: area.2.map(coordinates),
            geoproperty: text(geo, "geoproperty")?,
            scope_q: text(json, "scopeQ")?.map(Into::into),
        })
    }

    /// Reads it; names are expanded by the context. What is shown of entities selects by `attrs`, and says how far
    /// relationships may be followed.
    pub fn read(&self, shape: &Shape, context: &Context) -> Result<Selection, Refusal> {
        let entities = self.entities.iter().map(|one| one.read(context));
        let entities = entities.collect::<Result<Vec<_>, _>>()?;
        if entities.iter().map(|one| one.ids.len()).sum::<usize>() > MAX_IDS {
            return refuse(format!("a query has at most {MAX_IDS} ids"));
        }
        let reading = Reading::of(context, self.expand_values.as_deref(), self.json_keys.as_deref())?;
        let q = self.q.map(|text| q::parse_as(text, &reading)).transpose()?;
        if q.as_ref().is_some_and(|q| q.links() > shape.levels()) {
            return refuse(
                "q asks for attributes of linked entities: that needs join, and a joinLevel as deep as the braces",
            );
        }
        let geo = geo::parse(
            self.georel,
            self.geometry,
            self.coordinates.as_deref(),
            self.geoproperty,
            context,
        )?;
        Ok(Selection {
            entities,
            attrs: shape.attrs.clone().unwrap_or_default(),
            q,
            geo,
            scope: self.scope_q.as_deref().map(scope::parse).transpose()?,
        })
    }
}

impl Selector<'_> {
    fn read(&self, context: &Context) -> Result<EntitySelector, Refusal> {
        let id_pattern = self.id_pattern.map(Pattern::new).transpose();
        let id_pattern = id_pattern.map_err(|Refusal(why)| Refusal(format!("idPattern: {why}")))?;
        let ids = self.ids.as_deref().unwrap_or_default();
        if let Some(bad) = ids.iter().find(|id| !is_uri(id)) {
            let bad: String = bad.chars().take(100).collect();
            return refuse(format!("id: {bad:?} is not a URI"));
        }
        Ok(EntitySelector {
            types: self.types.map(|text| types::parse(text, context)).transpose()?,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            id_pattern,
        })
    }
}

fn selectors(json: &Json) -> Result<Vec<Selector<'_>>, Refusal> {
    let items = match json.get("entities") {
        None => return Ok(Vec::new()),
        Some(Json::Array(items)) if items.len() > MAX_SELECTORS => {
            return refuse(format!("entities has more than {MAX_SELECTORS} items"));
        }
        Some(Json::Array(items)) if !items.is_empty() => items,
        Some(Json::Array(_)) => return refuse("entities is an empty array"),
        Some(other) => return refuse(format!("entities is an array, not {}", other.kind())),
    };
    items.iter().map(selector).collect()
}

fn selector(item: &Json) -> Result<Selector<'_>, Refusal> {
    let Json::Object(members) = item else {
        return refuse(format!("an item of entities is an object, not {}", item.kind()));
    };
    let known = |name: &str| matches!(name, "id" | "idPattern" | "type");
    if let Some((name, _)) = members.iter().find(|(name, _)| !known(name)) {
        let name: String = name.chars().take(60).collect();
        return refuse(format!("an item of entities has no member {name:?}"));
    }
    let types = text(item, "type")?;
    if types.is_none() {
        return refuse("an item of entities needs a type");
    }
    let ids = match item.get("id") {
        Some(Json::String(id)) => Some(vec![id.as_str()]),
        _ => texts(item, "id")?,
    };
    // An id says it all (clause 5.2.33).
    let id_pattern = text(item, "idPattern")?.filter(|_| ids.is_none());
    Ok(Selector {
        types,
        ids,
        id_pattern,
    })
}

/// A member that is a comma list of names; an array of them says the same.
fn names<'a>(json: &'a Json, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
    match json.get(name) {
        Some(Json::String(list)) => Ok(Some(list.split(',').collect())),
        _ => texts(json, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view::asked::Asked;

    fn selection(text: &str) -> Result<Selection, Refusal> {
        let json = Json::parse(text.as_bytes()).unwrap();
        let context = Context::core();
        let shape = Shape::of(&Asked::of_query(&json)?, &context)?;
        Sought::of_json(&json)?.read(&shape, &context)
    }

    #[test]
    fn a_body_selects_as_a_url_does() {
        let found = selection(
            r#"{"entities":[{"type":"A","id":"urn:x:1"},{"type":"B,C","idPattern":"^urn"},{"type":"*","id":["urn:x:2","urn:x:3"],"idPattern":"["}],
                "q":"a==1","geoQ":{"georel":"near;maxDistance==5","geometry":"Point","coordinates":[8,40],"geoproperty":"place"}}"#,
        )
        .unwrap();
        assert_eq!(found.entities.len(), 3);
        assert_eq!(found.entities[0].ids, ["urn:x:1"]);
        assert_eq!(
            found.entities[1].id_pattern.as_ref().map(Pattern::text),
            Some("^urn")
        );
        assert_eq!(
            (found.entities[2].ids.len(), &found.entities[2].id_pattern),
            (2, &None)
        );
        assert!(found.q.is_some() && found.geo.is_some() && found.has_all_types() && found.is_restricted());
        let text = selection(r#"{"geoQ":{"georel":"within","geometry":"Point","coordinates":"[8,40]"}}"#);
        assert!(text.unwrap().geo.is_some(), "coordinates may be a text");
    }

    #[test]
    fn what_is_wrong_in_a_body_is_refused() {
        let selectors = vec![r#"{"type":"A"}"#; 501].join(",");
        let many = format!(r#"{{"entities":[{selectors}]}}"#);
        for bad in [
            r#"{"entities":[]}"#,
            r#"{"entities":{}}"#,
            r#"{"entities":["A"]}"#,
            r#"{"entities":[{"id":"urn:x:1"}]}"#,
            r#"{"entities":[{"type":"A","id":"x"}]}"#,
            r#"{"entities":[{"type":"A","id":[]}]}"#,
            r#"{"entities":[{"type":"A","id":5}]}"#,
            r#"{"entities":[{"type":"A","idPattern":"["}]}"#,
            r#"{"entities":[{"type":"A","attrs":["a"]}]}"#,
            r#"{"entities":[{"type":["A"]}]}"#,
            r#"{"entities":[{"type":"A;"}]}"#,
            r#"{"q":5}"#,
            r#"{"q":""}"#,
            r#"{"q":"r{a}==1"}"#,
            r#"{"q":"r{s{a}}==1","join":"flat"}"#,
            r#"{"geoQ":"near"}"#,
            r#"{"geoQ":{}}"#,
            r#"{"geoQ":{"georel":"within","geometry":"Point"}}"#,
            r#"{"geoQ":{"georel":"within","geometry":"Point","coordinates":{}}}"#,
            r#"{"expandValues":[1]}"#,
            r#"{"jsonKeys":"a-b"}"#,
            &many,
        ] {
            assert!(selection(bad).is_err(), "{bad:.80}");
        }
        assert!(selection(r#"{"q":"r{s{a}}==1","join":"flat","joinLevel":2}"#).is_ok());
    }

    #[test]
    fn only_some_searches_are_enough_of_a_restriction() {
        for (text, enough) in [
            ("{}", false),
            (r#"{"q":"modifiedAt>2024-01-01T00:00:00Z"}"#, false),
            (r#"{"attrs":["createdAt"]}"#, false),
            (r#"{"attrs":["createdAt","a"]}"#, true),
            (r#"{"q":"a"}"#, true),
            (r#"{"entities":[{"type":"A"}]}"#, true),
            (r#"{"pick":["a"]}"#, false),
        ] {
            assert_eq!(selection(text).unwrap().is_restricted(), enough, "{text}");
        }
    }
}
