//! What is decided, and what is said of it.

use super::{denying, for_all, known, of_known, sent, table};
use mim_policy::{
    Act, Applies, Extent, Facts, Known, Location, Place, Purpose, Reason, Subject, Table, Verdict,
};
use serde_json::{Value, json};

#[test]
fn what_no_rule_allows_is_denied_and_no_rule_is_named() {
    let table = table(json!([for_all(
        "read-trees",
        json!(["Read"]),
        json!({"types": ["urn:Tree"]})
    )]));
    let facts = Facts {
        types: Known::Exactly(&["urn:Tree"]),
        ..Facts::default()
    };
    let decision = table.decide(&of_known(&table), Act::Read, &facts);
    assert_eq!(
        (decision.verdict, decision.rule),
        (Verdict::Allowed, Some("read-trees"))
    );
    for (act, facts) in [
        (Act::Update, facts),
        (Act::Administer, facts),
        (
            Act::Read,
            Facts {
                types: Known::Exactly(&["urn:Lamp"]),
                ..facts
            },
        ),
    ] {
        let decision = table.decide(&of_known(&table), act, &facts);
        assert_eq!(
            (decision.verdict, decision.rule),
            (Verdict::Denied, None),
            "{act:?}"
        );
    }
    let nobody = table.matching(&Subject::Anonymous, "");
    assert!(nobody.is_empty());
    assert_eq!(table.decide(&nobody, Act::Read, &facts).verdict, Verdict::Denied);
    let nothing = Table::compile(&[]).unwrap();
    assert_eq!(
        nothing.decide(&of_known(&nothing), Act::Read, &facts).verdict,
        Verdict::Denied
    );
    assert_eq!(
        sent(&nothing, Purpose::Entities),
        json!({"version": 1, "subject": "urn:me", "admin": false})
    );
}

#[test]
fn a_denial_is_named_where_it_decides_and_not_where_nothing_allows() {
    let table = table(json!([
        for_all("read-trees", json!(["Read"]), json!({"types": ["urn:Tree"]})),
        denying("no-owner", json!(["Read"]), json!({"attributes": ["urn:owner"]})),
    ]));
    let rule = |types: &[&str], attributes: &[&str]| {
        let facts = Facts {
            types: Known::Exactly(types),
            attributes,
            ..Facts::default()
        };
        let decision = table.decide(&of_known(&table), Act::Read, &facts);
        (decision.verdict, decision.rule.map(str::to_owned))
    };
    assert_eq!(
        rule(&["urn:Tree"], &["urn:owner"]),
        (Verdict::Denied, Some("no-owner".to_owned()))
    );
    assert_eq!(
        rule(&["urn:Tree"], &["urn:height"]),
        (Verdict::Allowed, Some("read-trees".to_owned()))
    );
    assert_eq!(
        rule(&["urn:Tree"], &[]),
        (Verdict::Allowed, Some("read-trees".to_owned()))
    );
    assert_eq!(rule(&["urn:Lamp"], &[]), (Verdict::Denied, None));
}

#[test]
fn an_attribute_that_no_rule_shows_is_denied_to_a_query_of_which_nothing_else_is_known() {
    let table = table(json!([for_all(
        "air",
        json!(["Read", "Subscribe"]),
        json!({"types": ["urn:Air"], "attributes": ["urn:no2"]})
    ),]));
    let verdict = |act: Act, facts: Facts<'_>| table.decide(&of_known(&table), act, &facts).verdict;
    for act in [Act::Read, Act::Subscribe] {
        let asks = |attributes| Facts {
            attributes,
            ..Facts::default()
        };
        assert_eq!(verdict(act, asks(&["urn:owner"])), Verdict::Denied);
        assert_eq!(verdict(act, asks(&["urn:no2"])), Verdict::Depends);
        let of_air = Facts {
            types: Known::AtLeast(&["urn:Air"]),
            ..asks(&["urn:no2"])
        };
        assert_eq!(verdict(act, of_air), Verdict::Allowed);
    }
}

#[test]
fn everything_may_be_deleted_only_where_nothing_restricts_it() {
    let purge = Facts {
        extent: Extent::Whole,
        ..Facts::default()
    };
    let verdict = |rules: Value| {
        let table = table(rules);
        table.decide(&of_known(&table), Act::Delete, &purge).verdict
    };
    let all = for_all("all", json!(["Delete"]), json!({}));
    assert_eq!(verdict(json!([all])), Verdict::Allowed);
    assert_eq!(
        verdict(json!([
            all,
            denying("keep", json!(["Delete"]), json!({"attributes": ["urn:a"]}))
        ])),
        Verdict::Depends
    );
    assert_eq!(
        verdict(json!([for_all(
            "some",
            json!(["Delete"]),
            json!({"types": ["urn:T"]})
        )])),
        Verdict::Depends
    );
    assert_eq!(
        verdict(json!([for_all("other", json!(["Update"]), json!({}))])),
        Verdict::Denied
    );
}

