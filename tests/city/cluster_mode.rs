//! The operator as its chart installs it in cluster mode: it sees all namespaces and writes where it is onboarded.

use mim_tests::demo::CITY;
use mim_tests::demo::install::{SYSTEM, apply, example};
use mim_tests::demo::programs::checkout;

use crate::city::{City, EXAMPLES, eventually, upgrade_operator};

const STRANGERS: &str = "city-strangers";

#[tokio::test(flavor = "multi_thread")]
async fn row_cluster_mode_namespace_not_onboarded_is_stalled_by_the_installed_operator_and_goes_on_with_the_role_binding()
 {
    let city = City::new().await;
    let before = (
        city.brokers().starts().await.unwrap(),
        city.databases().starts().await.unwrap(),
    );
    let chart = checkout().join("charts/mim-operator").display().to_string();
    let mode = format!("mode=cluster,onboardNamespaces={{{CITY},{EXAMPLES}}}");
    let arguments = [
        "upgrade",
        "mim-operator",
        &chart,
        "--namespace",
        SYSTEM,
        "--reuse-values",
        "--set",
        &mode,
        "--set-json",
        "watchNamespaces=[]",
        "--wait",
        "--timeout",
        "3m",
    ];
    city.cluster.helm(&arguments).await.unwrap();

    city.namespace(STRANGERS).await;
    apply(&city.cluster, STRANGERS, &example("minimal.yaml"))
        .await
        .unwrap();
    let status = |path: &'static str| {
        let path = format!("jsonpath={{.status.conditions[?(@.type=='{path}')].reason}}");
        let city = &city;
        async move {
            let arguments = ["--namespace", STRANGERS, "get", "udp/my-city", "--output", &path];
            city.cluster.kubectl(&arguments).await.unwrap()
        }
    };
    eventually("the platform says that it is not onboarded", || async {
        match status("Stalled").await.as_str() {
            "NamespaceNotOnboarded" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    // Where it is onboarded it works: a change is carried out, and nothing restarts for the mode.
    city.look_at(CITY, CITY).await;
    city.broker_says(CITY, CITY, "True", "Ready").await;

    // As the notes of the chart say.
    let role = "--clusterrole=mim-operator-namespace";
    let account = format!("--serviceaccount={SYSTEM}:mim-operator");
    let arguments = [
        "--namespace",
        STRANGERS,
        "create",
        "rolebinding",
        "mim-operator-namespace",
        role,
        &account,
    ];
    city.cluster.kubectl(&arguments).await.unwrap();
    eventually("the platform goes on by itself", || async {
        let arguments = ["--namespace", STRANGERS, "get", "statefulset/my-city-database"];
        city.cluster.kubectl(&arguments).await.map(drop)
    })
    .await;
    assert_eq!(status("Stalled").await, "");
    city.remove_namespace(STRANGERS).await;
    upgrade_operator(&city.cluster).await;
    let after = (
        city.brokers().starts().await.unwrap(),
        city.databases().starts().await.unwrap(),
    );
    assert_eq!(after, before);
}
