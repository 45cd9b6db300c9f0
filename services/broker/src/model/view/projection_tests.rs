use super::*;
use proptest::prelude::*;

fn iri(name: &str) -> String {
    format!("https://uri.etsi.org/ngsi-ld/default-context/{name}")
}

fn pick(text: &str) -> Result<Projection, Refusal> {
    Projection::of(Some(&[text]), None, &Context::core())
}

fn omit(text: &str) -> Result<Projection, Refusal> {
    Projection::of(None, Some(&[text]), &Context::core())
}

#[test]
fn what_is_picked_is_shown_and_nothing_else() {
    let projection = pick("id,name|age").unwrap();
    let shown = projection.shown();
    assert!(shown.member(Member::Id) && !shown.member(Member::Type) && !shown.member(Member::CreatedAt));
    assert!(shown.attribute(&iri("name")) && shown.attribute(&iri("age")) && !shown.attribute(&iri("other")));
}

#[test]
fn what_is_omitted_is_not_shown_and_everything_else_is() {
    let projection = omit("type,name").unwrap();
    let shown = projection.shown();
    assert!(shown.member(Member::Id) && !shown.member(Member::Type));
    assert!(!shown.attribute(&iri("name")) && shown.attribute(&iri("other")));
}

#[test]
fn braces_speak_of_linked_entities_only() {
    let projection = pick("id,at{id,in{name}}").unwrap();
    let city = projection.shown().beyond(&iri("at"));
    assert!(city.member(Member::Id) && !city.member(Member::Type) && city.attribute(&iri("in")));
    let country = city.beyond(&iri("in"));
    assert!(!country.member(Member::Id) && country.attribute(&iri("name")));
    assert_eq!(projection.depth(), 2);

    let projection = omit("at{name}").unwrap();
    assert!(projection.shown().attribute(&iri("at")));
    let city = projection.shown().beyond(&iri("at"));
    assert!(!city.attribute(&iri("name")) && city.attribute(&iri("in")) && city.member(Member::Id));
    assert_eq!(city.beyond(&iri("in")), Shown::default());

    let plain = pick("id,at").unwrap();
    assert_eq!(
        plain.shown().beyond(&iri("at")),
        Shown::default(),
        "without braces linked entities are whole"
    );
    assert_eq!(plain.depth(), 0);
}

#[test]
fn names_of_core_members_are_understood_as_iris_too() {
    let projection = pick("https://uri.etsi.org/ngsi-ld/scope,createdAt").unwrap();
    assert!(projection.shown().member(Member::Scope) && projection.shown().member(Member::CreatedAt));
}

#[test]
fn a_list_may_come_in_several_texts() {
    let several = Projection::of(Some(&["id", "at{id,name}", "a,b"]), None, &Context::core());
    assert_eq!(several, pick("id,at{id,name},a,b"));
    assert!(Projection::of(Some(&["id", "id"]), None, &Context::core()).is_err());
    assert!(Projection::of(Some(&["at{id", "name}"]), None, &Context::core()).is_err());
}

#[test]
fn no_name_is_picked_and_omitted_at_once() {
    let both = |pick: &str, omit: &str| Projection::of(Some(&[pick]), Some(&[omit]), &Context::core());
    assert!(both("name", "name").is_err());
    assert!(both("id,name", "id").is_err());
    assert!(both("at{name}", "at").is_err());
    assert!(both("at{name,id}", "at{name}").is_err());
    assert!(both("at", "at{name}").is_ok());
    assert!(both("at{id}", "at{name}").is_ok());
    assert!(both("a", "b").is_ok());
}

#[test]
fn malformed_lists_are_refused() {
    let deep = format!("{}a{}", "a{".repeat(5000), "}".repeat(5000));
    let many = vec!["a"; 2000].join(",");
    let names: Vec<String> = (0..501).map(|n| format!("a{n}")).collect();
    for bad in [
        "",
        ",",
        "id,,name",
        "id;name",
        "id,",
        ",id",
        "|",
        "at{}",
        "at{",
        "at{name",
        "at{{name}",
        "at{{name}}",
        "at{,name}",
        "at{name,}",
        "at}",
        "{name}",
        "at{name}x",
        "id{name}",
        "id,id",
        "name,name",
        "name,name{id}",
        "a b",
        "1a",
        "a-b",
        "'; drop table x; --",
        &deep,
        &many,
        &names.join(","),
    ] {
        assert!(pick(bad).is_err() && omit(bad).is_err(), "{bad:.60}");
    }
    assert!(pick(&names[..500].join(",")).is_ok());
}

#[test]
fn attrs_names_attributes_only() {
    let attrs = |names: &[&str]| attributes(names, &Context::core());
    assert_eq!(
        attrs(&["a", "createdAt", "b"]).unwrap(),
        [iri("a"), iri("b")],
        "every entity has the others"
    );
    for bad in [["id"], ["type"], ["scope"], ["a{b}"], ["a-b"], [""]] {
        assert!(attrs(&bad).is_err(), "{bad:?}");
    }
    let projection = Projection::of_attributes(&attrs(&["a"]).unwrap());
    assert!(projection.shown().member(Member::Type) && projection.shown().attribute(&iri("a")));
    assert!(!projection.shown().attribute(&iri("b")));
}

/// Lists with the names they have at their top, in order.
fn any_list() -> impl Strategy<Value = (String, Vec<String>)> {
    let name = "[a-h]{1,2}";
    let tree = name
        .prop_map(|n| n.clone())
        .prop_recursive(3, 12, 3, move |inner| {
            ("[a-h]{1,2}", prop::collection::vec(inner, 1..3))
                .prop_map(|(name, of)| format!("{name}{{{}}}", of.join("|")))
        });
    prop::collection::vec(tree, 1..4).prop_map(|terms| {
        let names = terms
            .iter()
            .map(|t| t.split('{').next().unwrap().to_owned())
            .collect();
        (terms.join(","), names)
    })
}

proptest! {
    #[test]
    fn any_text_is_a_list_or_refused(text in "[ab,|{}; idtype]{0,40}") {
        let _ = pick(&text);
    }

    #[test]
    fn a_list_shows_the_names_at_its_top((text, names) in any_list()) {
        if let Ok(picked) = pick(&text) {
            let omitted = omit(&text).unwrap();
            for (n, name) in names.iter().enumerate() {
                prop_assert!(picked.shown().attribute(&iri(name)));
                let leaf = text.split(',').nth(n) == Some(name);
                prop_assert_eq!(omitted.shown().attribute(&iri(name)), !leaf);
            }
            prop_assert!(!picked.shown().attribute(&iri("z")) && omitted.shown().attribute(&iri("z")));
            prop_assert_eq!(picked.depth(), text.chars().scan(0usize, |d, c| { *d = match c { '{' => *d + 1, '}' => *d - 1, _ => *d }; Some(*d) }).max().unwrap());
        }
    }
}
