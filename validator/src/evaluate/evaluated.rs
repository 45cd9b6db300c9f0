//! What `unevaluatedItems` and `unevaluatedProperties` speak of: what no other keyword of the schema, nor of those that it
//! holds in the same place, has looked at (JSON Schema 2020-12 core, §11.2 and §11.3).

use super::{Run, Step};
use crate::node::{Check, Node, NodeId};
use crate::tape::{Kind, Value};

/// Which parts of a value have been looked at, in their order.
type Seen = Vec<bool>;

impl<'t> Run<'_, 't> {
    pub(super) fn unevaluated_items<const TELL: bool>(
        &mut self,
        node: &Node,
        schema: NodeId,
        value: Value<'t>,
    ) -> bool {
        if value.kind() != Kind::Array {
            return true;
        }
        let mut seen = vec![false; value.items().count()];
        self.look(node, value, &mut seen, false);
        let mut holds = true;
        for ((number, item), _) in value.items().enumerate().zip(&seen).filter(|(_, seen)| !**seen) {
            holds &= match schema {
                NodeId::NOTHING => self.within::<TELL>(
                    || Step::Item(number),
                    |run| run.wrong::<TELL>(item, || "the model has no such item".to_owned()),
                ),
                schema => self.within::<TELL>(|| Step::Item(number), |run| run.node::<TELL>(schema, item)),
            };
        }
        holds
    }

    pub(super) fn unevaluated_members<const TELL: bool>(
        &mut self,
        node: &Node,
        schema: NodeId,
        value: Value<'t>,
    ) -> bool {
        if value.kind() != Kind::Object {
            return true;
        }
        let mut seen = vec![false; value.members().count()];
        self.look(node, value, &mut seen, false);
        let mut holds = true;
        for ((key, member), _) in value.members().zip(&seen).filter(|(_, seen)| !**seen) {
            holds &= self.other_member::<TELL>(schema, key, member);
        }
        holds
    }

    /// Notes what the checks of a schema that holds have looked at. `all`: also its own `unevaluated…`.
    fn look(&mut self, node: &Node, value: Value<'t>, seen: &mut Seen, all: bool) {
        for check in &node.checks {
            match check {
                Check::Items { first, says_rest, .. } if value.kind() == Kind::Array => {
                    let count = if *says_rest { seen.len() } else { first.len() };
                    seen.iter_mut().take(count).for_each(|seen| *seen = true);
                }
                Check::Contains {
                    node,
                    evaluates: true,
                    ..
                } => self.look_at_contained(*node, value, seen),
                Check::Members(members) if value.kind() == Kind::Object => {
                    for ((key, _), seen) in value.members().zip(seen.iter_mut()) {
                        *seen |= members.evaluates_additional || self.is_named(members, &key);
                    }
                }
                Check::UnevaluatedItems(_) if all && value.kind() == Kind::Array => seen.fill(true),
                Check::UnevaluatedProperties(_) if all && value.kind() == Kind::Object => seen.fill(true),
                Check::AllOf(schemas) | Check::AnyOf(schemas) | Check::ExactlyOne(schemas) => {
                    for schema in schemas {
                        self.look_into(*schema, value, seen);
                    }
                }
                Check::Ref(schema) => self.look_into(*schema, value, seen),
                Check::DependentSchema(name, schema) if self.member(&value, name).is_some() => {
                    self.look_into(*schema, value, seen);
                }
                Check::If {
                    condition,
                    then,
                    otherwise,
                } => {
                    let holds = self.node::<false>(*condition, value);
                    if holds {
                        self.look_into(*condition, value, seen);
                    }
                    self.look_into(if holds { *then } else { *otherwise }, value, seen);
                }
                _ => {}
            }
        }
    }

    fn look_into(&mut self, id: NodeId, value: Value<'t>, seen: &mut Seen) {
        if id == NodeId::ANYTHING || !self.node::<false>(id, value) {
            return;
        }
        if let Some(node) = self.arena.node(id) {
            self.look(node, value, seen, true);
        }
    }

    fn look_at_contained(&mut self, schema: NodeId, value: Value<'t>, seen: &mut Seen) {
        for (item, seen) in value.items().zip(seen.iter_mut()) {
            *seen |= self.node::<false>(schema, item);
        }
    }

    fn is_named(&self, members: &crate::node::Members, key: &Value<'t>) -> bool {
        let name = self.name(key);
        let named = members.table.get(&name).is_some_and(|slot| slot.node.is_some());
        let matches = |id| {
            self.arena
                .pattern(id)
                .is_some_and(|pattern| pattern.is_match(&name))
        };
        named || members.patterns.iter().any(|(pattern, _)| matches(*pattern))
    }
}
