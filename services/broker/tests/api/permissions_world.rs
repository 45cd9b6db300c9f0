//! The sentence that permission sets stand on: who asks with one is answered as in a world in which the rest is not there.
//! Tenant `one` has all there is, tenant `two` only what the set shows of it, and the same is asked of both.

use crate::support::Answer;
use crate::support::gateway::Guarded;
use serde_json::{Value, json};

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";
const LOCATION: &str = "https://uri.etsi.org/ngsi-ld/location";
const ALL: &str = "one";
const SEEN: &str = "two";

fn iri(name: &str) -> String {
    format!("{DEFAULT}{name}")
}

fn set() -> Value {
    let park = iri("Park");
    let attributes = json!([iri("name"), iri("size"), iri("gates"), LOCATION]);
    json!({"version": 1, "subject": "urn:s:1",
        "read": {
            "allow": [{"types": [park], "attributes": attributes}, {"types": [iri("Lamp")], "scopes": ["/city/north"]}],
            "deny": [{"types": [park], "scopes": ["/secret/#"]}, {"idPatterns": ["vault"]}, {"attributes": [iri("owner")]},
                {"types": [iri("Lamp")], "attributes": [iri("code")]}]},
        "update": {"allow": [{"types": [park], "scopes": ["/city/#"], "attributes": [iri("name"), iri("size")]}],
            "deny": [{"idPatterns": ["vault"]}]},
        "delete": {"allow": [{"types": [iri("Lamp")], "scopes": ["/city/north"]}]}})
}

/// What the set shows of an entity, said once more and in other words.
fn seen(entity: &Value) -> Option<Value> {
    let (id, kinds) = (entity["id"].as_str().unwrap(), entity["type"].to_string());
    let of_park = ["name", "size", "gates", "location"];
    let is_lamp = kinds.contains("Lamp");
    let is_there = if is_lamp {
        entity["scope"] == "/city/north"
    } else {
        kinds.contains("Park") && !id.contains("secret") && !id.contains("vault")
    };
    let mut shown = entity.clone();
    shown.as_object_mut().unwrap().retain(|name, _| {
        let always = ["id", "type", "scope"].contains(&name.as_str());
        let is_of_type = if is_lamp {
            name != "code"
        } else {
            of_park.contains(&name.as_str())
        };
        always || (is_of_type && name != "owner")
    });
    is_there.then_some(shown)
}

fn property(value: impl Into<Value>, month: u32) -> Value {
    json!({"type": "Property", "value": value.into(), "observedAt": format!("2024-0{month}-01T00:00:00Z")})
}

fn point(x: f64, y: f64) -> Value {
    json!({"type": "GeoProperty", "value": {"type": "Point", "coordinates": [x, y]}, "observedAt": "2024-01-01T00:00:00Z"})
}

fn links(to: Value) -> Value {
    json!({"type": "Relationship", "object": to, "observedAt": "2024-01-01T00:00:00Z"})
}

fn park(id: &str, kinds: Value, scope: &str, n: u32) -> Value {
    let x = f64::from(n) / 10.0;
    json!({"id": id, "type": kinds, "scope": scope,
        "name": property(format!("Park {n}"), 1), "size": property(n, 1), "owner": property(format!("Owner {}", 9 - n), 1),
        "location": point(8.0 + x, 48.0), "spot": point(1.0 + x, 1.0),
        "gates": links(json!(["urn:lamp:0", "urn:lamp:5", "urn:park:secret"])), "light": links(json!("urn:lamp:1"))})
}

