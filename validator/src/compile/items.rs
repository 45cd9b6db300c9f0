//! Keywords of arrays.

use super::{Check, Compiler, Cursor, Level, Refusal};
use crate::node::NodeId;
use referencing::Draft;
use serde_json::{Map, Value as Json};

impl Compiler<'_, '_> {
    pub(super) fn items(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        let (first, rest) = if cursor.draft == Draft::Draft202012 {
            self.prefix_and_rest(cursor, members, "prefixItems", "items")?
        } else if matches!(members.get("items"), Some(Json::Array(_))) {
            self.prefix_and_rest(cursor, members, "items", "additionalItems")?
        } else {
            (None, self.keyword(cursor, members, "items", Level::Value, true)?)
        };
        if first.is_some() || rest.is_some() {
            checks.push(Check::Items {
                first: first.unwrap_or_default(),
                // Of items behind the first nothing is said, and `unevaluatedItems` may say something.
                rest: rest.unwrap_or(NodeId::ANYTHING),
                says_rest: rest.is_some(),
            });
        }
        self.contains(cursor, members, checks)?;
        if let Some(least) = self.count(members, "minItems")? {
            checks.push(Check::MinItems(least));
        }
        if let Some(most) = self.count(members, "maxItems")? {
            checks.push(Check::MaxItems(most));
        }
        match members.get("uniqueItems") {
            None | Some(Json::Bool(false)) => {}
            Some(Json::Bool(true)) => checks.push(Check::UniqueItems),
            Some(_) => return self.below("uniqueItems", |this| this.refuse("it is true or false")),
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "what two keywords say")]
    fn prefix_and_rest(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        first: &str,
        rest: &str,
    ) -> Result<(Option<Box<[NodeId]>>, Option<NodeId>), Refusal> {
        let first = self.list(cursor, members, first, Level::Value, true)?;
        let rest = self.keyword(cursor, members, rest, Level::Value, true)?;
        Ok((first, rest))
    }

    fn contains(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        let Some(node) = self.keyword(cursor, members, "contains", Level::Value, false)? else {
            return Ok(());
        };
        let counts = cursor.draft != Draft::Draft7;
        let least = self
            .count(members, "minContains")?
            .filter(|_| counts)
            .unwrap_or(1);
        let most = self.count(members, "maxContains")?.filter(|_| counts);
        let evaluates = cursor.draft == Draft::Draft202012;
        checks.push(Check::Contains {
            node,
            least,
            most,
            evaluates,
        });
        Ok(())
    }
}
