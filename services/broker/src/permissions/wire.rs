//! The permission set as it travels: the header `Mim-Permissions`, whose value is base64url (RFC 4648 §5, without padding)
//! of a JSON object.
//!
//! ```json
//! {
//!   "version": 1,
//!   "subject": "urn:keycloak:city:7f3a…",
//!   "admin": false,
//!   "read": {
//!     "allow": [
//!       {"types": ["https://…/AirQualityObserved"], "scopes": ["/city/north/#"], "attributes": ["https://…/no2"]},
//!       {"ids": ["urn:ngsi-ld:Park:1"], "idPatterns": ["^urn:ngsi-ld:Tree:"]}
//!     ],
//!     "deny": [{"attributes": ["https://…/owner"]}]
//!   },
//!   "update": {"allow": [{"area": {"type": "Polygon", "coordinates": [[[…]]]}}]}
//! }
//! ```
//!
//! * `subject` is who asks; its subscriptions belong to it. `admin` (absent: false) lets it see and change those of others,
//!   and the hosted contexts.
//! * `read`, `create`, `update`, `delete` are the operations. One that is absent is not allowed at all. Deletion of an
//!   attribute is an update of its entity. The past is read by `read`, and written by `update`.
//! * An operation is allowed of what any grant of `allow` has, and none of `deny` (absent: empty). All members of a grant
//!   hold at once; one that is absent does not restrict; each is a list of which one item is enough, and is not empty.
//!   * `types`: IRIs. `ids`: URIs, and `idPatterns`: regular expressions of which one is found in the id; an entity needs
//!     one of both lists. `scopes`: terms of the scope query language, like `/a/b`, `/a/+`, `/a/#`.
//!   * `area`: a GeoJSON Polygon or MultiPolygon in which the entity's `location` lies, its borders included.
//!   * `attributes`: IRIs. Absent: all attributes, and the entity as such. In `allow`: only these, of the entities of
//!     this grant; each entity has those of all grants that it is in. In `deny`: these are left out, and the entity is
//!     still there; without them the entity is.
//!
//! Whatever is not understood is refused, the request with it: a broker that does not know a restriction must not leave it
//! out. A newer version has another number.

use crate::model::entity::LOCATION;
use crate::model::json::Json;
use crate::model::names::{MAX_IRI, is_uri};
use crate::model::{Refusal, refuse};
use crate::permissions::{Grant, Permissions, Rules, is_attribute};
use crate::query::geo::{self, GeoQuery, GeoRelation};
use crate::query::pattern::Pattern;
use crate::query::scope::{self, ScopeQuery};
use crate::query::types::TypeSelection;
use crate::query::{EntitySelector, Selection};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The header.
pub const HEADER: &str = "mim-permissions";
/// The longest value of the header, in bytes. All heads together have 64 KiB.
pub const MAX_VALUE: usize = 48 * 1024;
/// The version that this broker understands.
const VERSION: &str = "1";
/// The longest name of a subject, in bytes.
const MAX_SUBJECT: usize = 1024;
/// How many grants a list may have: each is asked of each entity.
const MAX_GRANTS: usize = 50;
/// How many patterns a grant may have.
const MAX_PATTERNS: usize = 20;

/// Reads the value of the header.
pub fn read(value: &[u8]) -> Result<Permissions, Refusal> {
    if value.len() > MAX_VALUE {
        return refuse(format!("a permission set has at most {MAX_VALUE} bytes"));
    }
    let Ok(text) = URL_SAFE_NO_PAD.decode(value) else {
        return refuse("a permission set is base64url without padding");
    };
    let json = Json::parse(&text).map_err(|error| Refusal(format!("a permission set is JSON: {error}")))?;
    of_json(&json)
}

/// Reads the JSON of a set.
pub fn of_json(json: &Json) -> Result<Permissions, Refusal> {
    let known = [
        "version", "subject", "admin", "read", "create", "update", "delete",
    ];
    only(json, "a permission set", &known)?;
    match json.get("version") {
        Some(Json::Number(version)) if &**version == VERSION => {}
        _ => return refuse(format!("a permission set has version {VERSION}")),
    }
    let subject = match json.get("subject") {
        Some(Json::String(subject)) if (1..=MAX_SUBJECT).contains(&subject.len()) => subject.clone(),
        _ => return refuse(format!("subject is a text of 1 to {MAX_SUBJECT} bytes")),
    };
    let admin = match json.get("admin") {
        None => false,
        Some(Json::Bool(admin)) => *admin,
        Some(_) => return refuse("admin is true or false"),
    };
    let of = |name: &str| {
        let read = json.get(name).map(rules).transpose();
        read.map(Option::unwrap_or_default)
            .map_err(|Refusal(why)| Refusal(format!("{name}: {why}")))
    };
    let (read, create, update, delete) = (of("read")?, of("create")?, of("update")?, of("delete")?);
    let all = [&read, &create, &update, &delete];
    let weight = all.into_iter().map(Rules::weight).sum::<usize>() + subject.len();
    Ok(Permissions {
        subject,
        admin,
        read: Arc::new(read),
        create,
        update,
        delete,
        weight,
    })
}

