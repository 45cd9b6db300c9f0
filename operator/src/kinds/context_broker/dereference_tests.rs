use super::*;

fn witnesses(status: Option<&str>, pod: Option<&str>, record: Option<&str>) -> Witnesses {
    Witnesses {
        status: status.map(str::to_owned),
        pod: pod.map(str::to_owned),
        record: record.map(str::to_owned),
    }
}

fn known(identifier: &str) -> Data {
    Data::Known(identifier.to_owned())
}

fn lost(identifier: &str, found: &str) -> Data {
    Data::Lost {
        identifier: identifier.to_owned(),
        found: found.to_owned(),
    }
}

#[test]
fn what_is_edited_most_easily_is_believed_last() {
    for (status, pod, record, expected) in [
        (None, None, None, Data::New),
        (None, Some("1"), None, known("1")),
        (Some("1"), Some("1"), Some("edited"), known("1")),
        (None, Some("1"), Some("edited"), known("1")),
        (Some("1"), None, Some("edited"), known("1")),
        // An object made anew over data that was kept: nobody else knows.
        (None, None, Some("1"), known("1")),
    ] {
        let given = format!("{status:?} {pod:?} {record:?}");
        assert_eq!(
            witnesses(status, pod, record).conclude(None, None),
            expected,
            "{given}"
        );
    }
}

#[test]
fn a_volume_that_holds_other_data_is_a_loss_and_never_a_silent_empty_city() {
    let found = "the volume holds system identifier 2";
    assert_eq!(
        witnesses(Some("1"), Some("2"), None).conclude(None, None),
        lost("1", found)
    );
    assert_eq!(
        witnesses(Some("1"), Some("2"), None).conclude(None, Some("1")),
        known("2"),
        "accepted"
    );
}

/// From the loss to the first status that shows the new data, with the acceptance on the object all the time.
#[test]
fn an_accepted_loss_is_forgotten_step_by_step() {
    let gone = || Some("no claim".to_owned());
    let all = || witnesses(Some("1"), None, Some("1"));
    assert_eq!(all().conclude(gone(), None), lost("1", "no claim"));
    assert_eq!(all().conclude(gone(), Some("7")), lost("1", "no claim"));
    let accepted = Data::LossAccepted {
        identifier: "1".into(),
    };
    assert_eq!(all().conclude(gone(), Some("1")), accepted);
    let edited = witnesses(Some("1"), None, Some("edited"));
    assert_eq!(
        edited.conclude(gone(), Some("1")),
        accepted,
        "whatever the record says"
    );
    let unrecorded = || witnesses(Some("1"), None, None);
    assert_eq!(unrecorded().conclude(gone(), Some("1")), Data::New);
    assert_eq!(
        unrecorded().conclude(None, Some("1")),
        Data::New,
        "the claim is made"
    );
    assert_eq!(
        witnesses(Some("1"), Some("2"), None).conclude(None, Some("1")),
        known("2")
    );
    assert_eq!(
        witnesses(Some("2"), Some("2"), Some("2")).conclude(None, Some("1")),
        known("2")
    );
    assert_eq!(
        witnesses(Some("2"), None, Some("2")).conclude(gone(), Some("1")),
        lost("2", "no claim"),
        "one acceptance is for one loss"
    );
    assert_eq!(
        all().conclude(None, Some("1")),
        known("1"),
        "in advance it means nothing"
    );
}

#[test]
fn a_port_is_a_number_and_the_words_name_secret_and_key() {
    assert_eq!(port(" 6432\n", "db", "spec.x"), Ok(6432));
    for text in ["x", "0", "65536", "-1"] {
        let missing = port(text, "db", "spec.x").unwrap_err();
        assert_eq!(missing.reason, Reason::DependencyInvalid);
        assert!(
            missing.message.starts_with("spec.x: Secret db") && missing.message.contains("port"),
            "{missing}"
        );
    }
}

#[test]
fn a_context_is_a_json_object_with_that_member_and_the_words_name_map_and_key() {
    for text in [
        r#"{"@context": {}}"#,
        r#"{"a": [1, {}], "@context": ["https://example.org/c"]}"#,
    ] {
        assert_eq!(is_context(Some(text), "models", "a.jsonld"), Ok(()), "{text}");
    }
    for text in [
        None,
        Some(""),
        Some("{"),
        Some("[]"),
        Some("{}"),
        Some(r#"{"context": {}}"#),
        Some("@context: {}"),
    ] {
        let missing = is_context(text, "models", "a.jsonld").unwrap_err();
        assert_eq!(missing.reason, Reason::DependencyInvalid);
        assert!(
            missing.message.starts_with("spec.contexts: ConfigMap models")
                && missing.message.contains("key a.jsonld"),
            "{missing}"
        );
    }
}

#[test]
fn looking_again_and_finding_the_same_is_shown_every_ten_minutes() {
    let at = |minutes: i64, message: &str| Probe {
        result: mim_crds::ProbeResult::Answered,
        message: message.to_owned(),
        at: jiff::Timestamp::from_second(minutes * 60).unwrap(),
    };
    let recorded = || Some(at(0, "well"));
    assert_eq!(shown(None, recorded()), recorded(), "not looked yet");
    assert_eq!(shown(Some(at(9, "well")), recorded()), recorded());
    assert_eq!(shown(Some(at(10, "well")), recorded()), Some(at(10, "well")));
    assert_eq!(shown(Some(at(1, "ill")), recorded()), Some(at(1, "ill")));
    assert_eq!(shown(Some(at(1, "well")), None), Some(at(1, "well")));
}
