//! Kubeconfig files that carry everything they need in themselves.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::error::Error;
use crate::files;
use crate::pki::Identity;

/// The text of a kubeconfig with one cluster and one user, `mim-lab` both.
pub(crate) fn text(server: &str, authority: &str, identity: &Identity) -> Result<String, Error> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "mim-lab",
        "clusters": [{"name": "mim-lab", "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": "mim-lab", "user": {
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }}],
        "contexts": [{"name": "mim-lab", "context": {"cluster": "mim-lab", "user": "mim-lab"}}],
    });
    Ok(serde_yaml::to_string(&config)?)
}

/// Writes such a kubeconfig, readable by its owner only.
pub(crate) fn write(path: &Path, server: &str, authority: &str, identity: &Identity) -> Result<(), Error> {
    files::write_private(path, &text(server, authority, identity)?)
}

/// A client configuration from a kubeconfig's text.
pub(crate) async fn client_config(text: &str) -> Result<kube::Config, Error> {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(text)?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?)
}
