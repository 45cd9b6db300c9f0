//! Where notifications go (clause 5.2.15): HTTP, or MQTT by what stands before the `://`.

use crate::model::json::Json;
use crate::model::{Refusal, refuse};
use crate::subscription::read::Object;
use serde::{Deserialize, Serialize};
use url::Url;

/// The longest URL, and how many headers and other pairs there may be, and how long they are.
const MAX_URL: usize = 2048;
const MAX_PAIRS: usize = 50;
const MAX_PAIR: usize = 8192;
/// The longest timeout and cooldown, in milliseconds.
const MAX_TIMEOUT: u64 = 60_000;
const MAX_COOLDOWN: u64 = 24 * 3600 * 1000;
/// The longest topic of MQTT (MQTT 5.0, 1.5.4).
const MAX_TOPIC: usize = 1024;

/// Where notifications go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The URL, as sent.
    pub uri: String,
    /// The media type, as sent; absent: `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Accept>,
    /// Milliseconds to wait for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Milliseconds in which nothing is sent after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<u64>,
    /// Headers for the receiver, or members of the metadata of an MQTT message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receiver_info: Vec<Pair>,
    /// How this broker is to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifier_info: Vec<Pair>,
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
}

// Values of headers are secrets, mostly.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.key)
    }
}

/// The media types of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accept {
    /// The context is told in a Link header.
    #[serde(rename = "application/json")]
    Json,
    /// It is in the body.
    #[serde(rename = "application/ld+json")]
    LdJson,
    /// A `FeatureCollection`.
    #[serde(rename = "application/geo+json")]
    GeoJson,
}

impl Accept {
    /// As in `Content-Type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::LdJson => "application/ld+json",
            Self::GeoJson => "application/geo+json",
        }
    }
}

/// How a notification travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A POST.
    Http,
    /// A message on a topic.
    Mqtt(Mqtt),
}

/// How a message is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mqtt {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether by TLS.
    pub tls: bool,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// The topic.
    pub topic: String,
    /// Version 5.0, or 3.1.1.
    pub version_5: bool,
    /// 0, 1 or 2.
    pub qos: u8,
}

impl Endpoint {
    /// Reads and checks what a client sent.
    pub(super) fn read(value: &Json) -> Result<Self, Refusal> {
        let endpoint = Object::of(value, "notification.endpoint")?;
        let found = Self {
            uri: endpoint.need_text("uri", MAX_URL)?,
            accept: endpoint.word("accept", |word| match word {
                "application/json" => Some(Accept::Json),
                "application/ld+json" => Some(Accept::LdJson),
                "application/geo+json" => Some(Accept::GeoJson),
                _ => None,
            })?,
            timeout: endpoint.number("timeout", MAX_TIMEOUT)?,
            cooldown: endpoint.number("cooldown", MAX_COOLDOWN)?,
            receiver_info: pairs(&endpoint, "receiverInfo")?,
            notifier_info: pairs(&endpoint, "notifierInfo")?,
        };
        endpoint.only(&[
            "uri",
            "accept",
            "timeout",
            "cooldown",
            "receiverInfo",
            "notifierInfo",
        ])?;
        found.transport()?;
        Ok(found)
    }

    /// Puts back the values that a client was not shown, where it sends back what it was shown.
    pub(super) fn keep_hidden(&mut self, before: &Self) {
        if without_password(&before.uri) == self.uri {
            self.uri.clone_from(&before.uri);
        }
        let lists = [
            (&mut self.receiver_info, &before.receiver_info),
            (&mut self.notifier_info, &before.notifier_info),
        ];
        for (pairs, before) in lists {
            for pair in pairs.iter_mut().filter(|pair| pair.value == HIDDEN) {
                let same = |other: &&Pair| other.key.eq_ignore_ascii_case(&pair.key);
                if let Some(same) = before.iter().find(same) {
                    pair.value.clone_from(&same.value);
                }
            }
        }
    }

    /// What is shown in place of a secret is no secret: a copy of what was shown would be told with it, and refused by its receiver.
    pub(super) fn has_no_stand_in(&self) -> Result<(), Refusal> {
        for pair in self.receiver_info.iter().chain(&self.notifier_info) {
            if pair.value == HIDDEN && is_secret(&pair.key) {
                return refuse(format!(
                    "notification.endpoint: {HIDDEN} stands for a value of {:?} that is not shown; send the value itself",
                    pair.key
                ));
            }
        }
        let url = Url::parse(&self.uri).ok();
        if url.is_some_and(|url| url.password() == Some(HIDDEN)) {
            return refuse(format!(
                "notification.endpoint.uri: {HIDDEN} stands for a password that is not shown; send the password itself"
            ));
        }
        Ok(())
    }

