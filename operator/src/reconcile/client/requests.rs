//! The typed edge: one function per kind of request, each with its purpose.

use std::collections::BTreeSet;

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::{ApiResource, DeleteParams, ListParams, Preconditions, PropagationPolicy};
use kube::core::request::Error as RequestError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reconcile::child::MANAGER;
use crate::reconcile::request::Purpose;

const JSON: &str = "application/json";
/// Server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
/// The answer is the object's metadata alone (`PartialObjectMetadata`).
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// As `metadata.resourceVersion` of an apply: take the name only if it is free.
///
/// A version other than 0 is compared with that of the object where there is one, and passed over where there is none (k8s.io/apiserver,
/// `registry/generic/registry/store.go`). No object ever has version 1: etcd's first revision is its empty store. `"0"`
/// would not do: for most kinds it means an update without a condition and overwrites whatever is there.
pub const ONLY_IF_ABSENT: &str = "1";

/// The way to the API server: every read of a pass and every write of the operator. A clone uses the same connections.
///
/// Names and namespaces become parts of a path. Some come from specs (a Secret that is named), so each is checked first:
/// what could mean another path is an error of kind [`kube::Error::BuildRequest`], and nothing is sent.
#[derive(Clone)]
pub struct Requests {
    client: kube::Client,
}

impl Requests {
    /// Over this client.
    #[must_use]
    pub const fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The client, for watches.
    #[must_use]
    pub const fn client(&self) -> &kube::Client {
        &self.client
    }

