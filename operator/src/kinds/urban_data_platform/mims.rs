//! Which MIMs a stack serves: tables, one per edition, from which the rows of the status are made.
//!
//! A row tells what the stack provides, and is no statement of conformance. Numbers mean other things in other editions: MIM8 is
//! indicators in one and local digital twins in the other.

use mim_crds::{MimState, MimStatus};

use super::plan::Profile;
use crate::reconcile::child::ChildKind;

/// One MIM of an edition, and the kinds that serve it.
struct Row {
    mim: &'static str,
    served_by: &'static [ChildKind],
}

const fn row(mim: &'static str, served_by: &'static [ChildKind]) -> Row {
    Row { mim, served_by }
}

/// OASC MIMs, 2022.
const OASC_2022: [Row; 10] = [
    // Context: one uniform interface to current data, NGSI-LD.
    row("MIM1", &[ChildKind::ContextBroker]),
    // Data models.
    row("MIM2", &[]),
    // Contracts.
    row("MIM3", &[]),
    // Trust: personal data.
    row("MIM4", &[]),
    // Transparency: fair AI.
    row("MIM5", &[]),
    // Security.
    row("MIM6", &[]),
    // Places: geospatial data.
    row("MIM7", &[]),
    // Indicators.
    row("MIM8", &[]),
    // Analytics.
    row("MIM9", &[]),
    // Resource impact.
    row("MIM10", &[]),
];

/// MIMs Plus 9.0.
const MIMS_PLUS_90: [Row; 7] = [
    // Accessing data: machine-readable, over the web, with queries.
    row("MIM0", &[ChildKind::ContextBroker]),
    // Interlinking data: entities with identifiers that can be looked up, typed by an @context.
    row("MIM1", &[ChildKind::ContextBroker]),
    // Representing data.
    row("MIM2", &[]),
    // Exchanging data.
    row("MIM3", &[]),
    // Securing data.
    row("MIM6", &[]),
    // Geospatial data.
    row("MIM7", &[]),
    // Local digital twins.
    row("MIM8", &[]),
];

/// One component of the stack, as the rows need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Whether it runs and is ready for the newest spec.
    pub runs: bool,
}

/// The rows of an edition: `Provided` only by what runs.
#[must_use]
pub fn rows(profile: Profile, components: &[Component]) -> Vec<MimStatus> {
    let table: &[Row] = match profile {
        Profile::Oasc2022 => &OASC_2022,
        Profile::MimsPlus90 => &MIMS_PLUS_90,
    };
    table.iter().map(|row| status(row, components)).collect()
}

fn status(row: &Row, components: &[Component]) -> MimStatus {
    let serving: Vec<_> = components
        .iter()
        .filter(|component| row.served_by.contains(&component.kind))
        .collect();
    let state = match serving.as_slice() {
        [] => MimState::NotProvided,
        all if all.iter().all(|component| component.runs) => MimState::Provided,
        _ => MimState::Degraded,
    };
    let by = serving
        .iter()
        .map(|component| format!("{}/{}", component.kind.name(), component.name))
        .collect();
    MimStatus {
        mim: row.mim.to_owned(),
        state,
        by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(name: &str, runs: bool) -> Component {
        Component {
            kind: ChildKind::ContextBroker,
            name: name.into(),
            runs,
        }
    }

    fn states(profile: Profile, components: &[Component]) -> Vec<(String, MimState)> {
        rows(profile, components)
            .into_iter()
            .map(|row| (row.mim, row.state))
            .collect()
    }

    #[test]
    fn an_edition_has_its_own_rows() {
        let names = |profile| {
            rows(profile, &[])
                .into_iter()
                .map(|row| row.mim)
                .collect::<Vec<_>>()
        };
        let of_2022: Vec<_> = (1..=10).map(|number| format!("MIM{number}")).collect();
        assert_eq!(names(Profile::Oasc2022), of_2022);
        assert_eq!(
            names(Profile::MimsPlus90),
            ["MIM0", "MIM1", "MIM2", "MIM3", "MIM6", "MIM7", "MIM8"]
        );
    }

    #[test]
    fn without_components_nothing_is_provided() {
        for profile in [Profile::Oasc2022, Profile::MimsPlus90] {
            assert!(
                rows(profile, &[])
                    .iter()
                    .all(|row| row.state == MimState::NotProvided && row.by.is_empty())
            );
        }
    }

    #[test]
    fn only_what_runs_provides() {
        let provided = |profile, runs| {
            states(profile, &[broker("vienna", runs)])
                .into_iter()
                .filter(|(_, state)| *state != MimState::NotProvided)
                .collect::<Vec<_>>()
        };
        let named = |names: &[&str], state| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), state))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            provided(Profile::Oasc2022, true),
            named(&["MIM1"], MimState::Provided)
        );
        assert_eq!(
            provided(Profile::Oasc2022, false),
            named(&["MIM1"], MimState::Degraded)
        );
        assert_eq!(
            provided(Profile::MimsPlus90, true),
            named(&["MIM0", "MIM1"], MimState::Provided)
        );
        assert_eq!(
            provided(Profile::MimsPlus90, false),
            named(&["MIM0", "MIM1"], MimState::Degraded)
        );
    }

    #[test]
    fn one_of_two_that_is_not_ready_degrades_and_both_are_named() {
        let rows = rows(Profile::Oasc2022, &[broker("a", true), broker("b", false)]);
        assert_eq!(rows[0].state, MimState::Degraded);
        assert_eq!(rows[0].by, ["ContextBroker/a", "ContextBroker/b"]);
    }
}
