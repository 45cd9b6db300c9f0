use super::*;
use crate::reconcile::child::MANAGER;
use serde_json::json;

fn pod(name: &str, uid: &str, version: u64) -> LiveObject {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "city", "uid": uid, "resourceVersion": version.to_string(),
            "labels": {OWNER_KIND_LABEL: "ContextBroker", OWNER_NAME_LABEL: "vienna", "app.kubernetes.io/component": "broker", "else": "x"},
            "managedFields": [{"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {}}}],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": null}],
                   "containerStatuses": [{"name": "broker", "ready": true, "restartCount": 1, "image": "x",
                                          "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "lastState": {}}]}
    }))
    .unwrap()
}

fn vienna() -> OwnerKey {
    OwnerKey {
        kind: "ContextBroker".into(),
        namespace: "city".into(),
        name: "vienna".into(),
    }
}

#[test]
fn entries_are_found_by_the_labels_of_their_owner() {
    let index = Index::default();
    assert_eq!(index.apply(ChildKind::Pod, pod("a", "1", 5)), Some(vienna()));
    let live = index.of(&vienna());
    let (name, seen) = live.pods("broker").next().unwrap();
    assert_eq!((name, seen.is_ready()), ("a", true));
    assert_eq!(seen.labels.get("else"), None);
}

#[test]
fn a_trailing_watch_does_not_undo_what_an_answer_has_shown() {
    let index = Index::default();
    index.apply(ChildKind::Pod, pod("a", "1", 7));
    assert_eq!(index.apply(ChildKind::Pod, pod("a", "1", 5)), None);
    assert_eq!(
        index
            .of(&vienna())
            .get(ChildKind::Pod, "a")
            .unwrap()
            .resource_version,
        7
    );
    // Nor does an earlier object of that name; a later one does.
    assert_eq!(index.apply(ChildKind::Pod, pod("a", "0", 6)), None);
    assert!(index.apply(ChildKind::Pod, pod("a", "2", 8)).is_some());
}

#[test]
fn what_an_answer_has_shown_is_nothing_new_when_the_watch_shows_it_again() {
    let index = Index::default();
    assert_eq!(index.apply(ChildKind::Pod, pod("a", "1", 7)), Some(vienna()));
    assert_eq!(index.apply(ChildKind::Pod, pod("a", "1", 7)), None);
    assert_eq!(
        index.apply(ChildKind::Pod, pod("b", "2", 7)),
        Some(vienna()),
        "another object"
    );
    assert_eq!(
        index.apply(ChildKind::Service, pod("a", "3", 7)),
        Some(vienna()),
        "another kind"
    );
}

#[test]
fn a_late_delete_of_an_earlier_object_does_not_remove_its_successor() {
    let index = Index::default();
    index.apply(ChildKind::Pod, pod("a", "2", 9));
    assert_eq!(index.delete(ChildKind::Pod, &pod("a", "1", 8)), None);
    assert_eq!(index.delete(ChildKind::Pod, &pod("a", "2", 9)), Some(vienna()));
    assert!(index.of(&vienna()).get(ChildKind::Pod, "a").is_none());
}

#[test]
fn an_answer_that_comes_after_the_news_that_its_object_is_gone_does_not_bring_it_back() {
    let index = Index::default();
    let has = |name| index.of(&vienna()).get(ChildKind::Pod, name).is_some();
    let sent = index.send(ChildKind::Pod, "city", "a");
    index.apply(ChildKind::Pod, pod("a", "1", 5));
    assert_eq!(index.delete(ChildKind::Pod, &pod("a", "1", 6)), Some(vienna()));
    assert!(!sent.answered(pod("a", "1", 5)) && !has("a"));
    // Also where the watch had shown nothing but the end, or the end of what nobody knew to be ours.
    for labelled in [true, false] {
        let sent = index.send(ChildKind::Pod, "city", "a");
        let mut gone = pod("a", "1", 6);
        gone.metadata.labels = gone.metadata.labels.filter(|_| labelled);
        assert_eq!(index.delete(ChildKind::Pod, &gone), None);
        assert!(!sent.answered(pod("a", "1", 5)) && !has("a"), "{labelled}");
    }
    // What has gone before a write is sent says nothing of what that writes.
    let sent = index.send(ChildKind::Pod, "city", "a");
    assert!(sent.answered(pod("a", "2", 7)) && has("a"));
    assert!(
        index.read().awaited.is_empty(),
        "nothing is kept of what is answered"
    );
}

#[test]
fn an_answer_is_taken_in_whatever_else_goes_meanwhile() {
    let end = |kind, object: LiveObject| {
        let index = Index::default();
        let sent = index.send(ChildKind::Pod, "city", "a");
        index.delete(kind, &object);
        let there = sent.answered(pod("a", "2", 8));
        assert_eq!(there, index.of(&vienna()).get(ChildKind::Pod, "a").is_some());
        there
    };
    assert!(end(ChildKind::Pod, pod("a", "1", 7)), "its predecessor");
    assert!(!end(ChildKind::Pod, pod("a", "2", 9)), "the object itself");
    assert!(end(ChildKind::Pod, pod("b", "1", 9)), "another name");
    assert!(end(ChildKind::Service, pod("a", "1", 9)), "another kind");
    let mut elsewhere = pod("a", "1", 9);
    elsewhere.metadata.namespace = Some("other".into());
    assert!(end(ChildKind::Pod, elsewhere), "another namespace");
}

