//! A pod with the lab's probe in it: what really passes, asked from inside.

use mim_lab::PROBE_IMAGE;
use mim_tests::demo::cluster::Cluster;
use serde_json::json;

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
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": NAME},
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

    /// Asks a URL, and expects that the packets are dropped: neither an answer nor a refusal.
    pub async fn is_kept_from(&self, url: &str) {
        let words = self.get(url).await.unwrap_err();
        assert!(
            words.contains("deadline exceeded") || words.contains("timeout"),
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
