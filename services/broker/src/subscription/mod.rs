//! What a subscription is (clause 5.2.12), apart from where it is kept and how its notifications travel. Pure.
//!
//! * [`read`]: from what a client sends, checked; and what an update makes of the one that is there;
//! * [`show`]: what a client sees of it;
//! * [`trigger`]: whether a change of an entity triggers it;
//! * [`endpoint`]: where notifications go, checked.

pub mod endpoint;
pub mod read;
pub mod show;
pub mod trigger;

use crate::context::terms::Expression;
use crate::model::entity::Entity;
use crate::permissions::owner::Owner;
use crate::permissions::reach::Reach;
use crate::store::TenantId;
use crate::subscription::endpoint::Endpoint;
use crate::subscription::trigger::Trigger;
use serde::{Deserialize, Serialize};

/// A subscription as it is kept. Names are IRIs; what was absent is absent, so that a client sees what it sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// A URI.
    pub id: String,
    /// A short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which entities; any of these. Empty: any entity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntitySelector>,
    /// Attributes whose changes count, by IRI; empty: those of any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched_attributes: Vec<String>,
    /// Changes that count; empty: [`trigger::DEFAULT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notification_trigger: Vec<Trigger>,
    /// Seconds between notifications, which then do not wait for changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_interval: Option<Seconds>,
    /// Seconds after a notification in which changes count for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Seconds>,
    /// A query that the entity must pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<Expression>,
    /// An area that the entity must be in relation to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_q: Option<GeoQ>,
    /// Scopes of which the entity must have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_q: Option<String>,
    /// A filter of context sources, which this broker has none of; kept and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csf: Option<String>,
    /// Languages in which notifications are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Datasets of which instances are told; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dataset_id: Vec<String>,
    /// Whether only this broker's entities count. They always are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_only: Option<bool>,
    /// Whether it is to be active; absent: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// When it ends, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The URL of the context in which notifications are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonld_context: Option<String>,
    /// The URL of the context that the subscription came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The id of the context that the broker keeps for the subscription, and ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_context: Option<String>,
    /// Whose it is, where somebody with a permission set made it: what that subject does not see is not told. Clients do not
    /// see this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What is told, and where to.
    pub notification: Notification,
}

impl Subscription {
    /// The entities of its tenant that the owner sees.
    #[must_use]
    pub fn reach(&self, tenant: TenantId) -> Reach<'_> {
        match &self.owner {
            None => Reach::all(tenant),
            Some(owner) => Reach::of(tenant, owner.rules()),
        }
    }

    /// An entity as the owner sees it; `None`: not at all.
    #[must_use]
    pub fn seen(&self, entity: Entity) -> Option<Entity> {
        match &self.owner {
            None => Some(entity),
            Some(owner) => owner.rules().seen(entity),
        }
    }

    /// Whether what was before a change is told: what it took away, or what was something else.
    #[must_use]
    pub fn tells_before(&self) -> bool {
        let tells_what_is_gone = [
            Trigger::EntityDeleted,
            Trigger::EntityUpdated,
            Trigger::AttributeDeleted,
        ];
        let kinds = &self.notification_trigger;
        self.notification.show_changes == Some(true)
            || kinds.iter().any(|kind| tells_what_is_gone.contains(kind))
    }

    /// Whether it is told that this attribute is gone, also with its entity.
    #[must_use]
    pub fn tells_deletion_of(&self, iri: &str) -> bool {
        let kinds = &self.notification_trigger;
        let watched = &self.watched_attributes;
        let is_told = kinds.contains(&Trigger::AttributeDeleted) || kinds.contains(&Trigger::EntityUpdated);
        is_told && (watched.is_empty() || watched.iter().any(|other| other == iri))
    }
}

/// Entities that count: those of these types, with this id or one that the pattern matches (clause 5.2.33).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntitySelector {
    /// A selection of types.
    #[serde(rename = "type")]
    pub types: Expression,
    /// One id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A pattern of ids; an id wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_pattern: Option<String>,
}

/// A geo-query, its parts as texts (clause 4.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeoQ {
    /// The relation.
    pub georel: String,
    /// The type of the geometry.
    pub geometry: String,
    /// Its coordinates as JSON.
    pub coordinates: String,
    /// The IRI of the attribute that is asked; absent: `location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoproperty: Option<String>,
}

/// What is told, and where to (clause 5.2.14).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Attributes to tell, by IRI; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Members to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Expression>,
    /// Members not to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omit: Option<Expression>,
    /// The representation, as sent; absent: normalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether times of the broker are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sys_attrs: Option<bool>,
    /// Whether what was before is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_changes: Option<bool>,
    /// Whether linked entities are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// How far links are followed; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_level: Option<u32>,
    /// Where to.
    pub endpoint: Endpoint,
}

/// A representation, by each name that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// Everything.
    Normalized,
    /// Everything, types left out where they are implied.
    Concise,
    /// Values only.
    KeyValues,
    /// The same.
    Simplified,
}

/// How linked entities are told (clause 4.5.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Join {
    /// Beside what links them.
    Flat,
    /// Inside of it.
    Inline,
    /// Not.
    #[serde(rename = "@none")]
    None,
}

/// A positive number of seconds, which clients see as they sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(String);

impl Seconds {
    /// As a number.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.parse().unwrap_or(f64::MAX)
    }

    /// As sent.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}
