//! Members of objects, and attributes of entities.

use super::{Extent, Run, Step, attribute};
use crate::node::{Check, Members, NodeId, Slot};
use crate::tape::{Kind, Value};
use std::borrow::Cow;
use std::collections::HashSet;

/// The member of entities that is not a part of them.
const CONTEXT: &str = "@context";

impl<'t> Run<'_, 't> {
    /// The schema's name of a member.
    pub(super) fn name<'n>(&'n self, name: &'n Value<'t>) -> Cow<'n, str> {
        let text = name.text().unwrap_or_default();
        match (self.reading.names, text) {
            (Some(names), Cow::Borrowed(text)) if !self.literal => names.in_schema(text),
            (Some(names), Cow::Owned(text)) if !self.literal => {
                Cow::Owned(names.in_schema(&text).into_owned())
            }
            (_, text) => text,
        }
    }

    /// The member that the schema calls so.
    pub(super) fn member(&self, value: &Value<'t>, name: &str) -> Option<Value<'t>> {
        let mut members = value.members();
        let found = members.find(|(key, _)| *self.name(key) == *name);
        found.map(|(_, value)| value)
    }

    pub(super) fn members<const TELL: bool>(&mut self, members: &Members, value: Value<'t>) -> bool {
        if value.kind() != Kind::Object {
            return true;
        }
        let (mut holds, mut needed, mut renamed) = (true, members.required, false);
        for (key, member) in value.members() {
            let name = self.name(&key);
            renamed |= !key.is_text(&name);
            let slot = members.table.get(&name);
            needed = needed.saturating_sub(usize::from(slot.is_some_and(|slot| slot.required)));
            if !self.one_member::<TELL>(members, slot, key, member) {
                holds = false;
                if !TELL {
                    return false;
                }
            }
        }
        // Names differ as they were sent. Two may still mean the same, and then nobody knows which of the values counts.
        if renamed && !self.meanings_differ(&value) {
            return self.wrong::<TELL>(value, || "its members mean different things".to_owned());
        }
        if needed > 0 && self.reading.extent == Extent::Whole {
            holds = false;
            if TELL {
                self.tell_missing(members, value);
            }
        }
        holds
    }

    fn meanings_differ(&self, value: &Value<'t>) -> bool {
        let mut seen = HashSet::new();
        value
            .members()
            .all(|(key, _)| seen.insert(self.name(&key).into_owned()))
    }

    fn one_member<const TELL: bool>(
        &mut self,
        members: &Members,
        slot: Option<&Slot>,
        key: Value<'t>,
        member: Value<'t>,
    ) -> bool {
        let named = slot.and_then(|slot| slot.node);
        if members.patterns.is_empty() {
            return match named {
                Some(NodeId::ANYTHING) => true,
                Some(schema) => self.member_is::<TELL>(schema, key, member),
                None => self.additional::<TELL>(members, key, member),
            };
        }
        let mut holds = named.is_none_or(|schema| self.member_is::<TELL>(schema, key, member));
        let mut matched = named.is_some();
        for (pattern, schema) in &members.patterns {
            let pattern = self.arena.pattern(*pattern);
            if pattern.is_some_and(|pattern| pattern.is_match(&self.name(&key))) {
                matched = true;
                holds &= self.member_is::<TELL>(*schema, key, member);
            }
        }
        holds && (matched || self.additional::<TELL>(members, key, member))
    }

    fn additional<const TELL: bool>(&mut self, members: &Members, key: Value<'t>, member: Value<'t>) -> bool {
        match members.additional {
            NodeId::ANYTHING => true,
            _ if members.of_entity && key.is_text(CONTEXT) => true,
            schema => self.other_member::<TELL>(schema, key, member),
        }
    }

    /// A member that no keyword names.
    pub(super) fn other_member<const TELL: bool>(
        &mut self,
        schema: NodeId,
        key: Value<'t>,
        member: Value<'t>,
    ) -> bool {
        if schema != NodeId::NOTHING {
            return self.member_is::<TELL>(schema, key, member);
        }
        self.within::<TELL>(
            || Step::Name(key.text().unwrap_or_default()),
            |run| run.wrong::<TELL>(member, || "the model has no such member".to_owned()),
        )
    }

    pub(super) fn member_is<const TELL: bool>(
        &mut self,
        schema: NodeId,
        key: Value<'t>,
        member: Value<'t>,
    ) -> bool {
        self.within::<TELL>(
            || Step::Name(key.text().unwrap_or_default()),
            |run| run.node::<TELL>(schema, member),
        )
    }

    fn tell_missing(&mut self, members: &Members, value: Value<'t>) {
        for slot in members.table.slots().iter().filter(|slot| slot.required) {
            if self.member(&value, &slot.name).is_none() {
                self.wrong::<true>(value, || format!("it has the member {:?}", slot.name));
            }
        }
    }

    pub(super) fn names<const TELL: bool>(&mut self, schema: NodeId, value: Value<'t>) -> bool {
        let mut holds = true;
        for (key, _) in value.members() {
            // The name as the schema has it is in no text, so it is asked only where it is the one that was sent.
            holds &= *self.name(&key) != *key.text().unwrap_or_default()
                || self.member_is::<TELL>(schema, key, key);
        }
        holds
    }

    pub(super) fn dependent<const TELL: bool>(
        &mut self,
        name: &str,
        needed: &[Box<str>],
        value: Value<'t>,
    ) -> bool {
        if self.member(&value, name).is_none() {
            return true;
        }
        let mut holds = true;
        for other in needed {
            if self.member(&value, other).is_none() {
                holds = self.wrong::<TELL>(value, || format!("with {name:?} it has the member {other:?}"));
            }
        }
        holds
    }

    /// Checks the attributes that a document has, each by itself.
    pub(super) fn part<const TELL: bool>(&mut self, id: NodeId, value: Value<'t>) -> bool {
        let Some(node) = self.arena.node(id) else {
            return false;
        };
        let mut holds = true;
        for check in &node.checks {
            holds &= match check {
                Check::Members(members) => self.attributes::<TELL>(members, value),
                Check::AllOf(all) => {
                    let wrong = all.iter().filter(|schema| !self.part::<TELL>(**schema, value));
                    wrong.count() == 0
                }
                Check::Ref(schema) => self.part::<TELL>(*schema, value),
                _ => true,
            };
        }
        holds
    }

    fn attributes<const TELL: bool>(&mut self, members: &Members, value: Value<'t>) -> bool {
        if self.reading.names.is_some() && !self.meanings_differ(&value) {
            return self.wrong::<TELL>(value, || "its members mean different things".to_owned());
        }
        let mut holds = true;
        for (key, member) in value.members() {
            if attribute::deletes(&member) {
                continue;
            }
            let slot = members.table.get(&self.name(&key));
            holds &= self.one_member::<TELL>(members, slot, key, member);
        }
        holds
    }
}
