//! What a ContextSubscription sends, and where to.

use kube::{KubeSchema, core::Rule};
use serde::{Deserialize, Serialize};

use crate::{
    duration::is_duration,
    names::SecretReference,
    schema::{self, words},
};

/// How entities are written in a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// With type, value and metadata of each attribute.
    Normalized,
    /// As normalized, without what can be inferred.
    Concise,
    /// Names and values only (NGSI-LD `keyValues`).
    Simplified,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

words!(Format: "Normalized", "Concise", "Simplified");

/// Something that is on or off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// On.
    Enabled,
    /// Off.
    Disabled,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

words!(Switch: "Enabled", "Disabled");

/// How linked entities are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Join {
    /// Not at all.
    None,
    /// Beside the entity.
    Flat,
    /// Inside of the relationship.
    Inline,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

words!(Join: "None", "Flat", "Inline");

/// Media types of a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accept {
    /// `application/json`
    Json,
    /// `application/ld+json`
    JsonLd,
    /// `application/geo+json`
    GeoJson,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

words!(Accept: "Json", "JsonLd", "GeoJson");

/// How an endpoint is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// HTTP without TLS.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// MQTT without TLS.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

words!(Scheme: "Http", "Https", "Mqtt", "Mqtts");

/// What is sent, and where to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.attributes) || !(has(self.pick) || has(self.omit))")
    .message("attributes excludes pick and omit: write what is sent in pick, or what is left out in omit, and remove attributes")
    .field_path(".attributes").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.pick) || !has(self.omit) || self.pick.all(name, !(name in self.omit))")
    .message("a name stands in pick and in omit: remove it from one of the two")
    .field_path(".omit").reason(Reason::FieldValueInvalid))]
#[x_kube(validation = Rule::new("!has(self.showChanges) || self.showChanges != 'Enabled' || !has(self.format) || self.format != 'Simplified'")
    .message("showChanges needs room for the values before, which Simplified has not: write format Normalized or Concise")
    .field_path(".showChanges").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.joinLevel) || (has(self.join) && self.join in ['Flat', 'Inline'])")
    .message("joinLevel says how far join goes: write join Flat or Inline, or remove joinLevel")
    .field_path(".joinLevel").reason(Reason::FieldValueForbidden))]
pub struct Notification {
    /// Attributes that are sent; of an entity without any of them its id, type and scope. Prefer pick, which is newer and knows id, type and scope too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::attribute_names")]
    pub attributes: Vec<String>,
    /// Members of entities that are sent; absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::attribute_names")]
    pub pick: Vec<String>,
    /// Members of entities that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::attribute_names")]
    pub omit: Vec<String>,
    /// How entities are written; absent: Normalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether createdAt and modifiedAt are sent; absent: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sys_attrs: Option<Switch>,
    /// Whether the values before the change are sent too; absent: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_changes: Option<Switch>,
    /// Whether and how entities that relationships name are sent too; absent: None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// How many relationships deep join goes; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub join_level: Option<i32>,
    /// Where notifications go.
    pub endpoint: Endpoint,
}

const IS_MQTT: &str = "((has(self.url) && self.url.startsWith('mqtt')) || (has(self.serviceRef) && self.serviceRef.scheme in ['Mqtt', 'Mqtts']))";
const IS_PLAIN: &str =
    "(has(self.url) && (self.url.startsWith('http://') || self.url.startsWith('mqtt://')))";

fn headers_are_safe() -> Rule {
    Rule::new(format!(
        "!{IS_PLAIN} || !has(self.headers) || self.headers.all(header, !has(header.secretKeyRef))"
    ))
    .message("a secret must not travel in clear: write an https or mqtts url, or serviceRef for a Service of this namespace")
    .field_path(".headers")
}

fn credentials_are_for_mqtt() -> Rule {
    Rule::new(format!("!has(self.credentialsSecretRef) || {IS_MQTT}"))
        .message("credentialsSecretRef is for mqtt and mqtts: with http write a header with a secretKeyRef")
        .field_path(".credentialsSecretRef")
}

fn credentials_are_safe() -> Rule {
    Rule::new(format!("!has(self.credentialsSecretRef) || !{IS_PLAIN}"))
        .message("a password must not travel in clear: write an mqtts url, or serviceRef for a Service of this namespace")
        .field_path(".credentialsSecretRef")
}

