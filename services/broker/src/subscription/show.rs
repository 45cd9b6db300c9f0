//! What a client sees of a subscription: what was sent, in the names of the client's context, and what came of it.

use crate::context::Context;
use crate::context::terms::Expression;
use crate::model::json::Json;
use crate::model::names::{instant, time_text};
use crate::subscription::endpoint::{Accept, Endpoint, HIDDEN, Pair, is_secret, without_password};
use crate::subscription::trigger::{DEFAULT, Trigger};
use crate::subscription::{EntitySelector, Format, GeoQ, Join, Notification, Seconds, Subscription};
use jiff::Timestamp;

/// What came of a subscription so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub modified: Timestamp,
    /// Notifications that were sent.
    pub times_sent: i64,
    /// Those of them that the receiver did not take.
    pub times_failed: i64,
    /// When the last one was sent.
    pub last_notification: Option<Timestamp>,
    /// When one was taken last.
    pub last_success: Option<Timestamp>,
    /// When one was not taken last.
    pub last_failure: Option<Timestamp>,
}

/// An object whose members are there only where there is something to show.
#[derive(Default)]
struct Members(Vec<(String, Json)>);

impl Members {
    fn put(&mut self, name: &str, value: Json) {
        self.0.push((name.to_owned(), value));
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(name, Json::string(value));
        }
    }

    fn flag(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.put(name, Json::Bool(value));
        }
    }

    fn number(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(name, Json::Number(value.to_string().into()));
        }
    }

    fn seconds(&mut self, name: &str, value: Option<&Seconds>) {
        self.number(name, value.map(Seconds::text));
    }

    fn time(&mut self, name: &str, value: Option<Timestamp>) {
        if let Some(value) = value {
            self.put(name, Json::String(time_text(value)));
        }
    }

    fn list(&mut self, name: &str, items: impl ExactSizeIterator<Item = Json>) {
        if items.len() > 0 {
            self.put(name, Json::Array(items.collect()));
        }
    }

    fn done(self) -> Json {
        Json::Object(self.0)
    }
}

impl Subscription {
    /// As a client sees it at this time.
    #[must_use]
    pub fn shown(&self, context: &Context, outcome: &Outcome, sys_attrs: bool, now: Timestamp) -> Json {
        let mut members = self.members(Some(context));
        if self.notification_trigger.is_empty() {
            members.list(
                "notificationTrigger",
                DEFAULT.iter().map(|t| Json::string(t.name())),
            );
        }
        members.put("status", Json::string(self.status(now)));
        if sys_attrs {
            members.time("createdAt", Some(outcome.created));
            members.time("modifiedAt", Some(outcome.modified));
        }
        let mut notification = self.notification.members(Some(context));
        if outcome.times_sent > 0 {
            let failed = outcome.last_failure > outcome.last_success;
            notification.text("status", Some(if failed { "failed" } else { "ok" }));
            notification.number("timesSent", Some(outcome.times_sent));
            if outcome.times_failed > 0 {
                notification.number("timesFailed", Some(outcome.times_failed));
            }
            notification.time("lastNotification", outcome.last_notification);
            notification.time("lastSuccess", outcome.last_success);
            notification.time("lastFailure", outcome.last_failure);
        }
        members.put("notification", notification.done());
        members.done()
    }

    /// As it is kept, for an update to be merged into: names in full, and no secret hidden.
    pub(super) fn kept(&self) -> Json {
        let mut members = self.members(None);
        members.put("notification", self.notification.members(None).done());
        members.done()
    }

