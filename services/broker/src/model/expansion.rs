//! How large a document becomes when its names are expanded: known before it is done, as a short name that stands for a
//! long IRI can be used very often.

use crate::context::Context;
use crate::model::json::Json;
use crate::model::{Refusal, refuse};

/// How many bytes the names of one request may have once they are expanded. As many as the largest body has.
pub const MAX_EXPANDED: usize = 8 * 1024 * 1024;

/// How many bytes the names of a document become, at most. More than [`MAX_EXPANDED`] is refused.
pub fn expanded_size(context: &Context, json: &Json) -> Result<usize, Refusal> {
    let names = count(json);
    let at_most = names
        .length
        .saturating_add(names.number.saturating_mul(context.longest()));
    if at_most <= MAX_EXPANDED {
        return Ok(at_most);
    }
    // Most contexts have some long IRI that few names stand for, so it is worth to look at each name.
    let exactly = exact(context, json);
    if exactly > MAX_EXPANDED {
        return refuse(format!(
            "the names of this document are more than {MAX_EXPANDED} bytes when they are expanded; send less at once, or a context with shorter IRIs"
        ));
    }
    Ok(exactly)
}

/// Names, or what may be one.
#[derive(Default)]
struct Names {
    number: usize,
    length: usize,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.number += 1;
        self.length += name.len();
    }

    fn add_all(&mut self, json: &Json) {
        match json {
            Json::Object(members) => {
                for (name, value) in members {
                    self.add(name);
                    self.add_texts(name, value);
                    self.add_all(value);
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.add_all(item)),
            _ => {}
        }
    }

    fn add_texts(&mut self, name: &str, value: &Json) {
        texts(name, value).for_each(|text| self.add(text));
    }
}

fn count(json: &Json) -> Names {
    let mut names = Names::default();
    names.add_all(json);
    names
}

/// Texts that are expanded as names are.
fn texts<'j>(name: &str, value: &'j Json) -> impl Iterator<Item = &'j str> {
    let expanded = matches!(name, "vocab" | "type" | "@type" | "objectType");
    let items = match value {
        Json::Array(items) if expanded => items.as_slice(),
        single if expanded => std::slice::from_ref(single),
        _ => &[],
    };
    items.iter().filter_map(Json::as_str)
}

fn exact(context: &Context, json: &Json) -> usize {
    match json {
        Json::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let texts: usize = texts(name, value).map(|text| context.expand(text).len()).sum();
                context.expand(name).len() + texts + exact(context, value)
            })
            .sum(),
        Json::Array(items) => items.iter().map(|item| exact(context, item)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn context(iri: &str) -> Context {
        Context::new(HashMap::from([("k".to_owned(), iri.to_owned())]), [], None)
    }

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn short_names_that_become_too_much_are_refused() {
        let long = context(&format!("https://a.example/{}", "x".repeat(1000)));
        let many = |item: &str| json(&format!("{{\"p\":[{}]}}", vec![item; 20_000].join(",")));
        assert!(expanded_size(&long, &many(r#"{"k":1}"#)).is_err());
        assert!(expanded_size(&long, &many(r#"{"vocab":["k"]}"#)).is_err());
        assert!(expanded_size(&long, &many(r#"{"vocab":"k"}"#)).is_err());
        assert!(expanded_size(&long, &many(r#""k""#)).unwrap() < MAX_EXPANDED);
        assert!(expanded_size(&context("urn:k"), &many(r#"{"k":1}"#)).unwrap() < MAX_EXPANDED);
    }

    #[test]
    fn one_long_iri_in_a_context_does_not_matter_to_other_names() {
        let long = context(&format!("https://a.example/{}", "x".repeat(1000)));
        let others = json(&format!(
            "{{\"p\":[{}]}}",
            vec![r#"{"urn:a":1}"#; 20_000].join(",")
        ));
        assert_eq!(expanded_size(&long, &others).unwrap(), 20_000 * 5 + 46);
    }
}