#[test]
fn an_answer_that_a_list_has_overtaken_is_left_to_the_watch_that_follows_the_list() {
    let index = Index::default();
    let list = |kind, namespace, listed: &[&str]| {
        let listed: HashSet<_> = listed.iter().map(|uid| (*uid).to_owned()).collect();
        index.retain(kind, namespace, &listed, u64::MAX);
    };
    let answer = |relist: &dyn Fn()| {
        let sent = index.send(ChildKind::Pod, "city", "a");
        relist();
        sent.answered(pod("a", "1", 5))
    };
    assert!(!answer(&|| list(ChildKind::Pod, None, &[])));
    assert!(!answer(&|| list(ChildKind::Pod, Some("city"), &[])));
    assert!(index.of(&vienna()).get(ChildKind::Pod, "a").is_none());
    assert!(answer(&|| list(ChildKind::Pod, Some("other"), &[])));
    assert!(answer(&|| list(ChildKind::Deployment, None, &[])));
    // What the list has is known, and an answer newer than the list is not lost.
    let sent = index.send(ChildKind::Pod, "city", "a");
    list(ChildKind::Pod, None, &["1"]);
    assert!(sent.answered(pod("a", "1", 6)));
    let seen = index.of(&vienna());
    assert_eq!(seen.get(ChildKind::Pod, "a").unwrap().resource_version, 6);
    // The watch that follows the list shows what is newer than the list, also when it ends.
    let older = |relist: &dyn Fn()| {
        let sent = index.send(ChildKind::Pod, "city", "b");
        relist();
        sent.answered(pod("b", "2", 5))
    };
    let list_of = |version| index.retain(ChildKind::Pod, None, &HashSet::new(), version);
    assert!(!older(&|| drop(list_of(5))));
    assert!(older(&|| drop(list_of(4))));
}

#[test]
fn a_write_that_is_given_up_is_not_kept() {
    let index = Index::default();
    drop(index.send(ChildKind::Pod, "city", "a"));
    assert!(index.read().awaited.is_empty());
}

#[test]
fn a_child_that_lost_its_labels_is_still_its_owners_child() {
    let index = Index::default();
    index.apply(ChildKind::Pod, pod("a", "1", 5));
    let mut bare = pod("a", "1", 6);
    bare.metadata.labels = None;
    assert_eq!(index.apply(ChildKind::Pod, bare.clone()), Some(vienna()));
    assert!(!index.of(&vienna()).get(ChildKind::Pod, "a").unwrap().labelled);
    // Nor are labels that name another broker those of its owner.
    let mut renamed = pod("a", "1", 7);
    renamed.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({
            "apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "name": "graz", "uid": "u", "controller": true
        }))
        .unwrap(),
    ]);
    let other = Index::default();
    let graz = other.apply(ChildKind::Pod, renamed).unwrap();
    assert_eq!(graz.name, "graz");
    assert!(!other.of(&graz).get(ChildKind::Pod, "a").unwrap().labelled);
    // Another object of that name says nothing of whose it is.
    bare.metadata.uid = Some("2".into());
    assert_eq!(index.apply(ChildKind::Pod, bare.clone()), None);
    bare.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({
            "apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "name": "vienna", "uid": "u", "controller": true
        }))
        .unwrap(),
    ]);
    bare.metadata.resource_version = Some("7".into());
    assert_eq!(index.apply(ChildKind::Pod, bare), Some(vienna()));
}

#[test]
fn a_child_that_lost_its_labels_and_goes_before_they_are_put_back_is_forgotten_for_its_owner() {
    let claim = |uid: &str, version, labelled| {
        let mut claim = pod("vienna-database", uid, version);
        claim.metadata.labels = claim.metadata.labels.filter(|_| labelled);
        claim
    };
    let index = Index::default();
    let kind = ChildKind::PersistentVolumeClaim;
    index.apply(kind, claim("1", 5, true));
    assert_eq!(index.apply(kind, claim("1", 6, false)), Some(vienna()));
    // The end of another object of that name says nothing of this one.
    assert_eq!(index.delete(kind, &claim("0", 7, false)), None);
    assert!(index.of(&vienna()).get(kind, "vienna-database").is_some());
    assert_eq!(index.delete(kind, &claim("1", 8, false)), Some(vienna()));
    assert!(index.of(&vienna()).get(kind, "vienna-database").is_none());
}

#[test]
fn a_relist_forgets_what_is_gone_in_its_scope_only() {
    let index = Index::default();
    index.apply(ChildKind::Pod, pod("a", "1", 1));
    index.apply(ChildKind::Pod, pod("b", "2", 1));
    assert!(
        index
            .retain(ChildKind::Pod, Some("other"), &HashSet::new(), 1)
            .is_empty()
    );
    assert!(
        index
            .retain(ChildKind::Deployment, None, &HashSet::new(), 1)
            .is_empty()
    );
    assert_eq!(
        index.retain(ChildKind::Pod, Some("city"), &HashSet::from(["1".into()]), 1),
        [vienna()]
    );
    assert!(index.of(&vienna()).get(ChildKind::Pod, "b").is_none());
}

#[test]
fn a_relist_does_not_forget_what_was_made_while_it_was_read() {
    let index = Index::default();
    index.apply(ChildKind::Pod, pod("a", "1", 5));
    index.apply(ChildKind::Pod, pod("b", "2", 6));
    assert_eq!(index.retain(ChildKind::Pod, None, &HashSet::new(), 5), [vienna()]);
    let live = index.of(&vienna());
    assert!(live.get(ChildKind::Pod, "a").is_none() && live.get(ChildKind::Pod, "b").is_some());
}
