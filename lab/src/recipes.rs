//! Which programs the lab is made of, and the pinned modules they are built from.

/// The Kubernetes release that `go/kubernetes/go.mod` pins.
pub const KUBERNETES_VERSION: &str = "v1.37.2";

/// A program that the lab builds and keeps in its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the program of that name")]
pub enum Binary {
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    Kubectl,
    Containerd,
    ContainerdShim,
    Ctr,
    Coredns,
    Helm,
    Kubeconform,
    Pause,
    Probe,
}

/// A Go module of the lab's own, with all its files: the programs are built from exactly these.
pub(crate) struct Module {
    pub name: &'static str,
    pub files: &'static [(&'static str, &'static str)],
}

/// How one program is built.
pub(crate) struct Recipe {
    pub module: &'static Module,
    pub package: &'static str,
    pub ldflags: &'static str,
}

macro_rules! module {
    ($name:literal, $($file:literal),+) => {
        Module { name: $name, files: &[$(($file, include_str!(concat!("../go/", $name, "/", $file)))),+] }
    };
}

static ETCD: Module = module!("etcd", "go.mod", "go.sum", "main.go");
static KUBERNETES: Module = module!("kubernetes", "go.mod", "go.sum");
static CONTAINERD: Module = module!("containerd", "go.mod", "go.sum");
static COREDNS: Module = module!("coredns", "go.mod", "go.sum", "main.go");
static HELM: Module = module!("helm", "go.mod", "go.sum");
static KUBECONFORM: Module = module!("kubeconform", "go.mod", "go.sum");
static SYSTEM: Module = module!("system", "go.mod", "pause/main.go", "probe/main.go");

/// Without debug information; the programs are for running.
const STRIPPED: &str = "-s -w";
const KUBERNETES_LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";
const CONTAINERD_LDFLAGS: &str = "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2";
const HELM_LDFLAGS: &str = "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1";

impl Binary {
    /// Every program, in the order in which they are built: what most commands need comes first.
    pub const ALL: [Self; 15] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Containerd,
        Self::ContainerdShim,
        Self::Ctr,
        Self::Coredns,
        Self::Pause,
        Self::Probe,
        Self::Helm,
        Self::Kubeconform,
    ];

    /// The file name of the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Containerd => "containerd",
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Coredns => "coredns",
            Self::Helm => "helm",
            Self::Kubeconform => "kubeconform",
            Self::Pause => "pause",
            Self::Probe => "probe",
        }
    }

    pub(crate) fn recipe(self) -> Recipe {
        let (module, package, ldflags) = match self {
            Self::Etcd => (&ETCD, ".", STRIPPED),
            Self::KubeApiserver => (
                &KUBERNETES,
                "k8s.io/kubernetes/cmd/kube-apiserver",
                KUBERNETES_LDFLAGS,
            ),
            Self::KubeControllerManager => (
                &KUBERNETES,
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                KUBERNETES_LDFLAGS,
            ),
            Self::KubeScheduler => (
                &KUBERNETES,
                "k8s.io/kubernetes/cmd/kube-scheduler",
                KUBERNETES_LDFLAGS,
            ),
            Self::Kubelet => (&KUBERNETES, "k8s.io/kubernetes/cmd/kubelet", KUBERNETES_LDFLAGS),
            Self::KubeProxy => (
                &KUBERNETES,
                "k8s.io/kubernetes/cmd/kube-proxy",
                KUBERNETES_LDFLAGS,
            ),
            Self::Kubectl => (&KUBERNETES, "k8s.io/kubernetes/cmd/kubectl", KUBERNETES_LDFLAGS),
            Self::Containerd => (
                &CONTAINERD,
                "github.com/containerd/containerd/v2/cmd/containerd",
                CONTAINERD_LDFLAGS,
            ),
            Self::ContainerdShim => (
                &CONTAINERD,
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                CONTAINERD_LDFLAGS,
            ),
            Self::Ctr => (
                &CONTAINERD,
                "github.com/containerd/containerd/v2/cmd/ctr",
                CONTAINERD_LDFLAGS,
            ),
            Self::Coredns => (&COREDNS, ".", STRIPPED),
            Self::Helm => (&HELM, "helm.sh/helm/v4/cmd/helm", HELM_LDFLAGS),
            Self::Kubeconform => (
                &KUBECONFORM,
                "github.com/yannh/kubeconform/cmd/kubeconform",
                STRIPPED,
            ),
            Self::Pause => (&SYSTEM, "./pause", STRIPPED),
            Self::Probe => (&SYSTEM, "./probe", STRIPPED),
        };
        Recipe {
            module,
            package,
            ldflags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_flags_are_those_that_are_pinned() {
        let pinned = |module: &Module, requirement: &str| {
            module
                .files
                .iter()
                .any(|(name, text)| *name == "go.mod" && text.contains(requirement))
        };
        assert!(pinned(
            &KUBERNETES,
            &format!("k8s.io/kubernetes {KUBERNETES_VERSION}")
        ));
        assert!(KUBERNETES_LDFLAGS.contains(&format!("gitVersion={KUBERNETES_VERSION} ")));
        assert!(
            pinned(&CONTAINERD, "github.com/containerd/containerd/v2 v2.4.2")
                && CONTAINERD_LDFLAGS.ends_with("v2.4.2")
        );
        assert!(pinned(&HELM, "helm.sh/helm/v4 v4.3.1") && HELM_LDFLAGS.ends_with("v4.3.1"));
    }

    #[test]
    fn all_programs_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Binary::ALL.iter().map(|binary| binary.name()).collect();
        assert_eq!(names.len(), Binary::ALL.len());
    }
}
