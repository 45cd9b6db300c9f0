//! The whole node: what works in it, and that it comes and goes without a trace. There is one per machine, so these tests
//! take turns; they need root.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FOLDER: &str = "/var/lib/mim-lab";

/// One test at a time; whatever a failed one left is replaced by the next `up`.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mim-lab"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs `mim-lab`, which must succeed; returns what it said on both streams.
fn run(args: &[&str]) -> (String, String) {
    let output = lab(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "mim-lab {args:?}: {}\n{out}\n{err}",
        output.status
    );
    (out, err)
}

fn kubectl(args: &[&str]) -> String {
    run(&[&["kubectl"], args].concat()).0
}

fn apply(manifest: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifest).unwrap();
    kubectl(&["apply", "-f", file.path().to_str().unwrap()]);
}

fn eventually<T>(what: &str, limit: Duration, check: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The process ids that the lab wrote down, by name.
fn processes() -> Vec<(String, u32)> {
    let mut found: Vec<(String, u32)> = std::fs::read_dir(Path::new(FOLDER).join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let record: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, u32::try_from(record["pid"].as_u64().unwrap()).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// What a lab could leave on this machine.
fn traces() -> BTreeSet<String> {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut traces = BTreeSet::new();
    let links = said("ip", &["-brief", "link"]);
    traces.extend(
        links
            .lines()
            .filter(|line| line.starts_with("mim-lab") || line.starts_with("veth"))
            .map(str::to_owned),
    );
    let tables = said("nft", &["list", "tables"]);
    traces.extend(
        tables
            .lines()
            .filter(|line| line.contains("mim-lab") || line.contains("kube-proxy"))
            .map(str::to_owned),
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    traces.extend(
        mounts
            .lines()
            .filter(|line| line.contains(FOLDER))
            .map(str::to_owned),
    );
    let groups = said("find", &["/sys/fs/cgroup", "-type", "d", "-name", "mim-lab"]);
    traces.extend(groups.lines().map(str::to_owned));
    for process in std::fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(FOLDER) || line.starts_with("/bin/probe") || line.starts_with("/bin/coredns") {
            traces.insert(format!("process {line}"));
        }
    }
    for path in [
        FOLDER,
        "/var/lib/kubelet",
        "/var/lib/cni",
        "/var/log/containers",
        "/var/log/pods",
    ] {
        if Path::new(path).exists() {
            traces.insert(path.to_owned());
        }
    }
    for switch in [
        "net/ipv4/ip_forward",
        "vm/overcommit_memory",
        "kernel/panic",
        "kernel/panic_on_oops",
    ] {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(switch)).unwrap();
        traces.insert(format!("{switch} = {}", value.trim()));
    }
    traces
}

const CITY: &str = r#"
apiVersion: v1
kind: Namespace
metadata:
  name: NAME
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAME}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: NAME}
spec:
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: NAME, labels: {app: server}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 4242
    runAsGroup: 4242
    fsGroup: 4343
    seccompProfile: {type: RuntimeDefault}
  containers:
  - name: probe
    image: IMAGE
    imagePullPolicy: IfNotPresent
    args: [serve, ":8080"]
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: data}
"#;

