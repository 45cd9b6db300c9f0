//! What the rules of the city let whoever asks do.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::issuer::sha256;
use crate::support::tls::Authority;
use crate::support::upstream::{Asked, Upstream};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use mim_broker::permissions::Permissions;
use mim_broker::permissions::wire;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A city with a broker that lets in the gateway alone, and keys of a gardener, of an administrator, and of somebody without a role.
struct City {
    upstream: Upstream,
    gateway: Gateway,
}

const ENTITIES: &str = "/ngsi-ld/v1/entities";
const TREE: &str = "https://models.example/Tree";

impl City {
    async fn start(rules: Option<Value>) -> Self {
        let theirs = Authority::new();
        let tls = TlsAcceptor::from(Arc::new(theirs.server(&theirs.sign(&["broker.city.svc"]))));
        let answers = |_: &Asked| Response::new(Full::new(Bytes::from_static(b"[]")));
        let upstream = Upstream::start(Arc::new(answers), Some(tls)).await;
        let key =
            |name: &str, role: &str| format!("{{name: {name}, sha256: {}, roles: [{role}]}}", sha256(name));
        let keys = [
            key("greta", "gardener"),
            key("ada", "administrator"),
            key("norman", ""),
        ];
        let config = format!(
            "upstream: {{address: \"{}\", serverName: broker.city.svc}}\npolicy: true\nidentity: {{anonymous: true, apiKeys: [{}]}}\n",
            upstream.at,
            keys.join(", ")
        );
        let gateway = Gateway::start(&config, |folder, _| {
            theirs.sign(&["gateway.city.svc"]).write(&folder.join("upstream"));
            std::fs::write(folder.join("upstream/ca.crt"), theirs.pem()).unwrap();
            std::fs::create_dir(folder.join("bundle")).unwrap();
            if let Some(rules) = &rules {
                write(&folder.join("bundle"), rules);
            }
        })
        .await;
        if rules.is_some() {
            gateway.until_ready().await;
        }
        Self { upstream, gateway }
    }

    /// Other rules.
    fn rule(&self, rules: &Value) {
        write(&self.gateway.folder.path().join("bundle"), rules);
    }

    /// The status of a request by somebody.
    async fn ask(&self, key: Option<&str>, method: &str, target: &str, more: &str) -> StatusCode {
        let mut client: Client = self.gateway.client().await;
        let key = key.map(|key| format!("X-Api-Key: {key}\r\n")).unwrap_or_default();
        let answer = client
            .ask(format!(
                "{method} {target} HTTP/1.1\r\nHost: a\r\n{key}{more}Content-Length: 0\r\n\r\n"
            ))
            .await;
        answer.status
    }

    async fn get(&self, key: Option<&str>) -> StatusCode {
        self.ask(key, "GET", ENTITIES, "").await
    }

    /// What the broker was told with the last request, as the broker reads it.
    fn told(&self) -> Permissions {
        let asked = self.upstream.asked();
        let fields = &asked.last().unwrap().fields;
        let told: Vec<_> = fields.get_all("mim-permissions").iter().collect();
        assert_eq!(told.len(), 1);
        wire::read(told[0].as_bytes()).unwrap()
    }
}

/// Writes a bundle as the kubelet does: all of it at once, but for a moment.
fn write(folder: &Path, rules: &Value) {
    let parts = [("policy".to_owned(), json!({"rules": rules}))].into();
    let packed = mim_bundle::pack(&parts).unwrap();
    for (number, piece) in packed.slots.iter().enumerate() {
        std::fs::write(folder.join(mim_bundle::slot(number)), piece).unwrap();
    }
    std::fs::write(folder.join("new"), &packed.manifest).unwrap();
    std::fs::rename(folder.join("new"), folder.join(mim_bundle::MANIFEST)).unwrap();
}

