//! What a kind brings: four functions, of which only the first may wait.

use std::fmt::Debug;
use std::future::Future;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mim_crds::{EventReason, Reason};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::child::{Child, ChildKind, Children, Owner};
use super::event::Note;
use super::live::{Live, Seen};
use super::reader::Reader;
use super::remote::Errand;
use super::secret::Generated;
use super::trouble::{Missing, Refusal};
use crate::release::Releases;

/// A kind of ours. Apply, prune, status, retry, lease, metrics and events belong to the pass.
pub trait Kind:
    kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + DeserializeOwned
    + Serialize
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
    /// What the spec names, as read.
    type Inputs: Send;
    /// A value that cannot be wrong: parsed, defaulted, cross-checked.
    type Plan: Send + Sync;

    /// Kind, as in manifests.
    const KIND: &'static str;
    /// The same as a child of another kind of ours, where it can be one.
    const AS_CHILD: Option<ChildKind>;
    /// Kinds of children, for prune: what is never built is never looked for.
    const CHILDREN: &'static [ChildKind];

    /// Held on an object of the kind from before its first errand on, until what that has made is gone again.
    const FINALIZER: Option<&'static str> = None;

    /// As kube describes the resource.
    #[must_use]
    fn api_resource() -> kube::api::ApiResource {
        kube::api::ApiResource::erase::<Self>(&())
    }

    /// The members of spec and status that every kind has.
    fn common(&self) -> Common<'_>;

    /// The rules of the schema, once more: an object may be older than its rules.
    fn guard(&self) -> Vec<Refusal>;

    /// Reads what the spec names. The reader is bound to this object's namespace, so invariant 6 holds by construction.
    fn dereference(&self, reader: &Reader) -> impl Future<Output = Result<Self::Inputs, Missing>> + Send;

    /// Says no here, with a field path and what to write instead, or never.
    fn validate(&self, inputs: Self::Inputs, releases: &Releases) -> Result<Self::Plan, Refusal>;

    /// What must exist. Pure, infallible, same bytes for the same plan.
    fn build(plan: &Self::Plan) -> Children;

    /// Secrets that are generated once and looked after by name. They follow from the object alone: certificates are renewed also where the
    /// spec is refused.
    fn generated(&self, _owner: &Owner) -> Vec<Generated> {
        Vec::new()
    }

    /// One effect that the order of things asks for and apply cannot express (delete a pod on an old template). Called after apply;
    /// what it does is a state that the next pass can read.
    fn step(_plan: &Self::Plan, _live: &Live) -> Option<Step> {
        None
    }

    /// Why applying this body over a child that was seen makes pods start anew; `None`: it does not.
    #[must_use]
    fn roll(_child: &Child, _seen: &Seen) -> Option<Why> {
        None
    }

    /// What has to be brought about outside Kubernetes ([`super::remote::Remote`]). Called after apply, again and again; what was found last is in the
    /// inputs ([`Reader::finding`]).
    fn errand(_plan: &Self::Plan) -> Option<Errand> {
        None
    }

    /// What has to be done outside Kubernetes before the object may go. Asked only where [`Self::FINALIZER`] is held.
    fn leave(&self, _reader: &Reader) -> impl Future<Output = Result<Leaving, Missing>> + Send {
        std::future::ready(Ok(Leaving::Free(None)))
    }

    /// What the newest Warning event of a part that is not ready comes to, where the kind knows more than the words of the event.
    #[must_use]
    fn explain(suspect: &Suspect, words: String) -> (Reason, String) {
        (suspect.reason, words)
    }

    /// What is true, from children as the API server last showed them.
    fn observe(plan: &Self::Plan, live: &Live) -> Observation;

    /// The children that outlive the object, beside its [`Self::generated`] Secrets.
    fn kept(&self) -> Vec<(ChildKind, String)> {
        Vec::new()
    }

    /// Whether these and the Secrets go with the object all the same: that was asked for, and confirmed.
    fn data_goes(&self) -> bool {
        false
    }
}

/// What has to be done before an object may go.
#[derive(Debug)]
pub enum Leaving {
    /// Nothing, or nothing that can be done; with what is to be told of it.
    Free(Option<Note>),
    /// This errand first, and what keeps it from its end.
    First(Errand, Option<Complaint>),
}

/// The members of spec and status that every kind has.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// `spec.suspend`
    pub suspend: bool,
    /// `status.observedGeneration`; -1 before the first pass.
    pub observed_generation: i64,
    /// `status.conditions`
    pub conditions: &'a [Condition],
    /// `status.lastHandledRequestedAt`
    pub handled_request: Option<&'a str>,
}

/// Something that has to be ready before the object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As a user finds it, by kind and name: `StatefulSet vienna-database`.
    pub what: String,
    /// Whether it is: all of it, of the newest template.
    pub ready: bool,
}

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// From the closed enum.
    pub reason: Reason,
    /// What, where, and what to do next.
    pub message: String,
    /// Whether nothing but a change by the user heals it.
    pub terminal: bool,
}

/// Facts about one object; [`super::status`] turns them into conditions.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What has to be ready.
    pub parts: Vec<Part>,
    /// What is wrong, worst first.
    pub complaints: Vec<Complaint>,
    /// Pods whose newest Warning event may tell why a part is not ready.
    pub suspects: Vec<Suspect>,
    /// Reason and message of Ready=True.
    pub when_ready: Option<(Reason, String)>,
    /// The kind's own members of the status.
    pub status: Map<String, Value>,
}

/// A child whose events are worth reading while the object is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// The reason to give for what its events say.
    pub reason: Reason,
}

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Makes an object that must not exist yet.
    Create {
        /// Its kind.
        kind: ChildKind,
        /// The whole object.
        body: Value,
        /// For event and log.
        why: Why,
    },
    /// Deletes an object, with its uid as precondition.
    Delete {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// The precondition.
        uid: String,
        /// For event and log.
        why: Why,
    },
}

impl Step {
    /// Name of the object that it makes or deletes.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Create { body, .. } => body
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            Self::Delete { name, .. } => name,
        }
    }
}

/// Why a step is taken: every restart of an operand has one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// A pod that proves the new template can start, before the running one is deleted.
    Preflight,
    /// The preflight pod has done its work, or is of an older template.
    PreflightOver,
    /// The release of the spec has changed.
    ReleaseChanged,
    /// Resource requests or limits have changed.
    ResourcesChanged,
    /// Where or how pods run has changed (podTemplate).
    PodTemplateChanged,
    /// `mim.city/restartedAt` has changed.
    RestartRequested,
    /// The pod is not ready and its template is not the newest: it can only get better.
    StuckOnOldTemplate,
    /// The loss of the data was accepted; the record of its identity goes.
    DataLossAccepted,
}

impl From<Why> for EventReason {
    fn from(why: Why) -> Self {
        match why {
            Why::Preflight => Self::Preflight,
            Why::PreflightOver => Self::PreflightOver,
            Why::ReleaseChanged => Self::ReleaseChanged,
            Why::ResourcesChanged => Self::ResourcesChanged,
            Why::PodTemplateChanged => Self::PodTemplateChanged,
            Why::RestartRequested => Self::RestartRequested,
            Why::StuckOnOldTemplate => Self::StuckOnOldTemplate,
            Why::DataLossAccepted => Self::DataLossAccepted,
        }
    }
}
