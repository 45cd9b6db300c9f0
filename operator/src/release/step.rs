//! Which release may follow which.

use mim_crds::Reason;

use super::Release;

/// A step from one release to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The same release.
    None,
    /// Only the broker's image changes: rolled, without a moment of rest.
    Broker,
    /// The database's image changes too: proved first, then restarted once.
    Database,
}

/// Why a release cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The catalogue does not have it.
    #[error("release {name} is not in this operator's catalogue; write one of {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Data of one major version of PostgreSQL cannot be read by another.
    #[error(
        "release {to} has PostgreSQL {to_major}, the data is of PostgreSQL {from_major} (release {from}): a release never changes \
         the major version of data; make a new platform with release {to} and move the data with pg_dump"
    )]
    Major {
        /// The release on record.
        from: String,
        /// Its major version.
        from_major: u32,
        /// The release that is wanted.
        to: String,
        /// Its major version.
        to_major: u32,
    },
    /// The release on record is not in the catalogue any more, so nothing can be compared.
    #[error(
        "release {from}, which made the data, is not in this operator's catalogue, so whether {to} can read the data is not known; \
         add {from} to the catalogue"
    )]
    Unrecorded {
        /// The release on record.
        from: String,
        /// The release that is wanted.
        to: String,
    },
}

impl ReleaseError {
    /// The reason in the object's conditions.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unknown { .. } => Reason::ReleaseUnknown,
            Self::Major { .. } | Self::Unrecorded { .. } => Reason::ReleaseStepRefused,
        }
    }
}

/// What a step means, or why it is refused.
///
/// A step back is allowed: after a release that does not start, the way back must need no manual step, and a broker that is older
/// than the schema says so and stays not ready, while what ran goes on.
pub fn step(from: &Release, to: &Release) -> Result<Step, ReleaseError> {
    if from.postgresql != to.postgresql {
        return Err(ReleaseError::Major {
            from: from.name.clone(),
            from_major: from.postgresql,
            to: to.name.clone(),
            to_major: to.postgresql,
        });
    }
    Ok(
        if from.image(super::Operand::Postgis) != to.image(super::Operand::Postgis) {
            Step::Database
        } else if from.image(super::Operand::Broker) != to.image(super::Operand::Broker) {
            Step::Broker
        } else {
            Step::None
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Releases;

    fn releases() -> Releases {
        let entry = |name: &str, major: u32, broker: char, postgis: char| {
            let digest = |fill: char| format!("sha256:{}", fill.to_string().repeat(64));
            format!(
                "  - {{name: {name}, postgresql: {major}, images: {{broker: {{repository: b, digest: \"{}\"}}, postgis: {{repository: p, digest: \"{}\"}}}}}}\n",
                digest(broker),
                digest(postgis)
            )
        };
        let text = [
            "releases:\n".to_owned(),
            entry("a", 15, '1', '1'),
            entry("b", 15, '2', '1'),
            entry("c", 15, '2', '2'),
            entry("d", 17, '3', '3'),
        ];
        Releases::parse(&text.concat(), None).unwrap()
    }

    fn between(from: &str, to: &str) -> Result<Step, ReleaseError> {
        let releases = releases();
        step(releases.get(from).unwrap(), releases.get(to).unwrap())
    }

    #[test]
    fn a_step_says_what_it_restarts() {
        assert_eq!(between("a", "a"), Ok(Step::None));
        assert_eq!(between("a", "b"), Ok(Step::Broker));
        assert_eq!(between("a", "c"), Ok(Step::Database));
        assert_eq!(between("c", "a"), Ok(Step::Database), "the way back");
    }

    #[test]
    fn the_major_version_never_changes_in_either_direction() {
        for (from, to) in [("a", "d"), ("d", "a")] {
            let error = between(from, to).unwrap_err();
            assert!(matches!(error, ReleaseError::Major { .. }));
            assert!(error.to_string().contains("pg_dump"), "{error}");
        }
    }
}
