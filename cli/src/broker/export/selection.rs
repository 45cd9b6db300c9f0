//! How a broker is asked for all of its entities. The standard wants a query to say what it seeks; `local=true` says enough
//! from v1.8.1 on, else all types that the broker lists do. `orderBy` is of v1.9.1.

use crate::broker::client::{Answer, Ask, Client};
use crate::broker::progress::Progress;
use crate::failure::Failure;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most bytes of types in one URL.
const TYPES: usize = 4000;
/// Where it is not the limit that the broker does not like.
const SMALL: usize = 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Queries; together they have everything.
    selections: Vec<String>,
    /// Which of them is read.
    at: usize,
    /// How many entities are asked for at once.
    pub limit: usize,
}

impl Plan {
    /// Whether ids may be in the order of their bytes. Over several queries an entity of several types comes more than
    /// once, so that what was taken has to be remembered.
    #[must_use]
    pub fn is_by_id(&self) -> bool {
        self.selections.len() == 1
    }

    /// The query that is read; `None` after the last.
    #[must_use]
    pub fn selection(&self) -> Option<&str> {
        self.selections.get(self.at).map(String::as_str)
    }

    /// Goes on with the next query.
    pub fn next(&mut self) {
        self.at += 1;
    }
}

/// Finds out what the broker takes.
pub async fn plan(client: &mut Client, progress: &mut Progress, limit: usize) -> Result<Plan, Failure> {
    let mut limit = limit;
    loop {
        let mut refused = String::new();
        for ordered in [true, false] {
            let selection = selection("local=true", ordered);
            match probe(client, progress, &selection, limit).await? {
                Probed::Taken { is_empty: false } => return Ok(whole(vec![selection], limit)),
                // Of nothing, or by a broker that does not take it as the standard has it: its types say which.
                Probed::Taken { is_empty: true } if types(client, progress).await?.is_empty() => {
                    return Ok(whole(vec![selection], limit));
                }
                Probed::Taken { .. } => {}
                Probed::Refused(why) => refused = why,
            }
        }
        let types = in_urls(&types(client, progress).await?);
        for ordered in [true, false] {
            let selections: Vec<_> = types.iter().map(|types| selection(types, ordered)).collect();
            let Some(first) = selections.first() else {
                return Ok(whole(selections, limit));
            };
            match probe(client, progress, first, limit).await? {
                Probed::Taken { .. } => return Ok(whole(selections, limit)),
                Probed::Refused(why) => refused = why,
            }
        }
        if limit <= SMALL {
            return Err(Failure::Refused(format!(
                "the broker does not list its entities: {refused}"
            )));
        }
        limit = (limit / 2).max(SMALL);
    }
}

fn whole(selections: Vec<String>, limit: usize) -> Plan {
    Plan {
        selections,
        at: 0,
        limit,
    }
}

fn selection(what: &str, ordered: bool) -> String {
    format!("{what}{}", if ordered { "&orderBy=id" } else { "" })
}

enum Probed {
    Taken { is_empty: bool },
    Refused(String),
}

async fn probe(
    client: &mut Client,
    progress: &mut Progress,
    selection: &str,
    limit: usize,
) -> Result<Probed, Failure> {
    let ask = get(format!("/entities?{selection}&limit={limit}&offset=0"));
    let answer = client.ask(&ask, progress).await?;
    match answer.status {
        StatusCode::OK => Ok(Probed::Taken {
            is_empty: answer.text().iter().filter(|b| !b.is_ascii_whitespace()).count() == 2,
        }),
        _ if is_too_much(&answer) => Ok(Probed::Refused(answer.words())),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_IMPLEMENTED => {
            Ok(Probed::Refused(answer.words()))
        }
        _ => Err(Failure::Refused(format!(
            "the broker says no: {}",
            answer.words()
        ))),
    }
}

/// Whether fewer entities at once may be taken.
#[must_use]
pub fn is_too_much(answer: &Answer) -> bool {
    let said = answer.error();
    answer.body.is_none()
        || answer.status == StatusCode::PAYLOAD_TOO_LARGE
        || matches!(said.as_deref(), Some("TooManyResults" | "TooComplexQuery"))
}

fn get(path: String) -> Ask {
    Ask {
        method: Method::GET,
        path,
        headers: vec![("accept", "application/json".to_owned())],
        body: Bytes::new(),
    }
}

/// The types of the broker, in full or as the core context has them.
async fn types(client: &mut Client, progress: &mut Progress) -> Result<Vec<String>, Failure> {
    let mut path = "/types".to_owned();
    let mut all = Vec::new();
    loop {
        let answer = client.ask(&get(path), progress).await?;
        let list: Option<Value> = serde_json::from_slice(answer.text()).ok();
        let names = list.as_ref().and_then(|list| list.get("typeList")?.as_array());
        let Some(names) = names.filter(|_| answer.status == StatusCode::OK) else {
            return Err(Failure::Refused(format!(
                "the broker does not list its types: {}",
                answer.words()
            )));
        };
        all.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
        match next(&answer.headers) {
            Some(next) => path = next,
            None => return Ok(all),
        }
    }
}

/// Types as they stand in URLs, some in each.
fn in_urls(types: &[String]) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for name in types {
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
        match urls.last_mut().filter(|url| url.len() + name.len() < TYPES) {
            Some(url) => {
                url.push(',');
                url.push_str(&name);
            }
            None => urls.push(format!("type={name}")),
        }
    }
    urls
}

/// The page after this one, as a path behind that of the API.
fn next(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().find_map(|link| {
        let (url, relation) = link.to_str().ok()?.strip_prefix('<')?.split_once('>')?;
        let is_next = relation.replace([' ', '"'], "").contains("rel=next");
        let (_, path) = url.split_once("/ngsi-ld/v1").filter(|_| is_next)?;
        Some(path.to_owned())
    })
}

/// Whether the broker says that there is a page after this one.
#[must_use]
pub fn has_next(headers: &HeaderMap) -> bool {
    next(headers).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_types_stand_in_several_urls() {
        let types: Vec<String> = (0..200).map(|n| format!("https://a.example/{n:030}")).collect();
        let urls = in_urls(&types);
        assert!(urls.len() > 1);
        assert!(
            urls.iter()
                .all(|url| url.len() < TYPES + 200 && url.starts_with("type=https%3A"))
        );
        assert_eq!(urls.iter().map(|url| url.split(',').count()).sum::<usize>(), 200);
        assert!(in_urls(&[]).is_empty());
    }

    #[test]
    fn the_next_page_is_that_of_the_link_of_this_relation() {
        let mut headers = HeaderMap::new();
        headers.append(
            LINK,
            "<https://c.example/c>; rel=\"http://www.w3.org/ns/json-ld#context\""
                .parse()
                .unwrap(),
        );
        assert!(!has_next(&headers));
        headers.append(
            LINK,
            "</ngsi-ld/v1/types?limit=1&offset=2>;rel=\"next\";type=\"application/json\""
                .parse()
                .unwrap(),
        );
        assert_eq!(next(&headers).as_deref(), Some("/types?limit=1&offset=2"));
    }
}
