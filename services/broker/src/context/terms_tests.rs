//! Texts with names in them, in the language of `q`.

use crate::context::Context;
use crate::context::terms::Expression;
use crate::query::q;
use std::collections::HashMap;

#[test]
fn a_text_means_later_what_it_meant() {
    let terms = [
        ("speed", "https://a.example/speed"),
        ("ex", "https://b.example/"),
        ("unit", "https://a.example/unit"),
        ("city", "https://a.example/city"),
        ("unused", "https://a.example/unused"),
    ];
    let iris: HashMap<String, String> = terms
        .into_iter()
        .map(|(t, i)| (t.to_owned(), i.to_owned()))
        .collect();
    let context = Context::new(iris, [], None);
    for text in [
        "speed>5;(ex:name==\"speed\"|speed.unit~=a)",
        "address[city.name]==\"x\"",
        "speed==1..2;https://c.example/x!=3",
    ] {
        let expression = Expression::new(text, &context);
        assert_eq!(
            q::parse(text, &expression.context()),
            q::parse(text, &context),
            "{text}"
        );
        let kept = serde_json::to_value(&expression).unwrap();
        assert!(kept["terms"].get("unused").is_none(), "{kept}");
    }
}