fn entities() -> Vec<Value> {
    let mut all = vec![
        park("urn:park:0", json!("Park"), "/city/north", 0),
        park("urn:park:1", json!(["Park", "Site"]), "/city/north", 1),
        park("urn:park:2", json!("Park"), "/city/south", 2),
        park("urn:park:3", json!("Park"), "/city/south", 3),
        park("urn:park:secret", json!("Park"), "/secret/a", 4),
        park("urn:park:vault", json!(["Park", "Vault"]), "/city/north", 5),
        park("urn:vault:1", json!("Vault"), "/city/north", 6),
    ];
    for n in 0..6 {
        let scope = if n < 3 { "/city/north" } else { "/city/south" };
        let stands = if n == 2 {
            "urn:park:secret".to_owned()
        } else {
            format!("urn:park:{n}")
        };
        all.push(
            json!({"id": format!("urn:lamp:{n}"), "type": ["Lamp", "Device"], "scope": scope,
            "power": property(n, 1), "code": property(format!("Code {n}"), 1), "owner": property(n, 1),
            "standsIn": links(json!(stands))}),
        );
    }
    let mut large = park("urn:park:secretbig", json!("Park"), "/secret/b", 7);
    large["text"] = json!({"type": "Property", "value": "x".repeat(3_000_000)});
    all.push(large);
    all
}

async fn put(guarded: &Guarded, tenant: &str, method: &str, path: &str, body: Option<Value>) {
    let body = body.map(|body| body.to_string());
    let headers = [("ngsild-tenant", tenant)];
    let answer = guarded.broker.send(method, path, &headers, body.as_deref()).await;
    assert!([201, 204].contains(&answer.status), "{path}: {}", answer.text());
}

/// Both worlds, each with a past.
async fn worlds() -> Guarded {
    let guarded = Guarded::ready("temporal: {mode: Enabled}").await;
    let gone = [
        park("urn:park:secretgone", json!("Park"), "/secret/c", 8),
        json!({"id": "urn:lamp:gone", "type": "Lamp", "scope": "/city/south", "power": property(7, 1)}),
    ];
    for entity in entities().iter().chain(&gone) {
        put(&guarded, ALL, "POST", "/entities", Some(entity.clone())).await;
        if let Some(seen) = seen(entity) {
            put(&guarded, SEEN, "POST", "/entities", Some(seen)).await;
        }
    }
    for n in 0..4 {
        let path = format!("/entities/urn:park:{n}/attrs");
        let (size, owner) = (property(n + 10, 3), property("Sold", 2));
        put(&guarded, ALL, "POST", &path, Some(json!({"owner": owner}))).await;
        for tenant in [ALL, SEEN] {
            put(&guarded, tenant, "POST", &path, Some(json!({"size": size}))).await;
        }
    }
    for entity in gone {
        let path = format!("/entities/{}", entity["id"].as_str().unwrap());
        put(&guarded, ALL, "DELETE", &path, None).await;
    }
    guarded
}

/// An answer without what is of its own moment and its own tenant.
fn told(answer: &Answer) -> (u16, Value, String, Vec<String>) {
    let links = answer.headers.get_all("link").iter();
    (
        answer.status,
        serde_json::from_slice(&answer.body).map_or(Value::Null, momentless),
        answer.header("ngsild-results-count").to_owned(),
        links.map(|link| link.to_str().unwrap().to_owned()).collect(),
    )
}

fn momentless(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') && !text.starts_with("2024") => {
            json!("now")
        }
        Value::Array(items) => items.into_iter().map(momentless).collect(),
        Value::Object(members) => {
            let members = members.into_iter().filter(|(name, _)| name != "instanceId");
            members.map(|(name, value)| (name, momentless(value))).collect()
        }
        value => value,
    }
}

