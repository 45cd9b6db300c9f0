//! From the objects of an @context to terms with their IRIs. JSON-LD 1.1, section 4.2 of its API specification, as
//! far as NGSI-LD allows: no scoped contexts (clause 5.5.7), no reverse terms.

use crate::context::{Invalid, core, core_iri};
use crate::json::Json;
use crate::names::{MAX_IRI, is_uri};
use std::collections::{BTreeSet, HashMap};

/// How long a chain of terms that are defined by terms may be.
const MAX_CHAIN: usize = 32;
/// How many terms a context may have, all its parts together. The largest published ones have some ten thousand.
const MAX_TERMS: usize = 50_000;
/// How many bytes its terms and their IRIs may have together.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The terms of one or more @context objects, later ones winning.
#[derive(Debug, Default)]
pub struct Terms {
    /// IRI by term.
    pub iris: HashMap<String, String>,
    /// Terms that may be used as a prefix when names are compacted.
    pub prefixes: BTreeSet<String>,
    vocabulary: Option<String>,
}

fn invalid<T>(what: String) -> Result<T, Invalid> {
    Err(Invalid(what))
}

fn too_long<T>(what: &str) -> Result<T, Invalid> {
    invalid(format!("{what} is longer than {MAX_IRI} bytes"))
}

/// What a prefix or the vocabulary makes of a name. Each IRI is copied into every document that uses it, so none may be
/// long.
fn joined(base: &str, rest: &str) -> Result<String, Invalid> {
    if base.len() + rest.len() > MAX_IRI {
        return too_long("the IRI of a term");
    }
    Ok(format!("{base}{rest}"))
}

impl Terms {
    /// Adds one @context object on top of what is there.
    pub fn add(&mut self, object: &[(String, Json)]) -> Result<(), Invalid> {
        let mut layer: HashMap<&str, Definition<'_>> = HashMap::new();
        for (term, value) in object {
            if term.len() > MAX_IRI {
                return too_long("a term");
            }
            if term.starts_with('@') {
                self.keyword(term, value)?;
            } else if let Some(definition) = definition(term, value)? {
                layer.insert(term, definition);
            } else {
                self.iris.remove(term);
                self.prefixes.remove(term);
            }
        }
        if layer.len() > MAX_TERMS {
            return invalid(format!("it has more than {MAX_TERMS} terms"));
        }
        let mut resolved = Vec::with_capacity(layer.len());
        let mut bytes = 0;
        for (term, definition) in &layer {
            self.prefixes.remove(*term);
            if let Some(iri) = self.resolve(&layer, definition.iri, term, 0)? {
                bytes += term.len() + iri.len();
                check_bytes(bytes)?;
                // A term is an IRI or, as a prefix, the beginning of one: `tel:`.
                if !is_uri(&iri) && !is_uri(&format!("{iri}x")) {
                    return invalid(format!("the term {term} means {iri:?}, which is no absolute IRI"));
                }
                let ends_like_a_prefix = iri.ends_with([':', '/', '?', '#', '[', ']', '@']);
                if definition
                    .prefix
                    .unwrap_or(definition.simple && ends_like_a_prefix)
                {
                    self.prefixes.insert((*term).to_owned());
                }
                resolved.push(((*term).to_owned(), iri));
            }
        }
        self.iris.extend(resolved);
        if self.iris.len() > MAX_TERMS {
            return invalid(format!("its parts have more than {MAX_TERMS} terms together"));
        }
        check_bytes(self.iris.iter().map(|(term, iri)| term.len() + iri.len()).sum())
    }

    fn keyword(&mut self, keyword: &str, value: &Json) -> Result<(), Invalid> {
        match (keyword, value) {
            ("@vocab", Json::String(text)) if text.len() > MAX_IRI => return too_long("@vocab"),
            ("@vocab", Json::String(text)) if is_uri(text) => self.vocabulary = Some(text.clone()),
            ("@vocab", Json::String(text)) => {
                return invalid(format!("@vocab is {text:?}, which is no absolute IRI"));
            }
            ("@vocab", Json::Null) => self.vocabulary = None,
            (
                "@version" | "@base" | "@language" | "@direction" | "@protected",
                Json::Object(_) | Json::Array(_),
            ) => {
                return invalid(format!("{keyword} has {}", value.kind()));
            }
            ("@version" | "@base" | "@language" | "@direction" | "@protected", _) => {}
            _ => return invalid(format!("{keyword} is not supported there")),
        }
        Ok(())
    }

