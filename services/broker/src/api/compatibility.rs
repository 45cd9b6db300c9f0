//! What editions of the standard disagree on, as settings whose default is what the newest edition says. A client that
//! was written for an older edition can so be served as it expects.

use http::StatusCode;
use serde::Deserialize;

/// The settings. Members that this version does not know are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Compatibility {
    /// The status of `LdContextNotAvailable`.
    pub context_not_available_status: ContextStatus,
}

/// The status of `LdContextNotAvailable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub enum ContextStatus {
    /// 504, from v1.9.1 on.
    #[default]
    GatewayTimeout,
    /// 503, up to v1.8.1.
    ServiceUnavailable,
}

impl TryFrom<u16> for ContextStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            503 => Ok(Self::ServiceUnavailable),
            504 => Ok(Self::GatewayTimeout),
            other => Err(format!("contextNotAvailableStatus is 503 or 504, not {other}")),
        }
    }
}

impl From<ContextStatus> for StatusCode {
    fn from(status: ContextStatus) -> Self {
        match status {
            ContextStatus::ServiceUnavailable => Self::SERVICE_UNAVAILABLE,
            ContextStatus::GatewayTimeout => Self::GATEWAY_TIMEOUT,
        }
    }
}
