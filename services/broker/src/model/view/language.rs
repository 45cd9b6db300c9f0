//! The language filter (clause 4.15): `fr-CH,fr;q=0.9,en;q=0.8,*;q=0.5`, as in `Accept-Language`.

use crate::model::json::Json;
use crate::model::names::NONE;
use crate::model::{Refusal, refuse};

/// How many languages one filter may name.
const MAX_RANGES: usize = 50;
/// The longest tag, in bytes.
const MAX_TAG: usize = 64;

/// Languages by preference, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Languages {
    /// Tags in lower case; `*` is any.
    preferred: Vec<String>,
    /// Tags with a weight of 0: only where there is nothing else.
    unwanted: Vec<String>,
}

impl Languages {
    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        if ranges.len() > MAX_RANGES {
            return refuse(format!("lang: more than {MAX_RANGES} languages"));
        }
        ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        let (preferred, unwanted): (Vec<_>, Vec<_>) = ranges.into_iter().partition(|(_, weight)| *weight > 0);
        let tags = |ranges: Vec<(String, u16)>| ranges.into_iter().map(|(tag, _)| tag).collect();
        Ok(Self {
            preferred: tags(preferred),
            unwanted: tags(unwanted),
        })
    }

    /// Chooses one language of a language map: the best that is wished for, else the one of no language, else any.
    #[must_use]
    pub fn choose<'m>(&self, map: &'m [(String, Json)]) -> Option<&'m (String, Json)> {
        let wished = self.preferred.iter().find_map(|range| match range.as_str() {
            "*" => self.any(map),
            range => lookup(map, range),
        });
        wished.or_else(|| self.any(map)).or_else(|| map.first())
    }

    fn any<'m>(&self, map: &'m [(String, Json)]) -> Option<&'m (String, Json)> {
        let is_wanted = |tag: &str| !self.unwanted.iter().any(|unwanted| is_within(tag, unwanted));
        map.iter()
            .find(|(tag, _)| tag == NONE)
            .or_else(|| map.iter().find(|(tag, _)| is_wanted(tag)))
    }
}

/// One language with its weight in thousandths.
fn range(text: &str) -> Result<(String, u16), Refusal> {
    let bad = || {
        let text: String = text.chars().take(40).collect();
        Refusal(format!("lang: {text:?} is no language like fr-CH or fr;q=0.5"))
    };
    let (tag, weight) = match text.split_once(';') {
        None => (text, None),
        Some((tag, weight)) => (tag, Some(weight)),
    };
    let tag = tag.trim();
    let weight = match weight {
        None => 1000,
        Some(weight) => thousandths(weight).ok_or_else(bad)?,
    };
    let is_tag = tag.len() <= MAX_TAG
        && tag
            .split('-')
            .all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()))
        && tag.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_tag || tag == "*" {
        Ok((tag.to_ascii_lowercase(), weight))
    } else {
        Err(bad())
    }
}

/// `q=0.8` as 800: at most three digits after the point.
fn thousandths(text: &str) -> Option<u16> {
    let (name, value) = text.split_once('=')?;
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    if !name.trim().eq_ignore_ascii_case("q") || !digits {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// The language itself, or more exactly than asked; else less and less exactly (RFC 4647, lookup).
fn lookup<'m>(map: &'m [(String, Json)], range: &str) -> Option<&'m (String, Json)> {
    let same = |range: &str| map.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(range));
    let within = same(range).or_else(|| map.iter().find(|(tag, _)| is_within(tag, range)));
    if within.is_some() {
        return within;
    }
    let mut range = range;
    while let Some((shorter, _)) = range.rsplit_once('-') {
        // A single letter only announces what follows it.
        range = match shorter.rsplit_once('-') {
            Some((before, letter)) if letter.len() == 1 => before,
            _ => shorter,
        };
        if let Some(found) = same(range) {
            return Some(found);
        }
    }
    None
}

