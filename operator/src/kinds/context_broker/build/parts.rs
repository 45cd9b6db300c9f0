//! Digests of the parts of a pod template, from which the reason of a restart is told.
//!
//! They stand in an annotation of the template, so that a running pod still says what it was made from after a newer template
//! has taken its place. A digest says nothing but *same* or *other*, and all of them together change exactly when the template does.

use mim_crds::annotation;
use serde_json::{Map, Value, json};

use crate::reconcile::child::digest;
use crate::reconcile::kind::Why;

/// The parts by name, in the order in which they are asked for the reason.
const PARTS: [(&str, Why); 4] = [
    ("image", Why::ReleaseChanged),
    ("resources", Why::ResourcesChanged),
    ("restarted", Why::RestartRequested),
    ("pod", Why::PodTemplateChanged),
];

/// The annotation of a template that does not carry it yet.
pub(super) fn of(template: &Value) -> String {
    let mut rest = template.clone();
    let restarted = rest
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
        .and_then(|annotations| annotations.remove(annotation::RESTARTED_AT));
    let mut images = Map::new();
    let mut resources = Map::new();
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in rest
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            let name = container
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            images.insert(name.clone(), container.remove("image").unwrap_or_default());
            resources.insert(name, container.remove("resources").unwrap_or_default());
        }
    }
    let digests = [
        json!(images),
        json!(resources),
        json!(restarted),
        without_empty_annotations(rest),
    ];
    let parts: Vec<_> = PARTS
        .iter()
        .zip(&digests)
        .map(|((name, _), part)| format!("{name}={}", short(part)))
        .collect();
    parts.join(",")
}

/// A template that lost its only annotation is the same as one that never had any.
fn without_empty_annotations(mut template: Value) -> Value {
    if let Some(metadata) = template.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata
            .retain(|key, value| key != "annotations" || value.as_object().is_some_and(|of| !of.is_empty()));
    }
    template
}

/// A digest of eight characters.
pub(super) fn short(part: &Value) -> String {
    let digest = digest(part);
    digest
        .rsplit('-')
        .next()
        .unwrap_or_default()
        .chars()
        .take(8)
        .collect()
}

/// Why a pod that was made from `old` parts has to go for one of `new` parts. Where no part differs, or the pod does not say what it was made from, the
/// template was changed by somebody else's hand.
#[must_use]
pub fn why(old: Option<&str>, new: &str) -> Why {
    let Some(old) = old else {
        return Why::PodTemplateChanged;
    };
    let part = |all: &str, name: &str| {
        all.split(',').find_map(|part| {
            part.split_once('=')
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        })
    };
    PARTS
        .into_iter()
        .find(|(name, _)| part(old, name) != part(new, name))
        .map_or(Why::PodTemplateChanged, |(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "initContainers": [{"name": "initialise", "image": "i@1", "resources": {"limits": {"cpu": "1"}}}],
                "containers": [{"name": "postgres", "image": "i@1", "resources": {"limits": {"cpu": "1"}}}],
            },
        })
    }

    fn changed(path: &str, value: Value) -> Why {
        let mut other = template();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let parent = other.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.insert(key.to_owned(), value);
        assert_ne!(of(&template()), of(&other));
        why(Some(&of(&template())), &of(&other))
    }

    #[test]
    fn each_part_tells_its_own_reason() {
        assert_eq!(
            changed("/spec/containers/0/image", json!("i@2")),
            Why::ReleaseChanged
        );
        assert_eq!(
            changed("/spec/containers/0/resources", json!({})),
            Why::ResourcesChanged
        );
        assert_eq!(
            changed("/metadata/annotations", json!({annotation::RESTARTED_AT: "now"})),
            Why::RestartRequested
        );
        assert_eq!(
            changed("/metadata/annotations", json!({"x": "y"})),
            Why::PodTemplateChanged
        );
        assert_eq!(
            changed("/spec/nodeSelector", json!({"disk": "ssd"})),
            Why::PodTemplateChanged
        );
    }

    #[test]
    fn a_release_goes_before_what_else_has_changed() {
        let mut other = template();
        other["spec"]["containers"][0]["image"] = json!("i@2");
        other["spec"]["priorityClassName"] = json!("high");
        assert_eq!(why(Some(&of(&template())), &of(&other)), Why::ReleaseChanged);
    }

    #[test]
    fn a_pod_that_does_not_say_what_it_was_made_from_was_changed_by_hand() {
        assert_eq!(why(None, &of(&template())), Why::PodTemplateChanged);
        assert_eq!(why(Some("garbage"), &of(&template())), Why::ReleaseChanged);
        assert_eq!(
            why(Some(&of(&template())), &of(&template())),
            Why::PodTemplateChanged
        );
    }
}