    /// One object; `None` when it does not exist.
    pub async fn get<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        purpose: Purpose,
    ) -> Result<Option<T>, kube::Error> {
        let request = Request::get(object(resource, namespace, name)?).header(ACCEPT, JSON);
        optional(self.send(request, Vec::new(), purpose).await)
    }

    /// One object as it is; `None` when it does not exist.
    pub async fn get_value(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        purpose: Purpose,
    ) -> Result<Option<Value>, kube::Error> {
        self.get(resource, namespace, name, purpose).await
    }

    /// The metadata of one object (`T` sees `metadata` only); `None` when it does not exist.
    pub async fn get_meta<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        purpose: Purpose,
    ) -> Result<Option<T>, kube::Error> {
        let request = Request::get(object(resource, namespace, name)?).header(ACCEPT, METADATA);
        optional(self.send(request, Vec::new(), purpose).await)
    }

    /// The objects of a kind that the parameters select, at most `limit` of them where one is given.
    pub async fn list<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        params: &ListParams,
        purpose: Purpose,
    ) -> Result<Vec<T>, kube::Error> {
        #[derive(Deserialize)]
        struct Items<T> {
            items: Vec<T>,
        }
        let list = kube::core::Request::new(collection(resource, namespace)?).list(params);
        let mut request = list.map_err(kube::Error::BuildRequest)?;
        request.extensions_mut().insert(purpose);
        self.client
            .request::<Items<T>>(request)
            .await
            .map(|list| list.items)
    }

    /// Server-side apply with [`MANAGER`], forced: what we render is ours. Answers with the object.
    ///
    /// With `metadata.uid` in the body it fails unless the object of that uid is there: 422 when there is another of that
    /// name, 409 when there is none. With
    /// `metadata.resourceVersion` [`ONLY_IF_ABSENT`] it fails (409) unless the name is free.
    pub async fn apply<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: &impl Serialize,
        purpose: Purpose,
    ) -> Result<T, kube::Error> {
        let uri = format!(
            "{}?fieldManager={MANAGER}&force=true",
            object(resource, namespace, name)?
        );
        let request = Request::patch(uri)
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, APPLY);
        self.send(request, json(body)?, purpose).await
    }

    /// Server-side apply of the status subresource. Answers with the object.
    ///
    /// The manager is the same as for the object: the API server keeps the fields of each subresource apart.
    pub async fn apply_status(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: &impl Serialize,
    ) -> Result<kube::core::PartialObjectMeta, kube::Error> {
        let uri = format!(
            "{}/status?fieldManager={MANAGER}&force=true",
            object(resource, namespace, name)?
        );
        let request = Request::patch(uri)
            .header(ACCEPT, METADATA)
            .header(CONTENT_TYPE, APPLY);
        self.send(request, json(body)?, Purpose::Status).await
    }

    /// A new object; fails (409 `AlreadyExists`) when the name is taken. Answers with the object.
    pub async fn create<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        body: &impl Serialize,
        purpose: Purpose,
    ) -> Result<T, kube::Error> {
        let uri = format!("{}?fieldManager={MANAGER}", collection(resource, namespace)?);
        let request = Request::post(uri).header(ACCEPT, JSON).header(CONTENT_TYPE, JSON);
        self.send(request, json(body)?, purpose).await
    }

    /// An event (`events.k8s.io/v1`). Best effort is the caller's business.
    pub async fn create_event(&self, namespace: &str, body: &impl Serialize) -> Result<(), kube::Error> {
        let resource = ApiResource {
            group: "events.k8s.io".into(),
            version: "v1".into(),
            api_version: "events.k8s.io/v1".into(),
            kind: "Event".into(),
            plural: "events".into(),
        };
        self.create::<Value>(&resource, namespace, body, Purpose::Event)
            .await
            .map(drop)
    }

    /// The whole object, with the resource version that was read: fails (409 `Conflict`) when it has changed since.
    pub async fn update<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: &impl Serialize,
        purpose: Purpose,
    ) -> Result<T, kube::Error> {
        let uri = format!("{}?fieldManager={MANAGER}", object(resource, namespace, name)?);
        let request = Request::put(uri).header(ACCEPT, JSON).header(CONTENT_TYPE, JSON);
        self.send(request, json(body)?, purpose).await
    }

    /// A JSON merge patch (RFC 7386). With `metadata.resourceVersion` in it, it fails on an object that has changed
    /// (409); with `metadata.uid`, on another object of that name (422).
    pub async fn merge_patch<T: DeserializeOwned>(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        patch: &impl Serialize,
        purpose: Purpose,
    ) -> Result<T, kube::Error> {
        let uri = format!("{}?fieldManager={MANAGER}", object(resource, namespace, name)?);
        let request = Request::patch(uri)
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, MERGE);
        self.send(request, json(patch)?, purpose).await
    }

    /// Deletes the object of that uid, its dependents in the background. Fails with 404 when there is none of that name, with 409
    /// when the one of that name is another. `Ok` says that it is gone or going.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        uid: &str,
        purpose: Purpose,
    ) -> Result<(), kube::Error> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let request = Request::delete(object(resource, namespace, name)?)
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, JSON);
        self.send::<Value>(request, json(&params)?, purpose)
            .await
            .map(drop)
    }

    /// The plurals that the API server serves in a group and version; `None` when it does not know the group, which
    /// is how a CRD that is not there yet looks. Every authenticated client may ask this.
    pub async fn served(&self, group: &str, version: &str) -> Result<Option<BTreeSet<String>>, kube::Error> {
        let request = Request::get(format!("/apis/{group}/{version}")).header(ACCEPT, JSON);
        let list: Option<APIResourceList> =
            optional(self.send(request, Vec::new(), Purpose::Discovery).await)?;
        Ok(list.map(|list| list.resources.into_iter().map(|resource| resource.name).collect()))
    }

    /// The version of the API server.
    pub async fn server_version(&self) -> Result<Info, kube::Error> {
        self.send(
            Request::get("/version").header(ACCEPT, JSON),
            Vec::new(),
            Purpose::Discovery,
        )
        .await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
        purpose: Purpose,
    ) -> Result<T, kube::Error> {
        let request = request
            .extension(purpose)
            .body(body)
            .map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

fn optional<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, kube::Error> {
    serde_json::to_vec(body).map_err(|error| kube::Error::BuildRequest(RequestError::SerializeBody(error)))
}

fn collection(resource: &ApiResource, namespace: &str) -> Result<String, kube::Error> {
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    segment("namespace", namespace)?;
    Ok(format!(
        "/{root}/{}/namespaces/{namespace}/{}",
        resource.api_version, resource.plural
    ))
}

fn object(resource: &ApiResource, namespace: &str, name: &str) -> Result<String, kube::Error> {
    segment("name", name)?;
    Ok(format!("{}/{name}", collection(resource, namespace)?))
}

/// Accepts what can be one part of a path and nothing else: the letters of DNS names, which are the names of every kind that we
/// touch. `..`, `/`, `?`, `%` and the empty name (it would turn a GET into a LIST) are refused.
fn segment(what: &str, text: &str) -> Result<(), kube::Error> {
    let is_plain = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && text.bytes().any(|byte| byte != b'.');
    if is_plain {
        return Ok(());
    }
    let message = format!("{what} {text:?} is not a DNS name: write lower-case letters, digits, '-' and '.'");
    Err(kube::Error::BuildRequest(RequestError::Validation(message)))
}
