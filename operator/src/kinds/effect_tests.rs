//! No field without effect: every leaf of every spec, set to two values, must make two different things of the object: what is read, what is built, what is
//! asked for elsewhere, what the status tells, whether it is suspended, whether its data goes with it. Of an enum every word is a value.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube::runtime::{reflector, watcher};
use mim_crds::rules::validate_value;
use mim_crds::{ContextBroker, ContextSubscription, UrbanDataPlatform};
use serde_json::{Map, Value, json};
use tower::{ServiceBuilder, service_fn};

use crate::kinds::context_subscription::plan::Plan as SubscriptionPlan;
use crate::kinds::context_subscription::remote::{Found, Subscriptions};
use crate::metrics::Metrics;
use crate::reconcile::child::Owner;
use crate::reconcile::client::Requests;
use crate::reconcile::context::{Context, Settings};
use crate::reconcile::kind::Kind;
use crate::reconcile::lease::LeaseClock;
use crate::reconcile::live::Live;
use crate::reconcile::peers::Peers;
use crate::reconcile::probes::{Probes, Target};
use crate::reconcile::reader::Reader;
use crate::reconcile::remote::{self, Errands, Remote, Written};
use crate::reconcile::request::{Limits, RequestLayer};
use crate::reconcile::trigger::Triggers;
use crate::reconcile::watch::Scope;
use crate::release::Releases;

/// Leaves that change nothing, and why they are there all the same.
const WITHOUT_EFFECT: &[(&str, &str)] = &[(
    "ContextBroker spec.allowedNamespaces[]",
    "asked where an object of another namespace names the broker, not in a pass of its own",
)];

/// Fields of a kind that keeps something elsewhere whose effect is not in what is asked for there, and where it is.
const NOT_ASKED_FOR: &[(&str, &str)] = &[(
    "ContextSubscription spec.suspend",
    "nothing is asked for while it is true",
)];

/// In these variants the fields have no effect although the rules let them in: the schema's defaults put them into every object, so a rule that refused them
/// would refuse what has been accepted. Their descriptions say so.
const IN_A_VARIANT: &[(&str, &[&str])] = &[
    ("external broker", &["spec.replicas", "spec.deletionPolicy"]),
    ("external database", &["spec.deletionPolicy"]),
];

/// Two values of a leaf whose schema does not say what a good one is.
const VALUES: &[(&str, &str, &str)] = &[
    ("release", "0.1.0", "0.2.0"),
    ("size", "20Gi", "30Gi"),
    ("retention", "P30D", "P60D"),
    ("url", "https://a.example", "https://b.example"),
    ("id", "urn:a:1", "urn:a:2"),
    ("timeInterval", "PT1M", "PT2M"),
    ("throttling", "PT1M", "PT2M"),
    ("timeout", "PT1S", "PT2S"),
    ("cooldown", "PT1S", "PT2S"),
    ("georel", "within", "intersects"),
    ("coordinates", "[1,2]", "[3,4]"),
    ("expiresAt", "2090-01-01T00:00:00Z", "2091-01-01T00:00:00Z"),
    ("jsonldContext", "https://a.example/c", "https://b.example/c"),
    ("path", "/x", "/y"),
];

/// A leaf by its path, and specs (or parts of one) that differ in it alone.
struct Leaf {
    path: String,
    values: Vec<Value>,
}

/// All leaves below a node of a schema, each in values of that node.
fn leaves(path: &str, schema: &Value) -> Vec<Leaf> {
    if let Some(properties) = schema["properties"].as_object() {
        let inside = |(name, property): (&String, &Value)| {
            let siblings = required(schema, name);
            let with = move |value: Value| {
                let mut object = siblings.clone();
                object.insert(name.clone(), value);
                Value::Object(object)
            };
            moved(leaves(&format!("{path}.{name}"), property), with)
        };
        return properties.iter().flat_map(inside).collect();
    }
    if schema["additionalProperties"].is_object() {
        let inside = leaves(&format!("{path}{{}}"), &schema["additionalProperties"]);
        return moved(inside, |value| json!({"k": value}));
    }
    if schema["items"].is_object() {
        return moved(leaves(&format!("{path}[]"), &schema["items"]), |value| {
            json!([value])
        });
    }
    vec![Leaf {
        path: path.to_owned(),
        values: scalars(path, schema),
    }]
}

fn moved(leaves: Vec<Leaf>, to: impl Fn(Value) -> Value) -> Vec<Leaf> {
    let moved = leaves.into_iter().map(|leaf| Leaf {
        values: leaf.values.into_iter().map(&to).collect(),
        ..leaf
    });
    moved.collect()
}

