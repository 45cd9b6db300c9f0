//! A small NGSI-LD broker that keeps subscriptions and nothing else, as the standard says, with faults as a test says.
//!
//! It listens on a loopback address of its own, at the port of our brokers, so that many run beside each other; [`Doors`] leads names of the cluster
//! there.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a part of tests: a failed expectation is the result"
)]

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::Listener;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::foreign::{acceptor, any_authority};

/// Where names lead that no DNS knows.
#[derive(Clone, Default)]
pub struct Doors(Arc<Mutex<HashMap<String, IpAddr>>>);

impl Doors {
    /// The client of an operator for whom these names are servers of this machine, and all others are nowhere.
    #[must_use]
    pub fn client(&self) -> mim_egress::Client {
        let names = Arc::clone(&self.0);
        let policy = mim_egress::Policy::default().with_loopback_for_tests();
        mim_egress::Client::with_resolver(policy, move |host: &str| {
            let found = names.lock().unwrap().get(host).copied();
            found
                .map(|address| vec![address])
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        })
    }

    /// Leads a name to a broker.
    pub fn lead(&self, host: &str, to: &FakeBroker) {
        self.lead_to(host, to.address);
    }

    /// Leads a name to an address.
    pub fn lead_to(&self, host: &str, address: IpAddr) {
        self.0.lock().unwrap().insert(host.to_owned(), address);
    }

    /// The name is unknown from now on.
    pub fn close(&self, host: &str) {
        self.0.lock().unwrap().remove(host);
    }

    /// Whether any name is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// What a request was, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path, with query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, where that is JSON.
    pub body: Value,
    /// The status of the answer; absent where there was none.
    pub status: Option<u16>,
}

impl Call {
    /// Whether it can change anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Every request is answered with this status and this type of error.
    Answers(u16, &'static str),
    /// Every request that changes something is answered so.
    Refuses(u16, &'static str),
    /// Nothing is answered.
    Silent,
    /// The n-th change from now is not done, and not answered.
    LostBefore(usize),
    /// The n-th change from now is done, and not answered.
    LostAfter(usize),
}

#[derive(Default)]
struct Inside {
    token: Option<String>,
    subscriptions: BTreeMap<(String, String), Map<String, Value>>,
    calls: Vec<Call>,
    fault: Option<Fault>,
    changes: usize,
    lost: bool,
    masks: bool,
    ignores: Vec<&'static str>,
    made: usize,
    deleted: usize,
}

/// The broker.
pub struct FakeBroker {
    address: IpAddr,
    inside: Arc<Mutex<Inside>>,
    heard: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = (Arc<Mutex<Inside>>, watch::Sender<u64>);

/// Port of the API of our brokers.
pub const PORT: u16 = 1026;

impl FakeBroker {
    /// Starts one, without subscriptions.
    pub async fn start() -> Self {
        let (address, listener) = free_address().await;
        Self::over(address, listener, None)
    }

    /// Starts one that speaks TLS under these names, and answers only who brings this token; with the certificate of its authority.
    pub async fn start_secured(names: &[String], token: &str) -> (Self, String) {
        let (address, listener) = free_address().await;
        let authority = any_authority();
        let listener = Secured {
            listener,
            tls: acceptor(&authority, names),
        };
        let broker = Self::over(address, listener, Some(token.to_owned()));
        (broker, authority.bundle)
    }

    fn over(address: IpAddr, listener: impl Listener<Addr = SocketAddr>, token: Option<String>) -> Self {
        let inside = Arc::new(Mutex::new(Inside {
            token,
            ..Inside::default()
        }));
        let heard = watch::Sender::new(0);
        let shared: Shared = (Arc::clone(&inside), heard.clone());
        let router = Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            address,
            inside,
            heard,
            task,
        }
    }

    /// The address of its API without a name.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{PORT}", self.address)
    }

    /// From now on this goes wrong, or nothing any more.
    pub fn fault(&self, fault: Option<Fault>) {
        let mut inside = self.inside();
        (inside.fault, inside.changes, inside.lost) = (fault, 0, false);
    }

    /// From now on values of headers are shown as stars.
    pub fn mask(&self) {
        self.inside().masks = true;
    }

    /// From now on these members of what is sent are not kept.
    pub fn ignore(&self, members: &[&'static str]) {
        self.inside().ignores = members.to_vec();
    }

    /// All requests so far about subscriptions.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inside().calls.clone()
    }

    /// Those that can change something.
    #[must_use]
    pub fn changes(&self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(Call::changes);
        calls
    }

    /// Whether a change was not answered since the last [`Self::fault`].
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.inside().lost
    }

