//! Random entities: all kinds of attributes, and values that two evaluators could take for different ones.

use jiff::Timestamp;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use std::fmt::Write as _;

/// When the n-th entity was created.
pub fn created(n: usize) -> Timestamp {
    let micros = 1_704_067_200_000_000 + i64::try_from(n % 7).unwrap() * 500_000;
    Timestamp::from_microsecond(micros).unwrap()
}

pub const NUMBERS: [&str; 20] = [
    "5",
    "5.0",
    "0.5e1",
    "50E-1",
    "5.00000000000000000001",
    "-5",
    "0",
    "-0",
    "-0.0e3",
    "1e2",
    "100",
    "100.00",
    "7.5",
    "75e-1",
    "9007199254740992",
    "9007199254740993",
    "0.1",
    "1e-1",
    "-3.25",
    "12345678901234567890.5",
];
pub const TEXTS: [&str; 22] = [
    "",
    "x",
    "xy",
    "X",
    "BMW",
    "5",
    "true",
    "é",
    "Äpfel",
    "a b",
    "a\\nb",
    "\\\"q\\\"",
    "z_9",
    "urn:x:1",
    "urn:x:2",
    "٣",
    "2024-01-01T00:00:00",
    "a.b",
    "a+b",
    "ZZZ",
    "xyx",
    "\u{1F600}",
];
pub const TIMES: [&str; 22] = [
    "2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00.0Z",
    "2024-01-01T00:00:00,000Z",
    "2024-01-01T00:00:00.5Z",
    "2024-01-01T00:00:00.500000Z",
    "2024-01-01T00:00:01Z",
    "2024-06-01T12:30:00Z",
    "1969-12-31T23:59:59.999999Z",
    "2024-01-01",
    "2024-06-01",
    "2023-12-31",
    "12:30:00",
    "12:30:00Z",
    "12:30:00.5",
    "12:30:00.50Z",
    "12:30:00,5Z",
    "23:59:59",
    "00:00:00Z",
    "2024-13-45T99:99:99Z",
    "2024-99-99",
    "99:99:99",
    "2024-01-01T00:00:00.1234567Z",
];
pub const URIS: [&str; 4] = ["urn:x:1", "urn:x:2", "https://example.org/a?b", "urn:x:3"];
pub const SCOPES: [&str; 8] = ["/A", "/A/B", "/A/B/C", "/A.1/B", "/Ax1/B", "/Ä/B-1", "/B", "/A/C"];
pub const NAMES: [&str; 5] = ["a", "b", "c", "d", "observedBy"];
pub const PLACES: [&str; 2] = ["location", "place"];
pub const IDS: [&str; 4] = [
    "urn:ngsi-ld:T:",
    "urn:ngsi-ld:Vehicle:A-",
    "https://example.org/x.y/",
    "urn:é:",
];

pub fn pick<'a>(from: &[&'a str], random: &mut StdRng) -> &'a str {
    from.choose(random).unwrap()
}

pub fn id(n: usize) -> String {
    format!("{}{n}", IDS[n % IDS.len()])
}

/// The n-th entity, normalized.
pub fn document(n: usize, random: &mut StdRng) -> String {
    let mut out = format!("{{\"id\":\"{}\",\"type\":", id(n));
    let types = ["\"T\"", "\"U\"", "[\"T\",\"U\"]", "[\"V\"]", "[\"U\",\"V\"]"];
    out.push_str(pick(&types, random));
    match random.random_range(0..4) {
        0 => {}
        1 => {
            let _ = write!(out, ",\"scope\":\"{}\"", pick(&SCOPES, random));
        }
        _ => {
            let _ = write!(
                out,
                ",\"scope\":[\"{}\",\"{}\"]",
                pick(&SCOPES, random),
                pick(&SCOPES, random)
            );
        }
    }
    for name in NAMES {
        if random.random_bool(0.6) {
            let _ = write!(out, ",\"{name}\":{}", attribute(2, false, random));
        }
    }
    for name in PLACES {
        if random.random_bool(0.6) {
            let _ = write!(out, ",\"{name}\":{}", attribute(1, true, random));
        }
    }
    out.push('}');
    out
}

