//! One notification, sent: by HTTP (clause 6.3.9), or by MQTT (clause 7.2).

use crate::notify::message::Message;
use crate::notify::mqtt;
use crate::subscription::endpoint::{Endpoint, Transport};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use http::{HeaderMap, Method, StatusCode};
use mim_egress::{Allow, Client, KeepAlive, Request};
use std::time::Duration;
use url::Url;

/// How long a receiver has where the subscription does not say.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer is read: nothing in it matters.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends notifications, within what the configuration allows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    http: KeepAlive,
    dial: Client,
    allow: Allow,
}

/// Why a notification was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The receiver was not reached, or must not be.
    #[error("{0}")]
    NotSent(String),
    /// The receiver answered with another status than success.
    #[error("the receiver answered with status {0}")]
    Status(u16),
}

impl Failed {
    /// In one word, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::Status(_) => "status",
        }
    }
}

impl Sender {
    /// Sends through a client; Services of `allow` may be reached.
    #[must_use]
    pub fn new(client: Client, allow: Allow) -> Self {
        Self {
            http: KeepAlive::new(client.clone(), allow.clone()),
            dial: client,
            allow,
        }
    }

    /// Sends one notification; returns when the receiver has taken it, or has not within its time.
    pub async fn send(&self, endpoint: &Endpoint, message: &Message) -> Result<(), Failed> {
        let timeout = endpoint.timeout.map_or(TIMEOUT, Duration::from_millis);
        match endpoint.transport().map_err(|why| Failed::NotSent(why.0))? {
            Transport::Http => self.post(endpoint, message, timeout).await,
            Transport::Mqtt(to) => {
                let body = mqtt::body(endpoint, message);
                mqtt::publish(&self.dial, &self.allow, &to, body, timeout).await
            }
        }
    }

    async fn post(&self, endpoint: &Endpoint, message: &Message, timeout: Duration) -> Result<(), Failed> {
        let url = Url::parse(&endpoint.uri).map_err(|e| Failed::NotSent(e.to_string()))?;
        let request = Request {
            method: Method::POST,
            headers: headers(endpoint, message)?,
            body: Bytes::from(message.body.clone()),
            timeout,
            max_body: MAX_ANSWER,
            ..Request::new(url)
        };
        match self.http.send(request).await {
            Ok(response) if response.status.is_success() => Ok(()),
            Ok(response) => Err(Failed::Status(StatusCode::as_u16(&response.status))),
            Err(error) => Err(Failed::NotSent(error.to_string())),
        }
    }
}

fn headers(endpoint: &Endpoint, message: &Message) -> Result<HeaderMap, Failed> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(message.content_type));
    let link = message.link.iter().map(|link| (LINK.as_str(), link.as_str()));
    let ours = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let theirs = endpoint
        .receiver_info
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_str()));
    for (name, value) in link.chain(theirs).chain(ours) {
        let unusable = || Failed::NotSent(format!("{name} cannot be a header"));
        let name = HeaderName::try_from(name).map_err(|_| unusable())?;
        let value = HeaderValue::try_from(value).map_err(|_| unusable())?;
        headers.insert(name, value);
    }
    Ok(headers)
}
