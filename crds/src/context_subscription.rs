//! ContextSubscription: MIM1, a subscription in a context broker that the operator keeps as it is written here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    CustomResource, KubeSchema,
    core::{Reason, Rule},
};
use serde::{Deserialize, Serialize};

use crate::{
    context_broker::unobserved,
    duration::is_duration,
    names,
    notification::{Notification, Switch},
    schema::{self, Default as SchemaDefault},
};

/// Defaults that derive cannot say.
pub const DEFAULTS: &[SchemaDefault] = &[SchemaDefault {
    path: &["status"],
    value: unobserved,
}];

/// Held on a ContextSubscription while its subscription may be in a broker.
pub const FINALIZER: &str = "mim.city/subscription";

/// Whether a subscription sends notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionMode {
    /// It sends.
    #[default]
    Active,
    /// It is kept, and sends nothing.
    Paused,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

schema::words!(SubscriptionMode: "Active", "Paused");

/// A change that makes a subscription send (NGSI-LD `notificationTrigger`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// An entity was created.
    EntityCreated,
    /// Any change of an entity's attributes.
    EntityUpdated,
    /// An entity was deleted.
    EntityDeleted,
    /// An attribute was added, with a new entity too.
    AttributeCreated,
    /// An attribute has another value.
    AttributeUpdated,
    /// An attribute was deleted.
    AttributeDeleted,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

schema::words!(Trigger: "EntityCreated", "EntityUpdated", "EntityDeleted", "AttributeCreated", "AttributeUpdated", "AttributeDeleted");

/// Geometries of GeoJSON that a query takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Geometry {
    /// One position.
    #[default]
    Point,
    /// Positions.
    MultiPoint,
    /// A line.
    LineString,
    /// Lines.
    MultiLineString,
    /// An area.
    Polygon,
    /// Areas.
    MultiPolygon,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

schema::words!(Geometry: "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon");

fn tenant(of: &str) -> String {
    format!("(has({of}.tenant) ? {of}.tenant : '')")
}

/// A tenant that changes is refused: the subscription would stay behind in the old one.
fn tenant_is_immutable() -> Rule {
    Rule::new(format!("{} == {}", tenant("self"), tenant("oldSelf")))
        .message("tenant cannot be changed: make a new ContextSubscription and delete this one")
        .field_path(".tenant")
        .reason(Reason::FieldValueForbidden)
}

/// A subscription in a context broker (MIM1): which changes are told to whom. The operator makes it, sets back what is changed by hand, and deletes it with this object.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mim.city",
    version = "v1alpha1",
    kind = "ContextSubscription",
    namespaced,
    doc = "A subscription in a context broker (MIM1): which changes are told to whom. The operator makes it, sets back what is changed by hand, and deletes it with this object.",
    status = "ContextSubscriptionStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ctxsub",
    category = "mim",
    validation = names::name_is_short(),
    validation = names::name_is_dns_1035(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Broker", type_ = "string", json_path = ".spec.brokerRef.name"),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenant", priority = 1),
    printcolumn(name = "Sent", type_ = "integer", json_path = ".status.delivery.timesSent", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = tenant_is_immutable())]
#[x_kube(validation = Rule::new("has(self.entities) || has(self.watchedAttributes)")
    .message("write entities or watchedAttributes, or both: a subscription to everything is none")
    .field_path(".entities").reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("!has(self.timeInterval) || !has(self.watchedAttributes)")
    .message("timeInterval sends whether anything has changed or not: remove watchedAttributes, or timeInterval")
    .field_path(".timeInterval").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.timeInterval) || !has(self.throttling)")
    .message("timeInterval says itself how often is sent: remove throttling, or timeInterval")
    .field_path(".timeInterval").reason(Reason::FieldValueForbidden))]
