//! Which changes trigger a subscription (clauses 5.2.12 and 5.8.6).

use crate::model::diff::{InstanceChange, What};
use crate::model::entity::Entity;
use serde::{Deserialize, Serialize};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// An entity is new. Its attributes are new too.
    EntityCreated,
    /// Any of the three kinds of changes of attributes.
    EntityUpdated,
    /// An entity is gone.
    EntityDeleted,
    /// An attribute is new.
    AttributeCreated,
    /// An attribute says something else than before.
    AttributeUpdated,
    /// An attribute is gone, alone or with its entity.
    AttributeDeleted,
}

/// What counts where a subscription does not say.
pub const DEFAULT: [Trigger; 2] = [Trigger::AttributeCreated, Trigger::AttributeUpdated];

impl Trigger {
    const ALL: [(&'static str, Self); 6] = [
        ("entityCreated", Self::EntityCreated),
        ("entityUpdated", Self::EntityUpdated),
        ("entityDeleted", Self::EntityDeleted),
        ("attributeCreated", Self::AttributeCreated),
        ("attributeUpdated", Self::AttributeUpdated),
        ("attributeDeleted", Self::AttributeDeleted),
    ];

    /// The trigger of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, trigger)| *trigger)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, t)| *t == self)
            .map_or("", |(name, _)| name)
    }
}

/// What one write did to one entity.
#[derive(Clone, Copy, Debug)]
pub struct Change<'e> {
    /// As it was; `None`: it was not there.
    pub before: Option<&'e Entity>,
    /// As it is; `None`: it is gone.
    pub after: Option<&'e Entity>,
    /// Its instances that were touched.
    pub instances: &'e [InstanceChange<'e>],
}

impl<'e> Change<'e> {
    /// The entity as it is, or was.
    #[must_use]
    pub fn entity(&self) -> Option<&'e Entity> {
        self.after.or(self.before)
    }
}

/// What triggers a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggers {
    kinds: Vec<Trigger>,
    watched: Vec<String>,
}

impl Triggers {
    /// Of kinds of changes, and attributes by IRI; none of either stands for what the standard says.
    #[must_use]
    pub fn new(kinds: &[Trigger], watched: &[String]) -> Self {
        let mut all = if kinds.is_empty() {
            DEFAULT.to_vec()
        } else {
            kinds.to_vec()
        };
        if all.contains(&Trigger::EntityUpdated) {
            all.extend([
                Trigger::AttributeCreated,
                Trigger::AttributeUpdated,
                Trigger::AttributeDeleted,
            ]);
        }
        Self {
            kinds: all,
            watched: watched.to_vec(),
        }
    }

    /// Whether the change is one of those that count, of an attribute that is watched.
    #[must_use]
    pub fn count(&self, change: &Change<'_>) -> bool {
        let has_watched = |entity: &Entity| {
            self.watched.is_empty() || self.watched.iter().any(|iri| entity.attributes.contains_key(iri))
        };
        let as_a_whole = match (change.before, change.after) {
            (Some(before), None) => self.kinds.contains(&Trigger::EntityDeleted) && has_watched(before),
            (None, Some(after)) => self.kinds.contains(&Trigger::EntityCreated) && has_watched(after),
            _ => false,
        };
        as_a_whole || change.instances.iter().any(|instance| self.counts(instance))
    }

    fn counts(&self, instance: &InstanceChange<'_>) -> bool {
        let kind = match instance.what() {
            What::Created => Trigger::AttributeCreated,
            What::Updated => Trigger::AttributeUpdated,
            What::Deleted => Trigger::AttributeDeleted,
            What::Repeated => return false,
        };
        self.kinds.contains(&kind)
            && (self.watched.is_empty() || self.watched.iter().any(|iri| iri == instance.iri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::diff::changes;
    use crate::model::stored;
    use jiff::Timestamp;

    fn entity(attributes: &str) -> Entity {
        Entity {
            id: "urn:x:1".to_owned(),
            types: vec!["urn:T".to_owned()],
            scope: Vec::new(),
            attributes: stored::read(attributes).unwrap(),
            created: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
        }
    }

    fn counts(kinds: &[Trigger], watched: &[&str], before: Option<&Entity>, after: Option<&Entity>) -> bool {
        let watched: Vec<String> = watched.iter().map(|iri| (*iri).to_owned()).collect();
        let instances = changes(before.map(|e| &e.attributes), after.map(|e| &e.attributes));
        Triggers::new(kinds, &watched).count(&Change {
            before,
            after,
            instances: &instances,
        })
    }

    #[test]
    fn each_trigger_counts_its_kind_of_change_only() {
        use Trigger::{
            AttributeCreated, AttributeDeleted, AttributeUpdated, EntityCreated, EntityDeleted, EntityUpdated,
        };
        let one = entity(r#"{"urn:a":[{"type":"Property","value":1}]}"#);
        let other = entity(r#"{"urn:a":[{"type":"Property","value":2,"modifiedAt":"m"}]}"#);
        let again = entity(r#"{"urn:a":[{"type":"Property","value":1,"modifiedAt":"m"}]}"#);
        let more =
            entity(r#"{"urn:a":[{"type":"Property","value":1}],"urn:b":[{"type":"Property","value":2}]}"#);
        let cases: [(Option<&Entity>, Option<&Entity>, &[Trigger]); 6] = [
            (
                None,
                Some(&one),
                &[EntityCreated, AttributeCreated, EntityUpdated],
            ),
            (
                Some(&one),
                None,
                &[EntityDeleted, AttributeDeleted, EntityUpdated],
            ),
            (Some(&one), Some(&other), &[AttributeUpdated, EntityUpdated]),
            (Some(&one), Some(&again), &[]),
            (Some(&one), Some(&more), &[AttributeCreated, EntityUpdated]),
            (Some(&more), Some(&one), &[AttributeDeleted, EntityUpdated]),
        ];
        for (before, after, expected) in cases {
            for (name, trigger) in Trigger::ALL {
                let counted = counts(&[trigger], &[], before, after);
                assert_eq!(
                    counted,
                    expected.contains(&trigger),
                    "{name}: {before:?} {after:?}"
                );
            }
            let by_default = expected.iter().any(|t| DEFAULT.contains(t));
            assert_eq!(counts(&[], &[], before, after), by_default);
        }
    }

    #[test]
    fn only_watched_attributes_count_where_some_are() {
        let one =
            entity(r#"{"urn:a":[{"type":"Property","value":1}],"urn:b":[{"type":"Property","value":1}]}"#);
        let other =
            entity(r#"{"urn:a":[{"type":"Property","value":2}],"urn:b":[{"type":"Property","value":1}]}"#);
        assert!(counts(&[], &["urn:a"], Some(&one), Some(&other)));
        assert!(!counts(&[], &["urn:b"], Some(&one), Some(&other)));
        assert!(!counts(&[Trigger::EntityDeleted], &["urn:c"], Some(&one), None));
        assert!(counts(&[Trigger::EntityDeleted], &["urn:b"], Some(&one), None));
        assert!(!counts(
            &[Trigger::AttributeDeleted],
            &["urn:c"],
            Some(&one),
            None
        ));
        assert!(counts(&[Trigger::AttributeDeleted], &["urn:b"], Some(&one), None));
        assert!(!counts(&[Trigger::EntityCreated], &["urn:c"], None, Some(&one)));
    }
}