fn attribute(depth: usize, geo: bool, random: &mut StdRng) -> String {
    if random.random_bool(0.75) {
        return instance(depth, geo, None, random);
    }
    let datasets = [None, Some("urn:d:1"), Some("urn:d:2")];
    let first = random.random_range(0..2);
    let last = random.random_range(first..3);
    let each: Vec<String> = datasets[first..=last]
        .iter()
        .map(|dataset| instance(depth, geo, *dataset, random))
        .collect();
    format!("[{}]", each.join(","))
}

fn instance(depth: usize, geo: bool, dataset: Option<&str>, random: &mut StdRng) -> String {
    let mut out = if geo {
        format!("{{\"type\":\"GeoProperty\",\"value\":{}", geometry(random))
    } else {
        kind(random)
    };
    if let Some(dataset) = dataset {
        let _ = write!(out, ",\"datasetId\":\"{dataset}\"");
    }
    if random.random_bool(0.3) {
        let _ = write!(out, ",\"observedAt\":\"{}\"", TIMES[random.random_range(0..8)]);
    }
    if random.random_bool(0.2) {
        let _ = write!(out, ",\"unitCode\":\"{}\"", pick(&["CEL", "x", "5"], random));
    }
    if depth > 0 {
        for name in ["a", "b"] {
            if random.random_bool(0.3) {
                let _ = write!(out, ",\"{name}\":{}", attribute(depth - 1, false, random));
            }
        }
    }
    out.push('}');
    out
}

/// An attribute of some kind, not closed.
fn kind(random: &mut StdRng) -> String {
    match random.random_range(0..11) {
        0..=3 => format!("{{\"type\":\"Property\",\"value\":{}", value(2, random)),
        4 => format!("{{\"type\":\"GeoProperty\",\"value\":{}", geometry(random)),
        5 => {
            let (one, two) = (pick(&URIS, random), pick(&URIS, random));
            if random.random_bool(0.5) {
                format!("{{\"type\":\"Relationship\",\"object\":\"{one}\"")
            } else {
                format!("{{\"type\":\"Relationship\",\"object\":[\"{one}\",\"{two}\"]")
            }
        }
        6 => format!(
            "{{\"type\":\"LanguageProperty\",\"languageMap\":{}",
            languages(random)
        ),
        7 => format!(
            "{{\"type\":\"VocabProperty\",\"vocab\":{}",
            pick(&["\"x\"", "\"urn:x:1\"", "[\"x\",\"BMW\"]"], random)
        ),
        8 => format!("{{\"type\":\"JsonProperty\",\"json\":{}", compound(2, random)),
        9 => format!("{{\"type\":\"ListProperty\",\"valueList\":{}", array(1, random)),
        _ => format!(
            "{{\"type\":\"ListRelationship\",\"objectList\":[{{\"object\":\"{}\"}}]",
            pick(&URIS, random)
        ),
    }
}

fn languages(random: &mut StdRng) -> String {
    let mut members = Vec::new();
    for language in ["en", "fr", "@none"] {
        if random.random_bool(0.6) {
            let (one, two) = (pick(&TEXTS, random), pick(&TEXTS, random));
            members.push(match random.random_range(0..3) {
                0 => format!("\"{language}\":[\"{one}\",\"{two}\"]"),
                _ => format!("\"{language}\":\"{one}\""),
            });
        }
    }
    format!("{{{}}}", members.join(","))
}

fn scalar(random: &mut StdRng) -> String {
    match random.random_range(0..10) {
        0..=3 => pick(&NUMBERS, random).to_owned(),
        4 => pick(&["true", "false"], random).to_owned(),
        5 | 6 => format!("\"{}\"", pick(&TIMES, random)),
        _ => format!("\"{}\"", pick(&TEXTS, random)),
    }
}

fn value(depth: usize, random: &mut StdRng) -> String {
    match random.random_range(0..12) {
        0 | 1 => array(depth, random),
        2 | 3 => compound(depth, random),
        4 => format!(
            "{{\"@type\":\"DateTime\",\"@value\":\"{}\"}}",
            pick(&TIMES, random)
        ),
        5 => format!("{{\"@value\":{}}}", scalar(random)),
        _ => scalar(random),
    }
}

