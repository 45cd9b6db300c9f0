use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;
use std::path::Path;

/// The texts that were kept of a grammar, with their names.
fn seeds(grammar: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(grammar);
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut seeds: Vec<_> = files
        .map(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            (path.display().to_string(), text)
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{}", folder.display());
    seeds
}

/// A seed in which short parts are replaced by letters of the grammar, or by parts of another seed; or such letters
/// alone.
fn any_text(grammar: &str, letters: &str) -> impl Strategy<Value = String> + use<> {
    let seeds: Vec<String> = seeds(grammar).into_iter().map(|(_, text)| text).collect();
    let of_letters = |most: usize| string_regex(&format!("{letters}{{0,{most}}}")).unwrap();
    let seed = || select(seeds.clone());
    let part = (seed(), any::<Index>(), 0..20_usize).prop_map(|(seed, at, length)| {
        let at = at.index(seed.len() + 1);
        seed.chars().skip(at).take(length).collect::<String>()
    });
    let edit = (any::<Index>(), 0..4_usize, prop_oneof![of_letters(3), part]);
    let edited = (seed(), proptest::collection::vec(edit, 0..4)).prop_map(|(mut text, edits)| {
        for (at, length, piece) in edits {
            let at = at.index(text.chars().count() + 1);
            let before: String = text.chars().take(at).collect();
            let after: String = text.chars().skip(at + length).collect();
            text = before + &piece + &after;
        }
        text
    });
    prop_oneof![
        3 => edited,
        1 => of_letters(40),
    ]
}

fn holds_of_the_seeds(grammar: &str, property: impl Fn(&str)) {
    for (name, text) in seeds(grammar) {
        // Shown where the property does not hold.
        println!("{name}");
        property(&text);
    }
}

#[test]
fn every_text_that_was_kept_holds_its_property() {
    holds_of_the_seeds("q", q);
    holds_of_the_seeds("geo", geo);
    holds_of_the_seeds("json_ld", |text| json_ld(text.as_bytes()));
    holds_of_the_seeds("time", time);
    holds_of_the_seeds("scope", scope);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn row_broker_any_q_is_refused_shortly_or_means_the_same_written_again(
        text in any_text("q", "[ab.;|(){}\\[\\]=!<>~\"\\\\0-9,*:' é-]"),
    ) {
        q(&text);
    }

    #[test]
    fn row_broker_any_geo_query_is_refused_shortly_or_answered_without_contradiction(
        text in any_text("geo", "[0-9.,\\[\\]e&=;-]"),
    ) {
        geo(&text);
    }

    #[test]
    fn row_broker_any_entity_with_its_context_is_refused_shortly_or_comes_back(
        text in any_text("json_ld", "[a-c\\[\\]{}\":,@/#0-9. -]"),
    ) {
        json_ld(text.as_bytes());
    }

    #[test]
    fn row_broker_any_temporal_query_is_refused_shortly_or_means_one_interval(
        text in any_text("time", "[0-9TZPYMDHSW:.,&=-]"),
    ) {
        time(&text);
    }

    #[test]
    fn row_broker_any_scope_query_is_refused_shortly_or_means_the_same_written_again(
        text in any_text("scope", "[A-C/+#,|;()*.é '\n-]"),
    ) {
        scope(&text);
    }
}
