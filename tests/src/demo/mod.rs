//! `make demo`: one city from sources to answers, and what it takes when pods go.
//!
//! Each step is a module: [`cluster`] (the lab, or the user's), [`install`] (images, charts, namespace), [`ready`], [`entities`] and [`questions`] (data
//! and what is asked of it), [`mqtt`] (who is told of a change), [`traffic`] and [`pods`] (clients at work while pods are deleted and killed).

pub mod cluster;
pub mod door;
pub mod entities;
pub mod error;
pub mod geography;
pub mod http;
pub mod install;
pub mod mqtt;
pub mod pods;
pub mod programs;
pub mod questions;
pub mod ready;
pub mod rollout;
pub mod say;
pub mod traffic;
pub mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;

use self::http::Broker;
use cluster::Cluster;
use door::Door;
use entities::Entity;
use error::{Error, Result};
use install::Images;
use pods::Pods;
use say::Say;
use traffic::{Seen, Traffic};

/// Name of the platform in `examples/city.yaml`.
pub const CITY: &str = "city";
/// Registry of images that only the lab's node has.
pub const LAB_REGISTRY: &str = mim_lab::images::LAB_REGISTRY;
/// How long clients are at work before and after something happens.
const CALM: Duration = Duration::from_secs(1);

/// What the user chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// A context of the user's kubeconfig; none: the lab.
    pub context: Option<String>,
    /// Namespace of the city.
    pub namespace: String,
    /// The images.
    pub images: Images,
    /// Seed of the city's entities.
    pub seed: u64,
}

impl Options {
    /// The choices of who chose nothing, with images from this folder.
    #[must_use]
    pub fn new(images: PathBuf) -> Self {
        Self {
            context: None,
            namespace: CITY.to_owned(),
            images: Images {
                folder: images,
                profile: "release".to_owned(),
                build: true,
                registry: LAB_REGISTRY.to_owned(),
            },
            seed: 1,
        }
    }
}

/// Runs the whole demo. Its last line is `demo: Ready in N s`.
pub async fn run(options: &Options) -> Result<()> {
    let say = Say::default();
    let cluster = match &options.context {
        None => Cluster::lab(say).await?,
        Some(name) => Cluster::context(name).await?,
    };
    let cluster = Arc::new(cluster);
    options.images.prepare(&cluster, say).await?;
    install::namespace(&cluster, &options.namespace).await?;
    install::operator(&cluster, &options.images, &[&options.namespace], say).await?;

    say.step("kubectl apply --server-side -f examples/city.yaml");
    let took = apply_city(&cluster, &options.namespace, say).await?;
    say.line(&format!("Ready {:.1} s after apply", took.as_secs_f64()));

    let service = format!("{CITY}-broker");
    let broker = Arc::new(Broker::new(
        Door::open(
            Arc::clone(&cluster),
            &options.namespace,
            &service,
            door::PORT,
            say,
        )
        .await?,
    ));
    let entities = data(&broker, options.seed, say).await?;
    told(&cluster, &broker, &entities, options, say).await?;
    let pods = Pods::broker(&cluster.client, &options.namespace, CITY);
    deleted_gracefully(&broker, &pods, say).await?;
    killed_hard(&cluster, &broker, &pods, say).await?;

    say.step("kubectl get mim");
    let arguments = ["--namespace", &options.namespace, "get", "mim"];
    say::plain(cluster.kubectl(&arguments).await?.trim_end());
    say::plain(&next(&cluster, &options.namespace));
    say::plain(&format!("demo: Ready in {} s", took.as_secs_f64().ceil()));
    Ok(())
}

/// Takes away what [`run`] made on a cluster of the user's; the lab goes as a whole, by `mim-lab down`.
pub async fn remove(options: &Options) -> Result<()> {
    match &options.context {
        None => programs::show(&programs::lab()?, &["down".as_ref()]).await,
        Some(name) => {
            install::remove(&Cluster::context(name).await?, &options.namespace, Say::default()).await
        }
    }
}

/// Applies `examples/city.yaml` and waits until it is Ready; returns how long that took, the apply included.
pub async fn apply_city(cluster: &Cluster, namespace: &str, say: Say) -> Result<Duration> {
    let started = Instant::now();
    install::apply(cluster, namespace, &install::example("city.yaml")).await?;
    ready::ready(&cluster.client, namespace, CITY, say.waiting()).await?;
    Ok(started.elapsed())
}

/// Loads a city's entities and asks for them.
pub async fn data(broker: &Broker, seed: u64, say: Say) -> Result<Vec<Entity>> {
    say.step("data: air quality, parking, street lights");
    let entities = entities::city(seed, Timestamp::now());
    let started = Instant::now();
    questions::load(broker, &entities).await?;
    let took = started.elapsed().as_millis();
    say.line(&format!("loaded {} entities in {took} ms", entities.len()));
    for question in questions::questions(&entities) {
        let started = Instant::now();
        let found = question.ask(broker).await?;
        let took = started.elapsed().as_millis();
        say.line(&format!("{found:>4} found: {} ({took} ms)", question.words));
    }
    Ok(entities)
}

