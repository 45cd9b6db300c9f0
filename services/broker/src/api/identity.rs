//! Who asks: told by the port that the request came to, and behind the gateway by the permission set that came with it.

use crate::model::Refusal;
use crate::permissions::wire::{self, HEADER};
use crate::permissions::{Permissions, Who};
use http::Request;
use http::header::HeaderName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An extension of requests that came by the door of the platform's gateway: whether it sent them; if not, why not in a word. Nothing else may make one.
#[derive(Clone, Copy, Debug)]
pub struct Gateway(pub Result<(), &'static str>);

/// How many bytes of permission sets are remembered: a gateway sends those of few subjects again and again.
const REMEMBERED: usize = 8 * 1024 * 1024;

/// Why a request is not served, whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The header came by another door.
    NotFromGateway,
    /// Somebody else than the gateway came by its door, with or without the header; who, in a word.
    NotTheGateway(&'static str),
    /// The gateway sent none, or several.
    NotOne,
    /// It cannot be read.
    Unreadable(Refusal),
}

impl Refused {
    /// In a word, for metrics.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::NotFromGateway => "not_from_gateway",
            Self::NotTheGateway(who) => who,
            Self::NotOne => "not_one",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// Permission sets that were read, by the value of the header.
#[derive(Default)]
pub struct Identities {
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    sets: HashMap<Box<[u8]>, Arc<Permissions>>,
    weight: usize,
}

impl Identities {
    /// Who sends a request. The header is taken off: nothing behind this reads it.
    pub fn of<B>(&self, request: &mut Request<B>) -> Result<Who, Refused> {
        const NAME: HeaderName = HeaderName::from_static(HEADER);
        let door = request.extensions().get::<Gateway>().copied();
        let values: Vec<_> = request.headers().get_all(NAME).iter().cloned().collect();
        request.headers_mut().remove(NAME);
        match (door, values.as_slice()) {
            (None, []) => Ok(Who::Platform),
            (None, _) => Err(Refused::NotFromGateway),
            (Some(Gateway(Err(who))), _) => Err(Refused::NotTheGateway(who)),
            (Some(Gateway(Ok(()))), [value]) => self.read(value.as_bytes()).map(Who::Subject),
            (Some(Gateway(Ok(()))), _) => Err(Refused::NotOne),
        }
    }

    fn read(&self, value: &[u8]) -> Result<Arc<Permissions>, Refused> {
        if let Some(set) = self.lock().sets.get(value) {
            return Ok(Arc::clone(set));
        }
        let set = match wire::read(value) {
            Ok(set) => Arc::new(set),
            Err(why) => {
                tracing::error!(%why, "a permission set of the gateway cannot be read");
                return Err(Refused::Unreadable(why));
            }
        };
        let weight = value.len() + set.weight();
        let mut read = self.lock();
        if read.weight + weight > REMEMBERED {
            *read = Read::default();
        }
        if weight <= REMEMBERED && read.sets.insert(value.into(), Arc::clone(&set)).is_none() {
            read.weight += weight;
        }
        Ok(set)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn request(headers: &[&str], door: Option<Gateway>) -> Request<()> {
        let mut request = Request::builder();
        for value in headers {
            request = request.header(HEADER, *value);
        }
        let mut request = request.body(()).unwrap();
        if let Some(door) = door {
            request.extensions_mut().insert(door);
        }
        request
    }

    #[test]
    fn row_broker_a_permission_header_is_believed_of_the_gateway_alone_and_only_one() {
        let identities = Identities::default();
        let set = URL_SAFE_NO_PAD.encode(r#"{"version":1,"subject":"urn:s:1"}"#);
        let cause = |headers: &[&str], door| {
            identities
                .of(&mut request(headers, door))
                .map_err(|refused| refused.cause())
        };
        let (gateway, stranger) = (Some(Gateway(Ok(()))), Some(Gateway(Err("another_name"))));
        assert!(matches!(cause(&[], None), Ok(Who::Platform)));
        for _ in 0..2 {
            assert!(matches!(cause(&[&set], gateway), Ok(Who::Subject(who)) if who.subject == "urn:s:1"));
        }
        for headers in [&[&*set][..], &[""], &[&*set, &*set]] {
            assert_eq!(cause(headers, None).err(), Some("not_from_gateway"));
            assert_eq!(cause(headers, stranger).err(), Some("another_name"));
        }
        assert_eq!(cause(&[], stranger).err(), Some("another_name"));
        assert_eq!(cause(&[], gateway).err(), Some("not_one"));
        assert_eq!(cause(&[&set, &set], gateway).err(), Some("not_one"));
        assert_eq!(cause(&["x"], gateway).err(), Some("unreadable"));
        assert_eq!(cause(&[""], gateway).err(), Some("unreadable"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let identities = Identities::default();
        for n in 0..2000 {
            let ids: Vec<String> = (0..200).map(|k| format!("\"urn:x:{n}:{k}\"")).collect();
            let set = format!(
                r#"{{"version":1,"subject":"s","read":{{"allow":[{{"ids":[{}]}}]}}}}"#,
                ids.join(",")
            );
            identities.read(URL_SAFE_NO_PAD.encode(set).as_bytes()).unwrap();
            assert!(identities.lock().weight <= REMEMBERED);
        }
        assert!(identities.lock().sets.len() < 2000);
    }
}
