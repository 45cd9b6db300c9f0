//! Entities with an @context of their own.

use crate::context::Context;
use crate::context::compile::Terms;
use crate::model::Refusal;
use crate::model::change::create;
use crate::model::entity::{Attributes, Entity, Fragment};
use crate::model::expansion::expanded_size;
use crate::model::json::Json;
use crate::model::linked::Unlinked;
use crate::model::names::{is_name, is_uri};
use crate::model::read::{Nulls, Reader};
use crate::model::render::View;
use crate::model::stored;
use crate::model::view::{Representation, Shape};
use jiff::Timestamp;

/// Holds of any bytes.
pub fn json_ld(bytes: &[u8]) {
    let Ok(body) = Json::parse(bytes) else {
        return;
    };
    assert_eq!(Json::parse_stored(&body.to_text()), Ok(body.clone()));
    let Some(context) = context(&body) else {
        return;
    };
    names_keep_their_meaning(&body, &context);
    for nulls in [Nulls::Refused, Nulls::Delete, Nulls::Deep] {
        let reader = Reader {
            context: &context,
            nulls,
        };
        match reader.entity(&body) {
            Ok(fragment) => {
                is_bounded(&body, &fragment, &context);
                if nulls == Nulls::Refused {
                    comes_back(&fragment, &reader);
                }
            }
            // It names each attribute around what is wrong.
            Err(Refusal(why)) => assert!(why.len() <= 2000 + 2 * bytes.len(), "{why}"),
        }
    }
}

/// The @context of a body, as far as it says itself what it means.
fn context(body: &Json) -> Option<Context> {
    let mut terms = Terms::default();
    let parts = match body.get("@context") {
        Some(Json::Array(items)) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    for part in parts {
        if let Json::Object(members) = part {
            terms.add(members).ok()?;
        }
    }
    Some(Context::new(terms.iris, &terms.prefixes, None))
}

/// A name that is made short again stands for the same.
fn names_keep_their_meaning(body: &Json, context: &Context) {
    for name in texts(body).into_iter().filter(|text| is_name(text)) {
        let iri = context.expand(name);
        let compact = context.compact(&iri);
        assert!(
            context.is_misread(&iri) || context.expand(&compact) == iri,
            "{name} {iri} {compact}"
        );
    }
}

/// All names and strings.
fn texts(json: &Json) -> Vec<&str> {
    match json {
        Json::String(text) => vec![text],
        Json::Array(items) => items.iter().flat_map(texts).collect(),
        Json::Object(members) => {
            let each = members
                .iter()
                .map(|(name, value)| [vec![name.as_str()], texts(value)].concat());
            each.flatten().collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

/// How large names become is known before.
fn is_bounded(body: &Json, fragment: &Fragment, context: &Context) {
    if let Ok(at_most) = expanded_size(context, body) {
        let types: usize = fragment.types.iter().map(String::len).sum();
        assert!(types + names_of(&fragment.attributes) <= at_most);
    }
}

fn names_of(attributes: &Attributes) -> usize {
    let each = attributes.iter().map(|(iri, instances)| {
        let subs = instances
            .iter()
            .map(|instance| names_of(&instance.subs))
            .sum::<usize>();
        iri.len() + subs
    });
    each.sum()
}

/// Stored and read, or shown and sent again, it is the same entity.
fn comes_back(fragment: &Fragment, reader: &Reader<'_>) {
    let entity = create(fragment.clone(), Timestamp::UNIX_EPOCH);
    let Ok(text) = stored::write(&entity.attributes) else {
        return;
    };
    let kept = Json::parse_stored(&text).expect("what was written is read");
    // Such an IRI is shown whole to all, though to who has this context it says something else.
    let types = entity.types.iter().map(String::as_str);
    let is_misread = types
        .chain(texts(&kept))
        .any(|text| reader.context.is_misread(text) && is_uri(text));
    assert_eq!(
        stored::of_json(kept).expect("what was written is read"),
        entity.attributes
    );
    for representation in [
        Representation::Normalized,
        Representation::Concise,
        Representation::Simplified,
    ] {
        let shown = shown(&entity, reader.context, representation);
        // The parser refuses an object that has a member twice.
        let shown = Json::parse(shown.as_bytes()).unwrap_or_else(|error| panic!("{error}: {shown}"));
        if representation != Representation::Simplified && !is_misread {
            assert_eq!(
                reader.entity(&shown).as_ref(),
                Ok(fragment),
                "{}",
                shown.to_text()
            );
        }
    }
}

fn shown(entity: &Entity, context: &Context, representation: Representation) -> String {
    let shape = Shape {
        representation,
        ..Shape::default()
    };
    let mut shown = String::new();
    View::new(context, &shape, false).entity(entity, &[shape.shown()], &mut shown, &mut Unlinked);
    shown
}
