//! From what a client sends to a subscription. What makes no sense is refused here, with the member's name (clause 5.8.1).

use crate::context::Context;
use crate::context::terms::Expression;
use crate::model::json::Json;
use crate::model::names::{instant, is_uri};
use crate::model::read::expanded_name;
use crate::model::view::asked::Asked;
use crate::model::view::{Representation, Shape};
use crate::model::{Refusal, refuse};
use crate::query::evaluate::Prepared;
use crate::query::pattern::Pattern;
use crate::query::{self, Selection, geo, q, scope, types};
use crate::subscription::endpoint::Endpoint;
use crate::subscription::trigger::Trigger;
use crate::subscription::{EntitySelector, Format, GeoQ, Join, Notification, Seconds, Subscription};
use jiff::Timestamp;

/// How many entries a list may have.
const MAX_LIST: usize = 100;
/// The longest text that is only kept.
const MAX_TEXT: usize = 4096;
/// The longest time between notifications, in seconds: some ten years.
const MAX_SECONDS: f64 = 3.2e8;
/// How far links may be followed.
const MAX_JOIN_LEVEL: u64 = 10;

/// Members that the broker writes; a client may send them back.
const READ_ONLY: [&str; 4] = ["status", "createdAt", "modifiedAt", "@context"];
const NOTIFICATION_READ_ONLY: [&str; 6] = [
    "status",
    "timesSent",
    "timesFailed",
    "lastNotification",
    "lastSuccess",
    "lastFailure",
];

/// An object of a client's document, asked member by member.
pub(super) struct Object<'j> {
    members: &'j [(String, Json)],
    at: &'j str,
}

impl<'j> Object<'j> {
    pub(super) fn of(value: &'j Json, at: &'j str) -> Result<Self, Refusal> {
        match value {
            Json::Object(members) => Ok(Self { members, at }),
            other => refuse(format!("{at} is an object, not {}", other.kind())),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'j Json> {
        self.members
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &str, longest: usize) -> Result<Option<String>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::String(text)) if !text.is_empty() && text.len() <= longest => Ok(Some(text.clone())),
            Some(Json::String(_)) => refuse(format!("{} is a text of 1 to {longest} bytes", self.path(name))),
            Some(other) => refuse(format!("{} is a string, not {}", self.path(name), other.kind())),
        }
    }

    pub(super) fn need_text(&self, name: &str, longest: usize) -> Result<String, Refusal> {
        match self.text(name, longest)? {
            Some(text) => Ok(text),
            None => refuse(format!("{} is missing", self.path(name))),
        }
    }

    pub(super) fn word<T>(
        &self,
        name: &str,
        known: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name, MAX_TEXT)? else {
            return Ok(None);
        };
        match known(&text) {
            Some(word) => Ok(Some(word)),
            None => refuse(format!("{} does not know {:?}", self.path(name), short(&text))),
        }
    }

    /// A positive whole number.
    pub(super) fn number(&self, name: &str, most: u64) -> Result<Option<u64>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(text)) => match text.parse() {
                Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
                _ => refuse(format!("{} is a whole number from 1 to {most}", self.path(name))),
            },
            Some(other) => refuse(format!("{} is a number, not {}", self.path(name), other.kind())),
        }
    }

    fn seconds(&self, name: &str) -> Result<Option<Seconds>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(text)) if text.parse().is_ok_and(|n: f64| n > 0.0 && n <= MAX_SECONDS) => {
                Ok(Some(Seconds(text.to_string())))
            }
            Some(Json::Number(_)) => refuse(format!(
                "{} is more than 0 and at most {MAX_SECONDS}",
                self.path(name)
            )),
            Some(other) => refuse(format!(
                "{} is a number of seconds, not {}",
                self.path(name),
                other.kind()
            )),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => refuse(format!(
                "{} is true or false, not {}",
                self.path(name),
                other.kind()
            )),
        }
    }

    /// An array that is not empty.
    pub(super) fn array(&self, name: &str, most: usize) -> Result<Option<&'j [Json]>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Array(items)) if !items.is_empty() && items.len() <= most => Ok(Some(items)),
            Some(Json::Array(_)) => refuse(format!("{} has 1 to {most} entries", self.path(name))),
            Some(other) => refuse(format!("{} is an array, not {}", self.path(name), other.kind())),
        }
    }

    /// An array of texts, each made something of; empty where it is absent.
    fn list<T>(&self, name: &str, item: impl Fn(&str) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
        let items = self.array(name, MAX_LIST)?.unwrap_or_default();
        let item = |value: &Json| match value {
            Json::String(text) => {
                item(text).map_err(|Refusal(why)| Refusal(format!("{}: {why}", self.path(name))))
            }
            other => refuse(format!("{} has strings, not {}", self.path(name), other.kind())),
        };
        items.iter().map(item).collect()
    }

    /// Refuses members that are not known: a member that is ignored is a promise that is not kept.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self
            .members
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            Some((name, _)) => refuse(format!("{} is not a member here", self.path(&short(name)))),
            None => Ok(()),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

