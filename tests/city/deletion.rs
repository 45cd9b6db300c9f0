//! What deleting a platform does to its data.

use http::{Method, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::Resource;
use kube::api::{Api, ListParams};
use mim_crds::annotation;
use mim_tests::demo::entities::observation;
use mim_tests::demo::say::Say;
use mim_tests::demo::{self, CITY};

use crate::city::{City, eventually};

/// Names of what carries the label of this city.
async fn left<K>(city: &City) -> Vec<String>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(city.cluster.client.clone(), CITY);
    let params = ListParams::default().labels("app.kubernetes.io/instance=city");
    api.list(&params)
        .await
        .unwrap()
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect()
}

async fn system_identifier(city: &City) -> String {
    let path = "jsonpath={.status.storage.systemIdentifier}";
    city.kubectl(&["get", "cb/city", "--output", path]).await
}

async fn delete_platform(city: &City) {
    city.kubectl(&["delete", "udp/city", "--wait=true", "--timeout=3m"])
        .await;
    eventually("no pod of the city is left", || async {
        let pods = left::<Pod>(city).await;
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_claim_deleted_is_data_lost_in_the_running_city_until_the_loss_is_accepted() {
    let city = City::new().await;
    let entity = observation(
        &format!("lost-{:08x}", rand::random::<u32>()),
        1,
        Timestamp::now(),
    );
    let created = city.broker.expect(
        StatusCode::CREATED,
        Method::POST,
        "/ngsi-ld/v1/entities",
        Some(&entity.body),
    );
    created.await.unwrap();
    let identifier = system_identifier(&city).await;

    city.kubectl(&["delete", "pvc/city-database", "--wait=false"])
        .await;
    city.kubectl(&["delete", "pod/city-database-0"]).await;
    let message = city.broker_says(CITY, CITY, "False", "DataLost").await;
    let accept = format!("{}={identifier}", annotation::ACCEPT_DATA_LOSS);
    assert!(message.contains(&accept), "{message}");
    // The claim is gone and stays so: nobody finds an empty city in its place.
    eventually("the claim is gone", || async {
        let left = left::<PersistentVolumeClaim>(&city).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    city.broker_says(CITY, CITY, "False", "DataLost").await;

    city.kubectl(&["annotate", "cb/city", &accept]).await;
    city.broker_says(CITY, CITY, "True", "Ready").await;
    assert_ne!(system_identifier(&city).await, identifier);
    let path = format!("/ngsi-ld/v1/entities/{}", entity.id());
    eventually("the city is empty", || {
        city.broker
            .expect(StatusCode::NOT_FOUND, Method::GET, &path, None)
    })
    .await;
    city.kubectl(&[
        "annotate",
        "cb/city",
        &format!("{}-", annotation::ACCEPT_DATA_LOSS),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_platform_deleted_with_retain_and_made_again_finds_its_data() {
    let city = City::new().await;
    let entity = observation(
        &format!("retained-{:08x}", rand::random::<u32>()),
        1,
        Timestamp::now(),
    );
    let created = city.broker.expect(
        StatusCode::CREATED,
        Method::POST,
        "/ngsi-ld/v1/entities",
        Some(&entity.body),
    );
    created.await.unwrap();
    let identifier = system_identifier(&city).await;
    assert!(!identifier.is_empty());

    delete_platform(&city).await;
    assert_eq!(left::<PersistentVolumeClaim>(&city).await, ["city-database"]);
    assert!(left::<Secret>(&city).await.contains(&"city-database".to_owned()));

    demo::apply_city(&city.cluster, CITY, Say::default())
        .await
        .unwrap();
    assert_eq!(system_identifier(&city).await, identifier);
    drop(city);
    // The Service is a new one, with another address.
    let city = City::new().await;
    let path = format!("/ngsi-ld/v1/entities/{}", entity.id());
    let answer = eventually("the entity is there", || {
        city.broker.expect(StatusCode::OK, Method::GET, &path, None)
    })
    .await;
    assert_eq!(answer.body["no2"], entity.body["no2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_platform_deleted_with_confirmed_delete_removes_the_data_and_the_next_platform_is_empty() {
    let city = City::new().await;
    let identifier = system_identifier(&city).await;
    let policy = r#"{"spec": {"deletionPolicy": "Delete"}}"#;
    city.kubectl(&["patch", "udp/city", "--type=merge", "--patch", policy])
        .await;
    let confirmed = format!("{}=city", annotation::CONFIRM_DELETION);
    city.kubectl(&["annotate", "udp/city", &confirmed]).await;
    eventually("the broker knows that its data may go", || async {
        let path = "jsonpath={.metadata.ownerReferences[*].kind}";
        let held = city
            .kubectl(&["get", "pvc/city-database", "--output", path])
            .await;
        if held.contains("ContextBroker") {
            Ok(())
        } else {
            Err(held)
        }
    })
    .await;
    delete_platform(&city).await;
    eventually("no volume and no Secret is left", || async {
        let mut found = left::<PersistentVolumeClaim>(&city).await;
        found.extend(left::<Secret>(&city).await);
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;

    demo::apply_city(&city.cluster, CITY, Say::default())
        .await
        .unwrap();
    assert_ne!(system_identifier(&city).await, identifier);
}
