//! Invariant 3: a crash before or after any request changes nothing in where it ends, nor in what was created or deleted.
//!
//! One clean run writes down what each phase sends: a new object; a changed spec (a release, so the database is rolled with a preflight; fewer
//! replicas, so something is pruned); a certificate that is due; data that is lost, and the loss accepted; a confirmed deletion. Then each of these
//! requests is cut, on both sides: the operator dies there, a new process finishes, and the namespace must look as after the clean run, with as much
//! made and deleted. Of a kind that keeps something outside Kubernetes the requests to there are cut in the same way, and what is there is part of
//! what must look the same.
//!
//! Events are cut with the rest. What they tell is no state: nothing reads them, and one that is lost or told twice changes nothing else, so they
//! are not compared. The lease is another test's: `lease.rs`.

mod acts;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::DeleteParams;
use mim_operator::reconcile::request::{Entry, Journal, Purpose, Record, Side, Verb};
use mim_tests::cluster;
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::{FakeBroker, Fault};
use serde_json::{Value, json};

use crate::chronicle::Chronicle;
use crate::city::{CHILD_KINDS, City, broker, told};
use acts::{Kind, Phase};
use state::{Counts, Snapshot};

/// Namespaces at the same time.
const AT_ONCE: usize = 8;

/// A request as it is in every run: verb, resource and name. Events have another name each, so theirs is left out.
type What = (Verb, String, String);

/// Where the operator dies.
#[derive(Clone, Debug, PartialEq)]
enum Cut {
    /// At the n-th request of a sort to the API server.
    Api(What, usize, Side),
    /// At the n-th change that the service outside of Kubernetes is asked for.
    Remote(usize, Side),
}

/// What one run came to, by phase.
#[derive(Default)]
struct Run {
    namespace: String,
    /// What the API server was asked for; in a run that is cut, by the process that finished.
    sent: Vec<Vec<What>>,
    /// How many changes the service outside was asked for.
    sent_outside: Vec<usize>,
    /// What is outside, how much was made there, and how much deleted.
    outside: Vec<(Value, usize, usize)>,
    /// What was changed in the last phase, but for the status of objects that were still there.
    at_deletion: Vec<String>,
    /// Where the operator did die: number of the phase, and the place in it.
    deaths: Vec<(usize, Cut)>,
    states: Vec<Snapshot>,
}

fn what(record: &Record) -> What {
    let name = record.name.clone().or_else(|| created(record));
    (record.verb, record.resource_label(), name.unwrap_or_default())
}

/// The name of what a request creates: its path has none.
fn created(record: &Record) -> Option<String> {
    let body = record.body.as_deref().filter(|_| record.resource != "events")?;
    let object: Value = serde_json::from_slice(body).ok()?;
    Some(object["metadata"]["name"].as_str()?.to_owned())
}

/// Whether a request is one to die at: it changes something, and is not the lease.
fn counts(record: &Record) -> bool {
    record.mutates() && record.resource != "leases"
}

impl Cut {
    fn journal(&self) -> Journal {
        match self.clone() {
            Self::Api(of, nth, side) => {
                Journal::cutting_at(move |record| counts(record) && what(record) == of, nth, side)
            }
            Self::Remote(..) => Journal::new(),
        }
    }

    /// What goes wrong outside.
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Api(..) => None,
            Self::Remote(nth, Side::Before) => Some(Fault::LostBefore(*nth)),
            Self::Remote(nth, Side::After) => Some(Fault::LostAfter(*nth)),
        }
    }

    fn has_come(&self, journal: &Journal, outside: Option<&FakeBroker>) -> bool {
        match self {
            Self::Api(of, nth, side) => {
                let entries = journal.entries();
                let mut counted = entries
                    .iter()
                    .filter(|entry| counts(&entry.record) && what(&entry.record) == *of);
                let last = counted.nth(nth - 1);
                last.is_some_and(|entry| *side == Side::Before || entry.status.is_some())
            }
            Self::Remote(..) => outside.is_some_and(FakeBroker::has_lost),
        }
    }
}

