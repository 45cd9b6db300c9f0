//! `expected.toml`: the cases that fail, each with the reason why that is right.

use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Why a case may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The standard says otherwise than the case.
    Standard {
        /// The clause that shows it.
        clause: String,
        /// How.
        why: String,
    },
    /// The case needs a feature that the broker does not claim to have.
    OutOfScope {
        /// Which one.
        feature: String,
    },
}

/// Reasons by the name of the case.
#[derive(Debug, Default)]
pub struct Expected(BTreeMap<String, Reason>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    case: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    clause: Option<String>,
    why: Option<String>,
    out_of_scope: Option<String>,
}

impl Expected {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|why| Error::Expected {
            path: path.to_owned(),
            why,
        })
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut cases = BTreeMap::new();
        for entry in file.case {
            let name = entry.name.clone();
            let reason = entry.reason().map_err(|why| format!("case {name:?}: {why}"))?;
            if cases.insert(name.clone(), reason).is_some() {
                return Err(format!("case {name:?} stands twice"));
            }
        }
        Ok(Self(cases))
    }

    /// Why this case may fail, if it may.
    pub fn reason(&self, case: &str) -> Option<&Reason> {
        self.0.get(case)
    }

    /// Names of all cases in the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Entry {
    fn reason(self) -> std::result::Result<Reason, &'static str> {
        match (said(self.clause), said(self.why), said(self.out_of_scope)) {
            (Some(clause), Some(why), None) => Ok(Reason::Standard { clause, why }),
            (None, None, Some(feature)) => Ok(Reason::OutOfScope { feature }),
            _ => Err(
                "say either `clause` (of the standard) and `why` (the case is wrong by it), or `out_of_scope` (the feature)",
            ),
        }
    }
}

/// A text with something in it.
fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_names_a_clause_with_a_reason_or_a_feature_and_never_both_or_neither() {
        let good = Expected::parse(
            "[[case]]\nname = \"1\"\nclause = \"5.6.1\"\nwhy = \"it says so\"\n[[case]]\nname = \"2\"\nout_of_scope = \"registrations\"\n",
        )
        .unwrap();
        assert_eq!(good.names().collect::<Vec<_>>(), ["1", "2"]);
        assert!(matches!(good.reason("1"), Some(Reason::Standard { clause, .. }) if clause == "5.6.1"));
        assert!(
            matches!(good.reason("2"), Some(Reason::OutOfScope { feature }) if feature == "registrations")
        );
        assert_eq!(good.reason("3"), None);
        for bad in [
            "[[case]]\nname = \"1\"\n",
            "[[case]]\nname = \"1\"\nclause = \"5.6.1\"\n",
            "[[case]]\nname = \"1\"\nclause = \"5.6.1\"\nwhy = \" \"\n",
            "[[case]]\nname = \"1\"\nwhy = \"x\"\n",
            "[[case]]\nname = \"1\"\nclause = \"5.6.1\"\nwhy = \"x\"\nout_of_scope = \"y\"\n",
            "[[case]]\nname = \"1\"\nout_of_scope = \"y\"\n[[case]]\nname = \"1\"\nout_of_scope = \"y\"\n",
            "[[case]]\nname = \"1\"\nout_of_scope = \"y\"\nbecause = \"z\"\n",
            "[[cases]]\nname = \"1\"\nout_of_scope = \"y\"\n",
        ] {
            assert!(Expected::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_of_this_repository_can_be_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/expected.toml");
        Expected::read(Path::new(path)).unwrap();
    }
}