/// A namespace of this run's own: an earlier one of the same name may still be on its way out.
fn namespace(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// A pod under PodSecurity `restricted` with a volume and a Service, Ready.
fn city(namespace: &str, image: &str) {
    apply(&CITY.replace("NAME", namespace).replace("IMAGE", image));
    kubectl(&[
        "-n",
        namespace,
        "wait",
        "--for=condition=Ready",
        "pod/server",
        "--timeout=60s",
    ]);
}

/// Runs the probe in the pod; what it printed, when it succeeded.
fn probe(namespace: &str, args: &[&str]) -> Option<String> {
    let output = lab(&[
        &["kubectl", "-n", namespace, "exec", "server", "--", "/bin/probe"],
        args,
    ]
    .concat());
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_restricted_pod_has_its_volume_its_service_and_dns() {
    let _turn = turn();
    run(&["up"]);
    let own = namespace("city");
    let own = own.as_str();
    city(own, mim_lab::PROBE_IMAGE);

    let answer = eventually("the Service answers by its name", Duration::from_secs(10), || {
        probe(own, &["get", &format!("http://server.{own}.svc.cluster.local/")])
    });
    assert_eq!(answer.trim(), "server");
    assert_eq!(
        probe(own, &["lookup", "kubernetes.default.svc.cluster.local"])
            .unwrap()
            .trim(),
        "10.96.0.1"
    );

    // The pod is uid 4242; it may write because of fsGroup, and what it writes belongs to that group.
    probe(own, &["write", "/data/kept", "by the city"]).unwrap();
    let volume = kubectl(&[
        "-n",
        own,
        "get",
        "pvc",
        "data",
        "-o",
        "jsonpath={.spec.volumeName}",
    ]);
    let file = Path::new(FOLDER).join("volumes").join(volume.trim()).join("kept");
    let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(&file).unwrap());
    assert_eq!(group, 4343);

    // A new pod finds what the old one wrote.
    kubectl(&["-n", own, "delete", "pod", "server"]);
    city(own, mim_lab::PROBE_IMAGE);
    assert_eq!(probe(own, &["read", "/data/kept"]).unwrap(), "by the city");

    // A pod that asks for more than `restricted` allows is refused.
    let refused = lab(&[
        "kubectl",
        "-n",
        own,
        "run",
        "loose",
        "--image",
        mim_lab::PROBE_IMAGE,
    ]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("violates PodSecurity \"restricted:latest\""));

    // The class cannot grow a volume, and says so.
    let grown = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
    let refused = lab(&["kubectl", "-n", own, "patch", "pvc", "data", "-p", grown]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("only dynamically provisioned pvc can be resized")
    );

    kubectl(&["delete", "namespace", own, "--wait=false"]);
    eventually(
        "the volume's folder goes with its claim",
        Duration::from_secs(20),
        || (!file.exists()).then_some(()),
    );
}

#[test]
fn a_loaded_image_is_used_by_its_digest() {
    let _turn = turn();
    run(&["up"]);
    let cache = run(&["binaries"]).0;
    let cache = Path::new(cache.split_whitespace().nth(1).unwrap())
        .parent()
        .unwrap()
        .parent()
        .unwrap();
    let archive = std::fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .unwrap();
    let names = run(&["load", archive.to_str().unwrap()]).0;
    let by_digest = names
        .lines()
        .find(|name| name.contains("/probe@sha256:"))
        .unwrap();
    let own = namespace("by-digest");
    city(&own, by_digest);
    kubectl(&["delete", "namespace", &own, "--wait=false"]);
}

#[test]
fn a_network_policy_is_enforced() {
    let _turn = turn();
    run(&["up"]);
    let (open, closed) = (namespace("open"), namespace("closed"));
    city(&open, mim_lab::PROBE_IMAGE);
    city(&closed, mim_lab::PROBE_IMAGE);
    let url = format!("http://server.{closed}.svc.cluster.local/");
    let ask = || probe(&open, &["get", &url, "2s"]);
    eventually("traffic passes without a policy", Duration::from_secs(10), ask);
    apply(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: none, namespace: {closed}}}, \
         spec: {{podSelector: {{}}, policyTypes: [Ingress]}}}}"
    ));
    eventually(
        "a policy without rules closes the door",
        Duration::from_secs(10),
        || ask().is_none().then_some(()),
    );
    kubectl(&["-n", &closed, "delete", "networkpolicy", "none"]);
    eventually("without it the door is open again", Duration::from_secs(10), ask);
    kubectl(&["delete", "namespace", &open, &closed, "--wait=false"]);
}