#[test]
fn rules_hold_in_their_tenants_only() {
    let table = table(json!([
        for_all("default", json!(["Read"]), json!({"tenants": ["@default"]})),
        for_all("north", json!(["Update"]), json!({"tenants": ["north", "south"]})),
        for_all("all", json!(["Delete"]), json!({})),
    ]));
    let allowed = |tenant: &str| {
        let rules = table.matching(&known(), tenant);
        [Act::Read, Act::Update, Act::Delete]
            .map(|act| table.decide(&rules, act, &Facts::default()).verdict == Verdict::Allowed)
    };
    assert_eq!(allowed(""), [true, false, true]);
    assert_eq!(allowed("north"), [false, true, true]);
    assert_eq!(allowed("south"), [false, true, true]);
    assert_eq!(allowed("west"), [false, false, true]);
    assert_eq!(
        table.matching(&known(), "west"),
        table.matching(&known(), "east"),
        "one key for both"
    );
}

#[test]
fn rules_of_another_table_allow_nothing() {
    let open = table(json!([
        for_all("all", json!(["Read"]), json!({})),
        for_all("admin", json!(["Admin"]), json!({}))
    ]));
    let other = table(json!([for_all(
        "all",
        json!(["Read"]),
        json!({"types": ["urn:T"]})
    )]));
    let foreign = of_known(&other);
    assert_eq!(
        open.decide(&foreign, Act::Read, &Facts::default()).verdict,
        Verdict::Denied
    );
    assert_eq!(
        open.decide(&foreign, Act::Administer, &Facts::default()).verdict,
        Verdict::Denied
    );
    let nothing = Table::compile(&[]).unwrap();
    let set = open.narrow(&foreign, Purpose::Entities).unwrap();
    assert_eq!(
        set,
        nothing.narrow(&of_known(&nothing), Purpose::Entities).unwrap()
    );
}

#[test]
fn a_place_that_the_broker_would_repair_is_one_that_is_not_known() {
    assert!(Place::of(&json!({"type": "Point", "coordinates": [8.5, 47.4]})).is_some());
    for unknown in [
        json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}),
        json!({"type": "LineString", "coordinates": [[1, 1], [1, 1]]}),
        json!({"type": "GeometryCollection", "geometries": []}),
        json!("here"),
    ] {
        assert_eq!(Place::of(&unknown), None, "{unknown}");
    }
}

#[test]
fn who_is_nowhere_is_in_no_area() {
    let square = json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]});
    let table = table(json!([for_all("here", json!(["Read"]), json!({"area": square}))]));
    let verdict = |places: Option<&[Place]>| {
        let location = places.map_or(Location::Unknown, Location::At);
        table
            .decide(
                &of_known(&table),
                Act::Read,
                &Facts {
                    location,
                    ..Facts::default()
                },
            )
            .verdict
    };
    let at = |x: i32| [Place::of(&json!({"type": "Point", "coordinates": [x, 1]})).unwrap()];
    assert_eq!(verdict(Some(&at(1))), Verdict::Allowed);
    assert_eq!(verdict(Some(&at(2))), Verdict::Denied);
    assert_eq!(verdict(Some(&[])), Verdict::Denied);
    assert_eq!(verdict(None), Verdict::Depends);
}

#[test]
fn an_explanation_says_of_each_rule_why_it_does_not_apply() {
    let table = table(json!([
        {"name": "role", "subjects": [{"role": "x"}], "operations": ["Read"]},
        for_all("north", json!(["Read"]), json!({"tenants": ["north"]})),
        for_all("write", json!(["Update"]), json!({})),
        for_all("lamps", json!(["Read"]), json!({"types": ["urn:Lamp"]})),
        for_all("by-id", json!(["Read"]), json!({"idPatterns": ["^urn:x:"]})),
        for_all("scoped", json!(["Read"]), json!({"scopes": ["/a"]})),
        for_all("other", json!(["Read"]), json!({"attributes": ["urn:b"]})),
        for_all("shown", json!(["Read"]), json!({"attributes": ["urn:a", "urn:b"]})),
    ]));
    let facts = Facts {
        types: Known::Exactly(&["urn:Tree"]),
        id: Some("urn:t:1"),
        attributes: &["urn:a"],
        ..Facts::default()
    };
    let explanation = table.explain(&known(), "", Act::Read, &facts);
    let told: Vec<&Applies> = explanation.rules.iter().map(|told| &told.applies).collect();
    let reasons = [
        Reason::Subjects,
        Reason::Tenants,
        Reason::Operations,
        Reason::Types,
        Reason::Ids,
    ];
    let mut expected: Vec<Applies> = reasons.map(Applies::No).into();
    expected.push(Applies::Depends(Reason::Scopes));
    expected.push(Applies::No(Reason::Attributes));
    expected.push(Applies::Yes {
        attributes: vec!["urn:a".to_owned()],
    });
    assert_eq!(told, expected.iter().collect::<Vec<_>>());
    assert_eq!(explanation.decision.rule, Some("shown"));
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["decision"], json!({"verdict": "Allowed", "rule": "shown"}));
    assert_eq!(
        json["rules"][3],
        json!({"rule": "lamps", "effect": "Allow", "applies": {"no": "Types"}})
    );
}
