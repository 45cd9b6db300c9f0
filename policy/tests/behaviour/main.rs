//! What a table does, case by case.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "rules are written where they are used"
)]

mod decisions;
mod faults;
mod sets;

use mim_policy::{Identity, Purpose, Rule, RuleSet, Subject, Table};
use serde_json::{Value, json};

fn rules(rules: Value) -> Vec<Rule> {
    serde_json::from_value(rules).unwrap()
}

fn table(json: Value) -> Table {
    Table::compile(&rules(json)).unwrap()
}

/// A rule of this name for everybody who is known.
fn for_all(name: &str, operations: Value, on: Value) -> Value {
    json!({"name": name, "subjects": ["Authenticated"], "operations": operations, "on": on})
}

fn denying(name: &str, operations: Value, on: Value) -> Value {
    let mut rule = for_all(name, operations, on);
    rule["effect"] = json!("Deny");
    rule
}

fn known() -> Subject {
    Subject::Known(Identity::default())
}

fn of_known(table: &Table) -> RuleSet {
    table.matching(&known(), "")
}

/// The JSON that the broker reads.
fn sent(table: &Table, purpose: Purpose) -> Value {
    use base64::Engine as _;
    let header = table
        .narrow(&of_known(table), purpose)
        .unwrap()
        .to_header("urn:me")
        .unwrap();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .unwrap();
    serde_json::from_slice(&text).unwrap()
}
