//! What subscriptions add to a city: brokers that answer, and what ContextSubscriptions say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;
use mim_crds::ContextSubscription;
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::{FakeBroker, PORT};
use serde_json::{Value, json};

use crate::city::{City, broker, says};

impl City {
    /// A broker that answers as the Service of the ContextBroker of this name, which may be `Native` or External with the URL that it gives.
    pub async fn serve(&self, name: &str) -> FakeBroker {
        let broker = FakeBroker::start().await;
        self.doors.lead(&self.host(name), &broker);
        broker
    }

    /// The name of the Service of a ContextBroker.
    pub fn host(&self, name: &str) -> String {
        format!("{name}-broker.{}.svc", self.namespace)
    }

    /// A ContextBroker with engine External at the Service that [`Self::serve`] answers for.
    pub fn external_broker(&self, name: &str) -> Value {
        let url = format!("http://{}:{}", self.host(name), PORT);
        broker(name, &json!({"engine": "External", "external": {"url": url}}))
    }

    pub fn subscriptions(&self) -> Api<ContextSubscription> {
        self.api()
    }

    pub async fn subscription_says(&self, name: &str, status: &str, reason: &str) -> ContextSubscription {
        eventually(
            &format!("ContextSubscription {name} says {status}/{reason}"),
            || async {
                let held = self
                    .subscriptions()
                    .get(name)
                    .await
                    .map_err(|error| error.to_string())?;
                let (generation, told) = (held.metadata.generation, held.status.clone().unwrap_or_default());
                says(generation, told, status, reason).map(|()| held)
            },
        )
        .await
    }

    /// The condition Ready of a ContextSubscription that must say this, in words that hold `words`.
    pub async fn subscription_complains(
        &self,
        name: &str,
        reason: &str,
        stalled: bool,
        words: &[&str],
    ) -> String {
        let what = format!("ContextSubscription {name} complains {reason} with {words:?}");
        eventually(&what, || async {
            let held = self
                .subscriptions()
                .get(name)
                .await
                .map_err(|error| error.to_string())?;
            let told = held.status.clone().unwrap_or_default();
            complains(
                held.metadata.generation,
                &told.conditions,
                told.observed_generation,
                reason,
                stalled,
                words,
            )
        })
        .await
    }
}

/// The words of a condition Ready that speaks of the newest generation, is False for this reason, and holds `words`.
fn complains(
    generation: Option<i64>,
    conditions: &[Condition],
    observed: Option<i64>,
    reason: &str,
    stalled: bool,
    words: &[&str],
) -> Result<String, String> {
    let is = |r#type: &str, status: &str| {
        conditions
            .iter()
            .find(|c| c.type_ == r#type && c.status == status)
    };
    let ready = is("Ready", "False").filter(|ready| ready.reason == reason && observed == generation);
    match ready {
        Some(ready)
            if is("Stalled", "True").is_some() == stalled
                && words.iter().all(|word| ready.message.contains(word)) =>
        {
            Ok(ready.message.clone())
        }
        _ => Err(format!(
            "generation {generation:?}, observed {observed:?}, {conditions:?}"
        )),
    }
}

/// A ContextSubscription of the broker of this name, whose spec is laid over what every one needs.
pub fn subscription(name: &str, broker: &str, spec: &Value) -> Value {
    let mut whole = json!({
        "brokerRef": {"name": broker},
        "entities": [{"type": "Sensor"}],
        "notification": {"endpoint": {"url": "https://app.example.org/changes"}},
    });
    for (name, value) in spec.as_object().expect("a spec") {
        whole[name] = value.clone();
    }
    json!({"apiVersion": "mim.city/v1alpha1", "kind": "ContextSubscription", "metadata": {"name": name}, "spec": whole})
}
