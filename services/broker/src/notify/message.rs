//! What is told of a change (clauses 5.3.1, 5.8.6 and 6.3.8). Pure.

use crate::context::Context;
use crate::model::Refusal;
use crate::model::diff::{What, changes};
use crate::model::entity::{Entity, Instance, Kind};
use crate::model::json::{Json, write_string};
use crate::model::linked::Unlinked;
use crate::model::names::{NONE, NULL, time_text};
use crate::model::render::View;
use crate::model::view::Shape;
use crate::notify::record::Recorded;
use crate::subscription::Subscription;
use crate::subscription::endpoint::Accept;
use jiff::Timestamp;
use std::fmt::Write as _;

/// A notification, ready to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The media type of the body.
    pub content_type: &'static str,
    /// The Link header that tells the context, where the body does not.
    pub link: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What a subscription is told, entity by entity.
pub struct Telling<'a> {
    subscription: &'a Subscription,
    context: &'a Context,
    accept: Accept,
    shape: Shape,
    data: String,
}

impl<'a> Telling<'a> {
    /// Nothing yet.
    pub fn new(subscription: &'a Subscription, context: &'a Context) -> Result<Self, Refusal> {
        Ok(Self {
            subscription,
            context,
            accept: subscription.notification.endpoint.accept.unwrap_or(Accept::Json),
            shape: subscription.shape()?,
            data: String::with_capacity(1024),
        })
    }

    /// How many bytes of entities there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// Adds what happened to an entity.
    pub fn change(&mut self, recorded: &Recorded) {
        match (&recorded.before, &recorded.after) {
            (before, Some(after)) => self.entity(&with_what_is_gone(before.as_ref(), after)),
            (Some(before), None) => self.deleted(before, recorded.at),
            (None, None) => {}
        }
    }

    /// Adds an entity.
    pub fn entity(&mut self, entity: &Entity) {
        let mut out = self.next();
        let (view, shown) = (self.view(), [self.shape.shown()]);
        match self.accept {
            Accept::GeoJson => view.feature(entity, &shown, &mut out, &mut Unlinked),
            _ => view.entity(entity, &shown, &mut out, &mut Unlinked),
        }
        self.data = out;
    }

    /// Adds that an entity is gone: its id, its types, and since when.
    fn deleted(&mut self, before: &Entity, at: Timestamp) {
        let mut out = self.next();
        write_deleted(&mut out, before, at, &self.view());
        self.data = out;
    }

    fn next(&mut self) -> String {
        let mut out = std::mem::take(&mut self.data);
        if !out.is_empty() {
            out.push(',');
        }
        out
    }

    fn view(&self) -> View<'_> {
        View::new(self.context, &self.shape, self.accept == Accept::LdJson)
    }

    /// The notification with this id.
    #[must_use]
    pub fn finish(self, id: &str, now: Timestamp) -> Message {
        let mut body = String::with_capacity(self.data.len() + 256);
        body.push_str("{\"id\":");
        write_string(&mut body, id);
        body.push_str(",\"type\":\"Notification\",\"subscriptionId\":");
        write_string(&mut body, &self.subscription.id);
        let _ = write!(body, ",\"notifiedAt\":\"{}\",\"data\":", time_text(now));
        let data = &self.data;
        if self.accept == Accept::GeoJson {
            let _ = write!(body, "{{\"type\":\"FeatureCollection\",\"features\":[{data}]}}}}");
        } else {
            let _ = write!(body, "[{data}]}}");
        }
        Message {
            content_type: self.accept.name(),
            link: (self.accept != Accept::LdJson).then(|| self.context.link_header()),
            headers: Vec::new(),
            body,
        }
    }
}

/// The entity as it is, with a null in place of each instance that is gone.
fn with_what_is_gone(before: Option<&Entity>, after: &Entity) -> Entity {
    let mut told = after.clone();
    let Some(before) = before else {
        return told;
    };
    for change in changes(Some(&before.attributes), Some(&after.attributes)) {
        if let (What::Deleted, Some(gone)) = (change.what(), change.before) {
            let mut null = Instance::new(gone.kind, null_of(gone.kind));
            null.dataset.clone_from(&gone.dataset);
            told.attributes
                .entry(change.iri.to_owned())
                .or_default()
                .push(null);
        }
    }
    told
}

fn null_of(kind: Kind) -> Json {
    match kind {
        Kind::LanguageProperty => Json::Object(vec![(NONE.to_owned(), Json::string(NULL))]),
        _ => Json::string(NULL),
    }
}

fn write_deleted(out: &mut String, before: &Entity, at: Timestamp, view: &View<'_>) {
    out.push_str("{\"id\":");
    write_string(out, &before.id);
    out.push_str(",\"type\":");
    let types: Vec<Json> = before
        .types
        .iter()
        .map(|t| Json::string(view.context.compact(t)))
        .collect();
    match <[Json; 1]>::try_from(types) {
        Ok([one]) => one.write(out),
        Err(several) => Json::Array(several).write(out),
    }
    if view.shape.sys_attrs {
        let _ = write!(
            out,
            ",\"createdAt\":\"{}\",\"modifiedAt\":\"{}\"",
            time_text(before.created),
            time_text(before.modified)
        );
    }
    let _ = write!(out, ",\"deletedAt\":\"{}\"", time_text(at));
    if view.with_context {
        out.push_str(",\"@context\":");
        write_string(out, view.context.link());
    }
    out.push('}');
}