fn rules() -> Value {
    json!([
        {"name": "all-see-trees", "subjects": ["Anonymous", "Authenticated"], "operations": ["Read"],
            "on": {"tenants": ["@default"], "types": [TREE], "attributes": ["https://models.example/height"]}},
        {"name": "gardeners", "subjects": [{"role": "gardener"}], "operations": ["Read", "Update", "Subscribe"],
            "on": {"types": [TREE]}},
        {"name": "gardeners-make-none", "effect": "Deny", "subjects": [{"role": "gardener"}], "operations": ["Create"]},
        {"name": "administrators", "subjects": [{"role": "administrator"}],
            "operations": ["Read", "Create", "Update", "Delete", "Temporal", "Subscribe"]},
        {"name": "administration", "subjects": [{"role": "administrator"}], "operations": ["Admin"]},
    ])
}

#[tokio::test]
async fn row_gateway_until_the_rules_are_there_nobody_may_do_anything() {
    let city = City::start(None).await;
    for key in [None, Some("greta"), Some("ada")] {
        assert_eq!(city.get(key).await, StatusCode::SERVICE_UNAVAILABLE, "{key:?}");
    }
    let (status, words) = city.gateway.health("/readyz").await;
    assert!(status == 503 && words.contains("bundle"), "{words}");
    city.rule(&rules());
    city.gateway.until_ready().await;
    assert_eq!(city.get(Some("greta")).await, StatusCode::OK);
    assert_eq!(city.upstream.asked().len(), 1);
}

#[tokio::test]
async fn what_no_rule_could_allow_is_refused_at_the_door_and_told_in_the_audit_trail() {
    let city = City::start(Some(rules())).await;
    for (key, method, target, expected) in [
        (None, "GET", ENTITIES, 200),
        (None, "POST", ENTITIES, 401),
        (None, "GET", "/ngsi-ld/v1/subscriptions", 401),
        (None, "GET", "/ngsi-ld/v1/temporal/entities", 401),
        (Some("norman"), "GET", ENTITIES, 200),
        (Some("norman"), "DELETE", "/ngsi-ld/v1/entities/urn:a", 403),
        (Some("greta"), "PATCH", "/ngsi-ld/v1/entities/urn:a/attrs", 200),
        (Some("greta"), "POST", ENTITIES, 403),
        (Some("greta"), "POST", "/ngsi-ld/v1/entityOperations/create", 403),
        (Some("greta"), "POST", "/ngsi-ld/v1/entityOperations/upsert", 200),
        (Some("greta"), "POST", "/ngsi-ld/v1/entityOperations/delete", 403),
        (Some("greta"), "GET", "/ngsi-ld/v1/subscriptions", 200),
        (Some("greta"), "GET", "/ngsi-ld/v1/temporal/entities", 403),
        (Some("greta"), "POST", "/ngsi-ld/v1/jsonldContexts", 403),
        (Some("greta"), "GET", "/somewhere", 403),
        (Some("ada"), "POST", ENTITIES, 200),
        (Some("ada"), "GET", "/ngsi-ld/v1/temporal/entities", 200),
        (Some("ada"), "POST", "/ngsi-ld/v1/jsonldContexts", 200),
    ] {
        let before = city.upstream.asked().len();
        let status = city.ask(key, method, target, "").await;
        assert_eq!(status.as_u16(), expected, "{key:?} {method} {target}");
        let went_on = city.upstream.asked().len() - before;
        assert_eq!(went_on, usize::from(expected == 200), "{key:?} {method} {target}");
    }
    let lines = city.gateway.audited(18).await;
    let of = |number: usize, name: &str| lines[number][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of(1, "decision"), of(1, "cause")),
        ("refused".into(), "no_credentials".into())
    );
    assert_eq!(
        (of(7, "decision"), of(7, "cause")),
        ("refused".into(), "policy".into())
    );
    assert_eq!(
        (of(15, "subject"), of(15, "rule")),
        ("key:ada".into(), "administrators".into())
    );
    // Whether greta may change it depends on the entity, so no rule has allowed it yet.
    assert_eq!(
        (of(6, "decision"), of(6, "rule")),
        ("allowed".into(), String::new())
    );
}

