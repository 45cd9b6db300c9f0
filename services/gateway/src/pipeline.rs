//! One request, step by step: head checks → identity → limits → rules → broker → audit. Each step either lets the call go on or says no.

use crate::answer::{Answer, AnswerBody};
use crate::audit::Record;
use crate::body::{Body, BodyError};
use crate::checks::target::Target;
use crate::checks::{Refused, fields, forwarded};
use crate::config::Allowance;
use crate::cors;
use crate::door::Peer;
use crate::identity::{self, Asking};
use crate::limits;
use crate::message::body::Framing;
use crate::operation::{self, Operation};
use crate::policy::{self, Question};
use crate::problem::Problem;
use crate::settings::Settings;
use crate::upstream::{Failure, Outgoing};
use crate::worker::Worker;
use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, STRICT_TRANSPORT_SECURITY};
use http::{Method, StatusCode};
use jiff::Timestamp;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TENANT: HeaderName = HeaderName::from_static("ngsild-tenant");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that a proxy may give a request.
const MAX_REQUEST_ID: usize = 128;

/// The longest word of a client in a line of the audit trail, in characters.
const MAX_WORD: usize = 256;

/// A request as it came.
pub struct Arrival<'a> {
    /// The method.
    pub method: Method,
    /// What stood between method and version.
    pub target: Bytes,
    /// The fields, without framing.
    pub fields: HeaderMap,
    /// Whose connection it came over.
    pub peer: &'a Peer,
}

/// A request whose head is in order. What stands here is judged and forwarded, and nothing else.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query in their one form.
    pub target: Target,
    /// The fields that go on.
    pub fields: HeaderMap,
    /// The client's address.
    pub client: IpAddr,
    /// The name of this request, in the audit trail and in the answer.
    pub id: HeaderValue,
}

/// Answers one request.
pub async fn answer(worker: &Rc<Worker>, arrival: Arrival<'_>, body: Body<'_>) -> Answer {
    let start = Instant::now();
    let settings = Arc::clone(&worker.settings.borrow());
    let cors = settings.config.cors.as_ref();
    let origin = cors::origin(cors, &arrival.fields);
    let mut record = Record {
        address: Some(arrival.peer.address),
        method: Some(arrival.method.clone()),
        ..Record::default()
    };
    let mut answer = match steps(worker, &settings, arrival, body, &mut record).await {
        Ok(answer) => answer,
        Err(problem) => {
            worker.metrics.refused(problem.cause());
            record.refused = Some(problem.cause());
            problem.answer()
        }
    };
    if let Some(id) = &record.request {
        answer.fields.insert(REQUEST_ID, id.clone());
    }
    cors::dress(&mut answer.fields, cors, origin);
    finish(worker, &settings, &mut answer, &record, start.elapsed());
    answer
}

/// The answer to what is no request.
#[must_use]
pub fn refused(worker: &Worker, peer: &Peer, problem: Problem) -> Answer {
    let record = Record {
        address: Some(peer.address),
        refused: Some(problem.cause()),
        ..Record::default()
    };
    worker.metrics.refused(problem.cause());
    let mut answer = problem.answer();
    let settings = Arc::clone(&worker.settings.borrow());
    finish(worker, &settings, &mut answer, &record, Duration::ZERO);
    answer
}

/// The steps, of which each either lets the call go on or says no.
async fn steps(
    worker: &Rc<Worker>,
    settings: &Settings,
    arrival: Arrival<'_>,
    body: Body<'_>,
    record: &mut Record,
) -> Result<Answer, Problem> {
    let certificate = arrival.peer.certificate.clone();
    let mut call = checked(arrival, settings)?;
    let (operation, id) = operation::of(&call.method, &call.target);
    note(
        record,
        &call,
        (operation, id.as_deref()),
        settings.config.audit.ids,
    );
    if let Some(answer) = cors::preflight(settings.config.cors.as_ref(), &call.method, &call.fields) {
        return Ok(answer);
    }
    let asking = Asking {
        method: &call.method,
        path: call.target.path(),
        certificate: certificate.as_deref(),
    };
    let subject = identity::identify(settings, &worker.known, &mut call.fields, asking).await?;
    record.subject = Some(Arc::clone(&subject));
    let may = limits::of(&settings.config.limits, &subject);
    let bucket = || limits::bucket(&subject, call.client);
    worker.rates.take(bucket, may, Instant::now()).map_err(too_many)?;
    let question = Question {
        subject: &subject,
        tenant: call.fields.get(TENANT).and_then(|tenant| tenant.to_str().ok()),
        operation,
        method: &call.method,
        id: id.as_deref(),
        may_make: call.target.segments().any(|segment| segment == "upsert"),
    };
    let permit = policy::permit(settings, &worker.permissions, &question)?;
    record.rule = permit.rule;
    if let Some(field) = permit.field {
        call.fields.insert(policy::PERMISSIONS, field);
    }
    forward(worker, settings, &call, body, may).await
}

