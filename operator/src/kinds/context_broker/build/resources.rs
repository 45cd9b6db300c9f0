//! Requests and limits: every container has both, whatever the user left out.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mim_crds::Resources;
use serde_json::{Value, json};

/// What a container gets where the user says nothing: request and limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    /// Processor.
    pub cpu: (&'static str, &'static str),
    /// Memory.
    pub memory: (&'static str, &'static str),
}

/// What the user wrote, and the defaults for what is missing. A default gives way where it would contradict what the user wrote: a limit is
/// never below the request, a request never above the limit.
pub(super) fn resources(defaults: Defaults, user: Option<&Resources>) -> Value {
    let (mut requests, mut limits) = user
        .map(|user| (user.requests.clone(), user.limits.clone()))
        .unwrap_or_default();
    for (name, (request, limit)) in [("cpu", defaults.cpu), ("memory", defaults.memory)] {
        let (request, limit) = (Quantity(request.to_owned()), Quantity(limit.to_owned()));
        let (request, limit) = match (requests.get(name), limits.get(name)) {
            (None, None) => (request, limit),
            (Some(asked), None) => (
                asked.clone(),
                if exceeds(asked, &limit) {
                    asked.clone()
                } else {
                    limit
                },
            ),
            (None, Some(most)) => (
                if exceeds(&request, most) {
                    most.clone()
                } else {
                    request
                },
                most.clone(),
            ),
            (Some(asked), Some(most)) => (asked.clone(), most.clone()),
        };
        requests.insert(name.to_owned(), request);
        limits.insert(name.to_owned(), limit);
    }
    json!({"requests": requests, "limits": limits})
}

/// Whether one quantity is larger than another; what cannot be read is larger, so that it stands as written.
fn exceeds(one: &Quantity, other: &Quantity) -> bool {
    amount(&one.0)
        .zip(amount(&other.0))
        .is_none_or(|(one, other)| one > other)
}

/// A Kubernetes quantity as a number (`apimachinery/pkg/api/resource`): a decimal, then an SI suffix, a binary suffix or an exponent.
pub(crate) fn amount(quantity: &str) -> Option<f64> {
    let end = quantity
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => 10.0_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        cpu: ("100m", "2"),
        memory: ("64Mi", "256Mi"),
    };

    fn user(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Resources {
        let map = |of: &[(&str, &str)]| {
            of.iter()
                .map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned())))
                .collect()
        };
        Resources {
            requests: map(requests),
            limits: map(limits),
        }
    }

    #[test]
    fn every_container_has_requests_and_limits() {
        let bare =
            json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "256Mi"}});
        assert_eq!(resources(DEFAULTS, None), bare);
        assert_eq!(resources(DEFAULTS, Some(&Resources::default())), bare);
    }

    #[test]
    fn what_the_user_wrote_stands_as_written() {
        let all = user(
            &[("cpu", "0.50"), ("memory", "1024Mi")],
            &[("cpu", "1e0"), ("memory", "1Gi"), ("x.io/gpu", "1")],
        );
        assert_eq!(
            resources(DEFAULTS, Some(&all)),
            serde_json::to_value(&all).unwrap()
        );
    }

    #[test]
    fn a_default_gives_way_where_it_would_contradict_the_user() {
        let much = resources(DEFAULTS, Some(&user(&[("memory", "1Gi")], &[])));
        assert_eq!(
            (&much["requests"]["memory"], &much["limits"]["memory"]),
            (&json!("1Gi"), &json!("1Gi"))
        );
        let little = resources(DEFAULTS, Some(&user(&[], &[("memory", "32Mi")])));
        assert_eq!(
            (&little["requests"]["memory"], &little["limits"]["memory"]),
            (&json!("32Mi"), &json!("32Mi"))
        );
        let between = resources(DEFAULTS, Some(&user(&[("cpu", "1500m")], &[("memory", "128M")])));
        assert_eq!(
            between,
            json!({"requests": {"cpu": "1500m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "128M"}})
        );
    }

    #[test]
    fn quantities_are_read_as_the_api_server_reads_them() {
        for (one, other) in [
            ("1", "1000m"),
            ("1Gi", "1024Mi"),
            ("1.5k", "1500"),
            ("2e3", "2k"),
            ("0.5Ti", "512Gi"),
        ] {
            let (one, other) = (amount(one).unwrap(), amount(other).unwrap());
            assert!((one - other).abs() < f64::EPSILON * one, "{one} {other}");
        }
        assert_eq!(amount("much"), None);
        assert_eq!(amount("1Xi"), None);
    }
}