/// One phase: the user acts, an operator starts and may die, a last one finishes and stops.
async fn phase(
    city: &mut City,
    outside: Option<&FakeBroker>,
    kind: Kind,
    phase: Phase,
    cut: Option<&Cut>,
) -> (Vec<Entry>, bool) {
    let before = kind.act(city, phase).await;
    let mut died = false;
    let what = format!("{phase:?} in {} with {cut:?}", city.namespace);
    if let Some(cut) = cut {
        outside.inspect(|outside| outside.fault(cut.fault()));
        city.start(cut.journal());
        eventually(
            &format!("{what}: the operator dies, or has nothing to die at"),
            || async {
                if cut.has_come(&city.operator().journal, outside) {
                    Ok(())
                } else {
                    kind.is_done(city, phase, &before).await
                }
            },
        )
        .await;
        // An event is the last that a pass sends, after the status that says it is done.
        let journal = if cut.has_come(&city.operator().journal, outside) {
            city.kill()
        } else {
            city.stop().await
        };
        died = cut.has_come(&journal, outside);
        outside.inspect(|outside| outside.fault(None));
    }
    city.start(Journal::new());
    eventually(&what, || kind.is_done(city, phase, &before)).await;
    let mut sent = city.stop().await.entries();
    sent.retain(|entry| counts(&entry.record));
    (sent, died)
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

/// All phases in a namespace of their own. `cuts`: where to die, for each phase that has such a place.
async fn run(kind: Kind, cuts: &[Option<Cut>]) -> Run {
    let mut city = City::without_operator("crash").await;
    let outside = outside_of(kind, &city).await;
    let mut done = Run {
        namespace: city.namespace.clone(),
        ..Run::default()
    };
    for (at, which) in kind.phases().iter().copied().enumerate() {
        let cut = cuts.get(at).and_then(Option::as_ref);
        let before = outside.as_ref().map_or(0, |outside| outside.changes().len());
        let (sent, died) = phase(&mut city, outside.as_ref(), kind, which, cut).await;
        if let Some(outside) = &outside {
            done.sent_outside.push(outside.changes().len() - before);
            let (made, deleted) = outside.made_and_deleted();
            let held = state::masked_subscription(outside.only(), &city.namespace);
            done.outside.push((held, made, deleted));
        }
        if which == Phase::Deleted {
            let tells = |entry: &&Entry| matches!(entry.record.purpose, Purpose::Status | Purpose::Event);
            done.at_deletion = sent.iter().filter(|entry| !tells(entry)).map(told).collect();
        }
        done.sent
            .push(sent.iter().map(|entry| what(&entry.record)).collect());
        if let Some(cut) = cut.filter(|_| died) {
            done.deaths.push((at, cut.clone()));
        }
        done.states.push(Snapshot::take(&city).await);
    }
    if outside.is_some() {
        let params = DeleteParams::default();
        city.brokers().delete("outside", &params).await.unwrap();
    }
    done
}

/// That the clean run was what this test is about.
fn is_as_meant(kind: Kind, clean: &Run) {
    for (phase, sent) in kind.phases().iter().zip(&clean.sent) {
        let at_least = kind.at_least(*phase);
        assert!(sent.len() >= at_least, "{phase:?} sends only {sent:#?}");
    }
    if kind == Kind::ContextSubscription {
        assert_eq!(clean.sent_outside, [1, 1, 1], "made, changed, deleted");
        let [at_deletion] = clean.at_deletion.as_slice() else {
            panic!("the finalizer goes and nothing else: {:#?}", clean.at_deletion);
        };
        assert!(at_deletion.contains("(Finalizer)"), "{at_deletion}");
        return;
    }
    assert_eq!(
        clean.at_deletion,
        Vec::<String>::new(),
        "data goes by garbage collection, whatever becomes of the operator"
    );
}

/// Where to die in each phase, run by run: at each request of the clean run, on both sides.
fn all_cuts(clean: &Run) -> Vec<Vec<Option<Cut>>> {
    let both = |most: usize| (0..most).flat_map(|index| [(index, Side::Before), (index, Side::After)]);
    let most = clean.sent.iter().map(Vec::len).max().unwrap();
    let api = both(most).map(|(index, side)| {
        let at = |sent: &Vec<What>| {
            let what = sent.get(index)?.clone();
            let nth = sent[..=index].iter().filter(|other| **other == what).count();
            Some(Cut::Api(what, nth, side))
        };
        clean.sent.iter().map(at).collect()
    });
    let most = clean.sent_outside.iter().copied().max().unwrap_or(0);
    let remote = both(most).map(|(index, side)| {
        let at = |sent: &usize| (index < *sent).then_some(Cut::Remote(index + 1, side));
        clean.sent_outside.iter().map(at).collect()
    });
    api.chain(remote).collect()
}

/// What must have been died at in a phase: every request of the clean run, on both sides, but for what another run need not send. Of two status writes
/// a busy machine may make one, and how often something is told depends on what was seen between, so of status writes and of events it is the first of
/// a phase. What is told during a deletion depends on what garbage collection has left when the operator starts, and what is told of the broker outside on
/// when it was looked at; only its first look is in every run.
fn wanted(kind: Kind, clean: &Run, at: usize) -> Vec<Cut> {
    let phase = kind.phases()[at];
    let mut ranks = BTreeMap::new();
    let mut wanted = Vec::new();
    for what in &clean.sent[at] {
        let rank = ranks.entry(what).or_insert(0);
        *rank += 1;
        let (_, resource, name) = what;
        let tells = resource.ends_with("/status") || resource.ends_with("events");
        let of_outside = name == "outside" && phase != Phase::New;
        if tells && (*rank > 1 || phase == Phase::Deleted || of_outside) {
            continue;
        }
        wanted.extend([Side::Before, Side::After].map(|side| Cut::Api(what.clone(), *rank, side)));
    }
    let outside = clean.sent_outside.get(at).copied().unwrap_or(0);
    wanted
        .extend((1..=outside).flat_map(|nth| [Side::Before, Side::After].map(|side| Cut::Remote(nth, side))));
    wanted
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
    let clean = run(kind, &[]).await;
    is_as_meant(kind, &clean);
    let runs: Vec<Run> = futures::stream::iter(all_cuts(&clean))
        .map(|cuts| async move { run(kind, &cuts).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let deaths: Vec<_> = runs.iter().flat_map(|run| &run.deaths).collect();
    let mut wrong = Vec::new();
    for (at, phase) in kind.phases().iter().enumerate() {
        for cut in wanted(kind, &clean, at) {
            if !deaths.iter().any(|(of, death)| *of == at && *death == cut) {
                wrong.push(format!("{phase:?}: nobody died at {cut:?}"));
            }
        }
        for run in &runs {
            let cuts = &run.deaths;
            let differences = clean.states[at].differences(&run.states[at]);
            wrong.extend(differences.map(|how| format!("{phase:?} cut at {cuts:?}: {how}")));
            let (expected, found) = (clean.outside.get(at), run.outside.get(at));
            if expected != found {
                wrong.push(format!(
                    "{phase:?} cut at {cuts:?}: outside is {found:?}, not {expected:?}"
                ));
            }
        }
    }
    wrong.extend(made_and_deleted(&chronicle, &clean, &runs).await);
    assert!(
        wrong.is_empty(),
        "{} differences in {} runs:\n{}",
        wrong.len(),
        runs.len(),
        wrong.join("\n")
    );
}

/// What garbage collection still does is done soon; what was made or deleted beside the clean run stays for ever.
async fn made_and_deleted(chronicle: &Chronicle, clean: &Run, runs: &[Run]) -> Vec<String> {
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
    let mut wrong = Vec::new();
    for run in runs {
        let found = Counts::of(&facts, &run.namespace);
        if found != expected {
            wrong.push(format!(
                "cut at {:?}, made and deleted: {}",
                run.deaths,
                expected.difference(&found, &facts, &run.namespace)
            ));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_3_a_broker_ends_the_same_however_often_the_operator_dies_before_or_after_any_request() {
    cut_at_every_request(Kind::ContextBroker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_3_a_broker_on_an_external_database_ends_the_same_however_often_the_operator_dies() {
    cut_at_every_request(Kind::ExternalDatabase).await;
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
        let count = city.changes().len();
        if count >= 4 { Ok(()) } else { Err(count) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let journal = city.kill();
    let changes: Vec<_> = journal.changes().iter().map(told).collect();
    assert_eq!(changes.len(), 4, "{changes:#?}");
    assert!(journal.changes()[3].status.is_none(), "the fourth was not sent");
}
