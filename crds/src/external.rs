//! A service that somebody else runs.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::names::{CaSecretReference, TokenSecretReference};

/// An NGSI-LD broker that somebody else runs. Nothing is deployed: the operator looks whether it answers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tokenSecretRef) || self.url.startsWith('https://')")
    .message("a token must not travel over plain http: write an https url or remove tokenSecretRef")
    .field_path(".tokenSecretRef").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.caSecretRef) || self.url.startsWith('https://')")
    .message("caSecretRef has no effect over plain http: write an https url or remove caSecretRef")
    .field_path(".caSecretRef").reason(Reason::FieldValueForbidden))]
pub struct External {
    /// Address of the broker without `/ngsi-ld/v1`, for example `https://broker.example.org`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')")
        .message("url must start with http:// or https://, for example https://broker.example.org"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z]+://[^/?#]*@')")
        .message("url must not hold a user or password: put a token into a Secret and name it in tokenSecretRef"))]
    #[x_kube(validation = Rule::new("isURL(self) && self.matches('^[a-z]+://[^/?#\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("url must be scheme, host and at most a port and a path, without query and fragment, for example https://broker.example.org:8443/path"))]
    pub url: String,
    /// Bearer token for the broker; https only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<TokenSecretReference>,
    /// Authority that signed the broker's certificate; absent: the system's trust store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretReference>,
}