/// A parking spot becomes free: an application learns of it by MQTT, and the broker still knows what was before.
pub async fn told(
    cluster: &Arc<Cluster>,
    broker: &Broker,
    entities: &[Entity],
    options: &Options,
    say: Say,
) -> Result<()> {
    let namespace = &options.namespace;
    say.step("kubectl apply --server-side -f examples/subscription-mqtt.yaml, beside an MQTT server");
    mqtt::server(cluster, &options.images, namespace, say).await?;
    mqtt::subscription(cluster, namespace, say).await?;
    let mut subscriber = mqtt::Subscriber::open(cluster, namespace, say).await?;
    let spot = questions::a_spot_that_is_taken(entities)?;
    let started = Instant::now();
    questions::set_free(broker, spot).await?;
    let message = subscriber.told_of(spot.id()).await?;
    let took = started.elapsed().as_millis();
    say.line(&format!("by MQTT, {took} ms after the write began: {message}"));
    say.step("a temporal query: what that spot was before");
    let was = questions::statuses(broker, spot).await?;
    say.line(&format!("{}: {}", spot.id(), was.join(", then ")));
    Ok(())
}

/// Deletes a pod of the broker while clients are at work: no request may fail.
pub async fn deleted_gracefully(broker: &Arc<Broker>, pods: &Pods, say: Say) -> Result<Seen> {
    let victim = pods.one().await?;
    say.step(&format!(
        "kubectl delete pod {}, with clients at work",
        victim.name_any()
    ));
    let traffic = Traffic::start(broker, &run_name("deleted"));
    tokio::time::sleep(CALM).await;
    pods.delete(&victim).await?;
    pods.recovered(&victim, say).await?;
    tokio::time::sleep(CALM).await;
    let seen = traffic.stop().await;
    tell(&seen, say);
    if let Some(first) = seen.failures.first() {
        return Err(Error::Broken(format!(
            "{} of {} requests failed while a pod was deleted gracefully; the first: {first}",
            seen.failures.len(),
            seen.requests
        )));
    }
    seen.read_back(broker).await?;
    say.line(&format!("all {} accepted writes are there", seen.accepted.len()));
    Ok(seen)
}

/// Kills a pod of the broker while clients are at work: requests may fail, no accepted write may be lost.
pub async fn killed_hard(cluster: &Cluster, broker: &Arc<Broker>, pods: &Pods, say: Say) -> Result<Seen> {
    let victim = pods.one().await?;
    say.step(&format!(
        "pod {} is killed, with clients at work",
        victim.name_any()
    ));
    let traffic = Traffic::start(broker, &run_name("killed"));
    tokio::time::sleep(CALM).await;
    let how = pods.kill(cluster, &victim).await?;
    say.line(how);
    pods.recovered(&victim, say).await?;
    tokio::time::sleep(CALM).await;
    let seen = traffic.stop().await;
    tell(&seen, say);
    seen.read_back(broker).await?;
    say.line(&format!("all {} accepted writes are there", seen.accepted.len()));
    Ok(seen)
}

fn tell(seen: &Seen, say: Say) {
    say.line(&format!(
        "{} requests without retry, {} failed, the slowest took {} ms",
        seen.requests,
        seen.failures.len(),
        seen.slowest.as_millis()
    ));
    for failure in seen.failures.iter().take(3) {
        say.line(&format!("   {failure}"));
    }
}

/// Goes into ids of entities: a demo that runs again writes others.
fn run_name(what: &str) -> String {
    format!("{what}-{:08x}", rand::random::<u32>())
}

fn next(cluster: &Cluster, namespace: &str) -> String {
    let kubectl = cluster.kubectl_words();
    let (first, down) = match cluster.lab {
        Some(_) => (
            "  eval \"$(cargo run -q -p mim-lab -- env)\"    # KUBECONFIG of the lab\n",
            "make demo-down".to_owned(),
        ),
        None => (
            "",
            format!(
                "make demo-down {}",
                kubectl.replace("kubectl --context ", "CONTEXT=")
            ),
        ),
    };
    let api = format!("http://localhost:{port}/ngsi-ld/v1", port = door::PORT);
    format!(
        "\nTry next:
{first}  {kubectl} -n {namespace} describe udp {CITY}                # conditions, components, MIMs
  {kubectl} -n {namespace} port-forward svc/{CITY}-broker {port}:{port} &
  curl '{api}/entities?type=ParkingSpot&q=status==%22free%22&options=keyValues&limit=3'
  {kubectl} -n {namespace} scale cb/{CITY} --replicas=3     # clients notice nothing
  {kubectl} -n {namespace} delete pod -l app.kubernetes.io/component=database    # 503 for a few seconds, nothing lost
  {down}                                  # takes it all away
",
        port = door::PORT
    )
}
