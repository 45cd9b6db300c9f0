//! Decision, narrowing, the broker's reading of what was narrowed, and an oracle written from the specification alone agree
//! about random rules, people and entities; and what is told of rules (lint, explanation) is true.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod broker;
mod oracle;
mod random;

use mim_policy::{
    Act, Applies, Claim, Extent, Facts, Identity, Known, Location, Oddity, Place, Purpose, Rule, Subject,
    Table, Verdict,
};
use oracle::{Person, Right, Thing};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Of each table so many people, and of each of them so many entities: 1,000 tables are 24,000 triples in a run.
const TABLES: u32 = 1000;
const PEOPLE: usize = 4;
const THINGS: usize = 6;

fn parsed(rules: &[Value]) -> Vec<Rule> {
    rules
        .iter()
        .map(|rule| serde_json::from_value(rule.clone()).unwrap())
        .collect()
}

fn table(rules: &[Value]) -> Table {
    Table::compile(&parsed(rules)).unwrap()
}

fn subject(person: &Person) -> Subject {
    if person.is_anonymous {
        return Subject::Anonymous;
    }
    let mut claims: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in &person.claims {
        claims.entry(name.clone()).or_default().insert(value.clone());
    }
    Subject::Known(Identity {
        roles: person.roles.iter().cloned().collect(),
        groups: person.groups.iter().cloned().collect(),
        client: person.client.clone(),
        claims,
    })
}

/// What two operations allow together.
fn both(one: Option<Right>, other: Option<Right>) -> Option<Right> {
    let (one, other) = (one?, other?);
    Some(Right {
        attributes: one.attributes.intersection(&other.attributes).cloned().collect(),
        as_such: one.as_such && other.as_such,
    })
}

/// An act, the operations that it needs, and where in a permission set the broker finds it.
const ACTS: [(Act, &[&str], &str); 9] = [
    (Act::Read, &["Read"], "read"),
    (Act::Create, &["Create"], "create"),
    (Act::Update, &["Update"], "update"),
    (Act::Delete, &["Delete"], "delete"),
    (Act::ReadPast, &["Temporal"], "read"),
    (Act::CreatePast, &["Temporal", "Create"], "create"),
    (Act::UpdatePast, &["Temporal", "Update"], "update"),
    (Act::DeletePast, &["Temporal", "Delete"], "delete"),
    (Act::Subscribe, &["Subscribe"], "read"),
];

/// What is known of a thing, in a form that facts can borrow from.
struct Sight<'t> {
    thing: &'t Thing,
    types: Vec<&'t str>,
    scopes: Vec<&'t str>,
    places: Vec<Place>,
}

impl<'t> Sight<'t> {
    fn of(thing: &'t Thing) -> Self {
        let places = thing
            .location
            .iter()
            .map(|line| Place::of(&broker::geometry(line)).unwrap());
        Self {
            thing,
            types: thing.types.iter().map(String::as_str).collect(),
            scopes: thing.scopes.iter().map(String::as_str).collect(),
            places: places.collect(),
        }
    }

    fn facts<'f>(&'f self, attributes: &'f [&'f str], extent: Extent) -> Facts<'f> {
        Facts {
            types: Known::Exactly(&self.types),
            id: Some(&self.thing.id),
            scopes: Known::Exactly(&self.scopes),
            location: Location::At(&self.places),
            attributes,
            extent,
        }
    }
}

/// What was decided of a thing, attribute by attribute; everything of it is known.
fn decided(table: &Table, person: &Person, tenant: &str, act: Act, thing: &Thing) -> Option<Right> {
    let rules = table.matching(&subject(person), tenant);
    let sight = Sight::of(thing);
    let is_allowed = |attributes: &[&str], extent: Extent| {
        let verdict = table
            .decide(&rules, act, &sight.facts(attributes, extent))
            .verdict;
        assert_ne!(verdict, Verdict::Depends, "all is known");
        verdict == Verdict::Allowed
    };
    is_allowed(&[], Extent::Parts).then(|| Right {
        attributes: thing
            .attributes
            .iter()
            .filter(|name| is_allowed(&[name.as_str()], Extent::Parts))
            .cloned()
            .collect(),
        as_such: is_allowed(&[], Extent::AsSuch),
    })
}

/// What the broker allows by the header that it is sent.
fn obeyed(
    table: &Table,
    person: &Person,
    tenant: &str,
    act: Act,
    member: &str,
    thing: &Thing,
) -> Option<Right> {
    let rules = table.matching(&subject(person), tenant);
    let header = table
        .narrow(&rules, act.purpose())
        .unwrap()
        .to_header("urn:somebody")
        .unwrap();
    let permissions = broker::read(&header);
    let rules = match member {
        "read" => &permissions.read,
        "create" => &permissions.create,
        "update" => &permissions.update,
        _ => &permissions.delete,
    };
    broker::right(rules, thing)
}