fn notifier_info_is_for_mqtt() -> Rule {
    Rule::new(format!("!has(self.notifierInfo) || {IS_MQTT}"))
        .message("notifierInfo is for mqtt and mqtts (MQTT-Version, MQTT-QoS): remove it, or write such an address")
        .field_path(".notifierInfo")
}

/// Where notifications go.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.serviceRef)")
    .message("write exactly one of url and serviceRef (a Service of this namespace)"))]
#[x_kube(validation = headers_are_safe())]
#[x_kube(validation = credentials_are_for_mqtt())]
#[x_kube(validation = credentials_are_safe())]
#[x_kube(validation = notifier_info_is_for_mqtt())]
pub struct Endpoint {
    /// Address of the endpoint: http, https, mqtt or mqtts; of MQTT the path is the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^(https?|mqtts?)://')")
        .message("url must start with http://, https://, mqtt:// or mqtts://, for example https://app.example.org/changes"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z]+://[^/?#]*@')")
        .message("url must not hold a user or password: name a Secret in headers, or for MQTT in credentialsSecretRef"))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]+://[^/?#\\\\s]+([/?][^#\\\\s]*)?$')")
        .message("url must be scheme, host, and where wanted port, path and query, without blanks and fragment"))]
    #[x_kube(validation = Rule::new("!self.startsWith('mqtt') || self.matches('^[a-z]+://[^/?#]+/[^?#]+$')")
        .message("an mqtt url needs a topic and takes no query, for example mqtts://mqtt.example.org/city/air"))]
    pub url: Option<String>,
    /// The endpoint as a Service of this object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceReference>,
    /// Media type of notifications: `Json`, `JsonLd` or `GeoJson`; absent: Json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Accept>,
    /// How long the endpoint may take to answer; an ISO 8601 duration such as PT5S. Absent: as the broker decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 32))]
    #[x_kube(validation = is_duration())]
    pub timeout: Option<String>,
    /// How long nothing is sent after a failure; an ISO 8601 duration such as PT1M. Absent: as the broker decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 32))]
    #[x_kube(validation = is_duration())]
    pub cooldown: Option<String>,
    /// Headers of each notification (NGSI-LD `receiverInfo`); with MQTT they stand in its metadata. A broker that hides their values, as it should, hides too that somebody changed one by hand: the next change of this object sets it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub headers: Vec<Header>,
    /// User name and password for MQTT: a Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// What the broker needs to know of MQTT, for example `MQTT-Version` mqtt5.0 and `MQTT-QoS` 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"])
    )]
    pub notifier_info: Vec<NotifierInfo>,
}

/// A port of a Service in the namespace of the object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.scheme in ['Mqtt', 'Mqtts']) || (self.path.size() > 1 && !self.path.contains('?'))")
    .message("MQTT needs a topic and takes no query: write it as path, for example /city/air")
    .field_path(".path").reason(Reason::FieldValueRequired))]
pub struct ServiceReference {
    /// Name of the Service, in the namespace of this object.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// How it is spoken to.
    #[serde(default)]
    pub scheme: Scheme,
    /// Path, and query where wanted; of MQTT the topic after a slash.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s#]*$"))]
    pub path: String,
}

fn root() -> String {
    "/".to_owned()
}

/// A header of a notification.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.secretKeyRef)")
    .message("write exactly one of value and secretKeyRef (a key of a Secret of this namespace)"))]
pub struct Header {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-A-Za-z0-9!#$%&'*+.^_`|~]+$"))]
    #[x_kube(validation = Rule::new("!self.matches('^(?i)(connection|content-length|content-type|host|link|ngsild-tenant|te|trailer|transfer-encoding|upgrade)$')")
        .message("the broker sets this header itself: remove it; Connection, Content-*, Host, Link, NGSILD-Tenant and the like are not yours"))]
    pub name: String,
    /// Value of the header; for what is secret write secretKeyRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^[ -~]*$"))]
    pub value: Option<String>,
    /// Value of the header, from a Secret: one line of ASCII. It reaches the broker when the Secret has changed, within five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyReference>,
}

/// A key of a Secret in the namespace of the object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key of the Secret that holds the value.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Something that the broker needs to know of the protocol.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NotifierInfo {
    /// What, for example `MQTT-QoS`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-._A-Za-z0-9]+$"))]
    pub key: String,
    /// Its value, for example `1`.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[ -~]*$"))]
    pub value: String,
}
