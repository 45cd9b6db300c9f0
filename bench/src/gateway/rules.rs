//! Rules of a city, as the gateway gets them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::Error;

/// How many rules there are.
const RULES: usize = 20;

/// Writes a bundle of rules into a folder.
pub fn write(folder: &Path) -> Result<(), Error> {
    let rules: Vec<Value> = (0..RULES).map(rule).collect();
    let parts = [("policy".to_owned(), json!({"rules": rules}))].into();
    let packed = mim_bundle::pack(&parts).map_err(|error| Error::Unexpected(error.to_string()))?;
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, content).map_err(Error::file(&path))
    };
    for (number, piece) in packed.slots.iter().enumerate() {
        write(&mim_bundle::slot(number), piece)?;
    }
    write(mim_bundle::MANIFEST, &packed.manifest)
}

/// Half of them speak of everybody who is known, the others of a role each.
fn rule(number: usize) -> Value {
    let subject = if number.is_multiple_of(2) {
        json!("Authenticated")
    } else {
        json!({"role": format!("role-{number}")})
    };
    json!({
        "name": format!("rule-{number}"),
        "subjects": [subject],
        "operations": ["Read", "Update"],
        "on": {
            "types": [format!("https://models.example/Type{number}")],
            "attributes": [format!("https://models.example/attribute{number}")],
        },
    })
}
