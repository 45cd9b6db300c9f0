//! Random rules, people and entities, of few names, so that they meet often.

use crate::oracle::{Person, Thing};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

pub const LOCATION: &str = "https://uri.etsi.org/ngsi-ld/location";
pub const ATTRIBUTES: [&str; 4] = ["urn:a", "urn:b", "urn:c", LOCATION];
const TYPES: [&str; 3] = ["urn:T", "urn:U", "urn:V"];
const IDS: [&str; 4] = ["urn:t:1", "urn:t:2", "urn:u:1", "urn:u:12"];
const PATTERNS: [&str; 6] = ["^urn:t:", "^urn:u", "1$", ":t", "2", "^tel"];
const SCOPES: [&str; 5] = ["/a", "/a/b", "/a/b/c", "/b", "/b/b"];
const TERMS: [&str; 8] = ["/a", "/a/#", "/a/+", "/a/b/#", "/+/b", "/#", "/b", "/+/b/#"];
const TENANTS: [&str; 3] = ["@default", "north", "south"];
const OPERATIONS: [&str; 6] = ["Read", "Create", "Update", "Delete", "Subscribe", "Temporal"];

fn some(of: &'static [&'static str], most: usize) -> impl Strategy<Value = Value> {
    subsequence(of, 1..=most).prop_map(|texts| json!(texts))
}

fn maybe(one_in: u32, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    option::weighted(1.0 / f64::from(one_in), value).prop_map(Option::unwrap_or_default)
}

fn present<const N: usize>(members: [(&str, Value); N]) -> Value {
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect()
}

fn area() -> impl Strategy<Value = Value> {
    let rectangle = |west: i32, south: i32, size: i32| {
        let (east, north) = (west + size, south + size);
        json!([[
            [west, south],
            [east, south],
            [east, north],
            [west, north],
            [west, south]
        ]])
    };
    prop_oneof![
        (0..4, 0..4, 1..3).prop_map(move |(west, south, size)| json!({
            "type": "Polygon", "coordinates": rectangle(west, south, size)
        })),
        (0..3, 0..3).prop_map(move |(one, other)| json!({
            "type": "MultiPolygon", "coordinates": [rectangle(0, one, 1), rectangle(3, other, 2)]
        })),
    ]
}

fn subject() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => select(&["gardener", "clerk"][..]).prop_map(|role| json!({"role": role})),
        1 => Just(json!({"group": "parks"})),
        1 => Just(json!({"client": "app"})),
        1 => select(&["1", "2"][..]).prop_map(|value| json!({"claim": {"name": "level", "value": value}})),
        1 => Just(json!("Anonymous")),
        2 => Just(json!("Authenticated")),
    ]
}

prop_compose! {
    fn on()(
        tenants in maybe(4, some(&TENANTS, 2)), types in maybe(2, some(&TYPES, 2)), ids in maybe(5, some(&IDS, 2)),
        patterns in maybe(5, some(&PATTERNS, 2)), attributes in maybe(3, some(&ATTRIBUTES, 3)),
        scopes in maybe(4, some(&TERMS, 2)), area in maybe(5, area()),
    ) -> Value {
        present([
            ("tenants", tenants), ("types", types), ("ids", ids), ("idPatterns", patterns),
            ("attributes", attributes), ("scopes", scopes), ("area", area),
        ])
    }
}

prop_compose! {
    fn rule()(
        denies in prop::bool::weighted(0.25), subjects in vec(subject(), 1..3), operations in subsequence(&OPERATIONS[..], 1..4),
        on in on(),
    ) -> Value {
        let effect = if denies { "Deny" } else { "Allow" };
        json!({"effect": effect, "subjects": subjects, "operations": operations, "on": on})
    }
}

prop_compose! {
    /// A rule that has much in common with others: everybody is meant, and each member is there every other time.
    fn crowded_rule()(
        denies in prop::bool::weighted(0.25), operations in subsequence(&["Read", "Update", "Temporal"][..], 1..4),
        types in maybe(3, some(&TYPES[..2], 2)), ids in maybe(2, some(&IDS, 2)), patterns in maybe(2, some(&PATTERNS[..4], 2)),
        attributes in maybe(2, some(&ATTRIBUTES[..3], 2)), scopes in maybe(3, some(&TERMS, 2)),
    ) -> Value {
        let effect = if denies { "Deny" } else { "Allow" };
        let on = present([
            ("types", types), ("ids", ids), ("idPatterns", patterns), ("attributes", attributes), ("scopes", scopes),
        ]);
        json!({"effect": effect, "subjects": ["Authenticated", "Anonymous"], "operations": operations, "on": on})
    }
}

fn of_administration() -> impl Strategy<Value = Value> {
    (subject(), prop::bool::ANY, maybe(2, some(&TENANTS, 2))).prop_map(|(subject, denies, tenants)| {
        let effect = if denies { "Deny" } else { "Allow" };
        let on = if tenants.is_null() {
            json!({})
        } else {
            json!({"tenants": tenants})
        };
        json!({"effect": effect, "subjects": [subject], "operations": ["Admin"], "on": on})
    })
}

