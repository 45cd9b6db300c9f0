use super::*;
use crate::model::change::create;
use crate::model::read::{Nulls, Reader};
use jiff::Timestamp;

fn shown(text: &str, representation: Representation, sys_attrs: bool) -> String {
    let context = Context::core();
    let json = Json::parse(text.as_bytes()).unwrap();
    let fragment = Reader {
        context: &context,
        nulls: Nulls::Refused,
    }
    .entity(&json)
    .unwrap();
    let entity = create(fragment, Timestamp::UNIX_EPOCH);
    let view = View {
        context: &context,
        representation,
        sys_attrs,
        only: None,
        with_context: false,
    };
    let mut out = String::new();
    view.entity(&entity, &mut out);
    out
}

const ROOM: &str = r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"],"p":{"type":"Property","value":1,"q":{"type":"Property","value":2}}}"#;

#[test]
fn system_times_are_inherited_by_what_has_none() {
    let text = shown(ROOM, Representation::Normalized, true);
    assert_eq!(
        text.matches("\"createdAt\":\"1970-01-01T00:00:00.000000Z\"")
            .count(),
        3
    );
    assert_eq!(
        text.matches("\"modifiedAt\":\"1970-01-01T00:00:00.000000Z\"")
            .count(),
        3
    );
    assert!(!shown(ROOM, Representation::Normalized, false).contains("createdAt"));
}

#[test]
fn representations_of_one_entity() {
    assert_eq!(
        shown(ROOM, Representation::Concise, false),
        r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"],"p":{"value":1,"q":2}}"#
    );
    assert_eq!(
        shown(ROOM, Representation::Simplified, false),
        r#"{"id":"urn:x:1","type":"T","scope":["/a","/b"],"p":1}"#
    );
}

#[test]
fn a_property_that_looks_like_a_geometry_keeps_its_type_when_concise() {
    let text =
        r#"{"id":"urn:x:1","type":"T","p":{"type":"Property","value":{"type":"Point","coordinates":[1,2]}}}"#;
    assert!(shown(text, Representation::Concise, false).contains("\"type\":\"Property\""));
}
