//! Changes of the database's pod on a real kubelet: proven first, and what cannot start takes nothing down.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::{Method, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use mim_crds::{ContextBroker, annotation};
use mim_tests::demo::CITY;
use mim_tests::demo::entities::{Entity, observation};
use mim_tests::demo::install::SYSTEM;
use mim_tests::demo::pods::is_ready;
use mim_tests::demo::programs::checkout;
use mim_tests::demo::ready::ready;
use mim_tests::demo::say::Say;
use mim_tests::demo::traffic::Traffic;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::city::{City, eventually, images, upgrade_operator};

const PREFLIGHT: &str = "city-database-preflight";

async fn change(city: &City, patch: &str) {
    city.kubectl(&["patch", "udp/city", "--type=merge", "--patch", patch])
        .await;
}

async fn is_ready_again(city: &City) {
    let client = &city.cluster.client;
    ready(client, CITY, CITY, Say::default().waiting()).await.unwrap();
}

async fn write_one(city: &City, what: &str) -> Entity {
    let name = format!("{what}-{:08x}", rand::random::<u32>());
    let entity = observation(&name, 1, Timestamp::now());
    let path = "/ngsi-ld/v1/entities";
    let created = city
        .broker
        .expect(StatusCode::CREATED, Method::POST, path, Some(&entity.body));
    created.await.unwrap();
    entity
}

async fn reads(city: &City, entity: &Entity) {
    let path = format!("/ngsi-ld/v1/entities/{}", entity.id());
    let answer = eventually("the entity is there", || {
        city.broker.expect(StatusCode::OK, Method::GET, &path, None)
    })
    .await;
    assert_eq!(answer.body["no2"], entity.body["no2"]);
}

