//! A rule as the operator writes it into the gateway's bundle, and as the gateway reads it.
//!
//! ```json
//! {
//!   "name": "gardeners-see-trees",
//!   "effect": "Allow",
//!   "subjects": [{"role": "gardener"}, {"claim": {"name": "department", "value": "parks"}}],
//!   "operations": ["Read", "Temporal"],
//!   "on": {"tenants": ["@default"], "types": ["https://…/Tree"], "scopes": ["/city/north/#"]}
//! }
//! ```
//!
//! All names are IRIs: who compiles rules has resolved the @context. Members that are not known are refused, for a
//! restriction that is not understood must not be left out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of the default tenant, which has none in the API: no tenant can be called so.
pub const DEFAULT_TENANT: &str = "@default";

/// One access rule: who may, or may not, do what to which entities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What it is called in conditions, explanations and the audit trail; unique in its table, 1 to 63 characters.
    pub name: String,
    /// Whether it allows or denies. Absent: it allows.
    #[serde(default)]
    pub effect: Effect,
    /// Of whom it speaks: one of these is enough. At least one.
    pub subjects: Vec<Holder>,
    /// What may be done. At least one.
    pub operations: Vec<Operation>,
    /// What it may be done to. Absent: everything.
    #[serde(default)]
    pub on: On,
}

/// Whether a rule allows or denies. What nothing allows is denied, and a denial beats every allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// It allows.
    #[default]
    Allow,
    /// It denies.
    Deny,
}

/// Somebody of whom a rule speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Holder {
    /// Who has this role.
    #[serde(rename = "role")]
    Role(String),
    /// Who is in this group.
    #[serde(rename = "group")]
    Group(String),
    /// Who comes by this client (of OAuth 2.0, or of an API key or a certificate).
    #[serde(rename = "client")]
    Client(String),
    /// Whose token has this claim with this value, or a list with it.
    #[serde(rename = "claim")]
    Claim(Claim),
    /// Who shows nothing of itself.
    Anonymous,
    /// Whoever has shown who it is.
    Authenticated,
}

/// A claim of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// See entities, types and attributes as they are now.
    Read,
    /// Make entities.
    Create,
    /// Change entities, and take attributes away.
    Update,
    /// Delete entities.
    Delete,
    /// Subscribe to entities, and be told of them.
    Subscribe,
    /// See the past of entities; with `Create`, `Update` or `Delete`, which must be allowed too, write it.
    Temporal,
    /// See and change what belongs to others or to nobody: subscriptions and contexts. Of no entities.
    Admin,
}

/// What a rule speaks of. What is absent does not restrict; all that is there holds at once; of each list one item is
/// enough, and a list has one at least.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct On {
    /// Tenants by name; [`DEFAULT_TENANT`] is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<String>>,
    /// Types of entities: IRIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Ids of entities: URIs. An entity needs one of `ids` and `idPatterns` together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Regular expressions that are found in the id ([`mim_grammar::pattern`]); without `^` and `$` anywhere in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_patterns: Option<Vec<String>>,
    /// Attributes: IRIs. Absent: all of them, and the entity as such. A rule that allows with attributes shows or opens
    /// only these; one that denies with attributes leaves these out, and the entity is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<String>>,
    /// Scopes: terms of the scope query language (clause 4.19) like `/city/north`, `/city/+`, `/city/#`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// A GeoJSON Polygon or MultiPolygon (RFC 7946) in which the entity's `location` lies, its border included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<Value>,
}
