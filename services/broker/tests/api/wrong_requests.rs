//! Every operation of the document with every parameter and header wrong, one at a time, in a request that is good but for
//! that.

use crate::openapi::{Described, document, operations};
use crate::support::{Answer, Broker};
use crate::world::{Good, World, all, ask};
use serde_json::Value;

/// What makes a parameter count, beside itself, and values that it must not have.
fn wrong_text(name: &str) -> (&'static str, &'static [&'static str]) {
    match name {
        "type" => ("", &["", "(T", "T%20U", "T;;U", "T,,U", "%3CT%3E"]),
        "idPattern" => ("", &["(", "[", "a{1,99999}", "%5C1"]),
        "q" => (
            "",
            &[
                "",
                "n==",
                "((n==1",
                "n==1;",
                "n===1",
                "==1",
                "n~=(",
                "n>%00",
                "n[",
                "n.",
                "n==1..",
                "n==1e100000",
            ],
        ),
        "scopeQ" => ("", &["", "/a//b", "(/a", "/a b", "/a;"]),
        "georel" => (
            "geometry=Point&coordinates=[1,2]",
            &[
                "",
                "nearby",
                "near",
                "near;maxDistance==x",
                "near;maxDistance==-1",
                "near;maxDistance=1",
                "near;maxDistance==1e999",
                "within;maxDistance==1",
            ],
        ),
        "geometry" => (
            "georel=within&coordinates=[1,2]",
            &["", "Circle", "point", "GeometryCollection"],
        ),
        "coordinates" => (
            "georel=within&geometry=Polygon",
            &[
                "",
                "x",
                "[1,2]",
                "[[[1,2]]]",
                "[[[0,0],[1,1],[0,1]]]",
                "[[[0,0],[1e999,1],[0,1],[0,0]]]",
                "{}",
                "[[[",
            ],
        ),
        "geoproperty" => (
            "georel=near;maxDistance==1&geometry=Point&coordinates=[1,2]",
            &["", "a%20b", "%3Ca%3E"],
        ),
        "geometryProperty" => ("", &["location", "a%20b"]),
        "attrs" | "keep" | "drop" => ("", &["", "a%20b", "n,,m", "%3Cn%3E"]),
        "pick" | "omit" => ("", &["", "a%20b", "n,,m", "n{", "n}", "n{m"]),
        "expandValues" | "jsonKeys" => ("q=n", &["", "a%20b"]),
        "lang" => ("", &["", "%20", "en;q=2", "en;;"]),
        "datasetId" => ("", &["", "a%20b", "nothing"]),
        "orderBy" => ("", &["", "n;up", "n;asc;desc", "a%20b", "n;dist-asc"]),
        "orderFrom" => ("orderBy=location;dist-asc", &["", "x", "[1]", "{}"]),
        "orderGeometry" => ("orderBy=location;dist-asc&orderFrom=[1,2]", &["", "Circle"]),
        "collation" => ("orderBy=n", &["", "a%20b", "no-such-language-anywhere-at-all-1"]),
        other => panic!("{other}: say which texts it must not have"),
    }
}

/// Values that a parameter must not have, by what the document says of it, each behind what makes it count.
fn wrong(name: &str, schema: &Value) -> Vec<String> {
    let (beside, values): (&str, &[&str]) = match (schema["type"].as_str().unwrap(), name) {
        ("boolean", _) => ("", &["", "yes", "1", "TRUE", "true,false"]),
        ("integer", "limit") => (
            "",
            &["", "x", "-1", "1.5", "1e1", "1001", "0", "99999999999999999999"],
        ),
        ("integer", "offset") => ("", &["", "x", "-1", "1.5", "4294967296"]),
        ("integer", "joinLevel") => (
            "join=inline",
            &["", "x", "-1", "0", "1.5", "11", "99999999999999999999"],
        ),
        ("integer", "lastN") => ("", &["", "x", "-1", "0", "1.5", "99999999999999999999"]),
        ("array", "options" | "aggrMethods") => ("format=aggregatedValues", &["nothing", "sum,nothing"]),
        (_, "id" | "containedBy") => ("join=flat", &["", "no%20uri", "nothing", "urn:x:1,,urn:x:2"]),
        (_, "timeAt") => ("timerel=before", WRONG_TIMES),
        (_, "endTimeAt") => ("timerel=between&timeAt=2024-01-01T00:00:00Z", WRONG_TIMES),
        (_, "observedAt") => ("", WRONG_TIMES),
        (_, "timerel") => ("timeAt=2024-01-01T00:00:00Z", &["", "during", "between"]),
        (_, "timeproperty") => ("timerel=before&timeAt=2024-01-01T00:00:00Z", &["", "n", "when"]),
        (_, "aggrPeriodDuration") => (
            "format=aggregatedValues&aggrMethods=sum",
            &["", "x", "1H", "P", "-PT1H", "PT1.5X"],
        ),
        (_, "format" | "join" | "kind") => ("", &["", "nothing", "keyvalues", "Inline"]),
        (_, text) => wrong_text(text),
    };
    let beside = if beside.is_empty() {
        String::new()
    } else {
        format!("{beside}&")
    };
    // What no text may be, whatever it is for.
    let long = "x".repeat(40_000);
    let always = ["a%00b", "%ff", long.as_str()];
    let values = values.iter().chain(&always);
    let in_url = |value: &str| value.replace(' ', "%20").replace('>', "%3E");
    values
        .map(|value| format!("{beside}{name}={}", in_url(value)))
        .collect()
}

const WRONG_TIMES: &[&str] = &[
    "",
    "yesterday",
    "2024-13-01T00:00:00Z",
    "2024-01-01T00:00:00",
    "2024-01-01T00:00:00%2B02:00",
    "99999-01-01T00:00:00Z",
];

/// What an operation must not get, as one more parameter.
fn queries(good: &Good, described: &Described<'_>) -> Vec<String> {
    let mut all: Vec<String> = ["unknown=1", "Type=T", "%ff=1", "%00=1"]
        .map(str::to_owned)
        .to_vec();
    for parameter in described.operation["parameters"].as_array().unwrap() {
        if parameter["in"] != "query" {
            continue;
        }
        let name = parameter["name"].as_str().unwrap();
        all.extend(wrong(name, &parameter["schema"]));
        all.push(format!("{name}=1&{name}=1"));
    }
    // A parameter that the good request has is there once.
    let has = |text: &str| {
        good.query
            .split('&')
            .map(|part| part.split('=').next().unwrap().to_owned())
            .any(|name| {
                text.split('&')
                    .any(|part| part.split('=').next() == Some(name.as_str()))
            })
    };
    all.into_iter()
        .map(|more| if has(&more) { format!("!{more}") } else { more })
        .collect()
}

const CONTEXT: &str = r#"rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json""#;

/// Headers that no operation of the standard must get, with the status and the type of the error.
fn headers() -> Vec<(&'static str, String, u16, &'static str)> {
    let mut all: Vec<(&'static str, String, u16, &'static str)> = Vec::new();
    for bad in [
        "",
        "a b",
        "x'; drop table mim.entities; --",
        "../one",
        &"a".repeat(64),
    ] {
        all.push(("ngsild-tenant", bad.to_owned(), 400, "BadRequestData"));
    }
    all.push(("ngsild-tenant", "nobody".to_owned(), 404, "NonexistentTenant"));
    for bad in [
        "https://a.example/c".to_owned(),
        format!("https://a.example/c; {CONTEXT}"),
        format!("<https://a.example/c; {CONTEXT}"),
        format!("<no url>; {CONTEXT}"),
        format!("<>; {CONTEXT}"),
        format!("<https://a.example/{}>; {CONTEXT}", "x".repeat(3000)),
        format!("<https://a.example/c>; {CONTEXT}, <https://a.example/d>; {CONTEXT}"),
    ] {
        all.push(("link", bad, 400, "BadRequestData"));
    }
    all
}

/// Checks one answer; what is wrong with it.
fn judge(answer: &Answer, expected: Option<(u16, &str)>) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let kind = body["type"]
        .as_str()
        .and_then(|kind| kind.strip_prefix("https://uri.etsi.org/ngsi-ld/errors/"));
    let is_right = match (answer.status, kind) {
        (status, Some(kind)) if expected.is_some() => expected == Some((status, kind)),
        (400, Some("InvalidRequest" | "BadRequestData")) => true,
        _ => false,
    };
    let told = format!("{} {:.160}", answer.status, answer.text());
    (!is_right).then_some(told)
}

