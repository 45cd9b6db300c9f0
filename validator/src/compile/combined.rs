//! Keywords that put schemas together, and those that look at what others have looked at.

use super::{Check, Compiler, Cursor, Level, Refusal};
use crate::node::NodeId;
use referencing::Draft;
use serde_json::{Map, Value as Json};

impl Compiler<'_, '_> {
    pub(super) fn combined(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        let level = cursor.level;
        if let Some(all) = self.list(cursor, members, "allOf", level, true)? {
            checks.push(Check::AllOf(all));
        }
        if let Some(any) = self.list(cursor, members, "anyOf", level, false)? {
            checks.push(Check::AnyOf(any));
        }
        if let Some(one) = self.list(cursor, members, "oneOf", level, false)? {
            checks.push(Check::ExactlyOne(one));
        }
        if let Some(not) = self.keyword(cursor, members, "not", level, false)? {
            checks.push(Check::Not(not));
        }
        let condition = self.keyword(cursor, members, "if", level, false)?;
        let then = self.keyword(cursor, members, "then", level, false)?;
        let otherwise = self.keyword(cursor, members, "else", level, false)?;
        if let Some(condition) = condition {
            checks.push(Check::If {
                condition,
                then: then.unwrap_or(NodeId::ANYTHING),
                otherwise: otherwise.unwrap_or(NodeId::ANYTHING),
            });
        }
        Ok(())
    }

    pub(super) fn unevaluated(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        if cursor.draft == Draft::Draft7 {
            return Ok(());
        }
        if let Some(node) = self.keyword(cursor, members, "unevaluatedItems", Level::Value, true)? {
            checks.push(Check::UnevaluatedItems(node));
        }
        if let Some(node) = self.keyword(cursor, members, "unevaluatedProperties", Level::Value, true)? {
            checks.push(Check::UnevaluatedProperties(
                self.of_attribute(cursor.level, node),
            ));
        }
        Ok(())
    }
}
