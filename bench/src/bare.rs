//! A client that does nothing but send: no store, no watch, no second try. It reads whole answers, as anybody must.

use bytes::Bytes;
use http::{Method, Request, header};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

use crate::error::Error;

/// `Content-Type` of a JSON merge patch.
pub const MERGE: &str = "application/merge-patch+json";
/// `Content-Type` of a new object, and `Accept` of a whole one.
pub const JSON: &str = "application/json";
/// `Accept` of the metadata alone.
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The way to the API server. A clone uses the same connections.
#[derive(Clone)]
pub struct Bare {
    client: Client,
}

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// HTTP method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// `Content-Type`, where there is a body.
    pub content_type: Option<&'a str>,
    /// `Accept`
    pub accept: Option<&'a str>,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

impl Bare {
    /// Over this client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends, and reads the answer to its end; anything but 2xx is an error.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<Bytes, Error> {
        let mut request = Request::builder()
            .method(outgoing.method.clone())
            .uri(outgoing.target);
        if let Some(content_type) = outgoing.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(accept) = outgoing.accept {
            request = request.header(header::ACCEPT, accept);
        }
        let request = request
            .body(Body::from(outgoing.body))
            .map_err(kube::Error::HttpError)?;
        let answer = self.client.send(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect_bytes().await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Error::Answer {
            method: outgoing.method.to_string(),
            target: outgoing.target.to_owned(),
            status: status.as_u16(),
            body: String::from_utf8_lossy(&body).chars().take(400).collect(),
        })
    }

    /// A new object; answers with its uid.
    pub async fn create(&self, collection: &str, object: &serde_json::Value) -> Result<String, Error> {
        let answer = self
            .send(Outgoing {
                method: &Method::POST,
                target: collection,
                content_type: Some(JSON),
                accept: Some(METADATA),
                body: object.to_string().into_bytes(),
            })
            .await?;
        uid(&answer)
    }

    /// Merges into the status of an object.
    pub async fn merge_status(&self, object: &str, status: &serde_json::Value) -> Result<(), Error> {
        let body = serde_json::json!({"status": status}).to_string().into_bytes();
        self.send(Outgoing {
            method: &Method::PATCH,
            target: &format!("{object}/status"),
            content_type: Some(MERGE),
            accept: Some(METADATA),
            body,
        })
        .await
        .map(drop)
    }
}

/// `metadata.uid` of an answer.
pub fn uid(answer: &[u8]) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        uid: String,
    }
    serde_json::from_slice::<Object>(answer)
        .map(|object| object.metadata.uid)
        .map_err(|problem| Error::Unexpected(format!("an answer of the API server has no uid: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_read_from_whole_objects_and_from_metadata_alone() {
        assert_eq!(
            uid(br#"{"kind":"X","metadata":{"name":"a","uid":"u-1"},"spec":{}}"#).unwrap(),
            "u-1"
        );
        assert!(uid(br#"{"metadata":{}}"#).is_err());
    }
}
