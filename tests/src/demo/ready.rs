//! From `kubectl apply` to Ready, as the platform's own conditions tell it.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::Api;
use mim_crds::UrbanDataPlatform;
use mim_crds::urban_data_platform::Readiness;

use super::error::{Error, Result};
use super::say::Waiting;

/// How long a platform may take: images may have to be pulled.
const LIMIT: Duration = Duration::from_mins(5);
const INTERVAL: Duration = Duration::from_millis(100);
/// How long it may be `Stalled`: only a person can heal that.
const STALLED: Duration = Duration::from_secs(20);

/// Waits until the platform is Ready in its present generation; tells what its conditions say meanwhile.
pub async fn ready(client: &Client, namespace: &str, name: &str, mut waiting: Waiting) -> Result<()> {
    let api: Api<UrbanDataPlatform> = Api::namespaced(client.clone(), namespace);
    let started = Instant::now();
    let mut moved = started;
    loop {
        let found = api.get(name).await?;
        let (ready, state) = state(&found);
        if ready {
            return Ok(());
        }
        waiting.saw(&state);
        let stalled = condition(&found, "Stalled").is_some_and(|stalled| stalled.status == "True");
        if !stalled {
            moved = Instant::now();
        }
        if started.elapsed() > LIMIT || moved.elapsed() > STALLED {
            return Err(Error::Timeout {
                what: format!("UrbanDataPlatform {namespace}/{name} to be Ready"),
                seconds: started.elapsed().as_secs(),
                last: state,
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn condition<'a>(platform: &'a UrbanDataPlatform, kind: &str) -> Option<&'a Condition> {
    let status = platform.status.as_ref()?;
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether it is Ready, and what it says.
#[must_use]
pub fn state(platform: &UrbanDataPlatform) -> (bool, String) {
    let status = platform.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation);
    if seen != platform.metadata.generation {
        return (false, "the operator has not looked at it yet".to_owned());
    }
    let of = |kind: &str| condition(platform, kind);
    let told = of("Stalled")
        .or_else(|| of("Ready"))
        .or_else(|| of("Reconciling"));
    let ready = of("Ready").is_some_and(|condition| condition.status == "True");
    let mut text = told.map_or_else(
        || "no condition yet".to_owned(),
        |condition| format!("{}: {}", condition.reason, condition.message),
    );
    // What a component says is closer to the matter.
    let components = status
        .map(|status| status.components.as_slice())
        .unwrap_or_default();
    let waited_for = components
        .iter()
        .find(|component| component.ready != Readiness::True);
    if let Some(component) = waited_for
        && let Some(message) = &component.message
    {
        text = format!("{} {}: {message}", component.kind, component.name);
    }
    (ready, text)
}