const MEMBERS: &[&str] = &[
    "id",
    "@id",
    "type",
    "@type",
    "subscriptionName",
    "name",
    "description",
    "entities",
    "watchedAttributes",
    "notificationTrigger",
    "timeInterval",
    "throttling",
    "q",
    "geoQ",
    "scopeQ",
    "csf",
    "lang",
    "datasetId",
    "localOnly",
    "isActive",
    "expiresAt",
    "expires",
    "jsonldContext",
    "notification",
];

impl Subscription {
    /// Reads a whole subscription. `new_id` is its id where the client gave none.
    pub fn read(body: &Json, context: &Context, new_id: &str, now: Timestamp) -> Result<Self, Refusal> {
        let read = Self::parsed(body, context, new_id)?;
        read.notification.endpoint.has_no_stand_in()?;
        read.checked(now)
    }

    /// Its members, each by itself.
    fn parsed(body: &Json, context: &Context, new_id: &str) -> Result<Self, Refusal> {
        let sent = Object::of(body, "")?;
        let known: Vec<&str> = MEMBERS.iter().chain(&READ_ONLY).copied().collect();
        sent.only(&known)?;
        match sent
            .get("type")
            .or_else(|| sent.get("@type"))
            .and_then(Json::as_str)
        {
            Some("Subscription") => {}
            _ => return refuse("type must be \"Subscription\""),
        }
        Ok(Self {
            id: match sent.text("id", MAX_TEXT)?.or(sent.text("@id", MAX_TEXT)?) {
                None => new_id.to_owned(),
                Some(id) if is_uri(&id) => id,
                Some(id) => return refuse(format!("id: {:?} is not a URI", short(&id))),
            },
            subscription_name: sent.text("subscriptionName", MAX_TEXT)?,
            description: sent.text("description", MAX_TEXT)?,
            entities: match sent.array("entities", MAX_LIST)? {
                None => Vec::new(),
                Some(items) => items
                    .iter()
                    .map(|item| selector(item, context))
                    .collect::<Result<_, _>>()?,
            },
            watched_attributes: sent.list("watchedAttributes", |name| expanded_name(context, name))?,
            notification_trigger: sent.list("notificationTrigger", |name| {
                Trigger::named(name).ok_or_else(|| Refusal(format!("{:?} is no trigger", short(name))))
            })?,
            time_interval: sent.seconds("timeInterval")?,
            throttling: sent.seconds("throttling")?,
            q: sent
                .text("q", usize::MAX)?
                .map(|text| Expression::new(&text, context)),
            geo_q: sent.get("geoQ").map(|value| geo_q(value, context)).transpose()?,
            scope_q: sent.text("scopeQ", MAX_TEXT)?,
            csf: sent.text("csf", MAX_TEXT)?,
            lang: sent.text("lang", MAX_TEXT)?,
            dataset_id: sent.list("datasetId", dataset)?,
            local_only: sent.flag("localOnly")?,
            is_active: sent.flag("isActive")?,
            expires_at: sent.text("expiresAt", MAX_TEXT)?,
            jsonld_context: sent.text("jsonldContext", MAX_TEXT)?,
            context: context.given_link().map(str::to_owned),
            own_context: None,
            owner: None,
            notification: match sent.get("notification") {
                Some(value) => notification(value, context)?,
                None => return refuse("notification is missing"),
            },
        })
    }

    /// What an update makes of it (clause 5.8.2): members given take the place of those there, whole as 5.2.12 wants them, and
    /// nulls take them away. Names in it mean what they mean in its own context.
    pub fn updated(&self, fragment: &Json, context: &Context, now: Timestamp) -> Result<Self, Refusal> {
        let Json::Object(given) = fragment else {
            return refuse(format!("the body is an object, not {}", fragment.kind()));
        };
        if given.iter().all(|(name, _)| READ_ONLY.contains(&name.as_str())) {
            return refuse("the body has nothing to update");
        }
        // What is kept is shown with full names, which mean the same in every context.
        let mut whole = self.kept();
        merge(&mut whole, fragment);
        let mut updated = Self::parsed(&whole, context, &self.id)?;
        if updated.id != self.id {
            return refuse("id cannot be changed");
        }
        // Texts with names in them were read in the context of the update, also those that it does not give.
        if fragment.get("q").is_none() {
            updated.q.clone_from(&self.q);
        }
        if fragment.get("entities").is_none() {
            updated.entities.clone_from(&self.entities);
        }
        if fragment.get("notification").is_none() {
            updated.notification.clone_from(&self.notification);
        } else {
            let endpoint = &mut updated.notification.endpoint;
            endpoint.keep_hidden(&self.notification.endpoint);
            endpoint.has_no_stand_in()?;
        }
        updated.owner.clone_from(&self.owner);
        updated.context = context
            .given_link()
            .map(str::to_owned)
            .or(updated.context.take())
            .or(self.context.clone());
        updated.own_context.clone_from(&self.own_context);
        updated.checked(now)
    }

