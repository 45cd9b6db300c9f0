//! One pass over one object, for any kind.
//!
//! guard → dereference → validate → hold, where something is kept elsewhere → acknowledge a new generation → secrets → build → apply → prune → step →
//! errand → observe → status. Every way out ends in the status; nothing waits but for the API server.

mod conclude;
mod leave;
mod run;

use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use mim_crds::{EventReason, Reason, annotation, bound};

use super::apply::{Applied, Applier};
use super::child::{Children, Owner};
use super::context::Context;
use super::event::{self, Note};
use super::kind::{Complaint, Kind, Observation, Step, Why};
use super::live::{Live, OwnerKey};
use super::memory::Memory;
use super::reader::Reader;
use super::remote::Errand;
use super::retry::Remedy;
use super::secret::Care;
use super::status;
use super::trouble::Trouble;
use super::{retention, secret, suspects};
use conclude::{conditions_in, observed};

pub use run::{PASS_LIMIT, run};

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
    /// When it started.
    pub started: Instant,
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

impl<K: Kind> Pass<'_, K> {
    async fn go(&mut self) -> Result<Option<Remedy>, Trouble> {
        let contest = self.memory.contest.take();
        if self.object.meta().deletion_timestamp.is_some() {
            return self.leave().await;
        }
        let asked = (self.generation, self.object.data_goes(), self.requested());
        self.memory.bucket.ask(&asked);
        if self.object.common().suspend {
            return self.suspended().await;
        }
        let went = retention::goes(self);
        let mut outcome = self.work(contest).await;
        let mut owed = None;
        if outcome.observation.is_none() {
            // The spec is refused, what it names is missing, or the namespace lets nothing be done: no child is written, and nothing elsewhere.
            owed = self.look_after().await.err();
            let nothing = |trouble: &Trouble| {
                matches!(
                    trouble,
                    Trouble::Refused(_) | Trouble::Missing(_) | Trouble::NotOnboarded { .. }
                )
            };
            if outcome.trouble.as_ref().is_some_and(nothing) {
                self.cx.errands.forget(&self.owner.uid);
            }
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
        let facts = K::observe(plan, live);
        let conditions = self.conditions(&self.on_its_way(&facts));
        let handled = common.handled_request.map(str::to_owned);
        let wanted = status::body(
            &self.status_before(),
            Some(&facts.status),
            &conditions,
            self.generation,
            handled.as_deref(),
        );
        self.write_status(wanted).await
    }

    /// `contest`: what the last pass has told of one.
    async fn work(&mut self, contest: Option<Complaint>) -> Outcome {
        if self.memory.guarded != Some(self.generation) {
            if let Some(refusal) = self.object.guard().into_iter().next() {
                return Outcome::of(refusal.into());
            }
            self.memory.guarded = Some(self.generation);
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
        let errand = K::errand(&plan);
        if errand.is_some()
            && let Err(trouble) = self.hold().await
        {
            return Outcome::of(trouble);
        }
        if let Err(trouble) = self.acknowledge(&plan, &live).await {
            return Outcome::of(trouble);
        }
        self.carry_out(&plan, errand, contest).await
    }

    async fn carry_out(
        &mut self,
        plan: &K::Plan,
        errand: Option<Errand>,
        before: Option<Complaint>,
    ) -> Outcome {
        let mut done = Done::default();
        let mut trouble = self.change(plan, &mut done).await.err();
        if let Some(errand) = errand.filter(|_| trouble.is_none()) {
            done.notes.extend(self.entrust(errand));
        }
        if trouble.is_none() && self.memory.bucket.is_empty(self.started) {
            trouble = done
                .contest
                .take()
                .or_else(|| before.clone())
                .map(Trouble::Contest);
        }
        // What our own writes have shown is in the index by now.
        let live = self.cx.index.of(&self.key());
        let mut observation = K::observe(plan, &live);
        if let Some(Trouble::Contest(now)) = &mut trouble {
            *now = words_of_contest(before, now.clone(), observation.complaints.first());
            self.memory.contest = Some(now.clone());
        }
        done.complaints.append(&mut observation.complaints);
        observation.complaints = done.complaints;
        let told = &mut self.memory.told;
        done.notes.retain_mut(|note| {
            let untold = told.again(note, self.started);
            note.add_untold(untold.unwrap_or(0));
            untold.is_some()
        });
        Outcome {
            observation: Some(observation),
            trouble,
            notes: done.notes,
            stepped: done.stepped,
        }
    }

    async fn change(&mut self, plan: &K::Plan, done: &mut Done) -> Result<(), Trouble> {
        done.notes.extend(secret::keep_in_order(self, Care::Full).await?);
        let mut children = K::build(plan);
        if self.object.data_goes() {
            children.bind();
        }
        let live = self.cx.index.of(&self.key());
        let applier = Applier::of(self);
        if self.known && self.misses(&children, &live) {
            retention::is_there(self).await?;
        }
        let mut changed = Applied::default();
        let ended = applier
            .apply(&children, &live, &mut self.memory, &mut changed)
            .await;
        done.add(changed);
        ended?;
        let pruned = applier
            .prune(&children, K::CHILDREN, &live, &mut self.memory)
            .await?;
        done.notes.extend(
            pruned
                .into_iter()
                .map(|what| Note::normal(EventReason::Pruned, what)),
        );
        retention::follow(self).await?;
        if let Some(step) = K::step(plan, &self.cx.index.of(&self.key())) {
            done.stepped = true;
            if !self.memory.bucket.may(self.started) {
                return Err(Trouble::Contest(in_vain(&step)));
            }
            if applier.step(children.owner(), &step).await? {
                done.notes.push(note_of(&step));
            }
            self.memory.bucket.take(self.started);
            done.contest.get_or_insert_with(|| in_vain(&step));
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

    /// No child is written; certificates are renewed and the status goes on.
    async fn suspended(&mut self) -> Result<Option<Remedy>, Trouble> {
        let went = retention::goes(self);
        let owed = self.look_after().await;
        let told = retention::told(went, retention::goes(self), &self.owner);
        let observation = self.observed().await;
        let common = self.object.common();
        let conditions = status::suspended(self.generation, common.conditions, &Time((self.cx.now)()));
        let said = self.say(observation.as_ref(), &conditions).await;
        event::publish(self.cx, &self.owner, told.as_slice()).await;
        said.and(owed).map(|()| None)
    }

    /// What goes on where no child is written: certificates that are there are renewed, and data goes with the object or outlives it as that says.
    async fn look_after(&mut self) -> Result<(), Trouble> {
        // What is renewed because its time has come is nobody's edit: there is nothing to tell.
        let renewed = secret::keep_in_order(self, Care::Renew).await.map(drop);
        retention::follow(self).await.and(renewed)
    }

    /// The facts, where the spec can be planned. One that cannot is not said to be wrong before anything is done with it again. What is kept elsewhere
    /// is looked at, and not changed.
    async fn observed(&mut self) -> Option<Observation> {
        let live = self.cx.index.of(&self.key());
        let reader = Reader::new(self.cx, &self.owner, live.clone());
        let inputs = self.object.dereference(&reader).await.ok()?;
        let plan = self.object.validate(inputs, &self.cx.releases).ok()?;
        if let Some(errand) = K::errand(&plan) {
            self.entrust(errand.only_looking());
        }
        Some(K::observe(&plan, &live))
    }

    /// Whether the object has not been ready for longer than it usually takes.
    #[must_use]
    pub fn waits_long(&self) -> bool {
        suspects::waits_long(&conditions_in(&self.status_before()), (self.cx.now)())
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

/// What one pass has done to children.
#[derive(Default)]
struct Done {
    notes: Vec<Note>,
    complaints: Vec<Complaint>,
    /// What to tell if it was one write too many.
    contest: Option<Complaint>,
    stepped: bool,
}

impl Done {
    fn add(&mut self, applied: Applied) {
        let repaired = applied.repaired.into_iter();
        self.notes
            .extend(repaired.map(|what| Note::warning(EventReason::Repaired, what)));
        let rolled = applied.rolled.into_iter();
        self.notes
            .extend(rolled.map(|(what, why)| Note::normal(why, format!("rolls {what}: {}", why_words(why)))));
        // A claim that may not grow stands in nobody's way.
        self.complaints.extend(applied.complaints);
        self.contest = applied.contest;
    }
}

/// What is told of a contest: what was told at its start, so that its status is written once. Why a step leads nowhere is told by the part itself,
/// from the moment that it does; and what only the user can heal comes before everything, for as long as it is so.
fn words_of_contest(before: Option<Complaint>, now: Complaint, part: Option<&Complaint>) -> Complaint {
    let words = before.filter(|before| !before.terminal).unwrap_or(now);
    match part {
        Some(part) if part.terminal || words.reason != Reason::Contested => part.clone(),
        _ => words,
    }
}

/// What is told of a step that has to be taken more often than the bucket has tokens.
fn in_vain(step: &Step) -> Complaint {
    let (Step::Create { kind, .. } | Step::Delete { kind, .. }) = step;
    Complaint {
        reason: Reason::NotReady,
        message: format!(
            "{} {} is made and deleted again and again, and does not become ready",
            kind.name(),
            step.name()
        ),
        terminal: false,
    }
}

fn note_of(step: &Step) -> Note {
    let (verb, kind, why) = match step {
        Step::Create { kind, why, .. } => ("made", kind, why),
        Step::Delete { kind, why, .. } => ("deleted", kind, why),
    };
    let message = format!("{verb} {} {}: {}", kind.name(), step.name(), why_words(*why));
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
