//! helm and kubeconform, as the lab builds them, over the charts of this checkout.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mim_lab::Binary;
use serde::Deserialize;
use serde_json::Value;

/// Name of the release: objects are then called `mim-operator`.
pub const RELEASE: &str = "mim-operator";
/// Its namespace.
pub const NAMESPACE: &str = "mim-system";
/// The values that are rendered, each a list of files of the chart.
pub const MATRIX: &[&[&str]] = &[
    &["ci/namespaced.yaml"],
    &["ci/single.yaml"],
    &["ci/cluster.yaml"],
    &["ci/single.yaml", "ci/cluster-bare.yaml"],
    &["ci/cluster.yaml", "ci/digits.yaml"],
];
/// The chart of the definitions, which has no values.
pub const CRDS: &[&str] = &[];

/// The chart that these values are for.
pub fn chart_of(values: &[&str]) -> &'static str {
    if values.is_empty() {
        "mim-crds"
    } else {
        "mim-operator"
    }
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")
}

/// Every template of a chart with its name, generated definitions left out.
pub fn sources(chart: &str) -> Vec<(String, String)> {
    std::fs::read_dir(charts().join(chart).join("templates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with(".mim.city.yaml"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

/// The objects of a rendered chart.
pub fn objects(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// What helm rendered; a test ends where it did not.
fn rendered(chart: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{chart}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The two programs.
pub struct Helm {
    helm: PathBuf,
    kubeconform: PathBuf,
}

impl Helm {
    /// Builds them where the lab's cache lacks them.
    pub fn find() -> Result<Self, mim_lab::Error> {
        let binaries = mim_lab::binaries(&[Binary::Helm, Binary::Kubeconform])?;
        Ok(Self {
            helm: binaries.path(Binary::Helm)?.to_owned(),
            kubeconform: binaries.path(Binary::Kubeconform)?.to_owned(),
        })
    }

    /// The rendered chart, whose release is [`RELEASE`] in [`NAMESPACE`].
    pub fn template(&self, chart: &str, values: &[&str]) -> String {
        self.template_with(chart, values, &[])
    }

    /// As [`Self::template`], with single values on top.
    pub fn template_with(&self, chart: &str, values: &[&str], set: &[&str]) -> String {
        rendered(chart, &self.render(RELEASE, chart, values, set))
    }

    /// As [`Self::template`], for a release of another name.
    pub fn template_of(&self, release: &str, chart: &str, values: &[&str]) -> String {
        rendered(chart, &self.render(release, chart, values, &[]))
    }

    /// What helm says when it does not render.
    pub fn refused(&self, chart: &str, values: &[&str], set: &str) -> String {
        let set = if set.is_empty() { Vec::new() } else { vec![set] };
        let output = self.render(RELEASE, chart, values, &set);
        assert!(
            !output.status.success(),
            "{chart} {values:?} {set:?} was rendered"
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn render(&self, release: &str, chart: &str, values: &[&str], set: &[&str]) -> Output {
        let chart = charts().join(chart);
        let mut command = self.helm();
        command
            .arg("template")
            .arg(release)
            .arg(&chart)
            .args(["--namespace", NAMESPACE]);
        for file in values {
            command.arg("--values").arg(chart.join(file));
        }
        for value in set {
            command.args(["--set", value]);
        }
        command.output().unwrap()
    }

    /// Runs helm against a cluster; `CHART/` in an argument is the folder of the charts.
    pub fn run(&self, kubeconfig: &Path, arguments: &[&str]) {
        let charts = format!("{}/", charts().display());
        let mut command = self.helm();
        command.arg("--kubeconfig").arg(kubeconfig).args(
            arguments
                .iter()
                .map(|argument| argument.replace("CHART/", &charts)),
        );
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "helm {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// helm without anything of the user's own.
    fn helm(&self) -> Command {
        let mut command = Command::new(&self.helm);
        command
            .env_remove("KUBECONFIG")
            .env("HELM_PLUGINS", "/nonexistent");
        command
    }

    /// Checks every object against the schemas in `folder`: no unknown field, none missing.
    pub fn kubeconform(&self, text: &str, folder: &Path) {
        let schemas = format!(
            "{}/schemas/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            folder.display()
        );
        let mut child = Command::new(&self.kubeconform)
            .args([
                "-strict",
                "-summary",
                "-skip",
                "ServiceMonitor,PrometheusRule",
                "-schema-location",
                &schemas,
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}
