//! `broker.yaml`: the tenants, the guard of outgoing calls, preloaded contexts and more; followed as it changes.

use crate::api::compatibility::Compatibility;
use crate::context::preloaded::Entry;
use crate::contract::Terms;
use crate::store::outbox::Outbox;
use crate::store::partitions::Temporal;
use crate::store::quota::Quotas;
use ipnet::IpNet;
use mim_grammar::names::is_tenant_name;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// How often the file is looked at. The kubelet refreshes a mounted ConfigMap about once a minute.
pub const LOOK: Duration = Duration::from_secs(1);

/// The configuration. Unknown members are ignored, so that an older broker runs beside a newer operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Names of tenants beside the default one.
    pub tenants: Vec<String>,
    /// Who makes tenants.
    #[serde(rename = "tenantCreation")]
    pub tenant_creation: TenantCreation,
    /// Tenants whose data is to go; one that is in `tenants` as well is not dropped.
    #[serde(rename = "droppedTenants")]
    pub dropped_tenants: Vec<String>,
    /// What each tenant may have.
    pub quotas: Quotas,
    /// Calls that leave the broker.
    pub egress: Egress,
    /// The database.
    pub database: Database,
    /// Contexts that are files and never fetched.
    pub contexts: Vec<Entry>,
    /// What editions of the standard disagree on.
    pub compatibility: Compatibility,
    /// What is kept of the past.
    pub temporal: Temporal,
    /// What is told subscribers.
    pub notifications: Notifications,
    /// Where the platform's gateway comes in; absent: there is none.
    pub gateway: Option<Gateway>,
    /// Where administrators come in; absent: nowhere.
    pub admin: Option<Admin>,
    /// What others than the broker may read; absent: nothing.
    pub contract: Option<Terms>,
}

/// Where administrators come in, over mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admin {
    /// Where they are listened for.
    #[serde(default = "Admin::usual")]
    pub listen: SocketAddr,
    /// Their names: their certificates have one of them.
    pub client_names: Vec<ClientName>,
}

impl Admin {
    fn usual() -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 1028))
    }

    /// The same as what a door is opened by.
    #[must_use]
    pub fn door(self) -> Gateway {
        Gateway {
            listen: self.listen,
            client_names: self.client_names,
        }
    }
}

/// Where the platform's gateway comes in, over mutual TLS: the only one whose permission sets are obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Where it is listened for.
    #[serde(default = "Gateway::usual")]
    pub listen: SocketAddr,
    /// Its names: its certificate has one of them.
    pub client_names: Vec<ClientName>,
}

impl Gateway {
    fn usual() -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 1027))
    }
}

/// A DNS name that a client's certificate has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ClientName(pub ServerName<'static>);

impl TryFrom<String> for ClientName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match ServerName::try_from(text.clone()) {
            Ok(name @ ServerName::DnsName(_)) => Ok(Self(name)),
            _ => Err(format!("{text:?} is no DNS name")),
        }
    }
}

/// What is told subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Notifications {
    /// What is kept for receivers that take nothing.
    pub outbox: Outbox,
}

/// Who makes tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TenantCreation {
    /// The list of tenants, nobody else.
    #[default]
    Configured,
    /// The first operation that creates something in a tenant, too (clause 5.5.10).
    OnFirstWrite,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Database {
    /// How many connections this replica may have at most, beside the one that watches; absent: what the command line says.
    pub connections: Option<NonZeroU16>,
}

/// Calls that leave the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Egress {
    /// Private ranges that may be reached.
    pub allowed_private_cidrs: Vec<IpNet>,
    /// The namespace whose Services notifications may reach by their cluster names; absent: none.
    pub services_of: Option<String>,
}

impl Egress {
    /// The same as a text: what was fetched under one is not used under another.
    #[must_use]
    pub fn guard(&self) -> String {
        let mut ranges: Vec<String> = self
            .allowed_private_cidrs
            .iter()
            .map(ToString::to_string)
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges.join(",")
    }
}

/// Why the file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration {} cannot be used: {why}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    why: String,
}

/// Reads the file. One that is missing or empty is a configuration without tenants.
pub async fn read(path: &Path) -> Result<Config, ConfigError> {
    let error = |why: String| ConfigError {
        path: path.to_owned(),
        why,
    };
    match tokio::fs::read_to_string(path).await {
        Ok(text) => parse(&text).map_err(error),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
        Err(e) => Err(error(e.to_string())),
    }
}

fn parse(text: &str) -> Result<Config, String> {
    let config: Option<Config> = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    let config = config.unwrap_or_default();
    if config
        .gateway
        .as_ref()
        .is_some_and(|gateway| gateway.client_names.is_empty())
    {
        return Err("gateway.clientNames is empty: nobody could come in".to_owned());
    }
    if config
        .admin
        .as_ref()
        .is_some_and(|admin| admin.client_names.is_empty())
    {
        return Err("admin.clientNames is empty: nobody could come in".to_owned());
    }
    let limited = config.quotas.tenants.iter().map(|of| &of.tenant);
    let mut names = (config.tenants.iter().chain(&config.dropped_tenants))
        // The empty name is the default tenant.
        .chain(limited.filter(|name| !name.is_empty()));
    match names.find(|t| !is_tenant_name(t)) {
        Some(bad) => Err(format!(
            "{bad:?} is not a tenant's name: at most 63 letters, digits, - and _"
        )),
        None => Ok(config),
    }
}

