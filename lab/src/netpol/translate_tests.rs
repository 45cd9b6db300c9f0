//! What policies mean, as tables of who reaches whom, in one small cluster. The traffic tests show that the kernel agrees.

use std::{collections::BTreeMap, net::Ipv4Addr};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Deserialize;

use super::{
    Endpoint, Ruleset, Snapshot, render,
    ruleset::{Isolated, Peers, Ports, Protocol, Rule, Side},
    translate,
};

const PODS: &str = "
metadata: {name: broker-0, namespace: city, labels: {app: broker, tier: back}}
spec: {containers: [{name: broker, ports: [{name: http, containerPort: 1026}, {name: health, containerPort: 8081}]}]}
status: {phase: Running, podIP: 10.244.0.10}
---
metadata: {name: broker-1, namespace: city, labels: {app: broker, tier: back}}
spec: {containers: [{name: broker, ports: [{name: http, containerPort: 2026}]}]}
status: {phase: Running, podIP: 10.244.0.11}
---
metadata: {name: web, namespace: city, labels: {app: web, tier: front}}
spec: {containers: [{name: web}]}
status: {phase: Running, podIP: 10.244.0.20}
---
metadata: {name: database, namespace: city, labels: {app: database}}
spec: {containers: [{name: postgres, ports: [{name: postgres, containerPort: 5432}]}]}
status: {phase: Running, podIP: 10.244.0.30}
---
metadata: {name: guest, namespace: town, labels: {app: web, tier: front}}
spec: {containers: [{name: web}]}
status: {phase: Running, podIP: 10.244.0.40}
---
metadata: {name: stranger, namespace: town, labels: {app: other}}
spec: {containers: [{name: web}]}
status: {phase: Running, podIP: 10.244.0.41}
---
metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {containers: [{name: dns, ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53}]}]}
status: {phase: Running, podIP: 10.244.0.2}
---
metadata: {name: ended, namespace: city, labels: {app: web, tier: front}}
spec: {containers: [{name: web}]}
status: {phase: Succeeded, podIP: 10.244.0.50}
---
metadata: {name: agent, namespace: city, labels: {app: web, tier: front}}
spec: {hostNetwork: true, containers: [{name: agent}]}
status: {phase: Running, podIP: 10.244.0.1}
";

/// Name to address of what is no pod with an address of its own.
const OTHERS: [(&str, &str); 5] = [
    ("ended", "10.244.0.50"),
    ("node", "10.244.0.1"),
    ("internet", "203.0.113.9"),
    ("office", "198.51.100.7"),
    ("printer", "198.51.100.66"),
];

fn documents<T: for<'a> Deserialize<'a>>(yaml: &str) -> Vec<T> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| T::deserialize(document).unwrap())
        .collect()
}

/// A policy of namespace `city`, from its spec.
fn policy(name: &str, spec: &str) -> NetworkPolicy {
    let mut policy: NetworkPolicy =
        serde_yaml::from_str(&format!("metadata: {{namespace: city, name: {name}}}")).unwrap();
    policy.spec = Some(serde_yaml::from_str(spec).unwrap());
    policy
}

fn policies(specs: &[&str]) -> Vec<NetworkPolicy> {
    let numbered = specs.iter().enumerate();
    numbered
        .map(|(number, spec)| policy(&format!("p{number}"), spec))
        .collect()
}

fn pods() -> Vec<Endpoint> {
    documents(PODS).iter().filter_map(Endpoint::of).collect()
}

fn rules(policies: &[NetworkPolicy]) -> Ruleset {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    translate(&Snapshot {
        policies: policies.iter().collect(),
        endpoints: pods(),
        namespaces: BTreeMap::from([
            ("city".to_owned(), labels(&[("team", "city")])),
            ("town".to_owned(), labels(&[("team", "town")])),
            ("kube-system".to_owned(), labels(&[])),
        ]),
    })
}

fn address(name: &str) -> Ipv4Addr {
    if let Some(pod) = pods().into_iter().find(|pod| pod.name == name) {
        return pod.address;
    }
    let (_, address) = OTHERS.iter().find(|(other, _)| *other == name).unwrap();
    address.parse().unwrap()
}

/// Whether a new connection from one to the other passes, by the meaning of the value alone.
fn passes(ruleset: &Ruleset, from: &str, to: &str, port: &str) -> bool {
    let (from, to) = (address(from), address(to));
    from == to
        || (side_passes(&ruleset.egress, from, to, to, port)
            && side_passes(&ruleset.ingress, to, from, to, port))
}