const QUERIES: &[&str] = &[
    "type=Park,Lamp,Vault",
    "type=Park&limit=2&count=true",
    "type=Park&limit=2&offset=2&count=true",
    "type=Park&limit=0&count=true",
    "type=Vault&count=true",
    "type=(Park;Vault)&count=true",
    "local=true&count=true&options=concise",
    "local=true&orderBy=owner",
    "local=true&orderBy=owner;desc,name;desc",
    "type=Park&orderBy=spot;dist-asc&orderFrom=[1.25,1]",
    "type=Park&orderBy=location;dist-desc&orderFrom=[8,48]",
    "type=Park&orderBy=owner.value;desc",
    "type=Lamp&orderBy=code",
    "type=Park&orderBy=scope;desc",
    "type=Park&orderBy=type,size;desc",
    "type=Park&q=owner",
    "type=Park&q=owner==%22Sold%22",
    "type=Park&q=owner!=%22Sold%22",
    "type=Park&q=owner~=S|size%3E11",
    "type=Park&q=owner.observedAt%3E2024-01-01T00:00:00Z",
    "type=Park&q=spot",
    "type=Park&q=gates==urn:park:secret",
    "type=Park&q=light",
    "type=Lamp&q=code~=Code",
    "type=Lamp&q=standsIn%7Bsize%7D%3E0&join=flat&joinLevel=1",
    "type=Lamp&q=standsIn%7Bowner%7D&join=flat&joinLevel=1",
    "type=Park&q=gates%7Bpower%7D==0&join=flat&joinLevel=1",
    "type=Park&q=gates%7Bsize%7D&join=flat&joinLevel=1",
    "type=Park&q=light%7Bpower%7D&join=flat&joinLevel=1",
    "type=Park&attrs=owner",
    "type=Park&attrs=owner,name",
    "type=Park&pick=id,owner",
    "type=Park&omit=owner,name",
    "type=Park&geoproperty=spot&georel=near;maxDistance==10000000&geometry=Point&coordinates=[1,1]",
    "type=Park&geoproperty=spot&georel=disjoint&geometry=Point&coordinates=[9,9]",
    "type=Park&georel=near;maxDistance==10000000&geometry=Point&coordinates=[8,48]&count=true",
    "local=true&georel=within&geometry=Polygon&coordinates=[[[7,47],[9,47],[9,49],[7,49],[7,47]]]",
    "type=Park&scopeQ=/secret/%23",
    "type=Park&scopeQ=/%23&count=true",
    "type=Park&idPattern=secret|vault",
    "type=Park&id=urn:park:secret,urn:park:1",
    "type=Park&join=flat&joinLevel=3",
    "type=Park&join=inline&joinLevel=2",
    "type=Lamp&join=flat&joinLevel=2&options=keyValues",
    "type=Lamp&join=inline&joinLevel=2&containedBy=urn:park:1",
];

const PAST: &[&str] = &[
    "type=Park&count=true",
    "type=Park&limit=1&count=true",
    "type=Lamp,Vault&count=true",
    "type=Park&q=owner",
    "type=Park&q=owner==%22Sold%22",
    "type=Park&attrs=owner",
    "type=Park&attrs=owner,size",
    "type=Park&lastN=1",
    "type=Park&format=temporalValues",
    "type=Park&format=aggregatedValues&attrs=size,owner&aggrMethods=totalCount,min,max&aggrPeriodDuration=P1M",
    "type=Park&format=aggregatedValues&aggrMethods=totalCount&attrs=owner",
    "type=Park&idPattern=gone&count=true",
    "type=Park&geoproperty=spot&georel=near;maxDistance==10000000&geometry=Point&coordinates=[1,1]",
    "type=Park&scopeQ=/secret/%23",
];

const OTHERS: &[&str] = &[
    "/types",
    "/types?details=true",
    "/types/Park",
    "/types/Lamp",
    "/types/Vault",
    "/types/Site",
    "/attributes",
    "/attributes?details=true",
    "/attributes/owner",
    "/attributes/spot",
    "/attributes/power",
    "/attributes/code",
    "/attributes/size",
    "/entities/urn:park:secret",
    "/entities/urn:park:secret?attrs=size",
    "/entities/urn:park:0?attrs=owner",
    "/entities/urn:park:0?type=Vault",
    "/entities/urn:park:0?pick=owner,light",
    "/entities/urn:park:1?join=inline&joinLevel=3",
    "/entities/urn:park:vault?type=Park",
    "/temporal/entities/urn:park:secret",
    "/temporal/entities/urn:park:secretgone",
    "/temporal/entities/urn:lamp:gone",
    "/temporal/entities/urn:park:0",
    "/temporal/entities/urn:park:0?attrs=owner",
    "/temporal/entities/urn:park:0?lastN=1&pick=owner,size",
    "/subscriptions?count=true",
];

