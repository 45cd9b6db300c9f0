//! Random queries over the whole grammar, with values that occur in the random entities, and some that do not.

use super::entities::{NAMES, NUMBERS, PLACES, SCOPES, TEXTS, TIMES, URIS, id, pick, shape};
use mim_broker::context::Context;
use mim_broker::model::read::expanded_name;
use mim_broker::query::pattern::Pattern;
use mim_broker::query::{EntitySelector, Selection, geo, q, scope, types};
use rand::Rng as _;
use rand::rngs::StdRng;

/// What must have told entities apart.
pub const FEATURES: [&str; 29] = [
    "type",
    "id",
    "idPattern",
    "attrs",
    "scopeQ",
    "q",
    "geo",
    "near",
    "far",
    "within",
    "contains",
    "overlaps",
    "intersects",
    "equals",
    "disjoint",
    "==",
    "!=",
    ">",
    "<=",
    "~=",
    "!~=",
    "..",
    ",",
    "[",
    "[*]",
    ".observedAt",
    ".createdAt",
    ".datasetId",
    "createdAt",
];

/// A query as a client sends it.
#[derive(Debug, Default)]
pub struct Query {
    types: Option<String>,
    ids: Vec<String>,
    id_pattern: Option<String>,
    attrs: Vec<String>,
    q: Option<String>,
    scope: Option<String>,
    geo: Option<(String, &'static str, String, &'static str)>,
}

impl Query {
    /// As the broker reads it.
    pub fn selection(&self) -> Selection {
        let context = &Context::core();
        let geo = self
            .geo
            .as_ref()
            .and_then(|(relation, kind, coordinates, property)| {
                geo::parse(
                    Some(relation),
                    Some(kind),
                    Some(coordinates),
                    Some(property),
                    context,
                )
                .unwrap()
            });
        let attrs = self
            .attrs
            .iter()
            .map(|name| expanded_name(context, name).unwrap());
        let parsed = |text: &String| q::parse(text, context).unwrap_or_else(|e| panic!("{e}: {text}"));
        let entities = EntitySelector {
            types: self
                .types
                .as_ref()
                .map(|text| types::parse(text, context).unwrap()),
            ids: self.ids.clone(),
            id_pattern: self.id_pattern.as_ref().map(|text| Pattern::new(text).unwrap()),
        };
        Selection {
            entities: vec![entities],
            attrs: attrs.collect(),
            q: self.q.as_ref().map(parsed),
            geo,
            scope: self.scope.as_ref().map(|text| scope::parse(text).unwrap()),
        }
    }

    /// Which features it has.
    pub fn features(&self) -> Vec<&'static str> {
        let has = |feature: &&'static str| match *feature {
            "type" => self.types.is_some(),
            "id" => !self.ids.is_empty(),
            "idPattern" => self.id_pattern.is_some(),
            "attrs" => !self.attrs.is_empty(),
            "scopeQ" => self.scope.is_some(),
            "q" => self.q.is_some(),
            "geo" => self.geo.is_some(),
            "near" => self.relation().contains("max"),
            "far" => self.relation().contains("min"),
            "within" | "contains" | "overlaps" | "intersects" | "equals" | "disjoint" => {
                self.relation() == *feature
            }
            part => self.q.as_ref().is_some_and(|q| q.contains(part)),
        };
        FEATURES.into_iter().filter(has).collect()
    }

    fn relation(&self) -> &str {
        self.geo.as_ref().map_or("", |(relation, ..)| relation)
    }
}

/// Some query.
pub fn query(random: &mut StdRng) -> Query {
    let mut query = Query::default();
    match random.random_range(0..20) {
        0 => query.types = Some(pick(&["T", "U", "T,V", "(T;U)", "(T|V);U", "*", "W"], random).to_owned()),
        1 => {
            let ids = (0..random.random_range(1..6)).map(|_| id(random.random_range(0..200)));
            query.ids = ids.collect();
        }
        2 => query.id_pattern = Some(id_pattern(random)),
        3 => query.attrs = vec![pick(&NAMES, random).to_owned(), pick(&PLACES, random).to_owned()],
        4 | 5 => query.scope = Some(scopes(2, random)),
        6..=10 => query.geo = Some(area(random)),
        _ => query.q = Some(terms(2, random)),
    }
    // Conditions also stand beside others.
    if random.random_bool(0.1) {
        query.types = Some(pick(&["T", "U", "V"], random).to_owned());
    }
    if random.random_bool(0.1) {
        query.q = Some(terms(1, random));
    }
    query
}

fn id_pattern(random: &mut StdRng) -> String {
    let patterns = [
        "^urn:ngsi-ld:T:[0-9]+$",
        "1$",
        "^urn:.*:[^1]",
        "Vehicle:A-\\d{2}",
        "x\\.y",
        "é|T:1",
        "^\\w+:\\w+:",
        "(1|2)?0$",
        "^.{8}$",
        "\\Wé",
        "[:/][0-9]$",
        "",
    ];
    pick(&patterns, random).to_owned()
}

