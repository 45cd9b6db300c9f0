//! Objects of ours that other objects of ours name: the way from a name to the object, and from the object to those that name it.
//!
//! What a watch has shown is read, never the API server. An object of another namespace is shown only where that lets the namespace in (invariant 6).

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};

use super::kind::Kind;
use super::live::OwnerKey;
use super::watch::Scope;

/// A kind that objects of other namespaces may name, where an object of it says so.
pub trait Host: Kind {
    /// Whether objects of this namespace may name it.
    fn lets_in(&self, namespace: &str) -> bool;
}

/// What a name leads to.
pub enum Sight<K> {
    /// The object.
    There(Arc<DeserializeGuard<K>>),
    /// There is none of that name.
    Absent,
    /// This operator does not watch that namespace.
    OutOfSight,
}

/// The stores of our kinds, and who names whom.
pub struct Peers {
    scope: Scope,
    stores: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    links: Arc<Links>,
}

impl Peers {
    /// No stores yet.
    #[must_use]
    pub fn new(scope: Scope, links: Arc<Links>) -> Self {
        Self {
            scope,
            stores: HashMap::new(),
            links,
        }
    }

    /// Objects of this kind can be named from now on.
    pub fn add<K: Kind>(&mut self, store: Store<DeserializeGuard<K>>) {
        self.stores.insert(TypeId::of::<K>(), Box::new(store));
    }

    /// An object is gone, and names nobody any more.
    pub fn forget(&self, from: &OwnerKey) {
        self.links.forget(from);
    }

    /// The object, as last seen. `from` gets a pass whenever it changes from now on, and when it comes into being.
    #[must_use]
    pub fn find<K: Kind>(&self, from: OwnerKey, namespace: &str, name: &str) -> Sight<K> {
        let to = OwnerKey {
            kind: K::KIND.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.links.tie(from, to);
        if !self.scope.has(namespace) {
            return Sight::OutOfSight;
        }
        let store = self.stores.get(&TypeId::of::<K>());
        let store = store.and_then(|store| store.downcast_ref::<Store<DeserializeGuard<K>>>());
        let found = store.and_then(|store| store.get(&ObjectRef::new(name).within(namespace)));
        found.map_or(Sight::Absent, Sight::There)
    }
}

/// Who names whom.
#[derive(Debug, Default)]
pub struct Links(Mutex<Ties>);

#[derive(Debug, Default)]
struct Ties {
    to: HashMap<OwnerKey, HashSet<OwnerKey>>,
    from: HashMap<OwnerKey, HashSet<OwnerKey>>,
}

impl Links {
    /// `from` names `to`.
    pub fn tie(&self, from: OwnerKey, to: OwnerKey) {
        let mut ties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ties.to.entry(to.clone()).or_default().insert(from.clone());
        ties.from.entry(from).or_default().insert(to);
    }

    /// `from` is gone.
    pub fn forget(&self, from: &OwnerKey) {
        let mut ties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for to in ties.from.remove(from).unwrap_or_default() {
            if let Some(named_by) = ties.to.get_mut(&to) {
                named_by.remove(from);
                if named_by.is_empty() {
                    ties.to.remove(&to);
                }
            }
        }
    }

    /// All that name it.
    #[must_use]
    pub fn naming(&self, to: &OwnerKey) -> Vec<OwnerKey> {
        let ties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ties.to.get(to).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, name: &str) -> OwnerKey {
        OwnerKey {
            kind: kind.into(),
            namespace: "city".into(),
            name: name.into(),
        }
    }

    #[test]
    fn an_object_leads_to_those_that_name_it_until_they_are_gone() {
        let links = Links::default();
        let (broker, air, water) = (key("ContextBroker", "vienna"), key("S", "air"), key("S", "water"));
        assert!(links.naming(&broker).is_empty());
        for from in [&air, &water, &air] {
            links.tie(from.clone(), broker.clone());
        }
        links.tie(air.clone(), key("ContextBroker", "graz"));
        let mut naming = links.naming(&broker);
        naming.sort();
        assert_eq!(naming, [air.clone(), water.clone()]);
        links.forget(&air);
        assert_eq!(links.naming(&broker), [water]);
        assert!(links.naming(&key("ContextBroker", "graz")).is_empty());
        links.forget(&air);
    }
}
