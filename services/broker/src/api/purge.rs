//! `DELETE /entities` (clauses 5.6.21 and 6.4.3.3): deletes what a query selects, or some attributes of it.
//!
//! Page by page, by id, each page in a transaction of its own that locks as a batch does. So it is not atomic: what
//! fails halfway leaves the pages before it done, and asked again it does the rest. What is created while it runs may
//! stay. But nothing goes that is not selected at that moment: an entity that was changed between the query and its lock
//! is asked for again.

use crate::api::App;
use crate::api::call::Call;
use crate::api::params::{Known, Limited};
use crate::api::problem::Problem;
use crate::api::query::{sought, too_slow};
use crate::api::reply;
use crate::context::Context;
use crate::model::change::{Reduction, reduce};
use crate::model::entity::Entity;
use crate::model::read::expanded_name;
use crate::model::view::Shape;
use crate::query::Selection;
use crate::query::sql::{self, Among};
use crate::store::StoreError;
use crate::store::decide::{Decide, Decision, Verdict};
use crate::store::search::Stamp;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};

pub(in crate::api) const PURGE: Known = Known {
    names: &[
        "id",
        "type",
        "idPattern",
        "attrs",
        "q",
        "georel",
        "geometry",
        "coordinates",
        "geoproperty",
        "scopeQ",
        "keep",
        "drop",
        "local",
    ],
    later: &["csf"],
    options: &[],
    limited: Limited::Obeyed,
};

/// How many entities go in one transaction.
const PAGE: usize = 1000;
/// How often entities that are being changed are asked for again.
const ROUNDS: usize = 8;

/// Purge.
pub async fn purge(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &PURGE)?;
    let context = call.link_context().await?;
    let attrs = names(&call, "attrs", &context)?.into_iter().flatten().collect();
    let selection = Selection {
        attrs,
        ..sought(&call.params).read(&Shape::default(), &context)?
    };
    let restricted = selection.is_restricted() || call.params.flag("local")?;
    let reduction = reduction(&call, &context)?;
    if !call.who.may_purge(reduction.is_none()) {
        return Err(Problem::forbidden());
    }
    // By ids alone no entity goes; some attributes of entities that are named may.
    if !restricted && (reduction.is_none() || call.params.get("id").is_none()) {
        return Err(Problem::bad_data(
            "the purge is too wide: it needs type, attrs, q or georel, or local=true; or id with keep or drop",
        ));
    }
    if call.params.get("type") == Some("*") && call.params.get("local") == Some("false") {
        return Err(Problem::bad_data(
            "type=* is for this broker alone: local is not false",
        ));
    }
    let mut after = String::new();
    while let Some(last) = page(&call, &selection, reduction.as_ref(), &after).await? {
        after = last;
    }
    Ok(reply::no_content())
}

/// The names of a list, expanded; `None` where the parameter is absent.
fn names(call: &Call, parameter: &str, context: &Context) -> Result<Option<BTreeSet<String>>, Problem> {
    if call.params.get(parameter).is_none() {
        return Ok(None);
    }
    let names = call.params.list(parameter);
    let names = names.into_iter().filter(|name| *name != "scope");
    let expanded = names.map(|name| match name {
        "id" | "type" => Err(Problem::bad_data(format!(
            "{parameter}: {name} is not an attribute"
        ))),
        name => Ok(expanded_name(context, name)?),
    });
    expanded.collect::<Result<_, _>>().map(Some)
}

/// What is to go of each entity; `None`: all of it.
fn reduction(call: &Call, context: &Context) -> Result<Option<Reduction>, Problem> {
    match (names(call, "keep", context)?, names(call, "drop", context)?) {
        (Some(_), Some(_)) => Err(Problem::bad_data("keep and drop exclude each other")),
        (Some(keep), None) => Ok(Some(Reduction::Keep(keep))),
        (None, Some(attributes)) => Ok(Some(Reduction::Drop {
            attributes,
            scope: call.params.list("drop").contains(&"scope"),
        })),
        (None, None) => Ok(None),
    }
}

/// Purges the first entities after an id; the last of them where there may be more.
async fn page(
    call: &Call,
    selection: &Selection,
    reduction: Option<&Reduction>,
    after: &str,
) -> Result<Option<String>, Problem> {
    let store = &call.app.store;
    let first = sql::stamps(call.reach(), selection, Among::After(after), PAGE);
    let mut stamps = store.stamps(&first).await.map_err(too_slow)?;
    let last = stamps.last().map(|stamp| stamp.id.clone());
    let is_full = stamps.len() == PAGE;
    for _ in 0..ROUNDS {
        if stamps.is_empty() {
            return Ok(last.filter(|_| is_full));
        }
        let changed = write(call, stamps, reduction).await?;
        let again = sql::stamps(call.reach(), selection, Among::These(&changed), PAGE);
        stamps = match changed.as_slice() {
            [] => Vec::new(),
            _ => store.stamps(&again).await.map_err(too_slow)?,
        };
    }
    Err(
        StoreError::Unavailable("the entities are being changed faster than they can be purged".to_owned())
            .into(),
    )
}

/// Writes entities that are as they were; the ids of those that are not.
async fn write(
    call: &Call,
    stamps: Vec<Stamp>,
    reduction: Option<&Reduction>,
) -> Result<Vec<String>, Problem> {
    let ids: Vec<String> = stamps.iter().map(|stamp| stamp.id.clone()).collect();
    let purge = Purge {
        stamps: stamps
            .into_iter()
            .map(|stamp| (stamp.id.clone(), stamp))
            .collect(),
        reduction,
        now: Timestamp::now(),
    };
    let outcome = call.app.store.write_batch(call.tenant, &ids, &purge).await?;
    match outcome.failed.into_values().next() {
        Some(error) => Err(error.into()),
        None => Ok(outcome.refused.into_keys().collect()),
    }
}

struct Purge<'a> {
    stamps: HashMap<String, Stamp>,
    reduction: Option<&'a Reduction>,
    now: Timestamp,
}

/// The entity is not as it was when it was selected.
struct Changed;

impl Decide for Purge<'_> {
    type Reason = Changed;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn count(&self, _: &str) -> usize {
        1
    }

    fn decide(&self, id: &str, _: usize, there: Option<&Entity>, at: Timestamp) -> Verdict<Changed> {
        let (Some(entity), Some(stamp)) = (there, self.stamps.get(id)) else {
            return Verdict::only(Decision::Leave);
        };
        if (entity.created, entity.modified) != (stamp.created, stamp.modified) {
            return Verdict::refused(Changed);
        }
        let Some(reduction) = self.reduction else {
            return Verdict::only(Decision::Delete);
        };
        let mut entity = entity.clone();
        Verdict::only(if reduce(&mut entity, reduction, at) {
            Decision::Put(entity)
        } else {
            Decision::Leave
        })
    }

    fn too_often(&self, _: &str, _: Option<&Entity>) -> Changed {
        Changed
    }
}
