//! An object that keeps something outside Kubernetes: held before that is made, let go when it is gone again.
//!
//! What goes with an object inside Kubernetes goes by garbage collection, and no finalizer is held for it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Resource, ResourceExt};
use mim_crds::{EventReason, Reason, annotation};
use serde_json::{Value, json};

use super::conclude::{conditions_in, observed};
use super::run::owner_of;
use super::{Outcome, Pass};
use crate::reconcile::child::Owner;
use crate::reconcile::context::Context;
use crate::reconcile::event::{self, Note};
use crate::reconcile::kind::{Kind, Leaving};
use crate::reconcile::live::version_of;
use crate::reconcile::reader::Reader;
use crate::reconcile::remote::{Errand, PERIOD};
use crate::reconcile::request::Purpose;
use crate::reconcile::retry::Remedy;
use crate::reconcile::trouble::Trouble;

impl<K: Kind> Pass<'_, K> {
    /// Sees to it that the object stays until what it keeps elsewhere is gone: before anything is made or changed there, as the first write of all on
    /// a new generation. It replaces the object, which takes the rights of a namespace that is onboarded; the patch that lets go is allowed everywhere
    /// (`docs/decisions/0009-status-in-every-namespace.md`).
    pub(super) async fn hold(&mut self) -> Result<(), Trouble> {
        let done = self.is_held_unseen() || (self.is_held() && self.was_let_in());
        let Some(finalizer) = K::FINALIZER.filter(|_| !done) else {
            return Ok(());
        };
        let (resource, owner) = (K::api_resource(), &self.owner);
        let requests = &self.cx.requests;
        let held = requests
            .get_value(&resource, &owner.namespace, &owner.name, Purpose::Finalizer)
            .await;
        // Gone: there is nothing to hold.
        let Some(mut body) = held.map_err(|error| Trouble::of(error, owner.into()))? else {
            return Ok(());
        };
        let mut finalizers = self.object.finalizers().to_vec();
        if !self.is_held() {
            finalizers.push(finalizer.to_owned());
        }
        // Over the version that was planned: another one gets a pass of its own.
        let planned = over(self.object.meta(), &finalizers);
        if let (Some(Value::Object(metadata)), Value::Object(planned)) = (body.get_mut("metadata"), planned) {
            metadata.extend(planned);
        }
        let answer: Result<PartialObjectMeta, _> = requests
            .update(
                &resource,
                &owner.namespace,
                &owner.name,
                &body,
                Purpose::Finalizer,
            )
            .await;
        self.memory.held = shown(answer, owner)?;
        Ok(())
    }

    /// Hands over what is to be brought about elsewhere, and gives what is to be told of what was done there. The object is looked at again soon:
    /// no watch shows a Secret that has changed.
    pub(super) fn entrust(&mut self, errand: Errand) -> Vec<Note> {
        let again = PERIOD.mul_f64(1.0 - (self.cx.jitter)().clamp(0.0, 1.0) / 4.0);
        let again = i64::try_from(again.as_secs()).unwrap_or(i64::MAX);
        self.memory.look_at = Some((self.cx.now)().as_second().saturating_add(again));
        self.cx.errands.keep(&self.owner, errand);
        self.cx.errands.notes(&self.owner.uid)
    }

    /// An object that is being deleted: what it keeps elsewhere goes first. What else holds it is not ours.
    pub(super) async fn leave(&mut self) -> Result<Option<Remedy>, Trouble> {
        if !self.is_held() || self.memory.let_go {
            self.cx.errands.forget(&self.owner.uid);
            return Ok(None);
        }
        let reader = Reader::new(self.cx, &self.owner, self.cx.index.of(&self.key()));
        let leaving = match self.object.leave(&reader).await {
            Ok(leaving) => leaving,
            Err(missing) => {
                let trouble = reader.trouble().unwrap_or_else(|| missing.into());
                self.cx.errands.forget(&self.owner.uid);
                return self.conclude(Outcome::of(trouble)).await;
            }
        };
        match leaving {
            Leaving::Free(note) => self.let_go(note).await.map(|()| None),
            Leaving::First(errand, complaint) => {
                let notes = self.entrust(errand);
                event::publish(self.cx, &self.owner, &notes).await;
                match complaint {
                    Some(complaint) => self.conclude(Outcome::of(Trouble::Remote(complaint))).await,
                    None => Ok(Some(Remedy::Other)),
                }
            }
        }
    }

    async fn let_go(&mut self, note: Option<Note>) -> Result<(), Trouble> {
        let mut finalizers = self.object.finalizers().to_vec();
        finalizers.retain(|held| Some(held.as_str()) != K::FINALIZER);
        self.send_finalizers(&finalizers).await?;
        self.memory.let_go = true;
        self.cx.errands.forget(&self.owner.uid);
        event::publish(self.cx, &self.owner, note.as_slice()).await;
        Ok(())
    }

    /// Whether the namespace was onboarded when this generation was first seen.
    fn was_let_in(&self) -> bool {
        let before = self.status_before();
        let refused = Reason::NamespaceNotOnboarded.as_str();
        let mut told = conditions_in(&before).into_iter();
        observed(&before) == Some(self.generation) && !told.any(|condition| condition.reason == refused)
    }

    /// Whether our finalizer is on the object, as the store shows it or as we have sent it.
    fn is_held(&self) -> bool {
        let mut finalizers = self.object.finalizers().iter();
        self.is_held_unseen() || finalizers.any(|held| Some(held.as_str()) == K::FINALIZER)
    }

    /// Whether we have put it there over the version that the store still shows.
    fn is_held_unseen(&self) -> bool {
        let shown = version_of(self.object.meta());
        self.memory.held.is_some_and(|held| held > shown)
    }

    async fn send_finalizers(&self, finalizers: &[String]) -> Result<Option<u64>, Trouble> {
        send::<K>(self.cx, self.object.meta(), &self.owner, finalizers).await
    }
}

