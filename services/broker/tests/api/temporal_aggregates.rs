//! What methods make of the values of the past (clause 4.5.19).

use crate::support::Broker;
use crate::temporal::{insist, keeping, past, point, shown};
use serde_json::{Value, json};

async fn aggregated(broker: &Broker, query: &str) -> Value {
    shown(broker, &format!("/urn:x:1?options=aggregatedValues&{query}")).await
}

#[tokio::test]
async fn values_are_aggregated_period_by_period_from_the_first_or_from_the_begin_of_the_interval() {
    let broker = keeping().await;
    past(&broker, &json!({"id": "urn:x:1", "type": "T",
        "speed": [point(120, "2020-08-01T12:03:00Z"), point(80, "2020-08-01T12:05:00Z"), point(100, "2020-08-01T12:07:00Z")],
        "fuel": [point(67, "2020-08-01T12:03:00Z"), point(53, "2020-08-01T13:05:00Z"), point(40, "2020-08-01T15:07:00Z")]})).await;
    let hours = aggregated(&broker, "aggrMethods=avg,max&aggrPeriodDuration=PT1H").await;
    assert_eq!(
        hours["speed"],
        json!({"type": "Property",
        "avg": [[100, "2020-08-01T12:03:00Z", "2020-08-01T13:03:00Z"]], "max": [[120, "2020-08-01T12:03:00Z", "2020-08-01T13:03:00Z"]]})
    );
    assert_eq!(
        hours["fuel"]["avg"],
        json!([
            [67, "2020-08-01T12:03:00Z", "2020-08-01T13:03:00Z"],
            [53, "2020-08-01T13:03:00Z", "2020-08-01T14:03:00Z"],
            [40, "2020-08-01T15:03:00Z", "2020-08-01T16:03:00Z"]
        ])
    );
    let aligned = "aggrMethods=sum&aggrPeriodDuration=PT1H&timerel=between&timeAt=2020-08-01T00:00:00Z&endTimeAt=2020-08-01T14:00:00Z";
    let aligned = aggregated(&broker, aligned).await;
    assert_eq!(
        aligned["fuel"]["sum"],
        json!([
            [67, "2020-08-01T12:00:00Z", "2020-08-01T13:00:00Z"],
            [53, "2020-08-01T13:00:00Z", "2020-08-01T14:00:00Z"]
        ])
    );
    let whole = aggregated(&broker, "aggrMethods=totalCount&attrs=fuel&lastN=2").await;
    assert_eq!(
        whole,
        json!({"id": "urn:x:1", "type": "T",
        "fuel": {"type": "Property", "totalCount": [[2, "2020-08-01T13:05:00Z", "2020-08-01T15:07:00Z"]]}})
    );
    let interval =
        "aggrMethods=min&timerel=between&timeAt=2020-08-01T00:00:00Z&endTimeAt=2020-08-02T00:00:00Z";
    let interval = aggregated(&broker, interval).await;
    assert_eq!(
        interval["speed"]["min"],
        json!([[80, "2020-08-01T00:00:00Z", "2020-08-02T00:00:00Z"]])
    );
    let query = "?type=T&options=aggregatedValues&aggrMethods=avg&timerel=after&timeAt=2020-01-01T12:03:00Z&aggrPeriodDuration=P1D";
    let query = shown(&broker, query).await;
    assert_eq!(
        query[0]["speed"]["avg"],
        json!([[100, "2020-08-01T12:03:00Z", "2020-08-02T12:03:00Z"]])
    );
}

#[tokio::test]
async fn a_method_that_does_not_apply_is_refused_and_told_which_attribute_it_is() {
    let broker = keeping().await;
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "T", "scope": "/a", "n": [point(1, "2020-01-01T00:00:00Z")],
        "name": [point("a", "2020-01-01T00:00:00Z"), point("b", "2020-01-02T00:00:00Z")],
        "at": [{"object": "urn:y:1"}, {"object": "urn:y:1"}]}),
    )
    .await;
    let answer = broker
        .get("/temporal/entities/urn:x:1?options=aggregatedValues&aggrMethods=avg")
        .await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "InvalidRequest"));
    assert!(
        answer.text().contains("avg does not apply") && answer.text().contains("attrs"),
        "{}",
        answer.text()
    );
    assert_eq!(
        aggregated(&broker, "aggrMethods=avg&attrs=n").await["n"]["avg"][0][0],
        1
    );
    assert_eq!(
        aggregated(&broker, "aggrMethods=max&pick=name").await["name"]["max"][0][0],
        "b"
    );
    let counts = aggregated(&broker, "aggrMethods=totalCount,distinctCount").await;
    assert_eq!(
        (
            &counts["at"]["totalCount"][0][0],
            &counts["at"]["distinctCount"][0][0]
        ),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&counts["at"]["type"], &counts["scope"]),
        (&json!("Relationship"), &Value::Null)
    );
}

#[tokio::test]
async fn datasets_are_aggregated_apart_and_deletions_are_no_values() {
    let broker = keeping().await;
    broker
        .create(r#"{"id":"urn:x:1","type":"T","n":[{"value":1},{"value":5,"datasetId":"urn:d:1"}]}"#)
        .await;
    insist(&broker, 204, "DELETE", "/entities/urn:x:1/attrs/n", None).await;
    let stored = aggregated(&broker, "aggrMethods=sum,totalCount&timeproperty=createdAt").await;
    let of = |n: usize| {
        (
            stored["n"][n]["datasetId"].clone(),
            stored["n"][n]["sum"][0][0].clone(),
            stored["n"][n]["totalCount"][0][0].clone(),
        )
    };
    assert_eq!(
        [of(0), of(1)],
        [
            (Value::Null, json!(1), json!(1)),
            (json!("urn:d:1"), json!(5), json!(1))
        ]
    );
    let one = aggregated(
        &broker,
        "aggrMethods=sum&timeproperty=createdAt&datasetId=urn:d:1",
    )
    .await;
    assert_eq!(one["n"]["sum"][0][0], 5);
}

#[tokio::test]
async fn many_values_are_aggregated_whole_whatever_the_page_size() {
    let broker = Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 10}").await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    // As by a sensor that measures each second of a day.
    broker.database.psql(
        "insert into mim.history select 1, 'urn:x:1', 'https://uri.etsi.org/ngsi-ld/default-context/n', \
           (substr(mim.first_instance(now() + interval '1 minute')::text, 1, 24) || lpad(to_hex(n), 12, '0'))::uuid, now(), null, \
           '2024-01-01T00:00:00Z'::timestamptz + n * interval '1 second', jsonb_build_object('type', 'Property', 'value', n) \
         from generate_series(0, 86399) n",
    );
    let hours = aggregated(
        &broker,
        "aggrMethods=totalCount,min,max,distinctCount&aggrPeriodDuration=PT1H",
    )
    .await;
    let counts = hours["n"]["totalCount"].as_array().unwrap();
    assert_eq!(
        (counts.len(), &counts[23][0], &hours["n"]["max"][23][0]),
        (24, &json!(3600), &json!(86399))
    );
    assert_eq!(hours["n"]["distinctCount"][0][0], 3600);
}
