//! Receiving a body: within the room of all bodies, and not slower than it may be.

use crate::api::problem::Problem;
use crate::memory::room::{Held, Room};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a client may send nothing. Room waits longer (`memory::room`), so that who waits outlasts such clients.
const PAUSE: Duration = Duration::from_secs(5);
/// How many bytes a client must send each second on the whole, after the first [`PAUSE`]. A large body takes room from
/// others, so it may not come slowly: the largest takes at most 37 s.
const SLOWEST: usize = 4 * 1024;
const SLOWEST_LARGE: usize = 256 * 1024;
/// From how many bytes a body is large.
const LARGE: usize = 64 * 1024;
/// How long what is left of a body is read and thrown away, so that the client is still there for the answer.
const LEFTOVER: Duration = Duration::from_secs(10);

/// A body, and the room that it takes.
pub struct Received {
    /// The bytes.
    pub bytes: Bytes,
    /// To be kept until the bytes are parsed and dropped.
    pub room: Held,
}

/// Receives a body of the announced length. The room for all of it is taken first: were it taken as bytes come, many
/// bodies could each have a part of it and wait for ever for the rest.
pub async fn receive(mut body: Body, length: usize, room: &Room) -> Result<Received, Problem> {
    let Ok(held) = room.take(length).await else {
        discard(body).await;
        return Err(Problem::unavailable(
            "too many large bodies are being received at the moment",
        ));
    };
    let started = Instant::now();
    let mut bytes = BytesMut::with_capacity(length);
    loop {
        match timeout_at(deadline(started, bytes.len(), length), body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(Some(Err(_))) => return Err(Problem::invalid("the body ended early")),
            Ok(None) => {
                return Ok(Received {
                    bytes: bytes.freeze(),
                    room: held,
                });
            }
            Err(_) => {
                return Err(
                    Problem::invalid("the body came too slowly").with_status(StatusCode::REQUEST_TIMEOUT)
                );
            }
        }
    }
}

/// Until when the next piece has to come.
fn deadline(started: Instant, received: usize, length: usize) -> Instant {
    let slowest = if length > LARGE { SLOWEST_LARGE } else { SLOWEST };
    let on_the_whole = started + PAUSE + Duration::from_millis((received * 1000 / slowest) as u64);
    on_the_whole.min(Instant::now() + PAUSE)
}

async fn discard(mut body: Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Who is too slow for that gets no answer.
    let _ = tokio::time::timeout(LEFTOVER, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_to_come_at_a_rate_and_without_long_pauses() {
        let now = Instant::now();
        let left = |received, length| {
            deadline(
                now.checked_sub(Duration::from_secs(10)).unwrap(),
                received,
                length,
            )
            .saturating_duration_since(now)
        };
        assert_eq!(left(1000, 2000), Duration::ZERO, "too slow for a small one");
        assert!(left(32 * 1024, 60_000) > Duration::from_secs(2));
        assert_eq!(
            left(1024 * 1024, 8 * 1024 * 1024),
            Duration::ZERO,
            "too slow for a large one"
        );
        let fast = left(8_000_000, 8 * 1024 * 1024);
        assert!(
            fast > Duration::from_secs(4) && fast < PAUSE + Duration::from_secs(1),
            "a pause all the same: {fast:?}"
        );
    }

    #[tokio::test]
    async fn what_is_announced_is_held_until_it_is_dropped() {
        let room = Room::new(64_000);
        let received = receive(Body::from("x".repeat(5000)), 5000, &room).await.unwrap();
        assert_eq!((received.bytes.len(), received.room.size()), (5000, 5000));
        assert!(room.try_take(52_000).is_err());
        drop(received);
        assert!(room.try_take(52_000).is_ok());
    }
}
