//! Names of objects, and references to Secrets and ConfigMaps of the same namespace.

use kube::{KubeSchema, core::Rule};
use serde::{Deserialize, Serialize};

/// Longest name of one of our objects: `<name>-<component>` and what Kubernetes appends must fit into 63 characters.
pub const MAX_NAME: usize = 40;

/// A name of more than [`MAX_NAME`] characters is refused.
pub(crate) fn name_is_short() -> Rule {
    Rule::new(format!("self.metadata.name.size() <= {MAX_NAME}")).message(format!(
        "metadata.name must have at most {MAX_NAME} characters: choose a shorter name, the children are named <name>-<component>"
    ).as_str())
}

/// A name that is no DNS-1035 label is refused: Services are named after it.
pub(crate) fn name_is_dns_1035() -> Rule {
    Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must be a DNS-1035 label: lower-case letters, digits and '-', first a letter, last no '-', for example my-city",
    )
}

/// A qualified name, as keys of labels, annotations and taints are (`k8s.io/apimachinery`, `IsQualifiedName`), without the bound of 253
/// characters for the prefix. `[.]` and not `\.`: it stands in CEL strings too, where a backslash is doubled.
macro_rules! qualified {
    () => {
        "([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    };
}

/// Pattern of the value of a label.
pub(crate) const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

/// A map with a key that Kubernetes would refuse is refused; a schema has no pattern for keys.
pub(crate) fn keys_are_qualified() -> Rule {
    Rule::new(concat!("self.all(k, k.matches('^", qualified!(), "$') && k.indexOf('/') <= 253)")).message(
        "a key is a name of at most 63 letters, digits, '-', '_' and '.', with a DNS domain before it or not: team, example.org/team",
    )
}

/// A map of resources with a name that no container can ask for is refused.
pub(crate) fn resources_have_names() -> Rule {
    Rule::new(concat!(
        "self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-') || (k.contains('/') && k.matches('^",
        qualified!(),
        "$') && k.indexOf('/') <= 253))"
    ))
    .message("a resource is cpu, memory, ephemeral-storage, hugepages-<size> or a name with a domain, for example example.org/gpu")
}

/// A Secret in the namespace of the object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A bearer token in a Secret in the namespace of the object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenSecretReference {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key of the Secret that holds the token.
    #[serde(default = "token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Certificates of authorities, PEM, in a Secret in the namespace of the object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaSecretReference {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key of the Secret that holds one or more certificates as PEM.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A text in a ConfigMap in the namespace of the object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyReference {
    /// Name of the ConfigMap, in the namespace of this object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key of the ConfigMap under which the text is.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn token_key() -> String {
    "token".to_owned()
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}
