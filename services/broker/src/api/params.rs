//! Query parameters: decoded once, checked against what the operation knows.

use crate::api::problem::{ErrorType, Problem};
use crate::model::view::Representation;
use crate::model::view::asked::Asked;
use percent_encoding::percent_decode_str;

/// The largest page.
pub const MAX_LIMIT: usize = 1000;
/// The page where none is asked for.
pub const DEFAULT_LIMIT: usize = 20;
/// The longest query string, in bytes.
const MAX_QUERY_STRING: usize = 32 * 1024;

/// What an operation knows.
pub struct Known {
    /// Parameters that it has.
    pub names: &'static [&'static str],
    /// Parameters that the standard gives it and this version does not serve yet.
    pub later: &'static [&'static str],
    /// Values of `options`.
    pub options: &'static [&'static str],
    /// What becomes of those who may not do everything.
    pub limited: Limited,
}

/// What an operation does for somebody whose permission set does not allow everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Nothing: it is refused before anything is read.
    Refused,
    /// Nothing, unless the set is an administrator's: it is of no entities.
    Administrators,
    /// What the set allows; the operation sees to it.
    Obeyed,
    /// All that it does: it is of nobody's data.
    Open,
}

/// The parameters of one request.
#[derive(Debug)]
pub struct Params {
    pairs: Vec<(String, String)>,
    /// As sent, to be kept in links.
    raw: String,
}

impl Params {
    /// Decodes and checks. An unknown parameter or option is `InvalidRequest`.
    pub fn read(query: Option<&str>, known: &Known) -> Result<Self, Problem> {
        let raw = query.unwrap_or_default();
        if raw.len() > MAX_QUERY_STRING {
            return Err(Problem::invalid(format!(
                "the query string is longer than {MAX_QUERY_STRING} bytes"
            )));
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in raw.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if known.later.contains(&name.as_str()) {
                return Err(Problem::new(
                    ErrorType::OperationNotSupported,
                    format!("the parameter {name} is not served by this version"),
                ));
            }
            if !known.names.contains(&name.as_str()) {
                let name: String = name.chars().take(60).collect();
                return Err(Problem::invalid(format!(
                    "this operation has no parameter {name:?}"
                )));
            }
            if pairs.iter().any(|(n, _)| *n == name) {
                return Err(Problem::bad_data(format!("the parameter {name} is there twice")));
            }
            pairs.push((name, value));
        }
        let params = Self {
            pairs,
            raw: raw.to_owned(),
        };
        for option in params.list("options") {
            if !known.options.contains(&option) {
                let option: String = option.chars().take(60).collect();
                return Err(Problem::invalid(format!(
                    "this operation has no option {option:?}"
                )));
            }
        }
        Ok(params)
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The items of a comma list; none where the parameter is absent.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.get(name).map(|v| v.split(',').collect()).unwrap_or_default()
    }

    /// Whether an option is set.
    #[must_use]
    pub fn option(&self, name: &str) -> bool {
        self.list("options").contains(&name)
    }

    /// A truth value, false where absent.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Problem::bad_data(format!(
                "{name} is true or false, not {other:?}"
            ))),
        }
    }

    /// The items of a comma list; `None` where the parameter is absent.
    #[must_use]
    pub fn items(&self, name: &str) -> Option<Vec<&str>> {
        self.get(name).map(|value| value.split(',').collect())
    }

    /// What is wished of the shape of the answer.
    pub fn asked(&self) -> Result<Asked<'_>, Problem> {
        Ok(Asked {
            representation: self.representation()?,
            sys_attrs: self.option("sysAttrs"),
            attrs: self.items("attrs"),
            pick: self.get("pick").map(|text| vec![text]),
            omit: self.get("omit").map(|text| vec![text]),
            lang: self.get("lang"),
            datasets: self.items("datasetId"),
            join: self.get("join"),
            join_level: self.get("joinLevel").map(Into::into),
            contained_by: self.items("containedBy"),
            geometry_property: self.get("geometryProperty"),
        })
    }

    /// The representation; `format` wins over `options` (clause 6.3.7).
    pub fn representation(&self) -> Result<Representation, Problem> {
        if let Some(format) = self.get("format") {
            return Representation::named(format).ok_or_else(|| {
                let format: String = format.chars().take(60).collect();
                Problem::invalid(format!("there is no format {format:?}"))
            });
        }
        Ok(self
            .list("options")
            .into_iter()
            .find_map(Representation::named)
            .unwrap_or_default())
    }

    /// How many items a page has. 0 is allowed where only the count is wanted.
    pub fn limit(&self, counted: bool) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else {
            return Ok(DEFAULT_LIMIT);
        };
        match text.parse::<usize>() {
            Ok(0) if !counted => Err(Problem::bad_data("limit is 0 only with count=true")),
            Ok(limit) if limit <= MAX_LIMIT => Ok(limit),
            Ok(_) => Err(Problem::bad_data(format!("limit is at most {MAX_LIMIT}"))),
            Err(_) => Err(Problem::bad_data("limit is a whole number")),
        }
    }

    /// How many items come before the page.
    pub fn offset(&self) -> Result<u64, Problem> {
        match self.get("offset").map(str::parse::<u32>) {
            None => Ok(0),
            Some(Ok(offset)) => Ok(u64::from(offset)),
            Some(Err(_)) => Err(Problem::bad_data("offset is a whole number of at most 32 bits")),
        }
    }

    /// The query string of another page: all other parameters as they were sent, then limit and offset.
    pub fn page(&self, limit: usize, offset: u64) -> String {
        let mut parts: Vec<String> = self
            .raw
            .split('&')
            .filter(|p| !p.is_empty() && !matches!(p.split('=').next(), Some("limit" | "offset")))
            .map(str::to_owned)
            .collect();
        parts.push(format!("limit={limit}&offset={offset}"));
        parts.join("&")
    }
}

fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(text) if text.contains('\0') => Err(Problem::bad_data("a parameter has the character U+0000")),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Problem::bad_data("a parameter is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: Known = Known {
        names: &["a", "limit", "offset", "options", "format"],
        later: &["pick"],
        options: &["sysAttrs", "keyValues", "concise"],
        limited: Limited::Refused,
    };

    fn read(query: &str) -> Result<Params, Problem> {
        Params::read(Some(query), &KNOWN)
    }

    #[test]
    fn parameters_are_decoded_and_known() {
        let params = read("a=x%20y+z&options=sysAttrs,concise&limit=5").unwrap();
        assert_eq!(params.get("a"), Some("x y z"));
        assert!(params.option("sysAttrs"));
        assert_eq!(params.representation().unwrap(), Representation::Concise);
        assert_eq!(
            params.page(7, 14),
            "a=x%20y+z&options=sysAttrs,concise&limit=7&offset=14"
        );
        for bad in ["b=1", "options=nope", "a=1&a=2", "a=%00", "a=%ff", "pick=a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        for bad in [
            "limit=-1",
            "limit=x",
            "limit=1001",
            "limit=0",
            "limit=1e3",
            "limit=",
        ] {
            assert!(read(bad).unwrap().limit(false).is_err(), "{bad}");
        }
        assert_eq!(read("limit=0").unwrap().limit(true).unwrap(), 0);
        assert!(read("offset=-1").unwrap().offset().is_err());
        assert!(read("offset=99999999999999999999").unwrap().offset().is_err());
    }

    proptest! {
        #[test]
        fn any_query_string_is_answered(text in "[ -~]{0,60}") {
            if let Ok(params) = read(&text) {
                let _ = (params.limit(true), params.offset(), params.representation(), params.page(1, 2));
            }
        }
    }
}
