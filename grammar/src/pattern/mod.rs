//! Regular expressions of clients, limited to what PostgreSQL and the broker's own engine understand alike, so that a
//! query and a subscription mean the same; and bounded, so that none costs more than its length suggests.
//!
//! A pattern is kept as a machine of some kilobytes at most that is run step by step; what running it takes is shared
//! by all patterns ([`Scratch`]). A `regex::Regex` would be as fast, but takes ten times as much memory once it has run,
//! which 10,000 subscriptions could not have.

mod dialect;

use crate::{Refusal, refuse};
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use std::fmt;
use std::sync::Arc;

pub use dialect::{BEGIN, END};

const MAX_LENGTH: usize = 512;
/// What the compiled machine may take, in bytes.
const MAX_SIZE: usize = 1 << 17;

/// A checked pattern, ready to run; cheap to clone.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    literals: Box<[Box<str>]>,
    machine: BoundedBacktracker,
}

impl Pattern {
    /// Checks a pattern and makes it ready to run. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_LENGTH {
            return refuse(format!("a pattern has at most {MAX_LENGTH} bytes"));
        }
        let read = dialect::read(text).map_err(|Refusal(what)| {
            Refusal(format!("the pattern has something that is not supported: {what}"))
        })?;
        let config = NFA::config()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_SIZE));
        let machine = NFA::compiler()
            .configure(config)
            .build(&read.translated)
            .and_then(BoundedBacktracker::new_from_nfa);
        let machine = match machine {
            Ok(machine) => machine,
            Err(error) if error.size_limit().is_some() => return refuse("the pattern is too expensive"),
            Err(_) => return refuse("the pattern is not a regular expression"),
        };
        Ok(Self(Arc::new(Compiled {
            text: text.into(),
            literals: read.literals.into_iter().map(Into::into).collect(),
            machine,
        })))
    }

    /// The pattern as it was sent, which means the same to PostgreSQL in collation C.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Pieces that are in every text in which the pattern is found; [`BEGIN`] and [`END`] in them stand for the begin
    /// and the end of the text.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.literals.iter().map(AsRef::as_ref)
    }

    /// Whether the pattern is found in a text. Takes time in proportion to both lengths, whatever they are.
    pub fn is_found_in(&self, text: &str, scratch: &mut Scratch) -> bool {
        let machine = &self.0.machine;
        let cache = scratch.quick.get_or_insert_with(|| machine.create_cache());
        cache.reset(machine);
        // An error says that the text is too long for this way of searching.
        if let Ok(found) = machine.try_is_match(cache, text) {
            return found;
        }
        let Ok(machine) = PikeVM::new_from_nfa(machine.get_nfa().clone()) else {
            return false;
        };
        let cache = scratch.thorough.get_or_insert_with(|| machine.create_cache());
        cache.reset(&machine);
        machine.is_match(cache, text)
    }

    /// How many states its machine has: searching takes time in proportion to them and to the length of the text.
    #[must_use]
    pub fn states(&self) -> usize {
        self.0.machine.get_nfa().states().len()
    }

    /// How many bytes of memory it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let literals: usize = self
            .0
            .literals
            .iter()
            .map(|l| l.len() + size_of::<Box<str>>())
            .sum();
        size_of::<Compiled>() + self.0.text.len() + literals + self.0.machine.get_nfa().memory_usage()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pattern({:?})", self.text())
    }
}

/// Patterns of one text mean the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Pattern {}

/// What running patterns takes: one is enough for any number of them, one after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    quick: Option<backtrack::Cache>,
    thorough: Option<pikevm::Cache>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finds(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern)
            .unwrap()
            .is_found_in(text, &mut Scratch::default())
    }

    #[test]
    fn common_patterns_are_taken() {
        for good in [
            "^urn:ngsi-ld:Vehicle:[0-9]+$",
            "a|b",
            "(ab)*c{1,3}",
            "\\d+\\.\\d",
            ".*",
            "[^a-z_]x?",
            "urn:.*:1",
            "a{2,}?b*?",
            "[-a]|[a-]|[a\\-z]",
            "(|a)",
            "",
            "}]",
            "\\<\\>\\_\\-",
        ] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_costly_or_means_two_things_is_refused() {
        let long = "a".repeat(513);
        let wide = "(((a{100}){100}){100}){100}".to_owned();
        let deep = format!("{}a{}", "(".repeat(30), ")".repeat(30));
        for bad in [
            "[",
            "(",
            ")",
            "a**",
            "\\1",
            "(?i)a",
            "***=a",
            "[[:alpha:]]",
            "[a&&b]",
            "\\bword",
            "a++",
            "\\",
            &long,
            &wide,
            &deep,
            "(?=a)",
            "[]a]",
            "*a",
            "^*",
            "$+",
            "a|*",
            "(*a)",
            "a*??",
            "a+*",
            "a{2}{3}",
            "a{",
            "a{,3}",
            "{2}",
            "a{3,2}",
            "a{256}",
            "[z-a]",
            "[a-b-c]",
            "[ab-\\d]",
            "[a-",
            "\\y",
            "\\n",
        ] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_find_what_they_say() {
        for (pattern, text) in [
            ("^a.c$", "a\nc"),
            ("\\w\\s\\d", "x\u{b}7"),
            ("^\\W$", "é"),
            ("a{2}", "xaax"),
            ("[\\]\\-^]", "-"),
            ("<a>", "<a>"),
            ("\\<a\\>", "<a>"),
            ("^(a|b)+$", "abba"),
            ("", ""),
        ] {
            assert!(finds(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("^a$", "a\n"),
            ("\\d", "٣"),
            ("A", "a"),
            ("a.c", "ac"),
            ("^b", "ab"),
        ] {
            assert!(!finds(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_long_text_is_searched_too() {
        let text = format!("{}needle", "x".repeat(1_000_000));
        assert!(finds("ne+dle$", &text) && !finds("ne+dles", &text));
    }

    #[test]
    fn a_simple_pattern_takes_few_bytes() {
        let weight = Pattern::new("^urn:ngsi-ld:Vehicle:[0-9]+$").unwrap().weight();
        assert!(weight < 2048, "{weight}");
    }

    fn literals(pattern: &str) -> Vec<String> {
        Pattern::new(pattern)
            .unwrap()
            .literals()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn pieces_that_must_be_there_are_known() {
        assert_eq!(literals("^urn:a:1$"), ["\u{2}urn:a:1\u{3}"]);
        assert_eq!(literals("urn:.*:b+c\\.d"), ["urn:", ":", "c.d"]);
        assert_eq!(literals("^a|b$"), [""; 0]);
        assert_eq!(literals("x(a|b)[cd]yz?"), ["x", "y"]);
    }

    proptest! {
        #[test]
        fn checking_never_panics(pattern in "\\PC{0,60}") {
            let _ = Pattern::new(&pattern);
        }

        #[test]
        fn what_is_found_has_the_pieces(pattern in "[ab^$.|()*+?{}2,\\\\\\[\\]-]{0,10}", text in "[ab.2]{0,12}") {
            if let Ok(pattern) = Pattern::new(&pattern) && pattern.is_found_in(&text, &mut Scratch::default()) {
                let marked = format!("{BEGIN}{text}{END}");
                for literal in pattern.literals() {
                    prop_assert!(marked.contains(literal), "{:?} {:?}", pattern, literal);
                }
            }
        }
    }
}
