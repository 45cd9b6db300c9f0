//! Entities as Smart Data Models have them, through all representations and back: nothing is lost that a representation can
//! carry, and what was sent as `5`, `5.0` or a time comes back so.

use crate::support::Broker;
use serde_json::{Value, json};

const GEO: (&str, &str) = ("accept", "application/geo+json");

/// Written in the shape of AirQualityObserved, OffStreetParking, Streetlight, WasteContainer and Building; the values are
/// made up.
const MODELS: [&str; 5] = [
    r#"{"id":"urn:ngsi-ld:AirQualityObserved:harbour-7","type":"AirQualityObserved",
        "location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[8.6821,50.0]}},
        "address":{"type":"Property","value":{"addressCountry":"DE","addressLocality":"Harbour town","streetAddress":"Quay 7"}},
        "dateObserved":{"type":"Property","value":{"@type":"DateTime","@value":"2024-03-01T10:00:00.500Z"}},
        "no2":{"type":"Property","value":22,"unitCode":"GP","observedAt":"2024-03-01T10:00:00Z","accuracy":{"type":"Property","value":0.50}},
        "pm10":{"type":"Property","value":5.0,"unitCode":"GQ","observedAt":"2024-03-01T10:00:00.000Z"},
        "temperature":{"type":"Property","value":-12.0},
        "reliability":{"type":"Property","value":1.00},
        "airQualityLevel":{"type":"Property","value":"moderate"},
        "refPointOfInterest":{"type":"Relationship","object":"urn:ngsi-ld:PointOfInterest:harbour"}}"#,
    r#"{"id":"urn:ngsi-ld:OffStreetParking:station","type":"OffStreetParking","scope":["/city/centre","/parking"],
        "name":{"type":"LanguageProperty","languageMap":{"en":"Station car park","fi":"Asemapysäköinti"}},
        "category":{"type":"Property","value":["underground","public","feeCharged"]},
        "location":{"type":"GeoProperty","value":{"type":"Polygon","coordinates":[[[-3.80356167695194,43.46296641666926],[-3.803161973253841,43.46301091092682],[-3.803147082548618,43.462879859445884],[-3.80356167695194,43.46296641666926]]]}},
        "totalSpotNumber":{"type":"Property","value":414},
        "availableSpotNumber":{"type":"Property","value":132,"observedAt":"2024-06-02T09:25:55Z","reliability":{"type":"Property","value":0.9,"observedAt":"2024-06-02T09:25:55Z"}},
        "openingHours":{"type":"ListProperty","valueList":["Mo-Fr 06:00-22:00","Sa 08:00-20:00"]},
        "refParkingSpot":{"type":"Relationship","object":["urn:ngsi-ld:ParkingSpot:1","urn:ngsi-ld:ParkingSpot:2"]},
        "priceRate":{"type":"Property","value":{"perHour":2.50,"currency":"EUR","free":false}}}"#,
    r#"{"id":"urn:ngsi-ld:Streetlight:guadalajara:4567","type":["Streetlight","Device"],
        "location":{"type":"GeoProperty","value":{"type":"LineString","coordinates":[[-3.164485591715449,40.62785133667262],[-3.1644,40.628]]}},
        "powerState":{"type":"VocabProperty","vocab":"on"},
        "illuminanceLevel":{"type":"Property","value":0.7},
        "lanternHeight":{"type":"Property","value":10},
        "dateLastSwitchingOn":{"type":"Property","value":"2024-07-11T20:00:00Z"},
        "current":[{"type":"Property","value":1.20,"unitCode":"AMP"},{"type":"Property","value":1.30,"unitCode":"AMP","datasetId":"urn:ngsi-ld:dataset:phase-2"}],
        "refStreetlightGroup":{"type":"Relationship","object":"urn:ngsi-ld:StreetlightGroup:mycity:A12","observedAt":"2024-07-11T20:00:00Z"}}"#,
    r#"{"id":"urn:ngsi-ld:WasteContainer:Fleming:12a","type":"WasteContainer",
        "fillingLevel":{"type":"Property","value":0.4,"observedAt":"2024-01-01T00:00:00.123456Z"},
        "storedWasteKind":{"type":"JsonProperty","json":[{"id":"not an id","type":"glass","value":null},5.0]},
        "serialNumber":{"type":"Property","value":"ASB-123"},
        "depth":{"type":"Property","value":123456789012345678901234567890},
        "containers":{"type":"ListRelationship","objectList":[{"object":"urn:ngsi-ld:WasteContainer:1"},{"object":"urn:ngsi-ld:WasteContainer:2"}]}}"#,
    r#"{"id":"urn:ngsi-ld:Building:town-hall","type":"Building",
        "location":{"type":"GeoProperty","value":{"type":"MultiPolygon","coordinates":[[[[100.0,0.0],[101.0,0.0],[101.0,1.0],[100.0,0.0]]]]}},
        "floorsAboveGround":{"type":"Property","value":7},
        "openingHours":{"type":"Property","value":["Mo-Fr 10:00-19:00","Sa closed"]},
        "description":{"type":"Property","value":"Größe & Höhe: \"5\u0301\" \\ 🏛"},
        "occupier":{"type":"Relationship","object":"urn:ngsi-ld:Person:9830f692","since":{"type":"Property","value":"2024-01-01","source":{"type":"Property","value":5.0}}}}"#,
];

