//! What rules of a permission set let through, in SQL and in memory: the same entities are found by queries, and each has
//! the same attributes.

use super::entities::{NAMES, PLACES, SCOPES, id, pick, shape};
use super::queries;
use super::{ENTITIES, setting, stored};
use crate::support::{Postgres, store_over};
use mim_broker::model::entity::Entity;
use mim_broker::model::json::Json;
use mim_broker::permissions::Rules;
use mim_broker::permissions::reach::Reach;
use mim_broker::permissions::wire;
use mim_broker::query::Selection;
use mim_broker::query::evaluate::{Prepared, Subject};
use mim_broker::query::sql::{self, Window};
use mim_broker::store::rows::Sizes;
use mim_broker::store::{Store, StoreError};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many sets are asked, each with several queries.
const SETS: usize = 120;
const QUERIES: usize = 6;

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

fn some(random: &mut StdRng, each: impl Fn(&mut StdRng) -> String) -> Vec<String> {
    (0..random.random_range(1..3)).map(|_| each(random)).collect()
}

fn attribute(random: &mut StdRng) -> String {
    match random.random_range(0..7) {
        0 => "https://uri.etsi.org/ngsi-ld/location".to_owned(),
        1 => format!("{DEFAULT}{}", pick(&PLACES[1..], random)),
        _ => format!("{DEFAULT}{}", pick(&NAMES, random)),
    }
}

fn area(random: &mut StdRng) -> Value {
    loop {
        let (kind, coordinates) = shape(0.2, random);
        if kind == "Polygon" || kind == "MultiPolygon" {
            let coordinates: Value = serde_json::from_str(&coordinates).unwrap();
            return json!({"type": kind, "coordinates": coordinates});
        }
    }
}

/// Some grant, of much or little.
fn grant(with_attributes: f64, random: &mut StdRng) -> Value {
    let mut grant = json!({});
    if random.random_bool(0.5) {
        grant["types"] = json!(some(random, |random| format!(
            "{DEFAULT}{}",
            pick(&["T", "U", "V"], random)
        )));
    }
    if random.random_bool(0.15) {
        grant["ids"] = json!(
            (0..40)
                .map(|_| id(random.random_range(0..ENTITIES)))
                .collect::<Vec<_>>()
        );
    }
    if random.random_bool(0.15) {
        let patterns = ["^urn:ngsi-ld:", "1$", "Vehicle", "^\\w+:é", "[02468]$"];
        grant["idPatterns"] = json!(some(random, |random| pick(&patterns, random).to_owned()));
    }
    if random.random_bool(0.25) {
        grant["scopes"] = json!(some(random, |random| {
            let scope = pick(&SCOPES, random);
            let below = if random.random_bool(0.5) { "/#" } else { "" };
            format!("{scope}{below}")
        }));
    }
    if random.random_bool(0.2) {
        grant["area"] = area(random);
    }
    if random.random_bool(with_attributes) {
        grant["attributes"] = json!(some(random, attribute));
    }
    grant
}

fn set(random: &mut StdRng) -> Value {
    let allow: Vec<Value> = (0..random.random_range(1..4))
        .map(|_| grant(0.5, random))
        .collect();
    let deny: Vec<Value> = (0..random.random_range(0..3))
        .map(|_| grant(0.6, random))
        .collect();
    json!({"allow": allow, "deny": deny})
}

type Seen = BTreeMap<String, Vec<String>>;

fn shown(entity: &Entity) -> (String, Vec<String>) {
    (entity.id.clone(), entity.attributes.keys().cloned().collect())
}

/// What a query of the database gives, its count included.
async fn by_sql(store: &Store, reach: Reach<'_>, selection: &Selection) -> Result<Seen, StoreError> {
    let mut seen = Seen::new();
    let window = Window {
        limit: ENTITIES,
        offset: 0,
    };
    let page = sql::page(reach, selection, None, window, Sizes::Any);
    let count = sql::count(reach, selection);
    let take = |entity: &Entity| {
        seen.extend([shown(entity)]);
        true
    };
    let found = store.search(reach, &page, ENTITIES, Some(&count), take).await?;
    assert_eq!(found.count, Some(seen.len() as u64), "{selection:?}");
    Ok(seen)
}

/// The same of entities in memory: first what of them is seen, then what is asked.
fn by_memory(entities: &[Entity], rules: &Rules, prepared: &Prepared) -> Seen {
    let seen = entities.iter().filter_map(|entity| rules.seen(entity.clone()));
    let selected = seen.filter(|entity| prepared.selects(&mut Subject::of(entity)));
    selected.map(|entity| shown(&entity)).collect()
}

