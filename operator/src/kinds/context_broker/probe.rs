//! Whether an external broker answers as an NGSI-LD broker does.

use mim_crds::ProbeResult;
use mim_egress::Response;
use serde_json::Value;
use url::Url;

pub use crate::reconcile::probes::Probe;

/// Retrieve Available Entity Types (ETSI GS CIM 009, 5.7.5): every broker has it, and it is cheap.
const PATH: &str = "ngsi-ld/v1/types?limit=1";

/// The URL that is asked, for a broker at this address.
#[must_use]
pub fn url(base: &str) -> Option<Url> {
    Url::parse(&format!("{}/{PATH}", base.trim_end_matches('/'))).ok()
}

/// What an answer means. Nothing that the other side sent goes into the words.
#[must_use]
pub fn judge(response: &Response) -> (ProbeResult, String) {
    let status = response.status;
    match status.as_u16() {
        200 if lists_types(&response.body) => (ProbeResult::Answered, "the broker answers".to_owned()),
        200 => (
            ProbeResult::NotNgsiLd,
            "it answers 200 to GET /ngsi-ld/v1/types, but not with a list of entity types; check external.url".to_owned(),
        ),
        401 | 403 => (
            ProbeResult::Unauthorised,
            format!("it answers {status} to GET /ngsi-ld/v1/types; check the token in external.tokenSecretRef and what it may read"),
        ),
        500..=599 | 429 => (ProbeResult::Unreachable, format!("it answers {status} to GET /ngsi-ld/v1/types")),
        _ => (
            ProbeResult::NotNgsiLd,
            format!("it answers {status} to GET /ngsi-ld/v1/types, as no NGSI-LD broker does; check external.url"),
        ),
    }
}

/// An `EntityTypeList` or, from some brokers, an array (5.2.24).
fn lists_types(body: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(_)) => true,
        Ok(Value::Object(members)) => {
            members.contains_key("typeList") || members.contains_key("ngsi-ld:typeList")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &'static str) -> Response {
        Response {
            status: http::StatusCode::from_u16(status).unwrap(),
            content_type: None,
            headers: http::HeaderMap::new(),
            body: body.into(),
            url: Url::parse("http://b.example/").unwrap(),
        }
    }

    #[test]
    fn answers_are_judged_by_what_only_a_broker_says() {
        for (status, body, expected) in [
            (
                200,
                r#"{"id":"urn:x","type":"EntityTypeList","typeList":["A"]}"#,
                ProbeResult::Answered,
            ),
            (200, "[]", ProbeResult::Answered),
            (200, "<html>", ProbeResult::NotNgsiLd),
            (200, "{}", ProbeResult::NotNgsiLd),
            (401, "", ProbeResult::Unauthorised),
            (404, "", ProbeResult::NotNgsiLd),
            (503, "", ProbeResult::Unreachable),
        ] {
            assert_eq!(judge(&response(status, body)).0, expected, "{status} {body}");
        }
    }

    #[test]
    fn nothing_of_the_answer_is_echoed() {
        assert!(!judge(&response(200, "secret-words")).1.contains("secret-words"));
    }

    #[test]
    fn a_path_of_the_address_is_kept() {
        assert_eq!(
            url("https://x.example/base/").unwrap().as_str(),
            "https://x.example/base/ngsi-ld/v1/types?limit=1"
        );
    }
}
