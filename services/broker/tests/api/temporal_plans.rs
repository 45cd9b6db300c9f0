//! The past is read off its indexes, no further than the answer goes, and not from partitions that are older than it.

use crate::plans::{database_that_explains, looked_at, nodes, plans_in};
use crate::support::Broker;
use crate::temporal::shown;
use serde_json::Value;
use std::sync::Arc;

const PAGE: f64 = 100.0;

/// A broker whose history has eight months: an entity with 20,000 instances of each of three attributes, 300 others, and a
/// predecessor's rows in the months before.
async fn broker_with_a_long_past() -> Broker {
    let database = Arc::new(database_that_explains(&["log_analyze = on", "log_format = json"]));
    let config = "temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 100}";
    let broker = Broker::configured_on(database, config).await;
    broker.database.psql(
        "set search_path = mim, public;
         do $$ declare m date; begin
           for m in select generate_series(date_trunc('month', now()) - interval '5 months', date_trunc('month', now()), '1 month') loop
             perform add_history('history_' || to_char(m, 'YYYY_MM'), first_instance(m), first_instance((m + interval '1 month')::date));
           end loop;
         end $$;
         create function pg_temp.instance(t timestamptz, n bigint) returns uuid language sql as
           $$ select (substr(mim.first_instance(t)::text, 1, 24) || lpad(to_hex(n), 12, '0'))::uuid $$;
         insert into entities select 1, 'urn:x:' || n, array['https://uri.etsi.org/ngsi-ld/default-context/T'], '{}', '{}', '{}',
             now() - interval '20 days', now() from generate_series(1, 300) n;
         insert into entity_types select 1, types[1], id from entities;
         insert into history (tenant, entity, attr, instance, recorded, observed, body)
           select 1, 'urn:x:1', 'https://uri.etsi.org/ngsi-ld/default-context/' || a, pg_temp.instance(t, n), t,
             case when a <> 'free' then t end, jsonb_build_object('type', 'Property', 'value', n)
           from generate_series(1, 20000) n cross join lateral (select now() - interval '20 days' + n * interval '1 minute' as t) tt
           cross join (values ('a'), ('b'), ('free')) as v(a);
         insert into history (tenant, entity, attr, instance, recorded, observed, body)
           select 1, 'urn:x:' || e, 'https://uri.etsi.org/ngsi-ld/default-context/a', pg_temp.instance(t, n), t, t,
             jsonb_build_object('type', 'Property', 'value', n % 100)
           from generate_series(2, 300) e cross join generate_series(1, 100) n
           cross join lateral (select now() - interval '20 days' + n * interval '1 hour' as t) tt;
         insert into history (tenant, entity, attr, instance, recorded, observed, body)
           select 1, 'urn:x:1', 'https://uri.etsi.org/ngsi-ld/default-context/a', pg_temp.instance(t, n), t, t,
             '{\"type\": \"Property\", \"value\": -1}'
           from generate_series(1, 20000) n cross join lateral (select date_trunc('month', now()) - interval '4 months' + n * interval '1 minute' as t) tt;
         analyze history, entities, entity_types;",
    );
    broker
}

/// The plans, as they went, of the statements on the history that a request made.
async fn plans(broker: &Broker, path: &str) -> Vec<Value> {
    let before = broker.database.log().len();
    let status = broker.get(&format!("/temporal/entities{path}")).await.status;
    assert!([200, 206].contains(&status), "{path}: {status}");
    let log = broker.database.log();
    let of_history = |logged: &Value| logged["Query Text"].as_str().unwrap().contains("names(n, attr)");
    let plans: Vec<_> = plans_in(&log[before..]).into_iter().filter(of_history).collect();
    assert!(!plans.is_empty(), "{path}");
    plans
        .into_iter()
        .map(|mut logged| logged["Plan"].take())
        .collect()
}

