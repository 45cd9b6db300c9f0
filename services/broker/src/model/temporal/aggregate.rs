//! What is counted and computed of the values of an attribute, period by period (clause 4.5.19).
//!
//! A method applies to some types of values only (tables 4.5.19.1-1 to -3). An attribute is not eligible for a method when
//! it has values and the method applies to none of them; one odd text among many numbers does not keep these from their
//! average.

use crate::model::entity::Kind;
use crate::model::json::Json;
use crate::model::temporal::period::{Period, Periods, seconds_of_day, time_of_day};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What is computed of the values of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// How many values there are.
    TotalCount,
    /// How many different ones.
    DistinctCount,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// Their standard deviation: the values of the period are all there are, not a sample of others.
    Stddev,
    /// The sum of their squares.
    Sumsq,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 8] = [
        Self::TotalCount,
        Self::DistinctCount,
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Stddev,
        Self::Sumsq,
    ];

    /// As clients write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TotalCount => "totalCount",
            Self::DistinctCount => "distinctCount",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Stddev => "stddev",
            Self::Sumsq => "sumsq",
        }
    }

    /// The method with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregation {
    /// At least one, each once.
    pub methods: Vec<Method>,
    /// How long each period is.
    pub period: Period,
}

/// A value as methods see it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure<'v> {
    /// A number, or a truth value.
    Number(f64, &'v str),
    /// How many items an array has.
    Size(f64),
    /// A text; a date or an instant, which sort as texts do.
    Text(&'v str),
    /// A time of day.
    Time(jiff::civil::Time, &'v str),
    /// Anything else is counted only.
    Other,
}

impl<'v> Measure<'v> {
    fn of(kind: Kind, value: &'v Json) -> Self {
        match (kind, value) {
            (Kind::Property | Kind::ListProperty, value) => Self::of_value(value),
            _ => Self::Other,
        }
    }

    fn of_value(value: &'v Json) -> Self {
        match value {
            Json::Number(text) => value
                .as_f64()
                .map_or(Self::Other, |number| Self::Number(number, text)),
            Json::Bool(true) => Self::Number(1.0, "1"),
            Json::Bool(false) => Self::Number(0.0, "0"),
            Json::String(text) => Self::Text(text),
            #[expect(
                clippy::cast_precision_loss,
                reason = "an array has far fewer items than 2^52"
            )]
            Json::Array(items) => Self::Size(items.len() as f64),
            // The typed form of JSON-LD.
            Json::Object(_) => match value.get("@value") {
                Some(Json::String(text)) => match value.get("@type").and_then(Json::as_str).map(local_name) {
                    Some("DateTime" | "Date") => Self::Text(text),
                    Some("Time") => {
                        let bare = text.strip_suffix('Z').unwrap_or(text);
                        bare.parse().map_or(Self::Other, |time| Self::Time(time, text))
                    }
                    _ => Self::Other,
                },
                _ => Self::Other,
            },
            Json::Null => Self::Other,
        }
    }

    /// Whether a method applies to values of this type.
    fn suits(self, method: Method) -> bool {
        match method {
            Method::TotalCount | Method::DistinctCount => true,
            Method::Min | Method::Max => !matches!(self, Self::Other),
            Method::Avg => matches!(self, Self::Number(..) | Self::Size(_) | Self::Time(..)),
            Method::Sum => matches!(self, Self::Number(..) | Self::Size(_)),
            Method::Stddev | Method::Sumsq => matches!(self, Self::Number(..)),
        }
    }
}

/// What follows the last `/`, `#` or `:`.
fn local_name(name: &str) -> &str {
    name.rsplit(['/', '#', ':']).next().unwrap_or(name)
}

/// Numbers, as they come. Mean and deviation are kept so that they lose nothing where numbers are large and near.
#[derive(Debug, Default)]
struct Numbers {
    count: f64,
    mean: f64,
    deviations: f64,
    sum: f64,
    squares: f64,
    least: Option<(f64, Box<str>)>,
    greatest: Option<(f64, Box<str>)>,
}

impl Numbers {
    fn add(&mut self, number: f64, text: &str) {
        self.count += 1.0;
        let before = number - self.mean;
        self.mean += before / self.count;
        self.deviations += before * (number - self.mean);
        self.sum += number;
        self.squares += number * number;
        if self.least.as_ref().is_none_or(|(least, _)| number < *least) {
            self.least = Some((number, text.into()));
        }
        if self
            .greatest
            .as_ref()
            .is_none_or(|(greatest, _)| number > *greatest)
        {
            self.greatest = Some((number, text.into()));
        }
    }
}

/// Texts, as they come.
#[derive(Debug, Default)]
struct Texts {
    least: Option<Box<str>>,
    greatest: Option<Box<str>>,
}

impl Texts {
    fn add(&mut self, text: &str) {
        if self.least.as_deref().is_none_or(|least| text < least) {
            self.least = Some(text.into());
        }
        if self.greatest.as_deref().is_none_or(|greatest| text > greatest) {
            self.greatest = Some(text.into());
        }
    }
}

/// The values of one period.
#[derive(Debug, Default)]
struct Values {
    total: u64,
    different: HashSet<u64>,
    numbers: Numbers,
    /// Numbers that `stddev` and `sumsq` apply to; sizes of arrays are not among them.
    has_only_sizes: bool,
    texts: Texts,
    /// Seconds of the day, and whether they are in UTC by their letter.
    times: (Numbers, bool),
}

