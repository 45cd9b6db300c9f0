//! The layer itself.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use super::body::AnswerBody;
use super::{Observer, Record, Verb, Verdict};
use crate::metrics::{Metrics, RequestLabels};
use crate::reconcile::lease::LeaseClock;

/// How long a request may take, its answer's body included. A watch is bounded until its head is here; from then on
/// its own time limit and the watcher's idle limit hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Any request but a list.
    pub request: Duration,
    /// A list.
    pub list: Duration,
}

impl Default for Limits {
    /// 30 s; a list 60 s, which is where the API server itself gives up (`--request-timeout`).
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            list: Duration::from_mins(1),
        }
    }
}

/// Why a request was not sent, or was given up, on our side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// The lease is not, or no longer, held. Whoever holds it goes on; there is nothing to try again here.
    #[error("not sent: this operator does not hold the lease ({request})")]
    NoLease {
        /// What it was.
        request: String,
    },
    /// No whole answer came in time. Whether the API server has done it is not known: look before sending it again.
    #[error("no answer from the API server within {limit:?} ({request})")]
    TimedOut {
        /// What it was.
        request: String,
        /// The limit that has passed.
        limit: Duration,
    },
    /// A test has cut this client off, as if the process had died.
    #[error("cut off by a test")]
    Cut,
}

impl Interrupted {
    /// Finds the interruption behind an error of kube's client.
    #[must_use]
    pub fn of(error: &kube::Error) -> Option<&Self> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = match error {
            kube::Error::Service(inner) => Some(&**inner),
            other => std::error::Error::source(other),
        };
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // `io::Error` hides what it wraps from `source`.
            if let Some(found) = error
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref)
                .and_then(|inner| {
                    inner
                        .downcast_ref::<Self>()
                        .or_else(|| Self::of(inner.downcast_ref::<kube::Error>()?))
                })
            {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::NoLease { .. } => "refused",
            Self::TimedOut { .. } => "timeout",
            Self::Cut => "cut",
        }
    }
}

/// Numbers, observes, guards and counts every request of one client. A clone belongs to the same client.
#[derive(Clone)]
pub struct RequestLayer {
    shared: Arc<Shared>,
}

struct Shared {
    last_number: AtomicU64,
    metrics: Metrics,
    lease: LeaseClock,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
    cut: watch::Sender<bool>,
    /// When each watch, by its path, was last opened or listed anew.
    followed: Mutex<HashMap<String, Instant>>,
}

