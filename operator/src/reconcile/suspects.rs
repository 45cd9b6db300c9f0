//! Why a part is not ready, where its own status does not tell: the newest Warning event of a suspect.
//!
//! Read only while the object is not ready, and not in its first seconds: most objects are on their way then, and every read costs.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, ListParams};

use mim_crds::Reason;

use super::context::Context;
use super::kind::{Complaint, Kind, Observation, Suspect};
use super::pass::Pass;
use super::request::Purpose;
use super::words;

/// A part that becomes ready in its usual time needs no explanation.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// At most this many suspects are asked about in one pass.
const LIMIT: usize = 4;

/// Warnings of one object that are looked at. The API server lists them by name, keeps them for an hour and counts repeats in one, so an
/// object has a handful; whoever floods a namespace with events makes this read no larger.
const LISTED: u32 = 500;

/// Since when an object has not been ready, as its status tells: a restarted operator is no more patient than this one.
#[must_use]
pub fn unready_since(conditions: &[Condition]) -> Option<Timestamp> {
    conditions
        .iter()
        .find(|held| held.type_ == "Ready" && held.status == "False")
        .map(|held| held.last_transition_time.0)
}

/// Whether an object has not been ready for longer than it usually takes.
#[must_use]
pub fn waits_long(conditions: &[Condition], now: Timestamp) -> bool {
    unready_since(conditions).is_some_and(|since| since.duration_until(now) >= PATIENCE)
}

/// Adds a complaint with the words of the newest Warning event, if nothing else complains and something is not ready.
pub async fn ask<K: Kind>(pass: &Pass<'_, K>, facts: &mut Observation) {
    let unready = facts.parts.iter().any(|part| !part.ready);
    if !facts.complaints.is_empty() || !unready || !pass.waits_long() {
        return;
    }
    let live = pass.cx.index.of(&pass.key());
    for suspect in facts.suspects.iter().take(LIMIT) {
        // Of what is not there no event tells.
        let Some(seen) = live.get(suspect.kind, &suspect.name) else {
            continue;
        };
        if let Ok(Some(words)) = newest_warning(pass.cx, &pass.owner.namespace, suspect, &seen.uid).await {
            // The controllers tell of a quota in words only.
            let quota = words.contains("exceeded quota");
            let (reason, words) = K::explain(suspect, words);
            facts.complaints.push(Complaint {
                reason: if quota { Reason::QuotaExceeded } else { reason },
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
    uid: &str,
) -> Result<Option<String>, kube::Error> {
    let events = ApiResource::erase::<Event>(&());
    let (kind, name) = (suspect.kind.name(), &suspect.name);
    let fields = format!(
        "type=Warning,involvedObject.kind={kind},involvedObject.name={name},involvedObject.uid={uid}"
    );
    let params = ListParams::default().fields(&fields).limit(LISTED);
    let found: Vec<Event> = cx
        .requests
        .list(&events, namespace, &params, Purpose::Explain)
        .await?;
    Ok(newest(found))
}

fn newest(events: Vec<Event>) -> Option<String> {
    let newest = events.into_iter().max_by_key(|event| {
        let series = event
            .series
            .as_ref()
            .and_then(|series| series.last_observed_time.clone());
        let latest = series
            .map(|time| time.0)
            .or_else(|| event.last_timestamp.as_ref().map(|time| time.0));
        latest.or_else(|| event.event_time.as_ref().map(|time| time.0))
    });
    newest
        .and_then(|event| event.message)
        .map(|message| words::plain(&message))
        .filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_event_tells_whatever_its_name_in_one_plain_line() {
        let event = |name: &str, at: &str, message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {"name": name}, "involvedObject": {}, "message": message, "lastTimestamp": at,
            }))
            .unwrap()
        };
        let events = vec![
            event("a", "2026-01-01T00:00:01Z", "older"),
            event("b", "2026-01-01T00:00:09Z", "newest\nof\u{7} all\n"),
            event("c", "2026-01-01T00:00:05Z", "old"),
        ];
        assert_eq!(newest(events).as_deref(), Some("newest of all"));
        assert_eq!(newest(vec![event("a", "2026-01-01T00:00:01Z", "\n")]), None);
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn patience_is_counted_from_what_the_status_says() {
        let ready = |status: &str, at: &str| -> Vec<Condition> {
            serde_json::from_value(json!([{"type": "Ready", "status": status, "reason": "x", "message": "", "lastTransitionTime": at}]))
                .unwrap()
        };
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert!(waits_long(&ready("False", "2026-01-01T00:00:50Z"), now));
        assert!(!waits_long(&ready("False", "2026-01-01T00:00:51Z"), now));
        assert!(!waits_long(&ready("True", "2026-01-01T00:00:00Z"), now));
        assert!(!waits_long(&[], now));
    }
}
