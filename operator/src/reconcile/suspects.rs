//! Why a part is not ready, where its own status does not tell: the newest Warning event of a suspect.
//!
//! Read only while the object is not ready, and not in its first seconds: most objects are on their way then, and every read costs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{ApiResource, ListParams};

use mim_crds::Reason;

use super::context::Context;
use super::kind::{Complaint, Kind, Observation, Suspect};
use super::pass::Pass;
use super::request::Purpose;

/// A part that becomes ready in its usual time needs no explanation.
const PATIENCE: Duration = Duration::from_secs(10);

/// At most this many suspects are asked about in one pass.
const LIMIT: usize = 4;

/// Warnings of one object that are looked at; the API server keeps them for an hour and counts repeats.
const LISTED: u32 = 50;

/// Adds a complaint with the words of the newest Warning event, if nothing else complains and something is not ready.
pub async fn ask<K: Kind>(pass: &Pass<'_, K>, facts: &mut Observation) {
    let waits_long = pass
        .memory
        .not_ready_since
        .is_some_and(|since| since.elapsed() >= PATIENCE);
    let unready = facts.parts.iter().any(|part| !part.ready);
    if !facts.complaints.is_empty() || !unready || !waits_long {
        return;
    }
    for suspect in facts.suspects.iter().take(LIMIT) {
        if let Ok(Some(words)) = newest_warning(pass.cx, &pass.owner.namespace, suspect).await {
            // The controllers tell of a quota in words only.
            let quota = words.contains("exceeded quota");
            facts.complaints.push(Complaint {
                reason: if quota {
                    Reason::QuotaExceeded
                } else {
                    suspect.reason
                },
                message: format!("{} {}: {words}", suspect.kind.name(), suspect.name),
                terminal: false,
            });
            return;
        }
    }
}

/// Words of the newest Warning event of a suspect. Core events, as the kubelet, the scheduler and the controllers write them.
async fn newest_warning(
    cx: &Context,
    namespace: &str,
    suspect: &Suspect,
) -> Result<Option<String>, kube::Error> {
    let events = ApiResource::erase::<Event>(&());
    let (kind, name) = (suspect.kind.name(), &suspect.name);
    let fields = format!("type=Warning,involvedObject.kind={kind},involvedObject.name={name}");
    let params = ListParams::default().fields(&fields).limit(LISTED);
    let found: Vec<Event> = cx
        .requests
        .list(&events, namespace, &params, Purpose::Explain)
        .await?;
    let newest = found.into_iter().max_by_key(|event| {
        let series = event
            .series
            .as_ref()
            .and_then(|series| series.last_observed_time.clone());
        let latest = series
            .map(|time| time.0)
            .or_else(|| event.last_timestamp.as_ref().map(|time| time.0));
        latest.or_else(|| event.event_time.as_ref().map(|time| time.0))
    });
    Ok(newest
        .and_then(|event| event.message)
        .map(|message| message.trim().to_owned())
        .filter(|message| !message.is_empty()))
}
