//! From a selection and a temporal query to statements on the history (clauses 5.7.3 and 5.7.4).
//!
//! Entities are selected by types and ids; `q`, areas and scopes are tested on what was within the interval that the
//! temporal query defines, as the standard says of the values of a query (5.7.4.4): an entity is selected when some
//! instance of the interval passes. All instances of the interval are shown then, not only those that passed.
//!
//! Each attribute is read off an index in the order of time, and no further than the answer can be, so the cost does not
//! grow with the length of the past. Partitions older than the entity are not touched.

mod entities;

use super::permitted::Known;
use super::{Builder, Param, Statement, any};
use crate::model::instance_id::InstanceId;
use crate::model::temporal::Clock;
use crate::permissions::reach::Reach;
use crate::query::Selection;
use crate::query::temporal::{Interval, TemporalQuery};
use crate::store::rows::Sizes;
use jiff::Timestamp;
use std::fmt::Write as _;

/// What is read of the past of each entity. Names are IRIs.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// By which time, and when.
    pub query: TemporalQuery,
    /// Which attributes; `None`: all.
    pub attrs: Option<Vec<String>>,
    /// Which attributes not.
    pub without: Vec<String>,
    /// Which datasets, and whether instances of none; `None`: all.
    pub datasets: Option<(bool, Vec<String>)>,
    /// How many instances at most, of all entities together. One more is read, to know whether there are more.
    pub limit: usize,
}

/// Which entities are read.
#[derive(Clone, Copy, Debug)]
pub enum Which<'s> {
    /// This one, whether or not anything of its past is wanted.
    One(&'s str),
    /// Those of a selection that have an instance in the interval: so many after so many, by id.
    Some {
        /// The selection.
        selection: &'s Selection,
        /// How many; one more is read.
        limit: usize,
        /// How many come before them.
        offset: u64,
        /// Whether the greatest ids come first.
        descending: bool,
    },
}

/// What the rows of a statement have after those of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Instances, whole, in the order of time.
    Instances(Sizes),
    /// Values alone, by attribute and in its order of time.
    Values,
    /// One instance of each attribute, and of that its kind.
    Kinds,
}

/// Reads the past of entities. First come the entities, then their instances; columns as `crate::store::past` reads them.
#[must_use]
pub fn evolution(reach: Reach<'_>, which: Which<'_>, wanted: &Wanted, rows: Rows) -> Statement {
    let mut builder = Builder::new(reach);
    let past = Past::new(&mut builder, wanted);
    let (page, entities) = builder.page(&past, which);
    let names = builder.names(which, wanted);
    let direction = if wanted.query.last.is_some() {
        "desc"
    } else {
        "asc"
    };
    let each = match rows {
        Rows::Kinds => 1,
        _ => wanted.query.last.unwrap_or(usize::MAX).min(wanted.limit + 1),
    };
    // A limit that the planner does not know, so that it reads in the order of the index: it takes the past of an attribute for
    // short, and would else read and sort all of it.
    let each = format!("(select {})", builder.integer(each));
    let mut scan = past.scan(direction, &each);
    if rows == Rows::Values {
        scan = format!("select * from ({scan}) z order by z.key");
    }
    let instances = format!(
        "select 1 as part, p.n, p.id, null::text[] as types, null::timestamptz as created, a.attr, x.instance, x.recorded, \
           x.modified, x.dataset, x.key, x.body \
         from names a join page p on p.n = a.n cross join lateral ({scan}) x where a.attr is not null"
    );
    let order = match rows {
        Rows::Instances(_) => format!("order by part, key {direction}, instance {direction}"),
        Rows::Values | Rows::Kinds => String::new(),
    };
    let limit = match rows {
        Rows::Instances(_) | Rows::Values => {
            format!("limit {}", builder.integer(wanted.limit + 1 + entities))
        }
        Rows::Kinds => String::new(),
    };
    let text = text_of(rows);
    builder.done(format!(
        "with recursive page as materialized ({page}), names(n, attr) as ({names}) \
         select s.part, s.n, case when s.part = 0 then s.id end, s.types, s.created, s.modified, s.attr, s.instance, s.recorded, \
           s.dataset, s.key, {KIND}, {text} \
         from (select 0 as part, p.n, p.id, p.types, p.created, null::text as attr, null::uuid as instance, \
             null::timestamptz as recorded, p.modified, null::text as dataset, null::timestamptz as key, null::jsonb as body from page p \
           union all {instances} {order} {limit}) s"
    ))
}

/// How many entities [`evolution`] would read, were there no limit.
#[must_use]
pub fn count(reach: Reach<'_>, selection: &Selection, wanted: &Wanted) -> Statement {
    let mut builder = Builder::new(reach);
    let past = Past::new(&mut builder, wanted);
    let [current, past_only] = builder.selected(&past, selection, "");
    builder.done(format!(
        "select (select count(*) from ({current}) x) + (select count(*) from ({past_only}) x)"
    ))
}

