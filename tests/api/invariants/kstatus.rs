//! Invariant 4: what `kubectl wait`, Argo CD, Flux and Helm read from a status is true.

use serde_json::{Value, json};

use crate::chronicle::{self, Chronicle, Fact};
use crate::city::{City, broker, platform};

/// The rules of kstatus (cli-utils, `pkg/kstatus/status/core.go` and `generic.go`), in its order, for kinds that it does not know.
pub fn kstatus(object: &Value) -> &'static str {
    let meta = &object["metadata"];
    if meta.get("deletionTimestamp").is_some() {
        return "Terminating";
    }
    let status = &object["status"];
    if let Some(observed) = status["observedGeneration"].as_i64()
        && Some(observed) != meta["generation"].as_i64()
    {
        return "InProgress";
    }
    let condition = |r#type: &str| {
        status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == r#type)
            .map(|condition| condition["status"].as_str().unwrap_or_default())
    };
    match (condition("Reconciling"), condition("Stalled"), condition("Ready")) {
        (Some("True"), ..) => "InProgress",
        (_, Some("True"), _) => "Failed",
        (.., Some("False" | "Unknown")) => "InProgress",
        _ => "Current",
    }
}

const WATCHED: &[(&str, &str)] = &[
    ("mim.city/v1alpha1", "ContextBroker"),
    ("mim.city/v1alpha1", "UrbanDataPlatform"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("v1", "Pod"),
];

#[tokio::test]
async fn invariant_4_kstatus_never_reads_current_before_every_pod_of_the_newest_spec_is_ready() {
    let city = City::new("kstatus").await;
    let chronicle = Chronicle::begin(&city.client, Some(&city.namespace), WATCHED).await;
    let spec = |release: &str, replicas: i32, tenants: &[&str]| json!({"release": release, "broker": {"replicas": replicas, "tenants": tenants}});
    for (release, replicas, tenants) in [
        ("0.1.0", 2, &[][..]),
        ("0.1.0", 3, &[]),
        ("0.2.0", 3, &[]),
        ("0.2.0", 1, &["north"]),
        ("0.2.0", 0, &["north"]),
        ("0.2.0", 2, &["north"]),
    ] {
        city.apply(&platform("vienna", &spec(release, replicas, tenants)))
            .await;
        city.platform_says("vienna", "True", "Ready").await;
    }
    city.quiet().await;
    let facts = chronicle.read().await;
    let mut current = 0;
    for fact in facts.iter().filter(|fact| !fact.gone) {
        let seen = kstatus(&fact.object);
        let told = format!(
            "{} {} at {}: {}",
            fact.kind, fact.name, fact.version, fact.object["status"]
        );
        match (fact.kind.as_str(), seen) {
            ("ContextBroker", "Current") => {
                current += 1;
                broker_is_right(&facts, fact).unwrap_or_else(|wrong| panic!("{wrong}\n{told}"));
            }
            ("UrbanDataPlatform", "Current") => {
                current += 1;
                let broker = chronicle::at(&facts, fact.version, "ContextBroker", "vienna");
                let broker = broker.unwrap_or_else(|| panic!("no broker yet\n{told}"));
                assert_eq!(kstatus(&broker.object), "Current", "the broker\n{told}");
            }
            ("ContextBroker" | "UrbanDataPlatform", "Failed") => panic!("nothing failed\n{told}"),
            _ => {}
        }
    }
    assert!(current >= 12, "only {current} times Current");
}

/// What stands in Deployment, StatefulSet and pods at the moment of a status that reads Current.
fn broker_is_right(facts: &[Fact], broker: &Fact) -> Result<(), String> {
    let version = broker.version;
    let replicas = broker.object["spec"]["replicas"].as_i64().unwrap();
    let child = |kind: &str, component: &str| {
        chronicle::at(facts, version, kind, &format!("{}-{component}", broker.name))
            .map(|fact| fact.object.clone())
            .ok_or(format!("no {kind}"))
    };
    let deployment = child("Deployment", "broker")?;
    let status = &deployment["status"];
    let is = |field: &str| status[field].as_i64().unwrap_or(0);
    if is("observedGeneration") != deployment["metadata"]["generation"].as_i64().unwrap()
        || deployment["spec"]["replicas"] != replicas
        || [
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
        ]
        .iter()
        .any(|field| is(field) != replicas)
    {
        return Err(format!("the Deployment is not ready: {status}"));
    }
    let set = child("StatefulSet", "database")?;
    let pod = chronicle::at(facts, version, "Pod", &format!("{}-database-0", broker.name));
    match (replicas, pod) {
        (0, None) => Ok(()),
        (0, Some(_)) => Err("the database's pod is still there".to_owned()),
        (_, None) => Err("the database has no pod".to_owned()),
        (_, Some(pod)) => {
            let ready = pod.object["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let newest = pod.object["metadata"]["labels"]["controller-revision-hash"]
                == set["status"]["updateRevision"];
            if ready && newest && set["status"]["readyReplicas"] == 1 {
                Ok(())
            } else {
                Err(format!(
                    "the database is not ready ({ready}) or not of the newest template ({newest}): {}",
                    set["status"]
                ))
            }
        }
    }
}

#[tokio::test]
async fn invariant_4_every_terminal_error_reads_failed_and_heals_with_the_spec() {
    let city = City::new("failed").await;
    let chronicle = Chronicle::begin(&city.client, Some(&city.namespace), &WATCHED[..2]).await;
    let taken = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "graz-broker"}, "data": {"whose": "mine"}});
    city.apply(&taken).await;
    city.apply(&broker("vienna", &json!({"release": "9.9.9"}))).await;
    city.apply(&broker("graz", &json!({}))).await;
    city.apply(&broker(
        "linz",
        &json!({"engine": "External", "external": {"url": "http://127.0.0.1:1"}}),
    ))
    .await;
    city.apply(&platform("wels", &json!({"release": "9.9.9", "broker": {}})))
        .await;
    city.apply(&platform("enns", &json!({"broker": {"release": "9.9.9"}})))
        .await;
    city.broker_complains(
        "vienna",
        "ReleaseUnknown",
        true,
        &["spec.release", "9.9.9", "0.1.0, 0.2.0"],
    )
    .await;
    city.broker_complains("graz", "NameTaken", true, &["ConfigMap graz-broker"])
        .await;
    city.broker_complains("linz", "ExternalRefused", true, &["127.0.0.1"])
        .await;
    city.platform_says("wels", "False", "ReleaseUnknown").await;
    city.platform_says("enns", "False", "ComponentNotReady").await;
    let failed = |facts: &[Fact], kind: &str, name: &str| {
        let newest = facts
            .iter()
            .rfind(|fact| fact.kind == kind && fact.name == name)
            .unwrap_or_else(|| panic!("{kind} {name}"));
        assert_eq!(
            kstatus(&newest.object),
            "Failed",
            "{kind} {name}: {}",
            newest.object["status"]
        );
    };
    let facts = chronicle.read().await;
    for name in ["vienna", "graz", "linz", "enns"] {
        failed(&facts, "ContextBroker", name);
    }
    for name in ["wels", "enns"] {
        failed(&facts, "UrbanDataPlatform", name);
    }
    city.apply(&broker("vienna", &json!({"release": "0.1.0"}))).await;
    city.apply(&platform("wels", &json!({"release": "0.1.0", "broker": {}})))
        .await;
    city.broker_says("vienna", "True", "Ready").await;
    city.platform_says("wels", "True", "Ready").await;
}
