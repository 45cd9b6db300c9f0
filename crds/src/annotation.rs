//! Annotations that users write on our objects. Each is read by the operator and never copied to a child.

/// Asks for a pass now. Any new value counts; it is echoed in `status.lastHandledRequestedAt` when the pass has ended.
pub const REQUESTED_AT: &str = "mim.city/requestedAt";
/// Asks for a rolling restart of the operands. Any new value counts; it is copied into the pod templates.
pub const RESTARTED_AT: &str = "mim.city/restartedAt";
/// Confirms that `deletionPolicy: Delete` may destroy the data. The value must be the object's name.
pub const CONFIRM_DELETION: &str = "mim.city/confirm-deletion";
/// Accepts that the data is lost and starts with an empty database. The value must be the `systemIdentifier` that was lost.
pub const ACCEPT_DATA_LOSS: &str = "mim.city/accept-data-loss";
/// Prefix of every label and annotation that is ours.
pub const PREFIX: &str = "mim.city/";
