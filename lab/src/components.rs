//! The control plane's programs and their arguments, the same for every kind of lab.

use std::path::{Path, PathBuf};

use crate::binaries::{Binaries, Binary};
use crate::error::Error;
use crate::files;
use crate::kubeconfig;
use crate::pki::{self, Authority};
use crate::process::Program;

/// The addresses of Services in every lab.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`: the first of the range.
const FIRST_SERVICE_IP: &str = "10.96.0.1";

/// Where a control plane keeps its things and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Everything that the control plane writes is below this folder.
    pub folder: PathBuf,
    /// The address that etcd and the controllers listen on; a loopback address.
    pub loopback: String,
    /// The address that the API server listens on.
    pub api_address: String,
    /// The address that pods reach the API server at, where there are pods.
    pub advertised: Option<String>,
    /// Further arguments of the API server.
    pub api_server_args: Vec<String>,
    /// Requests are written to `audit.log` by this policy.
    pub audit_policy: Option<String>,
}

/// Port of the API server in every lab; the addresses differ.
pub(crate) const API_PORT: u16 = 6443;
/// Who the API server is when it passes a request on for somebody else.
const FRONT_PROXY: &str = "front-proxy-client";
const ETCD_CLIENT_PORT: u16 = 2379;
const ETCD_PEER_PORT: u16 = 2380;

impl Site {
    pub fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    /// The administrator's kubeconfig.
    pub fn admin(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The kubeconfig of a component.
    pub fn kubeconfig(&self, component: &str) -> PathBuf {
        self.pki().join(format!("{component}.kubeconfig"))
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// The URL that clients on this machine use.
    pub fn url(&self) -> String {
        format!(
            "https://{}:{API_PORT}",
            self.advertised.as_ref().unwrap_or(&self.api_address)
        )
    }

    /// Makes the folders, keys, certificates and kubeconfigs of a new control plane, and returns its authority.
    pub fn prepare(&self) -> Result<Authority, Error> {
        files::folder(&self.pki())?;
        files::folder(&self.folder.join("log"))?;
        let authority = Authority::new()?;
        authority.save(&self.pki())?;
        let mut subjects: Vec<String> = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
        ]
        .into_iter()
        .chain([
            "kubernetes.default.svc.cluster.local",
            FIRST_SERVICE_IP,
            "127.0.0.1",
            &self.loopback,
        ])
        .map(str::to_owned)
        .collect();
        subjects.extend(self.advertised.clone());
        authority
            .server("kube-apiserver", &subjects)?
            .save(&self.pki(), "apiserver")?;
        authority
            .client("kube-apiserver-kubelet-client", Some("system:masters"))?
            .save(&self.pki(), "apiserver-kubelet-client")?;
        authority
            .client(FRONT_PROXY, None)?
            .save(&self.pki(), FRONT_PROXY)?;
        pki::save_signing_key(&self.pki(), "service-account")?;
        let certificate = authority.certificate();
        kubeconfig::write(
            &self.admin(),
            &self.url(),
            &certificate,
            &authority.client("mim-lab-admin", Some("system:masters"))?,
        )?;
        for component in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
            let identity = authority.client(&format!("system:{component}"), None)?;
            kubeconfig::write(&self.kubeconfig(component), &self.url(), &certificate, &identity)?;
        }
        if let Some(policy) = &self.audit_policy {
            files::write(&self.folder.join("audit-policy.yaml"), policy)?;
        }
        Ok(authority)
    }

    pub fn etcd(&self, binaries: &Binaries) -> Result<Program, Error> {
        let client = format!("http://{}:{ETCD_CLIENT_PORT}", self.loopback);
        let peer = format!("http://{}:{ETCD_PEER_PORT}", self.loopback);
        Ok(Program::new("etcd", binaries.path(Binary::Etcd)?)
            .flag("name", "lab")
            .flag("data-dir", display(&self.folder.join("etcd")))
            .flag("listen-client-urls", &client)
            .flag("advertise-client-urls", &client)
            .flag("listen-peer-urls", &peer)
            .flag("initial-advertise-peer-urls", &peer)
            .flag("initial-cluster", format!("lab={peer}"))
            // A lab that loses power is made anew.
            .arg("--unsafe-no-fsync")
            .flag("log-level", "warn"))
    }

