use super::*;
use crate::context::Context;
use crate::model::entity::{Entity, Instance, Kind};
use crate::model::render::View;
use crate::model::view::Shape;
use crate::model::view::asked::Asked;
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// An entity `urn:<n>` that links to others by the attribute `to`.
fn entity(n: usize, to: &[usize]) -> Entity {
    let urn = |n: &usize| Json::string(format!("urn:x:{n}"));
    let value = match to {
        [single] => urn(single),
        several => Json::Array(several.iter().map(urn).collect()),
    };
    Entity {
        id: format!("urn:x:{n}"),
        types: vec!["urn:t:t".to_owned()],
        scope: Vec::new(),
        attributes: [(
            "urn:a:to".to_owned(),
            vec![Instance::new(Kind::Relationship, value)],
        )]
        .into(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    }
}

fn shape(asked: &Asked<'_>) -> Shape {
    Shape::of(asked, &Context::core()).unwrap()
}

fn joined(form: &'static str, levels: usize) -> Asked<'static> {
    Asked {
        join: Some(form),
        join_level: Some(levels.to_string().into()),
        ..Asked::default()
    }
}

/// What `graph[0]` becomes, as a broker would show it that has all of the graph; and how often it reads.
fn shown(graph: &[Entity], shape: &Shape) -> (String, usize) {
    let context = Context::core();
    let view = View::new(&context, shape, false);
    let mut linked = Linked::new(shape.join.as_ref().unwrap());
    let mut text = String::new();
    let root = [shape.shown()];
    linked.has(&graph[0].id);
    let mut links = linked.links_of(&graph[0].id, &root);
    view.entity(&graph[0], &root, &mut text, &mut links);
    links.keep_places();
    let mut reads = 0;
    loop {
        let ids = linked.next_level();
        if ids.is_empty() {
            break;
        }
        reads += 1;
        for entity in graph.iter().filter(|e| ids.contains(&e.id)) {
            for shown in linked.shown_of(&entity.id) {
                let is_flat = linked.form() == Form::Flat;
                let mut own = String::new();
                let mut links = linked.links_of(&entity.id, &shown);
                view.entity(entity, &shown, &mut own, &mut links);
                if is_flat {
                    text.push(',');
                    text.push_str(&own);
                } else {
                    links.keep_text(own);
                }
            }
        }
    }
    let mut filled = String::new();
    linked.filled(&text, &mut |piece| {
        filled.push_str(piece);
        filled.len() < 1 << 20
    });
    (filled, reads)
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

/// Ids of entities inside of each other, by the first way down.
fn way_down(mut entity: &Json) -> Vec<&str> {
    let mut ids = Vec::new();
    loop {
        ids.push(entity.get("id").and_then(Json::as_str).unwrap());
        match entity.get("urn:a:to").and_then(|to| to.get("entity")) {
            Some(Json::Array(items)) => entity = &items[0],
            Some(below) => entity = below,
            None => return ids,
        }
    }
}

#[test]
fn linked_entities_stand_inside_of_what_links_to_them_as_deep_as_asked() {
    let graph = [entity(0, &[1]), entity(1, &[2]), entity(2, &[3]), entity(3, &[0])];
    for (levels, ids) in [
        (1, vec!["urn:x:0", "urn:x:1"]),
        (2, vec!["urn:x:0", "urn:x:1", "urn:x:2"]),
        (9, vec!["urn:x:0", "urn:x:1", "urn:x:2", "urn:x:3"]),
    ] {
        let (text, reads) = shown(&graph, &shape(&joined("inline", levels)));
        assert_eq!(way_down(&json(&text)), ids, "none is inside of itself");
        assert!(reads <= levels.min(4), "one read per level");
    }
}

#[test]
fn simplified_entities_take_the_place_of_their_uris() {
    use crate::model::view::Representation;
    let graph = [entity(0, &[1, 2, 7]), entity(1, &[0]), entity(2, &[])];
    let simplified = Asked {
        representation: Representation::Simplified,
        ..joined("inline", 1)
    };
    let (text, _) = shown(&graph, &shape(&simplified));
    assert_eq!(
        text,
        r#"{"id":"urn:x:0","type":"urn:t:t","urn:a:to":[{"id":"urn:x:1","type":"urn:t:t","urn:a:to":"urn:x:0"},{"id":"urn:x:2","type":"urn:t:t","urn:a:to":[]},"urn:x:7"]}"#
    );
}

#[test]
fn flat_entities_follow_each_once_and_what_the_client_has_is_left_out() {
    let graph = [
        entity(0, &[1, 2]),
        entity(1, &[2, 0]),
        entity(2, &[1, 3]),
        entity(3, &[]),
    ];
    let ids = |asked: Asked<'_>| {
        let (text, _) = shown(&graph, &shape(&asked));
        let Json::Array(all) = json(&format!("[{text}]")) else {
            panic!()
        };
        all.iter()
            .map(|e| e.get("id").and_then(Json::as_str).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(joined("flat", 1)), ["urn:x:0", "urn:x:1", "urn:x:2"]);
    assert_eq!(
        ids(joined("flat", 5)),
        ["urn:x:0", "urn:x:1", "urn:x:2", "urn:x:3"]
    );
    let contained = Asked {
        contained_by: Some(vec!["urn:x:2"]),
        ..joined("flat", 5)
    };
    assert_eq!(ids(contained), ["urn:x:0", "urn:x:1"]);
}

#[test]
fn one_entity_reached_in_two_ways_shows_what_each_way_asks_for() {
    let mut first = entity(0, &[1]);
    let other = first.attributes["urn:a:to"].clone();
    first.attributes.insert("urn:a:via".to_owned(), other);
    let graph = [first, entity(1, &[])];
    let pick = || Some(vec!["id,urn:a:to{id},urn:a:via{type}"]);
    let inline = Asked {
        pick: pick(),
        ..joined("inline", 1)
    };
    let (text, reads) = shown(&graph, &shape(&inline));
    assert_eq!(
        text,
        r#"{"id":"urn:x:0","urn:a:to":{"type":"Relationship","object":"urn:x:1","entity":{"id":"urn:x:1"}},"urn:a:via":{"type":"Relationship","object":"urn:x:1","entity":{"type":"urn:t:t"}}}"#
    );
    assert_eq!(reads, 1);
    let flat = Asked {
        pick: pick(),
        ..joined("flat", 1)
    };
    let (text, _) = shown(&graph, &shape(&flat));
    assert!(text.ends_with(r#",{"id":"urn:x:1","type":"urn:t:t"}"#), "{text}");
}

#[test]
fn more_linked_entities_than_an_answer_may_have_are_not_read() {
    let shape = shape(&joined("flat", 1));
    let mut linked = Linked::new(shape.join.as_ref().unwrap());
    let root = [shape.shown()];
    let all: Vec<usize> = (1..=MAX_LINKED + 1).collect();
    let many = entity(0, &all);
    let context = Context::core();
    let view = View::new(&context, &shape, false);
    view.entity(
        &many,
        &root,
        &mut String::new(),
        &mut linked.links_of("urn:x:0", &root),
    );
    assert!(linked.are_too_many() && linked.next_level().is_empty());
}

proptest! {
    #[test]
    fn any_graph_is_shown_in_bounded_depth_and_as_json(
        links in prop::collection::vec(prop::collection::vec(0usize..6, 0..4), 1..6), levels in 1usize..5, is_flat in any::<bool>()
    ) {
        let graph: Vec<_> = links.iter().enumerate().map(|(n, to)| entity(n, to)).collect();
        let (text, reads) = shown(&graph, &shape(&joined(if is_flat { "flat" } else { "inline" }, levels)));
        prop_assert!(reads <= levels);
        let whole = Json::parse(format!("[{text}]").as_bytes());
        prop_assert!(whole.is_ok(), "{whole:?} {text}");
        let Ok(Json::Array(all)) = whole else { panic!() };
        if is_flat {
            let ids: Vec<_> = all.iter().map(|e| e.get("id").unwrap().to_text()).collect();
            prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no entity twice");
            // What is there is what can be reached.
            let mut reached = BTreeSet::from([0]);
            for _ in 0..levels {
                let more: Vec<_> = reached.iter().flat_map(|n| links.get(*n).into_iter().flatten()).copied().collect();
                reached.extend(more.into_iter().filter(|n| *n < links.len()));
            }
            prop_assert_eq!(ids.len(), reached.len());
        } else {
            prop_assert_eq!(all.len(), 1);
            let ids = way_down(&all[0]);
            prop_assert!(ids.len() <= levels + 1);
            prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "none inside of itself");
        }
    }
}
