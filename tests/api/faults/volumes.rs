//! A volume that is lost, comes back, grows, or does not fit.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use mim_tests::eventually::{eventually, throughout};
use serde_json::{Value, json};

use crate::city::{City, broker};
use crate::invariants::{api, delete_broker, hold, identifier, kept, nothing_runs};

#[tokio::test]
async fn row_claim_deleted_is_data_lost_never_a_silent_empty_city_until_the_loss_is_accepted() {
    let mut city = City::new("lost").await;
    city.apply(&broker("vienna", &json!({}))).await;
    let data = identifier(&city, "vienna").await;
    hold(&city, Some("tests.mim.city/in-use")).await;
    city.claims()
        .delete("vienna-database", &DeleteParams::default())
        .await
        .unwrap();
    // A claim that a pod uses stays until the pod goes; that is said, and the pod is left alone.
    city.broker_complains(
        "vienna",
        "VolumeDeleting",
        true,
        &["is being deleted", "Make a dump now"],
    )
    .await;
    city.pods()
        .delete("vienna-database-0", &DeleteParams::default())
        .await
        .unwrap();
    hold(&city, None).await;
    eventually("the volume is gone", || async {
        match city.claims().get_opt("vienna-database").await.unwrap() {
            None => Ok(()),
            Some(claim) => Err(claim.metadata.finalizers),
        }
    })
    .await;
    let accept = format!("mim.city/accept-data-loss={data}");
    city.broker_complains("vienna", "DataLost", true, &[&data, &accept])
        .await;
    // Neither time, nor a restart, nor another broker's acceptance makes an empty database.
    city.restart().await;
    city.annotate_broker("vienna", "mim.city/accept-data-loss", "7000")
        .await;
    city.annotate_broker("vienna", "mim.city/requestedAt", "1").await;
    throughout(
        "no empty volume takes its place",
        Duration::from_secs(3),
        || async {
            match city.claims().get_opt("vienna-database").await.unwrap() {
                None => Ok(()),
                Some(_) => Err("a new claim"),
            }
        },
    )
    .await;
    city.broker_complains("vienna", "DataLost", true, &[&data]).await;
    // The object itself made anew knows of the loss, too: the record outlives it.
    delete_broker(&city, "vienna").await;
    nothing_runs(&city, "vienna").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_complains("vienna", "DataLost", true, &[&data]).await;

    city.annotate_broker("vienna", "mim.city/accept-data-loss", &data)
        .await;
    let new = identifier(&city, "vienna").await;
    assert_ne!(new, data, "an empty database, as was accepted");
    city.event_says("ContextBroker", "vienna", &["DataLossAccepted"])
        .await;
    // The acceptance stays on the object and means nothing any more.
    city.quiet().await;
    city.operator().handle.resync();
    city.quiet().await;
    assert_eq!(identifier(&city, "vienna").await, new);
}

#[tokio::test]
async fn row_claim_brought_back_without_our_labels_is_taken_again_unless_it_belongs_to_somebody_else() {
    let city = City::new("restored").await;
    city.apply(&broker("vienna", &json!({}))).await;
    let data = identifier(&city, "vienna").await;
    city.claims()
        .delete("vienna-database", &DeleteParams::default())
        .await
        .unwrap();
    city.broker_complains("vienna", "DataLost", true, &[&data, "does not exist"])
        .await;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "vienna-database", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    });
    let restored: DynamicObject = serde_json::from_value(claim).unwrap();
    let restored = api(&city, "PersistentVolumeClaim")
        .create(&PostParams::default(), &restored)
        .await
        .unwrap();
    city.kubelet
        .volumes
        .lock()
        .unwrap()
        .insert(restored.uid().unwrap(), data.clone());
    city.annotate_broker("vienna", "mim.city/requestedAt", "1").await;
    city.broker_complains(
        "vienna",
        "DataLost",
        true,
        &["belongs to", "Helm", "mim.city/name=vienna"],
    )
    .await;
    city.claims()
        .patch(
            "vienna-database",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"labels": null}})),
        )
        .await
        .unwrap();
    // No watch shows it, and nobody asks for a pass.
    assert_eq!(identifier(&city, "vienna").await, data);
    let held = city.claims().get("vienna-database").await.unwrap();
    assert_eq!(held.uid(), restored.uid());
    assert_eq!(held.labels()["app.kubernetes.io/managed-by"], "mim-operator");
    // What is on it is looked at before it is used.
    city.pods()
        .delete("vienna-database-0", &DeleteParams::default())
        .await
        .unwrap();
    city.quiet().await;
    assert_eq!(identifier(&city, "vienna").await, data);
}

