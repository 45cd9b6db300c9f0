//! Who has a turn when, on virtual time.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kube::runtime::reflector::ObjectRef;
use mim_crds::ContextSubscription;
use mim_egress::Policy;

use super::super::errand::Job;
use super::*;

type Turns = Arc<Mutex<Vec<(u64, Written, bool)>>>;
type Play = Arc<dyn Fn(usize, Written) -> BoxFuture<'static, Turn> + Send + Sync>;

/// An errand whose turns are played by a test.
#[derive(Clone)]
struct Fake {
    digest: &'static str,
    place: String,
    /// When each turn began, in seconds, with what it was told of the last write.
    turns: Turns,
    play: Play,
}

impl Job for Fake {
    fn place(&self) -> &str {
        &self.place
    }

    fn what(&self) -> String {
        "subscription urn:x".into()
    }

    fn digest(&self) -> String {
        self.digest.into()
    }

    fn turn<'a>(&'a self, _: Door<'a>, written: Written, only_looks: bool) -> BoxFuture<'a, Turn> {
        let nth = {
            let mut turns = self.turns.lock().unwrap();
            turns.push((seconds(), written.clone(), only_looks));
            turns.len()
        };
        (self.play)(nth, written)
    }

    fn is(&self, other: &dyn Job) -> bool {
        let other = other.as_any().downcast_ref::<Self>().unwrap();
        (self.digest, &self.place) == (other.digest, &other.place)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

thread_local!(static START: Instant = Instant::now());

/// Since the start of the test.
fn seconds() -> u64 {
    START.with(Instant::elapsed).as_secs()
}

fn fake(digest: &'static str, play: impl Fn(usize, Written) -> Outcome + Send + Sync + 'static) -> Fake {
    Fake {
        digest,
        place: "http://broker".into(),
        turns: Turns::default(),
        play: Arc::new(move |nth, written| {
            let outcome = play(nth, written.clone());
            let place = Some("http://broker".to_owned());
            let written = Written { place, ..written };
            std::future::ready(Turn { written, outcome }).boxed()
        }),
    }
}

fn settled(news: u64) -> Outcome {
    Outcome::Settled(Sight {
        found: Arc::new(()),
        news,
    })
}

fn failed(terminal: bool) -> Outcome {
    Outcome::Failed(Complaint {
        reason: Reason::BrokerUnreachable,
        message: "away".into(),
        terminal,
    })
}

fn errand(job: &Fake, nudge: u64) -> Errand {
    Errand {
        job: Arc::new(job.clone()),
        written: Written::default(),
        nudge,
        only_looks: false,
    }
}

fn owner(namespace: &str, uid: &str) -> Owner {
    Owner {
        kind: "ContextSubscription",
        api_version: "mim.city/v1alpha1".into(),
        namespace: namespace.into(),
        name: uid.into(),
        uid: uid.into(),
    }
}

struct Setting {
    errands: Arc<Errands>,
    /// Passes that were asked for, and when.
    passes: Arc<Mutex<Vec<u64>>>,
}

impl Setting {
    /// Errands that run, without jitter.
    fn new() -> Self {
        START.with(|_| ());
        let triggers = Triggers::new(&["ContextSubscription"]);
        let timing = Timing {
            period: PERIOD,
            now: || Timestamp::UNIX_EPOCH,
            jitter: || 0.0,
        };
        let client = Client::new(Policy::new(vec![], vec![]));
        let errands = Errands::new(
            client,
            LeaseClock::always(),
            Metrics::new(),
            Arc::clone(&triggers),
            timing,
        );
        let running = Arc::clone(&errands);
        tokio::spawn(async move { running.run().await });
        let passes: Arc<Mutex<Vec<u64>>> = Arc::default();
        let told = Arc::clone(&passes);
        tokio::spawn(async move {
            let mut stream = Box::pin(triggers.stream::<ContextSubscription>("ContextSubscription"));
            while let Some(Ok(object)) = stream.next().await {
                let _: ObjectRef<ContextSubscription> = object;
                told.lock().unwrap().push(seconds());
            }
        });
        Self { errands, passes }
    }

    fn passes(&self) -> Vec<u64> {
        self.passes.lock().unwrap().clone()
    }
}

fn times(job: &Fake) -> Vec<u64> {
    job.turns.lock().unwrap().iter().map(|(at, ..)| *at).collect()
}

async fn pass_time(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_as_wanted_is_read_every_five_minutes_and_told_once() {
    let setting = Setting::new();
    let job = fake("a", |_, _| settled(1));
    setting.errands.keep(&owner("city", "u"), errand(&job, 0));
    pass_time(1000).await;
    assert_eq!(times(&job), [0, 300, 600, 900]);
    assert_eq!(setting.passes(), [0]);
    // Handed over again by every pass: no reason for another turn.
    setting.errands.keep(&owner("city", "u"), errand(&job, 0));
    pass_time(1).await;
    assert_eq!(times(&job).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_and_another_errand_have_a_turn_at_once() {
    let setting = Setting::new();
    let (one, other) = (fake("a", |_, _| settled(1)), fake("b", |_, _| settled(1)));
    setting.errands.keep(&owner("city", "u"), errand(&one, 0));
    pass_time(10).await;
    setting.errands.keep(&owner("city", "u"), errand(&one, 1));
    pass_time(10).await;
    setting.errands.keep(&owner("city", "u"), errand(&other, 1));
    pass_time(10).await;
    let looking = errand(&other, 1).only_looking();
    setting.errands.keep(&owner("city", "u"), looking);
    pass_time(10).await;
    assert_eq!((times(&one), times(&other)), (vec![0, 10], vec![20, 30]));
    let told: Vec<_> = other
        .turns
        .lock()
        .unwrap()
        .iter()
        .map(|(_, _, looks)| *looks)
        .collect();
    assert_eq!(told, [false, true]);
    setting.errands.forget("u");
    pass_time(1000).await;
    assert_eq!(times(&other).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn steps_follow_each_other_at_once_and_a_pass_hears_of_the_end_and_of_what_was_done() {
    let setting = Setting::new();
    let job = fake("a", |nth, _| match nth {
        1 => Outcome::Stepped(None),
        2 => Outcome::Stepped(Some(Note::warning(EventReason::Repaired, "set back"))),
        _ => settled(1),
    });
    setting.errands.keep(&owner("city", "u"), errand(&job, 0));
    pass_time(1).await;
    assert_eq!(times(&job), [0, 0, 0]);
    assert_eq!(setting.passes(), [0]);
    assert_eq!(setting.errands.notes("u").len(), 1);
    assert_eq!(setting.errands.notes("u").len(), 0, "told once");
}

#[tokio::test(start_paused = true)]
async fn steps_that_come_to_no_end_are_given_up_told_and_tried_again_later() {
    let setting = Setting::new();
    let job = fake("a", |_, _| Outcome::Stepped(None));
    setting.errands.keep(&owner("city", "u"), errand(&job, 0));
    pass_time(4).await;
    assert_eq!(times(&job), [0; 8]);
    assert_eq!(setting.passes(), [0]);
    pass_time(600).await;
    assert!(times(&job).len() <= 8 * 10, "{:?}", times(&job));
    assert!(setting.errands.entries()["u"].last.as_ref().unwrap().0.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_and_tried_again_later_and_later() {
    let setting = Setting::new();
    let job = fake("a", |nth, _| if nth < 9 { failed(false) } else { settled(1) });
    setting.errands.keep(&owner("city", "u"), errand(&job, 0));
    pass_time(1500).await;
    assert_eq!(times(&job), [0, 5, 10, 20, 40, 80, 160, 320, 620, 920, 1220]);
    assert_eq!(setting.passes(), [0, 620]);
}

#[tokio::test(start_paused = true)]
async fn what_only_somebody_else_can_heal_is_hardly_tried_again() {
    let setting = Setting::new();
    let job = fake("a", |_, _| failed(true));
    setting.errands.keep(&owner("city", "u"), errand(&job, 0));
    pass_time(2000).await;
    assert_eq!(times(&job), [0]);
    setting.errands.keep(&owner("city", "u"), errand(&job, 1));
    pass_time(1).await;
    assert_eq!(
        times(&job),
        [0, 2000],
        "but at once where the other side has changed"
    );
}

#[tokio::test(start_paused = true)]
async fn three_hundred_silent_subscriptions_hold_up_neither_neighbours_nor_other_namespaces() {
    let setting = Setting::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let turns = Turns::default();
    let slow = |place: usize| Fake {
        digest: "slow",
        place: format!("http://silent-{place}"),
        turns: Arc::clone(&turns),
        play: {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            Arc::new(move |_, written| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    Turn {
                        written,
                        outcome: failed(false),
                    }
                }
                .boxed()
            })
        },
    };
    for number in 0..300 {
        let uid = format!("silent-{number}");
        setting
            .errands
            .keep(&owner("greedy", &uid), errand(&slow(number % 3), 0));
    }
    pass_time(1).await;
    let (neighbour, stranger) = (fake("a", |_, _| settled(1)), fake("a", |_, _| settled(1)));
    setting
        .errands
        .keep(&owner("greedy", "neighbour"), errand(&neighbour, 0));
    setting
        .errands
        .keep(&owner("city", "stranger"), errand(&stranger, 0));
    pass_time(3600).await;
    assert_eq!(most.load(Ordering::Relaxed), 3 * AT_A_PLACE);
    assert_eq!(times(&neighbour)[..3], [1, 301, 601], "as if it were alone");
    assert_eq!(times(&stranger)[..3], [1, 301, 601], "as if it were alone");
    // Nobody is passed over: 6 places of 10 s each, and 300 of them.
    let each = turns.lock().unwrap().len();
    assert!((300 * 6..=300 * 8).contains(&each), "{each}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_full_of_silent_brokers_holds_up_itself_alone() {
    let setting = Setting::new();
    for number in 0..50_usize {
        let job = Fake {
            place: format!("http://silent-{number}"),
            play: Arc::new(|_, _| std::future::pending().boxed()),
            ..fake("slow", |_, _| settled(1))
        };
        setting
            .errands
            .keep(&owner("greedy", &format!("s-{number}")), errand(&job, 0));
    }
    pass_time(1).await;
    let stranger = fake("a", |_, _| settled(1));
    setting
        .errands
        .keep(&owner("city", "stranger"), errand(&stranger, 0));
    pass_time(1).await;
    assert_eq!(times(&stranger), [1]);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_elsewhere_is_told_and_says_nothing_of_the_new_place() {
    let setting = Setting::new();
    let job = fake("a", |_, _| settled(1));
    let mut from_status = errand(&job, 0);
    from_status.written = Written {
        place: Some("http://old".into()),
        applied: Some("a".into()),
        shown: Some("b".into()),
    };
    setting.errands.keep(&owner("city", "u"), from_status);
    pass_time(1).await;
    assert_eq!(job.turns.lock().unwrap()[0].1, Written::default());
    let notes = format!("{:?}", setting.errands.notes("u"));
    for word in ["LeftBehind", "http://old", "http://broker", "urn:x"] {
        assert!(notes.contains(word), "{notes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_turn_has_written_is_known_to_the_next_errand_and_its_sight_is_not_taken_for_that_of_another()
{
    let setting = Setting::new();
    let slow = Fake {
        play: Arc::new(|_, _| {
            async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Turn {
                    written: Written {
                        place: Some("http://broker".into()),
                        applied: Some("old".into()),
                        shown: None,
                    },
                    outcome: settled(1),
                }
            }
            .boxed()
        }),
        ..fake("old", |_, _| settled(1))
    };
    let next = fake("new", |_, _| Outcome::Void);
    setting.errands.keep(&owner("city", "u"), errand(&slow, 0));
    pass_time(1).await;
    setting.errands.keep(&owner("city", "u"), errand(&next, 0));
    pass_time(10).await;
    let turns = next.turns.lock().unwrap().clone();
    assert_eq!(turns.len(), 1);
    assert_eq!(
        (turns[0].0, turns[0].1.applied.as_deref()),
        (5, Some("old")),
        "one at a time"
    );
    assert!(setting.errands.entries()["u"].last.is_none());
    assert_eq!(setting.passes(), Vec::<u64>::new());
}
