//! Tokens that were verified: looking one up costs a hundredth of verifying it.
//!
//! A worker has its own. What is remembered holds as long as the token, the settings and the issuer's keys do.

use super::claims::Bound;
use super::keys::Keys;
use super::subject::Subject;
use crate::settings::Settings;
use ring::digest::{SHA256, digest as hash};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// How many tokens are remembered at least, when so many are in use; twice as many at most.
const REMEMBERED: usize = 5000;

/// A token by its hash: the token itself is kept nowhere.
pub type Digest = [u8; 32];

/// The hash of a token.
#[must_use]
pub fn digest(token: &str) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash(&SHA256, token.as_bytes()).as_ref());
    digest
}

/// A token that was verified.
#[derive(Clone)]
pub struct Verified {
    /// Whom it is of.
    pub subject: Arc<Subject>,
    /// Until when, in seconds of Unix time.
    pub until: u64,
    /// What must be shown with it.
    pub bound_to: Bound,
    /// The number of its issuer in the settings.
    pub issuer: usize,
    /// The keys by which it was verified.
    pub keys: Arc<Keys>,
}

/// What is remembered: a young half and an old one. When the young half is full it becomes the old one, and what nobody has used since goes.
#[derive(Default)]
pub struct Tokens(RefCell<Halves>);

#[derive(Default)]
struct Halves {
    young: HashMap<Digest, Verified>,
    old: HashMap<Digest, Verified>,
    /// The settings by which all were verified.
    by: u64,
}

impl Tokens {
    /// A token that is known and holds now.
    #[must_use]
    pub fn known(&self, digest: &Digest, settings: &Settings, now: u64) -> Option<Verified> {
        let mut halves = self.0.borrow_mut();
        if halves.by != settings.number {
            *halves = Halves {
                by: settings.number,
                ..Halves::default()
            };
        }
        let found = if let Some(found) = halves.young.get(digest) {
            found.clone()
        } else {
            let found = halves.old.remove(digest)?;
            halves.insert(*digest, found.clone());
            found
        };
        let issuer = settings.issuers.get(found.issuer)?;
        let keys = issuer.keyring.keys().ok()?;
        (now < found.until && Arc::ptr_eq(&keys, &found.keys)).then_some(found)
    }

    /// Remembers a token that was verified by these settings.
    pub fn remember(&self, digest: Digest, settings: &Settings, verified: &Verified) {
        let mut halves = self.0.borrow_mut();
        if halves.by == settings.number {
            halves.insert(digest, verified.clone());
        }
    }
}

impl Halves {
    fn insert(&mut self, digest: Digest, verified: Verified) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}