/// The members that a leaf's object must have beside it.
fn required(schema: &Value, but: &str) -> Map<String, Value> {
    let names = schema["required"].as_array().into_iter().flatten();
    names
        .filter_map(Value::as_str)
        .filter(|name| *name != but)
        .map(|name| (name.to_owned(), sample(name, &schema["properties"][name])))
        .collect()
}

fn sample(path: &str, schema: &Value) -> Value {
    if schema["properties"].is_object() {
        return Value::Object(required(schema, ""));
    }
    if schema["items"].is_object() {
        return json!([sample(path, &schema["items"])]);
    }
    scalars(path, schema).swap_remove(0)
}

fn scalars(path: &str, schema: &Value) -> Vec<Value> {
    let name = path.rsplit('.').next().unwrap();
    if let Some((_, one, other)) = VALUES.iter().find(|(of, ..)| *of == name) {
        return vec![(*one).into(), (*other).into()];
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => vec![false.into(), true.into()],
        Some("integer") => vec![7.into(), 8.into()],
        Some("string") => vec!["x".into(), "y".into()],
        _ if schema["x-kubernetes-int-or-string"] == true => vec!["1".into(), "2".into()],
        // An empty object of Kubernetes: there or not.
        Some("object") => vec![Value::Null, json!({})],
        other => panic!("{path}: no values of type {other:?}"),
    }
}

/// What an object comes to.
#[derive(Debug, PartialEq)]
struct Effect {
    /// What was asked of the API server.
    read: Vec<String>,
    looked_at: Option<Target>,
    /// What a broker is asked for.
    elsewhere: Option<String>,
    suspended: bool,
    data_goes: bool,
    /// Children and status, or the words of the refusal.
    made: Result<(Vec<Value>, Map<String, Value>), String>,
}

/// ContextBrokers `x` and `y` in namespaces that all let this one in.
fn peers() -> Peers {
    let namespaces = ["city", "x", "y"];
    let (store, mut writer) = reflector::store();
    for namespace in namespaces {
        for name in ["x", "y"] {
            let metadata = json!({"name": name, "namespace": namespace, "uid": name});
            let broker = json!({"metadata": metadata, "spec": {"allowedNamespaces": ["*"]}});
            let broker: DeserializeGuard<ContextBroker> = serde_json::from_value(broker).unwrap();
            writer.apply_watcher_event(&watcher::Event::Apply(broker));
        }
    }
    let mut peers = Peers::new(
        Scope::Namespaces(namespaces.map(str::to_owned).to_vec()),
        Arc::default(),
    );
    peers.add::<ContextBroker>(store);
    peers
}

/// An operator's context over an API server that has every Secret.
fn context() -> (Context, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&asked);
    let line = service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let keys = [
            "host", "dbname", "username", "password", "token", "ca.crt", "x", "y",
        ];
        let mut data: Map<String, Value> = keys
            .into_iter()
            .map(|key| (key.to_owned(), encoded(&format!("{name}/{key}"))))
            .collect();
        data.insert("port".to_owned(), encoded("5432"));
        if path.contains("/configmaps/") {
            // As they are, not encoded, and a context whatever is asked for.
            data = ["x", "y"]
                .map(|key| {
                    (
                        key.to_owned(),
                        json!({"@context": {"a": format!("urn:{name}:{key}")}})
                            .to_string()
                            .into(),
                    )
                })
                .into_iter()
                .collect();
        }
        let secret = json!({"metadata": {"name": name}, "data": data});
        log.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        async move { Ok::<_, tower::BoxError>(Response::new(Body::from(secret.to_string().into_bytes()))) }
    });
    let metrics = Metrics::new();
    let layer = RequestLayer::new(metrics.clone(), LeaseClock::always(), Limits::default(), None);
    let client = kube::Client::new(ServiceBuilder::new().layer(&layer).service(line), "city");
    let look = mim_egress::Client::new(mim_egress::Policy::default());
    let triggers = Triggers::new(&[]);
    let timing = remote::Timing {
        period: Duration::from_mins(5),
        now: Timestamp::now,
        jitter: || 0.0,
    };
    let errands = Errands::new(
        look.clone(),
        LeaseClock::always(),
        metrics.clone(),
        Arc::clone(&triggers),
        timing,
    );
    let cx = Context {
        errands,
        peers: peers(),
        requests: Requests::new(client),
        index: Arc::default(),
        memories: Arc::default(),
        releases: Arc::new(Releases::parse(&catalogue(), None).unwrap()),
        settings: Settings::default(),
        probes: Probes::new(look, triggers, Duration::from_mins(1), Timestamp::now),
        metrics,
        now: Timestamp::now,
        jitter: || 0.0,
        instance: "test".to_owned(),
    };
    (cx, asked)
}

