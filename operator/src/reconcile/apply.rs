//! From rendered children to the API server: apply in order, then prune.
//!
//! A child that was never seen is applied with [`ONLY_IF_ABSENT`] as `resourceVersion`, which the API server takes only when the
//! object does not exist: one request both asks whether the name is free and takes it, without a moment between. When it is not free, a GET by name
//! tells whose it is. Once the uid is known every apply carries it, so an object of the same name that somebody
//! else made meanwhile is never touched.

use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::child::{
    APPLIED_ANNOTATION, Bond, Child, ChildKind, Children, MANAGED_BY_LABEL, MANAGER, OWNER_KIND_LABEL,
    OWNER_NAME_LABEL, Owner,
};
use super::client::{ONLY_IF_ABSENT, Requests};
use super::kind::{Complaint, Kind, Step, Why};
use super::live::{Index, Live, LiveObject, Seen};
use super::memory::Memory;
use super::pass::Pass;
use super::request::Purpose;
use super::trouble::{Asked, Missing, Trouble};
use mim_crds::Reason;

/// What apply did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Children that somebody else had changed or deleted, in words, for events.
    pub repaired: Vec<String>,
    /// Children whose pods start anew, and why.
    pub rolled: Vec<(String, Why)>,
    /// What was refused without standing in the way of the rest.
    pub complaints: Vec<Complaint>,
    /// What to tell if this was one write too many: of the first that was written.
    pub contest: Option<Complaint>,
}

/// The way to the children of one owner.
pub struct Applier<'a> {
    /// The way to the API server.
    pub requests: &'a Requests,
    /// Where answers are seen.
    pub index: &'a Index,
    /// Why applying a body over a child makes its pods start anew ([`super::kind::Kind::roll`]).
    pub roll: fn(&Child, &Seen) -> Option<Why>,
    /// The start of the pass, for the bucket.
    pub started: Instant,
}

impl<'a> Applier<'a> {
    /// For the children of a pass's object.
    #[must_use]
    pub fn of<K: Kind>(pass: &Pass<'a, K>) -> Self {
        Self {
            requests: &pass.cx.requests,
            index: &pass.cx.index,
            roll: K::roll,
            started: pass.started,
        }
    }

