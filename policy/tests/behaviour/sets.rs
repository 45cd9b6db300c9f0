//! What the broker is sent.

use super::{denying, for_all, of_known, rules, sent, table};
use mim_policy::{Identity, NoSubject, Oddity, Purpose, Subject, Table};
use serde_json::{Value, json};

#[test]
fn grants_that_differ_in_one_list_travel_as_one_and_covered_ones_not_at_all() {
    let of = |name: &str, on: Value| for_all(name, json!(["Read"]), on);
    let table = table(json!([
        of("a", json!({"types": ["urn:T"], "attributes": ["urn:a"]})),
        of("b", json!({"types": ["urn:U"], "attributes": ["urn:a"]})),
        of("c", json!({"types": ["urn:T", "urn:U"], "attributes": ["urn:b"]})),
        of("d", json!({"ids": ["urn:t:1"], "idPatterns": ["^urn:x:"]})),
        of("e", json!({"ids": ["urn:t:2"]})),
        of(
            "f",
            json!({"ids": ["urn:t:2"], "scopes": ["/a/b"], "attributes": ["urn:c"]})
        ),
        of("g", json!({"scopes": ["/a/+"], "types": ["urn:V"]})),
        of("h", json!({"scopes": ["/a/#"], "types": ["urn:V"]})),
    ]));
    let expected = json!([
        {"types": ["urn:T", "urn:U"], "attributes": ["urn:a", "urn:b"]},
        {"ids": ["urn:t:1", "urn:t:2"], "idPatterns": ["^urn:x:"]},
        {"scopes": ["/a/#"], "types": ["urn:V"]},
    ]);
    assert_eq!(
        sent(&table, Purpose::Entities)["read"],
        json!({"allow": expected})
    );
}

#[test]
fn a_denial_of_everything_leaves_nothing_to_be_sent() {
    let table = table(json!([
        for_all("some", json!(["Read", "Update"]), json!({"types": ["urn:T"]})),
        denying("none", json!(["Read"]), json!({})),
        denying("idle", json!(["Delete"]), json!({"types": ["urn:T"]})),
    ]));
    let set = sent(&table, Purpose::Entities);
    assert_eq!(
        set.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["admin", "subject", "update", "version"]
    );
}

#[test]
fn the_past_is_written_where_both_operations_are_allowed() {
    let table = table(json!([
        for_all("past", json!(["Temporal"]), json!({"types": ["urn:T"]})),
        for_all("write", json!(["Update"]), json!({"idPatterns": ["^urn:t:"]})),
        denying("not-a", json!(["Temporal"]), json!({"attributes": ["urn:a"]})),
        denying("not-b", json!(["Update"]), json!({"attributes": ["urn:b"]})),
    ]));
    let set = sent(&table, Purpose::Past);
    assert_eq!(
        set["read"],
        json!({"allow": [{"types": ["urn:T"]}], "deny": [{"attributes": ["urn:a"]}]})
    );
    let update = json!({"allow": [{"types": ["urn:T"], "idPatterns": ["^urn:t:"]}], "deny": [{"attributes": ["urn:a", "urn:b"]}]});
    assert_eq!(set["update"], update);
    assert_eq!(set.get("create"), None);
    assert_eq!(sent(&table, Purpose::Subscriptions).get("read"), None);
}

#[test]
fn many_rules_about_the_past_that_can_be_one_are_so_before_they_are_compared() {
    let types = |from: usize| (from..from + 40).map(|at| format!("urn:T{at:02}"));
    let of = |kind: &str, operation: &str, from: usize| -> Vec<Value> {
        let rule = |name: String| {
            for_all(
                &format!("{kind}-{name}"),
                json!([operation]),
                json!({"types": [name]}),
            )
        };
        types(from).map(rule).collect()
    };
    let table = table(json!(
        [of("past", "Temporal", 10), of("all", "Update", 0)].concat()
    ));
    let allowed = json!([{"types": types(10).take(30).collect::<Vec<_>>()}]);
    assert_eq!(sent(&table, Purpose::Past)["update"], json!({"allow": allowed}));
}

#[test]
fn a_header_is_the_same_json_for_subjects_of_any_length() {
    use base64::Engine as _;
    let table = table(json!([for_all("all", json!(["Read"]), json!({}))]));
    let set = table.narrow(&of_known(&table), Purpose::Entities).unwrap();
    for subject in [
        "s",
        "su",
        "sub",
        "subj",
        "a \"quoted\" one",
        "größe",
        &"\\".repeat(1024),
    ] {
        let header = set.to_header(subject).unwrap();
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(header)
            .unwrap();
        let json: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            json,
            json!({"version": 1, "subject": subject, "admin": false, "read": {"allow": [{}]}})
        );
    }
    for bad in ["", "a\nb", &"s".repeat(1025)] {
        assert_eq!(set.to_header(bad), Err(NoSubject), "{bad:?}");
    }
}

#[test]
fn a_set_that_the_broker_would_not_take_is_an_error_that_names_the_rules_and_a_warning_before() {
    let rule = |at: usize| {
        // Of each another type and another attribute, so that no two can be one.
        let on = json!({"types": [format!("urn:T{at}")], "attributes": [format!("urn:a{at}")]});
        json!({"name": format!("rule-{at}"), "subjects": [{"role": format!("role-{at}")}], "operations": ["Read"], "on": on})
    };
    let of = |count: usize| table((0..count).map(rule).collect());
    let all = |count: usize| {
        let roles = (0..count).map(|at| format!("role-{at}")).collect();
        Subject::Known(Identity {
            roles,
            ..Identity::default()
        })
    };
    let fits = of(50);
    assert!(
        fits.narrow(&fits.matching(&all(50), ""), Purpose::Entities)
            .is_ok()
    );
    assert_eq!(fits.lint(), []);

    let table = of(51);
    let fault = table
        .narrow(&table.matching(&all(51), ""), Purpose::Entities)
        .unwrap_err();
    assert_eq!(
        fault.what,
        "50 grants are the most in read.allow, and these are 51"
    );
    assert_eq!(fault.rules.len(), 51);
    let warnings = table.lint();
    assert_eq!(warnings.len(), 51);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.kind == Oddity::MayBeTooLarge)
    );
    assert!(
        table
            .narrow(&table.matching(&all(10), ""), Purpose::Entities)
            .is_ok(),
        "who has less is served"
    );
}

#[test]
fn the_largest_set_that_is_made_is_one_that_the_broker_takes() {
    let ids = |count: usize| {
        (0..count)
            .map(|at| format!("urn:ngsi-ld:Tree:{at:05}"))
            .collect::<Vec<_>>()
    };
    let of = |count: usize| {
        rules(json!([for_all(
            "many",
            json!(["Read"]),
            json!({"ids": ids(count)})
        )]))
    };
    let largest = (1000..2000)
        .rev()
        .find_map(|count| Table::compile(&of(count)).ok())
        .unwrap();
    let set = largest.narrow(&of_known(&largest), Purpose::Entities).unwrap();
    let header = set.to_header(&"\"".repeat(1024)).unwrap();
    assert!((40_000..=48 * 1024).contains(&header.len()), "{}", header.len());
    assert!((40_000..=48 * 1024).contains(&set.weight()), "{}", set.weight());
    mim_broker::permissions::wire::read(header.as_bytes()).unwrap();
}
