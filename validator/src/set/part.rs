//! A set as it travels.

use crate::compile::Library;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Models, with everything that they refer to. No name in it leads to anything outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// The models.
    pub models: Vec<ModelPart>,
    /// The documents that their schemas refer to, by absolute URI.
    #[serde(default)]
    pub documents: Library,
    /// The @context documents that their names are of, by URL.
    #[serde(default)]
    pub contexts: BTreeMap<String, Json>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelPart {
    /// The type, as an IRI.
    #[serde(rename = "type")]
    pub type_iri: String,
    /// The type, as the schema calls it.
    pub name: String,
    /// The version of the model; empty where nobody says one.
    #[serde(default)]
    pub version: String,
    /// Where its schema is hosted: an absolute URI, which references in it are relative to.
    pub uri: String,
    /// The JSON Schema.
    pub schema: Json,
    /// Which of the set's contexts the names in the schema are of, later ones winning; none: the core context alone.
    #[serde(default)]
    pub contexts: Vec<String>,
}
