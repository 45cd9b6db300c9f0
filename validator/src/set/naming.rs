//! What the names of a document are in a schema: those that the schema's context has for what they mean.

use crate::evaluate::Names;
use mim_grammar::context::{Context, keeps_its_name};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// How many names are remembered. Data models have some hundred, and who sends more pays for them.
const MAX_KNOWN: usize = 2_048;

/// Names of one context as another one has them. Each is looked up once.
#[derive(Debug)]
pub(super) struct Naming {
    given: Arc<Context>,
    of_model: Arc<Context>,
    /// `None`: it is called the same.
    known: RefCell<HashMap<Box<str>, Option<Box<str>>>>,
}

impl Naming {
    pub fn new(given: Arc<Context>, of_model: Arc<Context>) -> Self {
        Self {
            given,
            of_model,
            known: RefCell::default(),
        }
    }

    fn meant<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if keeps_its_name(name) {
            return Cow::Borrowed(name);
        }
        let iri = self.given.expand(name);
        let meant = self.of_model.compact(&iri);
        if meant == name {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(meant.into_owned())
        }
    }
}

impl Names for Naming {
    fn in_schema<'n>(&'n self, name: &'n str) -> Cow<'n, str> {
        if let Some(known) = self.known.borrow().get(name) {
            return known
                .as_ref()
                .map_or(Cow::Borrowed(name), |other| Cow::Owned(other.to_string()));
        }
        let meant = self.meant(name);
        let mut known = self.known.borrow_mut();
        if known.len() < MAX_KNOWN {
            let other = (meant != name).then(|| Box::from(&*meant));
            known.insert(name.into(), other);
        }
        meant
    }
}
