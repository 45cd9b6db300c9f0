//! ContextSubscription: a subscription in a broker, kept as the object says. The wiring, on one screen.

pub mod dereference;
pub mod observe;
pub mod plan;
pub mod remote;
pub mod validate;

use mim_crds::ContextSubscription;

use crate::reconcile::child::{ChildKind, Children};
use crate::reconcile::kind::{Common, Kind, Leaving, Observation};
use crate::reconcile::live::Live;
use crate::reconcile::reader::Reader;
use crate::reconcile::remote::{Errand, Remote};
use crate::reconcile::trouble::{Missing, Refusal};
use crate::release::Releases;

impl Kind for ContextSubscription {
    type Inputs = dereference::Inputs;
    type Plan = plan::Plan;

    const KIND: &'static str = "ContextSubscription";
    const AS_CHILD: Option<ChildKind> = None;
    /// What it becomes is in a broker.
    const CHILDREN: &'static [ChildKind] = &[];
    const FINALIZER: Option<&'static str> = Some(mim_crds::context_subscription::FINALIZER);

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

    fn validate(&self, inputs: Self::Inputs, _: &Releases) -> Result<Self::Plan, Refusal> {
        validate::validate(self, inputs)
    }

    fn build(plan: &Self::Plan) -> Children {
        Children::new(plan.owner.clone())
    }

    fn errand(plan: &Self::Plan) -> Option<Errand> {
        let wanted = remote::Subscriptions::wanted(plan);
        let errand = Errand::new::<remote::Subscriptions>(wanted, plan.recorded.written.clone(), &plan.nudge);
        Some(errand)
    }

    async fn leave(&self, reader: &Reader<'_>) -> Result<Leaving, Missing> {
        dereference::leave(self, reader).await
    }

    fn observe(plan: &Self::Plan, _: &Live) -> Observation {
        observe::observe(plan)
    }
}
