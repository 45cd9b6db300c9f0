use super::*;
use crate::model::json::Json;
use crate::model::stored;
use jiff::Timestamp;
use proptest::prelude::*;

fn rules(text: &str) -> Rules {
    wire::rules(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

fn entity(id: &str, types: &[&str], scope: &[&str], attributes: &str) -> Entity {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Entity {
        id: id.to_owned(),
        types: texts(types),
        scope: texts(scope),
        attributes: stored::read(attributes).unwrap(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    }
}

const PARK: &str = r#"{"urn:a":[{"type":"Property","value":1}],"urn:b":[{"type":"Property","value":2}],
    "https://uri.etsi.org/ngsi-ld/location":[{"type":"GeoProperty","value":{"type":"Point","coordinates":[8.5,47.4]}}]}"#;

fn seen(rules: &str) -> Option<Vec<String>> {
    let park = entity("urn:park:1", &["urn:Park", "urn:Place"], &["/city/north"], PARK);
    let seen = self::rules(rules).seen(park)?;
    Some(seen.attributes.into_keys().collect())
}

const ALL: [&str; 3] = ["https://uri.etsi.org/ngsi-ld/location", "urn:a", "urn:b"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn nothing_is_allowed_that_no_grant_allows() {
    assert_eq!(seen(r#"{"allow":[]}"#), None);
    assert!(
        Rules::default()
            .seen(entity("urn:x:1", &["urn:T"], &[], "{}"))
            .is_none()
    );
    assert_eq!(seen(r#"{"allow":[{}]}"#), Some(names(&ALL)));
}

#[test]
fn members_of_a_grant_hold_at_once_and_one_item_of_each_is_enough() {
    for (grant, expected) in [
        (r#"{"types":["urn:Park"]}"#, true),
        (r#"{"types":["urn:Lamp","urn:Place"]}"#, true),
        (r#"{"types":["urn:Lamp"]}"#, false),
        (r#"{"ids":["urn:park:1"]}"#, true),
        (r#"{"ids":["urn:park:2"],"idPatterns":["^urn:park:"]}"#, true),
        (r#"{"ids":["urn:park:2"],"idPatterns":["^urn:lamp:"]}"#, false),
        (r#"{"types":["urn:Lamp"],"ids":["urn:park:1"]}"#, false),
        (r#"{"scopes":["/city/#"]}"#, true),
        (r#"{"scopes":["/city","/city/south"]}"#, false),
        (r#"{"types":["urn:Park"],"scopes":["/land/#"]}"#, false),
        (
            r#"{"area":{"type":"Polygon","coordinates":[[[8,47],[9,47],[9,48],[8,48],[8,47]]]}}"#,
            true,
        ),
        (
            r#"{"area":{"type":"Polygon","coordinates":[[[8,46],[9,46],[9,47],[8,47],[8,46]]]}}"#,
            false,
        ),
    ] {
        let found = seen(&format!(r#"{{"allow":[{grant}]}}"#));
        assert_eq!(found, expected.then(|| names(&ALL)), "{grant}");
        let denied = seen(&format!(r#"{{"allow":[{{}}],"deny":[{grant}]}}"#));
        assert_eq!(denied, (!expected).then(|| names(&ALL)), "{grant}");
    }
}

#[test]
fn an_entity_has_the_attributes_of_all_grants_that_it_is_in_and_not_those_that_are_denied() {
    for (rules, expected) in [
        (r#"{"allow":[{"attributes":["urn:a"]}]}"#, Some(&["urn:a"][..])),
        (r#"{"allow":[{"attributes":["urn:none"]}]}"#, Some(&[][..])),
        (
            r#"{"allow":[{"attributes":["urn:a"]},{"scopes":["/city/north"],"attributes":["urn:b"]},{"types":["urn:Lamp"]}]}"#,
            Some(&["urn:a", "urn:b"][..]),
        ),
        (
            r#"{"allow":[{"attributes":["urn:a"]},{"types":["urn:Park"]}]}"#,
            Some(&ALL[..]),
        ),
        (
            r#"{"allow":[{}],"deny":[{"attributes":["urn:a","https://uri.etsi.org/ngsi-ld/location"]}]}"#,
            Some(&["urn:b"][..]),
        ),
        (
            r#"{"allow":[{}],"deny":[{"attributes":["urn:a"]},{"types":["urn:Place"]}]}"#,
            None,
        ),
        (
            r#"{"allow":[{"attributes":["urn:a"]}],"deny":[{"attributes":["urn:a"]}]}"#,
            Some(&[][..]),
        ),
    ] {
        assert_eq!(seen(rules), expected.map(names), "{rules}");
    }
}

/// Which attributes of these are shared of the park, of which only the past is known.
fn shared_of_past(rules: &str) -> Option<Vec<String>> {
    let past = past::past_only("urn:park:1", &names(&["urn:Park", "urn:Place"]));
    let rules = self::rules(rules);
    let share = rules.share_of_past_only(&mut Subject::of(&past))?;
    Some(names(&ALL).into_iter().filter(|iri| share.has(iri)).collect())
}

#[test]
fn of_an_entity_of_the_past_only_what_is_denied_by_scope_or_place_is_denied() {
    const AREA: &str = r#""area":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1],[0,0]]]}"#;
    for by in [r#""scopes":["/far"]"#, AREA] {
        for (rules, expected) in [
            (format!(r#"{{"allow":[{{{by}}}]}}"#), None),
            (format!(r#"{{"allow":[{{}}],"deny":[{{{by}}}]}}"#), None),
            (
                format!(r#"{{"allow":[{{}}],"deny":[{{{by},"types":["urn:Park"]}}]}}"#),
                None,
            ),
            (
                format!(r#"{{"allow":[{{}}],"deny":[{{{by},"types":["urn:Lamp"]}}]}}"#),
                Some(&ALL[..]),
            ),
            (
                format!(r#"{{"allow":[{{}}],"deny":[{{{by},"attributes":["urn:a"]}}]}}"#),
                Some(&[ALL[0], ALL[2]][..]),
            ),
            (
                format!(r#"{{"allow":[{{{by}}},{{"ids":["urn:park:1"],"attributes":["urn:a"]}}]}}"#),
                Some(&["urn:a"][..]),
            ),
        ] {
            assert_eq!(shared_of_past(&rules), expected.map(names), "{rules}");
        }
    }
    assert_eq!(shared_of_past(r#"{"allow":[{}]}"#), Some(names(&ALL)));
}

#[test]
fn only_a_grant_of_everything_and_no_denial_is_unlimited() {
    assert!(rules(r#"{"allow":[{"types":["urn:T"]},{}]}"#).are_unlimited());
    for limited in [
        r#"{"allow":[]}"#,
        r#"{"allow":[{"attributes":["urn:a"]}]}"#,
        r#"{"allow":[{"idPatterns":["x"]}]}"#,
        r#"{"allow":[{"scopes":["/a"]}]}"#,
        r#"{"allow":[{}],"deny":[{"attributes":["urn:a"]}]}"#,
    ] {
        assert!(!rules(limited).are_unlimited(), "{limited}");
    }
}

fn set(text: &str) -> Result<Permissions, Refusal> {
    wire::of_json(&Json::parse(text.as_bytes()).unwrap())
}

#[test]
fn row_broker_a_permission_set_that_is_not_understood_is_refused_whole() {
    assert!(set(r#"{"version":1,"subject":"s","admin":true,"read":{"allow":[{}]}}"#).is_ok());
    let patterns = vec!["\"x\""; 21].join(",");
    let grants = vec!["{}"; 51].join(",");
    let positions = vec!["[0,0]"; 2000].join(",");
    for read in [
        "[]",
        "{}",
        r#"{"deny":[]}"#,
        r#"{"allow":{}}"#,
        r#"{"allow":[],"except":[]}"#,
        r#"{"allow":[[]]}"#,
        r#"{"allow":[{"type":["urn:T"]}]}"#,
        r#"{"allow":[{"types":"urn:T"}]}"#,
        r#"{"allow":[{"types":[]}]}"#,
        r#"{"allow":[{"types":["T"]}]}"#,
        r#"{"allow":[{"ids":[5]}]}"#,
        r#"{"allow":[{"idPatterns":["["]}]}"#,
        r#"{"allow":[{"scopes":["/a,/b"]}]}"#,
        r#"{"allow":[{"scopes":["a"]}]}"#,
        r#"{"allow":[{"attributes":[]}]}"#,
        r#"{"allow":[{"attributes":["a"]}]}"#,
        r#"{"allow":[{"attributes":["https://uri.etsi.org/ngsi-ld/scope"]}]}"#,
        r#"{"allow":[{"area":{"type":"Point","coordinates":[1,2]}}]}"#,
        r#"{"allow":[{"area":{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}}]}"#,
        r#"{"allow":[{"area":{"type":"Polygon","coordinates":[],"bbox":[]}}]}"#,
        &format!(r#"{{"allow":[{{"idPatterns":[{patterns}]}}]}}"#),
        &format!(r#"{{"allow":[{grants}]}}"#),
        &format!(r#"{{"allow":[{{"area":{{"type":"Polygon","coordinates":[[{positions}]]}}}}]}}"#),
    ] {
        let whole = format!(r#"{{"version":1,"subject":"s","read":{read}}}"#);
        assert!(set(&whole).is_err(), "{read:.80}");
    }
    for whole in [
        "[]",
        "{}",
        r#"{"subject":"s"}"#,
        r#"{"version":2,"subject":"s"}"#,
        r#"{"version":"1","subject":"s"}"#,
        r#"{"version":1}"#,
        r#"{"version":1,"subject":""}"#,
        r#"{"version":1,"subject":5}"#,
        r#"{"version":1,"subject":"s","admin":1}"#,
        r#"{"version":1,"subject":"s","write":{"allow":[{}]}}"#,
    ] {
        assert!(set(whole).is_err(), "{whole}");
    }
    assert!(wire::read(&vec![b'A'; wire::MAX_VALUE + 1]).is_err());
}

proptest! {
    #[test]
    fn row_broker_any_value_of_the_permission_header_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9]{0,120}") {
        use base64::Engine as _;
        let _ = wire::read(&bytes);
        let value = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&text);
        let _ = wire::read(value.as_bytes());
    }
}
