//! An entity as the broker thinks of it: names expanded to IRIs, one shape whatever representation it came in.

use crate::model::json::Json;
use crate::model::names::{NONE, NULL};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The seven IRIs that the core vocabulary gives to GeoProperties every entity may have, and their base.
pub const LOCATION: &str = "https://uri.etsi.org/ngsi-ld/location";
/// See [`LOCATION`].
pub const OBSERVATION_SPACE: &str = "https://uri.etsi.org/ngsi-ld/observationSpace";
/// See [`LOCATION`].
pub const OPERATION_SPACE: &str = "https://uri.etsi.org/ngsi-ld/operationSpace";

/// The IRI of `scope`, under which the past of an entity's scopes is kept.
pub const SCOPE: &str = "https://uri.etsi.org/ngsi-ld/scope";

/// Attributes by IRI; each has at least one instance, and no two instances of one attribute share a dataset id.
pub type Attributes = BTreeMap<String, Vec<Instance>>;

/// An entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// A URI.
    pub id: String,
    /// IRIs, at least one, no duplicates, in the order they were given.
    pub types: Vec<String>,
    /// Scopes, in the order they were given.
    pub scope: Vec<String>,
    /// The attributes.
    pub attributes: Attributes,
    /// When the entity was created here.
    pub created: Timestamp,
    /// When anything of it changed last.
    pub modified: Timestamp,
}

/// What a write brings: an entity or a part of one, without system times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// The id, where the body had one.
    pub id: Option<String>,
    /// Types, expanded; empty where the body had none.
    pub types: Vec<String>,
    /// Scopes, where the body had them.
    pub scope: Option<Vec<String>>,
    /// The attributes.
    pub attributes: Attributes,
}

/// The kinds of attribute (clause 4.5.2 and following).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value.
    Property,
    /// A GeoJSON geometry.
    GeoProperty,
    /// A URI, or several.
    Relationship,
    /// Texts by language tag.
    LanguageProperty,
    /// Terms that are expanded as IRIs.
    VocabProperty,
    /// JSON that is never expanded.
    JsonProperty,
    /// An ordered list of values.
    ListProperty,
    /// An ordered list of URIs.
    ListRelationship,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Property,
        Self::GeoProperty,
        Self::Relationship,
        Self::LanguageProperty,
        Self::VocabProperty,
        Self::JsonProperty,
        Self::ListProperty,
        Self::ListRelationship,
    ];

    /// The value of `type` in a normalized attribute.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Property => "Property",
            Self::GeoProperty => "GeoProperty",
            Self::Relationship => "Relationship",
            Self::LanguageProperty => "LanguageProperty",
            Self::VocabProperty => "VocabProperty",
            Self::JsonProperty => "JsonProperty",
            Self::ListProperty => "ListProperty",
            Self::ListRelationship => "ListRelationship",
        }
    }

    /// The member that carries the value in a normalized attribute.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::Property | Self::GeoProperty => "value",
            Self::Relationship => "object",
            Self::LanguageProperty => "languageMap",
            Self::VocabProperty => "vocab",
            Self::JsonProperty => "json",
            Self::ListProperty => "valueList",
            Self::ListRelationship => "objectList",
        }
    }

    /// The member that tells what it said before a change (clause 4.5.2).
    #[must_use]
    pub fn previous(self) -> &'static str {
        match self {
            Self::Property | Self::GeoProperty => "previousValue",
            Self::Relationship => "previousObject",
            Self::LanguageProperty => "previousLanguageMap",
            Self::VocabProperty => "previousVocab",
            Self::JsonProperty => "previousJson",
            Self::ListProperty => "previousValueList",
            Self::ListRelationship => "previousObjectList",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the value is a URI or a list of them.
    #[must_use]
    pub fn links(self) -> bool {
        matches!(self, Self::Relationship | Self::ListRelationship)
    }
}

/// Whether the members of a language map are a null of no language and nothing else.
#[must_use]
pub fn deletes_languages(members: &[(String, Json)]) -> bool {
    matches!(members, [(tag, Json::String(text))] if tag == NONE && text == NULL)
}

/// One instance of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its kind.
    pub kind: Kind,
    /// The value, in the shape of [`Kind::member`]; keys of objects are expanded where the kind says so. A
    /// `ListRelationship` is an array of URIs.
    pub value: Json,
    /// The dataset, `None` for the default instance.
    pub dataset: Option<String>,
    /// When it was observed, as sent.
    pub observed_at: Option<String>,
    /// A unit code.
    pub unit_code: Option<String>,
    /// Types of the target, of relationships.
    pub object_type: Vec<String>,
    /// When this instance was created; `None`: with the entity.
    pub created: Option<String>,
    /// When it was last changed; `None`: never since it was created.
    pub modified: Option<String>,
    /// Attributes of this attribute.
    pub subs: Attributes,
}

impl Instance {
    /// An instance with nothing but a value.
    #[must_use]
    pub fn new(kind: Kind, value: Json) -> Self {
        Self {
            kind,
            value,
            dataset: None,
            observed_at: None,
            unit_code: None,
            object_type: Vec::new(),
            created: None,
            modified: None,
            subs: Attributes::new(),
        }
    }

    /// Whether a client sent this to have the instance deleted.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        match &self.value {
            Json::String(text) => text == NULL,
            Json::Object(members) => self.kind == Kind::LanguageProperty && deletes_languages(members),
            _ => false,
        }
    }
}
