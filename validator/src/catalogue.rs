//! The built-in catalogue: documents that schemas of data models commonly refer to, so that an air-gapped city needs none
//! from elsewhere. Facts of others in words of ours: names, types and limits.

use crate::compile::Library;
use serde_json::Value as Json;
use std::sync::{Arc, LazyLock};

/// Under which addresses models refer to the common definitions of Smart Data Models: where they are published, where they
/// are kept, and where they were before they moved.
const COMMON: [&str; 3] = [
    "https://smart-data-models.github.io/data-models/common-schema.json",
    "https://raw.githubusercontent.com/smart-data-models/data-models/master/common-schema.json",
    "https://fiware.github.io/data-models/common-schema.json",
];

static DOCUMENTS: LazyLock<Arc<Library>> = LazyLock::new(|| {
    // It is a part of this program, and a test reads it.
    let common: Json =
        serde_json::from_str(include_str!("../catalogue/common-schema.json")).unwrap_or(Json::Null);
    let documents = COMMON.iter().map(|uri| ((*uri).to_owned(), common.clone()));
    Arc::new(documents.collect())
});

/// The documents of the catalogue, by absolute URI. What a user gives under the same URI comes before them.
#[must_use]
pub fn catalogue() -> &'static Arc<Library> {
    &DOCUMENTS
}
