//! An MQTT server in the city's namespace, and what a ContextSubscription has the broker send to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use mim_crds::ContextSubscription;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde::Deserialize;
use serde_json::Value;

use super::cluster::Cluster;
use super::door::Door;
use super::error::{Error, Result};
use super::install::{self, Images};
use super::rollout::rolled_out;
use super::say::Say;
use super::wait::until;

/// Name of the server's Service and Deployment.
const SERVER: &str = "mosquitto";
/// Port of the server on the Service and on its pod.
const PORT: u16 = 1883;
/// Name of the subscription in `examples/subscription-mqtt.yaml`.
const SUBSCRIPTION: &str = "free-spots";
/// Its topic.
const TOPIC: &str = "city/parking/free";
/// How long server and subscription may take to be ready.
const READY: Duration = Duration::from_mins(2);
/// How long a message may be on its way.
const ARRIVAL: Duration = Duration::from_secs(20);

/// Starts the server, and waits until it is ready.
pub async fn server(cluster: &Cluster, images: &Images, namespace: &str, say: Say) -> Result<()> {
    let image = image(images)?;
    let manifest = include_str!("mosquitto.yaml").replace("@IMAGE@", &image);
    install::apply_text(cluster, namespace, &manifest).await?;
    rolled_out(&cluster.client, namespace, SERVER, READY, say).await
}

/// The image as the cluster finds it.
fn image(images: &Images) -> Result<String> {
    #[derive(Deserialize)]
    struct Values {
        image: mim_lab::images::ImageReference,
    }
    let path: PathBuf = images.folder.join("mosquitto.yaml");
    let advice = "`make images` writes it";
    let unread = |source| Error::Read {
        path: path.clone(),
        source,
        advice,
    };
    let text = std::fs::read_to_string(&path).map_err(unread)?;
    let values: Values =
        serde_yaml::from_str(&text).map_err(|problem| unread(std::io::Error::other(problem)))?;
    let reference = values.image;
    Ok(format!(
        "{}/{}@{}",
        images.registry, reference.repository, reference.digest
    ))
}

/// Applies `examples/subscription-mqtt.yaml` and waits until it is in the broker.
pub async fn subscription(cluster: &Cluster, namespace: &str, say: Say) -> Result<()> {
    install::apply(cluster, namespace, &install::example("subscription-mqtt.yaml")).await?;
    let api: Api<ContextSubscription> = Api::namespaced(cluster.client.clone(), namespace);
    let what = format!("ContextSubscription {namespace}/{SUBSCRIPTION} to be Ready");
    until(say, &what, READY, || async {
        let found = api.get(SUBSCRIPTION).await?;
        let status = found.status.unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let told = ready.map_or_else(
            || "the operator has not looked at it yet".to_owned(),
            |ready| format!("{}: {}", ready.reason, ready.message),
        );
        let current = status.observed_generation == found.metadata.generation;
        Ok((current && ready.is_some_and(|ready| ready.status == "True"), told))
    })
    .await
}

/// An application that listens to the topic.
pub struct Subscriber {
    events: EventLoop,
    // Kept: without a client there are no events.
    _client: AsyncClient,
    _door: Door,
}

impl Subscriber {
    /// Connects, and waits until the server has taken the subscription to the topic.
    pub async fn open(cluster: &Arc<Cluster>, namespace: &str, say: Say) -> Result<Self> {
        let door = Door::open(Arc::clone(cluster), namespace, SERVER, PORT, say).await?;
        let address = door.address().map_err(Error::Broken)?;
        let name = format!("demo-{:08x}", rand::random::<u32>());
        let options = MqttOptions::new(name, address.ip().to_string(), address.port());
        let (client, events) = AsyncClient::new(options, 8);
        let subscribed = client.subscribe(TOPIC, QoS::AtLeastOnce).await;
        subscribed.map_err(|problem| Error::Broken(format!("no subscription to {TOPIC}: {problem}")))?;
        let mut listener = Self {
            events,
            _client: client,
            _door: door,
        };
        let taken = listener.next(|packet| matches!(packet, Packet::SubAck(_)).then_some(()));
        within(taken, "the MQTT server's answer to a subscriber").await?;
        Ok(listener)
    }

    /// The next notification that tells of this entity: the entity, as it was sent.
    pub async fn told_of(&mut self, id: &str) -> Result<Value> {
        let about = self.next(|packet| match packet {
            Packet::Publish(message) => entity_of(&message.payload, id),
            _ => None,
        });
        within(about, &format!("a message about {id} on the topic {TOPIC}")).await
    }

    async fn next<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T> {
        loop {
            let event = self.events.poll().await;
            let event = event.map_err(|problem| Error::Broken(format!("the MQTT server: {problem}")))?;
            if let Event::Incoming(packet) = event
                && let Some(found) = wanted(&packet)
            {
                return Ok(found);
            }
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T>>, what: &str) -> Result<T> {
    let timeout = || Error::Timeout {
        what: what.to_owned(),
        seconds: ARRIVAL.as_secs(),
        last: "nothing".to_owned(),
    };
    tokio::time::timeout(ARRIVAL, work).await.map_err(|_| timeout())?
}

/// The entity of this id in a notification as MQTT carries it (ETSI GS CIM 009, clause 7.2): `{metadata, body: {data: […]}}`.
fn entity_of(payload: &[u8], id: &str) -> Option<Value> {
    let message: Value = serde_json::from_slice(payload).ok()?;
    let entities = message.get("body")?.get("data")?.as_array()?;
    let mut entities = entities.iter();
    entities
        .find(|entity| entity.get("id").and_then(Value::as_str) == Some(id))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entity_of_a_notification_is_found_by_its_id() {
        let payload = br#"{"metadata": {}, "body": {"type": "Notification", "data": [{"id": "urn:a"}, {"id": "urn:b", "status": "free"}]}}"#;
        assert_eq!(
            entity_of(payload, "urn:b"),
            Some(serde_json::json!({"id": "urn:b", "status": "free"}))
        );
        assert_eq!(entity_of(payload, "urn:c"), None);
        assert_eq!(entity_of(b"no JSON", "urn:b"), None);
    }

    #[test]
    fn the_example_is_the_subscription_that_the_demo_waits_for() {
        let text = std::fs::read_to_string(install::example("subscription-mqtt.yaml")).unwrap();
        let example: ContextSubscription = serde_yaml::from_str(&text).unwrap();
        assert_eq!(example.metadata.name.as_deref(), Some(SUBSCRIPTION));
        let service = example.spec.notification.endpoint.service_ref.unwrap();
        assert_eq!(
            (service.name.as_str(), service.port, service.path.as_str()),
            (SERVER, i32::from(PORT), format!("/{TOPIC}").as_str())
        );
    }
}
