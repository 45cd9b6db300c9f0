//! One pass over one object, for any kind.
//!
//! guard → dereference → validate → acknowledge a new generation → secrets → build → apply → prune → step → observe → status. Every way out ends in the status; nothing waits but for the API server.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::ApiResource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use mim_crds::{EventReason, Reason, annotation, bound};
use serde_json::{Map, Value, json};
use tracing::{debug, error, info, warn};

use super::apply::Applier;
use super::child::{Children, Owner};
use super::context::Context;
use super::event::{self, Note};
use super::kind::{Complaint, Kind, Observation, Step, Why};
use super::live::{Live, OwnerKey};
use super::memory::{Memory, SentStatus};
use super::reader::Reader;
use super::request::Purpose;
use super::retry::{self, Remedy};
use super::secret::Care;
use super::status::{self, Verdict};
use super::trouble::{Asked, Trouble};
use super::{retention, secret, suspects};

/// How long a pass may take: an API server that answers slower than this is away.
pub const PASS_LIMIT: Duration = Duration::from_mins(1);

/// How long the API server may answer in error before the status says so, where nothing else is known to be wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one pass works on.
pub struct Pass<'a, K: Kind> {
    /// The edges.
    pub cx: &'a Context,
    /// The object, as the store has it.
    pub object: &'a K,
    /// As the owner of children.
    pub owner: Owner,
    /// `metadata.generation`
    pub generation: i64,
    /// Whether its status spoke of this generation before the pass.
    pub known: bool,
    /// What is remembered of it.
    pub memory: Memory,
}

/// How far the pass came.
struct Outcome {
    observation: Option<Observation>,
    trouble: Option<Trouble>,
    notes: Vec<Note>,
    stepped: bool,
}

impl Outcome {
    const fn of(trouble: Trouble) -> Self {
        Self {
            observation: None,
            trouble: Some(trouble),
            notes: Vec::new(),
            stepped: false,
        }
    }
}

/// One pass, from the store's object to the time of the next.
pub async fn run<K: Kind>(cx: &Context, object: &DeserializeGuard<K>) -> Action {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let started = Instant::now();
    let mut memory = cx.memories.of(&uid);
    let unsettled = memory.unsettled;
    let pass = AssertUnwindSafe(one::<K>(cx, object, &mut memory)).catch_unwind();
    let ended = tokio::time::timeout(PASS_LIMIT, pass).await;
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
    memory.need(remedy, object.meta().generation.unwrap_or(0), started);
    let next = next_pass(remedy, &memory, (cx.now)().as_second(), (cx.jitter)());
    cx.memories.keep(&uid, memory);
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
        Trouble::Bug(_) => error!(kind = K::KIND, namespace, name, %trouble, "the pass failed"),
        Trouble::Api(_) => warn!(kind = K::KIND, namespace, name, %trouble, "the pass failed"),
        _ => info!(kind = K::KIND, namespace, name, %trouble, "the pass could not reach its end"),
    }
}

/// When to look again: at the remedy's pace, else at the resync, but never later than a certificate wants it.
fn next_pass(remedy: Option<Remedy>, memory: &Memory, now: i64, jitter: f64) -> Duration {
    let delay = remedy.map_or_else(
        || retry::resync(jitter),
        |remedy| retry::delay(remedy, memory.unsettled_for(), jitter),
    );
    let renewal = memory.secrets_in_order.as_ref().and_then(|order| order.renew_at);
    let renewal = renewal.map(|at| Duration::from_secs(u64::try_from(at - now).unwrap_or(0).max(1)));
    renewal.map_or(delay, |renewal| renewal.min(delay))
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
        Err(_) => Ok(None),
        Ok(typed) => {
            let shown = version(meta.resource_version.as_deref());
            memory.status = memory.status.take().filter(|sent| sent.resource_version > shown);
            let mut pass = Pass {
                cx,
                object: typed,
                owner,
                generation,
                known: typed.common().observed_generation == generation,
                memory: std::mem::take(memory),
            };
            let ended = pass.go().await;
            *memory = pass.memory;
            ended
        }
    }
}

