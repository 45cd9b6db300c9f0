//! A store in the test's own process, with its keeper, as a replica has it.

use super::{Database, eventually};
use mim_broker::memory::{Rooms, limit};
use mim_broker::store::Store;
use mim_broker::store::history::Keeping;
use mim_broker::store::keeper::{Keeper, Lacking};
use mim_broker::store::partitions::Temporal;
use mim_broker::store::pool::{Doubts, Pool, State};
use mim_broker::store::quota::Quotas;
use mim_broker::store::settings::Places;
use mim_broker::store::tenants::{Tenants, Wanted};
use mim_broker::store::trouble::Trouble;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A store over a database, ready, with tenants of these names. It keeps no past, and nobody hears of its notifications.
pub async fn store_over(database: &Database, tenants_named: &[&str]) -> Store {
    let (state, seen) = watch::channel(State::Down(Trouble::Starting));
    let doubts = Arc::<Doubts>::default();
    let pool = Arc::new(Pool::new(4, seen, Arc::clone(&doubts)));
    let tenants = Arc::new(Tenants::default());
    let (kept, keeping) = watch::channel(Keeping::default());
    let wanted = Wanted {
        names: tenants_named.iter().map(|name| (*name).to_owned()).collect(),
        on_first_write: false,
        dropped: Vec::new(),
        quotas: Quotas::default(),
    };
    let keeper = Keeper {
        places: Places {
            database: database.secret.path().to_owned(),
            ca: database.secret.path().join("ca.crt"),
        },
        configured: watch::channel(wanted).1,
        tenants: Arc::clone(&tenants),
        temporal: watch::channel(Temporal::default()).1,
        keeping: kept,
        state,
        doubts,
        lacking: Lacking::default(),
    };
    tokio::spawn(keeper.run());
    let rooms = Arc::new(Rooms::of(limit::of_this_process()));
    let store = Store::new(Arc::clone(&pool), tenants, rooms, keeping, mpsc::channel(1).0);
    eventually(30, "the store is there", async || {
        pool.trouble().is_none() && store.tenant("").is_some()
    })
    .await;
    store
}
