//! Why a pod is not there, in its own words.
//!
//! Words are cut to what stays the same from one try to the next, or every try of the kubelet would be a new status.

use mim_crds::Reason;

use crate::reconcile::kind::Complaint;
use crate::reconcile::live::{ContainerStatus, Seen, Terminated};
use crate::reconcile::words;

/// What a pod says of itself, if it says that something is wrong. A pod on its way out is not asked.
pub(super) fn complaint(name: &str, pod: &Seen) -> Option<Complaint> {
    if pod.deleting || pod.is_ready() {
        return None;
    }
    containers(pod)
        .find_map(|container| of_container(name, container))
        .or_else(|| unschedulable(name, pod))
}

/// Whether a pod cannot come to run anything as it is: no image, no container, no node.
#[must_use]
pub fn cannot_start(pod: &Seen) -> bool {
    let refused = |container: &ContainerStatus| {
        matches!(
            waiting(container).map(sort),
            Some(Some(Wait::Image | Wait::Config))
        )
    };
    containers(pod).any(refused) || scheduled(pod) == Some(false)
}

/// Whether the main container of a pod runs, or has run.
pub(super) fn has_started(pod: &Seen) -> bool {
    pod.status
        .container_statuses
        .iter()
        .any(|container| waiting(container).is_none() || container.restart_count > 0)
}

/// Pods that the API server refused to make. The name in the message is another at every try.
pub(super) fn not_made(workload: &str, message: &str) -> Complaint {
    let reason = if message.contains("exceeded quota") {
        Reason::QuotaExceeded
    } else {
        Reason::AdmissionRefused
    };
    let words = message
        .split_once(" is forbidden: ")
        .map_or(message, |(_, words)| words);
    Complaint {
        reason,
        message: format!("pods of {workload} are refused: {}", line(words)),
        terminal: false,
    }
}

fn containers(pod: &Seen) -> impl Iterator<Item = &ContainerStatus> {
    pod.status
        .init_container_statuses
        .iter()
        .chain(&pod.status.container_statuses)
}

fn waiting(container: &ContainerStatus) -> Option<&str> {
    container
        .state
        .waiting
        .as_ref()
        .map(|waiting| waiting.reason.as_deref().unwrap_or_default())
}

/// What a waiting reason of the kubelet means (`pkg/kubelet/images/types.go`, `pkg/kubelet/kuberuntime`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Image,
    Crash,
    Config,
}

fn sort(reason: &str) -> Option<Wait> {
    match reason {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed"
        | "ImageVolumeMountFailed" => Some(Wait::Image),
        "CrashLoopBackOff" => Some(Wait::Crash),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => Some(Wait::Config),
        _ => None,
    }
}

fn of_container(pod: &str, container: &ContainerStatus) -> Option<Complaint> {
    let words = container
        .state
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.message.as_deref())
        .unwrap_or_default();
    let at = format!("pod {pod}, container {}", container.name);
    let (reason, message) = match waiting(container).map(sort) {
        Some(Some(Wait::Image)) => (
            Reason::ImagePullFailed,
            format!(
                "{at}: the image cannot be pulled: {}",
                line(of_the_registry(words))
            ),
        ),
        Some(Some(Wait::Config)) => (
            Reason::ContainerConfigError,
            format!("{at}: the container cannot be made: {}", line(words)),
        ),
        Some(Some(Wait::Crash)) => (
            Reason::CrashLooping,
            format!(
                "{at} ends again and again: {}",
                last_words(container.last_state.terminated.as_ref())
            ),
        ),
        Some(None) => return None,
        // Between two tries: it has ended before, and has ended again.
        None => {
            let ended = container
                .state
                .terminated
                .as_ref()
                .filter(|ended| ended.exit_code != 0)?;
            if container.restart_count == 0 {
                return None;
            }
            (
                Reason::CrashLooping,
                format!("{at} ends again and again: {}", last_words(Some(ended))),
            )
        }
    };
    Some(Complaint {
        reason,
        message,
        terminal: false,
    })
}

/// The back-off repeats the error of the pull behind words of its own; without them both read the same.
fn of_the_registry(words: &str) -> &str {
    words
        .split_once("ErrImagePull: ")
        .map_or(words, |(_, error)| error)
}

fn last_words(ended: Option<&Terminated>) -> String {
    let Some(ended) = ended else {
        return "it left no message; see its log".to_owned();
    };
    if ended.reason.as_deref() == Some("OOMKilled") {
        return "it needs more memory than its limit (OOMKilled); raise limits.memory in resources"
            .to_owned();
    }
    let message = ended.message.as_deref().unwrap_or_default().trim();
    match message.lines().next_back() {
        Some(last) => format!("{} (exit code {})", line(last), ended.exit_code),
        None => format!("exit code {}; see its log", ended.exit_code),
    }
}

/// `Some(false)` where the scheduler has said that no node takes it.
fn scheduled(pod: &Seen) -> Option<bool> {
    let condition = pod.condition("PodScheduled")?;
    let refused = condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable");
    Some(!refused)
}

/// The scheduler's words. A claim that is not bound yet is no complaint: every new volume is so for a moment; what its events say is asked for when that lasts.
fn unschedulable(name: &str, pod: &Seen) -> Option<Complaint> {
    if scheduled(pod) != Some(false) {
        return None;
    }
    let words = pod
        .condition("PodScheduled")
        .and_then(|condition| condition.message.as_deref())
        .unwrap_or_default();
    if words.contains("unbound immediate PersistentVolumeClaims") {
        return None;
    }
    let about_volume = words.to_ascii_lowercase().contains("persistentvolume")
        || words.contains("persistent volume")
        || words.contains("volume node affinity");
    let reason = if about_volume {
        Reason::VolumePending
    } else {
        Reason::Unschedulable
    };
    Some(Complaint {
        reason,
        message: format!("no node takes pod {name}: {}", line(words)),
        terminal: false,
    })
}

/// A pod that its node did not let in (`pkg/kubelet/lifecycle`) ends at once, before any container. Not asked of pods that a Deployment makes:
/// such a pod is left lying there when another has taken its place.
pub(super) fn refused(name: &str, pod: &Seen) -> Option<Complaint> {
    let refused = pod.status.phase.as_deref() == Some("Failed") && containers(pod).next().is_none();
    let reason = pod.status.reason.as_deref().filter(|_| refused)?;
    let words = pod.status.message.as_deref().unwrap_or_default();
    Some(Complaint {
        reason: Reason::AdmissionRefused,
        message: format!(
            "Pod {name} is refused by its node: {}: {}",
            words::plain(reason),
            line(words)
        ),
        terminal: false,
    })
}

/// The first line.
fn line(words: &str) -> String {
    let first = words::plain(words.trim().lines().next().unwrap_or_default());
    if first.is_empty() {
        return "no reason is given".to_owned();
    }
    first
}
