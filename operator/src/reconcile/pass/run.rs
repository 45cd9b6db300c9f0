//! From the store's object to the time of the next pass, whatever the pass meets: an object that cannot be read, a fault of ours, an API server that
//! does not answer.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use mim_crds::{Reason, annotation};
use tracing::{debug, error, info, warn};

use super::conclude::{conditions_in, send_status};
use super::{Pass, leave};
use crate::reconcile::child::Owner;
use crate::reconcile::context::Context;
use crate::reconcile::kind::{Complaint, Kind};
use crate::reconcile::live::{OwnerKey, version_of};
use crate::reconcile::memory::Memory;
use crate::reconcile::request::Purpose;
use crate::reconcile::retry::{self, Remedy};
use crate::reconcile::status::{self, Verdict};
use crate::reconcile::trouble::{Asked, Trouble};

/// How long a pass may take: an API server that answers slower than this is away.
pub const PASS_LIMIT: Duration = Duration::from_mins(1);

/// One pass, from the store's object to the time of the next.
pub async fn run<K: Kind>(cx: &Context, object: &DeserializeGuard<K>) -> Action {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let started = Instant::now();
    let Some(mut memory) = cx.memories.of(&uid) else {
        // It went before its pass began.
        return Action::await_change();
    };
    let unsettled = memory.unsettled;
    (memory.name_at, memory.look_at) = (None, None);
    let pass = AssertUnwindSafe(one::<K>(cx, object, &mut memory)).catch_unwind();
    let ended = tokio::time::timeout(PASS_LIMIT, pass).await;
    let contested = matches!(&ended, Ok(Ok(Err(Trouble::Contest(_)))));
    let missing = match &ended {
        Ok(Ok(Err(Trouble::Missing(missing)))) => Some(missing.message.clone()),
        _ => None,
    };
    let (remedy, outcome) = match ended {
        Ok(Ok(Ok(remedy))) => (remedy, "ok"),
        Ok(Ok(Err(trouble))) => {
            report::<K>(object, &trouble);
            (Some(trouble.remedy()), trouble.label())
        }
        Ok(Err(panic)) => {
            let trouble = Trouble::Bug(words_of(panic.as_ref()));
            report::<K>(object, &trouble);
            let told = tokio::time::timeout(PASS_LIMIT, tell::<K>(cx, object, trouble.complaint())).await;
            debug!(kind = K::KIND, ?told, "the fault was told");
            (Some(trouble.remedy()), trouble.label())
        }
        Err(_) => {
            warn!(
                kind = K::KIND,
                namespace = object.namespace(),
                name = object.name_any(),
                "the pass took too long and was given up"
            );
            (Some(Remedy::Time), "timeout")
        }
    };
    // A pass that did not end has taken the rest of the memory with it.
    memory.unsettled = unsettled;
    let generation = object.meta().generation.unwrap_or(0);
    memory.need(remedy, generation, missing.as_deref(), started);
    let mut next = next_pass(remedy, &memory, (cx.now)().as_second(), (cx.jitter)());
    if contested {
        next = next.min(memory.bucket.wait(Instant::now()));
    }
    if !cx.memories.keep(&uid, memory) {
        // It went during the pass: so does what the pass has begun for it.
        cx.probes.forget(&uid);
        cx.errands.forget(&uid);
        cx.peers.forget(&OwnerKey::of::<K>(object));
    }
    cx.metrics.pass(K::KIND, outcome, started.elapsed());
    Action::requeue(next)
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn report<K: Kind>(object: &DeserializeGuard<K>, trouble: &Trouble) {
    let (namespace, name) = (object.namespace(), object.name_any());
    match trouble {
        // At every change of the other side; its start and its end are events.
        Trouble::Contest(_) => debug!(kind = K::KIND, namespace, name, %trouble, "writes wait"),
        Trouble::Bug(_) => error!(kind = K::KIND, namespace, name, %trouble, "the pass failed"),
        Trouble::Api(_) => warn!(kind = K::KIND, namespace, name, %trouble, "the pass failed"),
        _ => info!(kind = K::KIND, namespace, name, %trouble, "the pass could not reach its end"),
    }
}

/// When to look again: at the remedy's pace, else at the resync, but never later than a certificate wants it, than what is waited for is to be
/// named, or than what is kept elsewhere wants it.
fn next_pass(remedy: Option<Remedy>, memory: &Memory, now: i64, jitter: f64) -> Duration {
    let delay = remedy.map_or_else(
        || retry::resync(jitter),
        |remedy| retry::delay(remedy, memory.unsettled_for(), jitter),
    );
    let renewal = memory.secrets_in_order.as_ref().and_then(|order| order.renew_at);
    let due = [renewal, memory.name_at, memory.look_at]
        .into_iter()
        .flatten()
        .min();
    let due = due.map(|at| Duration::from_secs(u64::try_from(at - now).unwrap_or(0).max(1)));
    due.map_or(delay, |due| due.min(delay))
}

async fn one<K: Kind>(
    cx: &Context,
    object: &DeserializeGuard<K>,
    memory: &mut Memory,
) -> Result<Option<Remedy>, Trouble> {
    let meta = object.meta();
    let owner = owner_of(object);
    let generation = meta.generation.unwrap_or(0);
    match &object.0 {
        Err(invalid) if meta.deletion_timestamp.is_none() => {
            let complaint = Complaint {
                reason: Reason::InvalidSpec,
                message: format!(
                    "this operator cannot read the object ({}); correct it, or upgrade the operator",
                    invalid.error
                ),
                terminal: true,
            };
            tell::<K>(cx, object, complaint)
                .await
                .map(|()| Some(Remedy::Spec))
        }
        // What it keeps elsewhere is not known: only who owns it can say that it may be left there.
        Err(invalid) => match leave::unread::<K>(cx, object).await? {
            leave::Unread::Goes => Ok(None),
            leave::Unread::Stays => {
                let name = &owner.name;
                let complaint = Complaint {
                    reason: Reason::InvalidSpec,
                    message: format!(
                        "this operator cannot read the object ({}), and so cannot take away what it keeps elsewhere; upgrade the operator, or annotate it with {}={name} to leave that there",
                        invalid.error,
                        annotation::ABANDON
                    ),
                    terminal: true,
                };
                tell::<K>(cx, object, complaint)
                    .await
                    .map(|()| Some(Remedy::Spec))
            }
        },
        Ok(typed) => {
            let shown = version_of(meta);
            memory.status = memory.status.take().filter(|sent| sent.resource_version > shown);
            let mut pass = Pass {
                cx,
                object: typed,
                owner,
                generation,
                started: Instant::now(),
                known: typed.common().observed_generation == generation,
                memory: std::mem::take(memory),
            };
            let ended = pass.go().await;
            *memory = pass.memory;
            ended
        }
    }
}

/// An object of ours as the owner of what it becomes.
pub(super) fn owner_of<K: Kind>(object: &DeserializeGuard<K>) -> Owner {
    let meta = object.meta();
    Owner {
        kind: K::KIND,
        api_version: K::api_version(&()).into_owned(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: object.name_any(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// Says in the status what keeps an object from any pass: a spec that this operator cannot read (a value of a newer version of the CRD), or a
/// fault of ours. The rest of the status is read, for it stays.
async fn tell<K: Kind>(
    cx: &Context,
    object: &DeserializeGuard<K>,
    complaint: Complaint,
) -> Result<(), Trouble> {
    let owner = &owner_of(object);
    let generation = object.meta().generation.unwrap_or(0);
    let asked = Asked::from(owner);
    let resource = K::api_resource();
    let held = cx
        .requests
        .get_value(&resource, &owner.namespace, &owner.name, Purpose::Dereference)
        .await;
    let Some(held) = held.map_err(|error| Trouble::of(error, asked))? else {
        return Ok(());
    };
    let before = held.get("status").cloned().unwrap_or_default();
    let conditions = status::conditions(
        &Verdict::of(complaint),
        generation,
        &conditions_in(&before),
        &Time((cx.now)()),
    );
    let wanted = status::body(&before, None, &conditions, generation, None);
    if !status::says(&before, &wanted) {
        send_status(cx, &resource, owner, wanted).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