/// What the audit trail says of a call.
fn note(record: &mut Record, call: &Call, (operation, id): (Operation, Option<&str>), ids: u8) {
    record.address = Some(call.client);
    record.request = Some(call.id.clone());
    record.operation = Some(operation);
    let tenant = call.fields.get(TENANT).and_then(|tenant| tenant.to_str().ok());
    record.tenant = tenant.map(cut);
    let query = call.target.query().unwrap_or_default().split('&');
    let lists = query.filter_map(|pair| pair.strip_prefix("id="));
    let lists = lists.map(|list| percent_encoding::percent_decode_str(list).decode_utf8_lossy());
    let named = lists.flat_map(|list| list.split(',').map(cut).collect::<Vec<_>>());
    record.ids = id
        .iter()
        .map(|id| cut(id))
        .chain(named)
        .take(ids.into())
        .collect();
}

/// As much of a client's word as a line has.
fn cut(text: &str) -> String {
    text.chars().take(MAX_WORD).collect()
}

/// What every answer has, and what is told of it.
fn finish(worker: &Worker, settings: &Settings, answer: &mut Answer, record: &Record, took: Duration) {
    let seconds = settings.config.tls.hsts;
    if seconds > 0
        && let Ok(value) = HeaderValue::try_from(format!("max-age={seconds}"))
    {
        answer.fields.insert(STRICT_TRANSPORT_SECURITY, value);
    }
    worker
        .metrics
        .answered(record.method.as_ref(), answer.status, took);
    if settings.config.audit.enabled
        && !worker
            .audit
            .tell(&record.line(Timestamp::now(), answer.status, took))
    {
        worker.metrics.audit_lost(1);
    }
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs().saturating_add(1);
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate",
        "whoever asks asks too often",
    )
    .with(RETRY_AFTER, seconds.into())
}

/// The head checks.
fn checked(arrival: Arrival<'_>, settings: &Settings) -> Result<Call, Problem> {
    let refused = |Refused(why)| Problem::new(StatusCode::BAD_REQUEST, "malformed", why);
    let Arrival {
        method,
        target,
        mut fields,
        peer,
    } = arrival;
    if !matches!(
        method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS
    ) {
        return Err(Problem::method());
    }
    let target = Target::read(&target).map_err(refused)?;
    fields::check(&mut fields).map_err(refused)?;
    if !is_of_ours(&fields, &settings.config.hosts) {
        let words = "this host is not served here";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", words));
    }
    let proxies = &settings.config.trusted_proxies;
    let id = request_id(&fields, forwarded::is_trusted(peer.address, proxies));
    fields.insert(REQUEST_ID, id.clone());
    let client = forwarded::rewrite(&mut fields, peer.address, proxies);
    Ok(Call {
        method,
        target,
        fields,
        client,
        id,
    })
}

/// Whether the host, without its port, is one of those that are served; where none are named, any is.
fn is_of_ours(fields: &HeaderMap, hosts: &[String]) -> bool {
    let host = fields
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    hosts.is_empty() || hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// A name that nobody else has; a trusted proxy may have given one.
fn request_id(fields: &HeaderMap, is_trusted: bool) -> HeaderValue {
    let given = fields.get(REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        is_trusted && id.len() <= MAX_REQUEST_ID && id.iter().all(u8::is_ascii_graphic)
    });
    let new = || HeaderValue::try_from(format!("{:032x}", rand::random::<u128>()));
    given
        .cloned()
        .or_else(|| new().ok())
        .unwrap_or(HeaderValue::from_static("-"))
}

async fn forward(
    worker: &Rc<Worker>,
    settings: &Settings,
    call: &Call,
    mut body: Body<'_>,
    may: &Allowance,
) -> Result<Answer, Problem> {
    body.bound(may.body.get()).map_err(bad_body)?;
    let outgoing = Outgoing {
        method: &call.method,
        target: call.target.as_str(),
        fields: &call.fields,
    };
    let mut answered = worker
        .upstream
        .send(&settings.way, outgoing, body)
        .await
        .map_err(|failure| failed(&failure))?;
    fields::strip_answer(&mut answered.fields);
    let body = match answered.framing {
        Framing::Empty => AnswerBody::None,
        framing => AnswerBody::Upstream(framing, Box::new(answered.body)),
    };
    Ok(Answer {
        status: answered.status,
        fields: answered.fields,
        body,
    })
}

/// Why the broker did not answer is for the log; a client learns whose fault it is.
fn failed(failure: &Failure) -> Problem {
    if let Failure::Client(error) = failure {
        return bad_body(*error);
    }
    tracing::warn!(%failure, "a request could not be forwarded");
    match failure {
        Failure::Unreachable(_) => Problem::unavailable("broker_unreachable", "the broker cannot be reached"),
        Failure::Slow => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "broker_slow",
            "the broker did not answer in time",
        ),
        _ => Problem::new(
            StatusCode::BAD_GATEWAY,
            "broker_broken",
            "the broker gave no answer that can be read",
        ),
    }
}

fn bad_body(error: BodyError) -> Problem {
    let (status, cause) = match error {
        BodyError::Malformed(malformed) => (malformed.status(), "malformed"),
        BodyError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
        BodyError::Gone => (StatusCode::BAD_REQUEST, "client_gone"),
    };
    Problem::new(status, cause, error.to_string())
}
