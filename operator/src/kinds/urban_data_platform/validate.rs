//! Says no, with a field path and what to write instead, or gives a plan that cannot be wrong.

use kube::ResourceExt;
use mim_crds::{Engine, Profile as ProfileField, Reason, UrbanDataPlatform, annotation};

use super::plan::{Plan, Profile};
use crate::reconcile::child::Owner;
use crate::reconcile::trouble::Refusal;
use crate::release::Releases;

/// The plan, or the refusal.
pub fn validate(platform: &UrbanDataPlatform, owner: Owner, releases: &Releases) -> Result<Plan, Refusal> {
    let spec = &platform.spec;
    let recorded = platform
        .status
        .as_ref()
        .and_then(|status| status.release.as_deref());
    let release = releases
        .choose(spec.release.as_deref(), recorded)
        .map_err(|error| Refusal {
            reason: error.reason(),
            path: "spec.release".into(),
            message: error.to_string(),
        })?;
    if let Some(Engine::Unknown(name)) = spec.broker.as_ref().map(|broker| &broker.engine) {
        return Err(Refusal {
            reason: Reason::InvalidSpec,
            path: "spec.broker.engine".into(),
            message: format!(
                "{name} is no engine of this operator: write Native or External, or upgrade the operator"
            ),
        });
    }
    Ok(Plan {
        owner,
        release: release.name.clone(),
        profile: profile(&spec.profile)?,
        deletion_policy: spec.deletion_policy(),
        suspend: spec.suspend,
        broker: spec.broker.clone(),
        deletion_confirmed: platform.annotations().get(annotation::CONFIRM_DELETION)
            == Some(&platform.name_any()),
        restarted_at: platform.annotations().get(annotation::RESTARTED_AT).cloned(),
        requested_at: platform.annotations().get(annotation::REQUESTED_AT).cloned(),
    })
}

fn profile(field: &ProfileField) -> Result<Profile, Refusal> {
    match field {
        ProfileField::Oasc2022 => Ok(Profile::Oasc2022),
        ProfileField::MimsPlus90 => Ok(Profile::MimsPlus90),
        ProfileField::Unknown(name) => Err(Refusal {
            reason: Reason::InvalidSpec,
            path: "spec.profile".into(),
            message: format!(
                "{name} is no profile of this operator: write oasc-2022 or mims-plus-9.0, or upgrade the operator"
            ),
        }),
    }
}