fn side_passes(side: &Side, pod: Ipv4Addr, peer: Ipv4Addr, to: Ipv4Addr, port: &str) -> bool {
    let allowed = |Isolated { policies, .. }: &Isolated| {
        let mut rules = policies.iter().flat_map(|policy| &side.policies[policy]);
        rules.any(|rule| rule_matches(rule, peer, to, port))
    };
    side.pods.get(&pod).is_none_or(allowed)
}

fn rule_matches(rule: &Rule, peer: Ipv4Addr, to: Ipv4Addr, port: &str) -> bool {
    let peer_matches = match &rule.peers {
        Peers::Any => true,
        Peers::Among(addresses) => addresses.contains(peer),
    };
    let port_matches = match (&rule.ports, port.split_once('/')) {
        (Ports::Any, _) => true,
        (Ports::Among { .. }, None) => false,
        (Ports::Among { numbered, named }, Some((protocol, number))) => {
            let protocol = Protocol::parse(Some(&protocol.to_uppercase())).unwrap();
            let number = number.parse().unwrap();
            named.contains(&(to, protocol, number))
                || numbered
                    .get(&protocol)
                    .is_some_and(|numbers| numbers.contains(number))
        }
    };
    peer_matches && port_matches
}

/// Each row: from, to, port (`icmp` for none), whether it passes.
fn check(specs: &[&str], rows: &[(&str, &str, &str, bool)]) {
    let ruleset = rules(&policies(specs));
    for (from, to, port, expected) in rows {
        assert_eq!(
            passes(&ruleset, from, to, port),
            *expected,
            "{from} -> {to} {port}\n{ruleset:#?}"
        );
    }
}

#[test]
fn without_policies_everything_passes() {
    assert_eq!(rules(&[]), Ruleset::default());
}

#[test]
fn default_deny_of_ingress_leaves_egress_and_other_namespaces_free() {
    check(
        &["{podSelector: {}, policyTypes: [Ingress]}"],
        &[
            ("web", "broker-0", "tcp/1026", false),
            ("internet", "web", "icmp", false),
            ("web", "internet", "tcp/443", true),
            ("web", "guest", "tcp/80", true),
            ("web", "web", "tcp/80", true),
        ],
    );
}

#[test]
fn default_deny_of_egress_leaves_ingress_free() {
    check(
        &["{podSelector: {}, policyTypes: [Egress]}"],
        &[
            ("web", "broker-0", "tcp/1026", false),
            ("web", "node", "tcp/6443", false),
            ("web", "internet", "icmp", false),
            ("guest", "web", "tcp/80", true),
            ("web", "web", "tcp/80", true),
        ],
    );
}

#[test]
fn an_empty_rule_allows_everything() {
    check(
        &[
            "{podSelector: {}, policyTypes: [Ingress, Egress]}",
            "{podSelector: {}, ingress: [{}], egress: [{}], policyTypes: [Ingress, Egress]}",
        ],
        &[
            ("stranger", "broker-0", "sctp/9", true),
            ("broker-0", "internet", "icmp", true),
        ],
    );
}

#[test]
fn empty_lists_of_peers_and_ports_are_like_none() {
    check(
        &["{podSelector: {}, ingress: [{from: [], ports: []}]}"],
        &[("internet", "broker-0", "icmp", true)],
    );
}

#[test]
fn without_types_ingress_is_limited_and_egress_only_if_it_has_rules() {
    let web_to_broker = ("web", "broker-0", "tcp/1026", false);
    check(
        &["{podSelector: {}}"],
        &[web_to_broker, ("web", "internet", "tcp/443", true)],
    );
    check(
        &["{podSelector: {}, egress: []}"],
        &[web_to_broker, ("web", "internet", "tcp/443", true)],
    );
    check(
        &["{podSelector: {}, egress: [{ports: [{port: 53}]}]}"],
        &[web_to_broker, ("web", "internet", "tcp/443", false)],
    );
}

#[test]
fn a_pod_selector_finds_pods_of_the_same_namespace_only() {
    check(
        &[
            "{podSelector: {matchLabels: {app: broker}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
        ],
        &[
            ("web", "broker-0", "tcp/1026", true),
            ("guest", "broker-0", "tcp/1026", false),
            ("database", "broker-0", "tcp/1026", false),
            ("guest", "database", "tcp/5432", true),
        ],
    );
}

#[test]
fn a_namespace_selector_finds_all_pods_of_those_namespaces() {
    check(
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: town}}}]}]}"],
        &[
            ("guest", "broker-0", "tcp/1026", true),
            ("stranger", "broker-0", "tcp/1026", true),
            ("web", "broker-0", "tcp/1026", false),
        ],
    );
}

#[test]
fn an_empty_namespace_selector_finds_all_pods_but_nobody_else() {
    check(
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"],
        &[
            ("stranger", "broker-0", "tcp/1026", true),
            ("web", "broker-0", "tcp/1026", true),
            ("internet", "broker-0", "tcp/1026", false),
        ],
    );
}

