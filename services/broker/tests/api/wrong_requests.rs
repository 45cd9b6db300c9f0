//! Every operation of the document with every parameter and header wrong, one at a time, in a request that is good but for
//! that.

use crate::openapi::{Described, document, operations};
use crate::refusals::raw;
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

/// Preferences that are none of the standard's, or none at all: who does not know one goes on as if it were not there (RFC 7240, clause 2).
const PREFERENCES: [&str; 6] = ["", "nothing", "body=xml", "body=", ";;,=,", "body=\"json"];

/// Two lines of `Accept`, with the type of the answer, or none where neither is offered. They mean what one line with both means.
const ACCEPTS: [([&str; 2], Option<&str>); 4] = [
    (["application/xml", "text/html"], None),
    (["application/json;q=0", "application/ld+json;q=0"], None),
    (["application/xml", "application/json"], Some("application/json")),
    (
        ["application/json;q=0.5", "application/ld+json"],
        Some("application/ld+json"),
    ),
];

/// What says wrong how long a body is, with the body, and the statuses that answer it. Where it is no length at all, or two, the request has no
/// known end, and the connection ends with it.
fn wrong_lengths(body: &str) -> Vec<(String, String, &'static [&'static str])> {
    let length = body.len();
    let of = |said: String| format!("Content-Length: {said}\r\n");
    let invalid: &[&str] = &["400"];
    vec![
        (String::new(), String::new(), &["411"]),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
            &["411"],
        ),
        (of("0".to_owned()), String::new(), invalid),
        (of((length - 1).to_string()), body.to_owned(), invalid),
        (of("x".to_owned()), body.to_owned(), invalid),
        (of(format!("+{length}")), body.to_owned(), invalid),
        (of(format!("-{length}")), body.to_owned(), invalid),
        (of(format!("{length}, {}", length - 1)), body.to_owned(), invalid),
        (
            of(length.to_string()) + &of((length - 1).to_string()),
            body.to_owned(),
            invalid,
        ),
        (of("104857600".to_owned()), body.to_owned(), &["413"]),
    ]
}

/// Sends a good request with these headers and this body; the whole answer.
async fn ask_raw(broker: &Broker, good: &Good, headers: &str, body: &str) -> String {
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\r\n",
        good.method,
        good.with("")
    );
    raw(broker, format!("{head}{body}").as_bytes()).await
}

fn has_status(answer: &str, expected: &[&str]) -> Option<String> {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    (!expected.contains(&status)).then(|| format!("{answer:.300}"))
}

/// Sends each of them; what was answered otherwise.
async fn with_wrong_lengths(broker: &Broker, good: &Good) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    for (headers, body, expected) in wrong_lengths(&good.text().unwrap_or_default()) {
        let answer = ask_raw(broker, good, &headers, &body).await;
        all.push((headers, has_status(&answer, expected)));
    }
    all
}

/// Sends all of them at once with the last byte of each body missing; what was answered otherwise than that it came too slowly.
async fn with_a_byte_missing(broker: &Broker, all: &[Good]) -> Vec<(String, Option<String>)> {
    let asked = all.iter().map(async |good| {
        let body = good.text().unwrap_or_default();
        let length = format!("Content-Length: {}\r\n", body.len() + 1);
        let answer = ask_raw(broker, good, &length, &body).await;
        (
            format!("{} with a byte missing", good.id),
            has_status(&answer, &["408"]),
        )
    });
    futures::future::join_all(asked).await
}

/// The media types in which an operation answers.
fn offered(described: &Described<'_>) -> Vec<String> {
    let content = described.operation["responses"]["200"]["content"].as_object();
    content
        .into_iter()
        .flatten()
        .map(|(media, _)| media.clone())
        .collect()
}

/// Asks in each media type with and without a preference; where the answers differ.
async fn with_preferences(
    broker: &Broker,
    good: &Good,
    described: &Described<'_>,
) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    // One tells the time, and so never the same twice.
    let is_lasting = good.method == "GET" && good.id != "retrieveSourceIdentity";
    for media in offered(described).iter().filter(|_| is_lasting) {
        let accept = ("accept", media.as_str());
        let plain = ask(broker, good, &good.with(""), &[accept]).await;
        for preference in PREFERENCES {
            let answer = ask(broker, good, &good.with(""), &[accept, ("prefer", preference)]).await;
            let of = |a: &Answer| (a.status, a.header("content-type").to_owned(), a.text());
            let differs = (of(&answer) != of(&plain)).then(|| format!("{:.300?}", of(&answer)));
            all.push((format!("{media}, prefer: {preference}"), differs));
        }
    }
    all
}

/// Asks with each two lines; what was answered otherwise.
async fn with_two_accepts(
    broker: &Broker,
    good: &Good,
    described: &Described<'_>,
) -> Vec<(String, Option<String>)> {
    let (mut all, offered) = (Vec::new(), offered(described));
    let may_refuse = described.operation["responses"]["406"].is_object();
    for ([first, second], media) in ACCEPTS.into_iter().filter(|_| may_refuse) {
        if media.is_some_and(|media| !offered.iter().any(|o| o == media)) {
            continue;
        }
        let both = [("accept", first), ("accept", second)];
        let answer = ask(broker, good, &good.with(""), &both).await;
        let found = (answer.status < 300).then(|| answer.header("content-type"));
        let wrong = match media {
            None => judge(&answer, Some((406, "InvalidRequest"))),
            Some(_) => (found != media).then(|| format!("{} {found:?}", answer.status)),
        };
        all.push((format!("accept: {first} and {second}"), wrong));
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
    let (mut taken, mut with_body) = (Vec::new(), Vec::new());
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
        for (what, wrong) in with_preferences(&broker, &good, &described).await {
            check(&what, wrong);
        }
        for (what, wrong) in with_two_accepts(&broker, &good, &described).await {
            check(&what, wrong);
        }
        if good.body.is_some() {
            for (length, wrong) in with_wrong_lengths(&broker, &good).await {
                check(&length, wrong);
            }
        }
        let after = all(&broker, &world).await;
        if before != after {
            check("after all of them", Some(format!("{before:?} became {after:?}")));
        }
        // It was good but for that.
        let answer = ask(&broker, &good, &good.with(""), &[]).await;
        check("the good request", (answer.status >= 300).then(|| answer.text()));
        with_body.extend(Some(good).filter(|good| good.body.is_some()));
    }
    asked += with_body.len();
    for (what, wrong) in with_a_byte_missing(&broker, &with_body).await {
        taken.extend(wrong.map(|told| format!("{what}: {told}")));
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