    /// The IRI that `value` stands for; `None` for an alias of a keyword.
    fn resolve(
        &self,
        layer: &HashMap<&str, Definition<'_>>,
        value: &str,
        term: &str,
        chain: usize,
    ) -> Result<Option<String>, Invalid> {
        if chain > MAX_CHAIN {
            return invalid(format!(
                "the term {term} is defined by itself or by too long a chain of terms"
            ));
        }
        if value.starts_with('@') {
            return Ok(None);
        }
        if value.len() > MAX_IRI {
            return too_long("the IRI of a term");
        }
        if let Some(iri) = core_iri(value) {
            return Ok(Some(iri.to_owned()));
        }
        if let Some((prefix, rest)) = value.split_once(':') {
            if rest.starts_with("//") || matches!(prefix, "urn" | "http" | "https") {
                return Ok(Some(value.to_owned()));
            }
            let base = match layer.get(prefix) {
                Some(definition) => self.resolve(layer, definition.iri, prefix, chain + 1)?,
                None => self.known_prefix(prefix),
            };
            return Ok(Some(match base {
                Some(base) => joined(&base, rest)?,
                None => value.to_owned(),
            }));
        }
        // A term that is defined as itself is meant to get the vocabulary.
        if value != term {
            if let Some(definition) = layer.get(value) {
                return self.resolve(layer, definition.iri, value, chain + 1);
            }
            if let Some(iri) = self.iris.get(value) {
                return Ok(Some(iri.clone()));
            }
        }
        let vocabulary = self.vocabulary.as_deref().unwrap_or(core::DEFAULT_VOCABULARY);
        joined(vocabulary, value).map(Some)
    }

    fn known_prefix(&self, prefix: &str) -> Option<String> {
        let of_core = core::PREFIXES
            .iter()
            .find(|(p, _)| *p == prefix)
            .map(|(_, iri)| (*iri).to_owned());
        of_core.or_else(|| self.iris.get(prefix).cloned())
    }
}

fn check_bytes(bytes: usize) -> Result<(), Invalid> {
    if bytes > MAX_BYTES {
        return invalid(format!(
            "its terms and their IRIs have more than {MAX_BYTES} bytes together"
        ));
    }
    Ok(())
}

struct Definition<'a> {
    iri: &'a str,
    simple: bool,
    prefix: Option<bool>,
}

