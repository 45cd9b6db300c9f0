//! The entity ordering language (clause 4.23): `name;desc,age`, `location;dist-asc` with `orderFrom`, `collation`.
//!
//! The standard orders queries of local scope only. This broker asks no other sources, so every query is one.

use crate::context::Context;
use crate::model::geometry::Geometry;
use crate::model::json::Json;
use crate::model::{Refusal, refuse};
use crate::query::geo;
use crate::query::q::{self, Part, Path, Reading};
use std::borrow::Cow;

/// How many terms one order may have, and how long it may be in bytes.
const MAX_TERMS: usize = 10;
const MAX_LENGTH: usize = 4 * 1024;

/// In which order entities come; after all terms, by id.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordering {
    /// What counts first, then next, and so on.
    pub terms: Vec<OrderTerm>,
    /// How texts compare.
    pub collation: Collation,
}

/// One term.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderTerm {
    /// What is compared.
    pub by: By,
    /// Whether the greatest come first. What is not there comes last either way.
    pub descending: bool,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// Ids, byte by byte.
    Id,
    /// Types, as IRIs.
    Type,
    /// Scopes.
    Scope,
    /// What is at a path, of attributes with several instances in the default one.
    Value(Path),
    /// How far the attribute's geometry is from another one.
    Distance {
        /// Where the attribute is.
        path: Path,
        /// Its IRI.
        property: String,
        /// From where.
        from: Geometry,
    },
}

/// A collation of ICU, by the tag of its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collation(&'static str);

impl Collation {
    /// The tag: letters and `-`, one of those in this file.
    #[must_use]
    pub fn tag(self) -> &'static str {
        self.0
    }
}

/// Languages that ICU has an order for.
const LANGUAGES: [&str; 95] = [
    "und", "af", "am", "ar", "as", "az", "be", "bg", "bn", "br", "bs", "ca", "chr", "cs", "cy", "da", "de",
    "dsb", "ee", "el", "en", "eo", "es", "et", "eu", "fa", "fi", "fil", "fo", "fr", "fur", "fy", "ga", "gd",
    "gl", "gsw", "gu", "ha", "haw", "he", "hi", "hr", "hsb", "hu", "hy", "id", "ig", "is", "it", "ja", "ka",
    "kk", "kl", "km", "kn", "ko", "kok", "ky", "lb", "ln", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms",
    "mt", "my", "nb", "ne", "nl", "nn", "om", "or", "pa", "pl", "ps", "pt", "ro", "ru", "se", "si", "sk",
    "sl", "sq", "sr", "sr-Latn", "sv", "sw", "ta", "zh", "zh-Hans", "zh-Hant",
];

/// An order as a client wrote it.
#[derive(Debug, Default)]
pub struct Texts<'a> {
    /// `orderBy`, one term each.
    pub order_by: Option<Vec<&'a str>>,
    /// `collation`
    pub collation: Option<&'a str>,
    /// `orderFrom`: coordinates.
    pub from: Option<Cow<'a, str>>,
    /// `orderGeometry`: the type of these coordinates; a point where it is absent.
    pub geometry: Option<&'a str>,
}

/// Reads an order. `None`: the client asks for none.
pub fn parse(texts: &Texts<'_>, context: &Context) -> Result<Option<Ordering>, Refusal> {
    // What says nothing without the others must be well-formed all the same.
    let collation = collation(texts.collation.unwrap_or("und"))?;
    let from = place(texts)?;
    let Some(terms) = &texts.order_by else {
        return Ok(None);
    };
    if terms.len() > MAX_TERMS || terms.iter().map(|term| term.len()).sum::<usize>() > MAX_LENGTH {
        return refuse(format!(
            "orderBy: more than {MAX_TERMS} terms, or {MAX_LENGTH} bytes"
        ));
    }
    let terms = terms.iter().map(|text| term(text, from.as_ref(), context));
    Ok(Some(Ordering {
        terms: terms.collect::<Result<_, _>>()?,
        collation,
    }))
}

fn place(texts: &Texts<'_>) -> Result<Option<Geometry>, Refusal> {
    let Some(coordinates) = &texts.from else {
        return match texts.geometry {
            None => Ok(None),
            Some(_) => refuse("orderGeometry needs orderFrom"),
        };
    };
    let geometry = geo::geometry(texts.geometry.unwrap_or("Point"), coordinates);
    geometry
        .map(Some)
        .map_err(|Refusal(why)| Refusal(format!("orderFrom: {why}")))
}

