//! Every operation that the broker serves, once: where it is, what answers it, and what is said of it. The routes and the
//! document at `/openapi.json` are both made of this list, so neither can have what the other has not.
//!
//! * [`table`]: the list;
//! * what of it can be told without knowing the operation, [`crate::api::openapi`] tells.

pub mod table;

use crate::api::App;
use crate::api::params::Known;
use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

/// Where the standard's resources are.
pub const BASE: &str = "/ngsi-ld/v1";

/// The methods that operations have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `GET`, and with it `HEAD`.
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Verb {
    /// As a document of OpenAPI names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// What the body of a request is: the name of a schema, if there is a body.
pub type Takes = Option<&'static str>;

/// The body of an answer: the names of schemas.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// `application/json`, whatever was asked for: results of writes.
    Plain(&'static str),
    /// `application/json` or `application/ld+json`.
    Negotiated(&'static str),
    /// Those two, or `application/geo+json` of another shape.
    Entities(&'static str, &'static str),
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Gives {
    /// The status.
    pub status: u16,
    /// When it comes.
    pub when: &'static str,
    /// The body.
    pub body: Body,
}

/// An operation that is not described yet. It is served by nobody before it is.
pub struct Serving {
    verb: Verb,
    path: &'static str,
    known: &'static Known,
    handler: MethodRouter<App>,
}

/// An operation with its description.
pub struct Operation {
    /// Its method.
    pub verb: Verb,
    /// The template of its path.
    pub path: &'static str,
    /// Its parameters, as it checks them.
    pub known: &'static Known,
    /// Its name among all operations.
    pub id: &'static str,
    /// The clause of the standard; empty for what is ours.
    pub clause: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// The body of the request.
    pub takes: Takes,
    /// Its answers beside those that every operation has.
    pub gives: Vec<Gives>,
    handler: MethodRouter<App>,
}

/// What serves a method at a path. `known` is what the handler checks parameters by.
pub fn serve<H, T>(verb: Verb, path: &'static str, handler: H, known: &'static Known) -> Serving
where
    H: Handler<T, App>,
    T: 'static,
{
    Serving {
        verb,
        path,
        known,
        handler: on(verb.filter(), handler),
    }
}

impl Serving {
    /// Says what it is: its name, its clause, what it does, what it takes and gives.
    #[must_use]
    pub fn described(
        self,
        id: &'static str,
        clause: &'static str,
        summary: &'static str,
        takes: Takes,
        gives: &[Gives],
    ) -> Operation {
        Operation {
            verb: self.verb,
            path: self.path,
            known: self.known,
            handler: self.handler,
            id,
            clause,
            summary,
            takes,
            gives: gives.to_vec(),
        }
    }
}

/// The routes of all operations.
pub fn routes(mut router: Router<App>) -> Router<App> {
    for operation in table::operations() {
        router = router.route(operation.path, operation.handler);
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::params::Limited;

    fn names(of: Limited) -> Vec<&'static str> {
        let all = table::operations();
        let mut names: Vec<_> = all
            .iter()
            .filter(|operation| operation.known.limited == of)
            .map(|operation| operation.id)
            .collect();
        names.sort_unstable();
        names
    }

    /// Whoever adds an operation to one of these lists has thought of who may do it. That the others obey the sets that
    /// they are asked with, `tests/api/permissions_routes.rs` asks each of them.
    #[test]
    fn what_is_done_for_whoever_comes_is_of_nobodys_data() {
        assert_eq!(names(Limited::Open), ["describe", "retrieveSourceIdentity"]);
        assert_eq!(
            names(Limited::Administrators),
            ["createContext", "deleteContext", "listContexts"]
        );
        assert!(names(Limited::Refused).is_empty());
    }
}