fn scopes(depth: usize, random: &mut StdRng) -> String {
    let one = |random: &mut StdRng| match random.random_range(0..6) {
        0 => format!("{}/#", pick(&SCOPES, random)),
        1 => pick(
            &["/+", "/+/B", "/A/+", "/+/+/C", "/+/B/#", "/A.1/+", "/+/#"],
            random,
        )
        .to_owned(),
        2 => "/#".to_owned(),
        _ => pick(&SCOPES, random).to_owned(),
    };
    if depth == 0 || random.random_bool(0.5) {
        return one(random);
    }
    let operator = pick(&[";", ",", "|"], random);
    let (left, right) = (scopes(depth - 1, random), scopes(depth - 1, random));
    if random.random_bool(0.3) {
        format!("({left}{operator}{right})")
    } else {
        format!("{left}{operator}{right}")
    }
}

fn area(random: &mut StdRng) -> (String, &'static str, String, &'static str) {
    let metres = 10_f64.powf(random.random_range(2.0..5.2));
    let relation = match random.random_range(0..10) {
        0 | 1 => format!("near;maxDistance=={metres:.1}"),
        2 => format!("near;minDistance=={metres:.1}"),
        n => [
            "within",
            "contains",
            "overlaps",
            "intersects",
            "equals",
            "disjoint",
            "within",
        ][n - 3]
            .to_owned(),
    };
    let (mut kind, mut coordinates) = shape(0.2, random);
    while relation == "equals" && kind != "Point" && random.random_bool(0.9) {
        (kind, coordinates) = shape(0.2, random);
    }
    (
        relation,
        kind,
        coordinates,
        PLACES[random.random_range(0..PLACES.len())],
    )
}

fn terms(depth: usize, random: &mut StdRng) -> String {
    if depth == 0 || random.random_bool(0.6) {
        return term(random);
    }
    let operator = pick(&[";", "|"], random);
    let (left, right) = (terms(depth - 1, random), terms(depth - 1, random));
    if random.random_bool(0.3) {
        format!("({left}{operator}{right})")
    } else {
        format!("{left}{operator}{right}")
    }
}

fn term(random: &mut StdRng) -> String {
    let path = path(random);
    let value = |random: &mut StdRng| value(random);
    match random.random_range(0..14) {
        0 => path,
        1..=4 => format!("{path}=={}", operands(random)),
        5 | 6 => format!("{path}!={}", operands(random)),
        7 => format!("{path}>{}", value(random)),
        8 => format!("{path}>={}", value(random)),
        9 => format!("{path}<{}", value(random)),
        10 => format!("{path}<={}", value(random)),
        11 | 12 => format!("{path}~={}", pattern(random)),
        _ => format!("{path}!~={}", pattern(random)),
    }
}

fn path(random: &mut StdRng) -> String {
    let name = pick(&NAMES, random);
    match random.random_range(0..20) {
        0 => pick(&["createdAt", "modifiedAt"], random).to_owned(),
        1..=3 => format!("{name}.{}", pick(&["a", "b", "a.b", "b.a"], random)),
        4 | 5 => {
            let systems = ["observedAt", "createdAt", "modifiedAt", "unitCode", "datasetId"];
            format!("{name}.{}", pick(&systems, random))
        }
        6..=8 => {
            let members = [
                "k", "m", "en", "fr", "@none", "m.k", "0", "k.0", "-1", "m.-2", "k.+1", "@value", "@type",
            ];
            format!("{name}[{}]", pick(&members, random))
        }
        9 | 10 => format!("{name}[*]"),
        11 => format!("{name}.a[k]"),
        12 => "location".to_owned(),
        _ => name.to_owned(),
    }
}

fn operands(random: &mut StdRng) -> String {
    let one = |random: &mut StdRng| match random.random_range(0..5) {
        0 => format!("{}..{}", value(random), value(random)),
        _ => value(random),
    };
    let each: Vec<String> = (0..random.random_range(1..3)).map(|_| one(random)).collect();
    each.join(",")
}

fn value(random: &mut StdRng) -> String {
    match random.random_range(0..12) {
        0..=3 => pick(&NUMBERS, random).to_owned(),
        4 => pick(&["true", "false"], random).to_owned(),
        5 => pick(&URIS[..2], random).to_owned(),
        // The last of them are no times: only in quotes.
        6..=8 => TIMES[random.random_range(0..18)].to_owned(),
        9 => format!("\"{}\"", pick(&TIMES, random)),
        _ => format!("\"{}\"", pick(&TEXTS, random)),
    }
}

fn pattern(random: &mut StdRng) -> String {
    let patterns = [
        "x",
        "^x",
        "y$",
        "^$",
        "\"\"",
        "\"^.$\"",
        "\"^[A-Z]+$\"",
        "\"\\\\d\"",
        "\"^\\\\w+$\"",
        "\"\\\\W\"",
        "\"a.b\"",
        "\"a\\\\.b\"",
        "\"^2024-.*Z$\"",
        "\"(x|y){2,3}\"",
        "\"\\\\s\"",
        "\"[^a-z]\"",
        "\"a\\\\+b\"",
        "\"^é|^Ä\"",
        "urn",
        "\":00\"",
    ];
    // An empty pattern is none.
    match pick(&patterns, random) {
        "\"\"" => "x?".to_owned(),
        pattern => pattern.to_owned(),
    }
}
