//! What is told of a change (clauses 5.3.1, 5.8.6 and 6.3.8). Pure.

use crate::context::Context;
use crate::model::diff::{What, changes};
use crate::model::entity::{Entity, Instance, Kind};
use crate::model::json::{Json, write_string};
use crate::model::linked::{Linked, Links, Unlinked};
use crate::model::names::{NONE, NULL, time_text};
use crate::model::render::View;
use crate::model::view::Shape;
use crate::model::view::join::Form;
use crate::model::view::projection::Shown;
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

/// How many bytes linked entities may take in one notification, and how many more once they stand inside of others.
pub const MAX_LINKED_BYTES: usize = 1024 * 1024;

/// What a subscription is told, entity by entity.
pub struct Telling<'a> {
    subscription: &'a Subscription,
    context: &'a Context,
    accept: Accept,
    shape: &'a Shape,
    data: String,
    /// How much of it are the entities that it is about; linked ones follow.
    own: usize,
    linked: Option<Linked<'a>>,
}

impl<'a> Telling<'a> {
    /// Nothing yet. The shape is the subscription's.
    #[must_use]
    pub fn new(subscription: &'a Subscription, context: &'a Context, shape: &'a Shape) -> Self {
        Self {
            subscription,
            context,
            accept: subscription.notification.endpoint.accept.unwrap_or(Accept::Json),
            shape,
            data: String::with_capacity(1024),
            own: 0,
            linked: shape.join.as_ref().map(Linked::new),
        }
    }

    /// How many bytes of entities there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// Adds what happened to an entity, as far as the owner of the subscription sees it. False: it sees nothing of it.
    pub fn change(&mut self, recorded: Recorded) -> bool {
        let seen = |entity: Option<Entity>| self.subscription.seen(entity?);
        // Another subscription may be why what was before is there.
        let before = recorded.before.filter(|_| self.subscription.tells_before());
        match (seen(before), seen(recorded.after)) {
            (before, Some(after)) => {
                let since = time_text(recorded.at);
                let view = self.view().with_what_went(&since);
                let view = match before.as_ref().filter(|_| self.shows_changes()) {
                    Some(before) => view.with_changes(&before.attributes),
                    None => view,
                };
                let mut told = with_what_is_gone(before.as_ref(), &after);
                self.tell_once(&mut told, |iri| after.attributes.contains_key(iri));
                self.own(view, &told, self.shape.shown());
            }
            (Some(before), None) => self.deleted(&before, recorded.at),
            (None, None) => return false,
        }
        true
    }

    /// Adds an entity, which the owner sees.
    pub fn entity(&mut self, entity: &Entity) {
        self.own(self.view(), entity, self.shape.shown());
    }

    /// Adds that an entity is gone: its id, its types, and since when; its attributes as null where their deletion is told,
    /// and what they were where changes are shown.
    fn deleted(&mut self, before: &Entity, at: Timestamp) {
        let since = time_text(at);
        let told = |iri: &str| self.shows_changes() || self.subscription.tells_deletion_of(iri);
        let attributes = before.attributes.iter().filter(|(iri, _)| told(iri));
        let mut gone = Entity {
            id: before.id.clone(),
            types: before.types.clone(),
            scope: Vec::new(),
            attributes: attributes
                .map(|(iri, all)| (iri.clone(), all.iter().map(null).collect()))
                .collect(),
            created: before.created,
            modified: before.modified,
        };
        self.tell_once(&mut gone, |_| false);
        let view = self.view().of_deleted(&since).with_what_went(&since);
        if self.shows_changes() {
            self.own(view.with_changes(&before.attributes), &gone, self.shape.shown());
        } else if gone.attributes.is_empty() {
            self.own(view, &gone, Shown::default());
        } else {
            self.own(view, &gone, self.shape.shown());
        }
    }

    /// Leaves of an attribute of which nothing is left the default instance, which says that the attribute is gone. The
    /// others are told with it only where there is more to say of each: when it was there, or what it was.
    fn tell_once(&self, told: &mut Entity, is_left: impl Fn(&str) -> bool) {
        if self.shows_changes() || self.shape.sys_attrs {
            return;
        }
        let shown = |i: &Instance| self.shape.datasets.as_ref().is_none_or(|d| d.have(i));
        for (iri, instances) in &mut told.attributes {
            let has_default = instances.iter().any(|i| i.dataset.is_none() && shown(i));
            if has_default && !is_left(iri) {
                instances.retain(|i| i.dataset.is_none());
            }
        }
    }

