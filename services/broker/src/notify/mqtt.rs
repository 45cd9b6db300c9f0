//! A notification as an MQTT message (clause 7.2). One connection for one message: connect, publish, wait until the server
//! has it as the quality of service asks, disconnect. What the packets look like is a library's; the connection is the
//! guard's.

use crate::model::json::write_string;
use crate::notify::message::Message;
use crate::notify::send::Failed;
use crate::subscription::endpoint::{Endpoint, Mqtt};
use bytes::{Bytes, BytesMut};
use mim_egress::{Allow, Client, Stream};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

/// The largest packet of a server that is read: acknowledgements are a few bytes.
const MAX_PACKET: u32 = 64 * 1024;
/// The one message of a connection has this packet identifier.
const ID: u16 = 1;

/// How long to wait for the server to close the connection once it has everything.
const CLOSING: Duration = Duration::from_secs(1);

/// The body of the message: what HTTP has in headers, and the notification. Of two headers of one name the one that
/// HTTP would send is there.
#[must_use]
pub fn body(endpoint: &Endpoint, message: &Message) -> String {
    let mut out = String::with_capacity(message.body.len() + 256);
    let of = |pairs: &[(String, String)], name: &str| pairs.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let is_theirs = |name: &str| {
        let mut theirs = endpoint.receiver_info.iter();
        theirs.any(|pair| pair.key.eq_ignore_ascii_case(name))
    };
    let link = message.link.iter().map(|link| ("Link", link.as_str()));
    let default = [("Content-Type", message.content_type)].into_iter().chain(link);
    let theirs = endpoint
        .receiver_info
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_str()));
    let ours = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    out.push_str("{\"metadata\":{");
    let all = default
        .filter(|(name, _)| !is_theirs(name))
        .chain(theirs.filter(|(name, _)| !of(&message.headers, name)))
        .chain(ours);
    for (n, (name, value)) in all.enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(&mut out, name);
        out.push(':');
        write_string(&mut out, value);
    }
    out.push_str("},\"body\":");
    out.push_str(&message.body);
    out.push('}');
    out
}

/// Publishes one message; returns when the server has it, as far as the quality of service lets one know.
pub async fn publish(
    client: &Client,
    allow: &Allow,
    to: &Mqtt,
    body: String,
    timeout: Duration,
) -> Result<(), Failed> {
    let scheme = if to.tls { "mqtts" } else { "mqtt" };
    let url = Url::parse(&format!("{scheme}://{}:{}/", to.host, to.port))
        .map_err(|e| Failed::NotSent(e.to_string()))?;
    let talk = async {
        let stream = client
            .dial(&url, allow, timeout)
            .await
            .map_err(|error| Failed::NotSent(error.to_string()))?;
        let mut session = Session {
            stream,
            received: BytesMut::new(),
            version_5: to.version_5,
        };
        session.publish(to, body.into()).await
    };
    tokio::time::timeout(timeout, talk)
        .await
        .unwrap_or_else(|_| Err(broken("the MQTT server did not answer in time")))
}

fn broken(words: &str) -> Failed {
    Failed::NotSent(words.to_owned())
}

/// What a server may answer here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Connected,
    Published,
    Received,
    Complete,
    Refused(&'static str),
}

struct Session {
    stream: Stream,
    received: BytesMut,
    version_5: bool,
}

impl Session {
    async fn publish(&mut self, to: &Mqtt, body: Bytes) -> Result<(), Failed> {
        self.write(&connect(to)?).await?;
        self.expect(Answer::Connected).await?;
        self.write(&message(to, body)?).await?;
        match to.qos {
            0 => {}
            1 => self.expect(Answer::Published).await?,
            _ => {
                self.expect(Answer::Received).await?;
                self.write(&release(self.version_5)?).await?;
                self.expect(Answer::Complete).await?;
            }
        }
        self.write(&disconnect(self.version_5)?).await?;
        // Everything has to have left before the connection ends.
        let _ = self.stream.shutdown().await;
        if to.qos == 0 {
            // Nothing else says that the server has read the message, or that it does not want it.
            let closed = tokio::time::timeout(CLOSING, self.until_closed());
            return closed.await.unwrap_or(Ok(()));
        }
        Ok(())
    }

    /// Waits until the server closes the connection; an error is what it said before.
    async fn until_closed(&mut self) -> Result<(), Failed> {
        loop {
            if let Ok(Some(Answer::Refused(why))) = self.next() {
                return Err(broken(why));
            }
            if !matches!(self.stream.read_buf(&mut self.received).await, Ok(1..)) {
                return Ok(());
            }
        }
    }

