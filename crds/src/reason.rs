//! Every reason that a condition of ours can have: a closed list, and the table in the docs is made from it.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition is what it is. One list for all kinds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All reasons, in the order of the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word in the condition.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// When it is used and what to do, as the docs print it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// The reason with this word, if there is one.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }
        }
    };
}

reasons! {
    /// Everything that the spec asks for is there and ready.
    Ready,
    /// The operator is at work, or waits for a child to become ready; the message says for what.
    Progressing,
    /// `replicas` is 0: the broker is stopped as asked, its data is kept.
    Stopped,
    /// `suspend` is true: no child is written until it is false again.
    Suspended,
    /// The object is being deleted; the message says what is still to go.
    Deleting,
    /// The spec cannot be carried out; the message has the field and what to write instead. A new generation is tried at once.
    InvalidSpec,
    /// The release is not in the operator's catalogue: write one of those that the message lists, or upgrade the operator.
    ReleaseUnknown,
    /// The step from the release in force to the one asked for is not allowed; the message names one that is.
    ReleaseStepRefused,
    /// In cluster mode: the operator may not write in this namespace. Create the RoleBinding that the message names.
    NamespaceNotOnboarded,
    /// An object that the spec names does not exist yet; it goes on by itself when it appears.
    DependencyNotFound,
    /// An object that the spec names exists, but does not hold what is needed; the message names the key.
    DependencyInvalid,
    /// An object with the name of our child belongs to somebody else; it is left untouched. Rename one of the two.
    NameTaken,
    /// The volume does not hold the database that was there. Restore it, or accept the loss with the annotation `mim.city/accept-data-loss`.
    DataLost,
    /// The API server refused a child; the message has its words.
    ApplyFailed,
    /// The API server could not be reached or was too slow; it is tried again.
    ApiUnavailable,
    /// An image cannot be pulled; the message has the registry's words. What ran keeps running.
    ImagePullFailed,
    /// A container ends again and again; the message has its last words. What ran keeps running.
    CrashLooping,
    /// A container cannot be made, for example because a Secret or ConfigMap that it mounts is missing.
    ContainerConfigError,
    /// No node takes the pod; the message has the scheduler's words.
    Unschedulable,
    /// The volume is not bound, or cannot be attached or mounted.
    VolumePending,
    /// The StorageClass refuses to grow the volume; the message has its words.
    VolumeResizeRefused,
    /// A quota of the namespace is used up; the message names it.
    QuotaExceeded,
    /// An admission rule of the cluster (PodSecurity, a policy or a webhook) refuses a pod or a child.
    AdmissionRefused,
    /// The database does not answer, or does not suit: login, TLS, version or PostGIS; the message has its words.
    DatabaseNotReady,
    /// A pod runs but does not become ready; the message has the words of its probe.
    NotReady,
    /// The external broker does not answer: no connection, no TLS, no answer in time, or a server error.
    ExternalUnreachable,
    /// The external broker refuses the token.
    ExternalUnauthorised,
    /// The address answers, but not as an NGSI-LD broker.
    ExternalNotNgsiLd,
    /// The address of the external broker is one that the operator must not call; the message says why.
    ExternalRefused,
    /// A component of the platform is not ready; the message names it.
    ComponentNotReady,
    /// The operator met a state that it should never meet. Please report it with the message; it is tried again.
    InternalError,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
