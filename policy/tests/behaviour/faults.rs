//! What is refused of rules, and what is odd about them.

use super::{denying, for_all, of_known, table};
use mim_policy::{Act, Facts, Oddity, Purpose, Refusal, Rule, Table, Verdict};
use serde_json::{Value, json};

fn refusals(rules: Value) -> Vec<Refusal> {
    Table::compile(&super::rules(rules)).unwrap_err()
}

#[test]
fn every_fault_of_every_rule_is_told_with_its_place() {
    let on = json!({"types": ["Tree"], "idPatterns": ["^ok", "["], "scopes": ["/a,/b"], "attributes": []});
    let faults = refusals(json!([
        for_all("first", json!(["Read"]), on),
        for_all("first", json!([]), json!({}))
    ]));
    let told: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    let expected = [
        "rules[0].on.types[0]",
        "rules[0].on.scopes[0]",
        "rules[0].on.attributes",
        "rules[0].on.idPatterns[1]",
        "rules[1].name",
        "rules[1].operations",
    ];
    assert_eq!(told, expected);
    assert!(
        faults
            .iter()
            .all(|fault| fault.rule == "first" && !fault.why.is_empty())
    );
}

#[test]
fn rules_that_could_not_be_obeyed_are_refused() {
    let long = "x".repeat(64);
    let patterns = vec!["x"; 21];
    let costly: Vec<String> = (0..20).map(|at| format!("(a{{200}}){{16}}{at}")).collect();
    let ids: Vec<String> = (0..2000)
        .map(|at| format!("urn:ngsi-ld:Tree:{at:05}:{long}"))
        .collect();
    let subjects = |subjects: Value| json!({"name": "r", "subjects": subjects, "operations": ["Read"]});
    for (rule, path) in [
        (for_all("", json!(["Read"]), json!({})), "name"),
        (for_all(&long, json!(["Read"]), json!({})), "name"),
        (subjects(json!([])), "subjects"),
        (subjects(json!([{"role": ""}])), "subjects[0]"),
        (
            subjects(json!([{"claim": {"name": "a", "value": ""}}])),
            "subjects[0]",
        ),
        (for_all("r", json!(["Admin", "Read"]), json!({})), "operations"),
        (
            for_all("r", json!(["Admin"]), json!({"types": ["urn:T"]})),
            "operations",
        ),
        (
            for_all("r", json!(["Read"]), json!({"tenants": ["a b"]})),
            "on.tenants[0]",
        ),
        (
            for_all("r", json!(["Read"]), json!({"tenants": [""]})),
            "on.tenants[0]",
        ),
        (for_all("r", json!(["Read"]), json!({"ids": ["1"]})), "on.ids[0]"),
        (for_all("r", json!(["Read"]), json!({"ids": ids})), "on"),
        (
            for_all("r", json!(["Read"]), json!({"idPatterns": patterns})),
            "on.idPatterns",
        ),
        (
            for_all("r", json!(["Read"]), json!({"idPatterns": costly})),
            "on.idPatterns",
        ),
        (
            for_all(
                "r",
                json!(["Read"]),
                json!({"attributes": ["https://uri.etsi.org/ngsi-ld/scope"]}),
            ),
            "on.attributes[0]",
        ),
        (
            for_all(
                "r",
                json!(["Read"]),
                json!({"area": {"type": "Point", "coordinates": [0, 0]}}),
            ),
            "on.area",
        ),
    ] {
        let faults = refusals(json!([rule]));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].path, format!("rules[0].{path}"));
    }
    let many: Vec<Value> = (0..501)
        .map(|at| for_all(&format!("r{at}"), json!(["Read"]), json!({})))
        .collect();
    assert_eq!(refusals(json!(many))[0].path, "rules");
}

#[test]
fn members_that_are_not_known_are_refused() {
    for rule in [
        json!({"name": "r", "subjects": ["Anonymous"], "operations": ["Read"], "when": "always"}),
        json!({"name": "r", "subjects": ["Anonymous"], "operations": ["Read"], "on": {"type": ["urn:T"]}}),
        json!({"name": "r", "subjects": [{"user": "x"}], "operations": ["Read"]}),
        json!({"name": "r", "subjects": [{"role": "x", "group": "y"}], "operations": ["Read"]}),
        json!({"name": "r", "subjects": ["Anonymous"], "operations": ["Write"]}),
        json!({"name": "r", "subjects": ["Anonymous"]}),
    ] {
        assert!(serde_json::from_value::<Rule>(rule.clone()).is_err(), "{rule}");
    }
}

fn oddities(rules: Value) -> Vec<(String, Oddity)> {
    table(rules)
        .lint()
        .into_iter()
        .map(|warning| (warning.rule, warning.kind))
        .collect()
}