    /// How many subscriptions were made, and how many deleted.
    #[must_use]
    pub fn made_and_deleted(&self) -> (usize, usize) {
        let inside = self.inside();
        (inside.made, inside.deleted)
    }

    /// All subscriptions, by tenant (empty: the default one) and id.
    #[must_use]
    pub fn subscriptions(&self) -> BTreeMap<(String, String), Value> {
        let held = self.inside();
        let all = held.subscriptions.iter();
        all.map(|(key, of)| (key.clone(), Value::Object(of.clone())))
            .collect()
    }

    /// The only one.
    #[must_use]
    pub fn only(&self) -> Option<Value> {
        let all = self.subscriptions();
        assert!(all.len() <= 1, "{all:#?}");
        all.into_values().next()
    }

    /// An edit by hand, of every subscription.
    pub fn edit(&self, edit: impl Fn(&mut Map<String, Value>)) {
        self.inside().subscriptions.values_mut().for_each(edit);
    }

    /// All subscriptions are deleted by hand.
    pub fn clear(&self) {
        self.inside().subscriptions.clear();
    }

    /// The next request that comes, whatever it is; call it before.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }
}

async fn free_address() -> (IpAddr, TcpListener) {
    loop {
        let [a, b, c, _] = rand::random::<u32>().to_be_bytes();
        let address = IpAddr::from([127, a.clamp(1, 254), b.clamp(1, 254), c.clamp(1, 254)]);
        if let Ok(listener) = TcpListener::bind((address, PORT)).await {
            return (address, listener);
        }
    }
}

/// A listener whose connections are over TLS.
struct Secured {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = Listener::accept(&mut self.listener).await;
            // Who does not trust the certificate breaks off.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn answer(State((inside, heard)): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = parts
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let lets_in = inside.lock().unwrap().lets_in(&parts.headers);
    if path.starts_with("/ngsi-ld/v1/types") && lets_in {
        return json_answer(
            200,
            json!({"id": "urn:x", "type": "EntityTypeList", "typeList": []}),
        );
    }
    let mut call = Call {
        method: parts.method,
        path,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        status: None,
    };
    let answer = inside.lock().unwrap().answer(&call);
    call.status = answer.as_ref().map(|answer| answer.status().as_u16());
    inside.lock().unwrap().calls.push(call);
    heard.send_modify(|count| *count += 1);
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

impl Inside {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let brought = headers.get("authorization").and_then(|of| of.to_str().ok());
        let wanted = self.token.as_ref().map(|token| format!("Bearer {token}"));
        wanted.is_none_or(|wanted| brought == Some(wanted.as_str()))
    }

