//! What becomes of a batch. Upserts say the same when they are repeated, so a batch whose answer was lost is sent again, and
//! one that the broker refuses as a whole is sent in halves until it is known which entity it does not take.

use crate::broker::client::{Answer, Ask, CONTEXT_NOT_AVAILABLE, Client, passes};
use crate::broker::import::batch::Batch;
use crate::broker::import::rejects::Rejected;
use crate::broker::progress::Progress;
use crate::failure::Failure;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How often entities are sent again that the broker could not take at that moment, where it is their @context that cannot
/// be had.
const CONTEXTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Why an entity was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Why {
    status: Option<u16>,
    kind: String,
    words: String,
}

impl Why {
    /// Whether the same entity may be taken later.
    fn passes(&self) -> bool {
        self.status.is_some_and(passes) || self.is_context()
    }

    fn is_context(&self) -> bool {
        self.kind.ends_with(CONTEXT_NOT_AVAILABLE)
    }
}

/// What an answer says of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// All were taken but these.
    Taken(HashMap<String, Why>),
    /// None was; which of them is wrong is not said.
    Whole(Why),
    /// It is not about the entities.
    No,
}

/// Sends batches.
pub struct Sender {
    client: Client,
    path: String,
}

impl Sender {
    /// To a broker. `update`: attributes that are not sent stay.
    #[must_use]
    pub fn of(client: Client, update: bool) -> Self {
        let options = if update { "?options=update" } else { "" };
        Self {
            client,
            path: format!("/entityOperations/upsert{options}"),
        }
    }

    /// Sends a batch; what was not taken of it comes back.
    pub async fn send(&mut self, batch: Batch, progress: &mut Progress) -> Result<Vec<Rejected>, Failure> {
        let mut waiting = vec![batch];
        let mut rejected = Vec::new();
        let (began, mut tries) = (Instant::now(), 0);
        while let Some(batch) = waiting.pop().filter(|batch| !batch.is_empty()) {
            let answer = self.ask(&batch, progress).await?;
            match said(&answer) {
                Said::No => {
                    return Err(Failure::Refused(format!(
                        "the broker takes no entities: {}",
                        answer.words()
                    )));
                }
                Said::Whole(why) => Self::divide(batch, &why, &mut waiting, &mut rejected),
                Said::Taken(errors) => {
                    let ids: HashSet<String> = errors.keys().cloned().collect();
                    let Some(failed) = batch.part(&ids) else {
                        let why = Why {
                            status: Some(answer.status.as_u16()),
                            kind: String::new(),
                            words: "the broker does not say which entities it did not take".to_owned(),
                        };
                        Self::divide(batch, &why, &mut waiting, &mut rejected);
                        continue;
                    };
                    let (later, never) = sorted(failed, &errors, tries);
                    rejected.extend(never);
                    if !later.is_empty() {
                        tries += 1;
                        self.pause(began, &errors).await?;
                        waiting.push(later);
                    }
                }
            }
        }
        Ok(rejected)
    }

    fn divide(batch: Batch, why: &Why, waiting: &mut Vec<Batch>, rejected: &mut Vec<Rejected>) {
        if batch.len() > 1 {
            let (first, second) = batch.halves();
            waiting.extend([second, first]);
        } else {
            let lines = batch.into_lines().into_iter();
            rejected.extend(lines.map(|line| Rejected::by_broker(line, why.status, why.words.clone())));
        }
    }

