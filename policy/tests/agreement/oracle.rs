//! What access rules mean, written once more from the words of the specification alone: it reads rules as JSON, knows
//! nothing of how the crate keeps or asks them, and takes no care to be quick.

use serde_json::Value;
use std::collections::BTreeSet;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Person {
    /// Nothing is known of an anonymous one.
    pub is_anonymous: bool,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    pub client: Option<String>,
    pub claims: Vec<(String, String)>,
}

/// An entity: its location is a point, or a line from one to another.
#[derive(Clone, Debug)]
pub struct Thing {
    pub id: String,
    pub types: Vec<String>,
    pub scopes: Vec<String>,
    pub location: Vec<Vec<(i32, i32)>>,
    pub attributes: BTreeSet<String>,
}

/// What may be done of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// To which of its attributes.
    pub attributes: BTreeSet<String>,
    /// Whether to the entity as such too.
    pub as_such: bool,
}

/// What of an entity somebody may do an operation to; `None`: the entity is not there for it.
pub fn right(
    rules: &[Value],
    person: &Person,
    tenant: &str,
    operation: &str,
    thing: &Thing,
) -> Option<Right> {
    let applies = |rule: &&Value| speaks_of(rule, person, tenant, operation) && is_on(&rule["on"], thing);
    let (deny, allow): (Vec<&Value>, Vec<&Value>) = rules
        .iter()
        .filter(applies)
        .partition(|rule| rule["effect"] == "Deny");
    let is_whole = |rule: &&&Value| rule["on"]["attributes"].is_null();
    if allow.is_empty() || deny.iter().any(|rule| is_whole(&rule)) {
        return None;
    }
    let names = |rule: &&Value, name: &str| {
        let list = &rule["on"]["attributes"];
        list.is_null() || list.as_array().unwrap().iter().any(|one| one == name)
    };
    let is_allowed = |name: &&String| {
        allow.iter().any(|rule| names(rule, name)) && !deny.iter().any(|rule| names(rule, name))
    };
    Some(Right {
        attributes: thing.attributes.iter().filter(is_allowed).cloned().collect(),
        as_such: allow.iter().any(|rule| is_whole(&rule)),
    })
}

/// Whether somebody may see and change what belongs to nobody.
pub fn is_administrator(rules: &[Value], person: &Person, tenant: &str) -> bool {
    let mut speaking = rules
        .iter()
        .filter(|rule| speaks_of(rule, person, tenant, "Admin"))
        .peekable();
    speaking.peek().is_some() && speaking.all(|rule| rule["effect"] != "Deny")
}

fn speaks_of(rule: &Value, person: &Person, tenant: &str, operation: &str) -> bool {
    let tenant = if tenant.is_empty() { "@default" } else { tenant };
    list(&rule["operations"]).any(|one| one == operation)
        && is_free_or(&rule["on"]["tenants"], |one| one == tenant)
        && list(&rule["subjects"]).any(|one| is_meant(one, person))
}

fn is_meant(subject: &Value, person: &Person) -> bool {
    if subject == "Anonymous" || subject == "Authenticated" {
        return person.is_anonymous == (subject == "Anonymous");
    }
    if person.is_anonymous {
        return false;
    }
    let text = |name: &str| subject[name].as_str().map(str::to_owned);
    if let Some(role) = text("role") {
        return person.roles.contains(&role);
    }
    if let Some(group) = text("group") {
        return person.groups.contains(&group);
    }
    if let Some(client) = text("client") {
        return person.client == Some(client);
    }
    let claim = &subject["claim"];
    person
        .claims
        .iter()
        .any(|(name, value)| claim["name"] == **name && claim["value"] == **value)
}

fn is_on(on: &Value, thing: &Thing) -> bool {
    let is_free = on["ids"].is_null() && on["idPatterns"].is_null();
    let has_id = list(&on["ids"]).any(|id| *id == *thing.id)
        || list(&on["idPatterns"]).any(|pattern| is_found(pattern.as_str().unwrap(), &thing.id));
    is_free_or(&on["types"], |wanted| thing.types.iter().any(|one| wanted == one))
        && (is_free || has_id)
        && is_free_or(&on["scopes"], |term| {
            thing
                .scopes
                .iter()
                .any(|scope| is_like(term.as_str().unwrap(), scope))
        })
        && (on["area"].is_null() || thing.location.iter().any(|line| is_inside(&on["area"], line)))
}

/// Patterns of these tests are a text, with `^` before it or `$` after it.
fn is_found(pattern: &str, id: &str) -> bool {
    match (pattern.strip_prefix('^'), pattern.strip_suffix('$')) {
        (Some(begin), _) => id.starts_with(begin),
        (_, Some(end)) => id.ends_with(end),
        _ => id.contains(pattern),
    }
}

fn is_like(term: &str, scope: &str) -> bool {
    let (wanted, names): (Vec<&str>, Vec<&str>) = (term.split('/').collect(), scope.split('/').collect());
    let (wanted, is_open) = match wanted.split_last() {
        Some((&"#", before)) => (before, true),
        _ => (&wanted[..], false),
    };
    (if is_open {
        names.len() >= wanted.len()
    } else {
        names.len() == wanted.len()
    }) && wanted
        .iter()
        .zip(&names)
        .all(|(wanted, name)| *wanted == "+" || wanted == name)
}

/// Areas of these tests are upright rectangles that are apart, so a line is inside exactly if both its ends are inside of one.
fn is_inside(area: &Value, line: &[(i32, i32)]) -> bool {
    let rectangles: Vec<&Value> = match area["type"].as_str().unwrap() {
        "Polygon" => vec![&area["coordinates"]],
        _ => list(&area["coordinates"]).collect(),
    };
    rectangles.iter().any(|rings| {
        let corner = |at: usize| {
            (
                rings[0][at][0].as_f64().unwrap(),
                rings[0][at][1].as_f64().unwrap(),
            )
        };
        let ((west, south), (east, north)) = (corner(0), corner(2));
        line.iter()
            .all(|(x, y)| (west..=east).contains(&f64::from(*x)) && (south..=north).contains(&f64::from(*y)))
    })
}

fn is_free_or(items: &Value, is_one: impl Fn(&Value) -> bool) -> bool {
    items.is_null() || list(items).any(is_one)
}

fn list(items: &Value) -> impl Iterator<Item = &Value> {
    items.as_array().into_iter().flatten()
}
