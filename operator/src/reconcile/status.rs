//! From facts to conditions: one function for all kinds.
//!
//! The contract is kstatus (cli-utils, `pkg/kstatus`): `Ready` is always there; `Reconciling` and `Stalled` only while True; a
//! terminal error is `Stalled` and `Ready=False` with one reason. While nothing is wrong and not all is ready the words are constant, so
//! that an object on its way costs one status write at the start and one at the end (invariant 2); after a minute they name what is not ready.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use mim_crds::Reason;
use serde_json::{Map, Value, json};

use super::kind::{Complaint, Observation, Part};
use super::suspects;

/// Longest message of a condition that we write; the API allows 32 KiB, people read one line.
const MESSAGE_LIMIT: usize = 1024;

/// Words of an object on its way.
const PROGRESSING: &str = "On its way: not every part is ready yet.";

/// How long an object is not ready before its words name the parts that it waits for, in seconds: a start that goes well is over by then, and each
/// set of names is a status write.
const NAMED_AFTER: i64 = 60;

/// Parts that are named; the rest is a number. People read one line.
const NAMED: usize = 3;

/// What the conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as the spec says.
    Ready(Reason, String),
    /// On its way.
    Progressing,
    /// The same for longer than a start takes; the words name what is not ready.
    Waiting(String),
    /// Something is wrong that may heal by itself.
    Failing(Complaint),
    /// Something is wrong that only a change by the user heals.
    Stalled(Complaint),
}

impl Verdict {
    /// Of a complaint.
    #[must_use]
    pub const fn of(complaint: Complaint) -> Self {
        if complaint.terminal {
            Self::Stalled(complaint)
        } else {
            Self::Failing(complaint)
        }
    }

    /// Of the facts.
    #[must_use]
    pub fn from_facts(observation: &Observation) -> Self {
        if let Some(complaint) = observation.complaints.first() {
            return Self::of(complaint.clone());
        }
        if observation.parts.iter().any(|part| !part.ready) {
            return Self::Progressing;
        }
        let (reason, message) = observation
            .when_ready
            .clone()
            .unwrap_or_else(|| (Reason::Ready, "All parts are ready.".to_owned()));
        Self::Ready(reason, message)
    }

    /// Of an object on its way, which had these conditions so far.
    #[must_use]
    pub fn on_its_way(parts: &[Part], before: &[Condition], now: Timestamp) -> Self {
        let waits = named_at(before).is_some_and(|at| now.as_second() >= at);
        let mut unready = parts.iter().filter(|part| !part.ready).peekable();
        if !waits || unready.peek().is_none() {
            return Self::Progressing;
        }
        let named: Vec<_> = unready
            .by_ref()
            .take(NAMED)
            .map(|part| part.what.as_str())
            .collect();
        let more = match unready.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Self::Waiting(format!("On its way: waits for {}{more}.", named.join(", ")))
    }

    /// Whether it says Ready.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(..))
    }

    /// Its reason.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Ready(reason, _) => *reason,
            Self::Progressing | Self::Waiting(_) => Reason::Progressing,
            Self::Failing(complaint) | Self::Stalled(complaint) => complaint.reason,
        }
    }

    /// Its words.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Ready(_, message) | Self::Waiting(message) => message,
            Self::Progressing => PROGRESSING,
            Self::Failing(complaint) | Self::Stalled(complaint) => &complaint.message,
        }
    }

    fn rows(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Ready(..) => vec![("Ready", "True")],
            Self::Progressing | Self::Waiting(_) | Self::Failing(_) => {
                vec![("Ready", "False"), ("Reconciling", "True")]
            }
            Self::Stalled(_) => vec![("Ready", "False"), ("Stalled", "True")],
        }
    }
}

/// When an object with these conditions has not been ready for so long that what it waits for is named, in seconds since the epoch; `None`: it is
/// ready, or has told nothing yet.
#[must_use]
pub fn named_at(conditions: &[Condition]) -> Option<i64> {
    suspects::unready_since(conditions).map(|since| since.as_second().saturating_add(NAMED_AFTER))
}

