//! Temporal queries, and the times in them.

use super::{assert_is_short, parameter};
use crate::model::json::Json;
use crate::model::moment::{Moment, looks_like_date};
use crate::model::names::{instant, instant_key, is_date, time_text};
use crate::model::temporal::aggregate::Aggregation;
use crate::model::temporal::period::Periods;
use crate::query::temporal::{Interval, TemporalQuery, Texts};
use jiff::Timestamp;
use std::borrow::Cow;

/// Holds of any text.
pub fn time(text: &str) {
    let texts = Texts {
        timerel: parameter(text, "timerel"),
        time_at: parameter(text, "timeAt"),
        end_time_at: parameter(text, "endTimeAt"),
        timeproperty: parameter(text, "timeproperty"),
        last_n: parameter(text, "lastN").map(Cow::Borrowed),
        methods: parameter(text, "aggrMethods").map(|list| list.split(',').collect()),
        period: parameter(text, "aggrPeriodDuration"),
    };
    let times = [
        text,
        texts.time_at.unwrap_or_default(),
        texts.end_time_at.unwrap_or_default(),
    ];
    for time in times {
        means_one_time(time);
    }
    sort_as_what_they_mean(times);
    let query = texts.query();
    let aggregation = texts.aggregation();
    if let Some(body) = body(text) {
        let of_body = Texts::of_json(&body).expect("the members are of the right kinds");
        assert_eq!((&of_body.query(), &of_body.aggregation()), (&query, &aggregation));
    }
    for refusal in [query.as_ref().err(), aggregation.as_ref().err()]
        .into_iter()
        .flatten()
    {
        assert_is_short(refusal);
    }
    if let (Ok(TemporalQuery { interval, .. }), Ok(aggregation)) = (query, aggregation) {
        are_in_their_periods(interval, &aggregation);
    }
}

/// The same as the `temporalQ` of a body; `None` where JSON has no such number.
fn body(text: &str) -> Option<Json> {
    let mut members = Vec::new();
    for name in [
        "timerel",
        "timeAt",
        "endTimeAt",
        "timeproperty",
        "aggrMethods",
        "aggrPeriodDuration",
        "lastN",
    ] {
        let Some(value) = parameter(text, name) else {
            continue;
        };
        let value = match Json::parse(value.as_bytes()) {
            _ if name != "lastN" => Json::string(value),
            Ok(Json::Number(number)) if *number == *value => Json::Number(number),
            _ => return None,
        };
        members.push((name.to_owned(), value));
    }
    Some(Json::Object(vec![(
        "temporalQ".to_owned(),
        Json::Object(members),
    )]))
}

/// A text is a time or none for all who read it, and written in another way it is the same time.
fn means_one_time(text: &str) {
    let (key, instant) = (instant_key(text), instant(text));
    assert_eq!(key.is_some(), instant.is_some(), "{text}");
    assert_eq!(
        instant.map(time_text).as_deref().and_then(instant_key),
        key,
        "{text}"
    );
    assert!(!is_date(text) || looks_like_date(text), "{text}");
}

/// In the database by their keys, in memory as moments, and as instants.
fn sort_as_what_they_mean(times: [&str; 3]) {
    let [_, one, other] = times;
    if let (Some(first), Some(second)) = (instant(one), instant(other)) {
        assert_eq!(
            instant_key(one).cmp(&instant_key(other)),
            first.cmp(&second),
            "{one} {other}"
        );
    }
    for read in [Moment::of_date_time, Moment::of_time] {
        if let (Some(first), Some(second)) = (read(one), read(other)) {
            assert_eq!(
                first.key().cmp(&second.key()),
                first.cmp(&second),
                "{one} {other}"
            );
        }
    }
}

fn are_in_their_periods(interval: Interval, aggregation: &Aggregation) {
    let origin = interval.from.unwrap_or(Timestamp::UNIX_EPOCH);
    let periods = Periods::new(origin, aggregation.period);
    let until = interval.until.unwrap_or(Timestamp::MAX).max(origin);
    for at in [origin, until] {
        let index = periods.index(at);
        assert!(
            periods.start(index).is_none_or(|start| start <= at),
            "{aggregation:?} {index}"
        );
        assert!(
            periods.end(index, Timestamp::MAX) >= at,
            "{aggregation:?} {index}"
        );
    }
}
