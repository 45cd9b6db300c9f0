//! What a client wishes of the shape of its answer: one value, whether it came in the parameters of a URL, in the body
//! of a query, or with a subscription.
//!
//! * [`asked`] has the wishes as they were written, from a URL or from JSON;
//! * [`projection`] is what `pick`, `omit` and `attrs` say;
//! * [`language`] is what `lang` says;
//! * [`join`] is what `join`, `joinLevel` and `containedBy` say.

pub mod asked;
pub mod join;
pub mod language;
pub mod projection;

use crate::context::Context;
use crate::model::entity::{Instance, LOCATION};
use crate::model::names::{NONE, is_uri};
use crate::model::read::expanded_name;
use crate::model::view::asked::Asked;
use crate::model::view::join::Join;
use crate::model::view::language::Languages;
use crate::model::view::projection::{Projection, Shown};
use crate::model::{Refusal, refuse};
use std::collections::BTreeSet;

/// How many datasets one request may name.
const MAX_DATASETS: usize = 500;

/// The representations of clauses 4.5.2, 4.5.24 and 4.5.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Representation {
    /// Everything, each attribute with its type.
    #[default]
    Normalized,
    /// Everything, types left out where they are implied.
    Concise,
    /// Values only.
    Simplified,
}

impl Representation {
    /// The representation of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "normalized" => Some(Self::Normalized),
            "concise" => Some(Self::Concise),
            "keyValues" | "simplified" => Some(Self::Simplified),
            _ => None,
        }
    }
}

/// Which instances of attributes are shown (clause 4.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datasets {
    default: bool,
    named: BTreeSet<String>,
}

impl Datasets {
    fn parse(ids: &[&str]) -> Result<Self, Refusal> {
        if ids.len() > MAX_DATASETS {
            return refuse(format!("datasetId: more than {MAX_DATASETS} datasets"));
        }
        let (default, named): (Vec<&str>, Vec<&str>) = ids.iter().partition(|id| **id == NONE);
        if named.iter().any(|id| !is_uri(id)) {
            return refuse("datasetId is a list of URIs or @none");
        }
        Ok(Self {
            default: !default.is_empty(),
            named: named.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Whether the default instance is one of them, and the others.
    #[must_use]
    pub fn parts(&self) -> (bool, Vec<String>) {
        (self.default, self.named.iter().cloned().collect())
    }

    /// Whether the instance is of one of the datasets.
    #[must_use]
    pub fn have(&self, instance: &Instance) -> bool {
        match &instance.dataset {
            None => self.default,
            Some(id) => self.named.contains(id),
        }
    }
}

/// The shape of entities in an answer. Names are IRIs. By default everything is shown, normalized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The representation.
    pub representation: Representation,
    /// Whether `createdAt` and `modifiedAt` are shown.
    pub sys_attrs: bool,
    /// Which members.
    pub projection: Projection,
    /// Of which attributes an entity must have one to be shown at all, where `attrs` names some.
    pub attrs: Option<Vec<String>>,
    /// Which language of texts that have several; `None`: all.
    pub languages: Option<Languages>,
    /// Which instances of attributes; `None`: all.
    pub datasets: Option<Datasets>,
    /// Whether linked entities are shown as well.
    pub join: Option<Join>,
    /// Which attribute is the geometry of a Feature; `None`: `location`.
    pub geometry: Option<String>,
}

impl Shape {
    /// Reads wishes; names are expanded by the context.
    pub fn of(asked: &Asked<'_>, context: &Context) -> Result<Self, Refusal> {
        let (pick, omit) = (asked.pick.as_deref(), asked.omit.as_deref());
        if asked.attrs.is_some() && (pick.is_some() || omit.is_some()) {
            return refuse("attrs does not go with pick or omit");
        }
        let attrs = asked.attrs.as_deref();
        let attrs = attrs
            .map(|names| projection::attributes(names, context))
            .transpose()?;
        let projection = match &attrs {
            Some(attrs) => Projection::of_attributes(attrs),
            None => Projection::of(pick, omit, context)?,
        };
        let join = Join::of(
            asked.join,
            asked.join_level.as_deref(),
            asked.contained_by.as_deref(),
        )?;
        if projection.depth() > join.as_ref().map_or(0, |join| join.levels) {
            return refuse(
                "pick or omit names members of linked entities: that needs join, and a joinLevel as deep as the braces",
            );
        }
        let geometry = asked.geometry_property.map(|name| expanded_name(context, name));
        Ok(Self {
            representation: asked.representation,
            sys_attrs: asked.sys_attrs,
            projection,
            attrs,
            languages: asked.lang.map(Languages::parse).transpose()?,
            datasets: asked.datasets.as_deref().map(Datasets::parse).transpose()?,
            join,
            geometry: geometry.transpose()?,
        })
    }

    /// What is shown of the entities that were asked for.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        self.projection.shown()
    }

    /// How many levels of linked entities are shown.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.join.as_ref().map_or(0, |join| join.levels)
    }

    /// Whether something of entities is left out.
    #[must_use]
    pub fn leaves_out(&self) -> bool {
        self.datasets.is_some() || !self.projection.is_everything()
    }

    /// The IRI of the attribute that is the geometry of a Feature.
    #[must_use]
    pub fn geometry(&self) -> &str {
        self.geometry.as_deref().unwrap_or(LOCATION)
    }
}
