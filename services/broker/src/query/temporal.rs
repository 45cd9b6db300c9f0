//! The temporal query language (clause 4.11): `timerel`, `timeAt`, `endTimeAt`, `timeproperty`; `lastN`; and what is
//! aggregated how (clause 4.5.19).

use crate::model::json::Json;
use crate::model::names::instant;
use crate::model::temporal::Clock;
use crate::model::temporal::aggregate::{Aggregation, Method};
use crate::model::temporal::period::Period;
use crate::model::{Refusal, refuse};
use jiff::Timestamp;
use std::borrow::Cow;

/// A span of time: `from` is part of it, `until` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// The first instant; `None`: there is no first.
    pub from: Option<Timestamp>,
    /// The first instant after it; `None`: it goes on.
    pub until: Option<Timestamp>,
}

/// What of the past is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TemporalQuery {
    /// By which time.
    pub clock: Clock,
    /// When.
    pub interval: Interval,
    /// Only so many instances of each attribute, the latest; they are read backwards.
    pub last: Option<usize>,
}

/// A temporal query as it was written.
#[derive(Debug, Default)]
pub struct Texts<'a> {
    /// `timerel`
    pub timerel: Option<&'a str>,
    /// `timeAt`
    pub time_at: Option<&'a str>,
    /// `endTimeAt`
    pub end_time_at: Option<&'a str>,
    /// `timeproperty`
    pub timeproperty: Option<&'a str>,
    /// `lastN`
    pub last_n: Option<Cow<'a, str>>,
    /// `aggrMethods`, one each.
    pub methods: Option<Vec<&'a str>>,
    /// `aggrPeriodDuration`
    pub period: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// Takes them from the `temporalQ` of a body (clause 5.2.21).
    pub fn of_json(body: &'a Json) -> Result<Self, Refusal> {
        const KNOWN: [&str; 7] = [
            "timerel",
            "timeAt",
            "endTimeAt",
            "timeproperty",
            "lastN",
            "aggrMethods",
            "aggrPeriodDuration",
        ];
        let temporal = match body.get("temporalQ") {
            None => return Ok(Self::default()),
            Some(temporal @ Json::Object(members)) => {
                if let Some((name, _)) = members.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
                    let name: String = name.chars().take(60).collect();
                    return refuse(format!("temporalQ has no member {name:?}"));
                }
                temporal
            }
            Some(other) => return refuse(format!("temporalQ is an object, not {}", other.kind())),
        };
        let last_n = match temporal.get("lastN") {
            None => None,
            Some(Json::Number(number)) => Some(Cow::Borrowed(&**number)),
            Some(other) => return refuse(format!("lastN is a number, not {}", other.kind())),
        };
        Ok(Self {
            timerel: text(temporal, "timerel")?,
            time_at: text(temporal, "timeAt")?,
            end_time_at: text(temporal, "endTimeAt")?,
            timeproperty: text(temporal, "timeproperty")?,
            last_n,
            methods: methods(temporal)?,
            period: text(temporal, "aggrPeriodDuration")?,
        })
    }

    /// Reads the query. Without `timerel` and `timeproperty` it is the whole past.
    pub fn query(&self) -> Result<TemporalQuery, Refusal> {
        let interval = self.interval()?;
        let clock = match (self.timeproperty, self.timerel) {
            (Some(name), _) => Clock::named(name)?,
            (None, Some(_)) => Clock::Observed,
            (None, None) => Clock::Any,
        };
        let last = match self.last_n.as_deref().map(str::parse::<u32>) {
            None => None,
            Some(Ok(last)) if last > 0 => usize::try_from(last).ok(),
            Some(_) => return refuse("lastN is a whole number above 0"),
        };
        Ok(TemporalQuery {
            clock,
            interval,
            last,
        })
    }

    fn interval(&self) -> Result<Interval, Refusal> {
        let time = |name: &str, text: Option<&str>| match (text, self.timerel) {
            (Some(text), _) => instant(text).ok_or_else(|| {
                Refusal(format!(
                    "{name} is a DateTime in UTC like 2024-01-31T12:00:00Z, which this is not"
                ))
            }),
            (None, relation) => refuse(format!("timerel={} needs {name}", relation.unwrap_or_default())),
        };
        match self.timerel {
            None if self.time_at.is_some() || self.end_time_at.is_some() => {
                refuse("timeAt and endTimeAt come with timerel")
            }
            None => Ok(Interval::default()),
            Some("before" | "after") if self.end_time_at.is_some() => {
                refuse("endTimeAt is for timerel=between")
            }
            Some("before") => Ok(Interval {
                from: None,
                until: Some(time("timeAt", self.time_at)?),
            }),
            Some("after") => Ok(Interval {
                from: Some(time("timeAt", self.time_at)?),
                until: None,
            }),
            Some("between") => Ok(Interval {
                from: Some(time("timeAt", self.time_at)?),
                until: Some(time("endTimeAt", self.end_time_at)?),
            }),
            Some(other) => {
                let other: String = other.chars().take(60).collect();
                refuse(format!("timerel is before, after or between, not {other:?}"))
            }
        }
    }

    /// Reads what is to be aggregated.
    pub fn aggregation(&self) -> Result<Aggregation, Refusal> {
        let Some(names) = self.methods.as_deref() else {
            return refuse("aggregatedValues needs aggrMethods");
        };
        let mut methods = Vec::with_capacity(Method::ALL.len());
        for name in names {
            let method = Method::named(name).ok_or_else(|| {
                let all: Vec<_> = Method::ALL.iter().map(|method| method.name()).collect();
                Refusal(format!("aggrMethods are {}", all.join(", ")))
            })?;
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        let period = self.period.map(Period::parse).transpose()?.unwrap_or_default();
        Ok(Aggregation { methods, period })
    }
}