fn array(depth: usize, random: &mut StdRng) -> String {
    let many = if random.random_bool(0.05) {
        70
    } else {
        random.random_range(0..4)
    };
    let items: Vec<String> = (0..many)
        .map(|_| {
            if depth > 0 && random.random_bool(0.2) {
                value(depth - 1, random)
            } else {
                scalar(random)
            }
        })
        .collect();
    format!("[{}]", items.join(","))
}

fn compound(depth: usize, random: &mut StdRng) -> String {
    if random.random_bool(0.2) {
        return array(depth, random);
    }
    let mut members = Vec::new();
    for name in ["k", "m", "en", "0"] {
        if random.random_bool(0.6) {
            let value = match random.random_range(0..5) {
                0 => "null".to_owned(),
                _ if depth > 0 => value(depth - 1, random),
                _ => scalar(random),
            };
            members.push(format!("\"{name}\":{value}"));
        }
    }
    format!("{{{}}}", members.join(","))
}

/// A position on a grid of eighths of degrees, which floats hold exactly, so that edges and corners meet.
fn position(random: &mut StdRng) -> [f64; 2] {
    let eighths = |random: &mut StdRng| f64::from(random.random_range(0..8)) / 8.0;
    match random.random_range(0..12) {
        0 => anywhere(random),
        _ => [8.0 + eighths(random), 47.0 + eighths(random)],
    }
}

fn anywhere(random: &mut StdRng) -> [f64; 2] {
    [8.0 + random.random::<f64>(), 47.0 + random.random::<f64>()]
}

fn written(position: [f64; 2]) -> String {
    format!("[{},{}]", position[0], position[1])
}

fn line(random: &mut StdRng) -> String {
    let many = random.random_range(2..5);
    let positions: Vec<String> = (0..many).map(|_| written(position(random))).collect();
    format!("[{}]", positions.join(","))
}

/// Rings: a rectangle or a triangle, maybe with a hole, or positions in any order, which may cross.
fn rings(crossing: f64, random: &mut StdRng) -> String {
    let mut positions: Vec<[f64; 2]> = if random.random_bool(crossing) {
        (0..random.random_range(3..6)).map(|_| position(random)).collect()
    } else {
        let ([x, y], [w, h]) = (
            position(random),
            [random.random_range(1..5), random.random_range(1..5)],
        );
        let (right, top) = (x + f64::from(w) / 8.0, y + f64::from(h) / 8.0);
        if random.random_bool(0.5) {
            vec![[x, y], [right, y], [right, top], [x, top]]
        } else {
            vec![[x, y], [right, y], [x, top]]
        }
    };
    positions.push(positions[0]);
    let outer: Vec<String> = positions.iter().map(|p| written(*p)).collect();
    let mut out = format!("[[{}]", outer.join(","));
    if positions.len() == 5 && random.random_bool(0.3) {
        // A hole within a rectangle.
        let [x, y] = positions[0];
        let [right, top] = positions[2];
        let inside = |part: f64| [x + (right - x) * part, y + (top - y) * part];
        let ([west, south], [east, north]) = (inside(0.25), inside(0.75));
        let hole = [
            [west, south],
            [west, north],
            [east, north],
            [east, south],
            [west, south],
        ];
        let hole: Vec<String> = hole.map(written).into();
        let _ = write!(out, ",[{}]", hole.join(","));
    }
    out.push(']');
    out
}

/// The type and the coordinates of a geometry.
pub fn shape(crossing: f64, random: &mut StdRng) -> (&'static str, String) {
    let several = |one: &dyn Fn(&mut StdRng) -> String, random: &mut StdRng| {
        let each: Vec<String> = (0..random.random_range(1..4)).map(|_| one(random)).collect();
        format!("[{}]", each.join(","))
    };
    match random.random_range(0..10) {
        0..=3 => ("Point", written(position(random))),
        4 => ("MultiPoint", several(&|r| written(position(r)), random)),
        5 => ("LineString", line(random)),
        6 => ("MultiLineString", several(&line, random)),
        7 | 8 => ("Polygon", rings(crossing, random)),
        _ => ("MultiPolygon", several(&|r| rings(crossing, r), random)),
    }
}

pub fn geometry(random: &mut StdRng) -> String {
    let (kind, coordinates) = shape(0.3, random);
    format!("{{\"type\":\"{kind}\",\"coordinates\":{coordinates}}}")
}