/// The conditions of a verdict. The time of a transition is kept while the status of a condition stays.
#[must_use]
pub fn conditions(verdict: &Verdict, generation: i64, before: &[Condition], now: &Time) -> Vec<Condition> {
    verdict
        .rows()
        .into_iter()
        .map(|(r#type, status)| {
            let held = before
                .iter()
                .find(|held| held.type_ == r#type && held.status == status);
            Condition {
                type_: r#type.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason().to_string(),
                message: shorten(verdict.message()),
                observed_generation: Some(generation),
                last_transition_time: held
                    .map_or_else(|| now.clone(), |held| held.last_transition_time.clone()),
            }
        })
        .collect()
}

/// The conditions of a suspended object: Ready keeps its status and gets the reason; of the others nothing is
/// claimed, for nothing is being done.
#[must_use]
pub fn suspended(generation: i64, before: &[Condition], now: &Time) -> Vec<Condition> {
    let ready = before.iter().find(|held| held.type_ == "Ready");
    vec![Condition {
        type_: "Ready".to_owned(),
        status: ready.map_or_else(|| "Unknown".to_owned(), |held| held.status.clone()),
        reason: Reason::Suspended.to_string(),
        message: "Suspended: nothing is changed until spec.suspend is false.".to_owned(),
        observed_generation: Some(generation),
        last_transition_time: ready.map_or_else(|| now.clone(), |held| held.last_transition_time.clone()),
    }]
}

fn shorten(message: &str) -> String {
    if message.len() <= MESSAGE_LIMIT {
        return message.to_owned();
    }
    let end = (0..=MESSAGE_LIMIT - 3)
        .rev()
        .find(|&at| message.is_char_boundary(at))
        .unwrap_or(0);
    format!("{}…", message.get(..end).unwrap_or_default())
}

/// The whole status: what was there, the kind's own members where they were observed, and the common ones over them. Server-side apply takes
/// away what a manager no longer sends, so members that this pass did not come to see are sent as they were.
#[must_use]
pub fn body(
    before: &Value,
    observed: Option<&Map<String, Value>>,
    conditions: &[Condition],
    generation: i64,
    handled_request: Option<&str>,
) -> Map<String, Value> {
    let mut status = match observed {
        Some(observed) => observed.clone(),
        None => before.as_object().cloned().unwrap_or_default(),
    };
    status.insert("observedGeneration".into(), generation.into());
    status.insert("conditions".into(), json!(conditions));
    match handled_request {
        Some(handled) => status.insert("lastHandledRequestedAt".into(), handled.into()),
        None => status.remove("lastHandledRequestedAt"),
    };
    status.retain(|_, value| !value.is_null());
    status
}

/// Whether the status already says this.
#[must_use]
pub fn says(before: &Value, wanted: &Map<String, Value>) -> bool {
    before.as_object().is_some_and(|before| before == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(what: &str, ready: bool) -> Part {
        Part {
            what: what.to_owned(),
            ready,
        }
    }

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn complaint(terminal: bool) -> Complaint {
        Complaint {
            reason: Reason::ImagePullFailed,
            message: "no such image".into(),
            terminal,
        }
    }

    /// The rules of kstatus, in its order.
    fn kstatus(generation: i64, observed: i64, conditions: &[Condition]) -> &'static str {
        let is = |r#type, status| conditions.iter().any(|c| c.type_ == r#type && c.status == status);
        match () {
            () if observed != generation => "InProgress",
            () if is("Reconciling", "True") => "InProgress",
            () if is("Stalled", "True") => "Failed",
            () if is("Ready", "False") || is("Ready", "Unknown") => "InProgress",
            () => "Current",
        }
    }

    #[test]
    fn invariant_4_kstatus_reads_what_is_true() {
        let waiting = Observation {
            parts: vec![part("Deployment vienna-broker", false)],
            ..Observation::default()
        };
        let failing = Observation {
            complaints: vec![complaint(false)],
            ..waiting.clone()
        };
        let stalled = Observation {
            complaints: vec![complaint(true)],
            ..Observation::default()
        };
        for (observation, expected) in [
            (waiting, "InProgress"),
            (failing, "InProgress"),
            (stalled, "Failed"),
            (Observation::default(), "Current"),
        ] {
            let conditions = conditions(&Verdict::from_facts(&observation), 3, &[], &at(1));
            assert_eq!(kstatus(3, 3, &conditions), expected);
            assert_eq!(kstatus(4, 3, &conditions), "InProgress");
            assert!(conditions.iter().all(|c| c.observed_generation == Some(3)));
        }
    }

    #[test]
    fn what_an_object_waits_for_is_named_after_a_minute_and_not_before() {
        let parts = [
            part("PersistentVolumeClaim a-database", true),
            part("StatefulSet a-database", false),
            part("Deployment a-broker", false),
        ];
        let words = |before: &[Condition], second| {
            let verdict = Verdict::on_its_way(&parts, before, at(second).0);
            assert_eq!(verdict.reason(), Reason::Progressing);
            let conditions = conditions(&verdict, 1, before, &at(second));
            assert_eq!(kstatus(1, 1, &conditions), "InProgress");
            (verdict.message().to_owned(), conditions)
        };
        let (first, mut held) = words(&[], 1000);
        assert_eq!(first, PROGRESSING);
        assert_eq!(named_at(&held), Some(1060));
        for (second, expected) in [
            (1001, PROGRESSING),
            (1059, PROGRESSING),
            (
                1060,
                "On its way: waits for StatefulSet a-database, Deployment a-broker.",
            ),
            (
                9999,
                "On its way: waits for StatefulSet a-database, Deployment a-broker.",
            ),
        ] {
            let told = words(&held, second);
            assert_eq!(told.0, expected, "{second}");
            held = told.1;
        }
        let ready = conditions(&Verdict::Ready(Reason::Ready, String::new()), 1, &held, &at(1100));
        assert_eq!(named_at(&ready), None);
        assert_eq!(words(&ready, 9999).0, PROGRESSING, "the minute starts anew");
    }

    #[test]
    fn of_many_parts_a_few_are_named_and_the_rest_is_a_number() {
        let before = conditions(&Verdict::Progressing, 1, &[], &at(0));
        let words = |count: usize| {
            let parts: Vec<_> = (0..count).map(|n| part(&format!("Pod p{n}"), false)).collect();
            Verdict::on_its_way(&parts, &before, at(60).0)
                .message()
                .to_owned()
        };
        assert_eq!(words(0), PROGRESSING, "nothing to name");
        assert_eq!(words(3), "On its way: waits for Pod p0, Pod p1, Pod p2.");
        assert_eq!(
            words(12),
            "On its way: waits for Pod p0, Pod p1, Pod p2 and 9 more."
        );
    }

    #[test]
    fn a_transition_keeps_its_time_while_the_status_stays() {
        let before = conditions(&Verdict::Progressing, 1, &[], &at(10));
        let after = conditions(&Verdict::Failing(complaint(false)), 2, &before, &at(20));
        assert_eq!(after[0].last_transition_time, at(10));
        let ready = conditions(&Verdict::Ready(Reason::Ready, String::new()), 2, &after, &at(30));
        assert_eq!((ready.len(), ready[0].last_transition_time.clone()), (1, at(30)));
    }

    #[test]
    fn suspension_keeps_ready_and_claims_nothing_else() {
        let before = conditions(&Verdict::Ready(Reason::Ready, "ok".into()), 1, &[], &at(10));
        let after = suspended(2, &before, &at(20));
        assert_eq!(
            (after.len(), after[0].status.as_str(), after[0].reason.as_str()),
            (1, "True", "Suspended")
        );
        assert_eq!(after[0].last_transition_time, at(10));
    }

    #[test]
    fn a_pass_that_did_not_get_to_see_keeps_what_was_seen() {
        let before = json!({"endpoint": "http://x", "observedGeneration": 1, "conditions": []});
        let status = body(&before, None, &[], 2, None);
        assert_eq!(status["endpoint"], "http://x");
        assert_eq!(status["observedGeneration"], 2);
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let long = "ä".repeat(2000);
        assert!(shorten(&long).len() <= MESSAGE_LIMIT);
    }
}
