//! In which context the answer to a query by body is told (clauses 5.13.1 and 6.3.6).
//!
//! An answer names its context by a URL, and a context that came as a document has none. It gets one of this broker: it
//! is kept as ImplicitlyCreated, once for all queries of the tenant that say the same, so its id is made of its content.
//! Reading goes on where nothing can be written: then names are told by the core context, whole.

use crate::api::call::Call;
use crate::api::contexts::{MAX_CONTEXT, own_url};
use crate::api::problem::Problem;
use crate::context::Context;
use crate::context::core::is_core;
use crate::model::json::Json;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The context that the answer names: the one of the query, where a URL leads to it.
pub async fn told_in(call: &Call, context: Arc<Context>, query: &Json) -> Arc<Context> {
    let sent = match query.get("@context") {
        Some(sent @ (Json::Object(_) | Json::Array(_))) if context.given_link().is_none() => sent,
        _ => return context,
    };
    let told = match only(sent) {
        Only::Core => return Context::core(),
        Only::Url(url) => call.app.contexts.of_link(call.tenant, Some(url)).await,
        Only::More => match at_a_url(call, sent).await {
            Ok(told) => return told,
            Err(problem) => {
                tracing::debug!(?problem, "the context of a query is not kept");
                return Context::core();
            }
        },
    };
    told.unwrap_or_else(|_| Context::core())
}

/// What there is beside the core context, which is always there.
enum Only<'a> {
    Core,
    Url(&'a str),
    More,
}

fn only(sent: &Json) -> Only<'_> {
    let Json::Array(parts) = sent else {
        return Only::More;
    };
    let mut others = parts.iter().filter(|part| !part.as_str().is_some_and(is_core));
    match (others.next(), others.next()) {
        (None, _) => Only::Core,
        (Some(Json::String(url)), None) => Only::Url(url),
        _ => Only::More,
    }
}

/// Keeps the document, unless that was done before, and gives its context.
async fn at_a_url(call: &Call, sent: &Json) -> Result<Arc<Context>, Problem> {
    let text = sent.to_text();
    if text.len() > MAX_CONTEXT {
        return Err(Problem::bad_data(format!("it has more than {MAX_CONTEXT} bytes")));
    }
    let id = id(&text);
    let url = own_url(&call.head, &id);
    let (contexts, store) = (&call.app.contexts, &call.app.store);
    if let Some(known) = contexts.known_of_link(call.tenant, &url).await? {
        return Ok(known);
    }
    if store.context_content(call.tenant, &id).await?.is_none() {
        store.keep_asked(call.tenant, &id, &text).await?;
    }
    Ok(contexts.of_link(call.tenant, Some(&url)).await?)
}

/// The id of a document: a UUID of version 8, as random ones are of version 4.
fn id(text: &str) -> String {
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(Sha256::digest(text)) {
        *byte = hashed;
    }
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .hyphenated()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_document_has_one_id_that_no_random_one_is() {
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
        assert_eq!(id("a").as_bytes()[14], b'8');
        assert_eq!(Uuid::try_parse(&id("a")).unwrap().get_version_num(), 8);
    }

    #[test]
    fn an_array_with_one_url_beside_the_core_context_is_told_by_that_url() {
        let core = crate::context::core::CORE_URL;
        let of = |text: &str| Json::parse(text.as_bytes()).unwrap();
        let array = of(&format!(r#"["https://c.example/a","{core}"]"#));
        assert!(matches!(only(&array), Only::Url("https://c.example/a")));
        assert!(matches!(only(&of(&format!(r#"["{core}"]"#))), Only::Core));
        let more = of(r#"["https://c.example/a","https://c.example/b"]"#);
        assert!(matches!(only(&more), Only::More));
        assert!(matches!(only(&of("{}")), Only::More));
    }
}