    async fn pause(&self, began: Instant, errors: &HashMap<String, Why>) -> Result<(), Failure> {
        if began.elapsed() >= self.client.patience() {
            let why = errors
                .values()
                .map(|why| why.words.clone())
                .next()
                .unwrap_or_default();
            return Err(Failure::Unreachable {
                why,
                seconds: began.elapsed().as_secs(),
            });
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    async fn ask(&mut self, batch: &Batch, progress: &mut Progress) -> Result<Answer, Failure> {
        let ask = Ask {
            method: Method::POST,
            path: self.path.clone(),
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", batch.media().to_owned()),
            ],
            body: batch.body(),
        };
        self.client.ask(&ask, progress).await
    }
}

/// Which entities are sent again, and which are given up.
fn sorted(failed: Batch, errors: &HashMap<String, Why>, tries: u32) -> (Batch, Vec<Rejected>) {
    let passes = |why: &Why| why.passes() && (!why.is_context() || tries < CONTEXTS);
    let later = errors
        .iter()
        .filter(|(_, why)| passes(why))
        .map(|(id, _)| id.clone());
    let later = failed.part(&later.collect()).unwrap_or_default();
    let never = failed.into_lines().into_iter().filter_map(|line| {
        let why = errors.get(line.id.as_deref()?)?;
        (!passes(why)).then(|| Rejected::by_broker(line, why.status, why.words.clone()))
    });
    (later, never.collect())
}

#[derive(Deserialize)]
struct Result207 {
    #[serde(default)]
    errors: Vec<Error207>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Error207 {
    #[serde(default)]
    entity_id: String,
    #[serde(default)]
    error: Value,
}

fn said(answer: &Answer) -> Said {
    match answer.status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => Said::Taken(HashMap::new()),
        StatusCode::MULTI_STATUS => match serde_json::from_slice::<Result207>(answer.text()) {
            Ok(result) => Said::Taken(
                result
                    .errors
                    .into_iter()
                    .map(|e| (e.entity_id, why(&e.error)))
                    .collect(),
            ),
            Err(_) => Said::Whole(of_whole(answer)),
        },
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::CONFLICT
        | StatusCode::INTERNAL_SERVER_ERROR
        // These only of a context: what else passes was asked again before.
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Said::Whole(of_whole(answer)),
        _ => Said::No,
    }
}

fn of_whole(answer: &Answer) -> Why {
    Why {
        status: Some(answer.status.as_u16()),
        kind: answer.error().unwrap_or_default(),
        words: answer.words(),
    }
}

fn why(error: &Value) -> Why {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let status = error.get("status").and_then(Value::as_u64);
    let words = [text("title"), text("detail")]
        .into_iter()
        .filter(|text| !text.is_empty());
    let words = words.collect::<Vec<_>>().join(": ");
    Why {
        status: status.and_then(|status| u16::try_from(status).ok()),
        kind: text("type").to_owned(),
        words: if words.is_empty() {
            error.to_string()
        } else {
            words
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Some(Bytes::copy_from_slice(body.as_bytes())),
        }
    }

    #[test]
    fn a_207_names_the_entities_that_were_not_taken_and_why() {
        let body = r#"{"success":["urn:x:1"],"errors":[{"entityId":"urn:x:2","error":{"type":"https://uri.etsi.org/ngsi-ld/errors/BadRequestData","title":"Bad","detail":"no","status":400}},
            {"entityId":"urn:x:3","error":{"type":"https://uri.etsi.org/ngsi-ld/errors/LdContextNotAvailable","status":503}}]}"#;
        let Said::Taken(errors) = said(&answer(207, body)) else {
            panic!("a 207 is about entities")
        };
        assert_eq!(
            (errors["urn:x:2"].status, errors["urn:x:2"].words.as_str()),
            (Some(400), "Bad: no")
        );
        assert!(!errors["urn:x:2"].passes());
        assert!(errors["urn:x:3"].passes() && errors["urn:x:3"].is_context());
    }

    #[test]
    fn what_is_about_the_request_is_no_reason_to_reject_entities() {
        for status in [401, 403, 404, 405, 415, 301] {
            assert_eq!(said(&answer(status, "")), Said::No, "{status}");
        }
        for status in [400, 413, 422, 500] {
            assert!(matches!(said(&answer(status, "")), Said::Whole(_)), "{status}");
        }
        for status in [200, 201, 204] {
            assert_eq!(said(&answer(status, "")), Said::Taken(HashMap::new()), "{status}");
        }
        assert!(matches!(said(&answer(207, "no json")), Said::Whole(_)));
    }
}
