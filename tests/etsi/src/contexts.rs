//! The remote contexts that the suite's fixtures name, as preloaded contexts of the broker: nothing is fetched.

use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Contexts that are files of the suite. The second address of the compound one has an older copy of it elsewhere.
const OF_SUITE: [(&str, &str); 3] = [
    (
        "https://forge.etsi.org/rep/cim/ngsi-ld-test-suite/-/raw/develop/resources/jsonld-contexts/ngsi-ld-test-suite.jsonld",
        "ngsi-ld-test-suite.jsonld",
    ),
    (
        "https://forge.etsi.org/rep/cim/ngsi-ld-test-suite/-/raw/develop/resources/jsonld-contexts/ngsi-ld-test-suite-compound.jsonld",
        "ngsi-ld-test-suite-compound.jsonld",
    ),
    (
        "https://easy-global-market.github.io/ngsild-api-data-models/ngsildTestSuite/ngsildTestSuiteV1.8-compound.jsonld",
        "ngsi-ld-test-suite-compound.jsonld",
    ),
];

/// Contexts of others. No case uses a term of theirs; they only have to be there.
const OF_OTHERS: [&str; 3] = [
    "http://smartdatamodels.org/context.jsonld",
    "https://fiware.github.io/data-models/context.jsonld",
    "https://fiware.github.io/NGSI-LD_TestSuite/ldContext/testContext.jsonld",
];

/// What stands in for those.
const STAND_IN: &str = "{\"@context\": {\"StandIn\": \"https://example.org/StandIn\"}}\n";

/// The folder with the documents.
pub fn folder(config: &Path) -> PathBuf {
    config.join("contexts")
}

/// Writes the documents, and returns the list of them for the broker's configuration.
pub fn preload(suite: &Path, config: &Path) -> Result<String> {
    let folder = folder(config);
    std::fs::create_dir(&folder).map_err(|source| Error::Write {
        path: folder.clone(),
        source,
    })?;
    let mut list = String::from("contexts:\n");
    for (url, file) in OF_SUITE {
        let from = suite.join("resources/jsonld-contexts").join(file);
        std::fs::copy(&from, folder.join(file)).map_err(|source| Error::Read { path: from, source })?;
        entry(&mut list, url, file);
    }
    let file = folder.join("stand-in.jsonld");
    std::fs::write(&file, STAND_IN).map_err(|source| Error::Write { path: file, source })?;
    for url in OF_OTHERS {
        entry(&mut list, url, "stand-in.jsonld");
    }
    Ok(list)
}

fn entry(list: &mut String, url: &str, file: &str) {
    // Writing to a text cannot fail. No URL above has a quote.
    let _ = writeln!(list, "  - {{url: \"{url}\", file: \"{file}\"}}");
}
