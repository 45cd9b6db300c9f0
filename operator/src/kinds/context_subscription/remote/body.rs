//! From a spec to a subscription in NGSI-LD's words (ETSI GS CIM 009, 5.2.12).

use k8s_openapi::jiff::Timestamp;
use mim_crds::{
    Accept, ContextSubscription, Endpoint, EntitySelector, Format, GeoQuery, Geometry, Header, Join,
    Notification, Reason, Scheme, SubscriptionMode, Switch, Trigger, duration,
};
use serde_json::{Map, Value, json};
use url::Url;

use crate::kinds::context_subscription::dereference::Secrets;
use crate::kinds::context_subscription::plan::Body;
use crate::reconcile::child::digest;
use crate::reconcile::trouble::Refusal;

/// The subscription. It is written twice: with the values of Secrets, to be sent, and with their versions, for the digest that stands in the
/// status. Another version of a Secret is another digest, and nothing follows from it about a value.
pub fn of(
    subscription: &ContextSubscription,
    id: &str,
    namespace: &str,
    coordinates: &Value,
    secrets: &Secrets,
) -> Result<Body, Refusal> {
    let write = |show: Show<'_>| -> Result<Map<String, Value>, Refusal> {
        let name = subscription.metadata.name.as_deref().unwrap_or_default();
        let mut body = members(json!({
            "id": id,
            "type": "Subscription",
            "subscriptionName": format!("{namespace}/{name}"),
        }));
        what(subscription, coordinates, &mut body)?;
        let notification = notification(&subscription.spec.notification, namespace, show)?;
        body.insert("notification".into(), notification);
        Ok(body)
    };
    Ok(Body {
        sent: write(Show::Values(secrets))?,
        digest: digest(&Value::Object(write(Show::Versions(secrets))?)),
        context: subscription.spec.jsonld_context.clone(),
    })
}

/// What is written in place of what a Secret holds.
#[derive(Clone, Copy)]
enum Show<'a> {
    Values(&'a Secrets),
    Versions(&'a Secrets),
}

impl Show<'_> {
    fn secret(self, name: &str, key: &str) -> String {
        match self {
            Self::Values(secrets) => {
                let value = secrets.values.get(&(name.to_owned(), key.to_owned()));
                value.map(|value| value.trim().to_owned()).unwrap_or_default()
            }
            Self::Versions(secrets) => {
                let version = secrets.versions.get(name).map(String::as_str).unwrap_or_default();
                format!("{name}/{key}/{version}")
            }
        }
    }
}

/// What the subscription is about, and when it sends.
fn what(
    subscription: &ContextSubscription,
    coordinates: &Value,
    body: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    let spec = &subscription.spec;
    let entities: Vec<_> = spec.entities.iter().map(selector).collect();
    put_list(body, "entities", entities);
    put_list(
        body,
        "watchedAttributes",
        spec.watched_attributes.iter().map(|name| json!(name)).collect(),
    );
    let triggers = spec.notification_trigger.iter().map(|of| json!(trigger(of)));
    put_list(body, "notificationTrigger", triggers.collect());
    for (name, field, text) in [
        ("timeInterval", "spec.timeInterval", &spec.time_interval),
        ("throttling", "spec.throttling", &spec.throttling),
    ] {
        if let Some(text) = text {
            body.insert(name.into(), seconds(millis(text, field)?));
        }
    }
    for (name, text) in [
        ("q", &spec.q),
        ("scopeQ", &spec.scope_q),
        ("lang", &spec.lang),
        ("description", &spec.description),
    ] {
        put(body, name, text.as_deref());
    }
    put_list(
        body,
        "datasetId",
        spec.dataset_id.iter().map(|id| json!(id)).collect(),
    );
    if spec.local_only == Some(Switch::Enabled) {
        body.insert("localOnly".into(), json!(true));
    }
    if let Some(geo) = &spec.geo_q {
        body.insert("geoQ".into(), geo_query(geo, coordinates));
    }
    if let Some(at) = &spec.expires_at {
        body.insert("expiresAt".into(), json!(moment(at.0)));
    }
    if let Some(context) = &spec.jsonld_context {
        body.insert("jsonldContext".into(), json!(context));
    }
    body.insert("isActive".into(), json!(spec.mode != SubscriptionMode::Paused));
    Ok(())
}

