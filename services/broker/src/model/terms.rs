//! What an entity can be found by in the one inverted index: numbers that stand for "has this attribute" and "this
//! attribute has this value".
//!
//! An index over the whole document would have to change with each new measurement. Terms leave out what changes all
//! the time and is not searched by equality: numbers, times of observation. So an update of a sensor's value changes
//! no index at all (a heap-only update). Terms only narrow a search down: two values may share one, and each query
//! also tests the document itself. The tenant is part of each term, so no tenant's index scan meets another's rows.

use crate::model::entity::{Attributes, Instance};
use crate::model::json::Json;

/// The longest array whose items are terms each; a longer one has the term [`of_any`] instead.
const MAX_ITEMS: usize = 64;

/// The term of "has this attribute".
#[must_use]
pub fn of_attribute(tenant: i32, iri: &str) -> i64 {
    hash(tenant, iri, 'a', "")
}

/// The term of "this attribute is, or contains, this text".
#[must_use]
pub fn of_text(tenant: i32, iri: &str, text: &str) -> i64 {
    hash(tenant, iri, 's', text)
}

/// The term of "this attribute is, or contains, this truth value".
#[must_use]
pub fn of_bool(tenant: i32, iri: &str, value: bool) -> i64 {
    hash(tenant, iri, 'b', if value { "1" } else { "0" })
}

/// The term of an attribute with too many items to name them: whatever is searched, it may contain it.
#[must_use]
pub fn of_any(tenant: i32, iri: &str) -> i64 {
    hash(tenant, iri, '*', "")
}

/// All terms of an entity, sorted, each once.
#[must_use]
pub fn of_attributes(tenant: i32, attributes: &Attributes) -> Vec<i64> {
    let mut terms = Vec::with_capacity(attributes.len() * 2);
    for (iri, instances) in attributes {
        terms.push(of_attribute(tenant, iri));
        for instance in instances {
            of_instance(&mut terms, tenant, iri, instance);
        }
    }
    terms.sort_unstable();
    terms.dedup();
    terms
}

fn of_instance(terms: &mut Vec<i64>, tenant: i32, iri: &str, instance: &Instance) {
    match &instance.value {
        Json::Array(items) if items.len() > MAX_ITEMS => terms.push(of_any(tenant, iri)),
        Json::Array(items) => items.iter().for_each(|item| of_scalar(terms, tenant, iri, item)),
        // The typed form of JSON-LD is searched as the plain value.
        Json::Object(_) => {
            if let Some(value) = instance.value.get("@value") {
                of_scalar(terms, tenant, iri, value);
            }
        }
        scalar => of_scalar(terms, tenant, iri, scalar),
    }
}

fn of_scalar(terms: &mut Vec<i64>, tenant: i32, iri: &str, value: &Json) {
    match value {
        Json::String(text) => terms.push(of_text(tenant, iri, text)),
        Json::Bool(value) => terms.push(of_bool(tenant, iri, *value)),
        _ => {}
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which the index needs.
fn hash(tenant: i32, iri: &str, kind: char, value: &str) -> i64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    let tenant = tenant.to_le_bytes();
    let kind = [0xff, u8::try_from(kind).unwrap_or_default(), 0xff];
    // 0xff occurs in no UTF-8 text, so the parts cannot run into one another.
    for byte in tenant
        .iter()
        .chain(iri.as_bytes())
        .chain(&kind)
        .chain(value.as_bytes())
    {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stored;

    #[test]
    fn terms_never_change_between_versions() {
        assert_eq!(of_attribute(1, "urn:a"), 8_975_900_970_356_281_527);
        assert_eq!(
            of_text(7, "https://schema.org/name", "x"),
            482_999_691_092_756_833
        );
    }

    #[test]
    fn a_new_measurement_changes_no_term() {
        let one = stored::read(
            r#"{"urn:t":[{"type":"Property","value":21.5,"observedAt":"2024-01-01T00:00:00Z"}]}"#,
        )
        .unwrap();
        let two = stored::read(
            r#"{"urn:t":[{"type":"Property","value":22.5,"observedAt":"2024-01-01T00:05:00Z"}]}"#,
        )
        .unwrap();
        assert_eq!(of_attributes(1, &one), of_attributes(1, &two));
        assert_ne!(of_attributes(1, &one), of_attributes(2, &one));
    }

    #[test]
    fn texts_truth_values_and_items_of_arrays_are_terms() {
        let attributes = stored::read(r#"{"urn:t":[{"type":"Property","value":["a",true,5]}],"urn:r":[{"type":"Relationship","value":"urn:x"}]}"#).unwrap();
        let terms = of_attributes(1, &attributes);
        for term in [
            of_attribute(1, "urn:t"),
            of_text(1, "urn:t", "a"),
            of_bool(1, "urn:t", true),
            of_attribute(1, "urn:r"),
            of_text(1, "urn:r", "urn:x"),
        ] {
            assert!(terms.contains(&term));
        }
        assert_eq!(terms.len(), 5);
    }

    #[test]
    fn long_arrays_have_one_term() {
        let items = (0..100).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
        let attributes = stored::read(&format!(
            r#"{{"urn:t":[{{"type":"Property","value":[{items}]}}]}}"#
        ))
        .unwrap();
        assert_eq!(of_attributes(1, &attributes).len(), 2);
        assert!(of_attributes(1, &attributes).contains(&of_any(1, "urn:t")));
    }
}
