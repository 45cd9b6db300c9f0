//! Invariant 3: a crash before or after any request changes nothing in where it ends, nor in what was created or deleted.
//!
//! One clean run counts the changes of three phases: a new object, a changed spec (a release, so the database is rolled with a preflight;
//! fewer replicas, so something is pruned), a confirmed deletion. Then every change of every phase is cut, on both sides: the operator
//! dies there, a new process finishes, and the namespace must look as after the clean run, with as much made and deleted.

mod state;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, ListParams};
use mim_operator::reconcile::request::{Journal, Side};
use mim_tests::cluster::{self, api_of};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use crate::chronicle::Chronicle;
use crate::city::{CHILD_KINDS, City, broker, platform, told};
use state::{Counts, Snapshot};

/// Namespaces at the same time.
const AT_ONCE: usize = 8;

/// One of the two kinds, as the object that the user writes.
#[derive(Clone, Copy)]
enum Kind {
    ContextBroker,
    UrbanDataPlatform,
}

const PHASES: [Phase; 3] = [Phase::New, Phase::Changed, Phase::Deleted];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    New,
    Changed,
    Deleted,
}

/// Where the operator dies.
type Cut = (usize, Side);

/// What one run came to, by phase.
#[derive(Default)]
struct Run {
    namespace: String,
    changes: [usize; 3],
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
        let mut object = match self {
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
        };
        crate::city::says(generation, &status, "True", "Ready")?;
        // The pod that proved the new template goes with, or after, the last status.
        match city.pods().get_opt("vienna-database-preflight").await {
            Ok(None) => Ok(()),
            _ => Err("the preflight pod is still there".to_owned()),
        }
    }
}

/// One phase: the user acts, an operator starts and may die, a last one finishes and stops.
async fn phase(city: &mut City, kind: Kind, phase: Phase, cut: Option<Cut>) -> (Vec<String>, bool) {
    kind.act(city, phase).await;
    let mut died = false;
    let what = format!("{phase:?} in {} with {cut:?}", city.namespace);
    if let Some((nth, side)) = cut {
        city.start(Journal::cutting(nth, side));
        eventually(
            &format!("{what}: the operator dies, or has nothing to die at"),
            || async {
                if has_died(city, nth, side) {
                    Ok(())
                } else {
                    kind.is_done(city, phase).await
                }
            },
        )
        .await;
        died = has_died(city, nth, side);
        city.kill();
    }
    city.start(Journal::new());
    eventually(&what, || kind.is_done(city, phase)).await;
    let journal = city.stop().await;
    (journal.changes().iter().map(told).collect(), died)
}

fn has_died(city: &City, nth: usize, side: Side) -> bool {
    let changes = city.changes();
    changes
        .get(nth - 1)
        .is_some_and(|entry| side == Side::Before || entry.status.is_some())
}

/// All three phases in a namespace of their own. `counts`: how many changes each phase of the clean run made, where this one is cut.
async fn run(kind: Kind, cut: Option<Cut>, counts: [usize; 3]) -> Run {
    let mut city = City::without_operator("crash").await;
    let mut done = Run {
        namespace: city.namespace.clone(),
        ..Run::default()
    };
    for (at, which) in PHASES.into_iter().enumerate() {
        let cut = cut.filter(|(nth, _)| *nth <= counts[at]);
        let (changes, died) = phase(&mut city, kind, which, cut).await;
        done.changes[at] = changes.len();
        if which == Phase::Deleted {
            let writes = changes.into_iter().filter(|what| !what.contains(" (Status) "));
            done.at_deletion = writes.collect();
        }
        done.deaths += usize::from(died);
        done.states.push(Snapshot::take(&city).await);
    }
    done
}

async fn cut_at_every_request(kind: Kind) {
    let admin = cluster::cluster().await.admin().await;
    let mut kinds = CHILD_KINDS.to_vec();
    kinds.extend([
        ("apps/v1", "ReplicaSet"),
        ("mim.city/v1alpha1", "UrbanDataPlatform"),
    ]);
    let chronicle = Arc::new(Chronicle::slim(&admin, None, &kinds).await);
    let clean = run(kind, None, [0; 3]).await;
    let counts = clean.changes;
    assert!(counts[0] >= 15 && counts[1] >= 6, "{counts:?}");
    assert_eq!(
        clean.at_deletion,
        Vec::<String>::new(),
        "data goes by garbage collection, whatever becomes of the operator"
    );
    let most = counts.into_iter().max().unwrap();
    let cuts = (1..=most).flat_map(|nth| [(nth, Side::Before), (nth, Side::After)]);
    let runs: Vec<(Cut, Run)> = futures::stream::iter(cuts)
        .map(|cut| async move { (cut, run(kind, Some(cut), counts).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert_eq!(runs.len(), 2 * most);
    // Two status writes that a busy machine made one are one request less to die at.
    let deaths: usize = runs.iter().map(|(_, run)| run.deaths).sum();
    let wanted = 2 * counts.iter().sum::<usize>();
    assert!(deaths * 10 >= wanted * 9, "{deaths} deaths of {wanted}");
    let mut wrong = Vec::new();
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
        "{} differences, of changes {counts:?}:\n{}",
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

#[tokio::test]
async fn invariant_3_a_journal_that_cuts_does_stop_the_operator() {
    let mut city = City::without_operator("cut").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.start(Journal::cutting(4, Side::Before));
    eventually("it dies", || async {
        if has_died(&city, 4, Side::Before) {
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
