//! One tree of a query has two evaluators, SQL for queries and memory for subscriptions: here both are asked about the
//! same random entities and have to give the same answer.
//!
//! `MIM_SEED` chooses another seed than the one of every day, `MIM_QUERIES` another number of queries.

mod entities;
mod permissions;
mod queries;

use crate::support::{Postgres, store_over};
use mim_broker::context::Context;
use mim_broker::model::change;
use mim_broker::model::entity::{Entity, Kind};
use mim_broker::model::json::Json;
use mim_broker::model::read::{Nulls, Reader};
use mim_broker::permissions::reach::Reach;
use mim_broker::query::Selection;
use mim_broker::query::evaluate::{Prepared, Subject};
use mim_broker::query::sql::{self, Window};
use mim_broker::store::rows::Sizes;
use mim_broker::store::{Store, TenantId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const ENTITIES: usize = 120;
const QUERIES: usize = 600;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Entities as they are in memory: those that a write has just made of a document, and those that the database gave back.
struct Both {
    written: Vec<Entity>,
    read: Vec<Entity>,
}

async fn stored(store: &Store, tenant: TenantId, random: &mut StdRng) -> Both {
    let context = Context::core();
    let reader = Reader {
        context: &context,
        nulls: Nulls::Refused,
    };
    let mut both = Both {
        written: Vec::new(),
        read: Vec::new(),
    };
    for n in 0..ENTITIES {
        let document = entities::document(n, random);
        let json = Json::parse(document.as_bytes()).unwrap_or_else(|e| panic!("{e}: {document}"));
        let fragment = reader.entity(&json).unwrap_or_else(|e| panic!("{e}: {document}"));
        let entity = change::create(fragment, entities::created(n));
        assert!(store.create(tenant, &entity).await.unwrap(), "{document}");
        let (read, _) = store
            .retrieve(Reach::all(tenant), &entity.id)
            .await
            .unwrap()
            .unwrap();
        both.written.push(entity);
        both.read.push(read);
    }
    both
}

/// What the database selects; an error where it refuses the query.
async fn by_sql(store: &Store, tenant: TenantId, selection: &Selection) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let window = Window {
        limit: ENTITIES,
        offset: 0,
    };
    let reach = Reach::all(tenant);
    let page = sql::page(reach, selection, None, window, Sizes::Any);
    let take = |entity: &Entity| found.insert(entity.id.clone());
    store
        .search(reach, &page, ENTITIES, None, take)
        .await
        .map_err(|e| e.to_string())?;
    Ok(found)
}

fn by_memory(subjects: &mut [Subject], prepared: &Prepared) -> BTreeSet<String> {
    let selected = subjects.iter_mut().filter_map(|subject| {
        let is_selected = prepared.selects(subject);
        is_selected.then(|| subject.entity().id.clone())
    });
    selected.collect()
}

/// What was found of disagreements, and of what was compared.
#[derive(Default)]
struct Tally {
    disagreements: String,
    pairs: usize,
    selected: usize,
    /// How many queries with each feature selected some entities and left others.
    telling: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn compare(
        &mut self,
        text: &str,
        way: &str,
        sql: &BTreeSet<String>,
        memory: &BTreeSet<String>,
        all: &[Entity],
    ) {
        for id in sql.symmetric_difference(memory) {
            let entity = all.iter().find(|e| e.id == *id).unwrap();
            let says = if sql.contains(id) {
                "SQL only"
            } else {
                "memory only"
            };
            let shown = text.replace("None, ", "");
            let places = entity
                .attributes
                .values()
                .flatten()
                .filter(|i| i.kind == Kind::GeoProperty);
            let places: Vec<_> = places.map(|i| i.value.to_text()).collect();
            let _ = if text.contains("geo: None") {
                writeln!(self.disagreements, "{shown}\n  {says} ({way}): {entity:?}")
            } else {
                writeln!(self.disagreements, "{shown}\n  {says} ({way}): {id} {places:?}")
            };
        }
    }
}

#[tokio::test]
async fn both_evaluators_give_the_same_answer_for_ten_thousand_pairs_of_a_query_and_an_entity() {
    let seed = setting("MIM_SEED", 20_240_131);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed as u64);
    let database = Postgres::shared().database();
    let store = store_over(&database, &[]).await;
    let tenant = store.tenant("").unwrap();
    let entities = stored(&store, tenant, &mut random).await;
    let [mut read, mut written] =
        [&entities.read, &entities.written].map(|all| all.iter().map(Subject::of).collect::<Vec<_>>());
    let mut tally = Tally::default();
    for _ in 0..setting("MIM_QUERIES", QUERIES) {
        let query = queries::query(&mut random);
        let selection = query.selection();
        let sql = by_sql(&store, tenant, &selection).await;
        let prepared = Prepared::of(&selection);
        let (sql, prepared) = match (sql, prepared) {
            (Ok(sql), Ok(prepared)) => (sql, prepared),
            (Err(_), Err(_)) => continue,
            (sql, prepared) => panic!("{query:?}: {sql:?}, {:?}", prepared.map(drop)),
        };
        let text = format!("{query:?}");
        tally.compare(
            &text,
            "as read",
            &sql,
            &by_memory(&mut read, &prepared),
            &entities.read,
        );
        tally.compare(
            &text,
            "as written",
            &sql,
            &by_memory(&mut written, &prepared),
            &entities.read,
        );
        tally.pairs += ENTITIES;
        tally.selected += sql.len();
        if !sql.is_empty() && sql.len() < ENTITIES {
            for feature in query.features() {
                *tally.telling.entry(feature).or_default() += 1;
            }
        }
    }
    println!(
        "{} pairs, {} selected, telling: {:?}",
        tally.pairs, tally.selected, tally.telling
    );
    assert!(
        tally.disagreements.is_empty(),
        "seed {seed}:\n{}",
        tally.disagreements.chars().take(20_000).collect::<String>()
    );
    assert!(tally.pairs >= 10_000, "{}", tally.pairs);
    for feature in queries::FEATURES {
        assert!(
            tally.telling.contains_key(feature),
            "{feature}: {:?}",
            tally.telling
        );
    }
}