/// What befell the pods of the database, in its order.
struct Chronicle {
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Chronicle {
    async fn start(client: &Client) -> Self {
        let api: Api<Pod> = Api::namespaced(client.clone(), CITY);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut events = Box::pin(api.watch(&WatchParams::default(), "0").await.unwrap());
        let lines = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let line = match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => told(&pod),
                    WatchEvent::Deleted(pod) => format!("{} is gone", pod.name_any()),
                    _ => continue,
                };
                let mut lines = lines.lock().await;
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        });
        Self { seen, task }
    }

    async fn stop(self) -> Vec<String> {
        self.task.abort();
        self.seen.lock().await.clone()
    }
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn told(pod: &Pod) -> String {
    let state = match (is_ready(pod), &pod.metadata.deletion_timestamp) {
        (true, _) => "ready",
        (false, Some(_)) => "told to end",
        (false, None) => "not ready",
    };
    format!("{} {} is {state}", pod.name_any(), pod.uid().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_database_template_is_proven_by_a_ready_preflight_before_the_running_pod_goes() {
    let city = City::new().await;
    let entity = write_one(&city, "rolled").await;
    let before = city.databases().one().await.unwrap();
    let brokers = city.brokers().starts().await.unwrap();
    let chronicle = Chronicle::start(&city.cluster.client).await;

    request_memory(&city, "257Mi").await;
    eventually("the database's pod is another one", || async {
        let pods = city.databases().list().await.unwrap();
        let fresh = pods.iter().find(|pod| pod.uid() != before.uid() && is_ready(pod));
        fresh
            .map(drop)
            .ok_or_else(|| pods.iter().map(told).collect::<Vec<_>>())
    })
    .await;
    is_ready_again(&city).await;
    reads(&city, &entity).await;

    let seen = chronicle.stop().await;
    let at = |what: &dyn Fn(&String) -> bool, words: &str| {
        let found = seen.iter().position(what);
        found.unwrap_or_else(|| panic!("{words} is not in {seen:#?}"))
    };
    let proven = at(
        &|line| line.starts_with(PREFLIGHT) && line.ends_with("is ready"),
        "the preflight's Ready",
    );
    let old = format!("city-database-0 {} is told to end", before.uid().unwrap());
    assert!(proven < at(&|line| *line == old, &old), "{seen:#?}");
    assert_eq!(
        city.brokers().starts().await.unwrap(),
        brokers,
        "the broker was not concerned"
    );
    eventually("the preflight pod is gone", || async {
        let api: Api<Pod> = Api::namespaced(city.cluster.client.clone(), CITY);
        api.get_opt(PREFLIGHT)
            .await
            .unwrap()
            .map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    // As examples/city.yaml has it: other tests apply that.
    request_memory(&city, "256Mi").await;
    is_ready_again(&city).await;
}

async fn request_memory(city: &City, memory: &str) {
    let managed = json!({"resources": {"requests": {"memory": memory}}});
    let patch = json!({"spec": {"broker": {"storage": {"managed": managed}}}});
    change(city, &patch.to_string()).await;
}

/// Installs the operator with one release more, whose images no registry has.
async fn with_broken_release(city: &City) {
    let folder = images().folder;
    let releases = std::fs::read_to_string(folder.join("releases.yaml")).unwrap();
    let mut catalogue: Value = serde_yaml::from_str(&releases).unwrap();
    let list = catalogue["releases"].as_array_mut().unwrap();
    let mut broken = list.last().unwrap().clone();
    broken["name"] = "0.0.0-broken".into();
    for image in broken["images"].as_object_mut().unwrap().values_mut() {
        image["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    }
    // Older than the others: it is nobody's default.
    list.insert(0, broken);
    let file = std::env::temp_dir().join(format!("mim-city-releases-{}.json", std::process::id()));
    std::fs::write(&file, catalogue.to_string()).unwrap();
    let chart = checkout().join("charts/mim-operator").display().to_string();
    let values = file.display().to_string();
    let arguments = [
        "upgrade",
        "mim-operator",
        &chart,
        "--namespace",
        SYSTEM,
        "--reuse-values",
        "--values",
        &values,
        "--wait",
        "--timeout",
        "3m",
    ];
    city.cluster.helm(&arguments).await.unwrap();
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_image_cannot_be_pulled_the_reason_is_told_and_broker_and_database_run_on() {
    let city = City::new().await;
    with_broken_release(&city).await;
    let (database, brokers) = (
        city.databases().starts().await.unwrap(),
        city.brokers().starts().await.unwrap(),
    );
    let traffic = Traffic::start(&city.broker, &format!("unpullable-{:08x}", rand::random::<u32>()));
    let path = "jsonpath={.status.release}";
    let release = city.kubectl(&["get", "cb/city", "--output", path]).await;

    change(&city, r#"{"spec": {"release": "0.0.0-broken"}}"#).await;
    let api: Api<ContextBroker> = Api::namespaced(city.cluster.client.clone(), CITY);
    eventually("the broker tells that an image cannot be pulled", || async {
        let found = api.get(CITY).await.unwrap();
        let conditions = found.status.map(|status| status.conditions).unwrap_or_default();
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready");
        match ready {
            Some(ready)
                if ready.status == "False"
                    && ready.message.contains("mage")
                    && ready.message.contains("0000") =>
            {
                Ok(())
            }
            other => Err(other),
        }
    })
    .await;
    // Long enough for a step that should not be taken.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(city.databases().starts().await.unwrap(), database);
    assert!(brokers.is_subset(&city.brokers().starts().await.unwrap()));

    change(&city, &format!(r#"{{"spec": {{"release": "{release}"}}}}"#)).await;
    is_ready_again(&city).await;
    change(&city, r#"{"spec": {"release": null}}"#).await;
    is_ready_again(&city).await;
    assert_eq!(city.databases().starts().await.unwrap(), database);
    eventually("the pods that could not start are gone", || async {
        let now = city.brokers().starts().await.unwrap();
        if now == brokers { Ok(()) } else { Err(now) }
    })
    .await;
    let seen = traffic.stop().await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    seen.read_back(&city.broker).await.unwrap();
    upgrade_operator(&city.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_secret_of_credentials_deleted_is_repaired_without_a_lock_out() {
    let city = City::new().await;
    let entity = write_one(&city, "credentials").await;
    let uid = [
        "get",
        "secret/city-database",
        "--output",
        "jsonpath={.metadata.uid}",
        "--ignore-not-found",
    ];
    let before = city.kubectl(&uid).await;
    assert!(!before.is_empty());
    city.kubectl(&["delete", "secret/city-database"]).await;
    // The next pass makes it anew; a request is what makes it come now.
    let request = format!(
        "{}=credentials-{:08x}",
        annotation::REQUESTED_AT,
        rand::random::<u32>()
    );
    city.kubectl(&["annotate", "--overwrite", "cb/city", &request])
        .await;
    eventually("the Secret is there again", || async {
        let now = city.kubectl(&uid).await;
        if now.is_empty() || now == before {
            Err(now)
        } else {
            Ok(())
        }
    })
    .await;
    // Both sides start anew with the new password, in the worse order.
    city.kubectl(&[
        "delete",
        "pod",
        "--selector=app.kubernetes.io/instance=city,app.kubernetes.io/component=broker",
    ])
    .await;
    city.kubectl(&[
        "delete",
        "pod",
        "--selector=app.kubernetes.io/instance=city,app.kubernetes.io/component=database",
    ])
    .await;
    let deployed = [
        "wait",
        "--for=condition=Available",
        "--timeout=2m",
        "deployment/city-broker",
    ];
    city.kubectl(&deployed).await;
    is_ready_again(&city).await;
    reads(&city, &entity).await;
}
