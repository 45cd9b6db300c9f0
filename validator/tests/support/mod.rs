//! Where the oracle is: Python's `jsonschema`, and the official test suite that its sources come with.

use std::path::PathBuf;

/// The folder that `make oracle` fills.
pub fn oracle() -> PathBuf {
    let cache = || {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or(home)
            .unwrap();
        cache.join("mim-operator/json-schema-oracle-4.23.0")
    };
    let folder = std::env::var_os("MIM_JSON_SCHEMA_ORACLE").map_or_else(cache, PathBuf::from);
    assert!(
        folder.join("json/tests").is_dir(),
        "{} is not there: make oracle puts Python's jsonschema and the official test suite there",
        folder.display()
    );
    folder
}
