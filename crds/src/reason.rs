//! Every reason that a condition or an event of ours can have: closed lists, and the tables in the docs are made from them.

use std::fmt;

macro_rules! reasons {
    ($(#[$about:meta])+ $list:ident: $($(#[doc = $doc:literal])+ $name:ident,)+) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $list {
            $($(#[doc = $doc])+ $name,)+
        }

        impl $list {
            /// All reasons, in the order of the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word in the condition or event.
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

        }

        impl fmt::Display for $list {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a condition is what it is. One list for all kinds.
    Reason:
    /// Everything that the spec asks for is there and ready.
    Ready,
    /// The operator is at work, or waits for a part to become ready; after a minute the message names the parts. What is known to keep a
    /// part gets a reason of its own.
    Progressing,
    /// `replicas` is 0: the broker is stopped as asked, its data is kept.
    Stopped,
    /// `suspend` is true: no child is written until it is false again.
    Suspended,
    /// The spec cannot be carried out; the message has the field and what to write instead. A new generation is tried at once.
    InvalidSpec,
    /// The release is not in the operator's catalogue: write one of those that the message lists, or upgrade the operator.
    ReleaseUnknown,
    /// The step from the release in force to the one asked for is not allowed, or cannot be judged; the message says why and what to do instead.
    ReleaseStepRefused,
    /// The operator may not write in this namespace. In cluster mode create the RoleBinding that the notes of its chart show; the message has what was refused.
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
    /// Somebody else writes the same as the operator, again and again; the message names what, and who where that is known. It is put back every 5
    /// seconds. Let only one of the two write it.
    Contested,
    /// The API server could not be reached, was too slow, or answered with an error (a webhook of the cluster that is away, for example); it is tried again.
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
    /// The volume has grown, its file system has not yet. Where that stays so the message says how to restart the database.
    VolumeResizePending,
    /// The volume is being deleted, and lives only as long as the pod that uses it: make a dump now.
    VolumeDeleting,
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
    /// The external broker refuses the token, or HTTP cannot carry it.
    ExternalUnauthorised,
    /// The address answers, but not as an NGSI-LD broker.
    ExternalNotNgsiLd,
    /// The address of the external broker is one that the operator must not call; the message says why.
    ExternalRefused,
    /// A broker of another namespace does not exist, or does not let this namespace in: its `spec.allowedNamespaces` has to name it.
    ReferenceNotPermitted,
    /// The broker of a subscription does not answer: no connection, no TLS, no answer in time, or a server error. It is asked again.
    BrokerUnreachable,
    /// The broker of a subscription refuses the token: it is missing, wrong, or may not keep subscriptions.
    BrokerUnauthorised,
    /// The broker of a subscription does not take it; the message has its answer as far as that is one of NGSI-LD's words.
    BrokerRefused,
    /// The subscription is in the broker as asked, and pauses as asked: `mode` is `Paused`.
    Paused,
    /// The subscription has ended: `expiresAt` is over. A later one revives it.
    Expired,
    /// The subscription is in the broker as asked, but its endpoint does not take the notifications; `status.delivery` has the times.
    EndpointFailing,
    /// A component of the platform is not ready; the message names it.
    ComponentNotReady,
    /// The operator met a state that it should never meet. Please report it with the message; it is tried again.
    InternalError,
}

impl Reason {
    /// The reason with this word, if there is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }
}

reasons! {
    /// What an event tells beside the reasons of conditions: what the operator did, and why. Every restart of an operand has one of these.
    EventReason:
    /// What somebody else had changed or deleted is as it must be again: a child, or a subscription in a broker.
    Repaired,
    /// A child that is no longer needed was deleted.
    Pruned,
    /// A pod was made that proves that the new template of the database can start, before the running one is deleted.
    Preflight,
    /// That pod was deleted: its work is done, or its template is not the newest.
    PreflightOver,
    /// Pods start anew: the release has changed.
    ReleaseChanged,
    /// Pods start anew: their requests or limits have changed.
    ResourcesChanged,
    /// Pods start anew: where or how they run has changed (`podTemplate`).
    PodTemplateChanged,
    /// Pods start anew: a restart was requested with the annotation `mim.city/restartedAt`.
    RestartRequested,
    /// A pod starts anew: it is not ready, and its template is not the newest.
    StuckOnOldTemplate,
    /// The loss of the data was accepted with the annotation `mim.city/accept-data-loss`.
    DataLossAccepted,
    /// Deletion of the data is asked for and confirmed: from now on it goes with the object.
    DeletionConfirmed,
    /// Deletion of the data is no longer asked for or confirmed: from now on it outlives the object.
    DeletionWithdrawn,
    /// The object went and its subscription was left in the broker: the annotation `mim.city/abandon` says so, or the ContextBroker is gone.
    Abandoned,
    /// The broker has another address now. The subscription is made there; what is at the old address is not touched, the message names it.
    LeftBehind,
}