impl Values {
    fn add(&mut self, measure: Measure<'_>, value: &Json, methods: &[Method]) {
        self.total += 1;
        if methods.contains(&Method::DistinctCount) {
            let mut hasher = DefaultHasher::new();
            hash(value, &mut hasher);
            self.different.insert(hasher.finish());
        }
        match measure {
            Measure::Number(number, text) => {
                self.has_only_sizes = false;
                self.numbers.add(number, text);
            }
            Measure::Size(size) => {
                self.has_only_sizes |= self.numbers.count == 0.0;
                self.numbers.add(size, &size.to_string());
            }
            Measure::Text(text) => self.texts.add(text),
            Measure::Time(time, text) => {
                self.times.0.add(seconds_of_day(time), text);
                self.times.1 |= text.ends_with('Z');
            }
            Measure::Other => {}
        }
    }

    /// What a method makes of them; `None` where it applies to none.
    fn result(&self, method: Method) -> Option<Json> {
        let numbers = &self.numbers;
        let times = &self.times.0;
        let some = numbers.count > 0.0;
        let plain = some && !self.has_only_sizes;
        let extreme =
            |number: &Option<(f64, Box<str>)>, time: &Option<(f64, Box<str>)>, text: &Option<Box<str>>| {
                let number = number.as_ref().map(|(_, text)| Json::Number(text.clone()));
                let time = || time.as_ref().map(|(_, text)| Json::string(&**text));
                number
                    .or_else(time)
                    .or_else(|| text.as_ref().map(|text| Json::string(&**text)))
            };
        match method {
            Method::TotalCount => Some(Json::Number(self.total.to_string().into())),
            Method::DistinctCount => Some(Json::Number(self.different.len().to_string().into())),
            Method::Sum => some.then(|| Json::number(numbers.sum)),
            Method::Avg if some => Some(Json::number(numbers.mean)),
            Method::Avg => (times.count > 0.0).then(|| {
                let zone = if self.times.1 { "Z" } else { "" };
                Json::string(format!("{}{zone}", time_of_day(times.mean)))
            }),
            Method::Min => extreme(&numbers.least, &times.least, &self.texts.least),
            Method::Max => extreme(&numbers.greatest, &times.greatest, &self.texts.greatest),
            Method::Stddev => {
                plain.then(|| Json::number((numbers.deviations / numbers.count).max(0.0).sqrt()))
            }
            Method::Sumsq => plain.then(|| Json::number(numbers.squares)),
        }
        .filter(|result| result.as_f64().is_none_or(f64::is_finite))
    }
}

/// Hashes a value so that equal ones have the same hash: numbers by what they are, not how they are written.
fn hash(value: &Json, state: &mut DefaultHasher) {
    std::mem::discriminant(value).hash(state);
    match value {
        Json::Null => {}
        Json::Bool(value) => value.hash(state),
        Json::Number(_) => (value.as_f64().unwrap_or_default() + 0.0).to_bits().hash(state),
        Json::String(text) => text.hash(state),
        Json::Array(items) => items.iter().for_each(|item| hash(item, state)),
        Json::Object(members) => {
            for (name, value) in members {
                name.hash(state);
                hash(value, state);
            }
        }
    }
}

/// The values of one attribute, in one dataset.
#[derive(Debug)]
pub struct Aggregate {
    methods: Vec<Method>,
    /// Methods that applied to some value.
    suited: BTreeSet<Method>,
    periods: Periods,
    /// The period of the value before, which most often is that of the next one.
    current: i64,
    values: BTreeMap<i64, Values>,
    last: Timestamp,
    weight: usize,
}

impl Aggregate {
    /// Nothing yet. Periods are counted from `origin`; where everything is one period, it ends at `until`, or with the
    /// last value.
    #[must_use]
    pub fn new(aggregation: &Aggregation, origin: Timestamp, until: Option<Timestamp>) -> Self {
        Self {
            methods: aggregation.methods.clone(),
            suited: BTreeSet::new(),
            periods: Periods::new(origin, aggregation.period),
            current: 0,
            values: BTreeMap::new(),
            last: until.unwrap_or(origin),
            weight: 0,
        }
    }

    /// Adds a value.
    pub fn add(&mut self, at: Timestamp, kind: Kind, value: &Json) {
        // What a period takes, and what a value that is kept as a hash does.
        const OF_PERIOD: usize = 512;
        const OF_HASH: usize = 20;
        let measure = Measure::of(kind, value);
        let suited = self.methods.iter().filter(|method| measure.suits(**method));
        self.suited.extend(suited);
        let in_current = self.periods.start(self.current).is_some_and(|start| start <= at)
            && at < self.periods.end(self.current, Timestamp::MAX);
        if !in_current {
            self.current = self.periods.index(at);
        }
        self.last = self.last.max(at);
        let values = self.values.entry(self.current).or_insert_with(|| {
            self.weight += OF_PERIOD;
            Values::default()
        });
        let before = values.different.len();
        values.add(measure, value, &self.methods);
        self.weight += (values.different.len() - before) * OF_HASH;
    }

    /// How many bytes of memory it takes, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// A method that was asked for and applies to none of the values.
    #[must_use]
    pub fn unsuited(&self) -> Option<Method> {
        self.methods
            .iter()
            .copied()
            .find(|method| !self.values.is_empty() && !self.suited.contains(method))
    }

    /// Each method with its results: value, begin and end of the period, by time.
    pub fn results(&self) -> impl Iterator<Item = (Method, Vec<(Json, Timestamp, Timestamp)>)> {
        self.methods.iter().map(|method| {
            let results = self.values.iter().filter_map(|(index, values)| {
                let start = self.periods.start(*index)?;
                Some((
                    values.result(*method)?,
                    start,
                    self.periods.end(*index, self.last),
                ))
            });
            (*method, results.collect())
        })
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
