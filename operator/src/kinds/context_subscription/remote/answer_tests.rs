//! What answers mean.

use bytes::Bytes;
use http::HeaderMap;
use mim_egress::Place;
use serde_json::json;
use url::Url;

use super::*;
use crate::kinds::context_subscription::remote::fixtures::{shown, wanted};

fn response(status: u16, body: impl Into<Bytes>) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: None,
        headers: HeaderMap::new(),
        body: body.into(),
        url: Url::parse("https://broker.example.org/").unwrap(),
    }
}

fn problem(r#type: &str) -> String {
    let r#type = format!("https://uri.etsi.org/ngsi-ld/errors/{type}");
    json!({"type": r#type, "title": "secret-title", "detail": "secret-detail"}).to_string()
}

#[test]
fn only_a_broker_that_says_so_has_no_such_subscription() {
    let wanted = wanted(&json!({}));
    let read = |status, body: String| of_read(&wanted, Ok(response(status, body)));
    for r#type in ["ResourceNotFound", "NonexistentTenant"] {
        assert_eq!(read(404, problem(r#type)).unwrap(), Found::nothing(), "{type}");
    }
    let proxy = read(404, "default backend - 404".to_owned()).unwrap_err();
    assert_eq!(proxy.reason, Reason::BrokerRefused);
    assert!(
        !proxy.terminal && proxy.message.contains("check the address"),
        "{}",
        proxy.message
    );
    let sent = serde_json::to_string(&wanted.body.as_ref().unwrap().sent).unwrap();
    assert!(read(200, sent).unwrap().is_there());
    for body in ["[]", "{}", "<html>", r#"{"type": "Entity"}"#, ""] {
        assert_eq!(
            read(200, body.to_owned()).unwrap_err().reason,
            Reason::BrokerRefused,
            "{body}"
        );
    }
    assert!(shown(&wanted, &json!({})).is_there());
}

#[test]
fn a_step_is_done_also_where_somebody_was_faster() {
    let wanted = wanted(&json!({}));
    let step = |method: &Method, status| of_step(&wanted, method, Ok(response(status, ""))).is_ok();
    for (method, status, done) in [
        (Method::POST, 201, true),
        (Method::POST, 409, true),
        (Method::POST, 404, false),
        (Method::PATCH, 204, true),
        (Method::PATCH, 404, true),
        (Method::PATCH, 409, false),
        (Method::DELETE, 204, true),
        (Method::DELETE, 404, true),
        (Method::DELETE, 500, false),
    ] {
        assert_eq!(step(&method, status), done, "{method} {status}");
    }
}

#[test]
fn a_refusal_says_what_to_do_and_repeats_nothing_but_words_of_the_standard() {
    let wanted = wanted(&json!({}));
    for (status, body, reason, terminal, words) in [
        (
            400,
            problem("BadRequestData"),
            Reason::BrokerRefused,
            true,
            "400 BadRequestData",
        ),
        (
            400,
            problem("secret-word"),
            Reason::BrokerRefused,
            true,
            "400 Bad Request",
        ),
        (400, "secret".to_owned(), Reason::BrokerRefused, true, "check q"),
        (
            401,
            String::new(),
            Reason::BrokerUnauthorised,
            false,
            "tokenSecretRef",
        ),
        (
            403,
            String::new(),
            Reason::BrokerUnauthorised,
            false,
            "tokenSecretRef",
        ),
        (
            404,
            problem("NonexistentTenant"),
            Reason::BrokerRefused,
            false,
            "spec.tenant",
        ),
        (
            405,
            String::new(),
            Reason::BrokerRefused,
            false,
            "keeps no subscriptions",
        ),
        (
            422,
            problem("OperationNotSupported"),
            Reason::BrokerRefused,
            true,
            "OperationNotSupported",
        ),
        (429, String::new(), Reason::BrokerUnreachable, false, "429"),
        (
            500,
            problem("InternalError"),
            Reason::BrokerUnreachable,
            false,
            "500 InternalError",
        ),
        (501, String::new(), Reason::BrokerRefused, false, "501"),
        (
            501,
            problem("NoMultiTenantSupport"),
            Reason::BrokerRefused,
            true,
            "without spec.tenant",
        ),
        (
            503,
            problem("LdContextNotAvailable"),
            Reason::BrokerRefused,
            false,
            "spec.jsonldContext",
        ),
        (
            504,
            problem("LdContextNotAvailable"),
            Reason::BrokerRefused,
            false,
            "spec.jsonldContext",
        ),
    ] {
        let no = of_step(&wanted, &Method::POST, Ok(response(status, body))).unwrap_err();
        assert_eq!(
            (no.reason, no.terminal),
            (reason, terminal),
            "{status}: {}",
            no.message
        );
        assert!(no.message.contains(words), "{status}: {}", no.message);
        assert!(
            no.message
                .starts_with("ContextBroker vienna (https://broker.example.org/base) "),
            "{}",
            no.message
        );
        assert!(!no.message.contains("secret"), "{}", no.message);
    }
}

#[test]
fn what_keeps_a_call_from_being_made_is_told_by_what_heals_it() {
    let wanted = wanted(&json!({}));
    let place = || Place::of(&Url::parse("https://broker.example.org/").unwrap());
    for (why, reason, terminal) in [
        (
            Error::NotResolved { place: place() },
            Reason::BrokerUnreachable,
            false,
        ),
        (
            Error::CaNotReadable { place: place() },
            Reason::BrokerUnreachable,
            false,
        ),
        (
            Error::TokenNotSendable { place: place() },
            Reason::BrokerUnauthorised,
            false,
        ),
        (
            Error::TokenOverPlainHttp { place: place() },
            Reason::ExternalRefused,
            true,
        ),
        (Error::ApiServer { place: place() }, Reason::ExternalRefused, true),
    ] {
        let no = of_read(&wanted, Err(Unsent::Call(why.clone()))).unwrap_err();
        assert_eq!((no.reason, no.terminal), (reason, terminal), "{why}");
    }
    let silent = Error::NotConnected {
        place: place(),
        cause: "refused".into(),
    };
    let no = of_read(&wanted, Err(Unsent::Call(silent))).unwrap_err();
    assert!(no.message.contains("networkPolicy.probePorts"), "{}", no.message);
}
