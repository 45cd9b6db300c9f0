//! `/jsonldContexts` and `/jsonldContexts/{id}` (clauses 5.13 and 6.29 to 6.30).
//!
//! A context is a tenant's, and is seen by its requests only ([`crate::store::contexts`] says why). Its URL has the host
//! by which the client reached the broker; the broker knows it again by path and id, whatever host stands before them.
//! Uses are counted when a context gives names their meaning and when it is served, its details too, but not when all
//! contexts are listed; what is counted is written before it is told.

use crate::api::App;
use crate::api::accept::{Media, OFFERED, negotiate};
use crate::api::call::Call;
use crate::api::params::{Known, Limited};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply::{self, Roomed, UNCOUNTED};
use crate::context::cache::{OWN_PATH, check, own_id};
use crate::context::core::is_core;
use crate::context::uses::Part;
use crate::memory::room::Held;
use crate::model::json::Json;
use crate::store::contexts::{Kind, MAX_OWN, MAX_OWN_BYTES, Record};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Request, StatusCode};
use jiff::Timestamp;
use std::sync::{Arc, LazyLock};
use url::Url;

/// The largest context that is kept, in bytes, as one that is fetched.
pub(super) const MAX_CONTEXT: usize = crate::context::fetch::MAX_DOCUMENT;

pub(in crate::api) const ADD: Known = Known {
    names: &[],
    later: &[],
    options: &[],
    limited: Limited::Administrators,
};
pub(in crate::api) const LIST: Known = Known {
    names: &["details", "kind"],
    later: &[],
    options: &[],
    limited: Limited::Administrators,
};
pub(in crate::api) const SERVE: Known = Known {
    names: &["details"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const DELETE: Known = Known {
    names: &["reload"],
    later: &[],
    options: &[],
    limited: Limited::Administrators,
};

/// When this process began: since when the core context is there.
static BEGAN: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);

/// Add (5.13.2).
pub async fn add(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &ADD)?;
    let (json, _) = call.json(body).await?;
    let Some(context) = json.get("@context") else {
        return Err(Problem::invalid("the body is an object with a member @context"));
    };
    let id = keep(&call, Kind::Hosted, context).await?;
    Ok(reply::created_at(format!("{OWN_PATH}{id}")))
}

/// Keeps an @context that a client sent where only a URL can be told, and gives its id and URL. Whoever asked for it
/// sees to its end, with [`crate::store::Store::delete_context`]; a client may delete it before.
pub async fn make_implicitly(call: &Call, context: &Json) -> Result<(String, String), Problem> {
    let id = keep(call, Kind::ImplicitlyCreated, context).await?;
    let url = own_url(&call.head, &id);
    Ok((id, url))
}

async fn keep(call: &Call, kind: Kind, context: &Json) -> Result<String, Problem> {
    check(context).map_err(|error| call.problem(error))?;
    let text = context.to_text();
    if text.len() > MAX_CONTEXT {
        return Err(Problem::bad_data(format!(
            "an @context has at most {MAX_CONTEXT} bytes, this one has {}",
            text.len()
        )));
    }
    let added = call.app.store.add_context(call.tenant, kind, &text).await?;
    added.ok_or_else(|| {
        Problem::bad_data(format!(
            "a tenant has at most {MAX_OWN} contexts of its own, with {MAX_OWN_BYTES} bytes together; delete some that are not used"
        ))
    })
}

/// List (5.13.3).
pub async fn list(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &LIST)?;
    let details = call.params.flag("details")?;
    let kind = call.params.get("kind").map(kind).transpose()?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    write_uses(&call).await;
    let records = call.app.store.contexts(call.tenant, kind).await?;
    let shown = records.iter().map(|record| {
        if details {
            details_of(&call, record)
        } else {
            Json::String(url_of(&call, record))
        }
    });
    let body = Json::Array(shown.collect()).to_text();
    let body = reply::roomed(body, &call.app.rooms.answers).await?;
    Ok(of_media(media, body))
}