#[test]
fn both_selectors_in_one_peer_must_match_and_two_peers_are_alternatives() {
    let namespace = "namespaceSelector: {matchLabels: {team: town}}";
    let pod = "podSelector: {matchLabels: {app: web}}";
    check(
        &[&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{{{namespace}, {pod}}}]}}]}}"
        )],
        &[
            ("guest", "broker-0", "tcp/1026", true),
            ("stranger", "broker-0", "tcp/1026", false),
            ("web", "broker-0", "tcp/1026", false),
        ],
    );
    check(
        &[&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{{{namespace}}}, {{{pod}}}]}}]}}"
        )],
        &[
            ("guest", "broker-0", "tcp/1026", true),
            ("stranger", "broker-0", "tcp/1026", true),
            ("web", "broker-0", "tcp/1026", true),
            ("database", "broker-0", "tcp/1026", false),
        ],
    );
}

#[test]
fn expressions_select_as_the_api_says() {
    for (expression, web, database) in [
        ("{key: app, operator: In, values: [web, x]}", true, false),
        ("{key: app, operator: NotIn, values: [web]}", false, true),
        ("{key: tier, operator: NotIn, values: [front]}", false, true),
        ("{key: tier, operator: Exists}", true, false),
        ("{key: tier, operator: DoesNotExist}", false, true),
    ] {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{app: broker}}}}, ingress: [{{from: [{{podSelector: {{matchExpressions: [{expression}]}}}}]}}]}}"
        );
        check(
            &[&spec],
            &[
                ("web", "broker-0", "tcp/1026", web),
                ("database", "broker-0", "tcp/1026", database),
            ],
        );
    }
}

#[test]
fn labels_and_expressions_of_one_selector_must_both_match() {
    check(
        &[
            "{podSelector: {matchLabels: {app: broker}, matchExpressions: [{key: tier, operator: NotIn, values: [back]}]}}",
        ],
        &[("web", "broker-0", "tcp/1026", true)],
    );
}

#[test]
fn a_port_counts_with_its_protocol_and_tcp_is_the_default() {
    check(
        &[
            "{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 9, protocol: SCTP}]}]}",
        ],
        &[
            ("web", "broker-0", "tcp/80", true),
            ("web", "broker-0", "udp/80", false),
            ("web", "broker-0", "udp/53", true),
            ("web", "broker-0", "tcp/53", false),
            ("web", "broker-0", "sctp/9", true),
            ("web", "broker-0", "icmp", false),
        ],
    );
}

#[test]
fn a_protocol_without_port_is_all_its_ports() {
    check(
        &["{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}"],
        &[
            ("web", "broker-0", "udp/0", true),
            ("web", "broker-0", "udp/65535", true),
            ("web", "broker-0", "tcp/80", false),
        ],
    );
}

#[test]
fn an_end_port_is_included() {
    check(
        &[
            "{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8100}, {port: 8050, endPort: 8200}]}]}",
        ],
        &[
            ("web", "broker-0", "tcp/7999", false),
            ("web", "broker-0", "tcp/8000", true),
            ("web", "broker-0", "tcp/8200", true),
            ("web", "broker-0", "tcp/8201", false),
        ],
    );
}

#[test]
fn a_port_name_of_ingress_is_each_selected_pods_own_number() {
    check(
        &["{podSelector: {}, ingress: [{ports: [{port: http}]}]}"],
        &[
            ("web", "broker-0", "tcp/1026", true),
            ("web", "broker-0", "tcp/2026", false),
            ("web", "broker-1", "tcp/2026", true),
            ("web", "broker-1", "tcp/1026", false),
            ("web", "database", "tcp/1026", false),
        ],
    );
}

#[test]
fn a_port_name_of_egress_is_the_called_pods_number() {
    check(
        &[
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: broker}}}], ports: [{port: http}, {port: postgres}]}]}",
        ],
        &[
            ("web", "broker-0", "tcp/1026", true),
            ("web", "broker-1", "tcp/2026", true),
            ("web", "broker-1", "tcp/1026", false),
            ("web", "database", "tcp/5432", false),
        ],
    );
}

#[test]
fn an_exception_holds_for_its_own_block_only() {
    let block = "{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.64/26]}}";
    check(
        &[&format!("{{podSelector: {{}}, ingress: [{{from: [{block}]}}]}}")],
        &[
            ("office", "broker-0", "tcp/1026", true),
            ("printer", "broker-0", "tcp/1026", false),
            ("internet", "broker-0", "tcp/1026", false),
        ],
    );
    let other = "{ipBlock: {cidr: 198.51.100.66/32}}";
    check(
        &[&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{other}, {block}]}}]}}"
        )],
        &[("printer", "broker-0", "tcp/1026", true)],
    );
}

