//! Invariant 3: a crash before or after any request changes nothing in where it ends, nor in what was created or deleted.
//!
//! One clean run counts the changes of three phases: a new object, a changed spec (a release, so the database is rolled with a preflight;
//! fewer replicas, so something is pruned), a confirmed deletion. Then every change of every phase is cut, on both sides: the operator
//! dies there, a new process finishes, and the namespace must look as after the clean run, with as much made and deleted. Of a kind that keeps
//! something outside Kubernetes the requests to there are cut in the same way, and what is there is part of what must look the same.

mod state;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, ListParams};
use mim_operator::reconcile::request::{Journal, Side};
use mim_tests::cluster::{self, api_of};
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::{FakeBroker, Fault};
use serde_json::{Value, json};

use crate::chronicle::Chronicle;
use crate::city::{CHILD_KINDS, City, broker, platform, told};
use crate::subscriptions::subscription;
use state::{Counts, Snapshot};

/// Namespaces at the same time.
const AT_ONCE: usize = 8;

/// One of the kinds, as the object that the user writes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ContextBroker,
    UrbanDataPlatform,
    ContextSubscription,
}

const PHASES: [Phase; 3] = [Phase::New, Phase::Changed, Phase::Deleted];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    New,
    Changed,
    Deleted,
}

/// Where the operator dies.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// At the n-th change that the API server is asked for.
    Api(usize, Side),
    /// At the n-th change that the service outside of Kubernetes is asked for.
    Remote(usize, Side),
}

/// How many changes each phase asks for, of the API server and of the service outside.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    api: [usize; 3],
    remote: [usize; 3],
}

/// What one run came to, by phase.
#[derive(Default)]
struct Run {
    namespace: String,
    asked: Asked,
    /// What is outside, how much was made there, and how much deleted.
    remote: Vec<(Value, usize, usize)>,
    /// What was changed in the last phase, but for the status of objects that were still there.
    at_deletion: Vec<String>,
    deaths: usize,
    states: Vec<Snapshot>,
}

impl Kind {
    fn object(self, phase: Phase) -> Value {
        let confirmed = json!({"mim.city/confirm-deletion": "vienna"});
        let mut section = match phase {
            Phase::New => json!({"replicas": 2}),
            _ => json!({"replicas": 1, "tenants": ["north"], "service": {"labels": {"team": "air"}}}),
        };
        let release = if phase == Phase::New { "0.1.0" } else { "0.2.0" };
        if self == Self::ContextSubscription {
            // Something is changed, something is taken away.
            let spec = match phase {
                Phase::New => json!({"q": "no2>40", "throttling": "PT10S"}),
                _ => json!({"q": "no2>50", "mode": "Paused"}),
            };
            return subscription("vienna", "outside", &spec);
        }
        let mut object = match self {
            Self::ContextSubscription => Value::Null,
            Self::ContextBroker => {
                section["release"] = release.into();
                section["deletionPolicy"] = "Delete".into();
                broker("vienna", &section)
            }
            Self::UrbanDataPlatform => platform(
                "vienna",
                &json!({"release": release, "deletionPolicy": "Delete", "broker": section}),
            ),
        };
        object["metadata"]["annotations"] = confirmed;
        object
    }

    async fn act(self, city: &City, phase: Phase) {
        if phase == Phase::Deleted {
            let background = DeleteParams::background();
            let api = api_of(&city.client, &city.namespace, &self.object(phase));
            api.delete("vienna", &background).await.unwrap();
        } else {
            city.apply(&self.object(phase)).await;
        }
    }

    /// Whether a phase has reached its end.
    async fn is_done(self, city: &City, phase: Phase) -> Result<(), String> {
        if self == Self::ContextSubscription {
            return subscription_is_done(city, phase).await;
        }
        if phase == Phase::Deleted {
            let left = city.children("ContextBroker", "vienna").await.len();
            let pods = city
                .pods()
                .list(&ListParams::default())
                .await
                .map_err(|e| e.to_string())?
                .items
                .len();
            let brokers = city
                .brokers()
                .get_opt("vienna")
                .await
                .map_err(|e| e.to_string())?;
            return if (left, pods, brokers.is_some()) == (0, 0, false) {
                Ok(())
            } else {
                Err(format!(
                    "{left} children, {pods} pods, broker {}",
                    brokers.is_some()
                ))
            };
        }
        let (generation, status) = match self {
            Self::ContextBroker => {
                let held = city.brokers().get("vienna").await.map_err(|e| e.to_string())?;
                (
                    held.metadata.generation,
                    serde_json::to_value(held.status).unwrap(),
                )
            }
            Self::UrbanDataPlatform => {
                let held = city.platforms().get("vienna").await.map_err(|e| e.to_string())?;
                (
                    held.metadata.generation,
                    serde_json::to_value(held.status).unwrap(),
                )
            }
            Self::ContextSubscription => return Err("it has a way of its own".to_owned()),
        };
        crate::city::says(generation, &status, "True", "Ready")?;
        // The pod that proved the new template goes with, or after, the last status.
        match city.pods().get_opt("vienna-database-preflight").await {
            Ok(None) => Ok(()),
            _ => Err("the preflight pod is still there".to_owned()),
        }
    }
}

