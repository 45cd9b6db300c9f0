//! From the objects of an @context to terms with their IRIs. JSON-LD 1.1, section 4.2 of its API specification, as
//! far as NGSI-LD allows: no scoped contexts (clause 5.5.7), no reverse terms.

use crate::context::{ContextError, core, core_iri};
use crate::model::json::Json;
use crate::model::names::is_uri;
use std::collections::HashMap;

/// How long a chain of terms that are defined by terms may be.
const MAX_CHAIN: usize = 32;

/// The terms of one or more @context objects, later ones winning.
#[derive(Debug, Default)]
pub struct Terms {
    /// IRI by term.
    pub iris: HashMap<String, String>,
    /// Terms that may be used as a prefix when names are compacted.
    pub prefixes: Vec<String>,
    vocabulary: Option<String>,
}

fn invalid<T>(what: String) -> Result<T, ContextError> {
    Err(ContextError::Invalid(what))
}

impl Terms {
    /// Adds one @context object on top of what is there.
    pub fn add(&mut self, object: &[(String, Json)]) -> Result<(), ContextError> {
        let mut layer: HashMap<&str, Definition<'_>> = HashMap::new();
        for (term, value) in object {
            if term.starts_with('@') {
                self.keyword(term, value)?;
            } else if let Some(definition) = definition(term, value)? {
                layer.insert(term, definition);
            } else {
                self.iris.remove(term);
            }
        }
        let mut resolved = Vec::with_capacity(layer.len());
        for (term, definition) in &layer {
            if let Some(iri) = self.resolve(&layer, definition.iri, term, 0)? {
                // A term is an IRI or, as a prefix, the beginning of one: `tel:`.
                if !is_uri(&iri) && !is_uri(&format!("{iri}x")) {
                    return invalid(format!("the term {term} means {iri:?}, which is no absolute IRI"));
                }
                let ends_like_a_prefix = iri.ends_with([':', '/', '?', '#', '[', ']', '@']);
                if definition
                    .prefix
                    .unwrap_or(definition.simple && ends_like_a_prefix)
                {
                    self.prefixes.push((*term).to_owned());
                }
                resolved.push(((*term).to_owned(), iri));
            }
        }
        self.iris.extend(resolved);
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, value: &Json) -> Result<(), ContextError> {
        match (keyword, value) {
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
    ) -> Result<Option<String>, ContextError> {
        if chain > MAX_CHAIN {
            return invalid(format!(
                "the term {term} is defined by itself or by too long a chain of terms"
            ));
        }
        if value.starts_with('@') {
            return Ok(None);
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
            return Ok(Some(
                base.map_or_else(|| value.to_owned(), |base| format!("{base}{rest}")),
            ));
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
        Ok(Some(format!(
            "{}{value}",
            self.vocabulary.as_deref().unwrap_or(core::DEFAULT_VOCABULARY)
        )))
    }

    fn known_prefix(&self, prefix: &str) -> Option<String> {
        let of_core = core::PREFIXES
            .iter()
            .find(|(p, _)| *p == prefix)
            .map(|(_, iri)| (*iri).to_owned());
        of_core.or_else(|| self.iris.get(prefix).cloned())
    }
}

struct Definition<'a> {
    iri: &'a str,
    simple: bool,
    prefix: Option<bool>,
}

/// One term's definition; `None` where it is taken away.
fn definition<'a>(term: &'a str, value: &'a Json) -> Result<Option<Definition<'a>>, ContextError> {
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
    use proptest::prelude::*;

    fn compile(layers: &[&str]) -> Result<Terms, ContextError> {
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
        let mut prefixes = terms.prefixes.clone();
        prefixes.sort_unstable();
        assert_eq!(prefixes, ["phone", "schema"]);
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
            assert!(matches!(compile(&[bad]), Err(ContextError::Invalid(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_object_compiles_or_is_refused(members in prop::collection::vec(("[a-e:@]{1,3}", "[a-e:@/]{0,6}"), 0..10)) {
            let members: Vec<_> = members.into_iter().map(|(k, v)| (k, Json::String(v))).collect();
            let _ = Terms::default().add(&members);
        }
    }
}
