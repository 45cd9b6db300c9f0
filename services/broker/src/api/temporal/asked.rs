//! What a client asks to see of the past, wherever it wrote it.

use crate::api::accept::{Media, OFFERED, negotiate};
use crate::api::call::Call;
use crate::api::params::Params;
use crate::api::problem::Problem;
use crate::context::Context;
use crate::model::entity::SCOPE;
use crate::model::render::View;
use crate::model::temporal::aggregate::Aggregation;
use crate::model::view::asked::Asked;
use crate::model::view::{Representation, Shape};
use crate::query::sql::past::Wanted;
use crate::query::temporal::{TemporalQuery, Texts};
use std::sync::Arc;

/// Options of reads of the past.
pub const OPTIONS: &[&str] = &[
    "normalized",
    "concise",
    "temporalValues",
    "aggregatedValues",
    "sysAttrs",
];

/// The representations of clauses 4.5.6, 4.5.9 and 4.5.19.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Instances, each with its type.
    #[default]
    Normalized,
    /// Instances, without types where they are implied.
    Concise,
    /// Values and times.
    Values,
    /// What methods make of values.
    Aggregated,
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "normalized" => Self::Normalized,
            "concise" => Self::Concise,
            "temporalValues" => Self::Values,
            "aggregatedValues" => Self::Aggregated,
            _ => return None,
        })
    }

    /// The format; `format` wins over `options` (clause 6.3.7).
    fn of(params: &Params) -> Result<Self, Problem> {
        if let Some(format) = params.get("format") {
            return Self::named(format).ok_or_else(|| {
                let format: String = format.chars().take(60).collect();
                Problem::invalid(format!("there is no format {format:?} of the past"))
            });
        }
        let options = params.list("options");
        Ok(options.into_iter().find_map(Self::named).unwrap_or_default())
    }
}

/// How the past is shown, and which of it.
pub struct Showing {
    /// What names mean.
    pub context: Arc<Context>,
    /// The media type.
    pub media: Media,
    /// The representation.
    pub format: Format,
    /// What the client wishes of entities.
    pub shape: Shape,
    /// Which instances.
    pub query: TemporalQuery,
    /// What is made of them, where that is the format.
    pub aggregation: Aggregation,
    /// How many instances at most.
    page_size: usize,
}

impl Showing {
    /// Puts together what is asked of shape and time.
    pub fn of(
        call: &Call,
        context: Arc<Context>,
        asked: Asked<'_>,
        times: &Texts<'_>,
    ) -> Result<Self, Problem> {
        let params = &call.params;
        let media = negotiate(&call.head.headers, &OFFERED)?;
        let format = Format::of(params)?;
        let asked = Asked {
            representation: match format {
                Format::Concise => Representation::Concise,
                _ => Representation::Normalized,
            },
            sys_attrs: params.option("sysAttrs"),
            ..asked
        };
        let shape = Shape::of(&asked, &context)?;
        // What says nothing in another format may be there, but not be wrong.
        let aggregation = match format {
            Format::Aggregated => times.aggregation()?,
            _ => Aggregation::default(),
        };
        Ok(Self {
            media,
            format,
            shape,
            query: times.query()?,
            aggregation,
            page_size: call.app.compatibility.borrow().temporal_page_size.get(),
            context,
        })
    }

    /// Whether the context is told in a Link header.
    #[must_use]
    pub fn link(&self) -> bool {
        self.media == Media::Json
    }

    /// The view for the renderer.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::new(&self.context, &self.shape, !self.link())
    }

    /// What is read for it, so many instances at most where they are not shown one by one.
    #[must_use]
    pub fn wanted(&self, aggregated: usize) -> Wanted {
        let is_aggregated = self.format == Format::Aggregated;
        let picked = self.shape.projection.picked();
        let attrs = picked.map(|(mut attrs, scope)| {
            attrs.extend((scope && !is_aggregated).then(|| SCOPE.to_owned()));
            attrs
        });
        let (mut without, no_scope) = self.shape.projection.omitted();
        // Of scopes there is nothing to compute.
        without.extend((no_scope || is_aggregated).then(|| SCOPE.to_owned()));
        Wanted {
            query: self.query,
            attrs,
            without,
            datasets: self
                .shape
                .datasets
                .as_ref()
                .map(crate::model::view::Datasets::parts),
            limit: if is_aggregated { aggregated } else { self.page_size },
        }
    }
}

/// The wishes of a URL.
#[must_use]
pub fn asked(params: &Params) -> Asked<'_> {
    Asked {
        attrs: params.items("attrs"),
        pick: params.get("pick").map(|text| vec![text]),
        omit: params.get("omit").map(|text| vec![text]),
        lang: params.get("lang"),
        datasets: params.items("datasetId"),
        ..Asked::default()
    }
}

/// The times of a URL.
#[must_use]
pub fn times(params: &Params) -> Texts<'_> {
    Texts {
        timerel: params.get("timerel"),
        time_at: params.get("timeAt"),
        end_time_at: params.get("endTimeAt"),
        timeproperty: params.get("timeproperty"),
        last_n: params.get("lastN").map(Into::into),
        methods: params.items("aggrMethods"),
        period: params.get("aggrPeriodDuration"),
    }
}