/// Reads what is said of one operation.
pub fn rules(json: &Json) -> Result<Rules, Refusal> {
    only(json, "it", &["allow", "deny"])?;
    let list = |name: &str| match json.get(name) {
        None => Ok(Vec::new()),
        Some(Json::Array(items)) if items.len() <= MAX_GRANTS => items
            .iter()
            .map(grant)
            .collect::<Result<Vec<_>, Refusal>>()
            .map_err(|Refusal(why)| Refusal(format!("{name}: {why}"))),
        Some(_) => refuse(format!("{name} is an array of at most {MAX_GRANTS} grants")),
    };
    if json.get("allow").is_none() {
        return refuse("allow is missing");
    }
    Ok(Rules {
        allow: list("allow")?,
        deny: list("deny")?,
        text: json.to_text().into(),
    })
}

fn grant(json: &Json) -> Result<Grant, Refusal> {
    let known = ["types", "ids", "idPatterns", "scopes", "area", "attributes"];
    only(json, "a grant", &known)?;
    let selection = Selection {
        entities: selectors(json)?,
        geo: json.get("area").map(area).transpose()?,
        scope: scopes(json)?,
        ..Selection::default()
    };
    let attributes = iris(json, "attributes")?;
    if attributes.iter().flatten().any(|iri| !is_attribute(iri)) {
        return refuse("attributes: scope is none; it is seen wherever the entity is");
    }
    Grant::new(selection, attributes.map(|names| names.into_iter().collect()))
}

/// One selector for the ids, and one for each pattern.
fn selectors(json: &Json) -> Result<Vec<EntitySelector>, Refusal> {
    let types = iris(json, "types")?.map(|names| one_or(names, TypeSelection::One, TypeSelection::Or));
    let ids = iris(json, "ids")?;
    let patterns = texts(json, "idPatterns")?.unwrap_or_default();
    if patterns.len() > MAX_PATTERNS {
        return refuse(format!("idPatterns has at most {MAX_PATTERNS} items"));
    }
    let mut selectors = Vec::with_capacity(patterns.len() + 1);
    for text in patterns {
        let pattern = Pattern::new(text).map_err(|Refusal(why)| Refusal(format!("idPatterns: {why}")))?;
        selectors.push(EntitySelector {
            types: types.clone(),
            ids: Vec::new(),
            id_pattern: Some(pattern),
        });
    }
    match (ids, types) {
        (None, Some(types)) if selectors.is_empty() => selectors.push(EntitySelector {
            types: Some(types),
            ..EntitySelector::default()
        }),
        (None, _) => {}
        (Some(ids), types) => selectors.push(EntitySelector {
            types,
            ids,
            id_pattern: None,
        }),
    }
    Ok(selectors)
}

fn scopes(json: &Json) -> Result<Option<ScopeQuery>, Refusal> {
    let Some(terms) = texts(json, "scopes")? else {
        return Ok(None);
    };
    let read = |text: &str| match scope::parse(text)? {
        one @ ScopeQuery::One(_) => Ok(one),
        _ => refuse("an item of scopes is one term"),
    };
    let terms = terms.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(one_or(terms, |one| one, ScopeQuery::Or)))
}

fn area(json: &Json) -> Result<GeoQuery, Refusal> {
    only(json, "area", &["type", "coordinates"])?;
    let Some(kind @ ("Polygon" | "MultiPolygon")) = json.get("type").and_then(Json::as_str) else {
        return refuse("area is a Polygon or a MultiPolygon");
    };
    let coordinates = json.get("coordinates").map(Json::to_text).unwrap_or_default();
    let geometry = geo::geometry(kind, &coordinates);
    Ok(GeoQuery {
        relation: GeoRelation::Inside,
        geometry: geometry.map_err(|Refusal(why)| Refusal(format!("area: {why}")))?,
        property: LOCATION.to_owned(),
    })
}

/// A list of names in full.
fn iris(json: &Json, name: &str) -> Result<Option<Vec<String>>, Refusal> {
    let Some(texts) = texts(json, name)? else {
        return Ok(None);
    };
    if texts.iter().any(|text| !is_uri(text) || text.len() > MAX_IRI) {
        return refuse(format!("{name} is a list of IRIs"));
    }
    let distinct: BTreeSet<&str> = texts.into_iter().collect();
    Ok(Some(distinct.into_iter().map(str::to_owned).collect()))
}

fn texts<'j>(json: &'j Json, name: &str) -> Result<Option<Vec<&'j str>>, Refusal> {
    let wrong = || Refusal(format!("{name} is an array of texts, at least one"));
    match json.get(name) {
        None => Ok(None),
        Some(Json::Array(items)) if !items.is_empty() => {
            let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
            texts.map(Some).ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// Refuses what is no object, and members that are not known.
fn only(json: &Json, what: &str, known: &[&str]) -> Result<(), Refusal> {
    let Json::Object(members) = json else {
        return refuse(format!("{what} is an object"));
    };
    match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            let name: String = name.chars().take(60).collect();
            refuse(format!("{what} has no member {name:?}"))
        }
        None => Ok(()),
    }
}

fn one_or<T, S>(mut items: Vec<T>, one: fn(T) -> S, many: fn(Vec<S>) -> S) -> S {
    match (items.len(), items.pop()) {
        (1, Some(only)) => one(only),
        (_, last) => {
            items.extend(last);
            many(items.into_iter().map(one).collect())
        }
    }
}
