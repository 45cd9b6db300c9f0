//! Apply over an API server in memory whose watches are quicker than its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::reconcile::live::OwnerKey;

/// Takes whatever is applied, and shows it to the index as a watch does: before the answer.
#[derive(Clone, Default)]
struct Server {
    index: Arc<Index>,
    version: Arc<AtomicU64>,
    /// Whether somebody deletes what is applied at once.
    deletes: Arc<AtomicBool>,
}

impl Server {
    fn object(&self, body: &Value, uid: &str) -> Value {
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let mut object = body.clone();
        object["metadata"]["uid"] = uid.into();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        object
    }

    fn apply(&self, body: &Value) -> Value {
        let uid = format!("made-{}", self.version.load(Ordering::Relaxed));
        let made = self.object(body, &uid);
        let shown = |object: &Value| serde_json::from_value::<LiveObject>(object.clone()).unwrap();
        self.index.apply(ChildKind::ConfigMap, shown(&made));
        if self.deletes.load(Ordering::Relaxed) {
            let gone = self.object(body, &uid);
            self.index.delete(ChildKind::ConfigMap, &shown(&gone));
        }
        made
    }

    fn requests(&self) -> Requests {
        let server = self.clone();
        let line = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                let answer = server.apply(&serde_json::from_slice(&body)?);
                Ok::<_, tower::BoxError>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Requests::new(kube::Client::new(line, "city"))
    }
}

fn children_of(uid: &str) -> Children {
    let mut children = Children::new(Owner {
        kind: "ContextBroker",
        api_version: "mim.city/v1alpha1".into(),
        namespace: "city".into(),
        name: "vienna".into(),
        uid: uid.to_owned(),
    });
    children.own(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vienna-broker"}, "data": {"a": "b"}}));
    children
}

#[tokio::test]
async fn a_child_that_goes_before_its_answer_is_read_stands_in_nobodys_way() {
    let (server, vienna) = (
        Server::default(),
        OwnerKey {
            kind: "ContextBroker".into(),
            namespace: "city".into(),
            name: "vienna".into(),
        },
    );
    let requests = server.requests();
    let applier = Applier {
        requests: &requests,
        index: &server.index,
        roll: |_, _| None,
        started: Instant::now(),
    };
    let apply = async |uid: &str| {
        let (live, mut memory) = (server.index.of(&vienna), Memory::default());
        let mut done = Applied::default();
        let ended = applier
            .apply(&children_of(uid), &live, &mut memory, &mut done)
            .await;
        (ended, memory)
    };
    let is_there = || {
        let live = server.index.of(&vienna);
        let seen = live.get(ChildKind::ConfigMap, "vienna-broker");
        seen.and_then(|seen| seen.owner_uid.as_deref().map(str::to_owned))
    };
    // The owner is deleted in the middle of a pass, so garbage collection takes what that makes; the news of it comes first.
    server.deletes.store(true, Ordering::Relaxed);
    let (ended, memory) = apply("first").await;
    let trouble = ended.unwrap_err();
    assert_eq!(trouble.complaint().reason, Reason::Progressing);
    assert!(
        trouble.to_string().contains("ConfigMap vienna-broker"),
        "{trouble}"
    );
    assert_eq!(is_there(), None);
    assert!(memory.applied.is_empty(), "it is no repair that it is made again");
    // The next owner of the name takes the place, and waits for nobody.
    server.deletes.store(false, Ordering::Relaxed);
    let (ended, memory) = apply("second").await;
    ended.unwrap();
    assert_eq!(is_there().as_deref(), Some("second"));
    assert!(memory.applied.has(ChildKind::ConfigMap, "vienna-broker"));
}
