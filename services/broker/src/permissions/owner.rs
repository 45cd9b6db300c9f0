//! Whose a subscription is, and what that subject sees: kept with the subscription, apart from what the client asked for.

use crate::model::Refusal;
use crate::model::json::Json;
use crate::permissions::{Permissions, Rules, Who, wire};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The owner of a subscription. It is told what it sees, as of the last time that it wrote the subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Owner {
    /// Who.
    pub subject: String,
    rules: Arc<Rules>,
}

/// How it is kept: rules as they came.
#[derive(Serialize, Deserialize)]
struct Kept {
    subject: String,
    read: String,
}

impl Owner {
    /// The rules of what it sees.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Takes the rules of another owner who has the same, so that they are in memory once.
    pub fn share(&mut self, rules: &Arc<Rules>) {
        if self.rules.text == rules.text {
            self.rules = Arc::clone(rules);
        }
    }
}

impl From<&Permissions> for Owner {
    fn from(permissions: &Permissions) -> Self {
        Self {
            subject: permissions.subject.clone(),
            rules: Arc::clone(&permissions.read),
        }
    }
}

impl From<Kept> for Owner {
    fn from(kept: Kept) -> Self {
        if kept.read.is_empty() {
            return Self {
                subject: kept.subject,
                rules: Arc::default(),
            };
        }
        let json = Json::parse_stored(&kept.read).map_err(|e| Refusal(e.to_string()));
        let rules = json.and_then(|json| wire::rules(&json)).unwrap_or_else(|why| {
            // What a newer version wrote: nothing is seen until that version reads it.
            tracing::error!(%why, "what the owner of a subscription sees cannot be read by this version");
            Rules::default()
        });
        Self {
            subject: kept.subject,
            rules: Arc::new(Rules {
                text: kept.read.into(),
                ..rules
            }),
        }
    }
}

impl From<Owner> for Kept {
    fn from(owner: Owner) -> Self {
        Self {
            subject: owner.subject,
            read: owner.rules.text.to_string(),
        }
    }
}

/// Rules of one text are the same.
impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.subject == other.subject && self.rules.text == other.rules.text
    }
}

impl Who {
    /// The owner of what it makes; `None`: nobody in particular.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::Platform => None,
            Self::Subject(permissions) => Some(Owner::from(&**permissions)),
        }
    }

    /// Whether it may change a subscription of this owner. Who says where one is told is told what its owner sees: an
    /// administrator who sees less than everything changes only its own.
    #[must_use]
    pub fn may_change(&self, owner: Option<&Owner>) -> bool {
        match self {
            Self::Platform => true,
            Self::Subject(permissions) => {
                permissions.read.are_unlimited()
                    || owner.is_some_and(|owner| owner.subject == permissions.subject)
            }
        }
    }

    /// Whose subscriptions it sees, and may take away; `None`: all.
    #[must_use]
    pub fn owns_only(&self) -> Option<&str> {
        match self {
            Self::Subject(permissions) if !permissions.admin => Some(&permissions.subject),
            _ => None,
        }
    }
}
