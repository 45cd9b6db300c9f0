//! What a replica is made of. Each part follows what the configuration says of it.

use crate::api::App;
use crate::context::cache::{self, Contexts};
use crate::context::preloaded::Preloaded;
use crate::memory::{Rooms, limit};
use crate::notify::dispatch::Dispatch;
use crate::notify::lane::Post;
use crate::notify::send::Sender;
use crate::server::config::{self, Config, TenantCreation};
use crate::server::metrics::Metrics;
use crate::server::run::Settings;
use crate::store::Store;
use crate::store::history::Keeping;
use crate::store::keeper::{Keeper, Lacking};
use crate::store::pool::{Doubts, Pool, State};
use crate::store::tenants::{Tenants, Wanted};
use crate::store::told::Place;
use crate::store::trouble::Trouble;
use mim_egress::{Allow, Client, Policy, api_server_of_this_pod};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

/// How many words of writes about notifications may wait to be heard.
const WAITING: usize = 10_000;

/// All parts, working but for the doors through which requests come.
pub(super) async fn assemble(settings: &Settings, config: &watch::Receiver<Config>) -> (App, Arc<Dispatch>) {
    let rooms = Arc::new(Rooms::of(limit::of_this_process()));
    let (store, waiting) = store(settings, config.clone(), Arc::clone(&rooms));
    let contexts = contexts(settings, config, &store, &rooms).await;
    let app = App::new(
        store,
        contexts,
        rooms,
        Arc::new(Metrics::default()),
        part_of(config.clone(), |config| config.compatibility),
    );
    let dispatch = Dispatch::new(post(&app, config, settings.loopback_for_tests));
    tokio::spawn(Arc::clone(&dispatch).run(waiting));
    tokio::spawn(app.store.clone().keep_count(Arc::clone(&app.metrics)));
    tokio::spawn(app.store.clone().keep_contract(
        part_of(config.clone(), |config| config.contract),
        settings.contract.clone(),
    ));
    tokio::spawn(app.store.clone().keep_contract_indexes());
    (app, dispatch)
}

/// What notifications are sent with.
fn post(app: &App, config: &watch::Receiver<Config>, loopback: bool) -> Post {
    Post {
        store: app.store.clone(),
        rooms: Arc::clone(&app.rooms),
        contexts: Arc::clone(&app.contexts),
        sender: followed(
            config.clone(),
            |config| config.egress.clone(),
            move |config| sender(config, loopback),
        ),
        outbox: part_of(config.clone(), |config| config.notifications.outbox),
        metrics: Arc::clone(&app.metrics),
        holder: Uuid::from_u128(rand::random()),
        failing: Mutex::default(),
        slow: Mutex::default(),
        leaving: AtomicBool::default(),
    }
}

/// The contexts, with all that follows files and settings running.
async fn contexts(
    settings: &Settings,
    config: &watch::Receiver<Config>,
    store: &Store,
    rooms: &Arc<Rooms>,
) -> Arc<Contexts> {
    let first = config.borrow().clone();
    let contexts = Arc::new(Contexts::new(
        Arc::new(egress(&first, settings.loopback_for_tests)),
        &first.egress.guard(),
        Arc::new(store.clone()),
        Arc::clone(rooms),
    ));
    let mut preloaded = preloaded(settings, &first);
    preloaded.look().await;
    contexts.preload(preloaded.clone());
    let loopback = settings.loopback_for_tests;
    tokio::spawn(follow_egress(Arc::clone(&contexts), config.clone(), loopback));
    tokio::spawn(follow_preloaded(
        Arc::clone(&contexts),
        settings.clone(),
        config.clone(),
        preloaded,
    ));
    tokio::spawn(write_uses(Arc::clone(&contexts)));
    contexts
}

fn preloaded(settings: &Settings, config: &Config) -> Preloaded {
    let (preloaded, wrong) = Preloaded::of(&settings.contexts, &config.contexts);
    for why in wrong {
        tracing::warn!(%why, "a preloaded context cannot be used");
    }
    preloaded
}

/// Looks at the files of preloaded contexts, and at their list, for ever.
async fn follow_preloaded(
    contexts: Arc<Contexts>,
    settings: Settings,
    config: watch::Receiver<Config>,
    mut preloaded: Preloaded,
) {
    let mut list = config.borrow().contexts.clone();
    let mut told = Vec::new();
    loop {
        let missing: Vec<String> = preloaded.missing().into_iter().map(str::to_owned).collect();
        if missing != told && !missing.is_empty() {
            tracing::warn!(
                ?missing,
                "preloaded contexts have no file; they are used on as long as they are in memory"
            );
        }
        told = missing;
        tokio::time::sleep(config::LOOK).await;
        let new = config.borrow().contexts.clone();
        let news = new != list;
        if news {
            list = new;
            preloaded = self::preloaded(&settings, &config.borrow().clone());
        }
        if preloaded.look().await || news {
            tracing::info!(contexts = preloaded.len(), "the preloaded contexts changed");
            contexts.preload(preloaded.clone());
        }
    }
}

