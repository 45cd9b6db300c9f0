//! Why a pass could not reach its end, and what can heal it.

use mim_crds::Reason;
use thiserror::Error;

use super::child::Owner;
use super::kind::Complaint;
use super::retry::Remedy;

/// The spec asks for something that cannot be. Only a new generation heals it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {message}")]
pub struct Refusal {
    /// Why, from the closed enum.
    pub reason: Reason,
    /// The field, as `spec.storage.external.secretRef.name`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Something that the spec names is not there, or not as it must be. Another object heals it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Missing {
    /// Why, from the closed enum.
    pub reason: Reason,
    /// What, which field names it, and what to do.
    pub message: String,
}

/// Why a pass could not reach its end.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The spec asks for something that cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something that the spec names is missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A child's name is taken by an object that is not ours.
    #[error("{kind} {name} exists and belongs to {owner}; rename this object, or delete that {kind}")]
    Taken {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Whom it belongs to, in words.
        owner: String,
    },
    /// The namespace has not given us the rights that we need.
    #[error("namespace {namespace} is not onboarded: bind the operator's role there ({message})")]
    NotOnboarded {
        /// The namespace.
        namespace: String,
        /// What was forbidden.
        message: String,
    },
    /// A quota of the namespace is used up.
    #[error("{kind} {name}: {message}")]
    Quota {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The server's words.
        message: String,
    },
    /// The API server refuses a body of ours.
    #[error("the API server refuses {kind} {name}: {message}")]
    Rejected {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The server's words.
        message: String,
    },
    /// Children were written so often that the next write has to wait ([`super::memory::Bucket`]): somebody else works against us, or what is done
    /// leads nowhere.
    #[error("{}", .0.message)]
    Contest(Complaint),
    /// What is kept outside Kubernetes cannot be had away; the object stays until it is.
    #[error("{}", .0.message)]
    Remote(Complaint),
    /// The API server is away, slow, or has seen a newer version of the object.
    #[error("the API server did not answer as it should, and is asked again: {}", words_of(.0))]
    Api(#[source] Box<kube::Error>),
    /// A fault of ours.
    #[error("fault in the operator: {0}")]
    Bug(String),
}

/// The words of an answer, or of why there is none.
fn words_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        other => other.to_string(),
    }
}

/// What was asked when the API server said no.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

impl<'a> From<&'a Owner> for Asked<'a> {
    /// Of the object itself.
    fn from(owner: &'a Owner) -> Self {
        Self {
            kind: owner.kind,
            name: &owner.name,
            namespace: &owner.namespace,
        }
    }
}

impl Trouble {
    /// Sorts an answer of the API server by what can heal it.
    #[must_use]
    pub fn of(error: kube::Error, asked: Asked<'_>) -> Self {
        let kube::Error::Api(status) = &error else {
            return Self::Api(Box::new(error));
        };
        let (kind, name, message) = (asked.kind, asked.name.to_owned(), status.message.clone());
        match status.code {
            403 if message.contains("exceeded quota") => Self::Quota { kind, name, message },
            // RBAC names the user; an admission plug-in (PodSecurity, resize of a claim) does not.
            403 if message.contains("cannot ") && message.contains(" in the namespace ") => {
                Self::NotOnboarded {
                    namespace: asked.namespace.to_owned(),
                    message,
                }
            }
            // Another object of that name by now: the watch brings it, the next pass sees whose it is.
            422 if message.contains("metadata.uid") => Self::Api(Box::new(error)),
            400 | 403 | 422 => Self::Rejected { kind, name, message },
            _ => Self::Api(Box::new(error)),
        }
    }

    /// What can heal it.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Refused(_) => Remedy::Spec,
            Self::Missing(_)
            | Self::Taken { .. }
            | Self::NotOnboarded { .. }
            | Self::Quota { .. }
            | Self::Rejected { .. }
            | Self::Contest(_)
            | Self::Remote(_) => Remedy::Other,
            Self::Api(_) | Self::Bug(_) => Remedy::Time,
        }
    }

    /// As a complaint in the status.
    #[must_use]
    pub fn complaint(&self) -> Complaint {
        let (reason, terminal) = match self {
            Self::Refused(refusal) => (refusal.reason, true),
            Self::Missing(missing) => (missing.reason, false),
            Self::Taken { .. } => (Reason::NameTaken, true),
            Self::NotOnboarded { .. } => (Reason::NamespaceNotOnboarded, true),
            Self::Quota { .. } => (Reason::QuotaExceeded, false),
            Self::Rejected { .. } => (Reason::ApplyFailed, true),
            Self::Bug(_) => (Reason::InternalError, true),
            Self::Api(_) => (Reason::ApiUnavailable, false),
            Self::Contest(complaint) | Self::Remote(complaint) => (complaint.reason, complaint.terminal),
        };
        Complaint {
            reason,
            message: self.to_string(),
            terminal,
        }
    }

    /// A name for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Missing(_) => "missing",
            Self::Taken { .. } => "taken",
            Self::NotOnboarded { .. } => "not_onboarded",
            Self::Quota { .. } => "quota",
            Self::Rejected { .. } => "rejected",
            Self::Contest(_) => "contest",
            Self::Remote(_) => "remote",
            Self::Api(_) => "api",
            Self::Bug(_) => "bug",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, message: &str) -> Trouble {
        let status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": code, "message": message, "reason": "x"
        }))
        .unwrap();
        Trouble::of(
            kube::Error::Api(status),
            Asked {
                kind: "Deployment",
                name: "a",
                namespace: "city",
            },
        )
    }

    #[test]
    fn answers_are_sorted_by_what_heals_them() {
        let rbac = r#"deployments.apps "a" is forbidden: User "x" cannot patch resource "deployments" in API group "apps" in the namespace "city""#;
        assert!(matches!(answer(403, rbac), Trouble::NotOnboarded { .. }));
        assert!(matches!(
            answer(403, "pods \"a\" is forbidden: exceeded quota: q"),
            Trouble::Quota { .. }
        ));
        assert!(matches!(
            answer(403, "only dynamically provisioned pvc can be resized"),
            Trouble::Rejected { .. }
        ));
        assert!(matches!(
            answer(422, "spec.x: Invalid value"),
            Trouble::Rejected { .. }
        ));
        for code in [409, 429, 500, 503, 504] {
            assert_eq!(answer(code, "later").remedy(), Remedy::Time, "{code}");
        }
    }
}
