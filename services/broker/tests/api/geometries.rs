//! Geometries that cost more than they look: crossings grow with the square of the positions.

use crate::support::Broker;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Positions that jump about in a square of ten degrees: nearly every edge crosses a quarter of the others.
fn jumps(count: usize) -> Vec<[f64; 2]> {
    let mut state: u64 = 42;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Three digits after the point, so that a thousand positions fit a query.
        f64::from(u32::try_from(state >> 40).unwrap() % 10_000) / 1000.0
    };
    (0..count).map(|_| [next(), next()]).collect()
}

fn ring(count: usize) -> Value {
    let mut positions = jumps(count - 1);
    positions.push(positions[0]);
    json!({"type": "Polygon", "coordinates": [positions]})
}

async fn create(broker: &Broker, id: &str, geometry: &Value) -> (u16, String, Duration) {
    let started = Instant::now();
    let body = json!({"id": id, "type": "T", "location": geometry}).to_string();
    let answer = broker.post("/entities", &body).await;
    (answer.status, answer.text(), started.elapsed())
}

#[tokio::test]
async fn rings_that_cross_themselves_are_repaired_while_that_is_cheap_and_else_refused() {
    let broker = Broker::ready().await;
    for count in [201, 5_000, 10_000, 10_001] {
        let (status, text, took) = create(&broker, "urn:x:many", &ring(count)).await;
        assert!(
            status == 400 && text.contains("positions"),
            "{count}: {status} {text}"
        );
        assert!(took < Duration::from_secs(5), "{count}: {took:?}");
    }
    let (status, text, _) = create(&broker, "urn:x:few", &ring(200)).await;
    assert_eq!(status, 201, "{text}");
    // A bow tie with a tail: the older repair makes a collection of it, which predicates refuse.
    let tie = json!({"type": "Polygon", "coordinates": [[[20, 0], [22, 2], [22, 0], [20, 2], [20, 0], [18, 0], [20, 0]]]});
    let (status, text, _) = create(&broker, "urn:x:tie", &tie).await;
    assert_eq!(status, 201, "{text}");
    let line = json!({"type": "LineString", "coordinates": jumps(5_000)});
    let (status, text, took) = create(&broker, "urn:x:line", &line).await;
    assert!(
        status == 201 && took < Duration::from_secs(5),
        "{text} after {took:?}"
    );
    assert_eq!(
        broker.database.psql("select count(*) from mim.entity_geometries where not ST_IsValid(geom) or GeometryType(geom) = 'GEOMETRYCOLLECTION'"),
        "0"
    );
    let around = "geometry=Polygon&coordinates=[[[17,-1],[23,-1],[23,3],[17,3],[17,-1]]]";
    for relation in ["within", "intersects"] {
        assert_eq!(
            broker.ids(&format!("georel={relation}&{around}")).await,
            ["urn:x:tie"]
        );
    }
    for (count, words) in [(201, "may have 200 positions"), (1_001, "at most 1000 positions")] {
        let coordinates = ring(count)["coordinates"].to_string();
        let answer = broker
            .get(&format!(
                "/entities?georel=within&geometry=Polygon&coordinates={coordinates}"
            ))
            .await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "BadRequestData"));
        assert!(answer.text().contains(words), "{}", answer.text());
    }
}
