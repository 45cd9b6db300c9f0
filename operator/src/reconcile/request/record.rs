//! What one request is: parsed from the HTTP request alone, as the API server parses it.

use std::fmt;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, header};
use kube::client::Body;

/// What a request does, in the words of RBAC where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object by name, or a path that is no resource.
    Get,
    /// All objects of a kind.
    List,
    /// A stream of changes.
    Watch,
    /// A new object.
    Create,
    /// PUT: a whole object, with the resource version that was read.
    Update,
    /// JSON patch, merge patch.
    Patch,
    /// Server-side apply.
    Apply,
    /// One object by name.
    Delete,
    /// All objects of a kind; the operator never sends it.
    DeleteCollection,
}

impl Verb {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// The verbs that RBAC asks for: apply needs `patch`, and `create` where the object is not there yet.
    #[must_use]
    pub const fn rbac(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["get"],
            Self::List => &["list"],
            Self::Watch => &["watch"],
            Self::Create => &["create"],
            Self::Update => &["update"],
            Self::Patch => &["patch"],
            Self::Apply => &["patch", "create"],
            Self::Delete => &["delete"],
            Self::DeleteCollection => &["deletecollection"],
        }
    }

    /// Whether it can change anything.
    #[must_use]
    pub const fn mutates(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// Why a request is sent. It travels in the extensions of the HTTP request; [`super::super::client::Requests`] puts it
/// there. A request that brings none gets the one that fits its path and verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// To fill and follow a store: lists and watches.
    Watch,
    /// To learn what the API server serves: versions, groups, CRDs.
    Discovery,
    /// To read what a spec names.
    Dereference,
    /// To see who owns an object before it is applied for the first time.
    Ownership,
    /// To make a child as it must be.
    Apply,
    /// To delete a child that must no longer exist.
    Prune,
    /// To write the status of one of our objects.
    Status,
    /// To make data go with its object, or outlive it.
    Retention,
    /// To hold an object that is not to go before what it keeps elsewhere, or to let it go.
    Finalizer,
    /// To read a Secret by name, or to create one with credentials.
    Secret,
    /// One effect of a machine of steps: a preflight, a restart, an annotation that was acted upon.
    Step,
    /// To read events that tell why a child is not ready.
    Explain,
    /// To tell users what happened.
    Event,
    /// To be elected and to stay so.
    Lease,
}

impl Purpose {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "Watch",
            Self::Discovery => "Discovery",
            Self::Dereference => "Dereference",
            Self::Ownership => "Ownership",
            Self::Apply => "Apply",
            Self::Prune => "Prune",
            Self::Status => "Status",
            Self::Retention => "Retention",
            Self::Finalizer => "Finalizer",
            Self::Secret => "Secret",
            Self::Step => "Step",
            Self::Explain => "Explain",
            Self::Event => "Event",
            Self::Lease => "Lease",
        }
    }

    fn default_for(verb: Verb, path: &Path) -> Self {
        match (
            path.group.as_str(),
            path.resource.as_str(),
            path.subresource.as_deref(),
            verb,
        ) {
            (_, "", ..) | ("apiextensions.k8s.io", ..) => Self::Discovery,
            ("coordination.k8s.io", "leases", ..) => Self::Lease,
            ("" | "events.k8s.io", "events", _, verb) if verb.mutates() => Self::Event,
            (_, _, _, Verb::List | Verb::Watch) => Self::Watch,
            ("", "secrets", ..) => Self::Secret,
            (_, _, _, Verb::Get) => Self::Dereference,
            (_, _, Some("status"), _) => Self::Status,
            (_, _, _, Verb::Delete | Verb::DeleteCollection) => Self::Prune,
            _ => Self::Apply,
        }
    }
}

/// One request, as it was about to leave.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// 1 for the first request of this client; never used twice.
    pub number: u64,
    /// What it does.
    pub verb: Verb,
    /// Why.
    pub purpose: Purpose,
    /// API group, empty for core and for what is no resource.
    pub group: String,
    /// API version, empty for what is no resource.
    pub version: String,
    /// Plural, empty for what is no resource.
    pub resource: String,
    /// `status`, `finalizers`, `scale` …
    pub subresource: Option<String>,
    /// Namespace, where the request has one.
    pub namespace: Option<String>,
    /// Name of the object, where the request has one.
    pub name: Option<String>,
    /// HTTP method, for a replay.
    pub method: Method,
    /// Path and query, without the address of the API server.
    pub target: String,
    /// `Content-Type` of the body.
    pub content_type: Option<String>,
    /// `Accept`: whether the whole object or its metadata was asked for.
    pub accept: Option<String>,
    /// The body; kept only while somebody observes. It may hold credentials, so [`fmt::Debug`] tells its length only.
    pub body: Option<Bytes>,
}