    /// How notifications travel. An endpoint that was read has one.
    pub fn transport(&self) -> Result<Transport, Refusal> {
        let url = Url::parse(&self.uri)
            .map_err(|e| Refusal(format!("notification.endpoint.uri is not a URL: {e}")))?;
        match url.scheme() {
            "http" | "https" if url.has_host() && url.username().is_empty() && url.password().is_none() => {
                Ok(Transport::Http)
            }
            "http" | "https" => refuse(
                "notification.endpoint.uri needs a host, and no user: send credentials as a header in receiverInfo",
            ),
            "mqtt" | "mqtts" => Ok(Transport::Mqtt(self.mqtt(&url)?)),
            other => refuse(format!(
                "notification.endpoint.uri: {other:?} is not served; write http, https, mqtt or mqtts"
            )),
        }
    }

    fn mqtt(&self, url: &Url) -> Result<Mqtt, Refusal> {
        let tls = url.scheme() == "mqtts";
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| Refusal("notification.endpoint.uri is not UTF-8".to_owned()))
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let topic = decoded(url.path().strip_prefix('/').unwrap_or_default())?;
        if url.fragment().is_some() || url.query().is_some() {
            return refuse("notification.endpoint.uri: a topic has no # and no ?");
        }
        if host.is_empty() || topic.is_empty() || topic.len() > MAX_TOPIC || topic.contains(['+', '#', '\0'])
        {
            return refuse(
                "notification.endpoint.uri needs a host and a topic without wildcards: mqtt://host/topic",
            );
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user)?, decoded(password.unwrap_or_default())?)),
        };
        let info = |key: &str| {
            self.notifier_info
                .iter()
                .find(|p| p.key == key)
                .map(|p| p.value.as_str())
        };
        let version_5 = match info("MQTT-Version") {
            None | Some("mqtt5.0") => true,
            Some("mqtt3.1.1") => false,
            Some(_) => return refuse("notifierInfo: MQTT-Version is mqtt3.1.1 or mqtt5.0"),
        };
        let qos = match info("MQTT-QoS") {
            None | Some("0") => 0,
            Some("1") => 1,
            Some("2") => 2,
            Some(_) => return refuse("notifierInfo: MQTT-QoS is 0, 1 or 2"),
        };
        Ok(Mqtt {
            host,
            port: url.port().unwrap_or(if tls { 8883 } else { 1883 }),
            tls,
            credentials,
            topic,
            version_5,
            qos,
        })
    }
}

/// Pairs of key and value. Those for a receiver become headers, so they must be able to be one.
fn pairs(endpoint: &Object<'_>, name: &str) -> Result<Vec<Pair>, Refusal> {
    let Some(items) = endpoint.array(name, MAX_PAIRS)? else {
        return Ok(Vec::new());
    };
    let mut found: Vec<Pair> = Vec::with_capacity(items.len());
    for item in items {
        let pair = Object::of(item, name)?;
        let (key, value) = (pair.need_text("key", 256)?, pair.need_text("value", MAX_PAIR)?);
        pair.only(&["key", "value"])?;
        let is_header =
            http::HeaderName::try_from(&key).is_ok() && http::HeaderValue::try_from(&value).is_ok();
        if !is_header {
            return refuse(format!("{name}: {key:?} and its value cannot be an HTTP header"));
        }
        if found.iter().any(|other| other.key.eq_ignore_ascii_case(&key)) {
            return refuse(format!("{name}: {key:?} is there twice"));
        }
        found.push(Pair { key, value });
    }
    if name == "receiverInfo"
        && let Some(ours) = found.iter().find(|pair| is_ours(&pair.key))
    {
        return refuse(format!("receiverInfo: {:?} is set by the broker", ours.key));
    }
    Ok(found)
}

/// What is shown in place of a value that may open something.
pub(super) const HIDDEN: &str = "***";

/// Names whose values open nothing. Any other name may be that of a secret, as receivers name theirs as they like.
const SHOWN: [&str; 15] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-language",
    "content-type",
    "fiware-service",
    "fiware-servicepath",
    "link",
    "mqtt-qos",
    "mqtt-version",
    "ngsild-scope",
    "ngsild-tenant",
    "prefer",
    "traceparent",
    "user-agent",
];

/// Whether values of this name may open something.
pub(super) fn is_secret(key: &str) -> bool {
    !SHOWN.contains(&key.to_ascii_lowercase().as_str())
}

/// The URL as it may be shown.
pub(super) fn without_password(uri: &str) -> String {
    let Ok(mut url) = Url::parse(uri) else {
        return uri.to_owned();
    };
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_ok() {
        url.into()
    } else {
        uri.to_owned()
    }
}

/// Headers that say how a message travels; a client that could set them could make two messages of one.
const OURS: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "upgrade",
    "te",
    "trailer",
    "expect",
];

fn is_ours(header: &str) -> bool {
    OURS.contains(&header.to_ascii_lowercase().as_str())
}
