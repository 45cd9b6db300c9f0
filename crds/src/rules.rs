//! The rules of the schema, evaluated here: the same CEL that the API server runs.
//!
//! The operator's guard calls this at each pass, because an object may be older than the definition that is installed now, or
//! may have been written while an older definition was.

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use kube::{
    Resource,
    core::cel::{CompiledSchema, compile_schema, validate_compiled},
};
use serde::Serialize;
use serde_json::Value;

/// A rule that an object breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, for example `spec.external.url`; empty for the object itself.
    pub path: String,
    /// What to write instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// The rules that `object` breaks; with `old`, also those that compare it with what it was. Empty: none.
///
/// Schemas are compiled at the first call of the process; a later call evaluates some thirty small expressions and waits for nothing. An
/// object that cannot be written as JSON, or is of a kind that is not ours, is a violation too.
#[must_use]
pub fn validate<K>(object: &K, old: Option<&K>) -> Vec<Violation>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let read = |object: &K| {
        serde_json::to_value(object).map_err(|error| {
            vec![Violation {
                path: String::new(),
                message: format!("the object is no JSON: {error}"),
            }]
        })
    };
    let (object, old) = match (read(object), old.map(read).transpose()) {
        (Ok(object), Ok(old)) => (object, old),
        (Err(violations), _) | (_, Err(violations)) => return violations,
    };
    validate_value(&K::kind(&()), &object, old.as_ref())
}

/// As [`validate`], for an object of the named kind as it stands in a manifest.
#[must_use]
pub fn validate_value(kind: &str, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let Some(schema) = compiled().get(kind) else {
        return vec![Violation {
            path: "kind".to_owned(),
            message: format!("{kind} is no kind of {}", crate::GROUP),
        }];
    };
    match validate_compiled(schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_iter()
            .map(|error| Violation {
                path: error.field_path,
                message: error.message,
            })
            .collect(),
    }
}

fn compiled() -> &'static BTreeMap<String, CompiledSchema> {
    static COMPILED: OnceLock<BTreeMap<String, CompiledSchema>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        crate::all()
            .into_iter()
            .filter_map(|crd| {
                let props = crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?;
                Some((
                    crd.spec.names.kind,
                    compile_schema(&serde_json::to_value(props).ok()?),
                ))
            })
            .collect()
    })
}