impl RequestLayer {
    /// A layer that sends changes only while `lease` is held.
    #[must_use]
    pub fn new(
        metrics: Metrics,
        lease: LeaseClock,
        limits: Limits,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                last_number: AtomicU64::new(0),
                metrics,
                lease,
                limits,
                observer,
                cut: watch::Sender::new(false),
                followed: Mutex::default(),
            }),
        }
    }

    /// How long ago the watch that has not been opened again for the longest time was last tried; `None` before the
    /// first one.
    ///
    /// Every watch ends by its own time limit and is then opened again, and a failed one is tried again, so a time
    /// far above that limit is a watch that nobody follows any more. Meant for [`crate::health::Health::moving`].
    #[must_use]
    pub fn longest_watch(&self) -> Option<Duration> {
        let followed = self
            .shared
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        followed.values().min().map(Instant::elapsed)
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> RequestService<S> {
        RequestService {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A service under the [`RequestLayer`].
#[derive(Clone)]
pub struct RequestService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<Request<Body>> for RequestService<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone is not known to be ready; the one that was polled is.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        Shared::send(Arc::clone(&self.shared), inner, request).boxed()
    }
}

impl Shared {
    async fn send<S, B>(
        self: Arc<Self>,
        mut inner: S,
        request: Request<Body>,
    ) -> Result<Response<AnswerBody>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if *self.cut.borrow() {
            return Err(Interrupted::Cut.into());
        }
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Record::read(number, &request, self.observer.is_some());
        self.follow(&record);
        let mut count = Count::new(&self.metrics, &record);

        if let Some(answer) = self.judge(self.before(&record))? {
            count.status(answer.status());
            return Ok(answer);
        }
        let limit = if record.verb == Verb::List {
            self.limits.list
        } else {
            self.limits.request
        };
        let deadline = Instant::now() + limit;
        // The check of the lease is polled first, and the request is handed on only when its own branch is polled:
        // without the lease nothing is sent.
        let answer = tokio::select! {
            biased;
            reason = self.interruption(&record, deadline, limit) => Err(BoxError::from(reason)),
            answer = async move { inner.call(request).await } => answer.map_err(Into::into),
        };
        let status = answer.as_ref().ok().map(Response::status);
        match (&answer, status) {
            (_, Some(status)) => count.status(status),
            (Err(error), _) => count.failure(error.downcast_ref()),
            (Ok(_), None) => {}
        }
        drop(count);
        tracing::trace!(number, request = %record, status = status.map(|status| status.as_u16()), "answered");
        if let Some(replaced) = self.judge(self.after(&record, status))? {
            return Ok(replaced);
        }
        Ok(answer?.map(|body| self.bound(body, record, deadline, limit)))
    }

    /// Remembers when a watch was last tried; a list belongs to the watch of the same path, where there is one.
    fn follow(&self, record: &Record) {
        if !matches!(record.verb, Verb::Watch | Verb::List) {
            return;
        }
        let path = record.target.split('?').next().unwrap_or_default();
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = followed.get_mut(path) {
            *last = Instant::now();
        } else if record.verb == Verb::Watch {
            followed.insert(path.to_owned(), Instant::now());
        }
    }

    /// Resolves when the request must not be sent or no longer be waited for.
    async fn interruption(&self, record: &Record, deadline: Instant, limit: Duration) -> Interrupted {
        let mut cut = self.cut.subscribe();
        tokio::select! {
            biased;
            () = self.lease.expired(), if record.needs_lease() => {
                Interrupted::NoLease { request: record.to_string() }
            }
            _ = cut.wait_for(|cut| *cut) => Interrupted::Cut,
            () = tokio::time::sleep_until(deadline) => {
                Interrupted::TimedOut { request: record.to_string(), limit }
            }
        }
    }

    fn bound<B>(&self, body: B, record: Record, deadline: Instant, limit: Duration) -> AnswerBody
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let is_watch = record.verb == Verb::Watch;
        let watched = self
            .observer
            .clone()
            .filter(|_| is_watch)
            .map(|observer| (observer, record.clone()));
        // Only an observer can cut: a watch that nobody observes has no bound of ours.
        let bounded = !is_watch || self.observer.is_some();
        let stop = bounded.then(|| {
            let mut cut = self.cut.subscribe();
            async move {
                tokio::select! {
                    _ = cut.wait_for(|cut| *cut) => Interrupted::Cut,
                    () = tokio::time::sleep_until(deadline), if !is_watch => {
                        Interrupted::TimedOut { request: record.to_string(), limit }
                    }
                }
            }
            .boxed()
        });
        AnswerBody::stream(body, stop, watched)
    }

    fn before(&self, record: &Record) -> Verdict {
        self.observer
            .as_ref()
            .map_or(Verdict::Continue, |observer| observer.before(record))
    }

    fn after(&self, record: &Record, status: Option<StatusCode>) -> Verdict {
        self.observer
            .as_ref()
            .map_or(Verdict::Continue, |observer| observer.after(record, status))
    }

    fn judge(&self, verdict: Verdict) -> Result<Option<Response<AnswerBody>>, BoxError> {
        match verdict {
            Verdict::Continue => Ok(None),
            Verdict::Fail(status) => Ok(Some(failure(status)?)),
            Verdict::Cut => {
                self.cut.send_replace(true);
                Err(Interrupted::Cut.into())
            }
        }
    }
}

/// An answer as the API server would give it.
fn failure(status: StatusCode) -> Result<Response<AnswerBody>, http::Error> {
    let reason = match status.as_u16() {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status.as_u16(),
        "message": format!("{reason} (made by a test)"),
    });
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(AnswerBody::whole(body.to_string().into_bytes()))
}

/// Counts a request exactly once, however it ends: a future that is dropped counts as `cancelled`.
struct Count<'a> {
    metrics: &'a Metrics,
    labels: RequestLabels,
    started: Instant,
    answered: bool,
}

impl<'a> Count<'a> {
    fn new(metrics: &'a Metrics, record: &Record) -> Self {
        let labels = RequestLabels {
            verb: record.verb.as_str(),
            resource: record.resource_label(),
            purpose: record.purpose.as_str(),
            code: "cancelled".to_owned(),
        };
        Self {
            metrics,
            labels,
            started: Instant::now(),
            answered: false,
        }
    }

    fn status(&mut self, status: StatusCode) {
        status.as_str().clone_into(&mut self.labels.code);
        self.answered = true;
    }

    fn failure(&mut self, interrupted: Option<&Interrupted>) {
        interrupted
            .map_or("error", Interrupted::code)
            .clone_into(&mut self.labels.code);
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        let answered_in = self.answered.then(|| self.started.elapsed());
        self.metrics.request(&self.labels, answered_in);
    }
}