    pub fn api_server(&self, binaries: &Binaries) -> Result<Program, Error> {
        let pki = |name: &str| display(&self.pki().join(name));
        let mut program = Program::new("kube-apiserver", binaries.path(Binary::KubeApiserver)?)
            .flag(
                "etcd-servers",
                format!("http://{}:{ETCD_CLIENT_PORT}", self.loopback),
            )
            .flag("bind-address", &self.api_address)
            .flag("secure-port", API_PORT)
            .flag("service-cluster-ip-range", SERVICE_CIDR)
            .flag("authorization-mode", "Node,RBAC")
            .flag("enable-admission-plugins", "NodeRestriction")
            .flag("client-ca-file", pki("ca.crt"))
            .flag("tls-cert-file", pki("apiserver.crt"))
            .flag("tls-private-key-file", pki("apiserver.key"))
            .flag("kubelet-client-certificate", pki("apiserver-kubelet-client.crt"))
            .flag("kubelet-client-key", pki("apiserver-kubelet-client.key"))
            .flag("kubelet-certificate-authority", pki("ca.crt"))
            .flag("kubelet-preferred-address-types", "InternalIP")
            .flag(
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local",
            )
            .flag("service-account-signing-key-file", pki("service-account.key"))
            .flag("service-account-key-file", pki("service-account.pub"))
            // Aggregated APIs and the controllers' own servers trust what the API server vouches for.
            .flag("requestheader-client-ca-file", pki("ca.crt"))
            .flag("requestheader-allowed-names", FRONT_PROXY)
            .flag("requestheader-username-headers", "X-Remote-User")
            .flag("requestheader-group-headers", "X-Remote-Group")
            .flag("requestheader-extra-headers-prefix", "X-Remote-Extra-")
            .flag("proxy-client-cert-file", pki("front-proxy-client.crt"))
            .flag("proxy-client-key-file", pki("front-proxy-client.key"))
            .flag("profiling", "false");
        program = match &self.advertised {
            Some(address) => program.flag("advertise-address", address),
            // Nobody reaches it through a Service, and a loopback address is no valid endpoint; the flag keeps the
            // server from looking for a default route, which a machine may lack (the address is TEST-NET-1, RFC 5737).
            None => program
                .flag("advertise-address", "192.0.2.1")
                .flag("endpoint-reconciler-type", "none"),
        };
        if self.audit_policy.is_some() {
            program = program
                .flag(
                    "audit-policy-file",
                    display(&self.folder.join("audit-policy.yaml")),
                )
                .flag("audit-log-path", display(&self.audit_log()))
                // One file, whole, for who counts its lines.
                .flag("audit-log-maxsize", 0)
                .flag("audit-log-mode", "blocking");
        }
        program.args.extend(self.api_server_args.iter().cloned());
        Ok(program)
    }

    pub fn controller_manager(&self, binaries: &Binaries) -> Result<Program, Error> {
        Ok(self
            .controller(binaries, Binary::KubeControllerManager)?
            .arg("--use-service-account-credentials")
            .flag("root-ca-file", display(&self.pki().join("ca.crt")))
            .flag(
                "service-account-private-key-file",
                display(&self.pki().join("service-account.key")),
            )
            // The default of 20 requests a second makes a test of 1,000 objects wait for the controllers.
            .flag("kube-api-qps", 200)
            .flag("kube-api-burst", 400))
    }

    pub fn scheduler(&self, binaries: &Binaries) -> Result<Program, Error> {
        self.controller(binaries, Binary::KubeScheduler)
    }

    fn controller(&self, binaries: &Binaries, binary: Binary) -> Result<Program, Error> {
        let config = display(&self.kubeconfig(binary.name()));
        Ok(Program::new(binary.name(), binaries.path(binary)?)
            .flag("kubeconfig", &config)
            .flag("authentication-kubeconfig", &config)
            .flag("authorization-kubeconfig", &config)
            .flag("leader-elect", "false")
            .flag("profiling", "false")
            .flag("bind-address", &self.loopback))
    }
}

pub(crate) fn display(path: &Path) -> String {
    path.display().to_string()
}