#[tokio::test]
async fn the_broker_is_told_who_asks_and_what_rules_allow_for_what_is_asked() {
    let city = City::start(Some(rules())).await;
    assert_eq!(city.get(None).await, StatusCode::OK);
    let told = city.told();
    assert_eq!((told.subject.as_str(), told.admin), ("anonymous", false));
    assert!(told.read.text().contains("height") && told.update.allow().is_empty());
    assert_eq!(city.get(Some("greta")).await, StatusCode::OK);
    let told = city.told();
    assert_eq!(told.subject, "key:greta");
    assert!(
        told.read.text().contains(TREE) && !told.update.allow().is_empty() && told.delete.allow().is_empty()
    );
    // What may be told of, and nothing else.
    city.ask(Some("greta"), "GET", "/ngsi-ld/v1/subscriptions", "")
        .await;
    let told = city.told();
    assert!(told.read.text().contains(TREE) && told.update.allow().is_empty());
    city.get(Some("ada")).await;
    assert!(city.told().are_unlimited());
    // In another tenant trees are seen by gardeners alone.
    let of_tenant = "NGSILD-Tenant: other\r\n";
    assert_eq!(
        city.ask(None, "GET", ENTITIES, of_tenant).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        city.ask(Some("norman"), "GET", ENTITIES, of_tenant).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        city.ask(Some("greta"), "GET", ENTITIES, of_tenant).await,
        StatusCode::OK
    );
    assert!(!city.told().read.text().contains("height"));
    // Nobody names the default tenant as rules do.
    let default = "NGSILD-Tenant: @default\r\n";
    assert!(
        city.ask(Some("norman"), "GET", ENTITIES, default)
            .await
            .is_client_error()
    );
}

#[tokio::test]
async fn row_gateway_a_permission_set_from_outside_goes_no_further() {
    let city = City::start(Some(rules())).await;
    let all = wire_of(&json!({"version": 1, "subject": "key:ada", "admin": true, "read": {"allow": [{}]}}));
    let forged = format!("Mim-Permissions: {all}\r\nmim-permissions: {all}\r\n");
    assert_eq!(city.ask(None, "GET", ENTITIES, &forged).await, StatusCode::OK);
    let told = city.told();
    assert_eq!((told.subject.as_str(), told.admin), ("anonymous", false));
}

fn wire_of(set: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(set.to_string())
}

#[tokio::test]
async fn row_gateway_new_rules_hold_at_once_and_wrong_ones_never() {
    let city = City::start(Some(rules())).await;
    assert_eq!(city.get(None).await, StatusCode::OK);
    let closed = json!([{"name": "staff", "subjects": ["Authenticated"], "operations": ["Read"]}]);
    city.rule(&closed);
    eventually("nobody comes in unknown", async || {
        (city.get(None).await == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    for wrong in [
        json!([{"name": "all", "subjects": ["Anonymous"], "operations": ["Read"], "on": {"future": 1}}]),
        json!([{"name": "all", "subjects": ["Anonymous"], "operations": ["Read"], "on": {"types": ["Tree"]}}]),
        json!("all"),
    ] {
        city.rule(&wrong);
        eventually("the rules from before hold on", async || {
            let (status, words) = city.gateway.health("/readyz").await;
            (status == 200 && words.contains("bundle: policy")).then_some(())
        })
        .await;
        assert_eq!(city.get(None).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    // A bundle that goes away is no reason to forget what it said.
    std::fs::remove_file(city.gateway.folder.path().join("bundle/manifest.json")).unwrap();
    eventually("it is missed", async || {
        let (status, words) = city.gateway.health("/readyz").await;
        (status == 200 && words.contains("there is no manifest.json")).then_some(())
    })
    .await;
    assert_eq!(city.get(None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(city.get(Some("norman")).await, StatusCode::OK);
    city.rule(&rules());
    eventually("the rules are those of before", async || {
        (city.get(None).await == StatusCode::OK).then_some(())
    })
    .await;
}
