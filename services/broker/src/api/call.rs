//! What every operation does first: the tenant, the parameters, the context, the body.

use crate::api::App;
use crate::api::accept::Media;
use crate::api::body::{self, Received};
use crate::api::params::{Known, Limited, Params};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply::{Roomed, UNCOUNTED};
use crate::context::cache::check;
use crate::context::{Context, RELATION};
use crate::memory::room::Held;
use crate::model::expansion::{MAX_EXPANDED, expanded_size};
use crate::model::json::Json;
use crate::permissions::Who;
use crate::permissions::reach::Reach;
use crate::store::pool::DOWN;
use crate::store::tenants::MAX_TENANTS;
use crate::store::{StoreError, TenantId};
use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use mim_grammar::names::is_tenant_name;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The largest body, in bytes.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// How many times a body its copies take on their way to the database, and how many bytes each value takes in them.
const WEIGHT_OF_BYTE: usize = 8;
const WEIGHT_OF_VALUE: usize = 160;
/// How many times an expanded name its copies take.
const WEIGHT_OF_NAME: usize = 3;
/// The header that names a tenant.
pub const TENANT: &str = "ngsild-tenant";

/// A request whose parameters are good. Its tenant may not be there yet.
pub struct Arrival {
    /// The broker.
    pub app: App,
    /// The parameters.
    pub params: Params,
    /// The head of the request.
    pub head: Parts,
    /// Who asks.
    pub who: Who,
    /// Room for the parsed body and for its expanded names, held until the answer is made.
    room: (Held, Held),
}

/// A request whose tenant and parameters are good.
pub struct Call {
    arrival: Arrival,
    /// Whose data.
    pub tenant: TenantId,
}

impl Deref for Call {
    type Target = Arrival;

    fn deref(&self) -> &Arrival {
        &self.arrival
    }
}

impl DerefMut for Call {
    fn deref_mut(&mut self) -> &mut Arrival {
        &mut self.arrival
    }
}

/// What the body is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// `application/json`, or merge-patch.
    Json,
    /// `application/ld+json`: the context is in the body.
    LdJson,
}

impl Call {
    /// Checks tenant and parameters; the body comes back unread.
    pub fn begin(app: App, request: Request<Body>, known: &Known) -> Result<(Self, Body), Problem> {
        let (arrival, body) = Arrival::begin(app, request, known)?;
        match arrival.tenant()? {
            Some(tenant) => Ok((Self { arrival, tenant }, body)),
            None => Err(arrival.no_tenant()),
        }
    }

    /// The entities that the client sees.
    #[must_use]
    pub fn reach(&self) -> Reach<'_> {
        match &self.who {
            Who::Platform => Reach::all(self.tenant),
            Who::Subject(permissions) => Reach::of(self.tenant, &permissions.read),
        }
    }

    /// As [`Self::begin`], of an operation that creates something: it may make its tenant, but only once there is
    /// something to create ([`Arrival::making_tenant`]).
    pub fn begin_creating(
        app: App,
        request: Request<Body>,
        known: &Known,
    ) -> Result<(Arrival, Body), Problem> {
        let (arrival, body) = Arrival::begin(app, request, known)?;
        match arrival.tenant()? {
            None if !arrival.makes_tenant()? => Err(arrival.no_tenant()),
            _ => Ok((arrival, body)),
        }
    }
}

impl Arrival {
    fn begin(app: App, request: Request<Body>, known: &Known) -> Result<(Self, Body), Problem> {
        let (mut head, body) = request.into_parts();
        // Whoever came past the front has been told apart there.
        let who = head.extensions.remove::<Who>().ok_or_else(Problem::forbidden)?;
        let may = match known.limited {
            Limited::Refused => who.may_everything(),
            Limited::Administrators => who.is_administrator(),
            Limited::Obeyed | Limited::Open => true,
        };
        if !may {
            return Err(Problem::forbidden());
        }
        tenant_name(&head.headers)?;
        let params = Params::read(head.uri.query(), known)?;
        // All there is is local, but it must be one of the two.
        params.flag("local")?;
        checked_link(&head.headers)?;
        let room = (Held::default(), Held::default());
        Ok((
            Self {
                app,
                params,
                head,
                who,
                room,
            },
            body,
        ))
    }

    fn tenant(&self) -> Result<Option<TenantId>, Problem> {
        let tenant = self.app.store.tenant(tenant_name(&self.head.headers)?);
        // Before the first contact with the database nothing is known of tenants.
        if tenant.is_none() && self.app.store.pool().trouble().is_some() {
            return Err(StoreError::Unavailable(DOWN.to_owned()).into());
        }
        Ok(tenant)
    }

    /// Whether this operation, if it creates something, may make its tenant.
    fn makes_tenant(&self) -> Result<bool, Problem> {
        Ok(self.app.store.makes_tenant(tenant_name(&self.head.headers)?))
    }

    /// Whose contexts are asked for. A tenant that this request is going to make has none of its own yet.
    fn tenant_of_contexts(&self) -> Result<TenantId, Problem> {
        Ok(self.tenant()?.unwrap_or(TenantId::NOBODY))
    }

