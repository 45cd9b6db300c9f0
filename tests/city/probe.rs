//! A pod with the lab's probe in it: what really passes, asked from inside.

use mim_lab::PROBE_IMAGE;
use mim_tests::demo::cluster::Cluster;
use serde_json::{Value, json};

use crate::city::eventually;

/// A pod that does nothing until it is asked to.
pub struct Probe<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

const NAME: &str = "probe";

impl<'a> Probe<'a> {
    /// Starts one in a namespace.
    pub async fn start(cluster: &'a Cluster, namespace: &str) -> Self {
        Self::start_as(cluster, namespace, &json!({})).await
    }

    /// Starts one with these labels: what selects pods by them takes it for one of those.
    pub async fn start_as(cluster: &'a Cluster, namespace: &str, labels: &Value) -> Self {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": NAME, "labels": labels},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": NAME,
                    "image": PROBE_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["sleep"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        });
        let probe = Self {
            cluster,
            namespace: namespace.to_owned(),
        };
        let file = std::env::temp_dir().join(format!("mim-city-probe-{}.json", std::process::id()));
        std::fs::write(&file, pod.to_string()).unwrap();
        probe
            .kubectl(&["apply", "-f", &file.display().to_string()])
            .await
            .unwrap();
        std::fs::remove_file(&file).unwrap();
        probe
            .kubectl(&["wait", "--for=condition=Ready", "--timeout=2m", "pod/probe"])
            .await
            .unwrap();
        probe
    }

    /// Asks a URL once.
    pub async fn get(&self, url: &str) -> Result<String, String> {
        self.kubectl(&["exec", NAME, "--", "/bin/probe", "get", url, "3s"])
            .await
    }

    /// As [`Self::get`], until there is an answer: a new pod counts for policies a moment after it runs.
    pub async fn reaches(&self, url: &str) -> String {
        eventually(&format!("{} reaches {url}", self.namespace), || self.get(url)).await
    }

    /// Asks a URL until somebody is there who answers, be it in words that are no HTTP or with a certificate that nobody trusts.
    pub async fn is_answered(&self, url: &str) {
        eventually(&format!("{} is answered by {url}", self.namespace), || async {
            match self.get(url).await {
                Err(words) if is_silence(&words) || words.contains("lookup") || words.contains("refused") => {
                    Err(words)
                }
                _ => Ok(()),
            }
        })
        .await;
    }

    /// Asks a URL, and expects that the packets are dropped: neither an answer nor a refusal.
    pub async fn is_kept_from(&self, url: &str) {
        let words = self.get(url).await.unwrap_err();
        assert!(
            is_silence(&words),
            "{} to {url} fails in another way: {words}",
            self.namespace
        );
    }

    /// Deletes the pod.
    pub async fn end(self) {
        self.kubectl(&["delete", "pod", NAME, "--wait=true"])
            .await
            .unwrap();
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let all = [&["--namespace", &self.namespace], arguments].concat();
        self.cluster
            .kubectl(&all)
            .await
            .map_err(|problem| problem.to_string())
    }
}

/// Whether the probe has heard nothing at all.
fn is_silence(words: &str) -> bool {
    words.contains("deadline exceeded") || words.contains("timeout")
}
