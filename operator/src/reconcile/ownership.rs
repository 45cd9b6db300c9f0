//! Whether we still own every field that we applied.
//!
//! The digest annotation tells that our body did not change; it does not tell that somebody else changed the
//! object. The API server does: an update by another manager takes the field out of our entry in
//! `metadata.managedFields` (KEP-555). So a child is as we left it exactly when our entry still names every leaf of
//! our body. This needs metadata only, and nothing of it is lost when the operator restarts.

use serde_json::{Map, Value};

/// Whether the `fieldsV1` entry of our manager covers every leaf of `body`, digest annotation included.
///
/// Keys of `metadata` that are identity (`name`, `namespace`, `uid`, `resourceVersion`) and the type are not
/// recorded by the API server and are not asked for.
#[must_use]
pub fn owns_all(body: &Value, fields: &Value) -> bool {
    let (Some(body), Some(fields)) = (body.as_object(), fields.as_object()) else {
        return false;
    };
    body.iter().all(|(key, value)| match key.as_str() {
        "apiVersion" | "kind" => true,
        "metadata" => value.as_object().is_some_and(|metadata| {
            metadata.iter().all(|(key, value)| {
                matches!(key.as_str(), "name" | "namespace" | "uid" | "resourceVersion")
                    || fields
                        .get("f:metadata")
                        .and_then(Value::as_object)
                        .is_some_and(|fields| member_is_owned(key, value, fields))
            })
        }),
        _ => member_is_owned(key, value, fields),
    })
}

fn member_is_owned(key: &str, value: &Value, fields: &Map<String, Value>) -> bool {
    fields
        .get(&format!("f:{key}"))
        .is_some_and(|fields| is_owned(value, fields))
}

fn is_owned(value: &Value, fields: &Value) -> bool {
    let Some(fields_map) = fields.as_object() else {
        return false;
    };
    // `{}` or `{".": {}}`: a leaf or an atomic list or map, owned whole.
    if fields_map.keys().all(|key| key == ".") {
        return true;
    }
    match value {
        Value::Object(members) => members
            .iter()
            .all(|(key, value)| member_is_owned(key, value, fields_map)),
        Value::Array(items) => items.iter().all(|item| item_is_owned(item, fields_map)),
        _ => true,
    }
}

/// An item of an associative list is named by its keys (`k:{…}`), one of a set by its value (`v:…`).
fn item_is_owned(item: &Value, fields: &Map<String, Value>) -> bool {
    fields.iter().any(|(key, nested)| {
        if let Some(keys) = key.strip_prefix("k:") {
            serde_json::from_str::<Map<String, Value>>(keys).is_ok_and(|keys| names(&keys, item))
                && is_owned(item, nested)
        } else if let Some(value) = key.strip_prefix("v:") {
            serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item)
        } else {
            false
        }
    })
}

/// A key that the item leaves out was defaulted by the server (`protocol: TCP`), so it does not tell items apart.
fn names(keys: &Map<String, Value>, item: &Value) -> bool {
    keys.iter()
        .all(|(key, value)| item.get(key).is_none_or(|of_item| of_item == value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": "y"}, "ownerReferences": [{"uid": "u", "kind": "K"}]},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "broker", "image": "i", "ports": [{"containerPort": 1026, "name": "http"}], "args": ["run"]}
            ]}}}
        })
    }

    fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:x": {}}, "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}},
            "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"broker\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":1026,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}}}
            }}}}}
        })
    }

    /// As the API server takes a field out: what is empty then goes as well.
    fn without(mut fields: Value, path: &[&str]) -> Option<Value> {
        let (first, rest) = path.split_first().unwrap();
        let map = fields.as_object_mut().unwrap();
        let child = map.remove(*first).unwrap();
        if let Some(left) = (!rest.is_empty()).then(|| without(child, rest)).flatten() {
            map.insert((*first).to_owned(), left);
        }
        (!map.is_empty()).then_some(fields)
    }

    #[test]
    fn an_untouched_object_is_ours() {
        assert!(owns_all(&body(), &fields()));
    }

    #[test]
    fn a_field_taken_by_somebody_else_shows_at_any_depth() {
        for path in [
            "/f:spec/f:replicas",
            "/f:metadata/f:labels/f:x",
            "/f:metadata/f:ownerReferences/k:{\"uid\":\"u\"}",
            "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"broker\"}/f:image",
        ] {
            let taken = without(fields(), &path.split('/').skip(1).collect::<Vec<_>>()).unwrap();
            assert!(!owns_all(&body(), &taken), "{path}");
        }
    }

    #[test]
    fn fields_of_others_do_not_matter() {
        let mut more = fields();
        more["f:spec"]["f:paused"] = json!({});
        assert!(owns_all(&body(), &more));
    }

    #[test]
    fn garbage_is_not_ours() {
        assert!(!owns_all(&body(), &json!(null)));
        assert!(!owns_all(&body(), &json!({})));
        assert!(!owns_all(&body(), &json!({"f:metadata": 1, "f:spec": []})));
    }
}