fn kind(name: &str) -> Result<Kind, Problem> {
    Kind::named(name).ok_or_else(|| {
        Problem::bad_data(format!(
            "kind is Hosted, Cached or ImplicitlyCreated, not {name:?}"
        ))
    })
}

/// Serve (5.13.4).
pub async fn serve(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &SERVE)?;
    let details = call.params.flag("details")?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    if is_core(&name) {
        return if details {
            Ok(of_media(media, core_details(&name).to_text()))
        } else {
            Err(is_elsewhere(&name))
        };
    }
    write_uses(&call).await;
    let record = find(&call, &name).await?.ok_or_else(|| no_context(&name))?;
    let body = match (details, &record.url) {
        (true, _) => {
            let text = details_of(&call, &record).to_text();
            Roomed {
                text,
                room: Held::default(),
            }
        }
        (false, Some(url)) => return Err(is_elsewhere(url)),
        (false, None) => content(&call, &record).await?,
    };
    let part = match record.url {
        Some(url) => Part::Url(url.into()),
        None => Part::Own(record.id.into()),
    };
    call.app.contexts.note(call.tenant, part);
    Ok(of_media(media, body))
}

/// The content of a context that is kept here, as a document.
async fn content(call: &Call, record: &Record) -> Result<Roomed, Problem> {
    let mut room = Held::default();
    if record.size > UNCOUNTED {
        // Once as it comes from the database, and once as it is sent.
        let taken = call.app.rooms.answers.take(2 * record.size).await;
        room =
            taken.map_err(|_| Problem::unavailable("too many large answers are being sent at the moment"))?;
    }
    let content = call.app.store.context_content(call.tenant, &record.id).await?;
    let content = content.ok_or_else(|| no_context(&record.id))?;
    let text = format!("{{\"@context\":{content}}}");
    Ok(Roomed { text, room })
}

/// Delete, or with `reload=true` fetch anew (5.13.5). Answered when no replica uses the old one any more.
pub async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &DELETE)?;
    let reload = call.params.flag("reload")?;
    if is_core(&name) {
        return if reload {
            // It is a part of the broker, so there is nothing newer.
            Ok(reply::no_content())
        } else {
            Err(Problem::bad_data("the core context cannot be deleted"))
        };
    }
    write_uses(&call).await;
    let found = find(&call, &name).await?;
    match (reload, found) {
        (false, None) => return Err(no_context(&name)),
        (true, None) => {
            return Err(Problem::bad_data(
                "reload=true is for a Cached context, and there is none of this id or URL",
            ));
        }
        (true, Some(Record { url: Some(url), .. })) => {
            let reloaded = call.app.contexts.reload(&url).await;
            reloaded.map_err(|error| call.problem(error))?;
            call.app.contexts.spread().await;
        }
        (true, Some(record)) => {
            return Err(Problem::bad_data(format!(
                "reload=true is for a Cached context; this one is {}",
                record.kind
            )));
        }
        (false, Some(record)) => remove(&call, &record).await?,
    }
    Ok(reply::no_content())
}

async fn remove(call: &Call, record: &Record) -> Result<(), Problem> {
    if !call.app.store.delete_context(call.tenant, &record.id).await? {
        return Err(no_context(&record.id));
    }
    call.app.contexts.spread().await;
    Ok(())
}

/// The context of this id or URL; a URL is compared as it is when it is used.
async fn find(call: &Call, name: &str) -> Result<Option<Record>, Problem> {
    let name = match (own_id(name), Url::parse(name)) {
        (Some(id), _) => id.to_owned(),
        (None, Ok(url)) => url.into(),
        (None, Err(_)) => name.to_owned(),
    };
    Ok(call.app.store.context(call.tenant, &name).await?)
}

