//! Runs an image with runc as a cluster would under PodSecurity `restricted`: its own user, no capability, no new
//! privileges, a read-only root file system, and scratch space only where a pod would mount it.

use std::{
    fs,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oci::Archive;

/// An unpacked image; gone when dropped.
pub struct Container {
    bundle: TempDir,
    user: (u32, u32),
    environment: Value,
}

impl Container {
    pub fn new(archive: &Archive) -> Self {
        let bundle = tempfile::tempdir().unwrap();
        archive.unpack(&bundle.path().join("rootfs"));
        let run = &archive.config["config"];
        let (uid, gid) = run["User"].as_str().unwrap().split_once(':').unwrap();
        Self {
            bundle,
            user: (uid.parse().unwrap(), gid.parse().unwrap()),
            environment: run["Env"].clone(),
        }
    }

    /// Runs a program to its end and returns what it printed; panics when it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mim-images-test-{}-{number}", std::process::id());
        let specification = serde_json::to_vec(&self.specification(arguments, &name)).unwrap();
        fs::write(self.bundle.path().join("config.json"), specification).unwrap();
        let runc = |arguments: &[&str]| -> Output {
            Command::new("runc")
                .arg("--root")
                .arg(self.bundle.path().join("state"))
                .args(arguments)
                .current_dir(self.bundle.path())
                .output()
                .expect("runc is needed to run images (apt-get install runc)")
        };
        let output = runc(&["run", &name]);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            // Where runc itself failed, the container may still be there.
            let _ = runc(&["delete", "--force", &name]);
        }
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}\n{}",
            output.status,
            said(&output.stdout),
            said(&output.stderr)
        );
        said(&output.stdout)
    }

    fn specification(&self, arguments: &[&str], name: &str) -> Value {
        let (uid, gid) = self.user;
        let scratch = |path: &str, mode: &str| {
            let owner = [format!("mode={mode}"), format!("uid={uid}"), format!("gid={gid}")];
            let options = ["nosuid".to_owned(), "nodev".to_owned()]
                .into_iter()
                .chain(owner)
                .collect::<Vec<_>>();
            json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options})
        };
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
            scratch("/dev/shm", "1777"),
            scratch("/tmp", "1777"),
        ];
        for folder in ["run/postgresql", "var/lib/postgresql"] {
            if self.bundle.path().join("rootfs").join(folder).is_dir() {
                mounts.push(scratch(&format!("/{folder}"), "700"));
            }
        }
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": uid, "gid": gid},
                "args": arguments,
                "env": self.environment,
                "cwd": "/",
                "capabilities": {},
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "test",
            "mounts": mounts,
            "linux": {
                "cgroupsPath": format!("/{name}"),
                "namespaces": [
                    {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                ],
            },
        })
    }
}