/// Writes how often contexts are used, for ever.
async fn write_uses(contexts: Arc<Contexts>) {
    loop {
        tokio::time::sleep(cache::VALID / 2).await;
        if let Err(error) = contexts.write_uses().await {
            tracing::debug!(%error, "uses of contexts are written later");
        }
    }
}

fn egress(config: &Config, loopback: bool) -> Client {
    let policy = Policy::new(
        config.egress.allowed_private_cidrs.clone(),
        api_server_of_this_pod(),
    );
    Client::new(if loopback {
        policy.with_loopback_for_tests()
    } else {
        policy
    })
}

fn sender(config: &Config, loopback: bool) -> Sender {
    let services = config.egress.services_of.clone();
    Sender::new(
        egress(config, loopback),
        services.map_or(Allow::PolicyOnly, Allow::ServicesOf),
    )
}

async fn follow_egress(contexts: Arc<Contexts>, mut config: watch::Receiver<Config>, loopback: bool) {
    let mut current = config.borrow_and_update().egress.clone();
    while config.changed().await.is_ok() {
        let new = config.borrow_and_update().clone();
        if new.egress != current {
            contexts.fetch_with(Arc::new(egress(&new, loopback)), &new.egress.guard());
            current = new.egress;
        }
    }
}

/// How many connections the pool may have: as the configuration says, else as the command line does.
fn connections(settings: &Settings, config: &Config) -> usize {
    config
        .database
        .connections
        .map_or(settings.connections, |n| usize::from(n.get()))
}

async fn follow_connections(pool: Arc<Pool>, settings: Settings, mut config: watch::Receiver<Config>) {
    let mut current = connections(&settings, &config.borrow_and_update());
    while config.changed().await.is_ok() {
        let wanted = connections(&settings, &config.borrow_and_update());
        if wanted != current {
            tracing::info!(
                connections = wanted,
                "the number of connections to the database changes"
            );
            pool.resize(wanted);
            current = wanted;
        }
    }
}

fn tenants(config: &Config) -> Wanted {
    Wanted {
        names: config.tenants.clone(),
        on_first_write: config.tenant_creation == TenantCreation::OnFirstWrite,
        dropped: config.dropped_tenants.clone(),
        quotas: config.quotas.clone(),
    }
}

/// The store, with its keeper running.
fn store(
    settings: &Settings,
    config: watch::Receiver<Config>,
    rooms: Arc<Rooms>,
) -> (Store, mpsc::Receiver<Place>) {
    let (state, seen) = watch::channel(State::Down(Trouble::Starting));
    let size = connections(settings, &config.borrow());
    let sizes = config.clone();
    let configured = part_of(config.clone(), tenants);
    let temporal = part_of(config, |config| config.temporal);
    let doubts = Arc::<Doubts>::default();
    let pool = Arc::new(Pool::new(size, seen, Arc::clone(&doubts)));
    tokio::spawn(follow_connections(Arc::clone(&pool), settings.clone(), sizes));
    tokio::spawn(Arc::clone(&pool).let_go());
    let tenants = Arc::new(Tenants::default());
    let (keeping_tx, keeping) = watch::channel(Keeping::default());
    let keeper = Keeper {
        places: settings.places.clone(),
        configured,
        tenants: Arc::clone(&tenants),
        temporal,
        keeping: keeping_tx,
        state,
        doubts,
        lacking: Lacking::default(),
    };
    tokio::spawn(keeper.run());
    let (waiting_tx, waiting) = mpsc::channel(WAITING);
    let store = Store::new(pool, tenants, rooms, keeping, waiting_tx);
    tokio::spawn(store.clone().sweep());
    (store, waiting)
}

/// One part of the configuration, followed: told of only when it changes.
pub(super) fn part_of<T: PartialEq + Clone + Send + Sync + 'static>(
    config: watch::Receiver<Config>,
    part: impl Fn(&Config) -> T + Clone + Send + 'static,
) -> watch::Receiver<T> {
    followed(config, part.clone(), part)
}

/// What is made of a part of the configuration, anew whenever that part changes.
fn followed<P: PartialEq + Send + 'static, T: Send + Sync + 'static>(
    mut config: watch::Receiver<Config>,
    part: impl Fn(&Config) -> P + Send + 'static,
    make: impl Fn(&Config) -> T + Send + 'static,
) -> watch::Receiver<T> {
    let first = config.borrow_and_update().clone();
    let mut current = part(&first);
    let (sender, receiver) = watch::channel(make(&first));
    tokio::spawn(async move {
        while config.changed().await.is_ok() {
            let new = config.borrow_and_update().clone();
            if part(&new) != current {
                current = part(&new);
                sender.send_replace(make(&new));
            }
        }
    });
    receiver
}