/// One term's definition; `None` where it is taken away.
fn definition<'a>(term: &'a str, value: &'a Json) -> Result<Option<Definition<'a>>, Invalid> {
    match value {
        Json::Null => Ok(None),
        Json::String(iri) => Ok(Some(Definition {
            iri,
            simple: true,
            prefix: None,
        })),
        Json::Object(members) => {
            let mut found = Definition {
                iri: term,
                simple: false,
                prefix: None,
            };
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("@id", Json::String(iri)) => found.iri = iri,
                    ("@id", Json::Null) => return Ok(None),
                    ("@prefix", Json::Bool(prefix)) => found.prefix = Some(*prefix),
                    ("@context", _) => {
                        return invalid(format!(
                            "the term {term} has a scoped @context, which NGSI-LD does not allow"
                        ));
                    }
                    ("@reverse", _) => return invalid(format!("the term {term} is a reverse term")),
                    (
                        "@type" | "@container" | "@language" | "@direction" | "@index" | "@nest"
                        | "@protected",
                        _,
                    ) => {}
                    _ => {
                        return invalid(format!(
                            "the definition of the term {term} has a wrong member {name}"
                        ));
                    }
                }
            }
            Ok(Some(found))
        }
        _ => invalid(format!("the term {term} is defined by {}", value.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(layers: &[&str]) -> Result<Terms, Invalid> {
        let mut terms = Terms::default();
        for layer in layers {
            let Json::Object(members) = Json::parse(layer.as_bytes()).unwrap() else {
                panic!("no object")
            };
            terms.add(&members)?;
        }
        Ok(terms)
    }

    #[test]
    fn terms_are_resolved_through_prefixes_terms_and_the_vocabulary() {
        let terms = compile(&[r#"{"schema":"https://schema.org/","name":"schema:name","label":"name","own":"thing","x":{"@id":"ngsi-ld:x","@type":"@id"},"self":{"@type":"@id"},"phone":"tel:","id":"@id"}"#]).unwrap();
        assert_eq!(terms.iris["name"], "https://schema.org/name");
        assert_eq!(terms.iris["label"], "https://schema.org/name");
        assert_eq!(
            terms.iris["own"],
            "https://uri.etsi.org/ngsi-ld/default-context/thing"
        );
        assert_eq!(terms.iris["x"], "https://uri.etsi.org/ngsi-ld/x");
        assert_eq!(
            terms.iris["self"],
            "https://uri.etsi.org/ngsi-ld/default-context/self"
        );
        assert!(terms.prefixes.iter().eq(["phone", "schema"]));
        assert!(!terms.iris.contains_key("id"));
    }

    #[test]
    fn later_layers_win_and_may_use_earlier_terms() {
        let terms = compile(&[
            r#"{"a":"urn:a:","b":"urn:b","c":"urn:c"}"#,
            r#"{"b":"a:1","c":null}"#,
        ])
        .unwrap();
        assert_eq!(terms.iris["b"], "urn:a:1");
        assert!(!terms.iris.contains_key("c"));
    }

    #[test]
    fn what_ngsi_ld_does_not_allow_is_refused() {
        for bad in [
            r#"{"a":{"@id":"urn:a","@context":{}}}"#,
            r#"{"a":{"@reverse":"urn:a"}}"#,
            r#"{"a":5}"#,
            r#"{"a":"b:1","b":"a:1"}"#,
            r#"{"a":"b","b":"a"}"#,
            r#"{"@import":"urn:x"}"#,
            r#"{"a":{"@unknown":1}}"#,
            r#"{"@vocab":""}"#,
            r#"{"@vocab":"vocabulary/"}"#,
            r#"{"@vocab":"urn:a b"}"#,
            r#"{"a":"urn:a\u001furn:b"}"#,
            r#"{"a":"name with blanks"}"#,
        ] {
            assert!(matches!(compile(&[bad]), Err(Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn what_would_be_copied_into_every_name_is_short() {
        let long = format!("https://a.example/{}/", "x".repeat(MAX_IRI));
        let half = format!("https://a.example/{}/", "x".repeat(MAX_IRI / 2));
        let many = |count: usize, iri: &str| {
            let terms: Vec<_> = (0..count).map(|n| format!("\"t{n}\":\"{iri}\"")).collect();
            format!("{{{}}}", terms.join(","))
        };
        for bad in [
            format!(r#"{{"@vocab":"{long}"}}"#),
            format!(r#"{{"a":"{long}"}}"#),
            format!(r#"{{"a":{{"@id":"{long}"}}}}"#),
            format!(r#"{{"{long}":"urn:a"}}"#),
            format!(r#"{{"a":"{half}","b":"a:{half}"}}"#),
            format!(
                r#"{{"@vocab":"{half}","{}":{{"@type":"@id"}}}}"#,
                "x".repeat(MAX_IRI / 2)
            ),
            many(MAX_TERMS + 1, "urn:a"),
            many(MAX_BYTES / half.len(), &half),
        ] {
            let refused = compile(&[&bad]).unwrap_err().to_string();
            assert!(refused.len() < 200, "{refused}");
        }
        assert!(compile(&[&many(MAX_TERMS / 2, "urn:a"), &many(MAX_TERMS, "urn:a")]).is_ok());
        let others = many(2, "urn:b").replace("\"t", "\"u");
        assert!(compile(&[&many(MAX_TERMS - 1, "urn:a"), &others]).is_err());
    }

    #[test]
    fn a_term_that_is_defined_again_is_no_prefix_any_more() {
        let terms = compile(&[r#"{"a":"urn:a:"}"#, r#"{"a":"urn:b"}"#]).unwrap();
        assert!(terms.prefixes.is_empty());
    }
}