pub struct ContextSubscriptionSpec {
    /// The ContextBroker that the subscription is in. It cannot be changed later.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("brokerRef cannot be changed: make a new ContextSubscription and delete this one")
        .reason(Reason::FieldValueForbidden))]
    pub broker_ref: BrokerReference,
    /// Tenant of the broker (header `NGSILD-Tenant`); absent: the default tenant. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub tenant: Option<String>,
    /// `Active` sends notifications; `Paused` keeps the subscription and sends none (NGSI-LD `isActive`).
    #[serde(default)]
    pub mode: SubscriptionMode,
    /// Which entities the subscription is about; one entry must fit. Absent: those with one of watchedAttributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub entities: Vec<EntitySelector>,
    /// Attributes whose change is a reason to send; absent: all. Short names by jsonldContext, or full IRIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::attribute_names")]
    pub watched_attributes: Vec<String>,
    /// Which kinds of change are a reason to send; absent: AttributeCreated and AttributeUpdated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 6), extend("x-kubernetes-list-type" = "set"))]
    pub notification_trigger: Vec<Trigger>,
    /// Sends all that fits every so often, whether it has changed or not; an ISO 8601 duration such as PT5M.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 32))]
    #[x_kube(validation = is_duration())]
    pub time_interval: Option<String>,
    /// Shortest time between two notifications; what falls into it is not sent. An ISO 8601 duration such as PT10S.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 32))]
    #[x_kube(validation = is_duration())]
    pub throttling: Option<String>,
    /// Condition on the values of entities in NGSI-LD's query language, for example `temperature>30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub q: Option<String>,
    /// Condition on where entities are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_q: Option<GeoQuery>,
    /// Condition on the scopes of entities, for example `/Vienna/#`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope_q: Option<String>,
    /// Languages in which texts are sent, the preferred first, for example `de,en;q=0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[-A-Za-z0-9*,;=. ]+$"))]
    pub lang: Option<String>,
    /// Datasets whose instances of attributes count and are sent: their URIs, and `@none` for the default instance; absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::datasets")]
    pub dataset_id: Vec<String>,
    /// Whether only entities of the broker itself count, and none of other brokers that it asks; absent: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_only: Option<Switch>,
    /// What the subscription is for, in words; it is kept in the broker beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub description: Option<String>,
    /// When the subscription ends. From then on nothing is sent; the object stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// JSON-LD context by which short names are understood, here and in notifications; absent: NGSI-LD's core context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && self.matches('^https?://[^/?#\\\\s@<>\"]+(/[^#\\\\s<>\"]*)?$')")
        .message("jsonldContext must be an http or https URL without user and fragment, for example https://example.org/context.jsonld"))]
    pub jsonld_context: Option<String>,
    /// What is sent, and where to.
    pub notification: Notification,
    /// True: nothing is changed in the broker; status and deletion go on, and Ready is kept with the reason `Suspended`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// The ContextBroker that a subscription is in.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BrokerReference {
    /// Name of the ContextBroker.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespace of the ContextBroker; absent: this object's own. The broker's `spec.allowedNamespaces` must let this namespace in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,
}

/// Entities by id, pattern and type.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.id) || !has(self.idPattern)")
    .message("id and idPattern exclude each other: remove idPattern, or write a pattern that fits the id")
    .field_path(".idPattern").reason(Reason::FieldValueForbidden))]
pub struct EntitySelector {
    /// Id of one entity, a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 1024),
        regex(pattern = r"^[A-Za-z][-A-Za-z0-9+.]*:[^\s]+$")
    )]
    pub id: Option<String>,
    /// Regular expression that ids must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub id_pattern: Option<String>,
    /// Type of the entities: a short name by jsonldContext or a full IRI, several as `A|B`, or `*`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s]+$"))]
    pub r#type: String,
}

/// A condition on where entities are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GeoQuery {
    /// Relation to the geometry, for example `within` or `near;maxDistance==2000` (metres).
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^(near;(max|min)Distance==[0-9]{1,12}([.][0-9]{1,6})?|within|contains|overlaps|intersects|equals|disjoint)$')")
        .message("georel must be within, contains, overlaps, intersects, equals, disjoint, near;maxDistance==<metres> or near;minDistance==<metres>"))]
    pub georel: String,
    /// Type of the geometry.
    pub geometry: Geometry,
    /// Coordinates of the geometry as GeoJSON writes them, for example `[16.37,48.21]`: longitude first.
    #[schemars(length(min = 2, max = 32768))]
    #[x_kube(validation = Rule::new("self.startsWith('[') && self.endsWith(']')")
        .message("coordinates must be a JSON array in quotes, for example \"[16.37,48.21]\""))]
    pub coordinates: String,
    /// Attribute that holds the place; absent: location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s]+$"))]
    pub geoproperty: Option<String>,
}

/// What the operator found. Numbers are a sample, refreshed at most every 10 minutes or with a condition.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ContextSubscriptionStatus {
    /// Generation of the spec that this status tells about; -1: no pass has seen the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions by kstatus: `Ready` always; `Reconciling` and `Stalled` only while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The subscription in the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionStatus>,
    /// How notifications fare, as the broker counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryStatus>,
    /// Value of the annotation `mim.city/requestedAt` whose pass has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::bound::HANDLED_REQUEST))]
    pub last_handled_requested_at: Option<String>,
}

/// The subscription in the broker.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    /// Its id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub id: Option<String>,
    /// Base address of the broker that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,
    /// What the broker says of it: `Active`, `Paused` or `Expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SubscriptionState>,
    /// Digest of what the operator wrote last; values of Secrets are no part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub applied: Option<String>,
    /// Digest of what the broker then showed: what differs from it was changed by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub shown: Option<String>,
}

/// What a broker says of a subscription (NGSI-LD `status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionState {
    /// It sends.
    Active,
    /// It sends nothing until it is active again.
    Paused,
    /// Its `expiresAt` is over.
    Expired,
}

schema::words!(SubscriptionState: "Active", "Paused", "Expired");

/// How notifications fare, as the broker counts them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryStatus {
    /// `Ok` or `Failed`: how the last notification fared. Absent: none was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<DeliveryResult>,
    /// When the broker was asked for these numbers; refreshed at most every 10 minutes, or with a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_time: Option<Time>,
    /// When the last notification was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_notification: Option<Time>,
    /// When the endpoint last took one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Time>,
    /// When the endpoint last did not take one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Time>,
    /// Notifications that were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_sent: Option<i64>,
    /// Notifications that the endpoint did not take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_failed: Option<i64>,
}

/// How the last notification fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryResult {
    /// The endpoint took it.
    Ok,
    /// The endpoint did not take it.
    Failed,
}

schema::words!(DeliveryResult: "Ok", "Failed");
