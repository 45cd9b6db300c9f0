//! What the charts let the operator do, rule by rule.

use std::collections::BTreeSet;

use serde_json::Value;

/// Asserts the design's rules about RBAC on a rendered chart.
pub fn check(objects: &[Value], values: &[&str]) {
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let cluster = objects
        .iter()
        .any(|object| object.to_string().contains("--mode=cluster"));
    let bound: BTreeSet<_> = of_kind("ClusterRoleBinding")
        .map(|binding| binding["roleRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        bound.len(),
        usize::from(cluster),
        "{values:?}: bound everywhere: {bound:?}"
    );
    assert_eq!(
        of_kind("ClusterRole").count(),
        if cluster { 2 } else { 0 },
        "{values:?}"
    );
    for role in of_kind("Role").chain(of_kind("ClusterRole")) {
        let name = role["metadata"]["name"].as_str().unwrap();
        let everywhere = bound.contains(name);
        for rule in role["rules"].as_array().unwrap() {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    let found = format!("{values:?}: {name}: {verb} {resource}");
                    assert!(
                        verb != "*" && resource != "*" && !words(&rule["apiGroups"]).contains(&"*"),
                        "{found}"
                    );
                    assert!(
                        !["escalate", "bind", "impersonate", "deletecollection"].contains(&verb),
                        "{found}"
                    );
                    assert!(
                        !resource.ends_with("/exec")
                            && !resource.ends_with("/token")
                            && resource != "namespaces",
                        "{found}"
                    );
                    assert!(
                        resource != "secrets" || !["list", "watch", "patch"].contains(&verb),
                        "{found}"
                    );
                    let reads = ["get", "list", "watch"].contains(&verb);
                    // A finalizer of ours never keeps a namespace whose RoleBinding is gone (docs/decisions/0010).
                    let lets_go = (resource, verb) == ("contextsubscriptions", "patch");
                    assert!(
                        !everywhere
                            || (resource != "secrets" && (reads || resource.ends_with("/status") || lets_go)),
                        "{found}"
                    );
                }
            }
        }
    }
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect()
}
