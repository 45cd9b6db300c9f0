//! What outlives an object, and what goes with it.
//!
//! Data and the keys to it carry no owner reference (invariant 8) unless their deletion is asked for and confirmed. While it is, they carry one,
//! and garbage collection takes them with the object: no finalizer is held, so a namespace in which the operator has lost its rights, or its life,
//! is never held up (`docs/decisions/0007-data-goes-by-owner-reference.md`).
//!
//! The reference is part of the bodies that are applied ([`super::child::Children::bind`]) and of the Secrets that are written. This module does
//! the same to what is there already where no body is applied: while the object is suspended or its spec is refused.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use mim_crds::{EventReason, Reason};
use serde_json::json;

use super::apply::{Applier, belongs, contest};
use super::child::{Bond, ChildKind, Owner};
use super::event::Note;
use super::kind::Kind;
use super::live::{Live, LiveObject};
use super::pass::Pass;
use super::request::Purpose;
use super::trouble::{Asked, Missing, Trouble};

/// The references of an object that outlives the owner, or goes with it: those of others as they are.
#[must_use]
pub fn references(held: &[OwnerReference], owner: &Owner, goes: bool) -> Vec<OwnerReference> {
    let others = held.iter().filter(|of| of.uid != owner.uid).cloned();
    others.chain(goes.then(|| owner.reference())).collect()
}

/// Whether any of it goes with the object now, as last seen.
#[must_use]
pub fn goes<K: Kind>(pass: &Pass<'_, K>) -> bool {
    let live = pass.cx.index.of(&pass.key());
    let uid = Some(pass.owner.uid.as_str());
    let mut kept = pass.object.kept().into_iter();
    kept.any(|(kind, name)| {
        live.get(kind, &name)
            .is_some_and(|seen| seen.owner_uid.as_deref() == uid)
    })
}

/// What is told when that has changed.
#[must_use]
pub fn told(before: bool, after: bool, owner: &Owner) -> Option<Note> {
    let name = &owner.name;
    match (before, after) {
        (false, true) => Some(Note::warning(
            EventReason::DeletionConfirmed,
            format!("from now on deleting {} {name} destroys its data", owner.kind),
        )),
        (true, false) => Some(Note::normal(
            EventReason::DeletionWithdrawn,
            format!("from now on the data outlives {} {name}", owner.kind),
        )),
        _ => None,
    }
}

/// Whether something of an earlier object of this name is still there and goes with that: nothing is made before it is gone, for its identity and its
/// pods tell of data that this object does not have. Something that belongs to a stranger is trouble, too.
pub async fn of_predecessor<K: Kind>(pass: &Pass<'_, K>, live: &Live) -> Result<(), Trouble> {
    let owner = &pass.owner;
    for (kind, name) in pass.object.kept() {
        let foreign = live
            .get(kind, &name)
            .and_then(|seen| seen.owner_uid.as_deref())
            .is_some_and(|uid| uid != owner.uid);
        if foreign {
            let applier = Applier::of(pass);
            applier.find(owner, kind, &name, Bond::Kept).await?;
        }
    }
    Ok(())
}

/// Whether the object is still there, where something of it is missing that was there before. Garbage collection takes that when it is not, and the
/// news of it may come before the news of the object: nothing is made again for one that is gone.
pub async fn is_there<K: Kind>(pass: &Pass<'_, K>) -> Result<(), Trouble> {
    let owner = &pass.owner;
    let asked = Asked::from(owner);
    let found: Option<LiveObject> = pass
        .cx
        .requests
        .get_meta(
            &K::api_resource(),
            &owner.namespace,
            &owner.name,
            Purpose::Ownership,
        )
        .await
        .map_err(|error| Trouble::of(error, asked))?;
    let there = found.is_some_and(|found| {
        found.metadata.uid.as_ref() == Some(&owner.uid) && found.metadata.deletion_timestamp.is_none()
    });
    if there {
        Ok(())
    } else {
        Err(Trouble::Missing(Missing {
            reason: Reason::Progressing,
            message: "the object is being deleted".to_owned(),
        }))
    }
}

/// Makes what is there go with the object, or outlive it, as the object says.
pub async fn follow<K: Kind>(pass: &mut Pass<'_, K>) -> Result<(), Trouble> {
    let goes = pass.object.data_goes();
    let live = pass.cx.index.of(&pass.key());
    for (kind, name) in pass.object.kept() {
        let Some(seen) = live.get(kind, &name).filter(|seen| !seen.deleting) else {
            continue;
        };
        if (seen.owner_uid.as_deref() == Some(pass.owner.uid.as_str())) != goes {
            // What keeps data from going with the object never waits.
            if goes && !pass.memory.bucket.may(pass.started) {
                return Err(Trouble::Contest(contest(kind, &name, Some(seen))));
            }
            bind(pass, kind, &name, goes).await?;
            pass.memory.bucket.take(pass.started);
        }
    }
    Ok(())
}

async fn bind<K: Kind>(pass: &Pass<'_, K>, kind: ChildKind, name: &str, goes: bool) -> Result<(), Trouble> {
    let (owner, requests) = (&pass.owner, &pass.cx.requests);
    let asked = Asked {
        kind: kind.name(),
        name,
        namespace: &owner.namespace,
    };
    let resource = kind.api_resource();
    let found: Option<LiveObject> = requests
        .get_meta(&resource, &owner.namespace, name, Purpose::Ownership)
        .await
        .map_err(|error| Trouble::of(error, asked))?;
    // What is not ours is told by apply, when it comes to it.
    let Some(found) = found.filter(|found| belongs(found, owner, Bond::Kept)) else {
        return Ok(());
    };
    let references = references(
        found.metadata.owner_references.as_deref().unwrap_or_default(),
        owner,
        goes,
    );
    let patch = json!({"metadata": {
        "uid": found.metadata.uid, "resourceVersion": found.metadata.resource_version, "ownerReferences": references,
    }});
    let sent = pass.cx.index.send(kind, &owner.namespace, name);
    let answer: LiveObject = requests
        .merge_patch(&resource, &owner.namespace, name, &patch, Purpose::Retention)
        .await
        .map_err(|error| Trouble::of(error, asked))?;
    // What is gone again is missed by the next pass, which the news of it has asked for.
    let _there = sent.answered(answer);
    Ok(())
}
