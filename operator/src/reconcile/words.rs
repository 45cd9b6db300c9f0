//! Words of others (kubelets, registries, provisioners, whoever writes an event) before they stand in a status or an event of ours.

/// Longest text of others that is worth a condition, in characters.
const LONGEST: usize = 400;

/// One line of plain characters, at most 400 of them: breaks and control characters, those that turn the direction of writing included, are one
/// space.
#[must_use]
pub fn plain(words: &str) -> String {
    let clean: String = words
        .chars()
        .map(|c| if shows_nothing(c) { ' ' } else { c })
        .collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(&line)),
    }
}

/// Control characters, and those of Unicode's Bidirectional Algorithm (UAX #9, 2.1 to 2.4) and zero width, by which words can look like others.
fn shows_nothing(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_become_one_plain_line() {
        assert_eq!(plain(" a\tb\r\n\n c \u{1b}[31mred\u{0}"), "a b c [31mred");
        assert_eq!(plain("safe\u{202e}txt"), "safe txt");
        assert_eq!(plain("\n \u{feff}"), "");
        let long = plain(&"ä".repeat(1000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (401, true));
    }
}
