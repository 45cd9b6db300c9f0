//! The regular expressions that PostgreSQL and the broker's own engine read alike, from the one notation to the other.
//!
//! Taken: characters, `.`, `^`, `$`, `|`, groups, classes with ranges, the repetitions `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}`
//! (also reluctant, which changes nothing about whether something is found), `\d`, `\s`, `\w` and their opposites, and
//! escaped punctuation. PostgreSQL compares in collation C, so that `\w` and its like are ASCII whatever the database's
//! locale; `.` is any character, a line break too.

use crate::{Refusal, refuse};
use std::iter::Peekable;
use std::str::Chars;

/// The most that PostgreSQL repeats.
const MAX_REPEAT: u32 = 255;
/// How deep groups may be.
const MAX_DEPTH: usize = 20;

/// Stands for the begin of the text in [`Pattern::literals`](crate::pattern::Pattern::literals).
pub const BEGIN: char = '\u{2}';
/// Stands for the end of the text in [`Pattern::literals`](crate::pattern::Pattern::literals).
pub const END: char = '\u{3}';

/// What a pattern says.
#[derive(Debug)]
pub struct Read {
    /// The pattern in the notation of the `regex` crates.
    pub translated: String,
    /// Pieces that every text has in which the pattern is found; [`BEGIN`] and [`END`] stand for begin and end.
    pub literals: Vec<String>,
}

/// Reads a pattern. The error says what of it is not taken.
pub fn read(pattern: &str) -> Result<Read, Refusal> {
    let mut reader = Reader {
        rest: pattern.chars().peekable(),
        translated: String::with_capacity(pattern.len() + 16),
        literals: Vec::new(),
        run: String::new(),
        choices: false,
    };
    reader.alternation(0)?;
    if reader.rest.peek().is_some() {
        return refuse("a ) without a (");
    }
    reader.end_run();
    if reader.choices {
        reader.literals.clear();
    }
    Ok(Read {
        translated: reader.translated,
        literals: reader.literals,
    })
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    translated: String,
    literals: Vec<String>,
    /// The literal characters that were read last, outside of groups.
    run: String,
    /// Whether there is a `|` outside of groups.
    choices: bool,
}