    /// `active`, `paused` or `expired`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> &'static str {
        if self.expires().is_some_and(|at| at <= now) {
            "expired"
        } else if self.is_active == Some(false) {
            "paused"
        } else {
            "active"
        }
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires_at.as_deref().and_then(instant)
    }

    /// All but the notification. Without a context names are told in full.
    fn members(&self, context: Option<&Context>) -> Members {
        let name = |iri: &String| named(iri, context);
        let mut members = Members::default();
        members.text("id", Some(&self.id));
        members.text("type", Some("Subscription"));
        members.text("subscriptionName", self.subscription_name.as_deref());
        members.text("description", self.description.as_deref());
        members.list("entities", self.entities.iter().map(|e| e.shown(context)));
        members.list("watchedAttributes", self.watched_attributes.iter().map(name));
        members.list(
            "notificationTrigger",
            self.notification_trigger
                .iter()
                .map(|t: &Trigger| Json::string(t.name())),
        );
        members.seconds("timeInterval", self.time_interval.as_ref());
        members.seconds("throttling", self.throttling.as_ref());
        members.text("q", self.q.as_ref().map(|q| q.text.as_str()));
        if let Some(geo) = &self.geo_q {
            members.put("geoQ", geo.shown(context));
        }
        members.text("scopeQ", self.scope_q.as_deref());
        members.text("csf", self.csf.as_deref());
        members.text("lang", self.lang.as_deref());
        members.list("datasetId", self.dataset_id.iter().map(Json::string));
        members.flag("localOnly", self.local_only);
        members.flag("isActive", self.is_active);
        members.text("expiresAt", self.expires_at.as_deref());
        members.text("jsonldContext", self.jsonld_context.as_deref());
        members
    }
}

fn named(iri: &str, context: Option<&Context>) -> Json {
    Json::string(context.map_or(iri.into(), |context| context.name(iri)))
}

impl EntitySelector {
    fn shown(&self, context: Option<&Context>) -> Json {
        let mut members = Members::default();
        members.text("id", self.id.as_deref());
        members.text("idPattern", self.id_pattern.as_deref());
        members.put("type", types(&self.types, context));
        members.done()
    }
}

/// One type by its name in the context; a selection of several as it was sent.
fn types(types: &Expression, context: Option<&Context>) -> Json {
    let is_one = !types.text.contains(['*', ',', '|', ';', '(']);
    if is_one {
        named(&types.context().expand(&types.text), context)
    } else {
        Json::string(&types.text)
    }
}

impl GeoQ {
    fn shown(&self, context: Option<&Context>) -> Json {
        let mut members = Members::default();
        members.text("geometry", Some(&self.geometry));
        let coordinates = Json::parse(self.coordinates.as_bytes());
        members.put(
            "coordinates",
            coordinates.unwrap_or_else(|_| Json::string(&self.coordinates)),
        );
        members.text("georel", Some(&self.georel));
        if let Some(iri) = &self.geoproperty {
            members.put("geoproperty", named(iri, context));
        }
        members.done()
    }
}

impl Notification {
    fn members(&self, context: Option<&Context>) -> Members {
        let mut members = Members::default();
        members.list(
            "attributes",
            self.attributes.iter().map(|iri| named(iri, context)),
        );
        for (name, expression) in [("pick", &self.pick), ("omit", &self.omit)] {
            if let Some(expression) = expression {
                let names = expression.text.split(',').map(Json::string);
                // A list as it was sent; what has braces is one text.
                members.put(
                    name,
                    if expression.text.contains('{') {
                        Json::string(&expression.text)
                    } else {
                        Json::Array(names.collect())
                    },
                );
            }
        }
        members.text("format", self.format.map(Format::name));
        members.flag("sysAttrs", self.sys_attrs);
        members.flag("showChanges", self.show_changes);
        members.text("join", self.join.map(Join::name));
        members.number("joinLevel", self.join_level);
        members.put("endpoint", self.endpoint.shown(context.is_some()));
        members
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Normalized => "normalized",
            Self::Concise => "concise",
            Self::KeyValues => "keyValues",
            Self::Simplified => "simplified",
        }
    }
}

impl Join {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Inline => "inline",
            Self::None => "@none",
        }
    }
}

impl Endpoint {
    /// Values that may open something are never told to anybody, and neither is a password in the URL.
    fn shown(&self, hide: bool) -> Json {
        let pair = |pair: &Pair| {
            let mut members = Members::default();
            members.text("key", Some(&pair.key));
            let hidden = hide && is_secret(&pair.key);
            members.text("value", Some(if hidden { HIDDEN } else { &pair.value }));
            members.done()
        };
        let mut members = Members::default();
        members.text(
            "uri",
            Some(&if hide {
                without_password(&self.uri)
            } else {
                self.uri.clone()
            }),
        );
        members.text("accept", self.accept.map(Accept::name));
        members.number("timeout", self.timeout);
        members.number("cooldown", self.cooldown);
        members.list("receiverInfo", self.receiver_info.iter().map(pair));
        members.list("notifierInfo", self.notifier_info.iter().map(pair));
        members.done()
    }
}