fn encoded(text: &str) -> Value {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text).into()
}

fn catalogue() -> String {
    let release = |name: &str, digit: &str| {
        let image = format!("{{repository: mim/x, digest: \"sha256:{}\"}}", digit.repeat(64));
        format!(
            "- name: \"{name}\"\n  postgresql: 15\n  images:\n    broker: {image}\n    postgis: {image}\n"
        )
    };
    format!("releases:\n{}{}", release("0.1.0", "a"), release("0.2.0", "b"))
}

/// The request by which a subscription is made.
fn asked_of_broker(plan: &SubscriptionPlan) -> String {
    let wanted = Subscriptions::wanted(plan);
    let step = Subscriptions::next_step(&wanted, &Found::nothing(), &Written::default());
    let request = step.unwrap().request;
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    format!("{} {} {:?} {body}", request.method, request.url, request.headers)
}

async fn effect<K: Kind>(spec: &Value, elsewhere: impl Fn(&K::Plan) -> Option<String>) -> Effect {
    let metadata = json!({
        "name": "vienna", "namespace": "city", "uid": "u", "generation": 1,
        "annotations": {"mim.city/confirm-deletion": "vienna"},
    });
    let object: K = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    let owner = Owner {
        kind: K::KIND,
        api_version: "mim.city/v1alpha1".to_owned(),
        namespace: "city".to_owned(),
        name: "vienna".to_owned(),
        uid: "u".to_owned(),
    };
    let (cx, asked) = context();
    let live = Live::default();
    let reader = Reader::new(&cx, &owner, live.clone());
    let inputs = object
        .dereference(&reader)
        .await
        .unwrap_or_else(|missing| panic!("{spec}: {}", missing.message));
    let plan = object.validate(inputs, &cx.releases);
    let asked_for = plan.as_ref().ok().and_then(&elsewhere);
    let has_errand = plan.as_ref().is_ok_and(|plan| K::errand(plan).is_some());
    assert_eq!(
        has_errand,
        asked_for.is_some(),
        "{}: what is asked for elsewhere is looked at",
        K::KIND
    );
    Effect {
        elsewhere: asked_for,
        read: asked.lock().unwrap().clone(),
        looked_at: cx.probes.target("u"),
        suspended: object.common().suspend,
        data_goes: object.data_goes(),
        made: plan
            .map(|plan| {
                let children = K::build(&plan).iter().map(|child| child.body.clone()).collect();
                (children, K::observe(&plan, &live).status)
            })
            .map_err(|refusal| refusal.to_string()),
    }
}

async fn effect_of(kind: &str, spec: &Value) -> Effect {
    match kind {
        "ContextBroker" => effect::<ContextBroker>(spec, |_| None).await,
        "ContextSubscription" => {
            effect::<ContextSubscription>(spec, |plan| Some(asked_of_broker(plan))).await
        }
        "UrbanDataPlatform" => effect::<UrbanDataPlatform>(spec, |_| None).await,
        other => panic!("{other} is new: say here how it is looked at"),
    }
}

/// Kind, and schema of its spec.
fn specs() -> Vec<(String, Value)> {
    let all = mim_crds::all()
        .into_iter()
        .map(|crd| serde_json::to_value(crd).unwrap());
    all.map(|crd| {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        (kind, schema["properties"]["spec"].clone())
    })
    .collect()
}

/// The spec in which a leaf is set, with what it needs around it.
fn in_place(kind: &str, path: &str, spec: &Value) -> Value {
    if kind == "ContextSubscription" {
        return of_subscription(path, spec);
    }
    let mut spec = spec.clone();
    if kind == "ContextBroker" && path.starts_with("spec.external.") {
        spec["engine"] = "External".into();
    }
    // What a platform says for its components.
    if kind == "UrbanDataPlatform" && spec.get("broker").is_none() {
        spec["broker"] = json!({});
    }
    spec
}