/// Uses that cannot be written now are told later. In a task of its own: a client that goes away takes none with it.
async fn write_uses(call: &Call) {
    let contexts = Arc::clone(&call.app.contexts);
    let writing = tokio::spawn(async move { contexts.write_uses().await });
    if let Ok(Err(error)) = writing.await {
        tracing::debug!(%error, "uses of contexts could not be written");
    }
}

fn no_context(name: &str) -> Problem {
    Problem::not_found(format!("there is no context {name}"))
}

fn is_elsewhere(url: &str) -> Problem {
    Problem::new(
        ErrorType::OperationNotSupported,
        format!("the content of {url} is served there; here are its details: details=true"),
    )
}

fn of_media(media: Media, body: impl Into<Body>) -> Response {
    let mut response = reply::plain(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.name()));
    response
}

fn url_of(call: &Call, record: &Record) -> String {
    let own = || own_url(&call.head, &record.id);
    record.url.clone().unwrap_or_else(own)
}

/// The members of clause 5.13.3.5, as v1.9.1 names them.
fn details_of(call: &Call, record: &Record) -> Json {
    let mut members = vec![
        ("URL".to_owned(), Json::String(url_of(call, record))),
        ("localId".to_owned(), Json::string(&*record.id)),
        ("kind".to_owned(), Json::string(record.kind.name())),
        ("createdAt".to_owned(), time(record.created)),
    ];
    if let Some(used) = record.used {
        members.push(("lastUsage".to_owned(), time(used)));
    }
    let hits = Json::Number(record.hits.to_string().into());
    members.push(("numberOfHits".to_owned(), hits));
    let url = record.url.as_deref();
    if url.is_some_and(|url| call.app.contexts.is_preloaded(url)) {
        members.push(("extraInfo".to_owned(), extra("preloaded")));
    }
    Json::Object(members)
}

fn core_details(url: &str) -> Json {
    Json::Object(vec![
        ("URL".to_owned(), Json::string(url)),
        ("localId".to_owned(), Json::string(url)),
        ("kind".to_owned(), Json::string(Kind::Cached.name())),
        ("createdAt".to_owned(), time(*BEGAN)),
        ("extraInfo".to_owned(), extra("builtIn")),
    ])
}

/// What is said of contexts that are never fetched.
fn extra(source: &str) -> Json {
    Json::Object(vec![("source".to_owned(), Json::string(source))])
}

fn time(at: Timestamp) -> Json {
    Json::String(format!("{at:.3}"))
}

/// The URL of a context that is kept here, with the host by which the client reached the broker.
pub(super) fn own_url(head: &Parts, id: &str) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(Authority::as_str));
    let Some(host) = host.filter(|host| is_host(host)) else {
        return format!("{OWN_PATH}{id}");
    };
    // Said by whatever ends TLS before the broker; a client can only mislead itself.
    let is_https = head
        .headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "https");
    format!(
        "{}://{host}{OWN_PATH}{id}",
        if is_https { "https" } else { "http" }
    )
}

fn is_host(text: &str) -> bool {
    !text.contains('@')
        && text
            .parse::<Authority>()
            .is_ok_and(|host| !host.host().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/ngsi-ld/v1/jsonldContexts");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_url_has_the_host_by_which_the_client_came() {
        let id = "5e0c7a5c-7f1d-4f43-9f9e-0c8f6b7f2a11";
        for (headers, expected) in [
            (&[("host", "city.example:8080")][..], "http://city.example:8080"),
            (&[("host", "[fd00::1]:1026")], "http://[fd00::1]:1026"),
            (
                &[("host", "city.example"), ("x-forwarded-proto", "https")],
                "https://city.example",
            ),
            (&[], ""),
            (&[("host", "a b")], ""),
            (&[("host", "user:word@city.example")], ""),
            (&[("host", "city.example/path")], ""),
            (&[("host", "<script>")], ""),
        ] {
            let url = own_url(&head(headers), id);
            assert_eq!(url, format!("{expected}{OWN_PATH}{id}"), "{headers:?}");
            assert_eq!(own_id(&url), Some(id));
        }
    }
}