#[tokio::test]
async fn the_past_is_read_in_order_and_no_further_than_a_page_goes() {
    let broker = broker_with_a_long_past().await;
    let recent = "2000-01-01T00:00:00Z";
    for path in [
        "/urn:x:1".to_owned(),
        "/urn:x:1?lastN=5".to_owned(),
        "/urn:x:1?attrs=free&lastN=1".to_owned(),
        format!("/urn:x:1?timerel=after&timeAt={recent}"),
        format!("/urn:x:1?timerel=after&timeAt={recent}&timeproperty=createdAt"),
        format!("/urn:x:1?timerel=after&timeAt={recent}&timeproperty=modifiedAt&lastN=50"),
        format!("/urn:x:1?timerel=after&timeAt={recent}&timeproperty=deletedAt"),
    ] {
        for node in plans(&broker, &path).await.iter().flat_map(nodes) {
            let scans = node["Relation Name"]
                .as_str()
                .is_some_and(|name| name.starts_with("history_"));
            // Each of three attributes, by two clocks at most, and one more than a page each.
            assert!(
                !scans || looked_at(node) <= 6.0 * (PAGE + 1.0),
                "{path}: {node:#}"
            );
        }
    }
    let entity = shown(&broker, "/urn:x:1?lastN=1&options=temporalValues").await;
    assert_eq!(entity["a"]["values"][0][0], 20_000);
}

#[tokio::test]
async fn partitions_from_before_an_entity_or_outside_of_the_interval_are_not_touched() {
    let broker = broker_with_a_long_past().await;
    let partition = |months: &str| {
        let sql = format!("select 'history_' || to_char(date_trunc('month', now()) {months}, 'YYYY_MM')");
        broker.database.psql(&sql)
    };
    let day = broker
        .database
        .psql("select to_char(now(), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
    let older: Vec<String> = (2..6)
        .map(|n| partition(&format!("- interval '{n} months'")))
        .collect();
    let touched = |plans: &[Value]| -> Vec<String> {
        let scans = plans
            .iter()
            .flat_map(nodes)
            .filter(|node| node["Actual Loops"].as_f64() > Some(0.0));
        let names = scans.filter_map(|node| node["Relation Name"].as_str());
        names
            .filter(|name| name.starts_with("history_"))
            .map(str::to_owned)
            .collect()
    };
    let all = "timerel=after&timeAt=1970-01-01T00:00:00Z";
    for path in [
        "/urn:x:1".to_owned(),
        "/urn:x:1?attrs=a".to_owned(),
        format!("?type=T&{all}"),
        format!("?type=T&q=a==-1&{all}"),
    ] {
        let touched = touched(&plans(&broker, &path).await);
        assert!(
            !touched.is_empty() && !touched.iter().any(|name| older.contains(name)),
            "{path}: {touched:?}"
        );
    }
    // What was stored in an interval is in its partitions.
    let path = format!("/urn:x:1?attrs=a&timeproperty=createdAt&timerel=after&timeAt={day}");
    let touched = touched(&plans(&broker, &path).await);
    let ahead: Vec<String> = (0..3)
        .map(|n| partition(&format!("+ interval '{n} months'")))
        .collect();
    assert!(touched.iter().all(|name| ahead.contains(name)), "{touched:?}");
}

#[tokio::test]
async fn a_page_of_entities_costs_what_its_entities_do() {
    let broker = broker_with_a_long_past().await;
    let all = "timerel=after&timeAt=1970-01-01T00:00:00Z";
    for query in [
        format!("?type=T&limit=5&{all}"),
        format!("?type=T&limit=5&q=a%3E50&{all}"),
        format!("?type=T&limit=5&attrs=a&{all}"),
    ] {
        for node in plans(&broker, &query).await.iter().flat_map(nodes) {
            let scans = node["Relation Name"]
                .as_str()
                .is_some_and(|name| name.starts_with("history_"));
            // Five entities and one more: to find them, their names, their instances.
            assert!(
                !scans || looked_at(node) <= 12.0 * (PAGE + 1.0),
                "{query}: {node:#}"
            );
        }
    }
}