async fn subscription_is_done(city: &City, phase: Phase) -> Result<(), String> {
    let held = city.subscriptions().get_opt("vienna").await;
    let held = held.map_err(|error| error.to_string())?;
    match (held, phase) {
        (None, Phase::Deleted) => Ok(()),
        (None, _) => Err("there is none".to_owned()),
        (Some(held), Phase::Deleted) => Err(format!("{:?}", held.status)),
        (Some(held), _) => {
            let reason = if phase == Phase::New { "Ready" } else { "Paused" };
            let broker = city
                .brokers()
                .get("outside")
                .await
                .map_err(|error| error.to_string())?;
            crate::city::says(held.metadata.generation, held.status, "True", reason)?;
            crate::city::says(broker.metadata.generation, broker.status, "True", "Ready")
        }
    }
}

/// One phase: the user acts, an operator starts and may die, a last one finishes and stops.
async fn phase(
    city: &mut City,
    outside: Option<&FakeBroker>,
    kind: Kind,
    phase: Phase,
    cut: Option<Cut>,
) -> (Vec<String>, bool) {
    kind.act(city, phase).await;
    let mut died = false;
    let what = format!("{phase:?} in {} with {cut:?}", city.namespace);
    if let Some(cut) = cut {
        city.start(match cut {
            Cut::Api(nth, side) => Journal::cutting(nth, side),
            Cut::Remote(..) => Journal::new(),
        });
        eventually(
            &format!("{what}: the operator dies, or has nothing to die at"),
            || async {
                if has_died(city, outside, cut) {
                    Ok(())
                } else {
                    kind.is_done(city, phase).await
                }
            },
        )
        .await;
        died = has_died(city, outside, cut);
        city.kill();
        outside.inspect(|outside| outside.fault(None));
    }
    city.start(Journal::new());
    eventually(&what, || kind.is_done(city, phase)).await;
    let journal = city.stop().await;
    (journal.changes().iter().map(told).collect(), died)
}

fn has_died(city: &City, outside: Option<&FakeBroker>, cut: Cut) -> bool {
    match cut {
        Cut::Api(nth, side) => {
            let changes = city.changes();
            changes
                .get(nth - 1)
                .is_some_and(|entry| side == Side::Before || entry.status.is_some())
        }
        Cut::Remote(..) => outside.is_some_and(FakeBroker::has_lost),
    }
}

/// The broker outside, where the kind keeps something in one.
async fn outside_of(kind: Kind, city: &City) -> Option<FakeBroker> {
    if kind != Kind::ContextSubscription {
        return None;
    }
    let outside = city.serve("outside").await;
    city.apply(&city.external_broker("outside")).await;
    Some(outside)
}

/// All three phases in a namespace of their own. `asked`: how many changes each phase of the clean run asked for, where this one is cut.
async fn run(kind: Kind, cut: Option<Cut>, asked: Asked) -> Run {
    let mut city = City::without_operator("crash").await;
    let outside = outside_of(kind, &city).await;
    let mut done = Run {
        namespace: city.namespace.clone(),
        ..Run::default()
    };
    for (at, which) in PHASES.into_iter().enumerate() {
        let cut = cut.filter(|cut| match cut {
            Cut::Api(nth, _) => *nth <= asked.api[at],
            Cut::Remote(nth, _) => *nth <= asked.remote[at],
        });
        if let (Some(Cut::Remote(nth, side)), Some(outside)) = (cut, &outside) {
            outside.fault(Some(match side {
                Side::Before => Fault::LostBefore(nth),
                Side::After => Fault::LostAfter(nth),
            }));
        }
        let before = outside.as_ref().map_or(0, |outside| outside.changes().len());
        let (changes, died) = phase(&mut city, outside.as_ref(), kind, which, cut).await;
        done.asked.api[at] = changes.len();
        if let Some(outside) = &outside {
            done.asked.remote[at] = outside.changes().len() - before;
            let (made, deleted) = outside.made_and_deleted();
            done.remote.push((
                state::masked_subscription(outside.only(), &city.namespace),
                made,
                deleted,
            ));
        }
        if which == Phase::Deleted {
            let writes = changes.into_iter().filter(|what| !what.contains(" (Status) "));
            done.at_deletion = writes.collect();
        }
        done.deaths += usize::from(died);
        done.states.push(Snapshot::take(&city).await);
    }
    if outside.is_some() {
        city.brokers()
            .delete("outside", &DeleteParams::default())
            .await
            .unwrap();
    }
    done
}

