//! What the operator sends for a few objects, written down by its own request layer, to be sent again by a client that does nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::api::Api;
use mim_crds::ContextBroker;
use mim_operator::operator::{Operator, Options};
use mim_operator::reconcile::request::{Entry, Journal};
use mim_operator::reconcile::watch::Scope;
use mim_operator::release::Releases;
use serde_json::Value;

use super::brokers::{self, Follower};
use super::kubelet::Kubelet;
use super::rig::{NAMESPACE, REGISTRY, Rig, catalogue};
use crate::bare::{self, Bare, METADATA, Outgoing};
use crate::error::Error;

/// Objects that are recorded; a replay of more takes them in turn.
const OBJECTS: usize = 20;
/// How long the recording may take.
const LIMIT: Duration = Duration::from_mins(2);
/// Nothing more is sent when nothing was sent for so long.
const QUIET: Duration = Duration::from_secs(2);

/// A change that the API server took.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Path of the object that it is about, subresource included.
    pub object: String,
    /// `Content-Type`
    pub content_type: Option<String>,
    /// `Accept`
    pub accept: Option<String>,
    /// The body.
    pub body: String,
}

impl Recorded {
    fn is_event(&self) -> bool {
        self.object.contains("/events/")
    }
}

/// All changes for one object, in the order in which they were sent.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Name of the recorded object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The changes.
    pub changes: Vec<Recorded>,
    /// Path and uid of children whose uid occurs in a body.
    pub named_children: Vec<(String, String)>,
}

impl Sequence {
    /// Children that the changes make: what is neither the object itself nor an event.
    #[must_use]
    pub fn children(&self) -> usize {
        let children = self
            .changes
            .iter()
            .filter(|change| !change.object.contains("/contextbrokers/") && !change.is_event());
        children
            .map(|change| &change.object)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Changes that are no event.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.changes.iter().filter(|change| !change.is_event()).count()
    }
}

/// The path of the object that a request is about; for a POST its name stands in the body.
fn object_of(method: &Method, target: &str, body: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    if method != Method::POST {
        return path.to_owned();
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let name = body.pointer("/metadata/name").and_then(Value::as_str);
    format!("{path}/{}", name.unwrap_or_default())
}

/// Runs an operator in this process over a few objects until they are Ready, and returns what it sent for each.
pub async fn record() -> Result<Vec<Sequence>, Error> {
    let rig = Rig::start(false).await?;
    let bare = rig.bare().await?;
    let _kubelet = Kubelet::start(rig.client.clone(), rig.bare().await?);
    let follower = Follower::start(rig.client.clone());
    let journal = Arc::new(Journal::new());
    let operator = Operator::new(
        options()?,
        rig.plane.client_config().await?,
        Some(Arc::clone(&journal) as _),
    )
    .map_err(unexpected)?;
    let running = tokio::spawn(operator.run(std::future::pending()));
    let names = brokers::names("tape", 0..OBJECTS);
    brokers::create(&bare, &names, None).await?;
    follower.ready(&names, LIMIT).await?;
    let entries = quiet(&journal).await;
    running.abort();
    let api: Api<ContextBroker> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let mut sequences = Vec::new();
    for name in names {
        let uid = api.get(&name).await?.metadata.uid.unwrap_or_default();
        sequences.push(sequence(&bare, name, uid, &entries).await?);
    }
    rig.plane.stop().await?;
    Ok(sequences)
}

fn options() -> Result<Options, Error> {
    let releases = Releases::parse(&catalogue(), Some(REGISTRY)).map_err(unexpected)?;
    let scope = Scope::Namespaces(vec![NAMESPACE.to_owned()]);
    let mut options = Options::new(scope, NAMESPACE, "recorded", releases);
    options.election = None;
    Ok(options)
}

fn unexpected(problem: impl std::fmt::Display) -> Error {
    Error::Unexpected(format!("the operator that is recorded does not start: {problem}"))
}

async fn quiet(journal: &Journal) -> Vec<Entry> {
    let mut entries = journal.entries();
    loop {
        tokio::time::sleep(QUIET).await;
        let now = journal.entries();
        if now.len() == entries.len() {
            return now;
        }
        entries = now;
    }
}

async fn sequence(bare: &Bare, name: String, uid: String, entries: &[Entry]) -> Result<Sequence, Error> {
    let changes: Vec<Recorded> = entries
        .iter()
        .filter(|entry| entry.record.mutates() && entry.status.is_some_and(|status| status.is_success()))
        .filter_map(|entry| {
            let record = &entry.record;
            let body = record
                .body
                .as_deref()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let is_about_it = record.target.contains(&name) || body.contains(&name);
            is_about_it.then(|| Recorded {
                method: record.method.clone(),
                target: record.target.clone(),
                object: object_of(&record.method, &record.target, &body),
                content_type: record.content_type.clone(),
                accept: record.accept.clone(),
                body: body.into_owned(),
            })
        })
        .collect();
    let paths: BTreeSet<&String> = changes
        .iter()
        .filter(|change| !change.is_event())
        .map(|change| &change.object)
        .collect();
    let mut named_children = Vec::new();
    for path in paths {
        let of_child = uid_of(bare, path.trim_end_matches("/status")).await?;
        if of_child != uid && changes.iter().any(|change| change.body.contains(&of_child)) {
            named_children.push((path.clone(), of_child));
        }
    }
    Ok(Sequence {
        name,
        uid,
        changes,
        named_children,
    })
}

async fn uid_of(bare: &Bare, path: &str) -> Result<String, Error> {
    let answer = bare
        .send(Outgoing {
            method: &Method::GET,
            target: path,
            content_type: None,
            accept: Some(METADATA),
            body: Vec::new(),
        })
        .await?;
    bare::uid(&answer)
}