fn reads() -> Vec<String> {
    let when = "timerel=between&timeAt=2024-01-01T00:00:00Z&endTimeAt=2024-07-01T00:00:00Z";
    let queries = QUERIES.iter().map(|query| format!("/entities?{query}"));
    let past = PAST
        .iter()
        .map(|query| format!("/temporal/entities?{query}&{when}"));
    queries
        .chain(past)
        .chain(OTHERS.iter().map(|path| (*path).to_owned()))
        .collect()
}

/// Checks that all reads are answered alike, and that most of them find something.
async fn are_alike(guarded: &Guarded) {
    let (mut found, mut wrong, all) = (0, Vec::new(), reads());
    for path in &all {
        let limited = told(&guarded.ask_in(ALL, &set(), "GET", path, None).await);
        let answer = guarded
            .broker
            .send("GET", path, &[("ngsild-tenant", SEEN)], None)
            .await;
        let free = told(&answer);
        let text = limited.1.to_string();
        let words = ["Owner", "Sold", "Code", "Vault", "spot", "secretgone"];
        let tells = limited.0 == 200 && words.iter().any(|word| text.contains(word));
        if limited != free || tells || ![200, 404].contains(&free.0) {
            wrong.push(format!("{path}\n  {limited:?}\n  {free:?}"));
        }
        found += usize::from(answer.body.len() > 2 && answer.status == 200);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found * 2 > all.len(), "{found} of {}", all.len());
}

#[tokio::test]
async fn reads_are_answered_as_in_a_world_in_which_the_rest_is_not_there() {
    let guarded = worlds().await;
    are_alike(&guarded).await;
    let geo = [("accept", "application/geo+json"), ("ngsild-tenant", SEEN)];
    for path in [
        "/entities?type=Park&geometryProperty=spot",
        "/entities?type=Park",
        "/entities/urn:park:0?geometryProperty=spot",
    ] {
        let value = crate::support::gateway::header(&set());
        let headers = [
            ("mim-permissions", &*value),
            ("accept", "application/geo+json"),
            ("ngsild-tenant", ALL),
        ];
        let limited = guarded.send("GET", path, &headers).await;
        let free = guarded.broker.send("GET", path, &geo, None).await;
        assert_eq!((told(&limited), limited.status), (told(&free), 200), "{path}");
    }
    for body in [
        json!({"type": "Query", "entities": [{"type": "Park"}, {"type": "Vault"}], "q": "owner|size>1"}),
        json!({"type": "Query", "entities": [{"type": "*", "idPattern": "park|vault"}, {"type": "Lamp"}], "attrs": ["owner", "power"]}),
        json!({"type": "Query", "entities": [{"type": "Park"}], "geoQ": {"georel": "disjoint", "geometry": "Point", "coordinates": [9, 9], "geoproperty": "spot"}}),
    ] {
        let body = body.to_string();
        let path = "/entityOperations/query?count=true";
        let limited = guarded.ask_in(ALL, &set(), "POST", path, Some(&body)).await;
        let free = guarded
            .broker
            .send("POST", path, &[("ngsild-tenant", SEEN)], Some(&body))
            .await;
        assert_eq!((told(&limited), limited.status), (told(&free), 200), "{body}");
    }
}

