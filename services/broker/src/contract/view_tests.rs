//! What may be asked for, and how it may change.

use super::*;

fn read(body: &str) -> Result<Definition, String> {
    let body = Json::parse(body.as_bytes()).unwrap();
    Definition::read(&body, &Context::core()).map_err(|Refusal(why)| why)
}

fn columns(columns: &str) -> Result<Definition, String> {
    read(&format!(r#"{{"type":"Air","columns":[{columns}]}}"#))
}

const NO2: &str = r#"{"name":"no2","attribute":"no2","type":"number","index":true}"#;
const SEEN: &str = r#"{"name":"seen","attribute":"no2.observedAt","type":"timestamp"}"#;
const CITY: &str = r#"{"name":"city","attribute":"address[city]","type":"text"}"#;

#[test]
fn paths_are_those_of_the_query_language_and_names_are_expanded() {
    let view = columns(&format!("{NO2},{SEEN},{CITY}")).unwrap();
    let iri = |name: &str| format!("https://uri.etsi.org/ngsi-ld/default-context/{name}");
    assert_eq!(view.of_type, iri("Air"));
    let of: Vec<_> = view.columns.iter().map(|c| (&c.attribute[..], &c.of)).collect();
    let (no2, address) = ([iri("no2")], [iri("address")]);
    let city = Of::Member {
        sent: vec!["city".to_owned()],
        expanded: vec![iri("city")],
    };
    assert_eq!(
        of,
        [
            (&no2[..], &Of::Value),
            (&no2[..], &Of::ObservedAt),
            (&address[..], &city)
        ]
    );
    assert_eq!(Definition::stored(&view.to_json()), Some(view));
}

#[test]
fn what_is_no_view_is_refused_in_words() {
    for (body, word) in [
        ("[]", "object"),
        (r#"{"columns":[]}"#, "needs a type"),
        (r#"{"type":"A"}"#, "columns"),
        (r#"{"type":"A","columns":[],"x":1}"#, "\"x\""),
        (r#"{"type":5,"columns":[]}"#, "type is a text"),
        (r#"{"type":"A","language":"d e","columns":[]}"#, "language"),
    ] {
        let why = read(body).unwrap_err();
        assert!(why.contains(word), "{body}: {why}");
    }
    for (column, word) in [
        (r#"{"name":"A","attribute":"a","type":"text"}"#, "no name"),
        (r#"{"name":"id","attribute":"a","type":"text"}"#, "every view"),
        (r#"{"name":"a","attribute":"a","type":"varchar"}"#, "one of"),
        (r#"{"name":"a","attribute":"a b","type":"text"}"#, "attribute"),
        (r#"{"name":"a","attribute":"","type":"text"}"#, "attribute"),
        (r#"{"name":"a","attribute":"a[*]","type":"text"}"#, "language"),
        (
            r#"{"name":"a","attribute":"a.datasetId","type":"text"}"#,
            "observedAt",
        ),
        (
            r#"{"name":"a","attribute":"createdAt","type":"timestamp"}"#,
            "created",
        ),
        (
            r#"{"name":"a","attribute":"a","type":"json","index":true}"#,
            "no index",
        ),
        (
            r#"{"name":"a","attribute":"a","type":"text","index":1}"#,
            "true or false",
        ),
        (r#"{"name":"a","attribute":"a","type":"text","x":1}"#, "\"x\""),
        ("5", "object"),
        (&format!("{NO2},{NO2}"), "twice"),
    ] {
        let why = columns(column).unwrap_err();
        assert!(why.contains(word), "{column}: {why}");
    }
    let many: Vec<String> = (0..9)
        .map(|n| NO2.replace("\"no2\"", &format!("\"n{n}\"")))
        .collect();
    assert!(
        columns(&many.join(","))
            .unwrap_err()
            .contains("at most 8 indexes")
    );
}

#[test]
fn columns_are_added_and_never_removed_or_retyped() {
    let before = columns(&format!("{NO2},{SEEN}")).unwrap();
    let more = columns(&format!("{CITY},{SEEN},{}", NO2.replace("true", "false"))).unwrap();
    let after = more.in_place_of(&before).unwrap();
    let names: Vec<_> = after.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["no2", "seen", "city"], "what is new comes last");
    assert!(!after.columns[0].indexed, "an index is no part of the contract");
    let refused = |new: Result<Definition, String>| new.unwrap().in_place_of(&before).unwrap_err().0;
    assert!(refused(columns(NO2)).contains("cannot be removed"));
    let retyped = NO2.replace("number", "text");
    assert!(refused(columns(&format!("{retyped},{SEEN}"))).contains("stays number"));
    let other = NO2.replace(r#""attribute":"no2""#, r#""attribute":"o3""#);
    assert!(refused(columns(&format!("{other},{SEEN}"))).contains("stays number"));
    let of = |head: &str| read(&format!("{{{head},\"columns\":[{NO2},{SEEN}]}}"));
    assert!(refused(of(r#""type":"Water""#)).contains("the type"));
    assert!(refused(of(r#""type":"Air","language":"de""#)).contains("the language"));
}
