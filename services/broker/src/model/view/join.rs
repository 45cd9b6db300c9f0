//! Linked entity retrieval (clause 4.5.23): whether, how and how far entities are shown that others link to.

use crate::model::names::is_uri;
use crate::model::{Refusal, refuse};
use std::collections::BTreeSet;

/// The deepest graph. Each level is one more statement for the database.
pub const MAX_LEVELS: usize = 10;
/// How many entities a client may say it has already.
const MAX_CONTAINED: usize = 1000;

/// Where linked entities stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Inside of what links to them.
    Inline,
    /// After all that link to them, each once.
    Flat,
}

/// Which linked entities are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Where.
    pub form: Form,
    /// How many relationships away at most, from 1 to [`MAX_LEVELS`].
    pub levels: usize,
    /// Ids of entities that are not shown again.
    pub contained_by: BTreeSet<String>,
}

impl Join {
    /// Reads `join`, `joinLevel` and `containedBy`; the latter two say nothing without the first. `None`: no join.
    pub fn of(
        join: Option<&str>,
        level: Option<&str>,
        contained_by: Option<&[&str]>,
    ) -> Result<Option<Self>, Refusal> {
        let levels = match level {
            None => 1,
            Some(text) => match text.parse::<usize>() {
                Ok(level) if (1..=MAX_LEVELS).contains(&level) => level,
                _ => return refuse(format!("joinLevel is a whole number from 1 to {MAX_LEVELS}")),
            },
        };
        let ids = contained_by.unwrap_or_default();
        if ids.len() > MAX_CONTAINED {
            return refuse(format!("containedBy: more than {MAX_CONTAINED} ids"));
        }
        if ids.iter().any(|id| !is_uri(id)) {
            return refuse("containedBy is a list of URIs");
        }
        let form = match join {
            None | Some("@none") => return Ok(None),
            Some("inline") => Form::Inline,
            Some("flat") => Form::Flat,
            Some(_) => return refuse("join is inline, flat or @none"),
        };
        Ok(Some(Self {
            form,
            levels,
            contained_by: ids.iter().map(|id| (*id).to_owned()).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_are_one_level_deep_where_nothing_else_is_said() {
        let join = Join::of(Some("inline"), None, Some(&["urn:a:1"]))
            .unwrap()
            .unwrap();
        assert_eq!((join.form, join.levels), (Form::Inline, 1));
        assert!(join.contained_by.contains("urn:a:1"));
        let flat = Join::of(Some("flat"), Some("10"), None).unwrap().unwrap();
        assert_eq!((flat.form, flat.levels), (Form::Flat, 10));
        assert_eq!(Join::of(Some("@none"), Some("2"), None), Ok(None));
        assert_eq!(Join::of(None, None, None), Ok(None));
    }

    #[test]
    fn wrong_values_are_refused_also_where_they_would_not_matter() {
        for (join, level) in [
            ("outline", None),
            ("", None),
            ("Inline", None),
            ("inline", Some("0")),
            ("inline", Some("-1")),
            ("inline", Some("1.5")),
            ("inline", Some("x")),
            ("inline", Some("")),
            ("inline", Some("11")),
            ("@none", Some("0")),
        ] {
            assert!(Join::of(Some(join), level, None).is_err(), "{join} {level:?}");
        }
        assert!(Join::of(None, None, Some(&["nouri"])).is_err());
        assert!(Join::of(None, None, Some(&[""])).is_err());
    }
}
