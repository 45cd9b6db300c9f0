//! The provisioner behind the lab's storage class: a volume is a folder on the node.
//!
//! The volumes are of type `local` with a node affinity, so the kubelet sets `fsGroup` on them as it does on real disks.
//! Their size is not enforced. The folder goes when its volume is released and the reclaim policy is `Delete`.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};

use crate::error::Error;
use crate::files;

/// The provisioner's name in a storage class.
pub const PROVISIONER: &str = "lab.mim.city/folder";
/// The PersistentVolume controller asks a provisioner with this annotation on the claim.
const ASKED: &str = "volume.kubernetes.io/storage-provisioner";
/// The scheduler chose the node for the claim's first pod.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOST_NAME: &str = "kubernetes.io/hostname";
const RETRY: Duration = Duration::from_secs(2);

struct Provisioner {
    client: Client,
    folder: PathBuf,
    node: String,
}

/// Makes and removes volumes below `folder` for the claims of the cluster, until the process ends.
pub async fn run(client: Client, folder: &Path, node: &str) -> Result<(), Error> {
    files::folder(folder)?;
    // The volumes are open to every user of a pod; on the host they are root's business.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(Error::file("open", folder))?;
    let context = Arc::new(Provisioner {
        client: client.clone(),
        folder: folder.to_owned(),
        node: node.to_owned(),
    });
    let claims = Controller::new(
        Api::<PersistentVolumeClaim>::all(client.clone()),
        watcher::Config::default(),
    )
    .run(
        provision,
        |claim, error, _| retry(&claim.name_any(), error),
        Arc::clone(&context),
    );
    let volumes = Controller::new(Api::<PersistentVolume>::all(client), watcher::Config::default()).run(
        remove,
        |volume, error, _| retry(&volume.name_any(), error),
        context,
    );
    // What a pass failed with is told by `retry`.
    let tell = |queue: Option<controller::Error<Error, watcher::Error>>| async {
        if let Some(controller::Error::QueueError(error)) = queue {
            eprintln!("a watch broke and is started again: {error}");
        }
    };
    futures::join!(
        claims.map(Result::err).for_each(tell),
        volumes.map(Result::err).for_each(tell),
    );
    Ok(())
}

fn retry(name: &str, error: &Error) -> Action {
    eprintln!("{name}: {error}; trying again in {} s", RETRY.as_secs());
    Action::requeue(RETRY)
}

async fn provision(claim: Arc<PersistentVolumeClaim>, context: Arc<Provisioner>) -> Result<Action, Error> {
    let annotation = |name: &str| claim.annotations().get(name).map(String::as_str);
    let bound = claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_some());
    if annotation(ASKED) != Some(PROVISIONER) || bound || claim.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let class_name = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.clone())
        .unwrap_or_default();
    let Some(class) = Api::<StorageClass>::all(context.client.clone())
        .get_opt(&class_name)
        .await?
    else {
        return Ok(Action::requeue(RETRY));
    };
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    if waits && annotation(SELECTED_NODE) != Some(context.node.as_str()) {
        return Ok(Action::await_change());
    }
    let Some(volume) = volume(&claim, &class, &context.folder, &context.node) else {
        return Ok(Action::await_change());
    };
    let path = context.folder.join(volume.name_any());
    files::folder(&path)?;
    // Whoever the pod runs as may write, also without fsGroup; the folder above is root's alone.
    std::fs::set_permissions(&path, Permissions::from_mode(0o777)).map_err(Error::file("open", &path))?;
    match Api::<PersistentVolume>::all(context.client.clone())
        .create(&PostParams::default(), &volume)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        result => {
            result?;
            println!(
                "made {} for {}/{}",
                path.display(),
                claim.namespace().unwrap_or_default(),
                claim.name_any()
            );
        }
    }
    Ok(Action::await_change())
}

/// The volume for a claim; none while the API server has not yet said who the claim is.
fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    folder: &Path,
    node: &str,
) -> Option<PersistentVolume> {
    let spec = claim.spec.as_ref()?;
    let uid = claim.uid()?;
    let name = format!("pvc-{uid}");
    let size = spec
        .resources
        .as_ref()?
        .requests
        .as_ref()?
        .get("storage")?
        .clone();
    let on_node = NodeSelectorRequirement {
        key: HOST_NAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    Some(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            annotations: Some(BTreeMap::from([(
                PROVISIONED_BY.to_owned(),
                PROVISIONER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes.clone(),
            capacity: Some(BTreeMap::from([("storage".to_owned(), size)])),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                name: Some(claim.name_any()),
                namespace: claim.namespace(),
                uid: Some(uid),
                ..ObjectReference::default()
            }),
            local: Some(LocalVolumeSource {
                path: folder.join(&name).display().to_string(),
                fs_type: None,
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![on_node]),
                        ..NodeSelectorTerm::default()
                    }],
                }),
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: Some(class.name_any()),
            volume_mode: spec.volume_mode.clone(),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    })
}

async fn remove(volume: Arc<PersistentVolume>, context: Arc<Provisioner>) -> Result<Action, Error> {
    if !to_be_removed(&volume) {
        return Ok(Action::await_change());
    }
    let path = context.folder.join(volume.name_any());
    files::remove_folder(&path)?;
    let exactly_this = DeleteParams {
        preconditions: Some(Preconditions {
            uid: volume.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match Api::<PersistentVolume>::all(context.client.clone())
        .delete(&volume.name_any(), &exactly_this)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        result => {
            result?;
            println!("removed {}", path.display());
        }
    }
    Ok(Action::await_change())
}

/// Ours, released, and to be deleted then.
fn to_be_removed(volume: &PersistentVolume) -> bool {
    let ours = volume
        .annotations()
        .get(PROVISIONED_BY)
        .is_some_and(|by| by == PROVISIONER);
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let delete = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref())
        == Some("Delete");
    ours && released && delete && volume.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class() -> StorageClass {
        serde_json::from_value(json!({
            "metadata": {"name": "lab"}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete",
        }))
        .unwrap()
    }

    fn claim() -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "data", "namespace": "city", "uid": "1234"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_volume_is_for_its_claim_alone_and_on_its_node() {
        let volume =
            serde_json::to_value(volume(&claim(), &class(), Path::new("/v"), "here").unwrap()).unwrap();
        assert_eq!(volume["spec"]["claimRef"]["uid"], "1234");
        assert_eq!(volume["spec"]["local"]["path"], "/v/pvc-1234");
        assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
        let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchExpressions"][0]["values"], json!(["here"]));
    }

    #[test]
    fn only_released_volumes_of_ours_are_removed() {
        let mut volume = volume(&claim(), &class(), Path::new("/v"), "here").unwrap();
        let with_phase = |volume: &mut PersistentVolume, phase: &str| {
            volume.status = serde_json::from_value(json!({ "phase": phase })).unwrap();
        };
        with_phase(&mut volume, "Bound");
        assert!(!to_be_removed(&volume));
        with_phase(&mut volume, "Released");
        assert!(to_be_removed(&volume));
        let mut kept = volume.clone();
        kept.spec.as_mut().unwrap().persistent_volume_reclaim_policy = Some("Retain".to_owned());
        assert!(!to_be_removed(&kept));
        volume.metadata.annotations = None;
        assert!(!to_be_removed(&volume));
    }
}