    async fn write(&mut self, packet: &[u8]) -> Result<(), Failed> {
        let written = async {
            self.stream.write_all(packet).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error: std::io::Error| {
            Failed::NotSent(format!("the MQTT connection broke off: {}", error.kind()))
        })
    }

    async fn expect(&mut self, expected: Answer) -> Result<(), Failed> {
        loop {
            match self.next()? {
                Some(answer) if answer == expected => return Ok(()),
                Some(Answer::Refused(why)) => return Err(broken(why)),
                Some(_) => return Err(broken("the MQTT server answered out of turn")),
                None => {}
            }
            let read = self.stream.read_buf(&mut self.received).await;
            match read {
                Ok(0) => return Err(broken("the MQTT server closed the connection")),
                Ok(_) => {}
                Err(error) => {
                    return Err(Failed::NotSent(format!(
                        "the MQTT connection broke off: {}",
                        error.kind()
                    )));
                }
            }
        }
    }

    /// The next answer, if all of it has come.
    fn next(&mut self) -> Result<Option<Answer>, Failed> {
        let found = if self.version_5 {
            next_5(&mut self.received)
        } else {
            next_4(&mut self.received)
        };
        found.map_err(|()| broken("the MQTT server answered with what is no MQTT"))
    }
}

const WRONG_CREDENTIALS: Answer =
    Answer::Refused("the MQTT server refuses the connection; check user and password");
const WRONG_VERSION: Answer = Answer::Refused(
    "the MQTT server does not speak this version of MQTT; write the other one as MQTT-Version into notifierInfo",
);
const NOT_NOW: Answer = Answer::Refused("the MQTT server takes no connection now");
const NOT_TAKEN: Answer = Answer::Refused(
    "the MQTT server does not take the message; check topic, rights, size and quality of service",
);

fn next_4(received: &mut BytesMut) -> Result<Option<Answer>, ()> {
    use rumqttc::mqttbytes::Error;
    use v4::ConnectReturnCode as Code;
    Ok(Some(match v4::Packet::read(received, MAX_PACKET as usize) {
        Ok(v4::Packet::ConnAck(ack)) => match ack.code {
            Code::Success => Answer::Connected,
            Code::BadUserNamePassword | Code::NotAuthorized => WRONG_CREDENTIALS,
            Code::RefusedProtocolVersion => WRONG_VERSION,
            Code::BadClientId | Code::ServiceUnavailable => NOT_NOW,
        },
        Ok(v4::Packet::PubAck(_)) => Answer::Published,
        Ok(v4::Packet::PubRec(_)) => Answer::Received,
        Ok(v4::Packet::PubComp(_)) => Answer::Complete,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Ok(_) | Err(_) => return Err(()),
    }))
}

fn next_5(received: &mut BytesMut) -> Result<Option<Answer>, ()> {
    use rumqttc::v5::mqttbytes::Error;
    use v5::ConnectReturnCode as Code;
    // A server that speaks 3.1.1 only says so in a packet of 3.1.1.
    if matches!(received.as_ref(), [0x20, 2, _, 1, ..]) {
        return Ok(Some(WRONG_VERSION));
    }
    Ok(Some(match v5::Packet::read(received, Some(MAX_PACKET)) {
        Ok(v5::Packet::ConnAck(ack)) => match ack.code {
            Code::Success => Answer::Connected,
            Code::BadUserNamePassword
            | Code::NotAuthorized
            | Code::BadAuthenticationMethod
            | Code::Banned => WRONG_CREDENTIALS,
            Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => WRONG_VERSION,
            _ => NOT_NOW,
        },
        Ok(v5::Packet::PubAck(ack)) => match ack.reason {
            v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers => Answer::Published,
            _ => NOT_TAKEN,
        },
        Ok(v5::Packet::PubRec(ack)) => match ack.reason {
            v5::PubRecReason::Success | v5::PubRecReason::NoMatchingSubscribers => Answer::Received,
            _ => NOT_TAKEN,
        },
        Ok(v5::Packet::PubComp(_)) => Answer::Complete,
        Ok(v5::Packet::Disconnect(_)) => NOT_TAKEN,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Ok(_) | Err(_) => return Err(()),
    }))
}

/// The whole bytes of a packet of version 3.1.1.
fn packet_4(packet: &v4::Packet) -> Result<BytesMut, Failed> {
    let mut out = BytesMut::new();
    let written = packet.write(&mut out, usize::MAX);
    written.map_err(|_| broken("the notification cannot be an MQTT message"))?;
    Ok(out)
}