    fn no_tenant(&self) -> Problem {
        let name = tenant_name(&self.head.headers).unwrap_or_default();
        if self.app.store.awaits_tenant(name) {
            return Problem::unavailable(format!(
                "the tenant {name} is configured, and the database cannot make it at the moment"
            ));
        }
        Problem::new(ErrorType::NonexistentTenant, format!("there is no tenant {name}"))
    }

    /// Makes the tenant where it is not there and writes may make it.
    pub async fn making_tenant(self) -> Result<Call, Problem> {
        if let Some(tenant) = self.tenant()? {
            return Ok(Call {
                arrival: self,
                tenant,
            });
        }
        let store = &self.app.store;
        if !self.makes_tenant()? {
            return Err(self.no_tenant());
        }
        let made = store.make_tenant(tenant_name(&self.head.headers)?).await?;
        let Some(tenant) = made else {
            return Err(Problem::new(
                ErrorType::OperationNotSupported,
                format!("the tenant is not made: there are {MAX_TENANTS}, as many as this broker makes"),
            ));
        };
        Ok(Call {
            arrival: self,
            tenant,
        })
    }

    /// The context of a request without a body: that of the Link header, or the core context.
    pub async fn link_context(&self) -> Result<Arc<Context>, Problem> {
        let url = context_link(&self.head.headers)?;
        let context = self
            .app
            .contexts
            .of_link(self.tenant_of_contexts()?, url.as_deref())
            .await;
        context.map_err(|error| self.problem(error))
    }

    /// What a client is told of an error, by the edition of the standard that the broker is to follow.
    pub fn problem(&self, error: impl Into<Problem>) -> Problem {
        error.into().by(&self.app.compatibility.borrow())
    }

    /// Reads the body as JSON.
    pub async fn json(&mut self, body: Body) -> Result<(Json, Sent), Problem> {
        let sent = content_type(&self.head)?;
        let Received { bytes, room } = self.receive(body).await?;
        if bytes.is_empty() {
            return Err(Problem::invalid("the body is empty"));
        }
        // The parsed document is several times as large; it is bounded for all requests together.
        let documents = self.app.rooms.documents.take(weight(&bytes)).await;
        self.room.0 = documents.map_err(|_| crowded())?;
        let json = Json::parse(&bytes)?;
        drop((bytes, room));
        Ok((json, sent))
    }

    /// Reads the body of an operation on one thing, and its context: that in the body for ld+json, else that of the
    /// Link header (clause 6.3.5).
    pub async fn json_and_context(&mut self, body: Body) -> Result<(Json, Arc<Context>), Problem> {
        let (json, sent) = self.json(body).await?;
        let context = self.context_of(&json, sent).await?;
        self.expand(expanded_size(&context, &json)?).await?;
        Ok((json, context))
    }

    /// Takes room for so many bytes of expanded names, all of the request. More than a request may have is refused.
    pub async fn expand(&mut self, size: usize) -> Result<(), Problem> {
        if size > MAX_EXPANDED {
            return Err(Problem::bad_data(format!(
                "the names of this request are more than {MAX_EXPANDED} bytes when they are expanded; send less at once"
            )));
        }
        let names = self.app.rooms.names.take(size * WEIGHT_OF_NAME).await;
        self.room.1 = names.map_err(|_| crowded())?;
        Ok(())
    }

    /// The context of one document of the body.
    pub async fn context_of(&self, json: &Json, sent: Sent) -> Result<Arc<Context>, Problem> {
        let own = json.get("@context");
        match (sent, own) {
            (Sent::Json, Some(_)) => Err(Problem::bad_data(
                "a body of application/json has no @context; send application/ld+json",
            )),
            (Sent::Json, None) => self.link_context().await,
            (Sent::LdJson, None) => Err(Problem::bad_data(
                "a body of application/ld+json needs an @context",
            )),
            (Sent::LdJson, Some(_)) if context_link(&self.head.headers)?.is_some() => Err(Problem::bad_data(
                "the context is in the body and in a Link header; send one",
            )),
            (Sent::LdJson, Some(own)) => {
                let context = self.app.contexts.of_body(self.tenant_of_contexts()?, own).await;
                context.map_err(|error| self.problem(error))
            }
        }
    }

    /// Links to the pages before and after this one (clause 6.3.10).
    #[must_use]
    pub fn neighbours(&self, limit: usize, offset: u64, more: bool, media: Media) -> Vec<String> {
        let step = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut pages = Vec::new();
        if limit > 0 && more {
            pages.push(("next", offset.saturating_add(step)));
        }
        if limit > 0 && offset > 0 {
            pages.push(("prev", offset.saturating_sub(step)));
        }
        let link = |(relation, offset)| {
            let (path, query) = (self.head.uri.path(), self.params.page(limit, offset));
            format!("<{path}?{query}>;rel=\"{relation}\";type=\"{}\"", media.name())
        };
        pages.into_iter().map(link).collect()
    }