    /// What the members are to each other.
    fn checked(self, now: Timestamp) -> Result<Self, Refusal> {
        if self.entities.is_empty() && self.watched_attributes.is_empty() && self.local_only.is_none() {
            return refuse("a subscription needs entities or watchedAttributes");
        }
        if self.time_interval.is_some() {
            if self.throttling.is_some() || !self.watched_attributes.is_empty() {
                return refuse("timeInterval excludes throttling and watchedAttributes");
            }
            if self.entities.is_empty() {
                return refuse("timeInterval needs entities");
            }
        }
        match self.expires_at.as_deref().map(instant) {
            Some(None) => return refuse("expiresAt is not a DateTime, as 2030-01-01T00:00:00Z"),
            Some(Some(at)) if at <= now => return refuse("expiresAt is in the past"),
            _ => {}
        }
        if self.jsonld_context.as_deref().is_some_and(|url| !is_uri(url)) {
            return refuse("jsonldContext is not a URI");
        }
        // Also refuses what no change can be asked.
        Prepared::of(&self.criteria()?)?;
        self.notification.checked()?;
        self.shape()?;
        Ok(self)
    }
}

/// Takes over the members of a fragment.
fn merge(whole: &mut Json, fragment: &Json) {
    let (Json::Object(whole), Json::Object(fragment)) = (whole, fragment) else {
        return;
    };
    for (name, value) in fragment {
        let at = whole.iter().position(|(n, _)| n == name);
        match (at.and_then(|at| whole.get_mut(at)), value) {
            (Some(_), Json::Null) => whole.retain(|(n, _)| n != name),
            (None, Json::Null) => {}
            (Some((_, there)), value) => there.clone_from(value),
            (None, value) => whole.push((name.clone(), value.clone())),
        }
    }
}

fn dataset(id: &str) -> Result<String, Refusal> {
    if id == "@none" || is_uri(id) {
        Ok(id.to_owned())
    } else {
        refuse(format!("{:?} is not a URI", short(id)))
    }
}

fn selector(value: &Json, context: &Context) -> Result<EntitySelector, Refusal> {
    let sent = Object::of(value, "entities[]")?;
    sent.only(&["id", "@id", "idPattern", "type", "@type"])?;
    let Some(types) = sent.text("type", MAX_TEXT)?.or(sent.text("@type", MAX_TEXT)?) else {
        return refuse("entities[].type is missing");
    };
    types::parse(&types, context).map_err(|Refusal(why)| Refusal(format!("entities[].{why}")))?;
    let id = sent.text("id", MAX_TEXT)?.or(sent.text("@id", MAX_TEXT)?);
    if id.as_deref().is_some_and(|id| !is_uri(id)) {
        return refuse("entities[].id is not a URI");
    }
    let id_pattern = sent.text("idPattern", MAX_TEXT)?;
    if let Some(text) = &id_pattern {
        Pattern::new(text).map_err(|Refusal(why)| Refusal(format!("entities[].idPattern: {why}")))?;
    }
    Ok(EntitySelector {
        types: Expression::new(&types, context),
        id,
        id_pattern,
    })
}

fn geo_q(value: &Json, context: &Context) -> Result<GeoQ, Refusal> {
    let sent = Object::of(value, "geoQ")?;
    sent.only(&["georel", "geometry", "coordinates", "geoproperty"])?;
    let coordinates = match sent.get("coordinates") {
        Some(Json::String(text)) => text.clone(),
        Some(array @ Json::Array(_)) => array.to_text(),
        _ => return refuse("geoQ.coordinates is an array, or a text that holds one"),
    };
    let geoproperty = sent.text("geoproperty", MAX_TEXT)?;
    Ok(GeoQ {
        georel: sent.need_text("georel", MAX_TEXT)?,
        geometry: sent.need_text("geometry", MAX_TEXT)?,
        coordinates,
        geoproperty: geoproperty
            .map(|name| expanded_name(context, &name))
            .transpose()?,
    })
}

impl EntitySelector {
    /// The pattern of ids, where no id wins over it.
    fn pattern(&self) -> Result<Option<Pattern>, Refusal> {
        let text = self.id_pattern.as_deref().filter(|_| self.id.is_none());
        text.map(Pattern::new).transpose()
    }
}