fn owner_of<K: Kind>(object: &DeserializeGuard<K>) -> Owner {
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
    let asked = Asked {
        kind: owner.kind,
        name: &owner.name,
        namespace: &owner.namespace,
    };
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

fn conditions_in(status: &Value) -> Vec<Condition> {
    status
        .get("conditions")
        .and_then(|held| serde_json::from_value(held.clone()).ok())
        .unwrap_or_default()
}

fn version(resource_version: Option<&str>) -> u64 {
    resource_version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

/// Sends a status, and remembers it with the version that shows it.
async fn send_status(
    cx: &Context,
    resource: &ApiResource,
    owner: &Owner,
    status: Map<String, Value>,
) -> Result<Option<SentStatus>, Trouble> {
    let body = json!({
        "apiVersion": owner.api_version, "kind": owner.kind,
        "metadata": {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid},
        "status": status,
    });
    match cx
        .requests
        .apply_status(resource, &owner.namespace, &owner.name, &body)
        .await
    {
        Ok(answer) => Ok(Some(SentStatus {
            resource_version: version(answer.metadata.resource_version.as_deref()),
            status,
        })),
        // Gone: there is nobody to tell.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(None),
        Err(error) => Err(Trouble::of(
            error,
            Asked {
                kind: owner.kind,
                name: &owner.name,
                namespace: &owner.namespace,
            },
        )),
    }
}

impl<K: Kind> Pass<'_, K> {
    async fn go(&mut self) -> Result<Option<Remedy>, Trouble> {
        // What goes with it goes by garbage collection; what else holds it is not ours.
        if self.object.meta().deletion_timestamp.is_some() {
            return Ok(None);
        }
        if self.object.common().suspend {
            return self.suspended().await;
        }
        let went = retention::goes(self);
        let mut outcome = self.work().await;
        let mut owed = None;
        if outcome.observation.is_none() {
            // The spec is refused, or what it names is missing: no child is written.
            owed = self.look_after().await.err();
        } else if outcome.trouble.is_none() {
            outcome.trouble = retention::follow(self).await.err();
        }
        outcome
            .notes
            .extend(retention::told(went, retention::goes(self), &self.owner));
        let ended = self.conclude(outcome).await;
        // What is wrong with the spec has been told; what could not be looked after is tried again, and not only with the next spec.
        owed.map_or(ended, Err)
    }

    /// The first write on a new generation, before any child: nobody may read Ready of the spec before that is true. It has all that the plan
    /// tells, so that the next write is the one that says Ready.
    async fn acknowledge(&mut self, plan: &K::Plan, live: &Live) -> Result<(), Trouble> {
        if observed(&self.status_before()) == Some(self.generation) {
            return Ok(());
        }
        let common = self.object.common();
        let members = K::observe(plan, live).status;
        let conditions = self.conditions(&Verdict::Progressing);
        let handled = common.handled_request.map(str::to_owned);
        let wanted = status::body(
            &self.status_before(),
            Some(&members),
            &conditions,
            self.generation,
            handled.as_deref(),
        );
        self.write_status(wanted).await
    }

    async fn work(&mut self) -> Outcome {
        if let Some(refusal) = self.object.guard().into_iter().next() {
            return Outcome::of(refusal.into());
        }
        let live = self.cx.index.of(&self.key());
        if let Err(trouble) = retention::of_predecessor(self, &live).await {
            return Outcome::of(trouble);
        }
        let reader = Reader::new(self.cx, &self.owner, live.clone());
        let inputs = match self.object.dereference(&reader).await {
            Ok(inputs) => inputs,
            Err(missing) => return Outcome::of(reader.trouble().unwrap_or_else(|| missing.into())),
        };
        let plan = match self.object.validate(inputs, &self.cx.releases) {
            Ok(plan) => plan,
            Err(refusal) => return Outcome::of(refusal.into()),
        };
        if let Err(trouble) = self.acknowledge(&plan, &live).await {
            return Outcome::of(trouble);
        }
        self.carry_out(&plan).await
    }

    async fn carry_out(&mut self, plan: &K::Plan) -> Outcome {
        let mut notes = Vec::new();
        let mut complaints = Vec::new();
        let mut stepped = false;
        let trouble = self
            .change(plan, &mut notes, &mut complaints, &mut stepped)
            .await
            .err();
        // What our own writes have shown is in the index by now.
        let live = self.cx.index.of(&self.key());
        let mut observation = K::observe(plan, &live);
        complaints.append(&mut observation.complaints);
        observation.complaints = complaints;
        Outcome {
            observation: Some(observation),
            trouble,
            notes,
            stepped,
        }
    }

    async fn change(
        &mut self,
        plan: &K::Plan,
        notes: &mut Vec<Note>,
        complaints: &mut Vec<Complaint>,
        stepped: &mut bool,
    ) -> Result<(), Trouble> {
        notes.extend(secret::keep_in_order(self, Care::Full).await?);
        let mut children = K::build(plan);
        if self.object.data_goes() {
            children.bind();
        }
        let live = self.cx.index.of(&self.key());
        let applier = Applier::of(self);
        if self.known && self.misses(&children, &live) {
            retention::is_there(self).await?;
        }
        let mut done = applier.apply(&children, &live, &mut self.memory).await?;
        notes.extend(
            done.repaired
                .drain(..)
                .map(|what| Note::warning(EventReason::Repaired, what)),
        );
        let rolled =
            |(what, why): (String, Why)| Note::normal(why, format!("rolls {what}: {}", why_words(why)));
        notes.extend(done.rolled.drain(..).map(rolled));
        // A claim that may not grow stands in nobody's way.
        complaints.append(&mut done.complaints);
        let pruned = applier.prune(&children, K::CHILDREN, &live).await?;
        notes.extend(
            pruned
                .into_iter()
                .map(|what| Note::normal(EventReason::Pruned, what)),
        );
        if let Some(step) = K::step(plan, &self.cx.index.of(&self.key())) {
            if applier.step(children.owner(), &step).await? {
                notes.push(note_of(&step));
            }
            *stepped = true;
        }
        Ok(())
    }

    /// Whether children are missing that were there before, as far as this process can tell.
    fn misses(&self, children: &Children, live: &Live) -> bool {
        let applied = &self.memory.applied;
        let mut missing = children
            .iter()
            .filter(|child| live.get(child.kind, &child.name).is_none());
        missing.any(|child| applied.is_empty() || applied.has(child.kind, &child.name))
    }

    /// Status, events, and when to look again.
    async fn conclude(&mut self, outcome: Outcome) -> Result<Option<Remedy>, Trouble> {
        let Outcome {
            mut observation,
            trouble,
            mut notes,
            stepped,
        } = outcome;
        if trouble.is_none()
            && let Some(facts) = &mut observation
        {
            suspects::ask(self, facts).await;
        }
        let complaint = trouble.as_ref().map(Trouble::complaint);
        let trouble = match trouble {
            Some(trouble @ Trouble::Api(_)) if !self.must_be_told(observation.as_ref()) => {
                return Err(trouble);
            }
            trouble => trouble,
        };
        let verdict = match (complaint, &observation) {
            (Some(complaint), _) => Verdict::of(complaint),
            (None, Some(facts)) => Verdict::from_facts(facts),
            (None, None) => Verdict::Progressing,
        };
        let conditions = self.conditions(&verdict);
        let handled = self.requested();
        let members = observation.as_ref().map(|facts| &facts.status);
        let wanted = status::body(
            &self.status_before(),
            members,
            &conditions,
            self.generation,
            handled.as_deref(),
        );
        self.write_status(wanted).await?;
        notes.extend(self.transition(&verdict));
        event::publish(self.cx, &self.owner, &notes).await;
        match trouble {
            Some(trouble) => Err(trouble),
            None if verdict.is_ready() && !stepped => Ok(None),
            None => Ok(Some(Remedy::Other)),
        }
    }

    /// Whether trouble with the API server is told at once. Most of it heals at the next try, and a status that flaps tells nothing; but a status
    /// that says Ready while the children that are there do not is wrong now.
    fn must_be_told(&self, observation: Option<&Observation>) -> bool {
        let lasts = self
            .memory
            .unsettled
            .is_some_and(|held| held.remedy == Remedy::Time && held.since.elapsed() >= PATIENCE);
        let says_ready = conditions_in(&self.status_before())
            .iter()
            .any(|held| held.type_ == "Ready" && held.status == "True");
        let is_ready = observation.is_none_or(|facts| Verdict::from_facts(facts).is_ready());
        lasts || (says_ready && !is_ready)
    }

    /// No child is written; certificates are renewed and the status goes on.
    async fn suspended(&mut self) -> Result<Option<Remedy>, Trouble> {
        let went = retention::goes(self);
        let owed = self.look_after().await;
        let told = retention::told(went, retention::goes(self), &self.owner);
        let observation = self.observed().await;
        let common = self.object.common();
        let conditions = status::suspended(self.generation, common.conditions, &Time((self.cx.now)()));
        let handled = self.requested();
        let members = observation.as_ref().map(|facts| &facts.status);
        let wanted = status::body(
            &self.status_before(),
            members,
            &conditions,
            self.generation,
            handled.as_deref(),
        );
        self.write_status(wanted).await?;
        event::publish(self.cx, &self.owner, told.as_slice()).await;
        owed.map(|()| None)
    }

    /// What goes on where no child is written: certificates that are there are renewed, and data goes with the object or outlives it as that says.
    async fn look_after(&mut self) -> Result<(), Trouble> {
        // What is renewed because its time has come is nobody's edit: there is nothing to tell.
        let renewed = secret::keep_in_order(self, Care::Renew).await.map(drop);
        retention::follow(self).await.and(renewed)
    }

    /// The facts, where the spec can be planned. One that cannot is not said to be wrong before anything is done with it again.
    async fn observed(&self) -> Option<Observation> {
        let live = self.cx.index.of(&self.key());
        let reader = Reader::new(self.cx, &self.owner, live.clone());
        let inputs = self.object.dereference(&reader).await.ok()?;
        let plan = self.object.validate(inputs, &self.cx.releases).ok()?;
        Some(K::observe(&plan, &live))
    }

    /// An event for a verdict that is not the one of the last pass.
    fn transition(&mut self, verdict: &Verdict) -> Option<Note> {
        let says = (verdict.reason().to_string(), verdict.message().to_owned());
        let before = self
            .object
            .common()
            .conditions
            .iter()
            .find(|held| held.type_ == "Ready");
        let known = self
            .memory
            .last_event
            .clone()
            .or_else(|| before.map(|held| (held.reason.clone(), held.message.clone())));
        self.memory.last_event = Some(says.clone());
        if known.as_ref() == Some(&says) || matches!(verdict, Verdict::Progressing) {
            return None;
        }
        let message = says.1;
        Some(if verdict.is_ready() {
            Note::normal(verdict.reason(), message)
        } else {
            Note::warning(verdict.reason(), message)
        })
    }

    /// Whether the object has not been ready for longer than it usually takes.
    #[must_use]
    pub fn waits_long(&self) -> bool {
        suspects::waits_long(&conditions_in(&self.status_before()), (self.cx.now)())
    }

    fn conditions(&self, verdict: &Verdict) -> Vec<Condition> {
        let before = conditions_in(&self.status_before());
        status::conditions(verdict, self.generation, &before, &Time((self.cx.now)()))
    }

    /// The status as the store has it, or as we sent it last where the store does not show that yet.
    fn status_before(&self) -> Value {
        let shown = version(self.object.meta().resource_version.as_deref());
        match &self.memory.status {
            Some(sent) if sent.resource_version > shown => Value::Object(sent.status.clone()),
            _ => serde_json::to_value(self.object)
                .ok()
                .and_then(|mut object| object.get_mut("status").map(Value::take))
                .unwrap_or(Value::Null),
        }
    }

    async fn write_status(&mut self, wanted: Map<String, Value>) -> Result<(), Trouble> {
        if status::says(&self.status_before(), &wanted) {
            return Ok(());
        }
        debug!(kind = K::KIND, name = self.owner.name, "status changes");
        self.memory.status = send_status(self.cx, &K::api_resource(), &self.owner, wanted).await?;
        Ok(())
    }

    /// Value of `mim.city/requestedAt`, echoed when the pass has ended; as much of it as the status takes.
    #[must_use]
    pub fn requested(&self) -> Option<String> {
        let requested = self.object.annotations().get(annotation::REQUESTED_AT)?;
        Some(bound::cut(requested, bound::HANDLED_REQUEST))
    }

    /// The key of the object's children.
    #[must_use]
    pub fn key(&self) -> OwnerKey {
        OwnerKey {
            kind: K::KIND.to_owned(),
            namespace: self.owner.namespace.clone(),
            name: self.owner.name.clone(),
        }
    }
}

fn observed(status: &Value) -> Option<i64> {
    status.get("observedGeneration").and_then(Value::as_i64)
}

fn note_of(step: &Step) -> Note {
    let (verb, kind, name, why) = match step {
        Step::Create { kind, body, why } => (
            "made",
            kind,
            body.pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            why,
        ),
        Step::Delete { kind, name, why, .. } => ("deleted", kind, name.as_str(), why),
    };
    let message = format!("{verb} {} {name}: {}", kind.name(), why_words(*why));
    Note::normal(*why, message)
}

const fn why_words(why: Why) -> &'static str {
    match why {
        Why::Preflight => "it proves that the new template can start before the running pod is deleted",
        Why::PreflightOver => "its work is done",
        Why::ReleaseChanged => "the release has changed",
        Why::ResourcesChanged => "requests or limits have changed",
        Why::PodTemplateChanged => "the pod template has changed",
        Why::RestartRequested => "a restart was requested",
        Why::StuckOnOldTemplate => "it is not ready, and its template is not the newest",
        Why::DataLossAccepted => "the loss of the data was accepted",
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
