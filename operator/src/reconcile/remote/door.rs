//! The way out: through the guard for URLs, within the lease, counted.

use std::time::Duration;

use http::Method;
use mim_egress::{Client, Error, Request, Response};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::reconcile::lease::LeaseClock;

/// Longest call.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
pub const MAX_BODY: usize = 256 * 1024;

/// The way out for one errand.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    client: &'a Client,
    lease: &'a LeaseClock,
    metrics: &'a Metrics,
    kind: &'static str,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The guard said no, or the other side did not answer. Whether it has done what it was asked is not known: look before asking again.
    #[error(transparent)]
    Call(#[from] Error),
    /// The lease is not held any more: whoever holds it goes on.
    #[error("not sent: this operator does not hold the lease")]
    NoLease,
}

impl<'a> Door<'a> {
    /// For an object of that kind.
    #[must_use]
    pub const fn new(
        client: &'a Client,
        lease: &'a LeaseClock,
        metrics: &'a Metrics,
        kind: &'static str,
    ) -> Self {
        Self {
            client,
            lease,
            metrics,
            kind,
        }
    }

    /// Makes one call, of at most 5 s and 256 KiB whatever the request says. Nothing that changes something is sent without the lease.
    pub async fn send(&self, request: Request) -> Result<Response, Unsent> {
        let method = request.method.clone();
        if method != Method::GET && !self.lease.is_held(Instant::now()) {
            return Err(Unsent::NoLease);
        }
        let request = Request {
            timeout: TIMEOUT,
            max_body: MAX_BODY,
            ..request
        };
        let answer = self.client.send(request).await;
        let code = match &answer {
            Ok(response) => response.status.as_str().to_owned(),
            Err(Error::Timeout { .. }) => "timeout".to_owned(),
            Err(error) if error.by_guard() => "refused".to_owned(),
            Err(_) => "error".to_owned(),
        };
        self.metrics.remote_request(self.kind, word(&method), code);
        Ok(answer?)
    }
}

/// The method in metrics, of a closed list.
const fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use mim_egress::Policy;
    use url::Url;

    use super::*;

    #[tokio::test]
    async fn without_the_lease_nothing_is_changed_but_looking_goes_on() {
        let client = Client::new(Policy::new(vec![], vec![]));
        let (lease, metrics) = (LeaseClock::not_held(), Metrics::new());
        let door = Door::new(&client, &lease, &metrics, "ContextSubscription");
        let request = |method| Request {
            method,
            ..Request::new(Url::parse("http://127.0.0.1:1/").unwrap())
        };
        for method in [Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
            assert_eq!(door.send(request(method)).await.unwrap_err(), Unsent::NoLease);
        }
        let looked = door.send(request(Method::GET)).await.unwrap_err();
        assert!(
            matches!(looked, Unsent::Call(Error::AddressRefused { .. })),
            "{looked}"
        );
        lease.extend(Instant::now() + Duration::from_secs(10));
        let sent = door.send(request(Method::POST)).await.unwrap_err();
        assert!(matches!(sent, Unsent::Call(_)), "{sent}");
        let counted = metrics.render().unwrap();
        let line =
            "mim_remote_requests_total{kind=\"ContextSubscription\",method=\"post\",code=\"refused\"} 1";
        assert!(counted.contains(line), "{counted}");
    }
}