    fn answer(&mut self, call: &Call) -> Option<Response> {
        if !self.lets_in(&call.headers) {
            return Some(problem(401, "Unauthorised"));
        }
        if call.changes() {
            self.changes += 1;
        }
        match self.fault.clone() {
            Some(Fault::Silent) => None,
            Some(Fault::Answers(status, r#type)) => Some(problem(status, r#type)),
            Some(Fault::Refuses(status, r#type)) if call.changes() => Some(problem(status, r#type)),
            Some(Fault::LostBefore(nth)) if call.changes() && self.changes == nth => {
                self.lost = true;
                None
            }
            Some(Fault::LostAfter(nth)) if call.changes() && self.changes == nth => {
                self.lost = true;
                self.serve(call);
                None
            }
            _ => Some(self.serve(call)),
        }
    }

    fn serve(&mut self, call: &Call) -> Response {
        let tenant = call.headers.get("ngsild-tenant").and_then(|of| of.to_str().ok());
        let tenant = tenant.unwrap_or_default().to_owned();
        let Some(rest) = call.path.strip_prefix("/ngsi-ld/v1/subscriptions") else {
            return problem(404, "ResourceNotFound");
        };
        let key = (tenant.clone(), rest.trim_start_matches('/').to_owned());
        match (&call.method, rest) {
            (&Method::POST, "") => self.create(tenant, &call.body),
            (&Method::GET, _) => match self.subscriptions.get(&key) {
                Some(held) => json_answer(200, self.shown(held)),
                None => problem(404, "ResourceNotFound"),
            },
            (&Method::PATCH, _) => self.merge(&key, &call.body),
            (&Method::DELETE, _) => match self.subscriptions.remove(&key) {
                Some(_) => {
                    self.deleted += 1;
                    empty(204)
                }
                None => problem(404, "ResourceNotFound"),
            },
            _ => empty(405),
        }
    }

    fn create(&mut self, tenant: String, body: &Value) -> Response {
        let (Some(members), Some(id)) = (body.as_object(), body["id"].as_str()) else {
            return problem(400, "BadRequestData");
        };
        if members["type"] != "Subscription" || is_over(members) {
            return problem(400, "BadRequestData");
        }
        let key = (tenant, id.to_owned());
        if self.subscriptions.contains_key(&key) {
            return problem(409, "AlreadyExists");
        }
        let mut kept = members.clone();
        kept.entry("notificationTrigger")
            .or_insert(json!(["attributeCreated", "attributeUpdated"]));
        kept.insert("createdAt".into(), "2026-01-01T00:00:00Z".into());
        self.forget_ignored(&mut kept);
        self.subscriptions.insert(key, kept);
        self.made += 1;
        empty(201)
    }

    /// As a merge patch at the first level: each member that is given takes the place of what was there.
    fn merge(&mut self, key: &(String, String), body: &Value) -> Response {
        let Some(patch) = body.as_object() else {
            return problem(400, "InvalidRequest");
        };
        let Some(mut kept) = self.subscriptions.get(key).cloned() else {
            return problem(404, "ResourceNotFound");
        };
        for (name, value) in patch {
            if value.is_null() {
                kept.remove(name);
            } else {
                kept.insert(name.clone(), value.clone());
            }
        }
        if is_over(&kept) {
            return problem(400, "BadRequestData");
        }
        self.forget_ignored(&mut kept);
        self.subscriptions.insert(key.clone(), kept);
        empty(204)
    }

    fn forget_ignored(&self, kept: &mut Map<String, Value>) {
        kept.retain(|name, _| !self.ignores.contains(&name.as_str()));
    }

    fn shown(&self, held: &Map<String, Value>) -> Value {
        let mut shown = held.clone();
        let paused = held.get("isActive") == Some(&json!(false));
        let status = if paused { "paused" } else { "active" };
        shown.entry("status").or_insert(status.into());
        let mut shown = Value::Object(shown);
        if self.masks {
            let info = shown.pointer_mut("/notification/endpoint/receiverInfo");
            for header in info.and_then(Value::as_array_mut).into_iter().flatten() {
                header["value"] = "***".into();
            }
        }
        shown
    }
}

fn is_over(members: &Map<String, Value>) -> bool {
    let at = members.get("expiresAt").and_then(Value::as_str);
    let at = at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    at.is_some_and(|at| at <= jiff::Timestamp::now())
}

fn problem(status: u16, r#type: &str) -> Response {
    let r#type = format!("https://uri.etsi.org/ngsi-ld/errors/{type}");
    json_answer(
        status,
        json!({"type": r#type, "title": "no", "detail": "words-of-the-broker"}),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "every caller makes it here")]
fn json_answer(status: u16, body: Value) -> Response {
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    answer
}

fn empty(status: u16) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}