/// The spec of a ContextSubscription in which a leaf is set, as its rules want it.
fn of_subscription(path: &str, spec: &Value) -> Value {
    let in_endpoint = path
        .strip_prefix("spec.notification.endpoint.")
        .unwrap_or_default();
    let endpoint = match in_endpoint.split(['.', '[']).next() {
        Some("serviceRef") => json!({"serviceRef": {"path": "/x"}}),
        Some("credentialsSecretRef" | "notifierInfo") => json!({"url": "mqtts://a.example/x"}),
        _ => json!({"url": "https://a.example/x"}),
    };
    let mut whole = json!({"entities": [{"type": "x"}], "notification": {"endpoint": endpoint}});
    if path == "spec.notification.joinLevel" {
        whole["notification"]["join"] = "Flat".into();
    }
    merge(&mut whole, spec);
    if in_endpoint == "headers[].name" {
        whole["notification"]["endpoint"]["headers"][0]["value"] = "x".into();
    }
    let object = json!({"metadata": {"name": "vienna"}, "spec": whole});
    assert_eq!(validate_value("ContextSubscription", &object, None), [], "{path}");
    whole
}

#[tokio::test]
async fn every_leaf_of_every_spec_has_an_effect_or_a_reason_to_have_none() {
    let mut wrong = Vec::new();
    for (kind, schema) in specs() {
        let leaves = leaves("spec", &schema);
        assert!(leaves.len() > 40, "{kind}: only {} leaves", leaves.len());
        for Leaf { path, values } in leaves {
            let mut effects: Vec<(&Value, Effect)> = Vec::new();
            for value in &values {
                let effect = effect_of(&kind, &in_place(&kind, &path, value)).await;
                // A refusal says that a value is bad, not what it does. An engine without its section is one.
                if let Err(refusal) = &effect.made
                    && path != "spec.engine"
                {
                    wrong.push(format!("{kind} {path}: {value} is refused: {refusal}"));
                }
                effects.push((value, effect));
            }
            let alike = |same: fn(&Effect, &Effect) -> bool| {
                let pairs = effects.iter().enumerate();
                let mut pairs =
                    pairs.flat_map(|(at, one)| effects[..at].iter().map(move |other| (one, other)));
                let pair = pairs.find(|((_, one), (_, other))| same(one, other));
                pair.map(|((one, _), (other, _))| format!("{one} is as {other}"))
            };
            for (exceptions, alike, what) in [
                (WITHOUT_EFFECT, alike(|one, other| one == other), "has no effect"),
                (
                    NOT_ASKED_FOR,
                    alike(|one, other| one.elsewhere.is_some() && one.elsewhere == other.elsewhere),
                    "changes nothing that is asked for elsewhere",
                ),
            ] {
                let leaf = format!("{kind} {path}");
                let known = exceptions.iter().any(|(of, _)| *of == leaf);
                match (alike, known) {
                    (Some(pair), false) => wrong.push(format!("{leaf} {what}: {pair}")),
                    (None, true) => wrong.push(format!("{leaf} needs no exception any more")),
                    _ => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_field_that_has_no_effect_in_a_variant_is_let_in_there_for_its_default_and_says_so() {
    let variants = [
        (
            "external broker",
            json!({"engine": "External", "external": {"url": "https://a.example"}}),
        ),
        (
            "external database",
            json!({"storage": {"external": {"secretRef": {"name": "db"}}}}),
        ),
    ];
    let (kind, schema) = specs()
        .into_iter()
        .find(|(kind, _)| kind == "ContextBroker")
        .unwrap();
    for (variant, base) in variants {
        let mut without_effect = Vec::new();
        for leaf in leaves("spec", &schema) {
            let [one, other] = [leaf.values.first(), leaf.values.last()].map(|value| {
                let mut spec = base.clone();
                merge(&mut spec, value.unwrap());
                spec
            });
            let accepted = |spec: &Value| {
                let object = json!({"metadata": {"name": "vienna"}, "spec": spec});
                let object: ContextBroker = serde_json::from_value(object).unwrap();
                mim_crds::validate(&object, None).is_empty()
            };
            // Only what our own rules let in: a deep leaf of Kubernetes is judged where it is used.
            let of_kind = format!("{kind} {}", leaf.path);
            let has_one = WITHOUT_EFFECT.iter().all(|(path, _)| *path != of_kind);
            let is_ours = leaf.path.matches('.').count() == 1 && has_one;
            if is_ours
                && accepted(&one)
                && accepted(&other)
                && effect_of(&kind, &one).await == effect_of(&kind, &other).await
            {
                without_effect.push(leaf.path);
            }
        }
        let expected = IN_A_VARIANT.iter().find(|(of, _)| *of == variant).unwrap().1;
        without_effect.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(without_effect, expected, "{variant}");
        for path in expected {
            let field = &schema["properties"][path.trim_start_matches("spec.")];
            let words = field["description"].as_str().unwrap();
            assert!(
                words.contains("has no effect with"),
                "{path} does not say so: {words}"
            );
            assert!(
                field.get("default").is_some(),
                "{path} has no default: refuse it in a rule instead"
            );
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
