//! What is cut: the objects that a user writes, what befalls them, and when that has come to its end.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use mim_crds::annotation;
use mim_operator::reconcile::certificate::{Authority, Decision, LEAF_LIFETIME, Party, leaf};
use mim_tests::cluster::api_of;
use mim_tests::eventually::eventually;
use mim_tests::pace;
use serde_json::{Value, json};

use crate::city::{City, broker, platform};
use crate::invariants::app_secret;
use crate::subscriptions::subscription;

/// What the user writes.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    ContextBroker,
    UrbanDataPlatform,
    ContextSubscription,
    /// A ContextBroker whose database is somebody else's.
    ExternalDatabase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    New,
    Changed,
    /// The database's certificate is two thirds of its life old.
    Due,
    /// The volume is gone, and that is accepted.
    Lost,
    Deleted,
}

/// What was there before a phase and must be another thing afterwards.
#[derive(Clone, Debug, Default)]
pub struct Before {
    identifier: Option<String>,
    certificate: Option<Vec<u8>>,
}

impl Kind {
    pub const fn phases(self) -> &'static [Phase] {
        match self {
            Self::ContextBroker => &[
                Phase::New,
                Phase::Changed,
                Phase::Due,
                Phase::Lost,
                Phase::Deleted,
            ],
            // Certificates and data are the component's business, or somebody else's.
            Self::UrbanDataPlatform | Self::ContextSubscription | Self::ExternalDatabase => {
                &[Phase::New, Phase::Changed, Phase::Deleted]
            }
        }
    }

    /// Whether a request, by its resource and name, is one to die at. What a platform's broker asks for is the same as what a broker without a platform does,
    /// and is cut there; of a platform it is what its own pass sends, and in `make proof` all.
    pub fn is_cut_at(self, resource: &str, name: &str) -> bool {
        self != Self::UrbanDataPlatform
            || pace::is_proof()
            || resource.starts_with("mim.city/urbandataplatforms")
            || resource == "mim.city/contextbrokers"
            || name == "UrbanDataPlatform"
    }

    /// How many requests a phase has at least: fewer, and the test would not see what it is for.
    pub const fn at_least(self, phase: Phase) -> usize {
        match (self, phase) {
            (Self::ContextSubscription, Phase::Deleted) | (_, Phase::Due) => 1,
            (_, Phase::Deleted) => 0,
            (Self::ContextSubscription, Phase::Changed) => 2,
            (Self::ContextSubscription, Phase::New) => 3,
            // The record of the lost data goes, a claim and a new record come.
            (_, Phase::Lost) | (Self::ExternalDatabase, Phase::Changed) => 5,
            (Self::ExternalDatabase, Phase::New) => 8,
            (_, Phase::New) => 16,
            (_, Phase::Changed) => 7,
        }
    }

    fn object(self, phase: Phase) -> Value {
        let confirmed = json!({"mim.city/confirm-deletion": "vienna"});
        let mut section = match phase {
            Phase::New => json!({"replicas": 2}),
            _ => json!({"replicas": 1, "tenants": ["north"], "service": {"labels": {"team": "air"}}}),
        };
        let release = if phase == Phase::New { "0.1.0" } else { "0.2.0" };
        let mut object = match self {
            Self::ContextSubscription => {
                // Something is changed, something is taken away.
                let spec = match phase {
                    Phase::New => json!({"q": "no2>40", "throttling": "PT10S"}),
                    _ => json!({"q": "no2>50", "mode": "Paused"}),
                };
                return subscription("vienna", "outside", &spec);
            }
            Self::ContextBroker => {
                section["release"] = release.into();
                section["deletionPolicy"] = "Delete".into();
                broker("vienna", &section)
            }
            Self::ExternalDatabase => {
                section["release"] = release.into();
                section["storage"] = json!({"external": {"secretRef": {"name": "vienna-db"}}});
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

    /// What the user does, or time. No operator runs.
    pub async fn act(self, city: &City, phase: Phase) -> Before {
        let mut before = Before::default();
        match phase {
            Phase::New | Phase::Changed => {
                if self == Self::ExternalDatabase && phase == Phase::New {
                    city.apply(&app_secret("vienna-db")).await;
                }
                city.apply(&self.object(phase)).await;
            }
            Phase::Due => before.certificate = Some(make_certificate_due(city).await),
            Phase::Lost => before.identifier = Some(lose_data(city).await),
            Phase::Deleted => {
                if self == Self::ExternalDatabase {
                    let params = DeleteParams::default();
                    city.secrets().delete("vienna-db", &params).await.unwrap();
                }
                let background = DeleteParams::background();
                let api = api_of(&city.client, &city.namespace, &self.object(phase));
                api.delete("vienna", &background).await.unwrap();
            }
        }
        before
    }

    /// Whether a phase has reached its end.
    pub async fn is_done(self, city: &City, phase: Phase, before: &Before) -> Result<(), String> {
        if self == Self::ContextSubscription {
            return subscription_is_done(city, phase).await;
        }
        if phase == Phase::Deleted {
            return is_gone(city).await;
        }
        let (generation, status) = if self == Self::UrbanDataPlatform {
            let held = city.platforms().get("vienna").await.map_err(|e| e.to_string())?;
            (
                held.metadata.generation,
                serde_json::to_value(held.status).unwrap(),
            )
        } else {
            let held = city.brokers().get("vienna").await.map_err(|e| e.to_string())?;
            (
                held.metadata.generation,
                serde_json::to_value(held.status).unwrap(),
            )
        };
        crate::city::says(generation, &status, "True", "Ready")?;
        let identifier = status["storage"]["systemIdentifier"].as_str();
        if before.identifier.is_some() && before.identifier.as_deref() == identifier {
            return Err("the data that was lost".to_owned());
        }
        if before.certificate.is_some() && before.certificate == Some(certificate(city).await) {
            return Err("the certificate that is due".to_owned());
        }
        if self != Self::ExternalDatabase {
            has_size(city).await?;
        }
        // The pod that proved the new template goes with, or after, the last status.
        match city.pods().get_opt("vienna-database-preflight").await {
            Ok(None) => Ok(()),
            _ => Err("the preflight pod is still there".to_owned()),
        }
    }
}

/// The kubelet of these tests does not wait until a claim is bound: its size may be told after Ready.
async fn has_size(city: &City) -> Result<(), String> {
    let held = city.brokers().get("vienna").await.map_err(|e| e.to_string())?;
    let storage = held.status.and_then(|status| status.storage);
    match storage.and_then(|storage| storage.size) {
        Some(_) => Ok(()),
        None => Err("the size of the volume is not told".to_owned()),
    }
}

async fn is_gone(city: &City) -> Result<(), String> {
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
    if (left, pods, brokers.is_some()) == (0, 0, false) {
        Ok(())
    } else {
        Err(format!(
            "{left} children, {pods} pods, broker {}",
            brokers.is_some()
        ))
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

async fn certificate(city: &City) -> Vec<u8> {
    let secret = city.secrets().get("vienna-database-tls").await.unwrap();
    secret.data.unwrap()["tls.crt"].0.clone()
}

/// Puts one of the same names and authority in the place of the certificate, made eighty of its ninety days ago.
async fn make_certificate_due(city: &City) -> Vec<u8> {
    let secret = city.secrets().get("vienna-database-ca").await.unwrap();
    let data = secret.data.unwrap();
    let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    let authority = Authority {
        bundle: text("ca.crt"),
        key: text("ca.key"),
    };
    let host = format!("vienna-database.{}", city.namespace);
    let names = [
        "vienna-database".to_owned(),
        host.clone(),
        format!("{host}.svc"),
        format!("{host}.svc.cluster.local"),
    ];
    let then = Timestamp::now() - Duration::from_hours(80 * 24);
    let made = leaf(
        None,
        &authority,
        (Party::Server, &names),
        LEAF_LIFETIME,
        then,
        &mut rand::rng(),
    )
    .unwrap();
    let Decision::Issue { made, .. } = made else {
        panic!("{made:?}")
    };
    let patch = json!({"stringData": {"tls.crt": made.certificate, "tls.key": made.key}});
    let secrets = city.secrets();
    secrets
        .patch(
            "vienna-database-tls",
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .unwrap();
    certificate(city).await
}

/// Deletes claim and pod, and accepts that; gives what the data was known by.
async fn lose_data(city: &City) -> String {
    let held = city.brokers().get("vienna").await.unwrap().status.unwrap();
    let identifier = held.storage.unwrap().system_identifier.unwrap();
    let claims = city.claims();
    let params = DeleteParams::default();
    claims.delete("vienna-database", &params).await.unwrap();
    // Kubernetes keeps it while a pod uses it, and the pod that came next could use it again.
    let unprotected = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    // It may be gone already.
    let _ = claims
        .patch("vienna-database", &PatchParams::default(), &unprotected)
        .await;
    eventually("the volume is gone", || async {
        match claims.get_opt("vienna-database").await.unwrap() {
            None => Ok(()),
            Some(claim) => Err(claim.metadata),
        }
    })
    .await;
    let old = city.pods().get("vienna-database-0").await.unwrap().metadata.uid;
    city.pods().delete("vienna-database-0", &params).await.unwrap();
    eventually("a new pod waits for its volume", || async {
        let pod = city.pods().get("vienna-database-0").await;
        let new = pod.map_err(|e| e.to_string())?.metadata.uid;
        if new == old {
            Err("the old one is there".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    city.annotate_broker("vienna", annotation::ACCEPT_DATA_LOSS, &identifier)
        .await;
    identifier
}
