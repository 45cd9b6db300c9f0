//! A subscription as a broker shows it: only what the standard names, and nothing that follows from a secret.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use mim_crds::{DeliveryResult, DeliveryStatus, SubscriptionState};
use serde_json::{Map, Value, json};
use url::Url;

use super::Wanted;
use crate::reconcile::child::digest;

/// Members of a subscription that a client writes.
const OF_SUBSCRIPTION: [&str; 18] = [
    "csf",
    "datasetId",
    "description",
    "entities",
    "expiresAt",
    "geoQ",
    "isActive",
    "lang",
    "localOnly",
    "notificationTrigger",
    "q",
    "scopeQ",
    "splitEntities",
    "subscriptionName",
    "temporalQ",
    "throttling",
    "timeInterval",
    "watchedAttributes",
];
/// Members of `notification` that a client writes.
const OF_NOTIFICATION: [&str; 8] = [
    "attributes",
    "format",
    "join",
    "joinLevel",
    "omit",
    "pick",
    "showChanges",
    "sysAttrs",
];
/// Members of `endpoint` that a client writes, but for those that may hold what is secret.
const OF_ENDPOINT: [&str; 4] = ["accept", "cooldown", "notifierInfo", "timeout"];

/// What is in the broker under the subscription's id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The whole subscription, as it was read; `None`: there is none.
    body: Option<Map<String, Value>>,
    /// What the broker says of it.
    pub state: Option<SubscriptionState>,
    /// How its notifications fare.
    pub delivery: Option<DeliveryStatus>,
}

impl Found {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// A subscription.
    #[must_use]
    pub fn read(body: Map<String, Value>) -> Self {
        Self {
            state: Some(state(&body)),
            delivery: delivery(&body),
            body: Some(body),
        }
    }

    /// The subscription itself, for a test that plays the broker.
    #[cfg(test)]
    pub(crate) const fn body_for_tests(&self) -> Option<&Map<String, Value>> {
        self.body.as_ref()
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.body.is_some()
    }

    /// A digest of what is shown of that which a client writes; `None`: there is nothing. Of headers and of user name and password it has whether
    /// they are shown, and whether as they were sent: no value.
    #[must_use]
    pub fn digest(&self, wanted: &Wanted) -> Option<String> {
        let body = self.body.as_ref()?;
        let sent = sent(wanted);
        let mut shown = only(body, &OF_SUBSCRIPTION);
        // Elsewhere a broker fills in one of its own making.
        if sent.is_some_and(|sent| sent.contains_key("jsonldContext")) {
            shown.extend(only(body, &["jsonldContext"]));
        }
        let notification = part(body, "notification");
        let endpoint = part(&notification, "endpoint");
        let sent_endpoint = sent.map(|sent| part(&part(sent, "notification"), "endpoint"));
        let sent_endpoint = sent_endpoint.unwrap_or_default();
        shown.extend(
            only(&notification, &OF_NOTIFICATION)
                .into_iter()
                .map(|(name, value)| (format!("notification.{name}"), value)),
        );
        shown.extend(
            only(&endpoint, &OF_ENDPOINT)
                .into_iter()
                .map(|(name, value)| (format!("endpoint.{name}"), value)),
        );
        shown.insert(
            "endpoint.uri".into(),
            address(endpoint.get("uri"), sent_endpoint.get("uri")),
        );
        shown.insert(
            "endpoint.receiverInfo".into(),
            headers(endpoint.get("receiverInfo"), sent_endpoint.get("receiverInfo")),
        );
        Some(digest(&sorted(Value::Object(shown))))
    }