/// Whether the tag is the range or begins with it, part by part.
fn is_within(tag: &str, range: &str) -> bool {
    let mut parts = tag.split('-');
    range == "*"
        || range
            .split('-')
            .all(|wanted| parts.next().is_some_and(|part| part.eq_ignore_ascii_case(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen(filter: &str, tags: &[&str]) -> String {
        let map: Vec<_> = tags.iter().map(|t| ((*t).to_owned(), Json::string(*t))).collect();
        Languages::parse(filter).unwrap().choose(&map).unwrap().0.clone()
    }

    #[test]
    fn the_best_language_there_is_is_chosen() {
        for (filter, tags, best) in [
            ("fr", ["fr", "nl"], "fr"),
            ("nl", ["fr", "nl"], "nl"),
            ("FR", ["fr", "nl"], "fr"),
            ("fr-CH,fr", ["nl", "fr"], "fr"),
            ("fr-CH", ["nl", "fr"], "fr"),
            ("fr", ["nl", "fr-CH"], "fr-CH"),
            ("zh-Hant-x-a", ["zh", "zh-Hant"], "zh-Hant"),
            ("fr;q=0.5,nl", ["fr", "nl"], "nl"),
            ("fr;q=0.5, nl;q=0.25", ["fr", "nl"], "fr"),
            ("fr-CH,fr;q=0.9,en;q=0.8,*;q=0.5", ["en", "fr"], "fr"),
            ("de,*;q=0.1", ["en", "fr"], "en"),
            ("*", ["fr", "nl"], "fr"),
            ("*", ["fr", "@none"], "@none"),
            ("de", ["en", "@none"], "@none"),
            ("de", ["en", "fr"], "en"),
            ("en;q=0,de", ["en", "fr"], "fr"),
            ("en;q=0", ["en", "en-GB"], "en"),
        ] {
            assert_eq!(chosen(filter, &tags), best, "{filter} of {tags:?}");
        }
        assert_eq!(Languages::parse("fr").unwrap().choose(&[]), None);
    }

    #[test]
    fn malformed_filters_are_refused() {
        let long = vec!["fr"; 51].join(",");
        for bad in [
            "",
            ",",
            "fr,",
            "f r",
            "fr_CH",
            "fr;q",
            "fr;q=",
            "fr;q=2",
            "fr;q=1.5",
            "fr;q=0.1234",
            "fr;q=-1",
            "fr;q=a",
            "fr;p=1",
            "**",
            "1fr",
            "-fr",
            "fr-",
            "é",
            "abcdefghi",
            "\"en\"",
            "fr;q=0.5;q=1",
            &long,
        ] {
            assert!(Languages::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_refused(text in "[a-c*,;q=.0-9 -]{0,40}", tags in prop::collection::vec("[a-c]{1,2}(-[a-c]{1,2})?", 1..5)) {
            if let Ok(languages) = Languages::parse(&text) {
                let map: Vec<_> = tags.iter().map(|t| (t.clone(), Json::Null)).collect();
                prop_assert!(languages.choose(&map).is_some(), "some language is always chosen");
            }
        }

        #[test]
        fn a_language_that_is_there_and_liked_best_is_chosen(tags in prop::collection::btree_set("[a-c]{1,3}(-[a-c]{2,3})?", 1..5), at in 0usize..5, weight in 1u16..1000) {
            let tags: Vec<_> = tags.into_iter().collect();
            let best = &tags[at % tags.len()];
            let map: Vec<_> = tags.iter().map(|t| (t.clone(), Json::Null)).collect();
            let filter = format!("{},{}", tags.iter().filter(|t| *t != best).map(|t| format!("{t};q=0.{weight:03}")).collect::<Vec<_>>().join(","), best);
            let languages = Languages::parse(filter.trim_start_matches(',')).unwrap();
            prop_assert_eq!(&languages.choose(&map).unwrap().0, best);
        }
    }
}