/// Takes a parameter of the good request away where the wrong one is in its place.
fn path_of(good: &Good, wrong: &str) -> String {
    let Some(wrong) = wrong.strip_prefix('!') else {
        return good.with(wrong);
    };
    let named = |part: &str| part.split('=').next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = wrong.split('&').map(named).collect();
    let kept = good
        .query
        .split('&')
        .filter(|part| !replaced.contains(&named(part)));
    let parts: Vec<&str> = kept.chain([wrong]).collect();
    format!("{}?{}", good.path, parts.join("&"))
}

#[tokio::test]
async fn row_broker_every_parameter_and_header_with_a_wrong_value_is_refused_at_every_operation() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ntenants: [one]").await;
    let document = document(&broker).await;
    let mut taken = Vec::new();
    let mut asked = 0;
    for described in operations(&document) {
        let world = World::of(&broker, "", "here").await;
        let good = world.good(&described, "here");
        let before = all(&broker, &world).await;
        let mut check = |what: &str, wrong: Option<String>| {
            asked += 1;
            taken.extend(wrong.map(|told| format!("{} {what:.120}: {told}", good.id)));
        };
        for wrong in queries(&good, &described) {
            let answer = ask(&broker, &good, &path_of(&good, &wrong), &[]).await;
            check(&wrong, judge(&answer, None));
        }
        let is_of_the_standard = described.path.starts_with("/ngsi-ld/");
        for (name, value, status, kind) in headers().into_iter().filter(|_| is_of_the_standard) {
            let answer = ask(&broker, &good, &good.with(""), &[(name, &value)]).await;
            check(&format!("{name}: {value}"), judge(&answer, Some((status, kind))));
        }
        if good.body.is_some() {
            for (name, value) in [
                ("content-type", "text/plain"),
                ("content-type", "application/xml"),
                ("content-type", ""),
                ("content-type", "application/geo+json"),
                ("content-encoding", "gzip"),
            ] {
                let mut headers = vec![(name, value)];
                if name != "content-type" {
                    headers.push(("content-type", "application/json"));
                }
                let answer = ask(&broker, &good, &good.with(""), &headers).await;
                check(
                    &format!("{name}: {value}"),
                    judge(&answer, Some((415, "InvalidRequest"))),
                );
            }
        }
        if described.operation["responses"]["406"].is_object() {
            for accept in [
                "application/xml",
                "text/html;q=0.5",
                "application/json;q=0",
                "nothing",
            ] {
                let answer = ask(&broker, &good, &good.with(""), &[("accept", accept)]).await;
                check(
                    &format!("accept: {accept}"),
                    judge(&answer, Some((406, "InvalidRequest"))),
                );
            }
        }
        let after = all(&broker, &world).await;
        if before != after {
            check("after all of them", Some(format!("{before:?} became {after:?}")));
        }
        // It was good but for that.
        let answer = ask(&broker, &good, &good.with(""), &[]).await;
        check("the good request", (answer.status >= 300).then(|| answer.text()));
    }
    assert!(
        taken.is_empty(),
        "{} of {asked}:\n{}",
        taken.len(),
        taken.join("\n")
    );
    println!("{asked} requests");
    assert!(asked > 2000, "{asked}");
}