/// Follows the file for ever; one that cannot be used leaves the configuration as it was.
pub async fn follow(path: PathBuf, config: watch::Sender<Config>) {
    let mut told = None;
    loop {
        tokio::time::sleep(LOOK).await;
        match read(&path).await {
            Ok(new) => {
                told = None;
                let changed = config.send_if_modified(|current| {
                    let changed = *current != new;
                    current.clone_from(&new);
                    changed
                });
                if changed {
                    tracing::info!(tenants = new.tenants.len(), "the configuration changed");
                }
            }
            Err(error) => {
                if told.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the configuration from before is used on");
                    told = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::compatibility::TemporalCreate;
    use crate::store::partitions::Mode;

    #[test]
    fn the_order_of_ranges_makes_no_other_guard() {
        let guard = |text: &str| parse(text).unwrap().egress.guard();
        assert_eq!(
            guard("egress: {allowedPrivateCidrs: [10.0.0.0/8, 10.9.0.0/16, 10.0.0.0/8]}"),
            guard("egress: {allowedPrivateCidrs: [10.9.0.0/16, 10.0.0.0/8]}")
        );
        assert_ne!(guard("egress: {allowedPrivateCidrs: [10.0.0.0/8]}"), guard(""));
    }

    #[test]
    fn the_file_has_tenants_and_egress_and_may_have_more() {
        let config = parse(
            "tenants: [a, b-1]\negress: {allowedPrivateCidrs: [10.0.0.0/8], other: 1}\ndatabase: {connections: 3}\nfuture: {x: 1}\n",
        )
        .unwrap();
        assert_eq!(config.tenants, ["a", "b-1"]);
        assert_eq!(config.egress.allowed_private_cidrs.len(), 1);
        assert_eq!(config.database.connections.map(NonZeroU16::get), Some(3));
        assert!(parse("database: {connections: 0}").is_err());
        assert_eq!(
            parse("contexts: [{url: \"https://c.example/a\", file: maps/a, other: 1}]")
                .unwrap()
                .contexts
                .len(),
            1
        );
        assert!(parse("compatibility: {contextNotAvailableStatus: 500}").is_err());
        let temporal = parse("temporal: {mode: Enabled, retention: P90D}")
            .unwrap()
            .temporal;
        assert_eq!(temporal.mode, Mode::Enabled);
        assert!(parse("temporal: {retention: soon}").is_err());
        let outbox = parse("notifications: {outbox: {limit: 5, overflow: Pause}}").unwrap();
        assert_eq!(outbox.notifications.outbox.limit.get(), 5);
        assert!(parse("notifications: {outbox: {limit: 0}}").is_err());
        let compatibility =
            parse("compatibility: {temporalPageSize: 30, temporalCreate: PastAndEntity, other: 1}")
                .unwrap()
                .compatibility;
        assert_eq!(compatibility.temporal_create, TemporalCreate::PastAndEntity);
        assert_eq!(compatibility.temporal_page_size.get(), 30);
        assert!(parse("compatibility: {temporalPageSize: 0}").is_err());
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(Config::default().temporal.mode, Mode::Disabled);
        assert!(parse("tenants: [\"a b\"]").is_err());
        let quotas =
            parse("quotas: {entities: 5, future: 1, tenants: [{tenant: a, bytes: 0}, {tenant: \"\"}]}");
        let quotas = quotas.unwrap().quotas;
        assert_eq!((quotas.each.entities, quotas.each.bytes), (Some(5), None));
        assert_eq!(quotas.tenants[0].may.bytes, Some(0));
        for bad in [
            "{entities: -1}",
            "{bytes: 1Gi}",
            "{tenants: [{bytes: 1}]}",
            "{tenants: [{tenant: \"*\"}]}",
        ] {
            assert!(parse(&format!("quotas: {bad}")).is_err(), "{bad}");
        }
        assert!(parse("tenants: 5").is_err());
        let creation = |text: &str| parse(text).map(|config| config.tenant_creation);
        assert_eq!(creation("tenants: [a]"), Ok(TenantCreation::Configured));
        assert_eq!(
            creation("tenantCreation: OnFirstWrite"),
            Ok(TenantCreation::OnFirstWrite)
        );
        assert!(creation("tenantCreation: Always").is_err());
        let gateway = parse("gateway: {clientNames: [gateway.city.svc], other: 1}")
            .unwrap()
            .gateway
            .unwrap();
        assert_eq!(gateway.listen.port(), 1027);
        let admin = parse("admin: {clientNames: [operator.mim.svc]}").unwrap().admin;
        assert_eq!(admin.unwrap().listen.port(), 1028);
        let contract = parse("contract: {statementTimeout: 60, other: 1}")
            .unwrap()
            .contract
            .unwrap();
        assert_eq!(
            (contract.statement_timeout.get(), contract.connections.get()),
            (60, 5)
        );
        assert_eq!(parse("contract: {}").unwrap().contract, Some(Terms::default()));
        for bad in [
            "admin: {}",
            "admin: {clientNames: []}",
            "contract: {connections: 0}",
            "contract: {statementTimeout: soon}",
            "gateway: {}",
            "gateway: {clientNames: []}",
            "gateway: {clientNames: [10.0.0.1]}",
            "gateway: {clientNames: [\"a b\"]}",
            "gateway: {clientNames: [a], listen: 1027}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