fn selector(entity: &EntitySelector) -> Value {
    let mut selector = members(json!({"type": entity.r#type}));
    put(&mut selector, "id", entity.id.as_deref());
    put(&mut selector, "idPattern", entity.id_pattern.as_deref());
    Value::Object(selector)
}

fn geo_query(geo: &GeoQuery, coordinates: &Value) -> Value {
    let geometry = match &geo.geometry {
        Geometry::Point => "Point",
        Geometry::MultiPoint => "MultiPoint",
        Geometry::LineString => "LineString",
        Geometry::MultiLineString => "MultiLineString",
        Geometry::Polygon => "Polygon",
        Geometry::MultiPolygon => "MultiPolygon",
        Geometry::Unknown(word) => word.as_str(),
    };
    let mut query = members(json!({"georel": geo.georel, "geometry": geometry, "coordinates": coordinates}));
    put(&mut query, "geoproperty", geo.geoproperty.as_deref());
    Value::Object(query)
}

const fn trigger(trigger: &Trigger) -> &str {
    match trigger {
        Trigger::EntityCreated => "entityCreated",
        Trigger::EntityUpdated => "entityUpdated",
        Trigger::EntityDeleted => "entityDeleted",
        Trigger::AttributeCreated => "attributeCreated",
        Trigger::AttributeUpdated => "attributeUpdated",
        Trigger::AttributeDeleted => "attributeDeleted",
        Trigger::Unknown(word) => word.as_str(),
    }
}

/// What is sent, and where to.
fn notification(of: &Notification, namespace: &str, show: Show<'_>) -> Result<Value, Refusal> {
    let mut body = Map::new();
    for (name, names) in [
        ("attributes", &of.attributes),
        ("pick", &of.pick),
        ("omit", &of.omit),
    ] {
        put_list(&mut body, name, names.iter().map(|name| json!(name)).collect());
    }
    // Older brokers know this word for Simplified, newer ones both.
    let format = of.format.as_ref().map(|format| match format {
        Format::Normalized => "normalized",
        Format::Concise => "concise",
        Format::Simplified => "keyValues",
        Format::Unknown(word) => word.as_str(),
    });
    put(&mut body, "format", format);
    for (name, switch) in [("sysAttrs", &of.sys_attrs), ("showChanges", &of.show_changes)] {
        // Off is what a broker does when it is not said.
        if switch == &Some(Switch::Enabled) {
            body.insert(name.into(), json!(true));
        }
    }
    let join = of.join.as_ref().and_then(|join| match join {
        Join::None => None,
        Join::Flat => Some("flat"),
        Join::Inline => Some("inline"),
        Join::Unknown(word) => Some(word.as_str()),
    });
    put(&mut body, "join", join);
    if let Some(level) = of.join_level {
        body.insert("joinLevel".into(), json!(level));
    }
    body.insert("endpoint".into(), endpoint(&of.endpoint, namespace, show)?);
    Ok(Value::Object(body))
}

fn endpoint(of: &Endpoint, namespace: &str, show: Show<'_>) -> Result<Value, Refusal> {
    let mut body = members(json!({"uri": uri(of, namespace, show)?}));
    let accept = of.accept.as_ref().map(|accept| match accept {
        Accept::Json => "application/json",
        Accept::JsonLd => "application/ld+json",
        Accept::GeoJson => "application/geo+json",
        Accept::Unknown(word) => word.as_str(),
    });
    put(&mut body, "accept", accept);
    for (name, text) in [("timeout", &of.timeout), ("cooldown", &of.cooldown)] {
        if let Some(text) = text {
            let field = format!("spec.notification.endpoint.{name}");
            body.insert(name.into(), json!(millis(text, &field)?));
        }
    }
    put_list(
        &mut body,
        "receiverInfo",
        of.headers.iter().map(|of| header(of, show)).collect(),
    );
    let info = of.notifier_info.iter();
    put_list(
        &mut body,
        "notifierInfo",
        info.map(|of| json!({"key": of.key, "value": of.value})).collect(),
    );
    Ok(Value::Object(body))
}

fn header(header: &Header, show: Show<'_>) -> Value {
    let value = match (&header.value, &header.secret_key_ref) {
        (Some(value), _) => value.clone(),
        (None, Some(of)) => show.secret(&of.name, &of.key),
        (None, None) => String::new(),
    };
    json!({"key": header.name, "value": value})
}

/// The address of the endpoint, with user name and password where it has them.
fn uri(of: &Endpoint, namespace: &str, show: Show<'_>) -> Result<String, Refusal> {
    let plain = match (&of.url, &of.service_ref) {
        (Some(url), _) => url.clone(),
        (None, Some(service)) => {
            let scheme = match &service.scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
                Scheme::Mqtt => "mqtt",
                Scheme::Mqtts => "mqtts",
                Scheme::Unknown(word) => word.as_str(),
            };
            let (name, port, path) = (&service.name, service.port, &service.path);
            format!("{scheme}://{name}.{namespace}.svc:{port}{path}")
        }
        (None, None) => String::new(),
    };
    let Some(secret) = &of.credentials_secret_ref else {
        return Ok(plain);
    };
    let [user, password] = ["username", "password"].map(|key| show.secret(&secret.name, key));
    let with_credentials = Url::parse(&plain).ok().and_then(|mut url| {
        url.set_username(&user).ok()?;
        url.set_password(Some(&password)).ok()?;
        Some(url.to_string())
    });
    with_credentials.ok_or_else(|| Refusal {
        reason: Reason::InvalidSpec,
        path: "spec.notification.endpoint.url".into(),
        message: "it is no address that takes a user name and a password; write mqtts://<host>/<topic>"
            .into(),
    })
}

/// A moment as NGSI-LD writes it: UTC, to the second.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn millis(text: &str, field: &str) -> Result<u64, Refusal> {
    duration::millis(text).ok_or_else(|| Refusal {
        reason: Reason::InvalidSpec,
        path: field.to_owned(),
        message: format!(
            "{text} is no duration that is more than zero; write one in ISO 8601, for example PT30S"
        ),
    })
}

/// Seconds as a number: whole where they are.
fn seconds(millis: u64) -> Value {
    if millis.is_multiple_of(1000) {
        return json!(millis / 1000);
    }
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.parse::<f64>().map_or(Value::Null, |seconds| json!(seconds))
}

fn put(body: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        body.insert(name.into(), json!(text));
    }
}

/// NGSI-LD refuses an empty list.
fn put_list(body: &mut Map<String, Value>, name: &str, items: Vec<Value>) {
    if !items.is_empty() {
        body.insert(name.into(), Value::Array(items));
    }
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