#[tokio::test]
async fn row_a_larger_size_grows_the_claim_and_restarts_nothing_and_a_refusal_is_told() {
    let city = City::new("grow").await;
    let class = |name: &str, grows: bool| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
               "provisioner": "tests.mim.city/none", "allowVolumeExpansion": grows})
    };
    let classes: Api<k8s_openapi::api::storage::v1::StorageClass> = Api::all(city.client.clone());
    let (fixed, growing) = (
        format!("fixed-{}", city.namespace),
        format!("growing-{}", city.namespace),
    );
    for object in [class(&fixed, false), class(&growing, true)] {
        classes
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
    }
    let spec =
        |class: &str, size: &str| json!({"storage": {"managed": {"size": size, "storageClassName": class}}});
    city.apply(&broker("vienna", &spec(&growing, "1Gi"))).await;
    city.apply(&broker("graz", &spec(&fixed, "1Gi"))).await;
    let graz = identifier(&city, "graz").await;
    identifier(&city, "vienna").await;
    let uid = |name: &'static str| {
        let pods = city.pods();
        async move { pods.get(&format!("{name}-database-0")).await.unwrap().uid() }
    };
    let before = uid("vienna").await;
    city.apply(&broker("vienna", &spec(&growing, "2Gi"))).await;
    city.apply(&broker("graz", &spec(&fixed, "2Gi"))).await;
    let asked = eventually("the claim asks for more", || async {
        let claim = city.claims().get("vienna-database").await.unwrap();
        let asked: Value = serde_json::to_value(claim.spec.unwrap().resources).unwrap();
        if asked["requests"]["storage"] == "2Gi" {
            Ok(asked)
        } else {
            Err(asked)
        }
    })
    .await;
    assert_eq!(asked["requests"]["storage"], "2Gi");
    city.broker_says("vienna", "True", "Ready").await;
    assert_eq!(uid("vienna").await, before, "growing restarts nothing");
    city.broker_complains(
        "graz",
        "VolumeResizeRefused",
        true,
        &["graz-database", "cannot grow", "StorageClass"],
    )
    .await;
    // All else goes on: a release is rolled, the database too.
    let mut rolled = spec(&fixed, "2Gi");
    rolled["release"] = "0.1.0".into();
    let before = uid("graz").await;
    city.apply(&broker("graz", &rolled)).await;
    eventually("the database is rolled", || async {
        let now = city
            .pods()
            .get_opt("graz-database-0")
            .await
            .unwrap()
            .and_then(|pod| pod.uid());
        if now.is_some() && now != before {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    city.broker_complains(
        "graz",
        "VolumeResizeRefused",
        true,
        &["allowVolumeExpansion", "Retain"],
    )
    .await;
    // The old size is no smaller size where the claim never grew… but the schema sees specs only: a new object of that name is the way back.
    let held = city.claims().get("graz-database").await.unwrap();
    assert_eq!(
        serde_json::to_value(held.spec.unwrap().resources).unwrap()["requests"]["storage"],
        "1Gi"
    );
    assert!(!graz.is_empty());
    for name in [fixed, growing] {
        classes.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn row_a_volume_that_is_larger_or_of_another_class_than_its_new_broker_says_is_kept_and_told() {
    let city = City::new("held").await;
    let spec =
        |class: &str, size: &str| json!({"storage": {"managed": {"size": size, "storageClassName": class}}});
    city.apply(&broker("vienna", &spec("first", "2Gi"))).await;
    let data = identifier(&city, "vienna").await;
    let before = kept(&city, "vienna").await;
    for wrong in [spec("first", "1Gi"), spec("second", "2Gi")] {
        delete_broker(&city, "vienna").await;
        nothing_runs(&city, "vienna").await;
        city.apply(&broker("vienna", &wrong)).await;
        city.broker_complains(
            "vienna",
            "VolumeResizeRefused",
            true,
            &[
                "vienna-database",
                "larger than the spec says, or of another class",
                "Retain",
            ],
        )
        .await;
        assert_eq!(kept(&city, "vienna").await, before, "{wrong}");
    }
    delete_broker(&city, "vienna").await;
    nothing_runs(&city, "vienna").await;
    city.apply(&broker("vienna", &spec("first", "2Gi"))).await;
    city.broker_says("vienna", "True", "Ready").await;
    assert_eq!(identifier(&city, "vienna").await, data);
}