/// Whether anything is kept of the past of an entity; of these attributes, where some are named.
#[must_use]
pub fn exists(reach: Reach<'_>, id: &str, attrs: Option<&[String]>) -> Statement {
    let mut builder = Builder::new(reach);
    let id = builder.text(id);
    let [current, past_only] = builder.entity(&id);
    let shown = builder.shows_of("e", "h.attr");
    let kept = format!(
        "select 1 from mim.history h where h.tenant = $1 and h.entity = e.id and h.instance >= e.first and {shown}"
    );
    let condition = match attrs {
        None => format!(
            "exists ({kept}) or exists (select 1 from mim.temporal_entities t where t.tenant = $1 and t.id = e.id)"
        ),
        Some(attrs) => {
            let attrs = builder.bind(Param::Texts(attrs.to_vec()));
            format!("exists ({kept} and h.attr = any({attrs}))")
        }
    };
    builder.done(format!(
        "select 1 from ({current} union all {past_only}) e where {condition}"
    ))
}

/// The kind of an instance; of a deletion that of what it deleted, where that is still kept.
const KIND: &str = "case when s.part = 1 and s.body is null then \
      (select d.body ->> 'type' from mim.history d where d.tenant = $1 and d.entity = s.id and d.attr = s.attr \
         and d.instance < s.instance and d.dataset is not distinct from s.dataset and d.body is not null \
       order by d.instance desc limit 1) \
    else s.body ->> 'type' end";

/// What is sent of the body. Of a large one there is its size, a number, in its place.
fn text_of(rows: Rows) -> &'static str {
    match rows {
        Rows::Instances(Sizes::Small) => {
            "(select case when octet_length(t.x) <= 65536 then t.x else octet_length(t.x)::text end \
                from (select s.body::text as x offset 0) t)"
        }
        Rows::Instances(Sizes::Any) => "s.body::text",
        Rows::Values => "(s.body -> 'value')::text",
        Rows::Kinds => "null::text",
    }
}

/// What instances of the history have to be, as SQL about the row `h`.
#[derive(Clone)]
pub(super) struct Past {
    clock: Clock,
    interval: Interval,
    /// In the interval, by the clock.
    within: String,
    /// By each index that the clock needs: condition, time, order.
    scans: Vec<(String, &'static str, &'static str)>,
    /// Of the datasets.
    datasets: String,
    /// Of attributes that are seen of the entity whose `b` is at hand.
    shown: String,
}

impl Past {
    fn new(builder: &mut Builder, wanted: &Wanted) -> Self {
        let TemporalQuery { clock, interval, .. } = wanted.query;
        let datasets = match &wanted.datasets {
            None => String::new(),
            Some((true, named)) if named.is_empty() => " and h.dataset is null".to_owned(),
            Some((default, named)) => {
                let named = builder.bind(Param::Texts(named.clone()));
                let default = if *default { "h.dataset is null or " } else { "" };
                format!(" and ({default}h.dataset = any({named}))")
            }
        };
        let mut stored = || builder.bounds("h.instance", interval, instance_at);
        let scans = match clock {
            Clock::Any => vec![
                ("h.observed is not null".to_owned(), "h.observed", "h.observed"),
                ("h.observed is null".to_owned(), "h.recorded", "h.instance"),
            ],
            Clock::Observed => {
                let observed = builder.bounds("h.observed", interval, Param::Time);
                vec![(
                    format!("h.observed is not null{observed}"),
                    "h.observed",
                    "h.observed",
                )]
            }
            Clock::Created => vec![(
                format!("h.body is not null{}", stored()),
                "h.recorded",
                "h.instance",
            )],
            Clock::Modified => {
                let never = format!("h.modified is null and h.body is not null{}", stored());
                let modified = builder.bounds("h.modified", interval, Param::Time);
                let corrected = format!("h.modified is not null{modified}");
                vec![
                    (never, "h.recorded", "h.instance"),
                    (corrected, "h.modified", "h.modified"),
                ]
            }
            Clock::Deleted => vec![(format!("h.body is null{}", stored()), "h.recorded", "h.instance")],
        };
        let conditions: Vec<String> = scans
            .iter()
            .map(|(condition, ..)| format!("({condition})"))
            .collect();
        Self {
            clock,
            interval,
            within: any(&conditions),
            scans,
            datasets,
            shown: builder.shows_of("b", "h.attr"),
        }
    }

    /// The instances of one attribute of one entity in the interval, so many at most, in the order of time.
    fn scan(&self, direction: &str, each: &str) -> String {
        let one = |(condition, key, order): &(String, &str, &str)| {
            format!(
                "select h.instance, h.recorded, h.modified, h.dataset, h.body, {key} as key from mim.history h \
                 where h.tenant = $1 and h.entity = p.id and h.attr = a.attr and h.instance >= p.first{} and {condition} \
                 order by {order} {direction} limit {each}",
                self.datasets
            )
        };
        match self.scans.as_slice() {
            [single] => one(single),
            several => {
                let parts: Vec<String> = several.iter().map(|scan| format!("({})", one(scan))).collect();
                format!(
                    "select * from ({}) y order by y.key {direction}, y.instance {direction} limit {each}",
                    parts.join(" union all ")
                )
            }
        }
    }

