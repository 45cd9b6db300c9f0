//! Names of the read-only contract (`docs/contract.md`): of schemas, roles and files of passwords. The broker makes what they name, the operator tells
//! them to readers. PostgreSQL cuts names after 63 bytes without a word, and keeps those that begin with `pg_` for itself.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The longest name.
pub const MAX: usize = 63;
/// Of a name that is too long: how many bytes of it stay, and how many of its digest follow. A tenant's name has no `~`, so what is shortened is
/// like nothing that is not.
const STAYS: usize = 40;
const DIGEST: usize = 8;

/// The schema of a tenant's contract: `<tenant>_v1`, `_v1` of the default tenant, whose name is empty.
#[must_use]
pub fn schema(tenant: &str) -> String {
    fitting(if tenant.starts_with("pg_") { "~" } else { "" }, tenant, "_v1")
}

/// The role that reads it: `<database>.<schema>`, as roles are of the whole server.
#[must_use]
pub fn role(database: &str, tenant: &str) -> String {
    let plain = database
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let before = if !plain || database.starts_with("pg_") {
        "~"
    } else {
        ""
    };
    let database: String = if plain {
        database.to_owned()
    } else {
        digest(database)
    };
    fitting(before, &format!("{database}.{}", schema(tenant)), "")
}

/// What the name of each file of a password ends with.
pub const PASSWORD: &str = ".password";

/// The file in the folder of the contract that has the password of a schema's role. It is a key of a Secret too, which has no `~`; no schema
/// has a `.`.
#[must_use]
pub fn file(schema: &str) -> String {
    schema.replace('~', ".") + PASSWORD
}

fn fitting(before: &str, name: &str, after: &str) -> String {
    if before.len() + name.len() + after.len() <= MAX {
        return format!("{before}{name}{after}");
    }
    let stays = name.get(..STAYS).unwrap_or_default();
    format!("{before}{stays}~{}{after}", digest(name))
}

fn digest(text: &str) -> String {
    let mut out = String::with_capacity(2 * DIGEST);
    for byte in Sha256::digest(text.as_bytes()).iter().take(DIGEST) {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The name of an index, by all that makes it what it is.
#[must_use]
pub fn index(made_of: &str) -> String {
    format!("contract_{}", digest(made_of))
}

/// A name as SQL writes it.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it, whatever `standard_conforming_strings` is.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_schema_is_the_tenant_and_the_version_and_the_default_tenant_has_one() {
        assert_eq!(schema("city"), "city_v1");
        assert_eq!(schema(""), "_v1");
        assert_eq!(schema("default"), "default_v1");
        assert_eq!(schema("pg_city"), "~pg_city_v1");
        assert_eq!(role("mim", "city"), "mim.city_v1");
        assert_eq!(role("mim", ""), "mim._v1");
        assert_eq!(file(&schema("")), "_v1.password");
        assert_eq!(file(&schema("pg_city")), ".pg_city_v1.password");
        assert!(role("städte", "a").starts_with('~'));
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let (a, b) = ("a".repeat(63), format!("{}b", "a".repeat(62)));
        assert_ne!(schema(&a), schema(&b));
        assert_ne!(role("d", &a), role("d", &b));
        assert_ne!(role(&a, "t"), role(&b, "t"));
        assert!(schema(&a).ends_with("_v1"));
    }

    proptest! {
        #[test]
        fn names_fit_and_are_as_different_as_tenants(a in "[A-Za-z0-9_-]{0,63}", b in "[A-Za-z0-9_-]{0,63}", d in "[a-z_-]{1,63}", any in ".{0,63}") {
            for name in [schema(&a), role(&d, &a), role(&any, &a), index(&any)] {
                prop_assert!(name.len() <= MAX && !name.starts_with("pg_"), "{}", name);
            }
            prop_assert_eq!(schema(&a) == schema(&b), a == b);
            let key = file(&schema(&a));
            prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) && !key.starts_with(".."), "{}", key);
            prop_assert_eq!(key == file(&schema(&b)), a == b);
            prop_assert_eq!(role(&d, &a) == role(&d, &b), a == b);
        }

        #[test]
        fn quoting_leaves_no_way_out(text in ".*") {
            let inner = identifier(&text);
            let inner = inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
            let quoted = literal(&text);
            let inner = quoted.trim_start_matches('E').strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap();
            prop_assert!(!inner.replace("''", "").contains('\''));
            if let Some(escaped) = quoted.strip_prefix('E') {
                prop_assert!(!escaped.replace("\\\\", "").contains('\\'));
            } else {
                prop_assert!(!quoted.contains('\\'));
            }
        }
    }
}
