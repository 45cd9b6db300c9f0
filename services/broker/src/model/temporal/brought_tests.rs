use super::*;
use crate::context::Context;
use crate::model::change;
use crate::model::read::{Nulls, Reader};

fn fragment(text: &str) -> PastFragment {
    let context = Context::core();
    let reader = Reader {
        context: &context,
        nulls: Nulls::Refused,
    };
    reader
        .past_fragment(&Json::parse(text.as_bytes()).unwrap())
        .unwrap()
}

fn values(fragment: &Fragment) -> Vec<String> {
    let instances = fragment.attributes.values().flatten();
    instances.map(|instance| instance.value.to_text()).collect()
}

#[test]
fn the_current_entity_takes_the_latest_instance_of_each_dataset_that_is_not_older_than_its_own() {
    let now: Timestamp = "2024-06-01T00:00:00Z".parse().unwrap();
    let past = fragment(
        r#"{"a":[{"value":3,"observedAt":"2024-01-03T00:00:00Z"},{"value":1,"observedAt":"2024-01-01T00:00:00Z"},
                 {"value":9,"observedAt":"2023-01-01T00:00:00Z","datasetId":"urn:d:1"}],
            "b":[{"value":5},{"value":6}],"scope":["/s"]}"#,
    );
    let winners = latest(&past, None, now);
    assert_eq!(values(&winners), ["3", "9", "6"]);
    assert_eq!(winners.scope, Some(vec!["/s".to_owned()]));
    let entity = change::create(winners, now);
    let older = fragment(
        r#"{"a":[{"value":2,"observedAt":"2024-01-02T00:00:00Z"}],"b":[{"value":7,"observedAt":"2024-05-31T00:00:00Z"}]}"#,
    );
    assert_eq!(values(&latest(&older, Some(&entity), now)), [""; 0]);
    let newer = fragment(r#"{"a":[{"value":4,"observedAt":"2024-01-04T00:00:00Z"}],"b":[{"value":8}]}"#);
    assert_eq!(values(&latest(&newer, Some(&entity), now)), ["4", "8"]);
}
