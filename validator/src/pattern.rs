//! Patterns of schemas: those of ECMA 262 that take a time linear in the text. A schema may come from anywhere, and who
//! writes an entity chooses the text.

use regex::{Regex, RegexBuilder};

/// How many bytes a compiled pattern may take: some hundred times what patterns of data models need.
const MAX_SIZE: usize = 1 << 20;

/// The pattern as it is searched for, or why there is none.
pub(crate) fn compile(source: &str) -> Result<Regex, String> {
    let translated = jsonschema_regex::to_rust_regex(source)
        .map_err(|()| format!("{source:?} is no regular expression of ECMA 262"))?;
    let built = RegexBuilder::new(&translated)
        .size_limit(MAX_SIZE)
        .dfa_size_limit(MAX_SIZE)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("{source:?} is too large: more than {MAX_SIZE} bytes when compiled"),
        _ => format!(
            "{source:?} cannot be searched for in linear time: write it without (?=…), (?!…), (?<=…), (?<!…) and \\1"
        ),
    })
}
