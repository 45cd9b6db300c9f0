//! The same rules and requests for all: made from a number, the same in every run.
//!
//! Only what all engines can say: roles, operations, types, ids that begin with a text, scopes and all below, attributes.
//! Areas are left out, for neither Cedar nor Rego knows polygons.

use serde_json::{Value, json};

/// Roles that there are; each rule speaks of one, each person has three.
const ROLES: usize = 20;
const TYPES: usize = 30;
const ATTRIBUTES: usize = 20;
const SCOPES: usize = 10;

/// One request: may this person see this attribute of this entity, or change it?
pub struct Request {
    pub roles: Vec<String>,
    pub operation: &'static str,
    pub id: String,
    pub types: Vec<String>,
    /// With all those above, which an engine without a language for scopes needs.
    pub scopes: Vec<String>,
    pub scopes_and_above: Vec<String>,
    pub attribute: String,
}

/// Numbers that look random (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % bound as u64).unwrap()
    }

    fn several(&mut self, count: usize, bound: usize, name: impl Fn(usize) -> String) -> Vec<String> {
        let mut found: Vec<String> = (0..count).map(|_| name(self.below(bound))).collect();
        found.sort();
        found.dedup();
        found
    }
}

fn role(at: usize) -> String {
    format!("role-{at}")
}

fn of_type(at: usize) -> String {
    format!("https://models.example/Type{at}")
}

fn attribute(at: usize) -> String {
    format!("https://models.example/attribute{at}")
}

fn scope(at: usize) -> String {
    format!("/city/district{at}")
}

/// So many rules, as mim-policy reads them.
pub fn rules(count: usize) -> Vec<Value> {
    let mut dice = Dice(1);
    (0..count)
        .map(|at| {
            let mut on = json!({"types": dice.several(2, TYPES, of_type)});
            if dice.below(4) == 0 {
                on["idPatterns"] = json!([format!("^urn:ngsi-ld:{}:", dice.below(4))]);
            }
            if dice.below(3) == 0 {
                on["scopes"] = json!([format!("{}/#", scope(dice.below(SCOPES)))]);
            }
            if dice.below(2) == 0 {
                on["attributes"] = json!(dice.several(6, ATTRIBUTES, attribute));
            }
            let effect = if at % 10 == 9 { "Deny" } else { "Allow" };
            let operations = if dice.below(3) == 0 {
                json!(["Read", "Update"])
            } else {
                json!(["Read"])
            };
            json!({
                "name": format!("rule-{at}"), "effect": effect, "subjects": [{"role": role(at % ROLES)}],
                "operations": operations, "on": on,
            })
        })
        .collect()
}

/// So many requests.
pub fn requests(count: usize) -> Vec<Request> {
    let mut dice = Dice(2);
    (0..count)
        .map(|at| {
            let district = scope(dice.below(SCOPES));
            Request {
                roles: dice.several(3, ROLES, role),
                operation: if dice.below(4) == 0 { "Update" } else { "Read" },
                id: format!("urn:ngsi-ld:{}:{at}", dice.below(4)),
                types: dice.several(2, TYPES, of_type),
                scopes: vec![format!("{district}/street")],
                scopes_and_above: vec!["/city".to_owned(), district.clone(), format!("{district}/street")],
                attribute: attribute(dice.below(ATTRIBUTES)),
            }
        })
        .collect()
}
