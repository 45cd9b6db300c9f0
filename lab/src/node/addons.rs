//! The objects that every lab has in it: DNS and a default storage class.

use std::net::IpAddr;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize as _;
use serde_json::Value;

use super::config::{DNS_ADDRESS, corefile};
use crate::error::Error;
use crate::system_images::COREDNS_IMAGE;

const MANIFEST: &str = include_str!("addons.yaml");
const FIELD_MANAGER: &str = "mim-lab";

/// Applies the objects; those that are there already are made what they should be.
pub(crate) async fn apply(client: &kube::Client, upstream: &[IpAddr]) -> Result<(), Error> {
    for object in objects(upstream)? {
        let types = object.types.clone().unwrap_or_default();
        let kind = GroupVersionKind::try_from(&types).map_err(|error| Error::Refused(error.to_string()))?;
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap_or_default();
        api.patch(
            &name,
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(&object),
        )
        .await?;
    }
    Ok(())
}

fn objects(upstream: &[IpAddr]) -> Result<Vec<DynamicObject>, Error> {
    serde_yaml::Deserializer::from_str(MANIFEST)
        .map(|document| {
            let mut value = Value::deserialize(document)?;
            fill_in(
                &mut value,
                &[
                    ("COREFILE", &corefile(upstream)),
                    ("IMAGE", COREDNS_IMAGE),
                    ("DNS_ADDRESS", DNS_ADDRESS),
                ],
            );
            Ok(serde_json::from_value(value)?)
        })
        .collect()
}

/// Replaces strings that are exactly one of the words.
fn fill_in(value: &mut Value, words: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            if let Some((_, content)) = words.iter().find(|(word, _)| word == text) {
                (*content).clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill_in(item, words)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill_in(field, words)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        let objects = objects(&["192.0.2.53".parse().unwrap()]).unwrap();
        let text = serde_json::to_string(&objects).unwrap();
        for word in ["COREFILE", "\"IMAGE\"", "\"DNS_ADDRESS\""] {
            assert!(!text.contains(word), "{word} is still there");
        }
        assert!(text.contains("forward . 192.0.2.53"));
    }
}