fn text<'a>(json: &'a Json, name: &str) -> Result<Option<&'a str>, Refusal> {
    match json.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => refuse(format!("{name} is a string, not {}", other.kind())),
    }
}

/// A comma list; an array of names says the same.
fn methods(json: &Json) -> Result<Option<Vec<&str>>, Refusal> {
    let wrong = || Refusal("aggrMethods is a comma list of names".to_owned());
    match json.get("aggrMethods") {
        None => Ok(None),
        Some(Json::String(list)) => Ok(Some(list.split(',').collect())),
        Some(Json::Array(items)) => {
            let names: Option<Vec<_>> = items.iter().map(Json::as_str).collect();
            names
                .filter(|names| !names.is_empty())
                .ok_or_else(wrong)
                .map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(timerel: &str, time_at: &str, end_time_at: &str) -> Result<TemporalQuery, Refusal> {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        let leak = |text: &str| given(String::leak(text.to_owned()));
        Texts {
            timerel: leak(timerel),
            time_at: leak(time_at),
            end_time_at: leak(end_time_at),
            ..Texts::default()
        }
        .query()
    }

    #[test]
    fn relations_become_intervals_whose_end_is_not_part_of_them() {
        let (one, two) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00,5Z");
        let at = |text: &str| instant(text);
        let interval = |from, until| Interval { from, until };
        let of = |r: &str, a: &str, b: &str| query(r, a, b).unwrap().interval;
        assert_eq!(of("after", one, ""), interval(at(one), None));
        assert_eq!(of("before", one, ""), interval(None, at(one)));
        assert_eq!(of("between", one, two), interval(at(one), at(two)));
        assert_eq!(query("after", one, "").unwrap().clock, Clock::Observed);
        assert_eq!(query("", "", "").unwrap(), TemporalQuery::default());
    }

    #[test]
    fn what_is_missing_or_no_date_time_is_refused() {
        let one = "2024-01-01T00:00:00Z";
        for (timerel, time_at, end_time_at) in [
            ("after", "", ""),
            ("before", "", ""),
            ("between", one, ""),
            ("between", "", one),
            ("after", one, one),
            ("", one, ""),
            ("", "", one),
            ("since", one, ""),
            ("after", "2024-01-01", ""),
            ("after", "2024-01-01T00:00:00+02:00", ""),
            ("between", one, "12:00:00"),
        ] {
            assert!(
                query(timerel, time_at, end_time_at).is_err(),
                "{timerel} {time_at} {end_time_at}"
            );
        }
        for bad in ["0", "-1", "1.5", "", "x", "99999999999"] {
            let texts = Texts {
                last_n: Some(bad.into()),
                ..Texts::default()
            };
            assert!(texts.query().is_err(), "{bad}");
        }
        let texts = Texts {
            timeproperty: Some("expiresAt"),
            ..Texts::default()
        };
        assert!(texts.query().is_err());
    }

    #[test]
    fn a_body_says_the_same_as_a_url() {
        let body = Json::parse(
            br#"{"temporalQ":{"timerel":"between","timeAt":"2024-01-01T00:00:00Z","endTimeAt":"2024-01-02T00:00:00Z",
                "timeproperty":"modifiedAt","lastN":5,"aggrMethods":["avg","max","avg"],"aggrPeriodDuration":"PT1H"}}"#,
        )
        .unwrap();
        let texts = Texts::of_json(&body).unwrap();
        let read = texts.query().unwrap();
        assert_eq!((read.clock, read.last), (Clock::Modified, Some(5)));
        assert!(read.interval.from.is_some() && read.interval.until.is_some());
        let aggregation = texts.aggregation().unwrap();
        assert_eq!(aggregation.methods, [Method::Avg, Method::Max]);
        assert_eq!(Some(aggregation.period), Period::parse("PT1H").ok());
        for bad in [
            r#"{"temporalQ":5}"#,
            r#"{"temporalQ":{"lastN":"5"}}"#,
            r#"{"temporalQ":{"timerel":1}}"#,
            r#"{"temporalQ":{"other":1}}"#,
            r#"{"temporalQ":{"aggrMethods":[]}}"#,
            r#"{"temporalQ":{"aggrMethods":[1]}}"#,
        ] {
            let body = Json::parse(bad.as_bytes()).unwrap();
            assert!(Texts::of_json(&body).is_err(), "{bad}");
        }
    }
}
