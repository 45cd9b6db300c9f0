//! UrbanDataPlatform: the components of one city, and the sum of what they tell. The wiring, on one screen.

pub mod build;
pub mod mims;
pub mod observe;
pub mod plan;
pub mod validate;

use mim_crds::UrbanDataPlatform;

use crate::reconcile::child::{ChildKind, Children, Owner};
use crate::reconcile::kind::{Common, Kind, Observation};
use crate::reconcile::live::Live;
use crate::reconcile::reader::Reader;
use crate::reconcile::trouble::{Missing, Refusal};
use crate::release::Releases;

impl Kind for UrbanDataPlatform {
    /// A platform names nothing that has to be read: its components do.
    type Inputs = Owner;
    type Plan = plan::Plan;

    const KIND: &'static str = "UrbanDataPlatform";
    const AS_CHILD: Option<ChildKind> = None;
    const CHILDREN: &'static [ChildKind] = &[ChildKind::ContextBroker];

    fn common(&self) -> Common<'_> {
        let status = self.status.as_ref();
        Common {
            // Suspension is passed on to the components; the platform itself goes on telling their sum.
            suspend: false,
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
        Ok(reader.owner().clone())
    }

    fn validate(&self, inputs: Self::Inputs, releases: &Releases) -> Result<Self::Plan, Refusal> {
        validate::validate(self, inputs, releases)
    }

    fn build(plan: &Self::Plan) -> Children {
        build::build(plan)
    }

    fn observe(plan: &Self::Plan, live: &Live) -> Observation {
        observe::observe(plan, live)
    }
}
