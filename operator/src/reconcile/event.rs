//! Events: best effort, on transitions only, with reasons of closed enums.
//!
//! An event that cannot be written is logged and nothing else: it never fails a pass.

use k8s_openapi::jiff::Timestamp;
use mim_crds::{EventReason, Reason};
use serde_json::{Value, json};
use tracing::debug;

use super::child::{MANAGER, Owner, digest};
use super::context::Context;
use super::kind::Why;

/// The API refuses longer notes (events.k8s.io/v1, `note`: 1 kB).
const NOTE_LIMIT: usize = 1000;

/// Why an event is written: a word of one of the two closed lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// What `Ready` says has changed.
    Condition(Reason),
    /// The operator did something.
    Action(EventReason),
}

impl Cause {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Condition(reason) => reason.as_str(),
            Self::Action(reason) => reason.as_str(),
        }
    }
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self::Condition(reason)
    }
}

impl From<EventReason> for Cause {
    fn from(reason: EventReason) -> Self {
        Self::Action(reason)
    }
}

impl From<Why> for Cause {
    fn from(why: Why) -> Self {
        Self::Action(why.into())
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    r#type: &'static str,
    cause: Cause,
    message: String,
}

impl Note {
    /// Something that is as it should be.
    #[must_use]
    pub fn normal(cause: impl Into<Cause>, message: impl Into<String>) -> Self {
        Self {
            r#type: "Normal",
            cause: cause.into(),
            message: message.into(),
        }
    }

    /// Something that somebody should look at.
    #[must_use]
    pub fn warning(cause: impl Into<Cause>, message: impl Into<String>) -> Self {
        Self {
            r#type: "Warning",
            cause: cause.into(),
            message: message.into(),
        }
    }

    /// It was so this many times more than was told.
    pub fn add_untold(&mut self, times: u32) {
        if times > 0 {
            self.message = format!("{} ({times} times more since this was last told)", self.message);
        }
    }
}

/// Writes them, one request each.
pub async fn publish(cx: &Context, owner: &Owner, notes: &[Note]) {
    for note in notes {
        let body = render(owner, note, &cx.instance, (cx.now)());
        if let Err(error) = cx.requests.create_event(&owner.namespace, &body).await {
            debug!(kind = owner.kind, name = owner.name, reason = note.cause.as_str(), %error, "the event could not be written");
        }
    }
}

fn render(owner: &Owner, note: &Note, instance: &str, now: Timestamp) -> Value {
    let message: String = note
        .message
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= NOTE_LIMIT).then_some(c)
        })
        .collect();
    let unique = digest(&json!([
        owner.uid,
        note.cause.as_str(),
        message,
        now.as_nanosecond().to_string()
    ]));
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("{}.{}", owner.name, unique.trim_start_matches("v1-")), "namespace": owner.namespace},
        "eventTime": format!("{:.6}", now),
        "reportingController": format!("mim.city/{MANAGER}"),
        "reportingInstance": instance,
        "action": "Reconcile",
        "type": note.r#type,
        "reason": note.cause.as_str(),
        "note": message,
        "regarding": {
            "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name,
            "namespace": owner.namespace, "uid": owner.uid,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_to_what_the_api_takes_and_the_time_has_microseconds() {
        let owner = Owner {
            kind: "ContextBroker",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "n".into(),
            name: "a".into(),
            uid: "u".into(),
        };
        let body = render(
            &owner,
            &Note::warning(Reason::NotReady, "ä".repeat(900)),
            "i",
            Timestamp::from_second(1).unwrap(),
        );
        assert!(body["note"].as_str().unwrap().len() <= NOTE_LIMIT);
        assert_eq!(body["eventTime"], "1970-01-01T00:00:01.000000Z");
    }
}
