use super::*;
use crate::context::Context;
use crate::model::read::Nulls;
use proptest::prelude::*;

fn reader(context: &Context) -> Reader<'_> {
    Reader {
        context,
        nulls: Nulls::Refused,
    }
}

fn read(text: &str) -> Result<PastFragment, Refusal> {
    let json = Json::parse(text.as_bytes()).unwrap();
    reader(&Context::core()).past_entity(&json)
}

fn one(name: &str, text: &str) -> Result<(String, Instance), Refusal> {
    let json = Json::parse(text.as_bytes()).unwrap();
    reader(&Context::core()).past_instance(name, &json)
}

#[test]
fn attributes_are_arrays_of_instances_also_several_of_one_dataset() {
    let found = read(
        r#"{"id":"urn:x:1","type":["A","B"],"createdAt":"2024-01-01T00:00:00Z",
            "speed":[{"type":"Property","value":1,"observedAt":"2024-01-01T00:00:00Z","instanceId":"urn:i:1"},
                     {"value":2,"observedAt":"2024-01-02T00:00:00Z"},{"object":"urn:y:1","datasetId":"urn:d:1"}],
            "location":{"type":"Point","coordinates":[8,40]}}"#,
    )
    .unwrap();
    assert_eq!((found.id.as_deref(), found.types.len()), (Some("urn:x:1"), 2));
    let counts: Vec<_> = found.attributes.values().map(Vec::len).collect();
    assert_eq!(counts, [3, 1]);
    let speed = found
        .attributes
        .values()
        .find(|instances| instances.len() == 3)
        .unwrap();
    assert_eq!(speed[2].kind, Kind::Relationship);
    assert_eq!(
        found.attributes["https://uri.etsi.org/ngsi-ld/location"][0].kind,
        Kind::GeoProperty
    );
}

#[test]
fn scopes_come_plain_or_instance_by_instance() {
    let plain = read(r#"{"id":"urn:x:1","type":"A","scope":["/a","/b/c"]}"#).unwrap();
    assert_eq!(plain.scopes.len(), 1);
    assert_eq!(plain.scopes[0].value.to_text(), r#"["/a","/b/c"]"#);
    let several = read(
        r#"{"id":"urn:x:1","type":"A","scope":[{"type":"Property","value":["/a"],"observedAt":"2024-01-01T00:00:00Z"},{"value":"/b"}]}"#,
    )
    .unwrap();
    assert_eq!(several.scopes.len(), 2);
    assert_eq!(
        several.scopes[0].observed_at.as_deref(),
        Some("2024-01-01T00:00:00Z")
    );
    assert_eq!(several.scopes[1].value.to_text(), r#"["/b"]"#);
}

#[test]
fn what_is_no_past_is_refused() {
    let many = vec![r#"{"value":1}"#; 10_001].join(",");
    for bad in [
        "[]",
        r#"{"type":"A"}"#,
        r#"{"id":"urn:x:1"}"#,
        r#"{"id":"x","type":"A"}"#,
        r#"{"id":"urn:x:1","type":"A","a":[]}"#,
        r#"{"id":"urn:x:1","type":"A","a":[1,2]}"#,
        r#"{"id":"urn:x:1","type":"A","a":5}"#,
        r#"{"id":"urn:x:1","type":"A","a":[{"type":"Property"}]}"#,
        r#"{"id":"urn:x:1","type":"A","a":[{"value":"urn:ngsi-ld:null"}]}"#,
        r#"{"id":"urn:x:1","type":"A","a-b":[{"value":1}]}"#,
        r#"{"id":"urn:x:1","type":"A","location":[{"type":"Property","value":1}]}"#,
        r#"{"id":"urn:x:1","type":"A","https://uri.etsi.org/ngsi-ld/scope":[{"value":1}]}"#,
        r#"{"id":"urn:x:1","type":"A","scope":["a b"]}"#,
        r#"{"id":"urn:x:1","type":"A","scope":[{"type":"Property"}]}"#,
        r#"{"id":"urn:x:1","type":"A","scope":[{"value":"/a","unitCode":"C"}]}"#,
        r#"{"id":"urn:x:1","type":"A","scope":[{"value":"/a","observedAt":"now"}]}"#,
        r#"{"id":"urn:x:1","type":"A","expiresAt":"2024-01-01T00:00:00Z"}"#,
        &format!(r#"{{"id":"urn:x:1","type":"A","a":[{many}]}}"#),
    ] {
        assert!(read(bad).is_err(), "{bad:.100}");
    }
}

#[test]
fn the_instance_that_replaces_another_comes_in_any_of_three_forms() {
    for body in [
        r#"{"type":"Property","value":5}"#,
        r#"[{"type":"Property","value":5}]"#,
        r#"{"speed":[{"type":"Property","value":5}]}"#,
        r#"{"speed":{"value":5}}"#,
        r#"{"value":5}"#,
    ] {
        let (iri, instance) = one("speed", body).unwrap();
        assert!(iri.ends_with("/speed"));
        assert_eq!(instance.value.to_text(), "5", "{body}");
    }
    for bad in [r#"[{"value":5},{"value":6}]"#, "[]", "5", r#"{"speed":[]}"#] {
        assert!(one("speed", bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(text in "[\\[\\]{}\":a-z,0-9/]{0,40}") {
        if let Ok(json) = Json::parse(text.as_bytes()) {
            let context = Context::core();
            let _ = (reader(&context).past_fragment(&json), reader(&context).past_instance("a", &json));
        }
    }
}