impl GeoQ {
    /// The query.
    pub fn parsed(&self) -> Result<Option<geo::GeoQuery>, Refusal> {
        geo::parse(
            Some(&self.georel),
            Some(&self.geometry),
            Some(&self.coordinates),
            self.geoproperty.as_deref(),
            &Context::core(),
        )
        .map_err(|Refusal(why)| Refusal(format!("geoQ: {why}")))
    }
}

fn notification(value: &Json, context: &Context) -> Result<Notification, Refusal> {
    let sent = Object::of(value, "notification")?;
    let mut known = vec![
        "attributes",
        "pick",
        "omit",
        "format",
        "sysAttrs",
        "showChanges",
        "join",
        "joinLevel",
        "endpoint",
    ];
    known.extend(NOTIFICATION_READ_ONLY);
    sent.only(&known)?;
    let members = |name: &str| -> Result<Option<Expression>, Refusal> {
        let text = match sent.get(name) {
            Some(Json::Array(_)) => Some(sent.list(name, |text| Ok(text.to_owned()))?.join(",")),
            _ => sent.text(name, MAX_TEXT)?,
        };
        Ok(text.map(|text| Expression::new(&text, context)))
    };
    Ok(Notification {
        attributes: sent.list("attributes", |name| expanded_name(context, name))?,
        pick: members("pick")?,
        omit: members("omit")?,
        format: sent.word("format", |word| match word {
            "normalized" => Some(Format::Normalized),
            "concise" => Some(Format::Concise),
            "keyValues" => Some(Format::KeyValues),
            "simplified" => Some(Format::Simplified),
            _ => None,
        })?,
        sys_attrs: sent.flag("sysAttrs")?,
        show_changes: sent.flag("showChanges")?,
        join: sent.word("join", |word| match word {
            "flat" => Some(Join::Flat),
            "inline" => Some(Join::Inline),
            "@none" => Some(Join::None),
            _ => None,
        })?,
        join_level: sent
            .number("joinLevel", MAX_JOIN_LEVEL)?
            .and_then(|level| u32::try_from(level).ok()),
        endpoint: match sent.get("endpoint") {
            Some(value) => Endpoint::read(value)?,
            None => return refuse("notification.endpoint is missing"),
        },
    })
}

impl Notification {
    fn checked(&self) -> Result<(), Refusal> {
        if !self.attributes.is_empty() && (self.pick.is_some() || self.omit.is_some()) {
            return refuse("notification.attributes excludes pick and omit");
        }
        let simplified = matches!(self.format, Some(Format::KeyValues | Format::Simplified));
        if self.show_changes == Some(true) && simplified {
            return refuse("notification.showChanges needs the normalized or the concise format");
        }
        Ok(())
    }
}

impl Subscription {
    /// In which shape entities are told. Fails for none that was read.
    pub fn shape(&self) -> Result<Shape, Refusal> {
        fn names(list: &[String]) -> Option<Vec<&str>> {
            (!list.is_empty()).then(|| list.iter().map(String::as_str).collect())
        }
        fn members(expression: Option<&Expression>) -> Option<Vec<&str>> {
            expression.map(|expression| vec![expression.text.as_str()])
        }
        let notification = &self.notification;
        let asked = Asked {
            representation: match notification.format {
                None | Some(Format::Normalized) => Representation::Normalized,
                Some(Format::Concise) => Representation::Concise,
                Some(Format::KeyValues | Format::Simplified) => Representation::Simplified,
            },
            sys_attrs: notification.sys_attrs == Some(true),
            attrs: names(&notification.attributes),
            pick: members(notification.pick.as_ref()),
            omit: members(notification.omit.as_ref()),
            lang: self.lang.as_deref(),
            datasets: names(&self.dataset_id),
            join: notification.join.map(Join::name),
            join_level: notification.join_level.map(|level| level.to_string().into()),
            ..Asked::default()
        };
        let expressions = notification.pick.iter().chain(&notification.omit);
        Shape::of(&asked, &Expression::context_of(expressions))
    }

    /// Which entities it is about, parsed. Fails for none that was read.
    pub fn criteria(&self) -> Result<Selection, Refusal> {
        let selector = |one: &EntitySelector| {
            Ok(query::EntitySelector {
                types: Some(types::parse(&one.types.text, &one.types.context())?),
                ids: one.id.iter().cloned().collect(),
                id_pattern: one.pattern()?,
            })
        };
        let geo = self.geo_q.as_ref().map(GeoQ::parsed).transpose()?;
        Ok(Selection {
            entities: self
                .entities
                .iter()
                .map(selector)
                .collect::<Result<_, Refusal>>()?,
            attrs: Vec::new(),
            q: self
                .q
                .as_ref()
                .map(|q| q::parse(&q.text, &q.context()))
                .transpose()?,
            geo: geo.flatten(),
            scope: self.scope_q.as_deref().map(scope::parse).transpose()?,
        })
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