    /// That the entity `e` has an instance in the interval, of the attribute that `attr` is or holds. Asked of one entity after
    /// the other: `exists` could be made a join with all of the history.
    fn has(&self, attr: &str) -> String {
        format!(
            "(select 1 from mim.history h where h.tenant = $1 and h.entity = e.id and h.attr = {attr} \
             and h.instance >= b.first{} and {} and {} limit 1) is not null",
            self.datasets, self.within, self.shown
        )
    }

    /// The instances of an attribute of the entity `e` in the interval, those that are not deletions: `v`, the instance; `c`
    /// and `m`, when it was stored and last changed.
    pub(super) fn instances(&self, attr: &str) -> String {
        format!(
            "(select h.body, h.recorded, coalesce(h.modified, h.recorded) from mim.history h \
             where h.tenant = $1 and h.entity = e.id and h.attr = {attr} and h.instance >= b.first and h.body is not null \
             and {} and {}) as i0(v, c, m)",
            self.within, self.shown
        )
    }
}

impl Builder {
    fn integer(&mut self, value: usize) -> String {
        self.bind(Param::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    /// That a column is in the interval, to be added to other conditions.
    fn bounds(&mut self, column: &str, interval: Interval, param: fn(Timestamp) -> Param) -> String {
        let from = interval
            .from
            .map(|from| format!(" and {column} >= {}", self.bind(param(from))));
        let until = interval
            .until
            .map(|until| format!(" and {column} < {}", self.bind(param(until))));
        from.into_iter().chain(until).collect()
    }

    /// The entities of an answer with their places in it, and how many they are at most.
    fn page(&mut self, past: &Past, which: Which<'_>) -> (String, usize) {
        const WHOLE: &str = "x.id, x.types, x.created, x.modified, x.first";
        const PARTS: &str = "x.id, x.types, x.created, x.modified, x.first, x.allowed, x.denied";
        let columns = if self.shown_columns("e", Known::Current).is_empty() {
            WHOLE
        } else {
            PARTS
        };
        match which {
            Which::One(id) => {
                let id = self.text(id);
                let [current, past_only] = self.entity(&id);
                let page =
                    format!("select 1::bigint as n, {columns} from ({current} union all {past_only}) x");
                (page, 1)
            }
            Which::Some {
                selection,
                limit,
                offset,
                descending,
            } => {
                let direction = if descending { "desc" } else { "asc" };
                let entities = limit + 1;
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let all = self.integer(entities.saturating_add(offset));
                // Each part stops where the page ends.
                let order = format!(" order by e.id {direction} limit {all}");
                let [current, past_only] = self.selected(past, selection, &order);
                let (limit, offset) = (self.integer(entities), self.integer(offset));
                let page = format!(
                    "select row_number() over (order by y.id {direction}) as n, y.* from (select {columns} \
                     from (({current}) union all ({past_only})) x order by x.id {direction} limit {limit} offset {offset}) y"
                );
                (page, entities)
            }
        }
    }

    /// The names of attributes of each entity of the page: those that are given, or one after the other as the index has
    /// them.
    fn names(&mut self, which: Which<'_>, wanted: &Wanted) -> String {
        // The entity after the last one only tells that there is one.
        let of_page = match which {
            Which::One(_) => String::new(),
            Which::Some { limit, .. } => format!(" where p.n <= {}", self.integer(limit)),
        };
        let mut without = format!(" and {}", self.shows_of("p", "h.attr"));
        if !wanted.without.is_empty() {
            let names = self.bind(Param::Texts(wanted.without.clone()));
            let _ = write!(without, " and h.attr <> all({names})");
        }
        let Some(attrs) = &wanted.attrs else {
            let next = |after: &str| next_name("p.id", "p.first", after, &without);
            return format!(
                "select p.n, ({}) from page p{of_page} union all \
                 select a.n, ({}) from names a join page p on p.n = a.n where a.attr is not null",
                next(""),
                next(" and h.attr > a.attr")
            );
        };
        let attrs = self.bind(Param::Texts(attrs.clone()));
        let of_page = if of_page.is_empty() {
            " where true"
        } else {
            &of_page
        };
        format!("select p.n, h.attr from page p cross join unnest({attrs}) as h(attr){of_page}{without}")
    }
}

/// The first name of an attribute in the past of an entity, after the one before.
fn next_name(entity: &str, first: &str, after: &str, without: &str) -> String {
    format!(
        "select h.attr from mim.history h where h.tenant = $1 and h.entity = {entity}{after} and h.instance >= {first}{without} \
         order by h.attr limit 1"
    )
}

/// The least instance that was stored at this time or later.
fn instance_at(at: Timestamp) -> Param {
    Param::Instance(InstanceId::first_at(at).0)
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
