//! Each operation is called until every answer that is described has come, and each is as it is described.

use super::{document, errors, operations};
use crate::support::{Answer, Broker};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LD: (&str, &str) = ("accept", "application/ld+json");
const GEO: (&str, &str) = ("accept", "application/geo+json");

struct Walk {
    broker: Broker,
    document: Value,
    /// Operations and statuses that came.
    seen: BTreeSet<(String, u16)>,
}

impl Walk {
    async fn begin() -> Self {
        let broker = Broker::configured(
            "temporal: {mode: Enabled}\ncompatibility: {temporalPageSize: 3}\ntenants: [one]",
        )
        .await;
        let document = document(&broker).await;
        Self {
            broker,
            document,
            seen: BTreeSet::new(),
        }
    }

    /// Calls an operation by its name: `places` go into its path, `query` behind it.
    async fn call(
        &mut self,
        id: &str,
        (places, query): (&[&str], &str),
        accept: Option<(&str, &str)>,
        body: Option<Value>,
        status: u16,
    ) -> Answer {
        let all = operations(&self.document);
        let described = all.iter().find(|d| d.operation["operationId"] == id).unwrap();
        let mut places = places.iter();
        let parts = described.path.split('/').map(|part| {
            let is_place = part.starts_with('{');
            if is_place { *places.next().unwrap() } else { part }
        });
        let path = format!("{}{query}", parts.collect::<Vec<_>>().join("/"));
        let headers: Vec<_> = accept.into_iter().collect();
        let body = body.map(|body| body.to_string());
        let client = &self.broker.client;
        let answer = client
            .send(self.broker.api, &described.method, &path, &headers, body)
            .await;
        let what = format!("{id} {path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.status, status, "{what}");
        self.check(described.operation, &answer, &what);
        self.seen.insert((id.to_owned(), status));
        answer
    }

    fn check(&self, operation: &Value, answer: &Answer, what: &str) {
        let response = &operation["responses"][answer.status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => response,
        };
        assert!(response["description"].is_string(), "{what}");
        for name in response["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            let conditional = ["Link", "NGSILD-Results-Count"].contains(&name.as_str());
            assert!(conditional || answer.headers.contains_key(name), "{name}: {what}");
        }
        let media = answer.header("content-type");
        let content = &response["content"][media]["schema"]["$ref"];
        if answer.body.is_empty() {
            assert!(response.get("content").is_none(), "{what}");
            return;
        }
        let schema = json!({"$ref": content, "components": self.document["components"]});
        assert_eq!(errors(&schema, &answer.json()), Vec::<String>::new(), "{what}");
    }

    async fn read(&mut self, id: &str, places: &[&str], query: &str) {
        self.call(id, (places, query), None, None, 200).await;
        self.call(id, (places, query), Some(LD), None, 200).await;
    }

    async fn entities(&mut self) {
        let at = json!({"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}});
        let one = json!({"id": "urn:x:1", "type": "T", "scope": "/a", "n": {"type": "Property", "value": 1},
            "location": at, "r": {"type": "Relationship", "object": "urn:x:2"}, "l": {"type": "LanguageProperty", "languageMap": {"en": "a"}},
            "v": {"type": "VocabProperty", "vocab": "a"}, "j": {"type": "JsonProperty", "json": {"a": 1}},
            "list": {"type": "ListProperty", "valueList": [1]}, "m": [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": "urn:d:1"}]});
        let two = json!({"id": "urn:x:2", "type": "T", "n": {"type": "Property", "value": 2}});
        self.call("createEntity", (&[], ""), None, Some(one.clone()), 201)
            .await;
        self.call("createEntity", (&[], ""), None, Some(one.clone()), 409)
            .await;
        self.call("createEntity", (&[], ""), None, Some(two), 201).await;
        for query in [
            "?type=T",
            "?type=T&options=keyValues",
            "?type=T&options=concise,sysAttrs&count=true&limit=1",
        ] {
            self.read("queryEntities", &[], query).await;
        }
        self.call("queryEntities", (&[], "?type=T"), Some(GEO), None, 200)
            .await;
        let body = json!({"type": "Query", "entities": [{"type": "T"}]});
        self.call("queryBatch", (&[], ""), None, Some(body.clone()), 200)
            .await;
        self.call("queryBatch", (&[], ""), Some(GEO), Some(body), 200)
            .await;
        for query in ["", "?join=flat", "?join=inline&options=simplified"] {
            self.read("retrieveEntity", &["urn:x:1"], query).await;
            self.call("retrieveEntity", (&["urn:x:1"], query), Some(GEO), None, 200)
                .await;
        }
        let fragment = json!({"type": "T", "n": {"type": "Property", "value": 3}});
        self.call(
            "replaceEntity",
            (&["urn:x:2"], ""),
            None,
            Some(fragment.clone()),
            204,
        )
        .await;
        self.call(
            "mergeEntity",
            (&["urn:x:2"], ""),
            None,
            Some(fragment.clone()),
            204,
        )
        .await;
    }

    async fn attributes(&mut self) {
        let n = json!({"n": {"type": "Property", "value": 4}});
        let scope = json!({"scope": "/a", "n": {"type": "Property", "value": 4}});
        let of: &[&str] = &["urn:x:2"];
        let keeping = "?options=noOverwrite";
        self.call("appendAttributes", (of, ""), None, Some(n.clone()), 204)
            .await;
        self.call("appendAttributes", (of, keeping), None, Some(n.clone()), 207)
            .await;
        self.call("updateAttributes", (of, ""), None, Some(n), 204).await;
        self.call("updateAttributes", (of, ""), None, Some(scope), 207)
            .await;
        let of: &[&str] = &["urn:x:2", "n"];
        let value = json!({"type": "Property", "value": 5});
        self.call("updateAttribute", (of, ""), None, Some(value.clone()), 204)
            .await;
        self.call("replaceAttribute", (of, ""), None, Some(value), 204)
            .await;
        self.call("deleteAttribute", (of, ""), None, None, 204).await;
    }

    async fn batches(&mut self) {
        let entity = |id: &str| json!({"id": id, "type": "T", "n": {"type": "Property", "value": 1}});
        let both = json!([entity("urn:x:8"), entity("urn:x:9")]);
        let bad = json!([entity("urn:x:8"), {"id": "urn:x:none", "n": {"type": "Nothing"}}]);
        self.call("createBatch", (&[], ""), None, Some(both.clone()), 201)
            .await;
        self.call("createBatch", (&[], ""), None, Some(both.clone()), 207)
            .await;
        self.call(
            "upsertBatch",
            (&[], ""),
            None,
            Some(json!([entity("urn:x:7")])),
            201,
        )
        .await;
        self.call("upsertBatch", (&[], ""), None, Some(both.clone()), 204)
            .await;
        self.call("upsertBatch", (&[], ""), None, Some(bad.clone()), 207)
            .await;
        for id in ["updateBatch", "mergeBatch"] {
            self.call(id, (&[], ""), None, Some(both.clone()), 204).await;
            self.call(id, (&[], ""), None, Some(bad.clone()), 207).await;
        }
        self.call("deleteBatch", (&[], ""), None, Some(json!(["urn:x:7"])), 204)
            .await;
        self.call("deleteBatch", (&[], ""), None, Some(json!(["urn:x:7"])), 207)
            .await;
    }

    async fn discovery(&mut self) {
        for query in ["", "?details=true"] {
            self.read("retrieveTypes", &[], query).await;
            self.read("retrieveAttributes", &[], query).await;
        }
        self.read("retrieveTypeInfo", &["T"], "").await;
        self.read("retrieveAttributeInfo", &["n"], "").await;
    }

    async fn subscriptions(&mut self) {
        let id = "urn:x:subscription";
        let endpoint = json!({"uri": "http://127.0.0.1:9/", "accept": "application/json", "timeout": 1000, "cooldown": 1000,
            "receiverInfo": [{"key": "authorization", "value": "secret"}], "notifierInfo": [{"key": "a", "value": "b"}]});
        let new = json!({"id": id, "type": "Subscription", "subscriptionName": "n", "description": "d",
            "entities": [{"type": "T", "idPattern": "^urn"}], "watchedAttributes": ["n"], "notificationTrigger": ["entityUpdated"],
            "throttling": 1, "q": "n>0", "geoQ": {"geometry": "Point", "coordinates": [1, 2], "georel": "near;maxDistance==10"},
            "scopeQ": "/a/#", "lang": "en", "datasetId": ["@none"], "localOnly": true, "isActive": true, "expiresAt": "2100-01-01T00:00:00Z",
            "notification": {"pick": ["id", "type", "n"], "format": "concise", "sysAttrs": true, "showChanges": true, "join": "inline",
                "joinLevel": 2, "endpoint": endpoint}});
        self.call("createSubscription", (&[], ""), None, Some(new.clone()), 201)
            .await;
        self.call("createSubscription", (&[], ""), None, Some(new), 409)
            .await;
        self.read("querySubscriptions", &[], "?count=true&options=sysAttrs")
            .await;
        self.read("retrieveSubscription", &[id], "").await;
        let fragment = json!({"isActive": false});
        self.call("updateSubscription", (&[id], ""), None, Some(fragment), 204)
            .await;
        self.read("retrieveSubscription", &[id], "").await;
        self.call("deleteSubscription", (&[id], ""), None, None, 204)
            .await;
    }

    async fn contexts(&mut self) {
        let new = json!({"@context": {"a": "https://a.example/a"}});
        let added = self.call("createContext", (&[], ""), None, Some(new), 201).await;
        let id = added.header("location").rsplit('/').next().unwrap().to_owned();
        for query in ["", "?details=true"] {
            self.read("listContexts", &[], query).await;
            self.read("retrieveContext", &[&id], query).await;
        }
        self.call("deleteContext", (&[&id], ""), None, None, 204).await;
    }

    async fn the_past(&mut self) {
        let point =
            |n: u32| json!({"type": "Property", "value": n, "observedAt": format!("2024-01-01T00:0{n}:00Z")});
        let of = |points: Vec<Value>| json!({"id": "urn:x:past", "type": "T", "n": points});
        let one: &[&str] = &["urn:x:past"];
        self.call("upsertTemporal", (&[], ""), None, Some(of(vec![point(1)])), 201)
            .await;
        self.call("upsertTemporal", (&[], ""), None, Some(of(vec![point(2)])), 204)
            .await;
        let selected = "?type=T&timerel=after&timeAt=2023-01-01T00:00:00Z";
        let body = json!({"type": "Query", "entities": [{"type": "T"}], "temporalQ": {"timerel": "after", "timeAt": "2023-01-01T00:00:00Z"}});
        let id = "&id=urn:x:past";
        for format in [
            "",
            "&options=temporalValues",
            "&options=aggregatedValues&aggrMethods=max",
        ] {
            self.read("queryTemporal", &[], &format!("{selected}{id}{format}"))
                .await;
            self.read(
                "retrieveTemporal",
                one,
                &format!("?{}", format.trim_start_matches('&')),
            )
            .await;
        }
        let mut of_one = body.clone();
        of_one["entities"][0]["id"] = json!("urn:x:past");
        self.call("queryTemporalBatch", (&[], ""), None, Some(of_one), 200)
            .await;
        let more = json!({"n": [point(3), point(4)]});
        self.call("appendTemporalAttributes", (one, ""), None, Some(more), 204)
            .await;
        self.call("queryTemporal", (&[], selected), None, None, 206).await;
        self.call("queryTemporalBatch", (&[], ""), None, Some(body), 206)
            .await;
        let part = self
            .call("retrieveTemporal", (one, ""), None, None, 206)
            .await
            .json();
        let instance = part["n"][0]["instanceId"].as_str().unwrap().to_owned();
        let of: &[&str] = &["urn:x:past", "n", &instance];
        let by = json!({"n": [point(5)]});
        self.call("updateTemporalInstance", (of, ""), None, Some(by), 204)
            .await;
        let other = part["n"][1]["instanceId"].as_str().unwrap().to_owned();
        let of: &[&str] = &["urn:x:past", "n", &other];
        self.call("deleteTemporalInstance", (of, ""), None, None, 204)
            .await;
        self.call("deleteTemporalAttribute", (&of[..2], ""), None, None, 204)
            .await;
        self.call("deleteTemporal", (one, ""), None, None, 204).await;
    }

    async fn the_end(&mut self) {
        self.read("retrieveSourceIdentity", &[], "").await;
        self.call("describe", (&[], ""), None, None, 200).await;
        self.call("deleteEntity", (&["urn:x:1"], ""), None, None, 204)
            .await;
        self.call("purgeEntities", (&[], "?type=T"), None, None, 204)
            .await;
        // What most operations have in common.
        self.call("retrieveEntity", (&["urn:x:1"], ""), None, None, 404)
            .await;
        self.call("queryEntities", (&[], ""), None, None, 400).await;
        self.call("retrieveTypes", (&[], ""), Some(GEO), None, 406).await;
    }
}

#[tokio::test]
async fn every_answer_that_is_described_comes_and_is_as_described() {
    let mut walk = Walk::begin().await;
    walk.entities().await;
    walk.attributes().await;
    walk.batches().await;
    walk.discovery().await;
    walk.subscriptions().await;
    walk.contexts().await;
    walk.the_past().await;
    walk.the_end().await;
    let document = walk.document.clone();
    let mut missing = Vec::new();
    for described in operations(&document) {
        let id = described.operation["operationId"].as_str().unwrap();
        for status in described.operation["responses"].as_object().unwrap().keys() {
            let own = status
                .parse::<u16>()
                .ok()
                .filter(|status| *status < 300 || *status == 409);
            if own.is_some_and(|status| !walk.seen.contains(&(id.to_owned(), status))) {
                missing.push(format!("{id} {status}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
