//! Schemas that refer to themselves.

use crate::node::{Arena, Check, NodeId};
use std::collections::HashMap;

/// Whether evaluating a schema can come back to it without having gone into a part of the value: then it would not end.
pub(crate) fn is_endless(arena: &Arena, root: NodeId) -> bool {
    let mut states = HashMap::new();
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        if states.contains_key(&id) {
            continue;
        }
        if comes_back(arena, id, &mut states, &mut waiting) {
            return true;
        }
    }
    false
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// It is on the way that led here.
    Entered,
    Left,
}

/// Walks what is evaluated in the same place. What lies in parts of the value is put to those that wait.
fn comes_back(
    arena: &Arena,
    root: NodeId,
    states: &mut HashMap<NodeId, State>,
    waiting: &mut Vec<NodeId>,
) -> bool {
    let mut way = vec![(root, false)];
    while let Some((id, is_left)) = way.pop() {
        if is_left {
            states.insert(id, State::Left);
            continue;
        }
        match states.get(&id) {
            Some(State::Entered) => return true,
            Some(State::Left) => continue,
            None => {}
        }
        states.insert(id, State::Entered);
        way.push((id, true));
        let Some(node) = arena.node(id) else {
            continue;
        };
        for check in &node.checks {
            follow(check, &mut way, waiting);
        }
    }
    false
}

fn follow(check: &Check, way: &mut Vec<(NodeId, bool)>, waiting: &mut Vec<NodeId>) {
    let mut here = |id: &NodeId| way.push((*id, false));
    match check {
        Check::AllOf(all) | Check::AnyOf(all) | Check::ExactlyOne(all) => all.iter().for_each(here),
        // The value of an attribute may be the attribute itself, so it is the same place.
        Check::Not(id) | Check::Ref(id) | Check::DependentSchema(_, id) | Check::Attribute(id) => here(id),
        Check::If {
            condition,
            then,
            otherwise,
        } => [condition, then, otherwise].into_iter().for_each(here),
        Check::Items { first, rest, .. } => waiting.extend(first.iter().chain([rest])),
        Check::Members(members) => {
            waiting.extend(members.table.slots().iter().filter_map(|slot| slot.node));
            waiting.extend(members.patterns.iter().map(|(_, id)| *id));
            waiting.push(members.additional);
        }
        Check::Contains { node: id, .. }
        | Check::PropertyNames(id)
        | Check::UnevaluatedItems(id)
        | Check::UnevaluatedProperties(id) => waiting.push(*id),
        _ => {}
    }
}