impl Record {
    /// Reads a request. With `keep_body` the record shares the body's bytes.
    pub(super) fn read(number: u64, request: &Request<Body>, keep_body: bool) -> Self {
        let path = Path::parse(request.uri().path());
        let content_type = header_text(request, &header::CONTENT_TYPE);
        let verb = verb(
            request.method(),
            request.uri().query(),
            &path,
            content_type.as_deref(),
        );
        let purpose = request
            .extensions()
            .get::<Purpose>()
            .copied()
            .unwrap_or_else(|| Purpose::default_for(verb, &path));
        let target = request
            .uri()
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
        let body = if keep_body { body_of(request) } else { None };
        Self {
            number,
            verb,
            purpose,
            group: path.group,
            version: path.version,
            resource: path.resource,
            subresource: path.subresource,
            namespace: path.namespace,
            name: path.name,
            method: request.method().clone(),
            target,
            content_type,
            accept: header_text(request, &header::ACCEPT),
            body,
        }
    }

    /// Whether it can change anything.
    #[must_use]
    pub const fn mutates(&self) -> bool {
        self.verb.mutates()
    }

    /// Whether it may only be sent while this process holds the lease: every change, but for the lease itself,
    /// events (they tell, they steer nothing) and reviews of access (they create nothing).
    #[must_use]
    pub fn needs_lease(&self) -> bool {
        self.mutates()
            && !matches!(
                (self.group.as_str(), self.resource.as_str()),
                ("coordination.k8s.io", "leases")
                    | ("" | "events.k8s.io", "events")
                    | ("authorization.k8s.io" | "authentication.k8s.io", _)
            )
    }

    /// `group/resource/subresource` without what is empty, as in a metric's label; for what is no resource the
    /// path itself, which the operator takes from a fixed few.
    #[must_use]
    pub fn resource_label(&self) -> String {
        if self.resource.is_empty() {
            return self.target.split('?').next().unwrap_or_default().to_owned();
        }
        let mut label = String::with_capacity(48);
        for part in [&self.group, &self.resource] {
            if !part.is_empty() {
                if !label.is_empty() {
                    label.push('/');
                }
                label.push_str(part);
            }
        }
        if let Some(subresource) = &self.subresource {
            label.push('/');
            label.push_str(subresource);
        }
        label
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.number, self)?;
        if let Some(body) = &self.body {
            write!(f, " ({} bytes)", body.len())?;
        }
        Ok(())
    }
}

/// `apply apps/deployments city/vienna-broker (Apply)`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.resource_label())?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}")?,
            (Some(one), None) | (None, Some(one)) => write!(f, " {one}")?,
            (None, None) => {}
        }
        write!(f, " ({})", self.purpose.as_str())
    }
}