/// The whole bytes of a packet of version 5.0.
fn packet_5(packet: &v5::Packet) -> Result<BytesMut, Failed> {
    let mut out = BytesMut::new();
    let written = packet.write(&mut out, None);
    written.map_err(|_| broken("the notification cannot be an MQTT message"))?;
    Ok(out)
}

/// Longer than any call: no ping is ever due.
const KEEP_ALIVE: u16 = 300;

fn connect(to: &Mqtt) -> Result<BytesMut, Failed> {
    // A name of its own, so that no other connection is closed for it.
    let client_id = format!("mim{:016x}", rand::random::<u64>());
    let credentials = to.credentials.clone();
    if to.version_5 {
        let connect = v5::Connect {
            keep_alive: KEEP_ALIVE,
            client_id,
            clean_start: true,
            properties: None,
        };
        let login = credentials.map(|(user, password)| v5::Login::new(user, password));
        packet_5(&v5::Packet::Connect(connect, None, login))
    } else {
        let mut connect = v4::Connect::new(client_id);
        connect.keep_alive = KEEP_ALIVE;
        connect.login = credentials.map(|(user, password)| v4::Login::new(user, password));
        packet_4(&v4::Packet::Connect(connect))
    }
}

fn message(to: &Mqtt, body: Bytes) -> Result<BytesMut, Failed> {
    if to.version_5 {
        use rumqttc::v5::mqttbytes::QoS;
        let qos = match to.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let mut publish = v5::Publish::new(&to.topic, qos, body, None);
        publish.pkid = ID;
        packet_5(&v5::Packet::Publish(publish))
    } else {
        use rumqttc::mqttbytes::QoS;
        let qos = match to.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let mut publish = v4::Publish::new(&to.topic, qos, Vec::new());
        publish.payload = body;
        publish.pkid = ID;
        packet_4(&v4::Packet::Publish(publish))
    }
}

fn release(version_5: bool) -> Result<BytesMut, Failed> {
    if version_5 {
        packet_5(&v5::Packet::PubRel(v5::PubRel::new(ID, None)))
    } else {
        packet_4(&v4::Packet::PubRel(v4::PubRel::new(ID)))
    }
}

fn disconnect(version_5: bool) -> Result<BytesMut, Failed> {
    if version_5 {
        let normal = v5::DisconnectReasonCode::NormalDisconnection;
        packet_5(&v5::Packet::Disconnect(v5::Disconnect::new(normal)))
    } else {
        packet_4(&v4::Packet::Disconnect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_headers_of_one_name_the_metadata_has_the_one_that_http_would_send() {
        let info = |key: &str, value: &str| crate::subscription::endpoint::Pair {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let endpoint = Endpoint {
            uri: "mqtt://example.org/a".to_owned(),
            accept: None,
            timeout: None,
            cooldown: None,
            receiver_info: vec![
                info("link", "theirs"),
                info("ngsild-tenant", "theirs"),
                info("X", "\""),
            ],
            notifier_info: Vec::new(),
        };
        let message = Message {
            content_type: "application/json",
            link: Some("ours".to_owned()),
            headers: vec![("NGSILD-Tenant".to_owned(), "ours".to_owned())],
            body: "{}".to_owned(),
        };
        assert_eq!(
            body(&endpoint, &message),
            r#"{"metadata":{"Content-Type":"application/json","link":"theirs","X":"\"","NGSILD-Tenant":"ours"},"body":{}}"#
        );
    }

    #[test]
    fn a_server_of_the_other_version_is_known_by_its_answer() {
        let mut answer = BytesMut::from(&[0x20, 2, 0, 1][..]);
        assert_eq!(next_5(&mut answer), Ok(Some(WRONG_VERSION)));
        let mut answer = BytesMut::from(&[0x20, 2, 0, 1][..]);
        assert_eq!(next_4(&mut answer), Ok(Some(WRONG_VERSION)));
    }

    #[test]
    fn any_bytes_of_a_server_are_read_or_refused() {
        proptest::proptest!(|(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40), kind in 0..16_u8)| {
            for next in [next_4, next_5] {
                let mut received = BytesMut::from(&bytes[..]);
                if let (Some(first), Some(length)) = (received.first().copied(), bytes.len().checked_sub(2)) {
                    // Packets of each kind whose length is right come as often as noise.
                    if first % 2 == 0 {
                        received[0] = kind << 4;
                        received[1] = length.to_le_bytes()[0];
                    }
                }
                let _ = next(&mut received);
            }
        });
    }
}