    /// Members that are there and are not wanted. What a broker fills in by itself is none of them.
    #[must_use]
    pub fn left_over(&self, wanted: &Wanted) -> Vec<&'static str> {
        let (Some(body), Some(sent)) = (&self.body, sent(wanted)) else {
            return Vec::new();
        };
        let (notification, sent_notification) = (part(body, "notification"), part(sent, "notification"));
        let (endpoint, sent_endpoint) = (
            part(&notification, "endpoint"),
            part(&sent_notification, "endpoint"),
        );
        let mut left = Vec::new();
        for (found, sent, names) in [
            (body, sent, &OF_SUBSCRIPTION[..]),
            (&notification, &sent_notification, &OF_NOTIFICATION[..]),
            (&endpoint, &sent_endpoint, &["accept", "receiverInfo"][..]),
        ] {
            left.extend(names.iter().filter(|name| {
                let unwanted = found.get(**name).filter(|_| !sent.contains_key(**name));
                unwanted.is_some_and(|value| !is_default(name, value))
            }));
        }
        left
    }

    /// As [`Self::left_over`], of the subscription's own members only: those that a merge patch takes away with a null.
    #[must_use]
    pub fn left_over_on_top(&self, wanted: &Wanted) -> Vec<&'static str> {
        let mut left = self.left_over(wanted);
        left.retain(|name| OF_SUBSCRIPTION.contains(name));
        left
    }

    /// Members that are wanted and not shown: a broker may not know them, and then does not act on them.
    #[must_use]
    pub fn missing(&self, wanted: &Wanted) -> Vec<&'static str> {
        let (Some(body), Some(sent)) = (&self.body, sent(wanted)) else {
            return Vec::new();
        };
        let (notification, sent_notification) = (part(body, "notification"), part(sent, "notification"));
        let (endpoint, sent_endpoint) = (
            part(&notification, "endpoint"),
            part(&sent_notification, "endpoint"),
        );
        let mut missing = Vec::new();
        for (found, sent, names) in [
            (body, sent, &OF_SUBSCRIPTION[..]),
            (&notification, &sent_notification, &OF_NOTIFICATION[..]),
            (&endpoint, &sent_endpoint, &["accept", "cooldown", "timeout"][..]),
        ] {
            missing.extend(names.iter().filter(|name| {
                let wanted = sent.get(**name).filter(|_| !found.contains_key(**name));
                wanted.is_some_and(|value| !is_default(name, value))
            }));
        }
        missing
    }
}

fn sent(wanted: &Wanted) -> Option<&Map<String, Value>> {
    wanted.body.as_ref().map(|body| &body.sent)
}

/// Whether a member says what holds without it.
fn is_default(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) | ("subscriptionName" | "temporalQ", _) => true,
        ("isActive", value) => *value == json!(true),
        ("localOnly" | "splitEntities" | "showChanges" | "sysAttrs", value) => *value == json!(false),
        ("format", value) => *value == json!("normalized"),
        ("accept", value) => *value == json!("application/json"),
        ("join", value) => *value == json!("none"),
        ("joinLevel", value) => *value == json!(1),
        ("throttling" | "timeInterval", value) => value.as_f64() == Some(0.0),
        ("notificationTrigger", Value::Array(triggers)) => {
            let named: BTreeSet<_> = triggers.iter().filter_map(Value::as_str).collect();
            named == BTreeSet::from(["attributeCreated", "attributeUpdated"])
        }
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

