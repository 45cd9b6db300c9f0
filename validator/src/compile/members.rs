//! Keywords of objects.

use super::{Check, Compiler, Cursor, Level, Refusal};
use crate::node::{Members, NodeId, Slot, Table};
use referencing::Draft;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many members a schema may name.
const MAX_NAMES: usize = 10_000;

/// Members of entities that are no attributes.
const ID: &str = "id";
const TYPE: &str = "type";
const SCOPE: &str = "scope";

impl Compiler<'_, '_> {
    pub(super) fn members(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        if let Some(least) = self.count(members, "minProperties")? {
            checks.push(Check::MinProperties(least));
        }
        if let Some(most) = self.count(members, "maxProperties")? {
            checks.push(Check::MaxProperties(most));
        }
        if let Some(names) = self.keyword(cursor, members, "propertyNames", Level::Value, true)? {
            checks.push(Check::PropertyNames(names));
        }
        self.named_members(cursor, members, checks)?;
        self.dependents(cursor, members, checks)
    }

    fn named_members(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        let mut slots: BTreeMap<&str, (Option<NodeId>, bool)> = BTreeMap::new();
        for (name, schema) in self.map(members, "properties")? {
            let node = self.below("properties", |this| {
                this.below(name, |this| this.property(cursor, name, schema))
            })?;
            slots.insert(name, (Some(node), false));
        }
        for name in self.names(members, "required")? {
            slots.entry(name).or_default().1 = true;
        }
        let patterns = self.pattern_members(cursor, members)?;
        let additional = self.keyword(cursor, members, "additionalProperties", Level::Value, true)?;
        if slots.is_empty() && patterns.is_empty() && additional.is_none() {
            return Ok(());
        }
        if slots.len() > MAX_NAMES {
            return self.refuse(format!("a schema names at most {MAX_NAMES} members"));
        }
        let slots = slots.into_iter().map(|(name, (node, required))| Slot {
            name: name.into(),
            node,
            required,
        });
        let table = Table::new(slots.collect());
        let additional_node = additional.unwrap_or(NodeId::ANYTHING);
        checks.push(Check::Members(Arc::new(Members {
            required: table.slots().iter().filter(|slot| slot.required).count(),
            table,
            patterns,
            additional: self.of_attribute(cursor.level, additional_node),
            evaluates_additional: additional.is_some(),
            of_entity: cursor.level == Level::Entity,
        })));
        Ok(())
    }

    /// The schema of a member; of an entity that of an attribute, mostly.
    fn property(&mut self, cursor: &Cursor<'_>, name: &str, schema: &Json) -> Result<NodeId, Refusal> {
        let node = self.child(cursor, schema, Level::Value, true)?;
        match (cursor.level, name) {
            (Level::Value, _) | (_, ID | SCOPE) => Ok(node),
            (Level::Entity, TYPE) => self.entity_type(cursor, node),
            (Level::Entity, _) => Ok(self.of_attribute(cursor.level, node)),
        }
    }

    /// Entities come with the model's type, under whichever name, so what the schema says of it is true or false for all.
    fn entity_type(&mut self, cursor: &Cursor<'_>, node: NodeId) -> Result<NodeId, Refusal> {
        let Some(name) = self.source.type_name else {
            return Ok(NodeId::ANYTHING);
        };
        match (self.accepts_type(node, name), cursor.asserted) {
            (true, _) => Ok(NodeId::ANYTHING),
            (false, false) => Ok(NodeId::NOTHING),
            (false, true) => self.refuse(format!(
                "it does not let in {name:?}, which is the type of the model: no entity could be written"
            )),
        }
    }

    fn pattern_members(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
    ) -> Result<Box<[(crate::node::PatternId, NodeId)]>, Refusal> {
        let mut patterns = Vec::new();
        for (source, schema) in self.map(members, "patternProperties")? {
            let entry = self.below("patternProperties", |this| {
                this.below(source, |this| {
                    let pattern = match this.arena.add_pattern(source) {
                        Ok(pattern) => pattern,
                        Err(why) => return this.refuse(why),
                    };
                    let node = this.child(cursor, schema, Level::Value, true)?;
                    Ok((pattern, this.of_attribute(cursor.level, node)))
                })
            })?;
            patterns.push(entry);
        }
        Ok(patterns.into_boxed_slice())
    }

    fn names<'m>(&mut self, members: &'m Map<String, Json>, keyword: &str) -> Result<Vec<&'m str>, Refusal> {
        let Some(value) = members.get(keyword) else {
            return Ok(Vec::new());
        };
        let names = value
            .as_array()
            .and_then(|names| names.iter().map(Json::as_str).collect());
        match names {
            Some(names) => Ok(names),
            None => self.below(keyword, |this| this.refuse("it is an array of names")),
        }
    }

    /// `dependentRequired` and `dependentSchemas`, which were one keyword, `dependencies`; it is still read in newer drafts.
    fn dependents(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        let newer = cursor.draft != Draft::Draft7;
        for keyword in ["dependentRequired", "dependentSchemas", "dependencies"] {
            if !newer && keyword != "dependencies" {
                continue;
            }
            for (name, value) in self.map(members, keyword)? {
                let check = self.below(keyword, |this| {
                    this.below(name, |this| this.dependent(cursor, keyword, name, value))
                })?;
                checks.push(check);
            }
        }
        Ok(())
    }

    fn dependent(
        &mut self,
        cursor: &Cursor<'_>,
        keyword: &str,
        name: &str,
        value: &Json,
    ) -> Result<Check, Refusal> {
        let names = value
            .as_array()
            .and_then(|names| names.iter().map(Json::as_str).collect());
        match (keyword, names) {
            ("dependentRequired" | "dependencies", Some::<Vec<&str>>(names)) => {
                let names = names.into_iter().map(Box::from).collect();
                Ok(Check::DependentRequired(name.into(), names))
            }
            ("dependentRequired", None) => self.refuse("it is an array of names"),
            _ => {
                let node = self.child(cursor, value, cursor.level, false)?;
                Ok(Check::DependentSchema(name.into(), node))
            }
        }
    }
}
