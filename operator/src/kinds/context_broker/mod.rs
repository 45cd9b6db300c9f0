//! ContextBroker: a broker with its database, or a look at somebody else's. The wiring, on one screen.

pub mod build;
pub mod dereference;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod rollout;
pub mod validate;

use kube::ResourceExt;
use mim_crds::{ContextBroker, DeletionPolicy, Engine, Reason, annotation};

use crate::reconcile::child::{Child, ChildKind, Children, Owner};
use crate::reconcile::kind::{Common, Kind, Observation, Step, Suspect, Why};
use crate::reconcile::live::{Live, Seen};
use crate::reconcile::peers::Host;
use crate::reconcile::reader::Reader;
use crate::reconcile::secret::Generated;
use crate::reconcile::trouble::{Missing, Refusal};
use crate::release::Releases;

impl Host for ContextBroker {
    fn lets_in(&self, namespace: &str) -> bool {
        self.spec.allows(namespace)
    }
}

impl Kind for ContextBroker {
    type Inputs = dereference::Inputs;
    type Plan = plan::Plan;

    const KIND: &'static str = "ContextBroker";
    const AS_CHILD: Option<ChildKind> = Some(ChildKind::ContextBroker);
    const CHILDREN: &'static [ChildKind] = &[
        ChildKind::ServiceAccount,
        ChildKind::ConfigMap,
        ChildKind::NetworkPolicy,
        ChildKind::Service,
        ChildKind::PodDisruptionBudget,
        ChildKind::StatefulSet,
        ChildKind::Deployment,
    ];

    fn common(&self) -> Common<'_> {
        let status = self.status.as_ref();
        Common {
            suspend: self.spec.suspend,
            observed_generation: status.and_then(|status| status.observed_generation).unwrap_or(-1),
            conditions: status
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default(),
            handled_request: status.and_then(|status| status.last_handled_requested_at.as_deref()),
        }
    }

    fn guard(&self) -> Vec<Refusal> {
        super::guard(mim_crds::validate(self, None))
    }

    async fn dereference(&self, reader: &Reader<'_>) -> Result<Self::Inputs, Missing> {
        dereference::read(self, reader).await
    }

    fn validate(&self, inputs: Self::Inputs, releases: &Releases) -> Result<Self::Plan, Refusal> {
        validate::validate(self, inputs, releases)
    }

    fn build(plan: &Self::Plan) -> Children {
        build::build(plan)
    }

    fn generated(&self, owner: &Owner) -> Vec<Generated> {
        if self.spec.engine != Engine::Native {
            return Vec::new();
        }
        let is_managed = self.spec.managed_storage().is_some();
        let tenants = is_managed.then_some(self.spec.tenants.as_slice());
        build::generated(owner, &validate::part_of(self), tenants)
    }

    fn step(plan: &Self::Plan, live: &Live) -> Option<Step> {
        rollout::step(plan, live)
    }

    fn roll(child: &Child, seen: &Seen) -> Option<Why> {
        rollout::of_broker(child, seen)
    }

    fn observe(plan: &Self::Plan, live: &Live) -> Observation {
        observe::observe(plan, live)
    }

    fn explain(suspect: &Suspect, words: String) -> (Reason, String) {
        match suspect.reason {
            Reason::DatabaseNotReady => observe::explained(&suspect.name, words),
            reason => (reason, words),
        }
    }

    fn kept(&self) -> Vec<(ChildKind, String)> {
        let child = |component: &str| format!("{}-{component}", self.name_any());
        vec![
            (ChildKind::ConfigMap, child("database-identity")),
            (ChildKind::PersistentVolumeClaim, child("database")),
        ]
    }

    fn data_goes(&self) -> bool {
        self.spec.deletion_policy() == DeletionPolicy::Delete
            && self.annotations().get(annotation::CONFIRM_DELETION) == Some(&self.name_any())
            && self.spec.managed_storage().is_some()
    }
}
