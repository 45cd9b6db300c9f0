//! Annotations that users write on our objects. A platform hands those that concern its components on to them; no pod gets one as it stands.

/// Asks for a pass now. Any new value counts; it is echoed in `status.lastHandledRequestedAt` when the pass has ended.
pub const REQUESTED_AT: &str = "mim.city/requestedAt";
/// Asks for a rolling restart of the operands. Any new value counts; it becomes part of the pod templates.
pub const RESTARTED_AT: &str = "mim.city/restartedAt";
/// Confirms that `deletionPolicy: Delete` may destroy the data. The value must be the object's name.
pub const CONFIRM_DELETION: &str = "mim.city/confirm-deletion";
/// Accepts that data is lost and starts with an empty database. The value must be the `systemIdentifier` that was lost.
pub const ACCEPT_DATA_LOSS: &str = "mim.city/accept-data-loss";
/// Destroys the data of tenants. The value names them, separated by commas.
pub const CONFIRM_TENANT_DROP: &str = "mim.city/confirm-tenant-drop";
/// Leaves the subscription in its broker when a ContextSubscription is deleted. The value must be the object's name.
pub const ABANDON: &str = "mim.city/abandon";
/// Prefix of every label and annotation that is ours.
pub const PREFIX: &str = "mim.city/";

/// An annotation as the docs show it.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// The key.
    pub key: &'static str,
    /// The kinds that read it.
    pub on: &'static str,
    /// What the value must be.
    pub value: &'static str,
    /// What it does.
    pub effect: &'static str,
}

const BOTH: &str = "UrbanDataPlatform, for its components too; ContextBroker";

/// All annotations that users write, in the order of the docs.
pub const ALL: &[Annotation] = &[
    Annotation {
        key: REQUESTED_AT,
        on: "UrbanDataPlatform, for its components too; ContextBroker; ContextSubscription",
        value: "any new value, for example the time",
        effect: "The object is looked at now; the value stands in `status.lastHandledRequestedAt` when that has ended.",
    },
    Annotation {
        key: RESTARTED_AT,
        on: BOTH,
        value: "any new value, for example the time",
        effect: "The operands restart, one pod after the other.",
    },
    Annotation {
        key: CONFIRM_DELETION,
        on: BOTH,
        value: "the object's name",
        effect: "With `deletionPolicy: Delete`: deleting the object destroys its data. Any other value destroys nothing. The operator has to see it before the object is deleted: the events `DeletionConfirmed` and `DeletionWithdrawn` say that it has.",
    },
    Annotation {
        key: ACCEPT_DATA_LOSS,
        on: "ContextBroker, also where a platform made it",
        value: "the `systemIdentifier` that was lost, as the condition names it",
        effect: "After `DataLost`: the loss is accepted, and an empty database is made.",
    },
    Annotation {
        key: CONFIRM_TENANT_DROP,
        on: "ContextBroker, also where a platform made it",
        value: "names of tenants, separated by commas, for example `north,south`",
        effect: "The data of these tenants is destroyed, some minutes later, and as long as the annotation names them no write makes them. A tenant that stands in `spec.tenants` is kept: take it off the list first. A tenant that is off the list and not named here keeps its data.",
    },
    Annotation {
        key: ABANDON,
        on: "ContextSubscription",
        value: "the object's name",
        effect: "When the object is deleted its subscription is left in the broker, which is not asked any more: the way out where a broker never answers again, or is out of reach for good. Any other value, and an object that is not being deleted: no effect. Where the ContextBroker is gone the object goes without it. The event `Abandoned` says what was left. Where no operator is there any more: `kubectl patch ctxsub <name> --type=merge -p '{\"metadata\":{\"finalizers\":null}}'`.",
    },
];
