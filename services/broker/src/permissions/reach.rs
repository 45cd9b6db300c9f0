//! Whose data a statement is about, and how much of it.

use crate::model::entity::Entity;
use crate::permissions::Rules;
use crate::store::TenantId;

/// The entities of a tenant that somebody sees. Whatever reads entities asks for it, so nothing is read by accident of
/// which nobody has said who sees it.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'r> {
    /// Whose.
    pub tenant: TenantId,
    rules: Option<&'r Rules>,
}

impl<'r> Reach<'r> {
    /// All entities: for the broker's own work, and for those who may see everything.
    #[must_use]
    pub fn all(tenant: TenantId) -> Self {
        Self { tenant, rules: None }
    }

    /// What rules allow.
    #[must_use]
    pub fn of(tenant: TenantId, rules: &'r Rules) -> Self {
        Self {
            tenant,
            rules: Some(rules).filter(|rules| !rules.are_unlimited()),
        }
    }

    /// What limits it; `None`: nothing.
    #[must_use]
    pub fn rules(self) -> Option<&'r Rules> {
        self.rules
    }

    /// The entity as it is seen; `None`: it is not.
    #[must_use]
    pub fn seen(self, entity: Entity) -> Option<Entity> {
        match self.rules {
            None => Some(entity),
            Some(rules) => rules.seen(entity),
        }
    }
}