fn only(of: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let known = of.iter().filter(|(name, _)| names.contains(&name.as_str()));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn part(of: &Map<String, Value>, name: &str) -> Map<String, Value> {
    of.get(name)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// How a value that may be secret is shown.
fn mark(shown: Option<&str>, sent: Option<&str>) -> &'static str {
    match shown {
        None | Some("") => "hidden",
        shown if shown == sent => "as sent",
        Some(_) => "something else",
    }
}

/// The endpoint's address without user name and password, and how these are shown.
fn address(shown: Option<&Value>, sent: Option<&Value>) -> Value {
    let parsed = |value: Option<&Value>| {
        value
            .and_then(Value::as_str)
            .and_then(|text| Url::parse(text).ok())
    };
    let Some(mut url) = parsed(shown) else {
        return shown.cloned().unwrap_or_default();
    };
    let credentials = |url: &Url| format!("{}:{}", url.username(), url.password().unwrap_or_default());
    let of_sent = parsed(sent).map(|url| credentials(&url));
    let of_shown = Some(credentials(&url)).filter(|of| of != ":");
    let mark = mark(of_shown.as_deref(), of_sent.as_deref());
    // An address that takes no user name has none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    json!([url.as_str(), mark])
}

/// The names of headers, and how their values are shown.
fn headers(shown: Option<&Value>, sent: Option<&Value>) -> Value {
    let pairs = |value: Option<&Value>| -> Vec<(String, Option<String>)> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        items
            .map(|item| (text(item, "key").unwrap_or_default(), text(item, "value")))
            .collect()
    };
    let sent = pairs(sent);
    let mut marks: Vec<_> = pairs(shown)
        .into_iter()
        .map(|(key, value)| {
            let same = sent.iter().find(|(of, _)| of.eq_ignore_ascii_case(&key));
            let sent = same.and_then(|(_, value)| value.as_deref());
            json!([key.to_ascii_lowercase(), mark(value.as_deref(), sent)])
        })
        .collect();
    marks.sort_by_key(Value::to_string);
    Value::Array(marks)
}

/// Lists of words in an order of their own: a broker may have another one at every look.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted_members = members.into_iter().map(|(name, value)| {
                // The order of coordinates is what they say.
                let value = if name == "coordinates" {
                    value
                } else {
                    sorted(value)
                };
                (name, value)
            });
            Value::Object(sorted_members.collect())
        }
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

fn state(body: &Map<String, Value>) -> SubscriptionState {
    match body.get("status").and_then(Value::as_str) {
        Some("expired") => SubscriptionState::Expired,
        Some("paused" | "inactive") => SubscriptionState::Paused,
        None if body.get("isActive") == Some(&json!(false)) => SubscriptionState::Paused,
        Some(_) | None => SubscriptionState::Active,
    }
}

/// What `notification` tells of deliveries, where it tells anything. Newer brokers have it there, some older ones in `endpoint`.
fn delivery(body: &Map<String, Value>) -> Option<DeliveryStatus> {
    let notification = part(body, "notification");
    let endpoint = part(&notification, "endpoint");
    let member = |name: &str| notification.get(name).or_else(|| endpoint.get(name));
    let time = |name: &str| {
        let text = member(name)?.as_str()?;
        let at: Timestamp = text.replace(',', ".").parse().ok()?;
        // A status has no fractions.
        Timestamp::from_second(at.as_second()).ok().map(Time)
    };
    let count = |name: &str| member(name).and_then(Value::as_i64).filter(|count| *count >= 0);
    let told = DeliveryStatus {
        result: None,
        sample_time: None,
        last_notification: time("lastNotification"),
        last_success: time("lastSuccess"),
        last_failure: time("lastFailure"),
        times_sent: count("timesSent"),
        times_failed: count("timesFailed"),
    };
    let said = match member("status").and_then(Value::as_str) {
        Some("ok") => Some(DeliveryResult::Ok),
        Some("failed") => Some(DeliveryResult::Failed),
        // Whoever does not say it may tell the times.
        _ => match (&told.last_success, &told.last_failure) {
            (Some(success), Some(failure)) if failure.0 > success.0 => Some(DeliveryResult::Failed),
            (None, Some(_)) => Some(DeliveryResult::Failed),
            (Some(_), _) => Some(DeliveryResult::Ok),
            (None, None) => None,
        },
    };
    let sent = told.last_notification.is_some() || told.times_sent.is_some_and(|sent| sent > 0);
    let result = said.filter(|_| sent || told.last_failure.is_some() || told.last_success.is_some());
    let told = DeliveryStatus { result, ..told };
    (told != DeliveryStatus::default()).then_some(told)
}

#[cfg(test)]
#[path = "found_tests.rs"]
mod tests;
