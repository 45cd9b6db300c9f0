//! The wishes of a client as it wrote them. A URL has lists in one text, JSON has arrays; what they say is the same.

use crate::model::json::Json;
use crate::model::view::Representation;
use crate::model::{Refusal, refuse};
use std::borrow::Cow;

/// Wishes, unread.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// The representation.
    pub representation: Representation,
    /// Whether times are shown that the broker keeps.
    pub sys_attrs: bool,
    /// `attrs`, one name each.
    pub attrs: Option<Vec<&'a str>>,
    /// `pick`, in one or more texts.
    pub pick: Option<Vec<&'a str>>,
    /// `omit`, in one or more texts.
    pub omit: Option<Vec<&'a str>>,
    /// `lang`
    pub lang: Option<&'a str>,
    /// `datasetId`, one id each.
    pub datasets: Option<Vec<&'a str>>,
    /// `join`
    pub join: Option<&'a str>,
    /// `joinLevel`
    pub join_level: Option<Cow<'a, str>>,
    /// `containedBy`, one id each.
    pub contained_by: Option<Vec<&'a str>>,
    /// `geometryProperty`
    pub geometry_property: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Takes the wishes of the body of a query (clause 5.2.23). The representation is not among them.
    pub fn of_query(query: &'a Json) -> Result<Self, Refusal> {
        Ok(Self {
            attrs: texts(query, "attrs")?,
            lang: text(query, "lang")?,
            datasets: texts(query, "datasetId")?,
            contained_by: texts(query, "containedBy")?,
            geometry_property: text(query, "geometryProperty")?,
            ..Self::of_both(query)?
        })
    }

    /// Takes the wishes of a subscription (clauses 5.2.12 and 5.2.14): most of them are in its `notification`.
    pub fn of_subscription(subscription: &'a Json) -> Result<Self, Refusal> {
        const NOTHING: &Json = &Json::Null;
        let notification = subscription.get("notification").unwrap_or(NOTHING);
        let format = text(notification, "format")?;
        let representation = match format {
            None => Representation::default(),
            Some(name) => Representation::named(name).ok_or_else(|| {
                Refusal("format is normalized, concise, keyValues or simplified".to_owned())
            })?,
        };
        Ok(Self {
            representation,
            sys_attrs: flag(notification, "sysAttrs")?,
            attrs: texts(notification, "attributes")?,
            lang: text(subscription, "lang")?,
            datasets: texts(subscription, "datasetId")?,
            ..Self::of_both(notification)?
        })
    }

    fn of_both(json: &'a Json) -> Result<Self, Refusal> {
        Ok(Self {
            pick: texts(json, "pick")?,
            omit: texts(json, "omit")?,
            join: text(json, "join")?,
            join_level: number(json, "joinLevel")?,
            ..Self::default()
        })
    }
}

/// A member that is a string.
pub fn text<'a>(json: &'a Json, name: &str) -> Result<Option<&'a str>, Refusal> {
    match json.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => refuse(format!("{name} is a string, not {}", other.kind())),
    }
}

/// A member that is an array of strings, at least one.
pub fn texts<'a>(json: &'a Json, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
    let Some(value) = json.get(name) else {
        return Ok(None);
    };
    let items = match value {
        Json::Array(items) if !items.is_empty() => items,
        Json::Array(_) => return refuse(format!("{name} is an empty array")),
        other => return refuse(format!("{name} is an array of strings, not {}", other.kind())),
    };
    let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
    match texts {
        Some(texts) => Ok(Some(texts)),
        None => refuse(format!("{name} is an array of strings, and has another item")),
    }
}

/// A member that is a truth value, false where it is absent.
pub fn flag(json: &Json, name: &str) -> Result<bool, Refusal> {
    match json.get(name) {
        None => Ok(false),
        Some(Json::Bool(value)) => Ok(*value),
        Some(other) => refuse(format!("{name} is true or false, not {}", other.kind())),
    }
}

/// A member that is a number, as it was sent.
fn number<'a>(json: &'a Json, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    match json.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => Ok(Some(Cow::Borrowed(number))),
        Some(other) => refuse(format!("{name} is a number, not {}", other.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::model::view::Shape;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn of_query(text: &str) -> Result<Shape, Refusal> {
        Shape::of(&Asked::of_query(&json(text))?, &Context::core())
    }

    fn of_subscription(text: &str) -> Result<Shape, Refusal> {
        Shape::of(&Asked::of_subscription(&json(text))?, &Context::core())
    }

    #[test]
    fn a_url_a_query_and_a_subscription_say_the_same_by_the_same_words() {
        let url = Asked {
            representation: Representation::Concise,
            sys_attrs: true,
            pick: Some(vec!["id,at{name}"]),
            lang: Some("fr"),
            datasets: Some(vec!["@none", "urn:d:1"]),
            join: Some("flat"),
            join_level: Some("2".into()),
            ..Asked::default()
        };
        let url = Shape::of(&url, &Context::core()).unwrap();
        let rest = r#""lang":"fr","datasetId":["@none","urn:d:1"]"#;
        let both = r#""pick":["id","at{name}"],"join":"flat","joinLevel":2"#;
        let query = of_query(&format!("{{{rest},{both}}}")).unwrap();
        let subscription = of_subscription(&format!(
            r#"{{{rest},"notification":{{{both},"format":"concise","sysAttrs":true}}}}"#
        ));
        assert_eq!(subscription.unwrap(), url);
        assert_eq!(
            Shape {
                representation: Representation::Concise,
                sys_attrs: true,
                ..query
            },
            url
        );
    }

    #[test]
    fn members_of_another_kind_and_empty_arrays_are_refused() {
        for bad in [
            r#"{"pick":"id"}"#,
            r#"{"pick":[]}"#,
            r#"{"pick":[1]}"#,
            r#"{"omit":{}}"#,
            r#"{"attrs":[]}"#,
            r#"{"attrs":[null]}"#,
            r#"{"lang":["fr"]}"#,
            r#"{"lang":""}"#,
            r#"{"datasetId":"urn:d:1"}"#,
            r#"{"datasetId":["d"]}"#,
            r#"{"join":true}"#,
            r#"{"join":"flat","joinLevel":"1"}"#,
            r#"{"join":"flat","joinLevel":1.5}"#,
            r#"{"join":"flat","joinLevel":1e1}"#,
            r#"{"join":"flat","containedBy":["x"]}"#,
            r#"{"geometryProperty":5}"#,
            r#"{"attrs":["a"],"pick":["a"]}"#,
            r#"{"attrs":["a"],"omit":["b"]}"#,
            r#"{"pick":["a"],"omit":["a"]}"#,
            r#"{"pick":["at{name}"]}"#,
            r#"{"pick":["at{in{name}}"],"join":"flat"}"#,
            r#"{"omit":["at{in{name}}"],"join":"inline","joinLevel":1}"#,
        ] {
            assert!(of_query(bad).is_err(), "{bad}");
        }
        assert!(of_query(r#"{"omit":["at{in{name}}"],"join":"inline","joinLevel":2}"#).is_ok());
        for bad in [
            r#"{"notification":{"format":"xml"}}"#,
            r#"{"notification":{"sysAttrs":"yes"}}"#,
            r#"{"notification":{"attributes":["a"],"pick":["b"]}}"#,
        ] {
            assert!(of_subscription(bad).is_err(), "{bad}");
        }
        assert_eq!(of_subscription("{}"), Ok(Shape::default()));
    }
}