/// The names of types and attributes that are told of, and those that entities have that are seen.
async fn names_agree(store: &Store, reach: Reach<'_>, entities: &[Entity], rules: &Rules, text: &str) {
    use mim_broker::query::sql::discovery::Range;
    let range = Range {
        offset: 0,
        limit: 100,
    };
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut attributes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entity in entities.iter().filter_map(|entity| rules.seen(entity.clone())) {
        for iri in &entity.types {
            types
                .entry(iri.clone())
                .or_default()
                .extend(entity.attributes.keys().cloned());
        }
        for iri in entity.attributes.keys() {
            attributes
                .entry(iri.clone())
                .or_default()
                .extend(entity.types.clone());
        }
    }
    for names in types.values_mut().chain(attributes.values_mut()) {
        names.sort_unstable();
        names.dedup();
    }
    let told = store.types_with_attributes(reach, range).await.unwrap();
    assert_eq!(told.into_iter().collect::<BTreeMap<_, _>>(), types, "{text}");
    let told = store.attributes_with_types(reach, range).await.unwrap();
    let sorted = told.into_iter().map(|(name, mut of)| {
        of.sort_unstable();
        (name, of)
    });
    assert_eq!(sorted.collect::<BTreeMap<_, _>>(), attributes, "{text}");
    let names: Vec<&String> = types.keys().collect();
    assert_eq!(
        store
            .type_names(reach, range)
            .await
            .unwrap()
            .iter()
            .collect::<Vec<_>>(),
        names
    );
    for iri in ["T", "U", "V"].map(|name| format!("{DEFAULT}{name}")) {
        let told = store.type_details(reach, &iri).await.unwrap();
        let told = told.map(|details| details.attributes.into_iter().map(|(name, _)| name).collect());
        assert_eq!(told, types.get(&iri).cloned(), "{text}");
    }
    for iri in NAMES.map(|name| format!("{DEFAULT}{name}")) {
        let told = store.attribute_details(reach, &iri).await.unwrap();
        assert_eq!(told.is_some(), attributes.contains_key(&iri), "{text}");
    }
}

#[tokio::test]
async fn what_is_seen_of_a_permission_set_is_the_same_in_sql_and_in_memory() {
    let seed = setting("MIM_SEED", 20_240_131);
    let mut random = StdRng::seed_from_u64(seed as u64);
    let database = Postgres::shared().database();
    let store = store_over(&database, &[]).await;
    let tenant = store.tenant("").unwrap();
    let entities = stored(&store, tenant, &mut random).await.read;
    let (mut telling, mut hiding, mut compared) = (0, 0, 0);
    for _ in 0..setting("MIM_SETS", SETS) {
        let text = set(&mut random).to_string();
        let Ok(rules) = wire::rules(&Json::parse(text.as_bytes()).unwrap()) else {
            // An area whose rings cross in too many places.
            continue;
        };
        let reach = Reach::of(tenant, &rules);
        let everything = Prepared::of(&Selection::default()).unwrap();
        let all = by_memory(&entities, &rules, &everything);
        assert_eq!(
            by_sql(&store, reach, &Selection::default()).await.unwrap(),
            all,
            "seed {seed}: {text}"
        );
        telling += usize::from(!all.is_empty() && all.len() < ENTITIES);
        hiding += usize::from(entities.iter().any(|entity| {
            all.get(&entity.id)
                .is_some_and(|names| names.len() < entity.attributes.len())
        }));
        for entity in entities.iter().step_by(7) {
            let found = store.retrieve(reach, &entity.id).await.unwrap();
            let found = found.map(|(entity, _)| shown(&entity).1);
            assert_eq!(found.as_ref(), all.get(&entity.id), "seed {seed}: {text}");
        }
        names_agree(&store, reach, &entities, &rules, &text).await;
        for _ in 0..QUERIES {
            let query = queries::query(&mut random);
            let selection = query.selection();
            let (sql, prepared) = (by_sql(&store, reach, &selection).await, Prepared::of(&selection));
            let (Ok(sql), Ok(prepared)) = (sql, prepared) else {
                continue;
            };
            let memory = by_memory(&entities, &rules, &prepared);
            assert_eq!(sql, memory, "seed {seed}: {text}\n{query:?}");
            compared += 1;
        }
    }
    assert!(telling > SETS / 3 && hiding > SETS / 5, "{telling} {hiding}");
    assert!(compared > SETS * QUERIES / 2, "{compared}");
}
