//! Invariant 3: a crash before or after any request changes nothing in where it ends, nor in what was created or deleted.
//!
//! A clean run writes down what each phase sends: a new object; a changed spec (a release, so the database is rolled with a preflight; fewer
//! replicas, so something is pruned); a certificate that is due; data that is lost, and the loss accepted; a confirmed deletion. Then each of these
//! requests is cut, on both sides: the operator dies there, a new process finishes, and the namespace must look as after the clean run, with as much
//! made and deleted. A run in which nobody dies after a phase leaves out those between that and the deletion, and is held against a clean run of the same phases. Of a kind that keeps something outside Kubernetes the requests to there are cut in the same way, and what is there is part of
//! what must look the same. Of a platform, `make test` cuts what its own pass sends, as what its broker sends is cut where a broker stands alone; `make proof`
//! cuts that too.
//!
//! Events are cut with the rest. What they tell is no state: nothing reads them, and one that is lost or told twice changes nothing else, so they
//! are not compared. The lease is another test's: `lease.rs`.

mod acts;
mod state;

use std::collections::{BTreeMap, BTreeSet};
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
use crate::city::{CHILD_KINDS, City, TOP_KINDS, broker, told};
use acts::{Kind, Phase};
use state::{Counts, Snapshot};

/// Namespaces at the same time.
const AT_ONCE: usize = 8;

/// A request as it is in every run: verb, resource and name. Events have another name each; what tells them apart is the kind that they are about.
type What = (Verb, String, String);

/// Where the operator dies.
#[derive(Clone, Debug, PartialEq)]
enum Cut {
    /// At the n-th request of a sort to the API server.
    Api(What, usize, Side),
    /// At the n-th change that the service outside of Kubernetes is asked for.
    Remote(usize, Side),
}

/// What one run came to.
struct Run {
    namespace: String,
    parts: Vec<Part>,
}

/// What one phase of a run came to.
struct Part {
    phase: Phase,
    /// What the API server was asked for; in a run that is cut, by the process that finished.
    sent: Vec<What>,
    /// How many changes the service outside was asked for.
    sent_outside: usize,
    /// What is outside, how much was made there, and how much deleted.
    outside: Option<(Value, usize, usize)>,
    /// What was changed, but for the status of objects and for events.
    changed: Vec<String>,
    /// Where the operator did die.
    death: Option<Cut>,
    state: Snapshot,
}

impl Run {
    fn part(&self, phase: Phase) -> &Part {
        let part = self.parts.iter().find(|part| part.phase == phase);
        part.unwrap_or_else(|| panic!("a run without {phase:?}"))
    }

    fn phases(&self) -> Vec<Phase> {
        self.parts.iter().map(|part| part.phase).collect()
    }

    fn deaths(&self) -> Vec<(Phase, &Cut)> {
        let parts = self.parts.iter();
        parts
            .filter_map(|part| Some((part.phase, part.death.as_ref()?)))
            .collect()
    }
}

/// Phases to go through, and where to die in each that has such a place. A run ends with the deletion, and goes through no phase between its last death
/// and that.
#[derive(Clone, Debug)]
struct Plan(Vec<(Phase, Option<Cut>)>);

impl Plan {
    fn without_death(phases: &[Phase]) -> Self {
        Self(phases.iter().map(|phase| (*phase, None)).collect())
    }

    fn of(places: Vec<(Phase, Option<Cut>)>) -> Self {
        let dies = |(_, cut): &(Phase, Option<Cut>)| cut.is_some();
        let last = places.iter().rposition(dies).unwrap_or(0);
        let needed = |(at, (phase, _)): &(usize, (Phase, _))| *at <= last || *phase == Phase::Deleted;
        let places = places.into_iter().enumerate().filter(needed);
        Self(places.map(|(_, place)| place).collect())
    }

    fn phases(&self) -> Vec<Phase> {
        self.0.iter().map(|(phase, _)| *phase).collect()
    }
}

fn what(record: &Record) -> What {
    let name = record.name.clone().or_else(|| told_by_body(record));
    (record.verb, record.resource_label(), name.unwrap_or_default())
}

