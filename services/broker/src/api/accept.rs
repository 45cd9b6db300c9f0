//! Which media type an answer has (clause 6.3.4).

use crate::api::problem::Problem;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};

/// The media types of answers, in the order that decides between equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/ld+json`
    LdJson,
    /// `application/geo+json`
    GeoJson,
}

impl Media {
    /// As in `Content-Type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::LdJson => "application/ld+json",
            Self::GeoJson => "application/geo+json",
        }
    }
}

/// What most resources offer.
pub const OFFERED: [Media; 2] = [Media::Json, Media::LdJson];
/// What entities offer.
pub const OFFERED_ENTITIES: [Media; 3] = [Media::Json, Media::LdJson, Media::GeoJson];

/// Chooses among what is offered.
pub fn negotiate(headers: &HeaderMap, offered: &[Media]) -> Result<Media, Problem> {
    let mut texts = headers
        .get_all(ACCEPT)
        .iter()
        .map(|v| v.to_str().unwrap_or_default())
        .peekable();
    if texts.peek().is_none() {
        return Ok(Media::Json);
    }
    let ranges: Vec<(String, f32)> = texts.flat_map(|text| text.split(',')).filter_map(range).collect();
    let mut best: Option<(Media, f32)> = None;
    for media in offered {
        let weight = weight(*media, &ranges);
        if weight > 0.0 && best.is_none_or(|(_, b)| weight > b) {
            best = Some((*media, weight));
        }
    }
    best.map(|(media, _)| media).ok_or_else(|| {
        let names: Vec<_> = offered.iter().map(|m| m.name()).collect();
        Problem::invalid(format!(
            "nothing that Accept asks for is available; available are {}",
            names.join(", ")
        ))
        .with_status(StatusCode::NOT_ACCEPTABLE)
    })
}

fn range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|n| !n.is_empty())?.to_ascii_lowercase();
    let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    let weight = weight.map_or(Some(1.0), |w| w.parse().ok().filter(|w| (0.0..=1.0).contains(w)));
    Some((name, weight.unwrap_or(0.0)))
}

/// The weight of the most specific range that covers the media type; 0 when none does.
fn weight(media: Media, ranges: &[(String, f32)]) -> f32 {
    [media.name(), "application/*", "*/*"]
        .into_iter()
        .find_map(|name| ranges.iter().find(|(range, _)| range == name))
        .map_or(0.0, |(_, weight)| *weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn chosen(accept: &str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        negotiate(&headers, &OFFERED_ENTITIES).ok()
    }

    #[test]
    fn weights_decide_then_the_fixed_order() {
        assert_eq!(negotiate(&HeaderMap::new(), &OFFERED).ok(), Some(Media::Json));
        assert_eq!(chosen("*/*"), Some(Media::Json));
        assert_eq!(chosen("application/ld+json, application/json"), Some(Media::Json));
        assert_eq!(
            chosen("application/json;q=0.5, application/ld+json"),
            Some(Media::LdJson)
        );
        assert_eq!(chosen("application/geo+json"), Some(Media::GeoJson));
        assert_eq!(chosen("application/json;q=0, */*"), Some(Media::LdJson));
        assert_eq!(chosen("text/html"), None);
        assert_eq!(chosen("application/json;q=0"), None);
        assert_eq!(chosen(""), None);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(text in "[ -~]{0,40}") {
            let _ = chosen(&text);
        }
    }
}