/// A text without white space outside of quotes, so that what was sent can be compared with what comes to the letter.
fn dense(text: &str) -> String {
    let (mut out, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for c in text.chars() {
        if is_quoted || !c.is_whitespace() {
            out.push(c);
        }
        if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && c == '\\' && !is_escaped;
    }
    out
}

/// The numbers and times of a text, in order of the alphabet: to the letter, wherever they stand.
fn marks(text: &str) -> Vec<String> {
    let mut found: Vec<String> = dense(text)
        .split([',', ':', '[', ']', '{', '}'])
        .filter(|part| part.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !part.contains('"'))
        .map(str::to_owned)
        .collect();
    for time in text
        .split('"')
        .filter(|part| part.ends_with('Z') && part.contains('T'))
    {
        found.push(time.to_owned());
    }
    found.sort();
    found
}

struct Model<'b> {
    broker: &'b Broker,
    id: String,
}

impl Model<'_> {
    async fn shown(&self, query: &str) -> String {
        let answer = self.broker.get(&format!("/entities/{}{query}", self.id)).await;
        assert_eq!(answer.status, 200, "{}: {}", self.id, answer.text());
        answer.text()
    }

    async fn feature(&self, query: &str) -> Value {
        let path = format!("/entities/{}{query}", self.id);
        let answer = self.broker.send("GET", &path, &[GEO], None).await;
        assert_eq!(answer.status, 200, "{}: {}", self.id, answer.text());
        assert_eq!(answer.header("content-type"), "application/geo+json");
        answer.json()
    }

    async fn sent_again(&self, text: &str) {
        let path = format!("/entities/{}", self.id);
        assert_eq!(self.broker.send("DELETE", &path, &[], None).await.status, 204);
        self.broker.create(text).await;
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What the simplified representation says of an attribute.
fn simplified(attribute: &Value) -> Value {
    if let Some(instances) = attribute.as_array() {
        let named = instances.iter().map(|one| {
            let dataset = one["datasetId"].as_str().unwrap_or("@none");
            (dataset.to_owned(), simplified(one))
        });
        return json!({"dataset": named.collect::<serde_json::Map<_, _>>()});
    }
    for (member, wrapped) in [
        ("value", false),
        ("object", false),
        ("languageMap", true),
        ("vocab", true),
        ("json", true),
        ("valueList", false),
    ] {
        if let Some(value) = attribute.get(member) {
            return if wrapped {
                json!({member: value})
            } else {
                value.clone()
            };
        }
    }
    let targets = attribute["objectList"].as_array().unwrap().iter();
    targets.map(|target| target["object"].clone()).collect()
}

#[tokio::test]
async fn entities_of_data_models_come_back_from_every_representation_with_all_that_it_can_carry() {
    let broker = Broker::ready().await;
    for sent in MODELS {
        let sent = dense(sent);
        let whole = value(&sent);
        let id = whole["id"].as_str().unwrap().to_owned();
        let model = Model { broker: &broker, id };
        broker.create(&sent).await;
        let normalized = model.shown("").await;
        assert_eq!(value(&normalized), whole);
        assert_eq!(marks(&normalized), marks(&sent), "to the letter: {normalized}");

        // Concise has all of it: sent again, it is the same entity.
        let concise = model.shown("?options=concise").await;
        assert_eq!(marks(&concise), marks(&sent), "to the letter: {concise}");
        assert_ne!(value(&concise), whole);
        model.sent_again(&concise).await;
        assert_eq!(model.shown("").await, normalized);
        model.sent_again(&normalized).await;
        assert_eq!(model.shown("?options=concise").await, concise);

        // Simplified has the values.
        let values = model.shown("?options=keyValues").await;
        let read = value(&values);
        for (name, attribute) in whole.as_object().unwrap() {
            let expected = match name.as_str() {
                "id" | "type" | "scope" => attribute.clone(),
                _ => simplified(attribute),
            };
            assert_eq!(read[name], expected, "{name} in {values}");
        }
        assert_eq!(read.as_object().unwrap().len(), whole.as_object().unwrap().len());

        // A feature has the same members beside its geometry.
        for (query, text) in [
            ("", &normalized),
            ("?options=concise", &concise),
            ("?options=keyValues", &values),
        ] {
            let feature = model.feature(query).await;
            let mut expected = value(text);
            let members = expected.as_object_mut().unwrap();
            assert_eq!(members.remove("id").unwrap(), feature["id"]);
            let geometry = whole["location"]["value"].clone();
            assert_eq!(feature["geometry"], geometry, "{query}");
            let mut properties = feature["properties"].clone();
            properties.as_object_mut().unwrap().remove("@context");
            assert_eq!(properties, expected, "{query}");
        }
    }
}

#[tokio::test]
async fn data_models_come_back_from_pages_and_batches_as_they_were_sent() {
    let broker = Broker::ready().await;
    let batch = format!("[{}]", MODELS.map(dense).join(","));
    let created = broker.post("/entityOperations/create", &batch).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let page = broker.get("/entities?local=true&limit=100").await;
    assert_eq!(marks(&page.text()), marks(&batch));
    let concise = broker
        .get("/entities?local=true&limit=100&options=concise")
        .await
        .text();
    let again = broker.post("/entityOperations/upsert", &concise).await;
    assert_eq!(again.status, 204, "{}", again.text());
    let after = broker.get("/entities?local=true&limit=100").await;
    assert_eq!(after.text(), page.text());
}
