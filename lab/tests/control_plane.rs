//! The control plane as a value: it starts, obeys, and leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use mim_lab::{Audit, ControlPlane, Options};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

/// Processes whose command line names this folder.
fn processes_of(folder: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(folder)
        })
        .collect()
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_run_side_by_side_and_leave_nothing() {
    let (first, second) = tokio::join!(
        ControlPlane::start(Options::default()),
        ControlPlane::start(Options::default())
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    let maps: Api<ConfigMap> = Api::namespaced(first.client().await.unwrap(), "default");
    maps.create(&PostParams::default(), &config_map("only-here"))
        .await
        .unwrap();
    let others: Api<ConfigMap> = Api::namespaced(second.client().await.unwrap(), "default");
    assert_eq!(others.get_opt("only-here").await.unwrap(), None);

    let folder = first.folder().to_owned();
    assert!(processes_of(&folder.display().to_string()).len() >= 2);
    first.stop().await.unwrap();
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder.display().to_string()), Vec::<u32>::new());

    let folder = second.folder().to_owned();
    drop(second);
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder.display().to_string()), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_work_and_a_user_may_do_what_rbac_allows() {
    let options = Options {
        controller_manager: true,
        audit: Some(Audit::Metadata),
        ..Options::default()
    };
    let control_plane = ControlPlane::start(options).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "kube-system");
    let start = Instant::now();
    while accounts.get_opt("default").await.unwrap().is_none() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the controller manager makes service accounts"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let config = control_plane.client_config_for("somebody", None).await.unwrap();
    let somebody = kube::Client::try_from(config).unwrap();
    let refused = Api::<ConfigMap>::namespaced(somebody, "default")
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );
    let log = std::fs::read_to_string(control_plane.audit_log().unwrap()).unwrap();
    assert!(
        log.lines()
            .any(|line| line.contains("\"somebody\"") && line.contains("\"code\":403"))
    );

    let config = control_plane
        .client_config_for("auditor", Some("system:masters"))
        .await
        .unwrap();
    let auditor = kube::Client::try_from(config).unwrap();
    Api::<Namespace>::all(auditor)
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(
        control_plane
            .metrics()
            .await
            .unwrap()
            .contains("apiserver_request_total")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_can_be_frozen_and_started_again_with_its_data() {
    let mut control_plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    maps.create(&PostParams::default(), &config_map("kept"))
        .await
        .unwrap();

    control_plane.pause_api_server().unwrap();
    tokio::time::timeout(Duration::from_millis(300), maps.get("kept"))
        .await
        .unwrap_err();
    control_plane.resume_api_server().unwrap();
    maps.get("kept").await.unwrap();

    let before = control_plane.api_server_pid().unwrap();
    control_plane.stop_api_server();
    maps.get("kept").await.unwrap_err();
    control_plane.start_api_server().await.unwrap();
    assert_ne!(control_plane.api_server_pid().unwrap(), before);
    maps.get("kept").await.unwrap();
}

#[test]
fn a_killed_process_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let kubeconfig = scratch.path().join("kubeconfig");
    let mut holder = Command::new(env!("CARGO_BIN_EXE_mim-lab"))
        .args(["hold", "--kubeconfig"])
        .arg(&kubeconfig)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !kubeconfig.exists() {
        assert!(
            start.elapsed() < Duration::from_mins(30),
            "the holder starts a control plane"
        );
        assert_eq!(holder.try_wait().unwrap(), None, "the holder runs");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Its folder carries the holder's process id.
    let folder = format!("mim-lab-{}-", holder.id());
    let folders = || {
        ["/dev/shm", "/tmp"].iter().any(|base| {
            let names = std::fs::read_dir(base)
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            names
                .into_iter()
                .any(|name| name.to_string_lossy().starts_with(&folder))
        })
    };
    assert!(processes_of(&folder).len() >= 3 && folders());
    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the processes are gone", || processes_of(&folder).is_empty());
    eventually("the folder is gone", || !folders());
}
