//! What editions of the standard disagree on or leave to brokers, as settings whose default is what the newest edition
//! says. A client that was written for an older edition can so be served as it expects.

use http::StatusCode;
use serde::Deserialize;

/// The settings. Members that this version does not know are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Compatibility {
    /// The status of `LdContextNotAvailable`.
    pub context_not_available_status: ContextStatus,
    /// What writing the past of an entity makes.
    pub temporal_create: TemporalCreate,
    /// How many instances of the past one answer has at most.
    pub temporal_page_size: PageSize,
}

/// What writing the past of an entity makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TemporalCreate {
    /// The past alone.
    #[default]
    Past,
    /// The current entity as well, which then has the latest instances. No edition says so; test suites and clients up to
    /// v1.8.1 expect it.
    PastAndEntity,
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

/// How many instances of the past one answer has at most. The standard leaves it to brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct PageSize(usize);

impl PageSize {
    /// A month of a sensor that measures each five minutes.
    const DEFAULT: usize = 10_000;
    const MAX: u32 = 100_000;

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

impl TryFrom<u32> for PageSize {
    type Error = String;

    fn try_from(size: u32) -> Result<Self, String> {
        match usize::try_from(size) {
            Ok(number) if (1..=Self::MAX).contains(&size) => Ok(Self(number)),
            _ => Err(format!("temporalPageSize is from 1 to {}, not {size}", Self::MAX)),
        }
    }
}
