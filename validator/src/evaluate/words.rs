//! Rules in words, as they end a sentence that begins with "the value breaks: ".

use crate::node::{Arena, Bound, Check, Types};

/// How long a list of values may be.
const MAX_LIST: usize = 200;

pub(super) fn types(types: Types) -> String {
    let names = [
        (Types::NULL, "null"),
        (Types::BOOLEAN, "true or false"),
        (Types::NUMBER, "a number"),
        (Types::INTEGER, "a whole number"),
        (Types::STRING, "a text"),
        (Types::ARRAY, "an array"),
        (Types::OBJECT, "an object"),
    ];
    let is_whole_only = types.0 & Types::NUMBER == 0;
    let allowed = names
        .into_iter()
        .filter(|(bit, _)| types.0 & bit != 0 && (*bit != Types::INTEGER || is_whole_only));
    let allowed: Vec<&str> = allowed.map(|(_, name)| name).collect();
    match allowed.as_slice() {
        [] => "the model lets in no value here".to_owned(),
        several => format!("it is {}", several.join(" or ")),
    }
}

pub(super) fn rule(arena: &Arena, check: &Check) -> String {
    match check {
        Check::OneOf(constants) => format!("it is one of {}", constants.list(MAX_LIST)),
        Check::Range(Bound::Least, limit) => format!("it is at least {limit}"),
        Check::Range(Bound::Most, limit) => format!("it is at most {limit}"),
        Check::Range(Bound::Above, limit) => format!("it is above {limit}"),
        Check::Range(Bound::Below, limit) => format!("it is below {limit}"),
        Check::MultipleOf(of) => format!("it is a multiple of {of}"),
        Check::MinLength(least) => format!("it has at least {least} characters"),
        Check::MaxLength(most) => format!("it has at most {most} characters"),
        Check::Pattern(pattern) => {
            let pattern = arena
                .pattern(*pattern)
                .map(regex::Regex::as_str)
                .unwrap_or_default();
            format!("it matches {}", crate::violation::cut(pattern))
        }
        Check::Format(format) => format!("it is {}", format.words()),
        Check::MinItems(least) => format!("it has at least {least} items"),
        Check::MaxItems(most) => format!("it has at most {most} items"),
        Check::UniqueItems => "its items differ".to_owned(),
        Check::MinProperties(least) => format!("it has at least {least} members"),
        Check::MaxProperties(most) => format!("it has at most {most} members"),
        _ => "it is as the model says".to_owned(),
    }
}

pub(super) fn contains(least: u64, most: Option<u64>) -> String {
    match most {
        Some(most) => {
            format!("it has {least} to {most} items of the kind that the model asks for (contains)")
        }
        None => format!("it has at least {least} items of the kind that the model asks for (contains)"),
    }
}