#[test]
fn blocks_that_are_not_ipv4_match_nobody() {
    check(
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}"],
        &[("internet", "broker-0", "tcp/1026", false)],
    );
    check(
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: ['fd00::/8']}}]}]}"],
        &[("internet", "broker-0", "tcp/1026", false)],
    );
}

#[test]
fn pods_that_ended_or_use_the_hosts_network_are_nobodys_peers() {
    let ruleset = rules(&policies(&[
        "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}], policyTypes: [Ingress, Egress]}",
    ]));
    for name in ["ended", "node"] {
        assert!(!passes(&ruleset, name, "broker-0", "tcp/1026"), "{name}");
        assert!(!ruleset.ingress.pods.contains_key(&address(name)), "{name}");
        assert!(!ruleset.egress.pods.contains_key(&address(name)), "{name}");
    }
}

#[test]
fn what_one_policy_allows_another_does_not_take_away() {
    check(
        &[
            "{podSelector: {matchLabels: {app: broker}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
            "{podSelector: {}, ingress: [{ports: [{port: 8081}]}]}",
        ],
        &[
            ("web", "broker-0", "tcp/1026", true),
            ("stranger", "broker-0", "tcp/8081", true),
            ("stranger", "broker-0", "tcp/1026", false),
            ("web", "database", "tcp/5432", false),
        ],
    );
}

#[test]
fn both_sides_must_allow_a_connection() {
    let from_web =
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 1026}]}]}";
    let to_broker =
        "{podSelector: {matchLabels: {app: broker}}, ingress: [{ports: [{port: 1026}, {port: 8081}]}]}";
    check(
        &[from_web, to_broker],
        &[
            ("web", "broker-0", "tcp/1026", true),
            ("web", "broker-0", "tcp/8081", false),
            ("web", "database", "tcp/1026", true),
            ("web", "broker-0", "tcp/80", false),
            ("guest", "broker-0", "tcp/8081", true),
        ],
    );
}

#[test]
fn only_the_clusters_dns_may_be_allowed() {
    check(
        &[
            "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: dns-tcp}]}]}",
        ],
        &[
            ("web", "dns", "udp/53", true),
            ("web", "dns", "tcp/53", true),
            ("web", "node", "udp/53", false),
            ("web", "node", "tcp/6443", false),
            ("web", "internet", "udp/53", false),
        ],
    );
}

#[test]
fn a_policy_that_selects_no_pod_leaves_no_trace() {
    let ruleset = rules(&policies(&["{podSelector: {matchLabels: {app: nobody}}}"]));
    assert_eq!(ruleset, Ruleset::default());
}

#[test]
fn the_order_of_what_was_read_changes_nothing() {
    let mut shuffled = policies(&[EVERYTHING, "{podSelector: {}}"]);
    let before = render(&rules(&shuffled), "bridge0");
    shuffled.reverse();
    assert_eq!(render(&rules(&shuffled), "bridge0"), before);
}

/// Every construct in one policy.
const EVERYTHING: &str = "
podSelector: {matchLabels: {app: broker}}
policyTypes: [Ingress, Egress]
ingress:
- from:
  - podSelector: {matchLabels: {app: web}}
  - ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.64/26]}
  ports: [{port: http}, {port: 8000, endPort: 8100}, {port: 9, protocol: SCTP}]
- from: [{namespaceSelector: {matchLabels: {team: town}}}]
egress:
- to: [{podSelector: {matchLabels: {app: database}}}]
  ports: [{port: postgres}]
- ports: [{port: 53, protocol: UDP}, {port: 53}]
- to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 169.254.0.0/16]}}]
  ports: [{port: 443}]
- to: [{podSelector: {matchLabels: {app: nobody}}}]
";

fn golden(name: &str, ruleset: &Ruleset) {
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, render(ruleset, "bridge0"));
    });
}

#[test]
fn golden_text_without_policies() {
    golden("no_policies", &rules(&[]));
}

#[test]
fn golden_text_of_default_deny() {
    let deny = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
    golden("default_deny", &rules(&policies(&[deny])));
}

#[test]
fn golden_text_of_every_construct() {
    golden("every_construct", &rules(&policies(&[EVERYTHING])));
}

#[test]
fn a_name_longer_than_a_comment_may_be_is_cut() {
    let long = "x".repeat(253);
    let text = render(&rules(&[policy(&long, "{podSelector: {}}")]), "bridge0");
    assert!(text.contains(&format!("comment \"city/{}\"", "x".repeat(115))));
    assert!(!text.contains(&"x".repeat(116)));
}
