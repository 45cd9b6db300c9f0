//! What holds of any text that a client may send, grammar by grammar: reading it never panics and takes bounded time
//! and memory, a refusal is short, and what is accepted means the same when it is written out and read again.
//!
//! Each function takes any text and panics where its property does not hold. Two things look for such a text: the tests
//! here, in every run, and libFuzzer by way of `services/broker/fuzz`. A text that was found is kept in `fuzz/seeds`,
//! where both begin.
//!
//! * [`q()`]: the query language;
//! * [`geo()`]: geo-queries, as parameters of a URL;
//! * [`json_ld()`]: entities with their @context, as bytes of a body;
//! * [`time()`]: temporal queries, as parameters of a URL;
//! * [`scope()`]: a scope query, and on each line after it a scope of an entity.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a property that does not hold panics: this is a test, which a fuzzer runs too"
)]

mod geo;
mod json_ld;
mod q;
mod scope;
mod time;

pub use self::geo::geo;
pub use self::json_ld::json_ld;
pub use self::q::q;
pub use self::scope::scope;
pub use self::time::time;

use crate::context::Context;
use crate::model::Refusal;
use crate::model::change::create;
use crate::model::entity::Entity;
use crate::model::json::Json;
use crate::model::read::{Nulls, Reader};
use crate::permissions::reach::Reach;
use crate::query::Selection;
use crate::query::sql::{Param, Statement, Window, page};
use crate::store::TenantId;
use crate::store::rows::Sizes;
use jiff::Timestamp;

/// Whose entities are searched.
const TENANT: TenantId = TenantId(1);

/// A refusal names what is wrong, and does not send back all that was sent.
fn assert_is_short(Refusal(why): &Refusal) {
    assert!(!why.is_empty() && why.len() <= 2000, "{} bytes: {why}", why.len());
}

/// The statement for a page of a selection. No text in it has the character U+0000: the database keeps none such, so the
/// client would be told of a failure of the broker.
fn statement(selection: &Selection) -> Statement {
    let window = Window { limit: 20, offset: 0 };
    let statement = page(Reach::all(TENANT), selection, None, window, Sizes::Small);
    for param in &statement.params {
        let texts = match param {
            Param::Text(text) => std::slice::from_ref(text),
            Param::Texts(texts) => texts,
            _ => &[],
        };
        assert!(texts.iter().all(|text| !text.contains('\0')), "{texts:?}");
    }
    statement
}

/// An entity that is read in the core context.
fn entity(document: &str) -> Entity {
    let json = Json::parse(document.as_bytes()).expect("the document is JSON");
    let reader = Reader {
        context: &Context::core(),
        nulls: Nulls::Refused,
    };
    create(
        reader.entity(&json).expect("the document is an entity"),
        Timestamp::UNIX_EPOCH,
    )
}

fn joined<T>(parts: &[T], separator: &str, written: impl Fn(&T) -> String) -> String {
    parts.iter().map(written).collect::<Vec<_>>().join(separator)
}

/// The value of a parameter of a URL, where percents mean nothing.
fn parameter<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split('&')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests;
