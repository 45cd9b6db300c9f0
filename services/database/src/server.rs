//! How PostgreSQL is started. Pure: configuration in, arguments out.
//!
//! Everything is set on the command line, where it is stronger than `postgresql.conf` and `ALTER SYSTEM`: what an
//! operand runs with is what its release says, and durability cannot be switched off from inside.

use std::ffi::OsString;
use std::path::Path;

use crate::config::Config;

const MIB: u64 = 1024 * 1024;

/// Connections that the server accepts, [`SUPERUSER_CONNECTIONS`] among them. Twice what the brokers of a city plan for
/// (`docs/operands.md`): while the number of replicas changes, old pods may still use their former share.
pub const MAX_CONNECTIONS: u32 = 250;

/// Connections that PostgreSQL keeps for the superuser, whom the probe needs; its default, said aloud.
pub const SUPERUSER_CONNECTIONS: u32 = 3;

/// Arguments of `postgres`. `volume_bytes` is the size of the file system that holds the data.
#[must_use]
pub fn arguments(config: &Config, data: &Path, volume_bytes: u64) -> Vec<OsString> {
    let mut arguments = vec!["-D".into(), data.into()];
    for (name, value) in settings(config, volume_bytes) {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        arguments.push("-c".into());
        arguments.push(setting);
    }
    arguments
}

fn settings(config: &Config, volume_bytes: u64) -> Vec<(&'static str, OsString)> {
    let text = |text: &str| OsString::from(text);
    let number = |number: u64, unit: &str| OsString::from(format!("{number}{unit}"));
    vec![
        // Durability: what the server has acknowledged survives a crash. Defaults, said aloud.
        ("fsync", text("on")),
        ("synchronous_commit", text("on")),
        ("full_page_writes", text("on")),
        // Connections.
        ("listen_addresses", text("*")),
        ("port", number(u64::from(config.port), "")),
        ("unix_socket_directories", config.sockets.clone().into()),
        ("hba_file", config.hba_file().into()),
        ("max_connections", number(u64::from(MAX_CONNECTIONS), "")),
        (
            "superuser_reserved_connections",
            number(u64::from(SUPERUSER_CONNECTIONS), ""),
        ),
        // A broker on a node that vanished must not hold its locks for the kernel's two hours.
        ("tcp_keepalives_idle", text("30")),
        ("tcp_keepalives_interval", text("10")),
        ("tcp_keepalives_count", text("3")),
        // TLS and passwords.
        ("ssl", text("on")),
        ("ssl_cert_file", config.tls.join("tls.crt").into()),
        ("ssl_key_file", config.tls.join("tls.key").into()),
        ("ssl_min_protocol_version", text("TLSv1.3")),
        ("password_encryption", text("scram-sha-256")),
        // Memory and disk.
        (
            "shared_buffers",
            number(shared_buffers(config.memory_limit) / 1024, "kB"),
        ),
        (
            "effective_cache_size",
            number(cache(config.memory_limit) / 1024, "kB"),
        ),
        ("max_wal_size", number(max_wal_size(volume_bytes) / MIB, "MB")),
        // A node with huge pages kills a process that uses them without a limit of its own.
        ("huge_pages", text("off")),
        ("jit", text("off")),
        // Logs go to the container's log and hold no statements.
        ("log_destination", text("stderr")),
        ("logging_collector", text("off")),
        ("log_statement", text("none")),
        ("log_line_prefix", text("%m [%p] %q%u@%d ")),
        ("timezone", text("UTC")),
        ("log_timezone", text("UTC")),
    ]
}

/// A quarter of the limit, between 16 MiB and 8 GiB; without a limit PostgreSQL's own default.
fn shared_buffers(limit: Option<u64>) -> u64 {
    limit.map_or(128 * MIB, |limit| (limit / 4).clamp(16 * MIB, 8 * 1024 * MIB))
}

/// What the planner may expect to be cached: half of the limit, as the page cache of a container counts against it.
fn cache(limit: Option<u64>) -> u64 {
    limit.map_or(256 * MIB, |limit| (limit / 2).max(32 * MIB))
}

/// A tenth of the volume, between 128 MiB and 4 GiB: on a small volume the default of 1 GiB could fill it with logs.
fn max_wal_size(volume_bytes: u64) -> u64 {
    (volume_bytes / 10).clamp(128 * MIB, 4096 * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_log_sizes_follow_limit_and_volume() {
        assert_eq!(shared_buffers(Some(1024 * MIB)), 256 * MIB);
        assert_eq!(shared_buffers(Some(0)), 16 * MIB);
        assert_eq!(shared_buffers(Some(u64::MAX)), 8 * 1024 * MIB);
        assert_eq!(shared_buffers(None), 128 * MIB);
        assert_eq!(max_wal_size(5 * 1024 * MIB), 512 * MIB);
        assert_eq!(max_wal_size(0), 128 * MIB);
        assert_eq!(max_wal_size(u64::MAX), 4096 * MIB);
    }
}