#[test]
fn what_has_no_effect_is_told() {
    let read = |name: &str, on: Value| for_all(name, json!(["Read"]), on);
    let shadowed = |rule: &str, by: &str| (rule.to_owned(), Oddity::Shadowed { by: by.to_owned() });
    let never = |rule: &str| (rule.to_owned(), Oddity::NeverMatches);
    let trees = json!({"types": ["urn:Tree"]});
    assert_eq!(
        oddities(json!([read("a", trees.clone()), read("b", json!({}))])),
        [shadowed("a", "b")]
    );
    assert_eq!(
        oddities(json!([read("a", json!({})), read("b", json!({}))])),
        [shadowed("b", "a")]
    );
    let denied = json!([
        read("a", trees.clone()),
        denying("b", json!(["Read"]), trees.clone())
    ]);
    assert_eq!(oddities(denied), [shadowed("a", "b")]);
    let without = json!({"attributes": ["urn:a"]});
    let hidden = json!([read("a", without.clone()), denying("b", json!(["Read"]), without)]);
    assert_eq!(oddities(hidden), [], "the entity is still seen");
    assert_eq!(
        oddities(json!([denying("a", json!(["Read"]), json!({}))])),
        [never("a")]
    );
    for pattern in ["^/trees", "a b", "^$"] {
        assert_eq!(
            oddities(json!([read("a", json!({"idPatterns": [pattern]}))])),
            [never("a")],
            "{pattern}"
        );
    }
    let role = json!({"name": "a", "subjects": [{"role": "x"}], "operations": ["Read"]});
    assert_eq!(
        oddities(json!([role, read("b", json!({}))])),
        [shadowed("a", "b")]
    );
    let anonymous = json!({"name": "a", "subjects": ["Anonymous"], "operations": ["Read"]});
    assert_eq!(oddities(json!([anonymous, read("b", json!({}))])), []);
    let elsewhere = read("b", json!({"tenants": ["north"]}));
    assert_eq!(
        oddities(json!([read("a", json!({"tenants": ["south"]})), elsewhere])),
        []
    );
    assert_eq!(
        oddities(json!([
            read("a", trees),
            read("b", json!({"types": ["urn:Lamp"]}))
        ])),
        []
    );
}

#[test]
fn a_warning_is_one_flat_object() {
    let read = |name: &str| for_all(name, json!(["Read"]), json!({}));
    let warnings = table(json!([read("a"), read("b")])).lint();
    let told =
        json!([{"rule": "b", "kind": "Shadowed", "by": "a", "why": "\"a\" allows all that it allows"}]);
    assert_eq!(serde_json::to_value(warnings).unwrap(), told);
}

#[test]
fn where_the_past_cannot_be_written_for_want_of_words_is_told() {
    let past = |on: Value| for_all("past", json!(["Temporal"]), on);
    let write = |on: Value| for_all("write", json!(["Update"]), on);
    let said = |one: Value, other: Value| oddities(json!([past(one), write(other)]));
    let types = |names: &[&str]| json!({"types": names});
    let unsaid = [(
        "past".to_owned(),
        Oddity::PastUnsaid {
            with: "write".to_owned(),
        },
    )];
    assert_eq!(said(types(&["urn:T"]), types(&["urn:U"])), unsaid);
    assert_eq!(
        said(json!({"idPatterns": ["^urn:a"]}), json!({"idPatterns": ["b$"]})),
        unsaid
    );
    assert_eq!(
        said(json!({"scopes": ["/a/+"]}), json!({"scopes": ["/+/b"]})),
        unsaid
    );
    assert_eq!(said(types(&["urn:T", "urn:U"]), types(&["urn:U"])), []);
    assert_eq!(said(json!({"scopes": ["/a/#"]}), json!({"scopes": ["/a/b"]})), []);
    assert_eq!(said(json!({"ids": ["urn:a"]}), json!({"ids": ["urn:b"]})), []);
    assert_eq!(said(types(&["urn:T"]), json!({"ids": ["urn:b"]})), []);
}

#[test]
fn many_large_rules_are_checked_and_what_they_come_to_is_refused_in_bounded_work() {
    // Nothing of these can be put together, and each names all that is costly.
    let rule = |at: usize| {
        let on = json!({
            "tenants": [format!("t{}", 2 * at), format!("t{}", 2 * at + 1)],
            "types": [format!("urn:T{at}"), "urn:U"],
            "idPatterns": [format!("^urn:{at}:"), format!("{at}$")],
            "scopes": [format!("/a/{at}"), format!("/+/{at}/#")],
            "attributes": [format!("urn:a{at}"), "urn:b"],
        });
        for_all(&format!("r{at}"), json!(["Read", "Update", "Temporal"]), on)
    };
    let apart: Vec<Value> = (0..500).map(rule).collect();
    assert_eq!(oddities(json!(apart)), []);
    let mut together = apart;
    for rule in &mut together {
        rule["on"].as_object_mut().unwrap().remove("tenants");
    }
    let table = table(json!(together));
    let rules = of_known(&table);
    assert!(table.narrow(&rules, Purpose::Past).is_err());
    let facts = Facts {
        attributes: &["urn:b"],
        ..Facts::default()
    };
    assert_eq!(table.decide(&rules, Act::Read, &facts).verdict, Verdict::Depends);
    let past = table.decide(&rules, Act::UpdatePast, &facts);
    assert_eq!(past.verdict, Verdict::Denied, "as nothing is sent");
    let warnings = table.lint();
    let too_large = warnings
        .iter()
        .filter(|warning| warning.kind == Oddity::MayBeTooLarge);
    assert_eq!(too_large.count(), 500);
}