/// The name of what a request creates, as its path has none; of an event, the kind that it is about.
fn told_by_body(record: &Record) -> Option<String> {
    let object: Value = serde_json::from_slice(record.body.as_deref()?).ok()?;
    let name = match record.resource.as_str() {
        "events" => &object["regarding"]["kind"],
        _ => &object["metadata"]["name"],
    };
    Some(name.as_str()?.to_owned())
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
    // What the API server refused has changed nothing, and not every run asks for it: a second deletion is sent where a pass is faster than the watch.
    sent.retain(|entry| counts(&entry.record) && entry.status.is_some_and(|status| status.is_success()));
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

/// All of a plan in a namespace of its own.
async fn run(kind: Kind, plan: &Plan) -> Run {
    let mut city = City::without_operator("crash").await;
    let outside = outside_of(kind, &city).await;
    let mut parts = Vec::new();
    for (which, cut) in &plan.0 {
        let before = outside.as_ref().map_or(0, |outside| outside.changes().len());
        let (sent, died) = phase(&mut city, outside.as_ref(), kind, *which, cut.as_ref()).await;
        let tells = |entry: &&Entry| matches!(entry.record.purpose, Purpose::Status | Purpose::Event);
        parts.push(Part {
            phase: *which,
            sent: sent.iter().map(|entry| what(&entry.record)).collect(),
            sent_outside: outside.as_ref().map_or(0, |outside| outside.changes().len()) - before,
            outside: outside.as_ref().map(|outside| {
                let (made, deleted) = outside.made_and_deleted();
                let held = state::masked_subscription(outside.only(), &city.namespace);
                (held, made, deleted)
            }),
            changed: sent.iter().filter(|entry| !tells(entry)).map(told).collect(),
            death: cut.clone().filter(|_| died),
            state: Snapshot::take(&city).await,
        });
    }
    if outside.is_some() {
        let params = DeleteParams::default();
        city.brokers().delete("outside", &params).await.unwrap();
    }
    Run {
        namespace: city.namespace.clone(),
        parts,
    }
}

/// That the clean run was what this test is about.
fn is_as_meant(kind: Kind, clean: &Run) {
    for Part { phase, sent, .. } in &clean.parts {
        let at_least = kind.at_least(*phase);
        assert!(sent.len() >= at_least, "{phase:?} sends only {sent:#?}");
    }
    let at_deletion = &clean.part(Phase::Deleted).changed;
    if kind == Kind::ContextSubscription {
        let outside: Vec<_> = clean.parts.iter().map(|part| part.sent_outside).collect();
        assert_eq!(outside, [1, 1, 1], "made, changed, deleted");
        let [at_deletion] = at_deletion.as_slice() else {
            panic!("the finalizer goes and nothing else: {at_deletion:#?}");
        };
        assert!(at_deletion.contains("(Finalizer)"), "{at_deletion}");
        return;
    }
    assert_eq!(
        at_deletion,
        &Vec::<String>::new(),
        "data goes by garbage collection, whatever becomes of the operator"
    );
}

/// Where to die: at each request of a phase, and at each change of what is outside, on both sides.
fn cuts(kind: Kind, part: &Part) -> Vec<Cut> {
    let both = |cut: &dyn Fn(Side) -> Cut| [cut(Side::Before), cut(Side::After)];
    let mut ranks = BTreeMap::new();
    let mut cuts = Vec::new();
    for what in part.sent.iter().filter(|what| kind.is_cut_at(&what.1, &what.2)) {
        let rank = ranks.entry(what).or_insert(0);
        *rank += 1;
        cuts.extend(both(&|side| Cut::Api(what.clone(), *rank, side)));
    }
    let outside = (1..=part.sent_outside).flat_map(|nth| both(&|side| Cut::Remote(nth, side)));
    cuts.extend(outside);
    cuts
}

/// Runs in which the operator dies everywhere: the n-th run dies at the n-th place of each phase.
fn plans(kind: Kind, clean: &Run) -> Vec<Plan> {
    let places: Vec<_> = clean
        .parts
        .iter()
        .map(|part| (part.phase, cuts(kind, part)))
        .collect();
    let most = places.iter().map(|(_, cuts)| cuts.len()).max().unwrap();
    let nth = |nth| {
        places
            .iter()
            .map(move |(phase, cuts)| (*phase, cuts.get(nth).cloned()))
    };
    (0..most).map(|index| Plan::of(nth(index).collect())).collect()
}

/// Whether somebody must have died there: at every request of the clean run, on both sides, but for what another run need not send. Of two status writes a
/// busy machine may make one, and how often something is told depends on what was seen between, so of status writes and of events it is the first of a
/// phase. What is told during a deletion depends on what garbage collection has left when the operator starts, and what is told of the broker outside on
/// when it was looked at; only its first look is in every run.
fn is_wanted(phase: Phase, cut: &Cut) -> bool {
    let Cut::Api((_, resource, name), nth, _) = cut else {
        return true;
    };
    let tells = resource.ends_with("/status") || resource.ends_with("events");
    let of_outside = name == "outside" && phase != Phase::New;
    !tells || (*nth == 1 && phase != Phase::Deleted && !of_outside)
}

async fn cut_at_every_request(kind: Kind) {
    let admin = cluster::cluster().await.admin().await;
    let mut kinds = CHILD_KINDS.to_vec();
    kinds.extend(TOP_KINDS);
    kinds.push(("apps/v1", "ReplicaSet"));
    let chronicle = Arc::new(Chronicle::slim(&admin, None, &kinds).await);
    let whole = run(kind, &Plan::without_death(kind.phases())).await;
    is_as_meant(kind, &whole);
    let plans = plans(kind, &whole);
    let shorter: BTreeSet<_> = plans.iter().map(Plan::phases).collect();
    let shorter = shorter.iter().filter(|phases| *phases != kind.phases());
    let (shorter, runs) = futures::join!(
        all(kind, shorter.map(|phases| Plan::without_death(phases)).collect()),
        all(kind, plans)
    );
    let clean: Vec<_> = std::iter::once(&whole).chain(&shorter).collect();
    let mut wrong = nobody_died(kind, &whole, &runs);
    for run in &runs {
        wrong.extend(differences(clean_as(&clean, run), run));
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

async fn all(kind: Kind, plans: Vec<Plan>) -> Vec<Run> {
    futures::stream::iter(plans)
        .map(|plan| async move { run(kind, &plan).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// The clean run of the same phases.
fn clean_as<'a>(clean: &[&'a Run], run: &Run) -> &'a Run {
    let same = clean.iter().find(|clean| clean.phases() == run.phases());
    same.unwrap_or_else(|| panic!("no clean run of {:?}", run.phases()))
}

/// Requests at which a run should have died, and none did.
fn nobody_died(kind: Kind, clean: &Run, runs: &[Run]) -> Vec<String> {
    let deaths: Vec<_> = runs.iter().flat_map(Run::deaths).collect();
    let wanted = clean.parts.iter().flat_map(|part| {
        let cuts = cuts(kind, part).into_iter();
        cuts.filter(|cut| is_wanted(part.phase, cut))
            .map(|cut| (part.phase, cut))
    });
    wanted
        .filter(|(phase, cut)| !deaths.contains(&(*phase, cut)))
        .map(|(phase, cut)| format!("{phase:?}: nobody died at {cut:?}"))
        .collect()
}

/// Where a run came to another end than the clean one.
fn differences(clean: &Run, run: &Run) -> Vec<String> {
    let cuts = run.deaths();
    let mut wrong = Vec::new();
    for (expected, found) in clean.parts.iter().zip(&run.parts) {
        let phase = found.phase;
        let differences = expected.state.differences(&found.state);
        wrong.extend(differences.map(|how| format!("{phase:?} cut at {cuts:?}: {how}")));
        let (expected, found) = (&expected.outside, &found.outside);
        if expected != found {
            wrong.push(format!(
                "{phase:?} cut at {cuts:?}: outside is {found:?}, not {expected:?}"
            ));
        }
    }
    wrong
}

/// What garbage collection still does is done soon; what was made or deleted beside the clean run stays for ever.
async fn made_and_deleted(chronicle: &Chronicle, clean: &[&Run], runs: &[Run]) -> Vec<String> {
    eventually("all runs have deleted what they made", || async {
        let facts = chronicle.read().await;
        let all = clean.iter().copied().chain(runs);
        let mut counts = all.map(|run| Counts::of(&facts, &run.namespace));
        counts.find(|counts| !counts.all_gone()).map_or(Ok(()), Err)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let facts = chronicle.read().await;
    let mut wrong = Vec::new();
    for run in runs {
        let expected = Counts::of(&facts, &clean_as(clean, run).namespace);
        let found = Counts::of(&facts, &run.namespace);
        if found != expected {
            wrong.push(format!(
                "cut at {:?}, made and deleted: {}",
                run.deaths(),
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
