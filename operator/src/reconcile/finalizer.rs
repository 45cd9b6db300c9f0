//! The finalizer: held only while the deletion of data is asked for and confirmed, so that an operator that is not there never
//! blocks a namespace.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::apply::{Applier, belongs};
use super::child::{Bond, ChildKind};
use super::kind::Kind;
use super::live::LiveObject;
use super::pass::Pass;
use super::request::Purpose;
use super::retry::Remedy;
use super::trouble::{Asked, Trouble};

/// Its name.
pub const FINALIZER: &str = "mim.city/data";

/// Takes or releases the finalizer as the object's policy and confirmation say.
pub async fn hold_or_release<K: Kind>(pass: &Pass<'_, K>) -> Result<(), Trouble> {
    let held = pass.object.finalizers().iter().any(|name| name == FINALIZER);
    let wanted = !pass.object.data().is_empty();
    if held == wanted {
        Ok(())
    } else {
        set(pass, wanted).await
    }
}

/// On an object that is being deleted: deletes what must go, waits until it is gone, and lets the object go.
pub async fn finish<K: Kind>(pass: &Pass<'_, K>) -> Result<Option<Remedy>, Trouble> {
    if !pass.object.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(None);
    }
    let mut left = false;
    for (kind, name) in pass.object.data() {
        left |= delete(pass, kind, &name).await?;
    }
    if left {
        return Ok(Some(Remedy::Other));
    }
    set(pass, false).await.map(|()| None)
}

/// Deletes one object if it is ours, and says whether it is still there: a claim stays until no pod uses it.
async fn delete<K: Kind>(pass: &Pass<'_, K>, kind: ChildKind, name: &str) -> Result<bool, Trouble> {
    let Some(found) = find(pass, kind, name).await? else {
        return Ok(false);
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(true);
    }
    let applier = Applier {
        requests: &pass.cx.requests,
        index: &pass.cx.index,
        roll: K::roll,
    };
    let uid = found.metadata.uid.unwrap_or_default();
    applier
        .delete(&pass.owner, kind, name, &uid, Purpose::Finalizer)
        .await?;
    Ok(find(pass, kind, name).await?.is_some())
}

/// The object, if it is there and ours.
async fn find<K: Kind>(
    pass: &Pass<'_, K>,
    kind: ChildKind,
    name: &str,
) -> Result<Option<LiveObject>, Trouble> {
    let owner = &pass.owner;
    let asked = Asked {
        kind: kind.name(),
        name,
        namespace: &owner.namespace,
    };
    let purpose = if kind == ChildKind::Secret {
        Purpose::Secret
    } else {
        Purpose::Ownership
    };
    let found = pass
        .cx
        .requests
        .get_meta(&kind.api_resource(), &owner.namespace, name, purpose)
        .await;
    Ok(found
        .map_err(|error| Trouble::of(error, asked))?
        .filter(|found| belongs(found, owner, Bond::Kept)))
}

async fn set<K: Kind>(pass: &Pass<'_, K>, held: bool) -> Result<(), Trouble> {
    let owner = &pass.owner;
    let others = pass
        .object
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned();
    let finalizers: Vec<String> = others.chain(held.then(|| FINALIZER.to_owned())).collect();
    // A merge patch with uid and resourceVersion: it fails on another object, and on one that changed meanwhile, so no finalizer of others is lost.
    let patch: Value = json!({"metadata": {
        "uid": owner.uid, "resourceVersion": pass.object.resource_version(), "finalizers": finalizers,
    }});
    let asked = Asked {
        kind: owner.kind,
        name: &owner.name,
        namespace: &owner.namespace,
    };
    match pass
        .cx
        .requests
        .merge_patch(
            &K::api_resource(),
            &owner.namespace,
            &owner.name,
            &patch,
            Purpose::Finalizer,
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Trouble::of(error, asked)),
    }
}