fn term(text: &str, from: Option<&Geometry>, context: &Context) -> Result<OrderTerm, Refusal> {
    let (name, direction) = text.split_once(';').unwrap_or((text, "asc"));
    let (descending, by_distance) = match direction {
        "asc" => (false, false),
        "desc" => (true, false),
        "dist-asc" => (false, true),
        "dist-desc" => (true, true),
        other => {
            let other: String = other.chars().take(40).collect();
            return refuse(format!(
                "orderBy: {other:?} is not asc, desc, dist-asc or dist-desc"
            ));
        }
    };
    let by = match name {
        "id" => By::Id,
        "type" => By::Type,
        "scope" => By::Scope,
        name => value(name, context)?,
    };
    let by = if by_distance { distance(by, from)? } else { by };
    Ok(OrderTerm { by, descending })
}

fn distance(by: By, from: Option<&Geometry>) -> Result<By, Refusal> {
    let Some(from) = from else {
        return refuse("orderBy: an order by distance needs orderFrom");
    };
    match by {
        By::Value(path) => match &path {
            Path::Attribute {
                names,
                part: Part::Value,
            } if names.len() == 1 => Ok(By::Distance {
                property: names.concat(),
                path,
                from: from.clone(),
            }),
            _ => refuse("orderBy: only an attribute of the entity itself has a distance"),
        },
        _ => refuse("orderBy: only an attribute has a distance"),
    }
}

fn value(name: &str, context: &Context) -> Result<By, Refusal> {
    if matches!(name.split(['.', '[']).next(), Some("id" | "type" | "scope")) {
        return refuse(format!(
            "orderBy: there is nothing in {:?}",
            name.chars().take(40).collect::<String>()
        ));
    }
    let path = q::path(name, &Reading::new(context)).map_err(|Refusal(why)| {
        let why = why.strip_prefix("q: ").unwrap_or(&why);
        Refusal(format!("orderBy: {why}"))
    })?;
    match &path {
        Path::Attribute {
            part: Part::AnyLanguage,
            ..
        } => refuse("orderBy: [*] may be several values; name one language"),
        Path::Linked { .. } => refuse("orderBy: entities are not ordered by those they link to"),
        _ => Ok(By::Value(path)),
    }
}