/// The rules of a table, as JSON: of many kinds, or few that have much in common.
pub fn rules() -> impl Strategy<Value = Vec<Value>> {
    let of_all_kinds = vec(
        prop_oneof![9 => rule().boxed(), 1 => of_administration().boxed()],
        1..9,
    );
    let crowded = vec(crowded_rule(), 1..4);
    prop_oneof![of_all_kinds.boxed(), crowded.boxed()].prop_map(|mut rules| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule["name"] = json!(format!("rule-{at}"));
        }
        rules
    })
}

prop_compose! {
    /// Somebody.
    pub fn person()(
        is_anonymous in prop::bool::weighted(0.2), roles in subsequence(&["gardener", "clerk", "other"][..], 0..3),
        groups in subsequence(&["parks", "roads"][..], 0..2), client in option::of(select(&["app", "web"][..])),
        claims in subsequence(&[("level", "1"), ("level", "2"), ("unit", "1")][..], 0..3),
    ) -> Person {
        if is_anonymous {
            return Person { is_anonymous, roles: vec![], groups: vec![], client: None, claims: vec![] };
        }
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        Person {
            is_anonymous,
            roles: owned(roles),
            groups: owned(groups),
            client: client.map(str::to_owned),
            claims: claims.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }
}

pub fn tenant() -> impl Strategy<Value = &'static str> {
    select(&["", "north", "south", "west"][..])
}

fn location() -> impl Strategy<Value = Vec<(i32, i32)>> {
    let at = || (0..6, 0..6);
    prop_oneof![
        3 => at().prop_map(|at| vec![at]),
        1 => (at(), at()).prop_map(|(one, other)| if one == other { vec![one] } else { vec![one, other] }),
    ]
}

prop_compose! {
    /// An entity.
    pub fn thing()(
        id in select(&IDS[..]), types in subsequence(&TYPES[..], 1..3), scopes in subsequence(&SCOPES[..], 0..3),
        location in vec(location(), 0..3), names in subsequence(&ATTRIBUTES[..3], 0..4),
    ) -> Thing {
        let place = (!location.is_empty()).then_some(LOCATION);
        Thing {
            id: id.to_owned(),
            types: types.into_iter().map(str::to_owned).collect(),
            scopes: scopes.into_iter().map(str::to_owned).collect(),
            attributes: names.into_iter().chain(place).map(str::to_owned).collect(),
            location,
        }
    }
}

/// Any GeoJSON geometry of small whole coordinates, valid or not.
pub fn geometry() -> impl Strategy<Value = Value> {
    let at = || (0..5, 0..5).prop_map(|(x, y)| json!([x, y]));
    let line = move || vec(at(), 2..5).prop_map(Value::from);
    let ring = move || {
        vec(at(), 3..6).prop_map(|mut ring| {
            ring.extend(ring.first().cloned());
            Value::from(ring)
        })
    };
    let polygon = move || vec(ring(), 1..3).prop_map(Value::from);
    let of = |kind: &'static str| move |coordinates: Value| json!({"type": kind, "coordinates": coordinates});
    prop_oneof![
        at().prop_map(of("Point")),
        vec(at(), 1..4).prop_map(Value::from).prop_map(of("MultiPoint")),
        line().prop_map(of("LineString")),
        vec(line(), 1..3)
            .prop_map(Value::from)
            .prop_map(of("MultiLineString")),
        polygon().prop_map(of("Polygon")),
        vec(polygon(), 1..3)
            .prop_map(Value::from)
            .prop_map(of("MultiPolygon")),
    ]
}

prop_compose! {
    /// A rule for everybody whose texts are anything, most of them near to what is taken.
    pub fn wild_rule()(
        tenant in maybe(4, "(@default|[a-z _-]{0,4})".prop_map(|text| json!([text]))),
        types in maybe(2, vec("(urn:|a:|)[ -~]{0,8}", 1..3).prop_map(Value::from)),
        ids in maybe(3, vec("urn:\\PC{0,6}", 1..3).prop_map(Value::from)),
        patterns in maybe(2, vec("[ab^$.|()*+?{}2,\\\\\\[\\]-]{0,9}", 1..4).prop_map(Value::from)),
        scopes in maybe(2, vec("(/[a.é]{0,2}){0,2}(/[+#]|[+#,;()|]|)", 1..3).prop_map(Value::from)),
        area in maybe(4, geometry()),
    ) -> Value {
        let on = present([
            ("tenants", tenant), ("types", types), ("ids", ids), ("idPatterns", patterns), ("scopes", scopes), ("area", area),
        ]);
        json!({"name": "wild", "subjects": ["Anonymous"], "operations": ["Read", "Update", "Temporal"], "on": on})
    }
}