    /// An answer that repeats what the request named. A large one keeps the room of the request until it is sent, so
    /// that none is needed after something was written.
    pub fn echo(&mut self, text: String) -> Roomed {
        let room = if text.len() > UNCOUNTED {
            std::mem::take(&mut self.room.0)
        } else {
            Held::default()
        };
        Roomed { text, room }
    }

    async fn receive(&self, body: Body) -> Result<Received, Problem> {
        let length = self
            .head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<usize>().ok());
        let Some(length) = length else {
            return Err(
                Problem::invalid("Content-Length is missing").with_status(StatusCode::LENGTH_REQUIRED)
            );
        };
        if length > MAX_BODY {
            return Err(Problem::invalid(format!("a body has at most {MAX_BODY} bytes"))
                .with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        body::receive(body, length, &self.app.rooms.bodies).await
    }
}

fn crowded() -> Problem {
    Problem::unavailable("too many large documents are being handled at the moment")
}

/// How much memory a document is going to take, roughly.
fn weight(body: &[u8]) -> usize {
    let values = body.iter().filter(|b| matches!(b, b',' | b'[' | b'{')).count();
    body.len() * WEIGHT_OF_BYTE + values * WEIGHT_OF_VALUE
}

/// The one header of this name. Of several, each reader on the way might take another.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (_, Some(_)) => Err(Problem::invalid(format!(
            "the header {name} is there more than once; send one"
        ))),
        (first, None) => Ok(first),
    }
}

/// The tenant's name; empty for the default tenant.
pub fn tenant_name(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(value) = only(headers, &HeaderName::from_static(TENANT))? else {
        return Ok("");
    };
    let name = value.to_str().unwrap_or_default();
    if is_tenant_name(name) {
        Ok(name)
    } else {
        Err(Problem::bad_data(
            "NGSILD-Tenant is a name of at most 63 letters, digits, - and _",
        ))
    }
}

fn content_type(head: &Parts) -> Result<Sent, Problem> {
    if head
        .headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| encoding != "identity")
    {
        return Err(
            Problem::invalid("the body must be sent as it is: no Content-Encoding is supported")
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        );
    }
    let text = only(&head.headers, &CONTENT_TYPE)?
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let name = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match name.as_str() {
        "application/json" => Ok(Sent::Json),
        "application/ld+json" => Ok(Sent::LdJson),
        "application/merge-patch+json" if head.method == http::Method::PATCH => Ok(Sent::Json),
        _ => Err(
            Problem::invalid("the body must be application/json or application/ld+json")
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ),
    }
}

/// The URL of the JSON-LD context in the Link headers, if there is one.
pub fn context_link(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut found = None;
    for value in headers.get_all(LINK) {
        let text = value
            .to_str()
            .map_err(|_| Problem::bad_data("a Link header is not text"))?;
        for (url, relation) in links(text)? {
            if relation == RELATION && found.replace(url.to_owned()).is_some() {
                return Err(Problem::bad_data(
                    "more than one Link header has a JSON-LD context",
                ));
            }
        }
    }
    Ok(found)
}

/// Checks that the Link header, if there is one, can be read and names a URL: also where no name is read or shown, so that no
/// client learns at one operation what it may not do at the next.
fn checked_link(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(url) = context_link(headers)? {
        check(&Json::string(&url))?;
    }
    Ok(())
}

/// The links of a header, with their relations.
fn links(text: &str) -> Result<Vec<(&str, &str)>, Problem> {
    let malformed = || Problem::bad_data("a Link header is not <URL>; rel=\"…\"; type=\"…\"");
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (url, after) = rest
            .strip_prefix('<')
            .and_then(|r| r.split_once('>'))
            .ok_or_else(malformed)?;
        // Parameters go on to the comma before the next <; a comma inside quotes is not followed by one.
        let end = after.find(',').and_then(|_| {
            after.match_indices(',').find(|(at, _)| {
                after
                    .get(at + 1..)
                    .is_some_and(|r| r.trim_start().starts_with('<'))
            })
        });
        let (parameters, next) = match end {
            Some((at, _)) => (
                after.get(..at).unwrap_or_default(),
                after.get(at + 1..).unwrap_or_default(),
            ),
            None => (after, ""),
        };
        let relation = parameters
            .split(';')
            .filter_map(|p| p.trim().split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("rel"));
        found.push((
            url.trim(),
            relation.map_or("", |(_, value)| value.trim().trim_matches('"')),
        ));
        rest = next.trim();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(text: &str) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, HeaderValue::from_str(text).unwrap());
        context_link(&headers)
    }

    #[test]
    fn only_links_to_contexts_count() {
        let context = "<https://c.example/a,b>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
        assert_eq!(link(context).unwrap().as_deref(), Some("https://c.example/a,b"));
        assert_eq!(
            link(&format!("<x>; rel=\"next\", {context}")).unwrap().as_deref(),
            Some("https://c.example/a,b")
        );
        assert_eq!(link("<x>; rel=\"next\"").unwrap(), None);
        assert!(link(&format!("{context}, {context}")).is_err());
        assert!(link("https://c.example/a").is_err());
    }

    proptest! {
        #[test]
        fn any_link_header_is_answered(text in "[ -~]{0,60}") {
            let _ = link(&text);
        }
    }
}