/// Reads the tag of a collation: a language, with a script or a region, and `-u-ks-…`, `-u-co-…` where these say what
/// is done anyway.
fn collation(text: &str) -> Result<Collation, Refusal> {
    let refused = || {
        let text: String = text.chars().take(40).collect();
        Refusal(format!(
            "collation: {text:?} is no collation that is available: a language tag such as und, de or sv-SE"
        ))
    };
    let lower = text.to_ascii_lowercase();
    let (language, keywords) = match lower.split_once("-u-") {
        None => (lower.as_str(), None),
        Some((language, keywords)) => (language, Some(keywords)),
    };
    let subtags: Vec<&str> = language.split('-').collect();
    let is_tag = subtags
        .iter()
        .all(|subtag| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !is_tag || subtags.len() > 4 {
        return Err(refused());
    }
    // Texts that are not the same never compare as equal, so the greatest strength is what there is.
    let is_done = |keywords| matches!(keywords, "ks-identic" | "ks-level4" | "ks-level3" | "co-standard");
    if !keywords.is_none_or(is_done) {
        return Err(refused());
    }
    let of = |subtags: &[&str]| {
        let tag = subtags.join("-");
        LANGUAGES
            .iter()
            .find(|language| language.eq_ignore_ascii_case(&tag))
    };
    (1..=subtags.len())
        .rev()
        .find_map(|length| of(subtags.get(..length)?))
        .map(|tag| Collation(tag))
        .ok_or_else(refused)
}

/// The items of a geometry's coordinates as JSON text, from either form that JSON has them in.
#[must_use]
pub fn coordinates(value: &Json) -> Cow<'_, str> {
    match value {
        Json::String(text) => text.as_str().into(),
        other => other.to_text().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(text: &str, from: Option<&str>) -> Result<Vec<OrderTerm>, Refusal> {
        let texts = Texts {
            order_by: Some(text.split(',').collect()),
            from: from.map(Into::into),
            ..Texts::default()
        };
        Ok(parse(&texts, &Context::core())?.unwrap().terms)
    }

    fn of_collation(text: &str) -> Result<&'static str, Refusal> {
        collation(text).map(Collation::tag)
    }

    #[test]
    fn terms_have_a_member_or_a_path_and_a_direction() {
        let terms = order(
            "id,type;desc,name,name.observedAt;asc,address[city],createdAt",
            None,
        )
        .unwrap();
        let directions: Vec<_> = terms.iter().map(|term| term.descending).collect();
        assert_eq!(directions, [false, true, false, false, false, false]);
        assert_eq!((&terms[0].by, &terms[1].by), (&By::Id, &By::Type));
        assert!(matches!(
            &terms[3].by,
            By::Value(Path::Attribute {
                part: Part::System(_),
                ..
            })
        ));
        assert!(matches!(
            &terms[4].by,
            By::Value(Path::Attribute {
                part: Part::Member { .. },
                ..
            })
        ));
        assert_eq!(terms[5].by, By::Value(Path::CreatedAt));
        assert!(matches!(
            &order("location;dist-desc", Some("[8,40]")).unwrap()[0].by,
            By::Distance { .. }
        ));
    }

    #[test]
    fn malformed_orders_are_refused() {
        let many = ["a"; 11].join(",");
        let long = format!("https://a.example/{}", "x".repeat(MAX_LENGTH));
        for bad in [
            "",
            ",",
            "a,",
            "a;",
            "a;up",
            "a;DESC",
            "a;asc;desc",
            ";asc",
            "a b",
            "1a",
            "a[",
            "a[]",
            "a[*]",
            "a==5",
            "a|b",
            "r{a}",
            "r{T:a}",
            "id.x",
            "location;dist-asc",
            "'; drop table x; --",
            &many,
            &long,
        ] {
            assert!(order(bad, None).is_err(), "{bad:.60}");
        }
        for (bad, from) in [
            ("location;dist-asc", "[8]"),
            ("location;dist-asc", "8,40"),
            ("location;dist-asc", "[800,40]"),
            ("name", "x"),
            ("id;dist-asc", "[8,40]"),
            ("createdAt;dist-asc", "[8,40]"),
            ("a.b;dist-asc", "[8,40]"),
            ("a[b];dist-asc", "[8,40]"),
            ("a.observedAt;dist-asc", "[8,40]"),
        ] {
            assert!(order(bad, Some(from)).is_err(), "{bad} {from}");
        }
        let with = |from, geometry| {
            let texts = Texts {
                order_by: Some(vec!["location;dist-asc"]),
                from,
                geometry,
                ..Texts::default()
            };
            parse(&texts, &Context::core())
        };
        assert!(with(Some("[[8,40],[9,42]]".into()), Some("LineString")).is_ok());
        assert!(with(Some("[8,40]".into()), Some("LineString")).is_err());
        assert!(with(Some("[8,40]".into()), Some("GeometryCollection")).is_err());
        assert!(with(None, Some("Point")).is_err());
    }

    #[test]
    fn collations_are_languages_of_the_list() {
        for (text, tag) in [
            ("und", "und"),
            ("de", "de"),
            ("DE", "de"),
            ("sv-SE", "sv"),
            ("zh-hant-TW", "zh-Hant"),
            ("sr-latn", "sr-Latn"),
            ("und-u-ks-identic", "und"),
            ("de-AT-u-co-standard", "de"),
        ] {
            assert_eq!(of_collation(text), Ok(tag));
        }
        for bad in [
            "",
            "-",
            "xx",
            "de_DE",
            "de-",
            "de\"",
            "und-x-icu\" desc; --",
            "de-u-co-phonebk",
            "und-u-ks-level1",
            "und-u-",
            "a-b-c-d-e",
        ] {
            assert!(of_collation(bad).is_err(), "{bad}");
        }
        assert!(
            parse(
                &Texts {
                    collation: Some("xx"),
                    ..Texts::default()
                },
                &Context::core()
            )
            .is_err()
        );
        assert_eq!(parse(&Texts::default(), &Context::core()), Ok(None));
    }

    proptest! {
        #[test]
        fn any_text_is_an_order_or_refused(text in "[ab.;,\\[\\]*distc -]{0,30}", from in "[\\[\\]0-9,. -]{0,12}", tag in "[a-z-]{0,12}") {
            let _ = (order(&text, Some(&from)), of_collation(&tag));
        }

        #[test]
        fn every_well_formed_term_is_read_as_it_is_written(names in prop::collection::vec(("[b-h]{1,3}", any::<Option<bool>>()), 1..=10)) {
            let text = names.iter().map(|(name, down)| match down {
                None => name.clone(),
                Some(down) => format!("{name};{}", if *down { "desc" } else { "asc" }),
            }).collect::<Vec<_>>().join(",");
            let terms = order(&text, None).unwrap();
            prop_assert_eq!(terms.len(), names.len());
            for (term, (name, down)) in terms.iter().zip(&names) {
                prop_assert_eq!(term.descending, down.unwrap_or(false));
                let By::Value(Path::Attribute { names, .. }) = &term.by else { panic!() };
                prop_assert_eq!(names[0].rsplit('/').next(), Some(name.as_str()));
            }
        }
    }
}