    /// Makes every child as it must be, in order; stops at the first that cannot be. `applied` tells how far it came, also then.
    pub async fn apply(
        &self,
        children: &Children,
        live: &Live,
        memory: &mut Memory,
        applied: &mut Applied,
    ) -> Result<(), Trouble> {
        for child in children.iter() {
            let outcome = self.apply_one(children.owner(), child, live, memory).await;
            if matches!(outcome, Ok(Outcome::Changed | Outcome::Repaired(_))) && applied.contest.is_none() {
                applied.contest = Some(contest(
                    child.kind,
                    &child.name,
                    live.get(child.kind, &child.name),
                ));
            }
            match outcome {
                Ok(Outcome::AsItWas) => {}
                Ok(Outcome::Changed) => {
                    let why = live
                        .get(child.kind, &child.name)
                        .and_then(|seen| (self.roll)(child, seen));
                    applied
                        .rolled
                        .extend(why.map(|why| (format!("{} {}", child.kind.name(), child.name), why)));
                }
                Ok(Outcome::Repaired(how)) => applied.repaired.push(how),
                Err(Trouble::Rejected { message, .. }) if is_resize(child, live) => {
                    applied.complaints.push(Complaint {
                        reason: Reason::VolumeResizeRefused,
                        message: refused_claim(&child.name, &message),
                        terminal: true,
                    });
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    async fn apply_one(
        &self,
        owner: &Owner,
        child: &Child,
        live: &Live,
        memory: &mut Memory,
    ) -> Result<Outcome, Trouble> {
        let seen = live.get(child.kind, &child.name);
        if seen.is_some_and(|seen| !seen.deleting && seen.is_as_applied(&child.body, &child.digest)) {
            memory.applied.set(child.kind, &child.name, &child.digest);
            return Ok(Outcome::AsItWas);
        }
        let sent_before = memory.applied.is(child.kind, &child.name, &child.digest);
        let uid = match seen {
            Some(seen) if is_of_another(seen, owner) => return Err(self.taken(owner, child).await),
            // Data that is going stays until its last user has gone; what that means is told by the kind, which sees it too.
            Some(seen) if seen.deleting && child.bond != Bond::Owned => return Ok(Outcome::AsItWas),
            Some(seen) if seen.deleting => return Err(going(child.kind, &child.name)),
            Some(seen) => Some(seen.uid.clone()),
            None => None,
        };
        if !memory.bucket.may(self.started) {
            return Err(Trouble::Contest(contest(child.kind, &child.name, seen)));
        }
        let Answer { was_there, is_there } = self.send(owner, child, uid).await?;
        memory.bucket.take(self.started);
        if !is_there {
            return Err(gone_again(child.kind, &child.name));
        }
        memory.applied.set(child.kind, &child.name, &child.digest);
        let how = if was_there {
            format!("was changed: put back{}", last_writer(seen))
        } else {
            "was deleted by somebody else: made again".to_owned()
        };
        Ok(if sent_before {
            Outcome::Repaired(format!("{} {} {how}", child.kind.name(), child.name))
        } else {
            Outcome::Changed
        })
    }

    /// Applies with the uid where it is known, else only if the name is free.
    async fn send(&self, owner: &Owner, child: &Child, uid: Option<String>) -> Result<Answer, Trouble> {
        let mut body = child.body.clone();
        let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.ok_or_else(|| Trouble::Bug(format!("{} has no metadata", child.name)))?;
        match &uid {
            Some(uid) => metadata.insert("uid".into(), uid.clone().into()),
            None => metadata.insert("resourceVersion".into(), ONLY_IF_ABSENT.into()),
        };
        let resource = child.kind.api_resource();
        let asked = Asked {
            kind: child.kind.name(),
            name: &child.name,
            namespace: &owner.namespace,
        };
        let sent = self.index.send(child.kind, &owner.namespace, &child.name);
        match self
            .requests
            .apply(&resource, &owner.namespace, &child.name, &body, Purpose::Apply)
            .await
        {
            Ok(object) => Ok(Answer {
                was_there: uid.is_some(),
                is_there: sent.answered(object),
            }),
            Err(kube::Error::Api(status)) if status.code == 409 && uid.is_none() => {
                let found = self.find(owner, child.kind, &child.name, child.bond).await?;
                // Boxed: this calls itself at most once, now with the uid.
                Box::pin(self.send(owner, child, Some(found))).await
            }
            Err(error) => Err(Trouble::of(error, asked)),
        }
    }

    /// The name was not free. Ours after all (made by an earlier pass whose answer was lost, or kept by an earlier
    /// object of this name)? Then its uid.
    pub async fn find(
        &self,
        owner: &Owner,
        kind: ChildKind,
        name: &str,
        bond: Bond,
    ) -> Result<String, Trouble> {
        let asked = Asked {
            kind: kind.name(),
            name,
            namespace: &owner.namespace,
        };
        let resource = kind.api_resource();
        let found: Option<LiveObject> = self
            .requests
            .get_meta(&resource, &owner.namespace, name, Purpose::Ownership)
            .await
            .map_err(|error| Trouble::of(error, asked))?;
        match found {
            Some(found) if found.metadata.deletion_timestamp.is_some() => Err(going(kind, name)),
            Some(found) if belongs(&found, owner, bond) || was_ours(&found, owner, bond) => {
                Ok(found.metadata.uid.unwrap_or_default())
            }
            Some(found) => Err(not_ours(kind, name, &found, owner)),
            // Gone again meanwhile: the next pass takes the name.
            None => Err(going(kind, name)),
        }
    }

    async fn taken(&self, owner: &Owner, child: &Child) -> Trouble {
        match self.find(owner, child.kind, &child.name, child.bond).await {
            Ok(_) => Trouble::Missing(Missing {
                reason: Reason::Progressing,
                message: format!("{} {} is being taken over", child.kind.name(), child.name),
            }),
            Err(trouble) => trouble,
        }
    }

    /// Deletes what must no longer exist: our label AND our owner's uid, with a uid precondition. Call it only after an apply that reached its end.
    pub async fn prune(
        &self,
        children: &Children,
        kinds: &[ChildKind],
        live: &Live,
        memory: &mut Memory,
    ) -> Result<Vec<String>, Trouble> {
        let owner = children.owner();
        let mut pruned = Vec::new();
        for (kind, name, seen) in live.iter() {
            let ours = seen.labelled && seen.owner_uid.as_deref() == Some(owner.uid.as_str());
            if !ours || seen.deleting || !kinds.contains(&kind) || children.contains(kind, name) {
                continue;
            }
            if !memory.bucket.may(self.started) {
                return Err(Trouble::Contest(contested(format!(
                    "{} {name}, which is no longer needed, is made again and again, and is deleted every 5 seconds{}; let nobody make it",
                    kind.name(),
                    last_writer(Some(seen))
                ))));
            }
            self.delete(owner, kind, name, &seen.uid, Purpose::Prune).await?;
            memory.bucket.take(self.started);
            pruned.push(format!("{} {name} is no longer needed: deleted", kind.name()));
        }
        Ok(pruned)
    }

    /// Takes one step, and says whether it was this pass that took it.
    pub async fn step(&self, owner: &Owner, step: &Step) -> Result<bool, Trouble> {
        match step {
            Step::Delete { kind, name, uid, .. } => self
                .delete(owner, *kind, name, uid, Purpose::Step)
                .await
                .map(|()| true),
            Step::Create { kind, body, .. } => {
                let name = step.name();
                let asked = Asked {
                    kind: kind.name(),
                    name,
                    namespace: &owner.namespace,
                };
                let sent = self.index.send(*kind, &owner.namespace, name);
                match self
                    .requests
                    .create(&kind.api_resource(), &owner.namespace, body, Purpose::Step)
                    .await
                {
                    Ok(object) => {
                        // What is gone again is missed by the next pass, which the news of it has asked for.
                        let _there = sent.answered(object);
                        Ok(true)
                    }
                    // Made by an earlier pass whose answer was lost, and its watch event follows; or somebody else's.
                    Err(kube::Error::Api(status)) if status.code == 409 => {
                        self.find(owner, *kind, name, Bond::Owned).await.map(|_| false)
                    }
                    Err(error) => Err(Trouble::of(error, asked)),
                }
            }
        }
    }

    /// Deletes with the uid as precondition; what is already gone, or is another object by now, is fine.
    pub async fn delete(
        &self,
        owner: &Owner,
        kind: ChildKind,
        name: &str,
        uid: &str,
        purpose: Purpose,
    ) -> Result<(), Trouble> {
        let asked = Asked {
            kind: kind.name(),
            name,
            namespace: &owner.namespace,
        };
        match self
            .requests
            .delete(&kind.api_resource(), &owner.namespace, name, uid, purpose)
            .await
        {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Trouble::of(error, asked)),
        }
    }
}

/// What came of a body that was applied.
struct Answer {
    /// Whether the object was there before.
    was_there: bool,
    /// Whether it still is, as far as a watch or a list has shown while the answer was under way.
    is_there: bool,
}

enum Outcome {
    AsItWas,
    Changed,
    Repaired(String),
}

/// Who has written a child last, beside us, in words to be added. Who only takes fields of ours away leaves no trace in `managedFields`, so it is
/// not said that it was this one who has changed what is put back.
fn last_writer(seen: Option<&Seen>) -> String {
    let writer = seen.and_then(|seen| seen.writer.as_deref());
    writer.map_or_else(String::new, |writer| {
        format!(" (beside this operator {writer} wrote it last)")
    })
}

/// What is told when a child has to be written more often than its owner's bucket has tokens.
#[must_use]
pub fn contest(kind: ChildKind, name: &str, seen: Option<&Seen>) -> Complaint {
    let done = if seen.is_some() { "changed" } else { "deleted" };
    contested(format!(
        "{} {name} is {done} again and again by somebody else, and is put back every 5 seconds{}; let only one of the two write it",
        kind.name(),
        last_writer(seen)
    ))
}

const fn contested(message: String) -> Complaint {
    Complaint {
        reason: Reason::Contested,
        message,
        terminal: false,
    }
}

/// Why the claim that is there does not become as the spec says, and what helps: the spec itself can neither shrink nor change its class.
fn refused_claim(name: &str, answer: &str) -> String {
    if answer.contains("less than") || answer.contains("immutable") {
        format!(
            "volume {name} is there already and is larger than the spec says, or of another class ({answer}); write at least the size that it has, or delete this object \
             with deletionPolicy Retain and make it anew with the size and class of the volume"
        )
    } else {
        format!(
            "volume {name} cannot grow: {answer}; set allowVolumeExpansion on its StorageClass, or delete this object with deletionPolicy Retain and make it anew \
             with the size that the volume has. All else is carried out"
        )
    }
}

fn is_resize(child: &Child, live: &Live) -> bool {
    child.kind == ChildKind::PersistentVolumeClaim && live.get(child.kind, &child.name).is_some()
}

fn going(kind: ChildKind, name: &str) -> Trouble {
    Trouble::Missing(Missing {
        reason: Reason::Progressing,
        message: format!(
            "an earlier {} {name} is being deleted; it is made anew when that is gone",
            kind.name()
        ),
    })
}

/// A watch or a list has shown, while the answer was under way, that it is gone: garbage collection takes it, where the owner is gone. Or it has
/// lost the label by which it is watched, which looks the same.
fn gone_again(kind: ChildKind, name: &str) -> Trouble {
    Trouble::Missing(Missing {
        reason: Reason::Progressing,
        message: format!(
            "{} {name} was written, and is not there any more or has lost its labels; it is looked at again",
            kind.name()
        ),
    })
}

fn label<'a>(object: &'a LiveObject, key: &str) -> Option<&'a str> {
    object.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether an object is a child of this owner. What goes with its owner: by the owner's uid, whatever has become of the labels; or by
/// our labels, where nobody controls it (somebody took the reference away, or a backup left it out). What outlives its owner: by our
/// labels, and nobody else controls it.
#[must_use]
pub fn belongs(object: &LiveObject, owner: &Owner, bond: Bond) -> bool {
    let labelled = label(object, MANAGED_BY_LABEL) == Some(MANAGER)
        && label(object, OWNER_KIND_LABEL) == Some(owner.kind)
        && label(object, OWNER_NAME_LABEL) == Some(owner.name.as_str());
    match (bond, controller(object)) {
        (Bond::Owned, Some(of)) => of.uid == owner.uid,
        (Bond::Kept, Some(of)) => labelled && of.uid == owner.uid,
        (Bond::Regained, of) => of.is_none_or(|of| of.uid == owner.uid) && names_no_other(object, owner),
        (_, None) => labelled,
    }
}

/// Whether a child that outlives its owner was written by us and has only lost labels of ours. It is given them back; but nothing is ever deleted
/// by this: who takes the labels of a volume away may mean to keep it.
#[must_use]
pub fn was_ours(object: &LiveObject, owner: &Owner, bond: Bond) -> bool {
    let mut writers = object.metadata.managed_fields.iter().flatten();
    bond != Bond::Owned
        && controller(object).is_none_or(|of| of.uid == owner.uid)
        && names_no_other(object, owner)
        && writers.any(|entry| entry.manager.as_deref() == Some(MANAGER))
}

/// Whether none of the labels by which a child is found says that it belongs to somebody else.
fn names_no_other(object: &LiveObject, owner: &Owner) -> bool {
    owner
        .labels()
        .iter()
        .all(|(key, value)| label(object, key).is_none_or(|held| held == value))
}

/// The reference of the object's one controller, if it has one.
fn controller(object: &LiveObject) -> Option<&OwnerReference> {
    let mut references = object.metadata.owner_references.iter().flatten();
    references.find(|reference| reference.controller == Some(true))
}

/// Whether a child that is known by our labels is controlled by somebody else.
fn is_of_another(seen: &Seen, owner: &Owner) -> bool {
    seen.owner_uid.as_deref().is_some_and(|uid| uid != owner.uid)
}

/// Whether an object belongs to an earlier object of this owner's kind and name.
fn is_of_predecessor(object: &LiveObject, owner: &Owner) -> bool {
    controller(object).is_some_and(|of| {
        of.kind == owner.kind && of.api_version == owner.api_version && of.name == owner.name
    })
}

/// What an object that is not ours means: one of an earlier object of this name goes soon, by garbage collection, for its owner is no more;
/// any other is left alone.
#[must_use]
pub fn not_ours(kind: ChildKind, name: &str, found: &LiveObject, owner: &Owner) -> Trouble {
    if is_of_predecessor(found, owner) {
        return going(kind, name);
    }
    Trouble::Taken {
        kind: kind.name(),
        name: name.to_owned(),
        owner: belongs_to(found),
    }
}

/// Whom an object belongs to, in words.
#[must_use]
pub fn belongs_to(object: &LiveObject) -> String {
    match (controller(object), label(object, MANAGED_BY_LABEL)) {
        (Some(of), _) => format!("{} {}", of.kind, of.name),
        (None, Some(manager)) => format!("whoever manages it ({MANAGED_BY_LABEL}={manager})"),
        (None, None) => {
            let applied = object
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(APPLIED_ANNOTATION));
            if applied {
                "an earlier object of ours".to_owned()
            } else {
                "somebody else".to_owned()
            }
        }
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
