//! The end of every pass: what it came to, in the status and in events.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::ApiResource;
use serde_json::{Map, Value, json};
use tracing::debug;

use super::{Outcome, Pass};
use crate::reconcile::child::Owner;
use crate::reconcile::context::Context;
use crate::reconcile::event::{self, Note};
use crate::reconcile::kind::{Kind, Observation};
use crate::reconcile::live::version_of;
use crate::reconcile::memory::SentStatus;
use crate::reconcile::retry::Remedy;
use crate::reconcile::status::{self, Verdict};
use crate::reconcile::suspects;
use crate::reconcile::trouble::{Asked, Trouble};

/// How long the API server may answer in error before the status says so, where nothing else is known to be wrong.
const PATIENCE: Duration = Duration::from_secs(10);

impl<K: Kind> Pass<'_, K> {
    /// Status, events, and when to look again. What was done is told also where the status cannot be written.
    pub(super) async fn conclude(&mut self, mut outcome: Outcome) -> Result<Option<Remedy>, Trouble> {
        let mut notes = std::mem::take(&mut outcome.notes);
        let ended = self.come_to(outcome, &mut notes).await;
        event::publish(self.cx, &self.owner, &notes).await;
        ended
    }

    async fn come_to(&mut self, outcome: Outcome, notes: &mut Vec<Note>) -> Result<Option<Remedy>, Trouble> {
        let Outcome {
            mut observation,
            trouble,
            stepped,
            ..
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
            (None, Some(facts)) => match Verdict::from_facts(facts) {
                Verdict::Progressing => self.on_its_way(facts),
                told => told,
            },
            (None, None) => Verdict::Progressing,
        };
        let conditions = self.conditions(&verdict);
        if verdict == Verdict::Progressing {
            self.memory.name_at = status::named_at(&conditions);
        }
        self.say(observation.as_ref(), &conditions).await?;
        notes.extend(self.transition(&verdict));
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
        if known.as_ref() == Some(&says) || matches!(verdict, Verdict::Progressing | Verdict::Waiting(_)) {
            return None;
        }
        let message = says.1;
        Some(if verdict.is_ready() {
            Note::normal(verdict.reason(), message)
        } else {
            Note::warning(verdict.reason(), message)
        })
    }

    /// Of an object on its way: what it waits for is named once that has lasted.
    pub(super) fn on_its_way(&self, facts: &Observation) -> Verdict {
        let before = conditions_in(&self.status_before());
        Verdict::on_its_way(&facts.parts, &before, (self.cx.now)())
    }

    pub(super) fn conditions(&self, verdict: &Verdict) -> Vec<Condition> {
        let before = conditions_in(&self.status_before());
        status::conditions(verdict, self.generation, &before, &Time((self.cx.now)()))
    }

    /// The status as the store has it, or as we sent it last where the store does not show that yet.
    pub(super) fn status_before(&self) -> Value {
        let shown = version_of(self.object.meta());
        match &self.memory.status {
            Some(sent) if sent.resource_version > shown => Value::Object(sent.status.clone()),
            _ => serde_json::to_value(self.object)
                .ok()
                .and_then(|mut object| object.get_mut("status").map(Value::take))
                .unwrap_or(Value::Null),
        }
    }

    /// Writes what a pass has come to: facts, conditions, the request that it has handled.
    pub(super) async fn say(
        &mut self,
        observation: Option<&Observation>,
        conditions: &[Condition],
    ) -> Result<(), Trouble> {
        let handled = self.requested();
        let members = observation.map(|facts| &facts.status);
        let wanted = status::body(
            &self.status_before(),
            members,
            conditions,
            self.generation,
            handled.as_deref(),
        );
        self.write_status(wanted).await
    }

    pub(super) async fn write_status(&mut self, wanted: Map<String, Value>) -> Result<(), Trouble> {
        if status::says(&self.status_before(), &wanted) {
            return Ok(());
        }
        debug!(kind = K::KIND, name = self.owner.name, "status changes");
        self.memory.status = send_status(self.cx, &K::api_resource(), &self.owner, wanted).await?;
        Ok(())
    }
}

pub(super) fn observed(status: &Value) -> Option<i64> {
    status.get("observedGeneration").and_then(Value::as_i64)
}

pub(super) fn conditions_in(status: &Value) -> Vec<Condition> {
    status
        .get("conditions")
        .and_then(|held| serde_json::from_value(held.clone()).ok())
        .unwrap_or_default()
}

/// Sends a status, and remembers it with the version that shows it.
pub(super) async fn send_status(
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
            resource_version: version_of(&answer.metadata),
            status,
        })),
        // Gone: there is nobody to tell.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(None),
        Err(error) => Err(Trouble::of(error, Asked::from(owner))),
    }
}
