//! Whether the cluster is new enough, asked before the operator leads.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use thiserror::Error;
use tracing::{info, warn};

use crate::reconcile::client::Requests;

/// The oldest Kubernetes minor version that this operator runs on: CEL with `quantity()` and server-side apply of
/// `unhealthyPodEvictionPolicy` are stable from here on.
pub const MINIMUM_KUBERNETES: u32 = 31;

/// Between two questions, as between two tries of the lease, which has to be reached too before anything is done.
const RETRY: Duration = Duration::from_secs(2);

/// The cluster is too old.
#[derive(Debug, Error)]
#[error("this cluster runs Kubernetes {found}; this operator needs 1.{MINIMUM_KUBERNETES} or newer")]
pub struct TooOld {
    /// As the API server says.
    found: String,
}

/// Asks the API server for its version until it tells. One that does not answer now may be too old all the same, so there is no leading without an
/// answer; one that refuses to tell (some clusters take this right away) never will, and is taken as it is.
pub async fn check(requests: &Requests) -> Result<(), TooOld> {
    let mut told = String::new();
    loop {
        let error = match requests.server_version().await {
            Ok(version) => return judge(version),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                warn!(
                    error = status.message,
                    "the API server does not tell its version; this operator needs Kubernetes 1.{MINIMUM_KUBERNETES} or newer"
                );
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        if error != told {
            warn!(
                error,
                "the API server does not tell its version yet; asking until it does"
            );
            told = error;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn judge(version: Info) -> Result<(), TooOld> {
    // Some distributions write `31+`.
    let minor: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    let too_old = version.major == "1" && minor.parse::<u32>().is_ok_and(|minor| minor < MINIMUM_KUBERNETES);
    if too_old {
        return Err(TooOld {
            found: version.git_version,
        });
    }
    info!(kubernetes = version.git_version, "the API server answers");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_distributions_write_it() {
        for (major, minor, enough) in [
            ("1", "30", false),
            ("1", "30+", false),
            ("1", "31", true),
            ("1", "31+", true),
            ("1", "37", true),
            ("2", "0", true),
            ("1", "", true),
        ] {
            let version = Info {
                major: major.into(),
                minor: minor.into(),
                git_version: format!("v{major}.{minor}.4"),
                ..Info::default()
            };
            let judged = judge(version);
            assert_eq!(judged.is_ok(), enough, "{major}.{minor}");
            if let Err(told) = judged {
                let words = told.to_string();
                assert!(words.contains(&format!("v{major}.{minor}.4")), "{words}");
                assert!(words.contains("1.31 or newer"), "{words}");
            }
        }
    }
}