impl Kind {
    /// That the clean run was what this test is about.
    fn is_as_meant(self, clean: &Run) {
        let asked = clean.asked;
        if self == Self::ContextSubscription {
            assert!(asked.api[0] >= 3 && asked.api[1] >= 2, "{asked:?}");
            assert_eq!(asked.remote, [1, 1, 1], "made, changed, deleted");
            let [at_deletion] = clean.at_deletion.as_slice() else {
                panic!("the finalizer goes and nothing else: {:#?}", clean.at_deletion);
            };
            assert!(at_deletion.contains("(Finalizer)"), "{at_deletion}");
            return;
        }
        assert!(asked.api[0] >= 15 && asked.api[1] >= 6, "{asked:?}");
        assert_eq!(
            clean.at_deletion,
            Vec::<String>::new(),
            "data goes by garbage collection, whatever becomes of the operator"
        );
    }
}

/// Every change of every phase, on both sides.
fn cuts_of(asked: Asked) -> (Vec<Cut>, usize) {
    let both = |most: usize| (1..=most).flat_map(|nth| [(nth, Side::Before), (nth, Side::After)]);
    let most = |of: [usize; 3]| of.into_iter().max().unwrap_or(0);
    let api = both(most(asked.api)).map(|(nth, side)| Cut::Api(nth, side));
    let remote = both(most(asked.remote)).map(|(nth, side)| Cut::Remote(nth, side));
    let deaths = asked.api.iter().chain(&asked.remote).sum::<usize>();
    (api.chain(remote).collect(), 2 * deaths)
}

async fn cut_at_every_request(kind: Kind) {
    let admin = cluster::cluster().await.admin().await;
    let mut kinds = CHILD_KINDS.to_vec();
    kinds.extend([
        ("apps/v1", "ReplicaSet"),
        ("mim.city/v1alpha1", "UrbanDataPlatform"),
        ("mim.city/v1alpha1", "ContextSubscription"),
    ]);
    let chronicle = Arc::new(Chronicle::slim(&admin, None, &kinds).await);
    let clean = run(kind, None, Asked::default()).await;
    let asked = clean.asked;
    kind.is_as_meant(&clean);
    let (cuts, wanted) = cuts_of(asked);
    let runs: Vec<(Cut, Run)> = futures::stream::iter(cuts)
        .map(|cut| async move { (cut, run(kind, Some(cut), asked).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // Two status writes that a busy machine made one are one request less to die at.
    let deaths: usize = runs.iter().map(|(_, run)| run.deaths).sum();
    assert!(deaths * 10 >= wanted * 9, "{deaths} deaths of {wanted}");
    let mut wrong = Vec::new();
    for (cut, run) in &runs {
        for ((which, expected), found) in PHASES.iter().zip(&clean.remote).zip(&run.remote) {
            if expected != found {
                wrong.push(format!(
                    "{which:?} cut at {cut:?}: outside is {found:?}, not {expected:?}"
                ));
            }
        }
    }
    for (cut, run) in &runs {
        for ((which, expected), found) in PHASES.iter().zip(&clean.states).zip(&run.states) {
            wrong.extend(
                expected
                    .differences(found)
                    .map(|how| format!("{which:?} cut at {cut:?}: {how}")),
            );
        }
    }
    // What garbage collection still does is done soon; what was made or deleted beside the clean run stays for ever.
    let expected = eventually("the clean run has deleted what it made", || async {
        let counts = Counts::of(&chronicle.read().await, &clean.namespace);
        if counts.all_gone() {
            Ok(counts)
        } else {
            Err(counts)
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let facts = chronicle.read().await;
    for (cut, run) in &runs {
        let found = Counts::of(&facts, &run.namespace);
        if found != expected {
            wrong.push(format!(
                "cut at {cut:?}, made and deleted: {}",
                expected.difference(&found)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences, of changes {asked:?}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_3_a_broker_ends_the_same_however_often_the_operator_dies_before_or_after_any_request() {
    cut_at_every_request(Kind::ContextBroker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_3_a_platform_ends_the_same_however_often_the_operator_dies_before_or_after_any_request() {
    cut_at_every_request(Kind::UrbanDataPlatform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_3_a_subscription_ends_the_same_however_often_the_operator_dies_before_or_after_any_request()
 {
    cut_at_every_request(Kind::ContextSubscription).await;
}

#[tokio::test]
async fn invariant_3_a_journal_that_cuts_does_stop_the_operator() {
    let mut city = City::without_operator("cut").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.start(Journal::cutting(4, Side::Before));
    eventually("it dies", || async {
        if has_died(&city, None, Cut::Api(4, Side::Before)) {
            Ok(())
        } else {
            Err(city.changes().len())
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let journal = city.kill();
    let changes: Vec<_> = journal.changes().iter().map(told).collect();
    assert_eq!(changes.len(), 4, "{changes:#?}");
    assert!(journal.changes()[3].status.is_none(), "the fourth was not sent");
}