    fn own(&mut self, view: View<'_>, entity: &Entity, shown: Shown<'a>) {
        if let Some(linked) = &mut self.linked {
            linked.has(&entity.id);
        }
        self.append(view, entity, &[shown]);
        self.own = self.data.len();
    }

    fn append(&mut self, view: View<'_>, entity: &Entity, shown: &[Shown<'a>]) {
        if !self.data.is_empty() {
            self.data.push(',');
        }
        let is_feature = self.accept == Accept::GeoJson;
        let mut write = |links: &mut dyn Links| {
            if is_feature {
                view.feature(entity, shown, &mut self.data, links);
            } else {
                view.entity(entity, shown, &mut self.data, links);
            }
        };
        match &mut self.linked {
            None => write(&mut Unlinked),
            Some(linked) => {
                let mut links = linked.links_of(&entity.id, shown);
                write(&mut links);
                links.keep_places();
            }
        }
    }

    /// Whether entities may follow that these link to.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.linked.is_some()
    }

    /// The ids of linked entities that are to be read next; none where all are there.
    pub fn next_level(&mut self) -> Vec<String> {
        self.linked.as_mut().map(Linked::next_level).unwrap_or_default()
    }

    /// Adds a linked entity, as it is now; false: there is no room for it or for others.
    pub fn linked(&mut self, entity: &Entity) -> bool {
        let view = self.view().of_linked();
        let Some(linked) = &mut self.linked else {
            return false;
        };
        let form = linked.form();
        for shown in linked.shown_of(&entity.id) {
            if !view.shows_something(entity, &shown) {
                continue;
            }
            match form {
                Form::Flat => self.append(view, entity, &shown),
                Form::Inline => self.keep(view, entity, &shown),
            }
        }
        let size = self.linked.as_ref().map_or(0, Linked::size);
        self.data.len() - self.own + size <= MAX_LINKED_BYTES
    }

    /// Keeps a linked entity, to be put inside of others.
    fn keep(&mut self, mut view: View<'_>, entity: &Entity, shown: &[Shown<'a>]) {
        let Some(linked) = &mut self.linked else {
            return;
        };
        view.with_context = false;
        let mut text = String::new();
        let mut links = linked.links_of(&entity.id, shown);
        view.entity(entity, shown, &mut text, &mut links);
        links.keep_text(text);
    }

    /// Tells what it is about, and nothing of linked entities: there are more than a notification may have.
    pub fn forget_linked(&mut self) {
        self.data.truncate(self.own);
        self.data.shrink_to_fit();
        self.linked = None;
    }

    /// Puts linked entities into their places.
    fn fill(&mut self) {
        if self.linked.as_ref().is_some_and(Linked::are_too_many) {
            self.forget_linked();
        }
        let Some(linked) = self.linked.take().filter(Linked::fills) else {
            return;
        };
        let mut filled = String::with_capacity(self.data.len() + linked.size());
        let most = self.data.len() + 2 * MAX_LINKED_BYTES;
        let whole = linked.filled(&self.data, &mut |piece| {
            filled.push_str(piece);
            filled.len() <= most
        });
        if whole {
            self.data = filled;
        }
    }

    fn shows_changes(&self) -> bool {
        self.subscription.notification.show_changes == Some(true)
    }

    fn view(&self) -> View<'a> {
        View::new(self.context, self.shape, self.accept == Accept::LdJson)
    }

    /// The notification with this id.
    #[must_use]
    pub fn finish(mut self, id: &str, now: Timestamp) -> Message {
        self.fill();
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
            told.attributes
                .entry(change.iri.to_owned())
                .or_default()
                .push(null(gone));
        }
    }
    told
}

/// What stands in place of an instance that is gone.
fn null(gone: &Instance) -> Instance {
    let value = match gone.kind {
        Kind::LanguageProperty => Json::Object(vec![(NONE.to_owned(), Json::string(NULL))]),
        _ => Json::string(NULL),
    };
    let mut null = Instance::new(gone.kind, value);
    null.dataset.clone_from(&gone.dataset);
    null.created.clone_from(&gone.created);
    null.modified.clone_from(&gone.modified);
    null
}
