//! Keywords of one value: its type, what it equals, numbers and texts.

use super::{Check, Compiler, Cursor, Level, Refusal};
use crate::format::Format;
use crate::node::{Bound, Constants, Types};
use crate::tape::{Number, Owned};
use referencing::Draft;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

impl Compiler<'_, '_> {
    pub(super) fn types(&mut self, members: &Map<String, Json>) -> Result<Types, Refusal> {
        let Some(value) = members.get("type") else {
            return Ok(Types::ALL);
        };
        self.below("type", |this| {
            let names = match value {
                Json::Array(names) if !names.is_empty() => names.as_slice(),
                one => std::slice::from_ref(one),
            };
            let bits = names.iter().map(|name| name.as_str().and_then(Types::named));
            match bits.collect::<Option<Vec<u8>>>() {
                Some(bits) => Ok(Types(bits.into_iter().fold(0, |all, one| all | one))),
                None => this
                    .refuse("it is one or more of null, boolean, number, integer, string, array and object"),
            }
        })
    }

    pub(super) fn scalars(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        self.constants(cursor, members, checks)?;
        let bounds = [
            ("minimum", Bound::Least),
            ("maximum", Bound::Most),
            ("exclusiveMinimum", Bound::Above),
            ("exclusiveMaximum", Bound::Below),
        ];
        for (name, bound) in bounds {
            if let Some(number) = self.number(members, name)? {
                checks.push(Check::Range(bound, number));
            }
        }
        if let Some(of) = self.number(members, "multipleOf")? {
            if Number::of(&of) <= Number::of("0") {
                return self.below("multipleOf", |this| this.refuse("it is a number above 0"));
            }
            checks.push(Check::MultipleOf(of));
        }
        if let Some(least) = self.count(members, "minLength")? {
            checks.push(Check::MinLength(least));
        }
        if let Some(most) = self.count(members, "maxLength")? {
            checks.push(Check::MaxLength(most));
        }
        if let Some(source) = self.text(members, "pattern")? {
            let pattern = self.arena.add_pattern(source);
            match pattern {
                Ok(pattern) => checks.push(Check::Pattern(pattern)),
                Err(why) => return self.below("pattern", |this| this.refuse(why)),
            }
        }
        if self.source.formats
            && let Some(name) = self.text(members, "format")?
            && let Some(format) = Format::named(name, cursor.draft == Draft::Draft7)
        {
            checks.push(Check::Format(format));
        }
        Ok(())
    }

    fn constants(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        for name in ["const", "enum"] {
            let Some(value) = members.get(name) else {
                continue;
            };
            let values = match (name, value) {
                ("const", one) => std::slice::from_ref(one),
                (_, Json::Array(values)) => values.as_slice(),
                _ => return self.below(name, |this| this.refuse("it is an array of values")),
            };
            if cursor.level == Level::Entity {
                return self.below(name, |this| {
                    this.refuse("a whole entity is compared with nothing: say it of its properties")
                });
            }
            let owned = values.iter().map(Owned::of).collect::<Result<Vec<_>, _>>();
            match owned {
                Ok(values) => checks.push(Check::OneOf(Arc::new(Constants::new(values)))),
                Err(error) => return self.below(name, |this| this.refuse(error.to_string())),
            }
        }
        Ok(())
    }

    fn number(&mut self, members: &Map<String, Json>, name: &str) -> Result<Option<Box<str>>, Refusal> {
        match members.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => Ok(Some(number.to_string().into())),
            Some(_) => self.below(name, |this| this.refuse("it is a number")),
        }
    }

    /// A number of characters, items or members. `2.0` is one.
    pub(super) fn count(&mut self, members: &Map<String, Json>, name: &str) -> Result<Option<u64>, Refusal> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, not negative, and small enough"
        )]
        let whole =
            |number: f64| (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64);
        let Some(value) = members.get(name) else {
            return Ok(None);
        };
        match value.as_u64().or_else(|| value.as_f64().and_then(whole)) {
            Some(count) => Ok(Some(count)),
            None => self.below(name, |this| this.refuse("it is a whole number, not negative")),
        }
    }

    fn text<'m>(&mut self, members: &'m Map<String, Json>, name: &str) -> Result<Option<&'m str>, Refusal> {
        match members.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => self.below(name, |this| this.refuse("it is a text")),
        }
    }
}