fn header_text(request: &Request<Body>, name: &header::HeaderName) -> Option<String> {
    request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// The bytes of a body that is already whole, which is how kube sends every one.
fn body_of(request: &Request<Body>) -> Option<Bytes> {
    let bytes = request.body().try_clone()?.collect_bytes().now_or_never()?.ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

fn verb(method: &Method, query: Option<&str>, path: &Path, content_type: Option<&str>) -> Verb {
    match method.as_str() {
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" if content_type.is_some_and(|media| media.starts_with("application/apply-patch+")) => {
            Verb::Apply
        }
        "PATCH" => Verb::Patch,
        "DELETE" if path.name.is_none() => Verb::DeleteCollection,
        "DELETE" => Verb::Delete,
        _ if path.resource.is_empty() => Verb::Get,
        _ if query.is_some_and(asks_to_watch) => Verb::Watch,
        _ if path.name.is_none() => Verb::List,
        _ => Verb::Get,
    }
}

/// Whether the query of a GET asks for a watch.
pub(in crate::reconcile) fn asks_to_watch(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// The parts of a path, by the API server's own rules (`RequestInfoFactory` of k8s.io/apiserver):
/// `/api/v1/…` and `/apis/<group>/<version>/…`, then `namespaces/<namespace>/` where the resource is namespaced.
#[derive(Debug, Default, PartialEq, Eq)]
struct Path {
    group: String,
    version: String,
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
    subresource: Option<String>,
}

impl Path {
    fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        // An API server behind a proxy may be mounted under a prefix: the first `api` or `apis` counts.
        let start = parts.iter().position(|part| matches!(*part, "api" | "apis"));
        let (group, version, rest) = match start.and_then(|start| parts.get(start..)) {
            Some(["api", version, rest @ ..]) => ("", *version, rest),
            Some(["apis", group, version, rest @ ..]) => (*group, *version, rest),
            _ => return Self::default(),
        };
        let (namespace, rest) = match rest {
            [] => return Self::default(),
            // The Namespace itself, not something in it.
            ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let part = |index: usize| rest.get(index).map(|part| (*part).to_owned());
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace,
            resource: part(0).unwrap_or_default(),
            name: part(1),
            subresource: part(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(method: &str, uri: &str, content_type: Option<&str>) -> Record {
        let mut builder = Request::builder().method(method).uri(uri);
        if let Some(content_type) = content_type {
            builder = builder.header("content-type", content_type);
        }
        Record::read(7, &builder.body(Body::from(b"{}".to_vec())).unwrap(), true)
    }

    #[test]
    fn a_path_is_read_as_the_api_server_reads_it() {
        for (path, display) in [
            ("/api/v1/namespaces/city/secrets/a", "get secrets city/a (Secret)"),
            (
                "/apis/mim.city/v1alpha1/contextbrokers?watch=true&resourceVersion=1",
                "watch mim.city/contextbrokers (Watch)",
            ),
            (
                "/apis/apps/v1/namespaces/city/deployments?labelSelector=a%3Db&",
                "list apps/deployments city (Watch)",
            ),
            ("/api/v1/namespaces/city", "get namespaces city (Dereference)"),
            ("/api/v1/namespaces", "list namespaces (Watch)"),
            (
                "/api/v1/namespaces/city/status",
                "get namespaces/status city (Dereference)",
            ),
            ("/version", "get /version (Discovery)"),
            ("/apis", "get /apis (Discovery)"),
            (
                "/apis/mim.city/v1alpha1",
                "get /apis/mim.city/v1alpha1 (Discovery)",
            ),
            ("/readyz?verbose", "get /readyz (Discovery)"),
            (
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/contextbrokers.mim.city",
                "get apiextensions.k8s.io/customresourcedefinitions contextbrokers.mim.city (Discovery)",
            ),
            (
                "https://10.0.0.1:6443/k8s/cluster/api/v1/namespaces/city/pods/a",
                "get pods city/a (Dereference)",
            ),
        ] {
            assert_eq!(record("GET", path, None).to_string(), display, "{path}");
        }
    }

    #[test]
    fn a_verb_is_told_from_method_and_content_type() {
        let object = "/apis/apps/v1/namespaces/city/deployments/a";
        for (method, path, content_type, verb) in [
            ("PATCH", object, Some("application/apply-patch+yaml"), Verb::Apply),
            ("PATCH", object, Some("application/json-patch+json"), Verb::Patch),
            ("PATCH", object, Some("application/merge-patch+json"), Verb::Patch),
            ("PUT", object, None, Verb::Update),
            ("DELETE", object, None, Verb::Delete),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/city/deployments",
                None,
                Verb::DeleteCollection,
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/city/deployments",
                None,
                Verb::Create,
            ),
        ] {
            let record = record(method, path, content_type);
            assert_eq!(record.verb, verb);
            assert!(record.mutates() && record.needs_lease(), "{record}");
        }
    }

    #[test]
    fn a_purpose_is_taken_from_the_request_before_it_is_guessed() {
        let mut request = Request::get("/api/v1/namespaces/city/pods/a")
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(Purpose::Ownership);
        assert_eq!(Record::read(1, &request, false).purpose, Purpose::Ownership);
        let status = "/apis/mim.city/v1alpha1/namespaces/city/contextbrokers/vienna/status";
        assert_eq!(
            record("PATCH", status, Some("application/apply-patch+yaml")).purpose,
            Purpose::Status
        );
        assert_eq!(
            record("POST", "/apis/events.k8s.io/v1/namespaces/city/events", None).purpose,
            Purpose::Event
        );
        assert_eq!(
            record(
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/mim/leases/mim-operator",
                None
            )
            .purpose,
            Purpose::Lease
        );
    }

    #[test]
    fn the_lease_events_and_access_reviews_need_no_lease() {
        for path in [
            "/apis/coordination.k8s.io/v1/namespaces/mim/leases",
            "/apis/events.k8s.io/v1/namespaces/mim/events",
            "/api/v1/namespaces/mim/events",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        ] {
            assert!(!record("POST", path, None).needs_lease(), "{path}");
        }
        assert!(!record("GET", "/api/v1/namespaces/city/pods/a", None).needs_lease());
    }

    #[test]
    fn a_record_never_prints_the_body_it_keeps() {
        let record = Record {
            body: Some(Bytes::from_static(b"{\"password\":\"hunter2\"}")),
            ..record("POST", "/api/v1/namespaces/city/secrets", None)
        };
        let printed = format!("{record:?}");
        assert_eq!(printed, "#7 create secrets city (Secret) (22 bytes)");
    }

    #[test]
    fn the_body_is_kept_only_when_asked_for() {
        let request = Request::post("/api/v1/namespaces/city/secrets")
            .body(Body::from(b"x".to_vec()))
            .unwrap();
        assert_eq!(
            Record::read(1, &request, true).body,
            Some(Bytes::from_static(b"x"))
        );
        assert_eq!(Record::read(1, &request, false).body, None);
    }
}