impl Reader<'_> {
    fn eat(&mut self, letter: char) -> bool {
        self.rest.next_if_eq(&letter).is_some()
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            self.literals.push(std::mem::take(&mut self.run));
        }
    }

    fn alternation(&mut self, depth: usize) -> Result<(), Refusal> {
        loop {
            while !matches!(self.rest.peek(), None | Some('|' | ')')) {
                self.piece(depth)?;
            }
            if !self.eat('|') {
                return Ok(());
            }
            self.translated.push('|');
            if depth == 0 {
                self.choices = true;
            }
        }
    }

    /// One atom with its repetition, or an anchor, which has none.
    fn piece(&mut self, depth: usize) -> Result<(), Refusal> {
        let Some(letter) = self.rest.next() else {
            return Ok(());
        };
        let literal = match letter {
            '^' | '$' => return self.anchor(letter, depth),
            '*' | '+' | '?' | '{' => {
                return refuse("a repetition of nothing; write \\ before the character itself");
            }
            '(' => self.group(depth).map(|()| None)?,
            '[' => self.class().map(|()| None)?,
            '.' => {
                self.translated.push_str("(?s:.)");
                None
            }
            '\\' => self.escape()?,
            other => Some(other),
        };
        if let Some(literal) = literal {
            push_literal(&mut self.translated, literal);
        }
        let repeated = self.repetition()?;
        match literal {
            Some(literal) if depth == 0 && !repeated => self.run.push(literal),
            _ if depth == 0 => self.end_run(),
            _ => {}
        }
        Ok(())
    }

    fn anchor(&mut self, letter: char, depth: usize) -> Result<(), Refusal> {
        if matches!(self.rest.peek(), Some('*' | '+' | '?' | '{')) {
            return refuse("a repetition of ^ or $");
        }
        self.translated.push(letter);
        match (letter, depth) {
            ('^', 0) => {
                self.end_run();
                self.run.push(BEGIN);
            }
            (_, 0) => {
                self.run.push(END);
                self.end_run();
            }
            _ => {}
        }
        Ok(())
    }

    fn group(&mut self, depth: usize) -> Result<(), Refusal> {
        if self.rest.peek() == Some(&'?') {
            return refuse("(?…)");
        }
        if depth == MAX_DEPTH {
            return refuse(format!("groups more than {MAX_DEPTH} deep"));
        }
        self.translated.push_str("(?:");
        self.alternation(depth + 1)?;
        if !self.eat(')') {
            return refuse("a ( without a )");
        }
        self.translated.push(')');
        Ok(())
    }

    /// What follows a backslash outside of a class: a character that is meant literally, or `None` for a class.
    fn escape(&mut self) -> Result<Option<char>, Refusal> {
        let class = match self.rest.next() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some('s') => "[\\t\\n\\x0B\\f\\r\\x20]",
            Some('S') => "[^\\t\\n\\x0B\\f\\r\\x20]",
            Some(letter) if letter.is_ascii_punctuation() => return Ok(Some(letter)),
            _ => return refuse("an escape other than \\d, \\s, \\w and escaped punctuation"),
        };
        self.translated.push_str(class);
        Ok(None)
    }

    /// Reads on after `[`.
    fn class(&mut self) -> Result<(), Refusal> {
        self.translated.push('[');
        if self.eat('^') {
            self.translated.push('^');
        }
        if matches!(self.rest.peek(), Some(']')) {
            return refuse("a ] first inside […]");
        }
        let mut first = true;
        while !self.eat(']') {
            let from = self.class_letter(first)?;
            first = false;
            push_literal(&mut self.translated, from);
            let mut ahead = self.rest.clone();
            if ahead.next() != Some('-') || ahead.peek() == Some(&']') {
                continue;
            }
            self.rest = ahead;
            let to = self.class_letter(true)?;
            if from > to {
                return refuse("a range inside […] that ends before it starts");
            }
            self.translated.push('-');
            push_literal(&mut self.translated, to);
            if self.rest.peek() == Some(&'-') {
                return refuse("a - after a range inside […]; write \\-");
            }
        }
        self.translated.push(']');
        Ok(())
    }

    /// One character of a class; a minus only where it cannot be a range.
    fn class_letter(&mut self, first: bool) -> Result<char, Refusal> {
        let letter = self.rest.next();
        let next = self.rest.peek().copied();
        match letter {
            None => refuse("a [ without a ]"),
            Some('[') => refuse("a [ inside […]"),
            Some('\\') => match self.rest.next() {
                Some(letter) if letter.is_ascii_punctuation() => Ok(letter),
                _ => refuse("an escape inside […] other than escaped punctuation"),
            },
            Some('-') if !(first || next == Some(']')) => refuse("a - in the middle of […]; write \\-"),
            Some(letter @ ('&' | '~' | '-')) if next == Some(letter) => refuse("a set operation inside […]"),
            Some(letter) => Ok(letter),
        }
    }

    /// The repetition of the atom before, if there is one.
    fn repetition(&mut self) -> Result<bool, Refusal> {
        match self.rest.peek() {
            Some('{') => self.bound()?,
            Some('*' | '+' | '?') => self.translated.extend(self.rest.next()),
            _ => return Ok(false),
        }
        if self.eat('?') {
            self.translated.push('?');
        }
        match self.rest.peek() {
            Some('*' | '+' | '?' | '{') => refuse("a repeated repetition"),
            _ => Ok(true),
        }
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`.
    fn bound(&mut self) -> Result<(), Refusal> {
        self.translated.extend(self.rest.next());
        let least = self.count()?.ok_or_else(wrong_bound)?;
        if self.eat(',') {
            self.translated.push(',');
            if self.count()?.is_some_and(|most| most < least) {
                return Err(wrong_bound());
            }
        }
        if !self.eat('}') {
            return Err(wrong_bound());
        }
        self.translated.push('}');
        Ok(())
    }

    fn count(&mut self) -> Result<Option<u32>, Refusal> {
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            return Ok(None);
        }
        self.translated.push_str(&digits);
        match digits.parse::<u32>() {
            Ok(count) if count <= MAX_REPEAT => Ok(Some(count)),
            _ => refuse(format!("a repetition of more than {MAX_REPEAT} times")),
        }
    }
}

fn wrong_bound() -> Refusal {
    Refusal(
        "a { that is no repetition like {2}, {2,} or {2,5}; write \\{ for the character itself".to_owned(),
    )
}

/// A character as itself, inside or outside of a class.
fn push_literal(out: &mut String, letter: char) {
    if letter.is_ascii_punctuation() && !matches!(letter, '<' | '>' | '_') {
        out.push('\\');
    }
    out.push(letter);
}