/// Writes by who may make nothing: who may, learns that an id is in use.
fn writes() -> Vec<(&'static str, String, Value)> {
    let (size, owner) = (property(77, 5), property("Mine", 5));
    let instance = "urn:ngsi-ld:instance:01a225b0-1a27-7558-8004-905bba6e6a3d";
    let mut all = Vec::new();
    for id in [
        "urn:park:secret",
        "urn:park:vault",
        "urn:vault:1",
        "urn:park:secretgone",
        "urn:lamp:gone",
        "urn:lamp:5",
        "urn:park:0",
    ] {
        let entity = json!({"id": id, "type": "Park", "scope": "/city/north", "size": size});
        let (path, past) = (format!("/entities/{id}"), format!("/temporal/entities/{id}"));
        for (name, value) in [("size", &size), ("owner", &owner), ("spot", &owner)] {
            for (method, path) in [
                ("PATCH", &path),
                ("POST", &format!("{path}/attrs")),
                ("PATCH", &format!("{path}/attrs")),
                ("POST", &format!("{path}/attrs?options=noOverwrite")),
            ] {
                all.push((method, path.clone(), json!({name: value})));
            }
            all.push(("PATCH", format!("{path}/attrs/{name}"), json!({"value": 5})));
            all.push((
                "PATCH",
                format!("{path}/attrs/{name}"),
                json!({"type": "Relationship", "object": "urn:x:1"}),
            ));
            all.push(("PUT", format!("{path}/attrs/{name}"), value.clone()));
            all.push(("PATCH", path.clone(), json!({name: "urn:ngsi-ld:null"})));
            all.push(("DELETE", format!("{path}/attrs/{name}"), Value::Null));
            all.push(("POST", format!("{past}/attrs"), json!({name: [value]})));
            all.push((
                "PATCH",
                format!("{past}/attrs/{name}/{instance}"),
                json!({name: [value]}),
            ));
            all.push(("DELETE", format!("{past}/attrs/{name}/{instance}"), Value::Null));
            all.push(("DELETE", format!("{past}/attrs/{name}"), Value::Null));
        }
        all.push(("PUT", path.clone(), entity.clone()));
        all.push(("PATCH", path.clone(), json!({"type": 5})));
        all.push(("POST", "/entities".to_owned(), entity.clone()));
        all.push((
            "POST",
            "/temporal/entities".to_owned(),
            json!({"id": id, "type": "Park", "size": [size]}),
        ));
        if !id.starts_with("urn:park:0") {
            all.push(("DELETE", path, Value::Null));
            all.push(("DELETE", past, Value::Null));
        }
        for operation in [
            "create",
            "upsert",
            "upsert?options=update",
            "update",
            "update?options=noOverwrite",
            "merge",
        ] {
            let items = json!([entity, entity, {"id": id, "type": "Park", "owner": owner}, {"id": "urn:park:none", "type": "Park", "size": size}]);
            all.push(("POST", format!("/entityOperations/{operation}"), items));
        }
    }
    let big = |n: u32| json!({"id": "urn:park:secretbig", "type": "Park", "size": property(n, 6)});
    for operation in ["create", "upsert", "upsert?options=update", "update", "merge"] {
        all.push((
            "POST",
            format!("/entityOperations/{operation}"),
            (0..9).map(big).collect(),
        ));
    }
    let ids = json!([
        "urn:park:secret",
        "urn:park:secret",
        "urn:lamp:5",
        "urn:park:secretbig",
        "urn:park:none"
    ]);
    all.push(("POST", "/entityOperations/delete".to_owned(), ids));
    all.push(("DELETE", "/entities?type=Park&q=owner".to_owned(), Value::Null));
    all
}

#[tokio::test]
async fn writes_are_answered_as_in_a_world_in_which_the_rest_is_not_there() {
    let guarded = worlds().await;
    let hidden = async || {
        let path = "/entities?local=true&idPattern=secret|vault|lamp:5&options=sysAttrs";
        guarded
            .broker
            .send("GET", path, &[("ngsild-tenant", ALL)], None)
            .await
            .text()
    };
    let before = hidden().await;
    let (mut done, all) = (0, writes());
    for (method, path, body) in &all {
        let body = body.to_string();
        let body = (*method != "DELETE").then_some(body.as_str());
        let limited = told(&guarded.ask_in(ALL, &set(), method, path, body).await);
        let other = told(&guarded.ask_in(SEEN, &set(), method, path, body).await);
        assert_eq!(limited, other, "{method} {path} {}", body.unwrap_or_default());
        done += usize::from(limited.0 < 300);
    }
    assert!(done > 5, "{done} of {}", all.len());
    assert_eq!(hidden().await, before);
    are_alike(&guarded).await;
}
