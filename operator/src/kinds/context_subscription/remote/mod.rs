//! The subscription in the broker: what is wanted, what is there, and what comes next. All of it is pure but for the reading.

mod answer;
pub mod body;
mod found;
mod steps;

#[cfg(test)]
#[path = "fixtures.rs"]
pub(crate) mod fixtures;

use std::hash::{DefaultHasher, Hash, Hasher};

use http::header::{ACCEPT, HeaderValue};
use http::{HeaderName, Method};
use mim_egress::{Allow, Request, Response};
use url::Url;

use super::plan::{Body, Broker, Plan};
use crate::reconcile::kind::Complaint;
use crate::reconcile::remote::{Door, Remote, Step, Unsent, Written};

pub use found::Found;

/// Subscriptions in brokers.
pub struct Subscriptions;

/// What must be there.
#[derive(Clone, PartialEq)]
pub struct Wanted {
    /// Where.
    pub broker: Broker,
    /// Tenant; `None`: the default one.
    pub tenant: Option<String>,
    /// Id of the subscription.
    pub id: String,
    /// What it must be; `None`: it must not be there.
    pub body: Option<Body>,
    /// Whether it has ended by itself: then it is left as it is, for a broker takes no end that is over.
    pub expired: bool,
}

impl Wanted {
    /// That it is not there.
    #[must_use]
    pub const fn gone(broker: Broker, tenant: Option<String>, id: String) -> Self {
        Self {
            broker,
            tenant,
            id,
            body: None,
            expired: false,
        }
    }

    /// A request about the subscription, or about all of them.
    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request {
            method,
            token: self.broker.token.clone(),
            ca_pem: self.broker.ca_pem.clone(),
            allow: Allow::ServicesOf(self.broker.namespace.clone()),
            ..Request::new(url)
        };
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(ACCEPT, json);
        if let Some(tenant) = self.tenant.as_deref().and_then(|tenant| tenant.parse().ok()) {
            request.headers.insert(TENANT, tenant);
        }
        request
    }

    /// The URL of the subscription. Its id has only characters that a path has.
    fn url(&self) -> Url {
        let all = &self.broker.subscriptions;
        all.join(&format!("./{}", self.id))
            .unwrap_or_else(|_| all.clone())
    }

    /// The URL of all of them, without the slash at its end.
    fn all(&self) -> Url {
        let mut url = self.broker.subscriptions.clone();
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        url
    }
}

const TENANT: HeaderName = HeaderName::from_static("ngsild-tenant");

impl Remote for Subscriptions {
    type Plan = Plan;
    type Wanted = Wanted;
    type Found = Found;

    fn wanted(plan: &Plan) -> Wanted {
        Wanted {
            broker: plan.broker.clone(),
            tenant: plan.tenant.clone(),
            id: plan.id(),
            body: Some(plan.body.clone()),
            expired: plan.expired,
        }
    }

    fn place(wanted: &Wanted) -> &str {
        &wanted.broker.endpoint
    }

    fn what(wanted: &Wanted) -> String {
        format!("subscription {}", wanted.id)
    }

    fn digest(wanted: &Wanted) -> String {
        wanted
            .body
            .as_ref()
            .map_or_else(|| "gone".to_owned(), steps::applied)
    }

    async fn read(wanted: &Wanted, door: &Door<'_>) -> Result<Found, Complaint> {
        let answer = door.send(wanted.request(Method::GET, wanted.url())).await;
        answer::of_read(wanted, answer)
    }

    fn next_step(wanted: &Wanted, found: &Found, written: &Written) -> Option<Step> {
        steps::next(wanted, found, written)
    }

    fn judge(wanted: &Wanted, step: &Step, answer: Result<Response, Unsent>) -> Result<(), Complaint> {
        answer::of_step(wanted, &step.request.method, answer)
    }

    fn shown(wanted: &Wanted, found: &Found) -> Option<String> {
        found.digest(wanted)
    }

    fn news(wanted: &Wanted, found: &Found) -> u64 {
        let mut hasher = DefaultHasher::new();
        let fails = found.delivery.as_ref().map(|delivery| delivery.result);
        let said = (found.is_there(), found.state.map(|state| state as u8));
        (said, fails.flatten().map(|of| of as u8), found.missing(wanted)).hash(&mut hasher);
        hasher.finish()
    }
}