/// What becomes of an object that is being deleted and cannot be read.
pub(super) enum Unread {
    /// Nothing of ours holds it.
    Goes,
    /// Our finalizer holds it.
    Stays,
}

/// Lets go an object that cannot be read, where its owner says that what it keeps elsewhere may be left there.
pub(super) async fn unread<K: Kind>(cx: &Context, object: &DeserializeGuard<K>) -> Result<Unread, Trouble> {
    let mut finalizers = object.finalizers().to_vec();
    let held = finalizers.len();
    finalizers.retain(|held| Some(held.as_str()) != K::FINALIZER);
    let name = object.name_any();
    if finalizers.len() == held {
        return Ok(Unread::Goes);
    }
    if object.annotations().get(annotation::ABANDON) != Some(&name) {
        return Ok(Unread::Stays);
    }
    let owner = owner_of(object);
    send::<K>(cx, object.meta(), &owner, &finalizers).await?;
    let message = "as the annotation mim.city/abandon says: what it keeps elsewhere is left there".to_owned();
    let note = Note::warning(EventReason::Abandoned, message);
    event::publish(cx, &owner, &[note]).await;
    Ok(Unread::Goes)
}

/// Sends finalizers over the version that was read, so that nobody else's is lost; gives the version that shows them.
async fn send<K: Kind>(
    cx: &Context,
    meta: &ObjectMeta,
    owner: &Owner,
    finalizers: &[String],
) -> Result<Option<u64>, Trouble> {
    let patch = json!({"metadata": over(meta, finalizers)});
    let resource = K::api_resource();
    let answer: Result<PartialObjectMeta, _> = cx
        .requests
        .merge_patch(
            &resource,
            &owner.namespace,
            &owner.name,
            &patch,
            Purpose::Finalizer,
        )
        .await;
    shown(answer, owner)
}

/// Finalizers over the version that was read.
fn over(meta: &ObjectMeta, finalizers: &[String]) -> Value {
    json!({"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers})
}

/// The version that shows what was sent.
fn shown(answer: Result<PartialObjectMeta, kube::Error>, owner: &Owner) -> Result<Option<u64>, Trouble> {
    match answer {
        Ok(answer) => Ok(Some(version_of(&answer.metadata))),
        // Gone: there is nothing to hold.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(Trouble::of(error, owner.into())),
    }
}