fn run(
    tables: u32,
    test: impl Fn(Vec<Value>, Vec<(Person, &'static str, Vec<Thing>)>) -> Result<(), TestCaseError>,
) {
    let people = prop::collection::vec(
        (
            random::person(),
            random::tenant(),
            prop::collection::vec(random::thing(), THINGS),
        ),
        PEOPLE,
    );
    let config = ProptestConfig {
        cases: tables,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(random::rules(), people), |(rules, people)| test(rules, people))
        .unwrap();
}

#[test]
fn decision_narrowing_the_broker_and_the_words_of_the_rules_agree() {
    run(TABLES, |rules, people| {
        let table = table(&rules);
        let is_said = !table
            .lint()
            .iter()
            .any(|one| matches!(one.kind, Oddity::PastUnsaid { .. }));
        for (person, tenant, things) in people {
            for thing in &things {
                for (act, operations, member) in ACTS {
                    let decided = decided(&table, &person, tenant, act, thing);
                    let obeyed = obeyed(&table, &person, tenant, act, member, thing);
                    prop_assert_eq!(&decided, &obeyed, "{:?} {:?} {:?}", act, person, thing);
                    let rights = operations
                        .iter()
                        .map(|one| oracle::right(&rules, &person, tenant, one, thing));
                    let right = rights.reduce(both).unwrap();
                    if operations.len() == 1 {
                        prop_assert_eq!(decided, right, "{:?} {:?} {:?}", act, person, thing);
                    } else {
                        // Two rights that have no attribute in common, nor the entity as such, are none.
                        let right = right.filter(|right| right.as_such || !right.attributes.is_empty());
                        let decided = decided.filter(|right| right.as_such || !right.attributes.is_empty());
                        check_past(decided.as_ref(), right.as_ref(), is_said)?;
                    }
                }
            }
        }
        Ok(())
    });
}

/// The past may be written at most where both operations are allowed, and exactly there unless a warning says otherwise.
fn check_past(decided: Option<&Right>, right: Option<&Right>, is_said: bool) -> Result<(), TestCaseError> {
    if is_said {
        prop_assert_eq!(decided, right);
    }
    if let Some(decided) = decided {
        let right = right.unwrap();
        prop_assert!(decided.attributes.is_subset(&right.attributes));
        prop_assert!(right.as_such || !decided.as_such);
    }
    Ok(())
}

#[test]
fn who_may_administer_is_decided_and_sent_as_the_words_say() {
    run(200, |rules, people| {
        let table = table(&rules);
        for (person, tenant, _) in people {
            let matching = table.matching(&subject(&person), tenant);
            let expected = oracle::is_administrator(&rules, &person, tenant);
            let decision = table.decide(&matching, Act::Administer, &Facts::default());
            prop_assert_eq!(decision.verdict == Verdict::Allowed, expected);
            for purpose in Purpose::ALL {
                let header = table
                    .narrow(&matching, purpose)
                    .unwrap()
                    .to_header("urn:somebody")
                    .unwrap();
                prop_assert_eq!(broker::read(&header).admin, expected);
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_not_known_only_makes_a_decision_depend_on_it() {
    run(200, |rules, people| {
        let table = table(&rules);
        for (person, tenant, things) in people {
            let matching = table.matching(&subject(&person), tenant);
            for (thing, (act, ..)) in things.iter().zip(ACTS.iter().cycle().skip(rules.len())) {
                let sight = Sight::of(thing);
                let attributes: Vec<&str> = thing.attributes.iter().map(String::as_str).take(2).collect();
                for extent in [Extent::Parts, Extent::AsSuch] {
                    let full = sight.facts(&attributes, extent);
                    let all = table.decide(&matching, *act, &full);
                    for hidden in 0..16_u8 {
                        let hides = |bit: u8| hidden & (1 << bit) != 0;
                        let some = Facts {
                            types: if hides(0) {
                                Known::AtLeast(&sight.types[..1])
                            } else {
                                full.types
                            },
                            id: full.id.filter(|_| !hides(1)),
                            scopes: if hides(2) { Known::default() } else { full.scopes },
                            location: if hides(3) {
                                Location::Unknown
                            } else {
                                full.location
                            },
                            ..full
                        };
                        let decision = table.decide(&matching, *act, &some);
                        if decision.verdict != Verdict::Depends {
                            prop_assert_eq!(decision.verdict, all.verdict);
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn all_of_an_entity_is_allowed_only_if_each_attribute_is_that_it_may_have() {
    run(200, |rules, people| {
        let table = table(&rules);
        for (person, tenant, things) in people {
            let matching = table.matching(&subject(&person), tenant);
            for thing in &things {
                let everything = Thing {
                    attributes: random::ATTRIBUTES
                        .iter()
                        .map(|&name| name.to_owned())
                        .chain(["urn:other".to_owned()])
                        .collect(),
                    ..thing.clone()
                };
                let right = oracle::right(&rules, &person, tenant, "Delete", &everything);
                let whole = right
                    .as_ref()
                    .is_some_and(|right| right.attributes == everything.attributes);
                let sight = Sight::of(thing);
                match table
                    .decide(&matching, Act::Delete, &sight.facts(&[], Extent::Whole))
                    .verdict
                {
                    Verdict::Allowed => prop_assert!(whole),
                    Verdict::Denied => prop_assert!(right.is_none()),
                    Verdict::Depends => prop_assert!(right.is_some() && !whole),
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_rule_that_is_told_to_have_no_effect_has_none() {
    run(1000, |rules, people| {
        for warning in table(&rules).lint() {
            if !matches!(warning.kind, Oddity::NeverMatches | Oddity::Shadowed { .. }) {
                continue;
            }
            let without: Vec<Value> = rules
                .iter()
                .filter(|rule| rule["name"] != *warning.rule)
                .cloned()
                .collect();
            for (person, tenant, things) in &people {
                for (thing, operation) in things
                    .iter()
                    .flat_map(|thing| ACTS.map(|(_, operations, _)| (thing, operations[0])))
                {
                    let [with, without] = [&rules, &without]
                        .map(|rules| oracle::right(rules, person, tenant, operation, thing));
                    prop_assert_eq!(with, without, "{:?}", warning);
                }
            }
        }
        Ok(())
    });
}

#[test]
fn the_rule_that_is_named_by_a_decision_is_explained_to_apply_or_to_depend() {
    run(200, |rules, people| {
        let table = table(&rules);
        for (person, tenant, things) in people {
            for (thing, (act, ..)) in things.iter().zip(ACTS.iter().cycle().skip(rules.len())) {
                let sight = Sight::of(thing);
                let attributes: Vec<&str> = thing.attributes.iter().map(String::as_str).take(1).collect();
                let facts = Facts {
                    id: None,
                    ..sight.facts(&attributes, Extent::Parts)
                };
                let explanation = table.explain(&subject(&person), tenant, *act, &facts);
                let Some(name) = explanation.decision.rule else {
                    continue;
                };
                let told = explanation.rules.iter().find(|told| told.rule == name).unwrap();
                // Where two rules are needed together, the one that is named may be sure, and the other not.
                let is_of_one = !matches!(act, Act::CreatePast | Act::UpdatePast | Act::DeletePast);
                let is_sure = matches!(told.applies, Applies::Yes { .. });
                prop_assert!(!matches!(told.applies, Applies::No(_)), "{:?}", told);
                if is_of_one {
                    let is_decided = explanation.decision.verdict != Verdict::Depends;
                    prop_assert_eq!(is_sure, is_decided, "{:?}", told);
                }
            }
        }
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Most areas that are made so are not valid, and refused.
    #[test]
    fn a_place_is_in_an_area_as_the_broker_says_or_nobody_knows_where_it_is(area in random::geometry(), place in random::geometry()) {
        let on = serde_json::json!({"area": area});
        let rule = serde_json::json!({"name": "in", "subjects": ["Anonymous"], "operations": ["Read"], "on": on});
        let Ok(table) = Table::compile(&parsed(&[rule])) else {
            return Ok(());
        };
        let rules = table.matching(&Subject::Anonymous, "");
        let header = table.narrow(&rules, Purpose::Entities).unwrap().to_header("urn:somebody").unwrap();
        let is_obeyed = broker::allows(&broker::read(&header).read, &place);
        let places: Vec<Place> = Place::of(&place).into_iter().collect();
        let location = if places.is_empty() { Location::Unknown } else { Location::At(&places) };
        match table.decide(&rules, Act::Read, &Facts { location, ..Facts::default() }).verdict {
            Verdict::Allowed => prop_assert!(is_obeyed),
            Verdict::Denied => prop_assert!(!is_obeyed),
            Verdict::Depends => prop_assert!(places.is_empty()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rule_is_refused_or_becomes_what_the_broker_reads(rule in random::wild_rule(), subject in "\\PC{0,9}") {
        let Ok(table) = Table::compile(&parsed(&[rule])) else {
            return Ok(());
        };
        let rules = table.matching(&Subject::Anonymous, "");
        for purpose in Purpose::ALL {
            let set = table.narrow(&rules, purpose).unwrap();
            if let Ok(header) = set.to_header(&subject) {
                prop_assert_eq!(broker::read(&header).subject, &*subject);
            } else {
                prop_assert!(subject.is_empty() || subject.chars().any(char::is_control));
            }
        }
        let _ = table.lint();
    }
}

#[test]
fn a_rule_comes_back_from_its_json() {
    run(50, |rules, _| {
        for (rule, json) in parsed(&rules).iter().zip(&rules) {
            prop_assert_eq!(&serde_json::to_value(rule).unwrap(), json);
        }
        Ok(())
    });
    let claim = Claim {
        name: "a".to_owned(),
        value: "b".to_owned(),
    };
    assert_eq!(
        serde_json::to_string(&mim_policy::Holder::Claim(claim)).unwrap(),
        r#"{"claim":{"name":"a","value":"b"}}"#
    );
}