#[test]
fn up_twice_changes_nothing_and_starts_what_has_ended() {
    let _turn = turn();
    run(&["up"]);
    let before = processes();
    let told = run(&["up"]).1;
    assert!(told.contains("up already"), "{told}");
    assert_eq!(processes(), before);

    let own = namespace("steady");
    city(&own, mim_lab::PROBE_IMAGE);
    let container = || {
        kubectl(&[
            "-n",
            &own,
            "get",
            "pod",
            "server",
            "-o",
            "jsonpath={.status.containerStatuses[0].containerID}",
        ])
    };
    let first = container();
    let killed = [
        "containerd",
        "etcd",
        "kube-apiserver",
        "kube-scheduler",
        "kubelet",
    ];
    for (_, pid) in before.iter().filter(|(name, _)| killed.contains(&name.as_str())) {
        assert!(
            Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
    eventually(
        "status tells that a process has ended",
        Duration::from_secs(5),
        || {
            let status = lab(&["status"]);
            let told = String::from_utf8_lossy(&status.stdout).contains("kube-scheduler HAS ENDED");
            (told && !status.status.success()).then_some(())
        },
    );
    run(&["up"]);
    let changed: Vec<String> = processes()
        .into_iter()
        .filter(|process| !before.contains(process))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, killed);
    assert!(run(&["status"]).0.contains("node        ready"));
    // What runs in pods went on all the while.
    assert_eq!(container(), first);
    eventually("the pod answers", Duration::from_secs(20), || {
        probe(&own, &["get", "http://127.0.0.1:8080/"])
    });
    kubectl(&["delete", "namespace", &own, "--wait=false"]);
}

#[test]
fn a_lab_that_was_killed_half_way_is_replaced() {
    let _turn = turn();
    run(&["down"]);
    // Broken off at the first thing it writes, amid the start of the control plane, and when the kubelet starts.
    for sign in ["stamp.json", "run/kube-apiserver.json", "run/kubelet.json"] {
        let mut up = Command::new(env!("CARGO_BIN_EXE_mim-lab"))
            .arg("up")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sign = Path::new(FOLDER).join(sign);
        eventually("the start comes so far", Duration::from_mins(1), || {
            sign.exists().then_some(())
        });
        up.kill().unwrap();
        up.wait().unwrap();
        let refused = lab(&["kubectl", "get", "nodes"]);
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("no lab is up"),
            "half a lab is no lab"
        );
    }
    let told = run(&["up"]).1;
    assert!(
        told.contains("replacing the lab that is there: it was being started"),
        "{told}"
    );
    assert!(run(&["status"]).0.contains("node        ready"));

    // A removal that was broken off: the stamp is gone, the rest is there.
    let before = processes();
    std::fs::remove_file(Path::new(FOLDER).join("stamp.json")).unwrap();
    let told = run(&["up"]).1;
    assert!(told.contains("it was being removed"), "{told}");
    assert!(processes().iter().all(|process| !before.contains(process)));
}

#[test]
fn a_lab_of_another_checkout_or_of_an_older_build_is_replaced() {
    let _turn = turn();
    run(&["up"]);
    let stamp = Path::new(FOLDER).join("stamp.json");
    for (what, other, words) in [
        (
            "checkout",
            "/somewhere/else",
            "it belongs to another checkout, /somewhere/else",
        ),
        (
            "build",
            "0123456789ab-cdef",
            "it was made by another build, 0123456789ab-cdef",
        ),
    ] {
        let before = processes();
        let mut content: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&stamp).unwrap()).unwrap();
        assert!(content["origin"][what].is_string(), "{content}");
        content["origin"][what] = other.into();
        std::fs::write(&stamp, content.to_string()).unwrap();
        let told = run(&["up"]).1;
        assert!(told.contains(words), "{told}");
        assert!(processes().iter().all(|process| !before.contains(process)));
        assert!(run(&["status"]).0.contains("node        ready"));
    }
}

/// Without root, as a user who forgot sudo.
#[test]
fn who_is_not_root_is_told_so_before_anything_is_built_or_touched() {
    use std::os::unix::process::CommandExt as _;

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mim-lab");
    std::fs::copy(env!("CARGO_BIN_EXE_mim-lab"), &copy).unwrap();
    for path in [folder.path(), &copy] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    }
    for command in ["up", "down"] {
        let output = Command::new(&copy)
            .arg(command)
            .uid(65534)
            .gid(65534)
            .current_dir("/")
            .env("HOME", folder.path().join("nowhere"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        let words = format!(
            "a node needs root: it makes a bridge, cgroups and mounts. Run `mim-lab {command}` with sudo"
        );
        assert!(said.contains(&words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn up_keeps_to_its_memory_and_down_leaves_nothing() {
    let _turn = turn();
    run(&["down"]);
    let before = traces();
    // It ends by limits of its own; how long it takes is a row of `make bench ONLY=city`.
    run(&["up"]);
    let status = run(&["status"]).0;
    let memory = status.lines().find_map(|line| {
        line.strip_prefix("memory")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let memory: u64 = memory.unwrap();
    assert!(
        memory < 1229,
        "{memory} MiB; the target is 1.2 GiB without operands"
    );
    city("left", mim_lab::PROBE_IMAGE);

    run(&["down"]);
    let after = traces();
    let left: Vec<&String> = after.difference(&before).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert_eq!(
        before.difference(&after).count(),
        0,
        "the kernel's switches are as they were"
    );
    // Once more, where there is nothing.
    run(&["down"]);
}
