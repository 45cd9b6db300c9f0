//! NetworkPolicies proven by traffic: every "no" stands beside a "yes" on the same way.

mod arbitrary;
mod cluster;
mod network;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use mim_lab::netpol::{self, Nft};

use crate::network::{NODE, Network, block_on};

const BROKER: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 11);
const WEB: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 20);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

const PODS: &str = "
metadata: {name: broker, namespace: city, labels: {app: broker}}
spec: {containers: [{name: broker, ports: [{name: http, containerPort: 1026}]}]}
status: {podIP: 10.244.0.10}
---
metadata: {name: web, namespace: city, labels: {app: web}}
spec: {containers: [{name: web}]}
status: {podIP: 10.244.0.20}
---
metadata: {name: guest, namespace: town, labels: {app: web}}
spec: {containers: [{name: web}]}
status: {podIP: 10.244.0.40}
";

/// A broker that serves, and two that call it, one of another namespace.
fn city() -> Network {
    let mut network = Network::new();
    network.pods(PODS);
    network.host("broker").serve_tcp(1026);
    network
}

/// A policy of namespace `city`.
fn policy(spec: &str) -> String {
    format!("metadata: {{name: tested, namespace: city}}\nspec: {spec}\n")
}

#[test]
fn default_deny_keeps_everybody_out_but_the_node() {
    let network = city();
    let [broker, web, guest, node] = ["broker", "web", "guest", "node"].map(|name| network.host(name));
    web.serve_tcp(80);
    web.reaches("broker", BROKER, 1026);
    guest.reaches("broker", BROKER, 1026);

    network.enforce(&policy("{podSelector: {matchLabels: {app: broker}}}"));
    web.is_kept_from(BROKER, 1026);
    guest.is_kept_from(BROKER, 1026);
    node.reaches("broker", BROKER, 1026);
    // Replies to what the isolated pod starts come in.
    broker.reaches("web", WEB, 80);

    network.enforce("");
    web.reaches("broker", BROKER, 1026);
}

#[test]
fn a_service_address_opens_no_door_and_closes_none() {
    let network = city();
    network.service(SERVICE, 80, SocketAddr::from((BROKER, 1026)));
    let [broker, web, guest, node] = ["broker", "web", "guest", "node"].map(|name| network.host(name));
    for host in [&web, &guest, &node, &broker] {
        host.reaches("broker", SERVICE, 80);
    }

    network.enforce(&policy(
        "{podSelector: {matchLabels: {app: broker}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 1026}]}]}",
    ));
    web.reaches("broker", SERVICE, 80);
    web.reaches("broker", BROKER, 1026);
    guest.is_kept_from(SERVICE, 80);
    guest.is_kept_from(BROKER, 1026);
    node.reaches("broker", SERVICE, 80);
    // A pod always reaches itself, also by a way that leaves and comes back.
    broker.reaches("broker", SERVICE, 80);
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let network = city();
    network.enforce(&policy(
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: town}}, podSelector: {matchLabels: {app: web}}}]}]}",
    ));
    network.host("guest").reaches("broker", BROKER, 1026);
    network.host("web").is_kept_from(BROKER, 1026);
}

#[test]
fn egress_is_limited_towards_pods_the_node_and_beyond() {
    let mut network = city();
    let office = Ipv4Addr::new(198, 51, 100, 7);
    network.outside("office", office);
    network.service(SERVICE, 443, SocketAddr::from((NODE, 6443)));
    let [broker, web, node, office_host] = ["broker", "web", "node", "office"].map(|name| network.host(name));
    node.serve_tcp(6443);
    node.serve_tcp(10250);
    node.serve_udp(53);
    office_host.serve_tcp(443);
    broker.serve_tcp(8081);
    web.reaches("broker", BROKER, 8081);
    web.reaches("node", NODE, 10250);
    web.reaches("office", office, 443);

    network.enforce(&policy(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [
           {to: [{podSelector: {matchLabels: {app: broker}}}], ports: [{port: 1026}]},
           {to: [{ipBlock: {cidr: 10.244.0.1/32}}], ports: [{port: 6443}, {port: 53, protocol: UDP}]}]}",
    ));
    web.reaches("broker", BROKER, 1026);
    web.is_kept_from(BROKER, 8081);
    web.reaches("node", NODE, 6443);
    web.reaches("node", SERVICE, 443);
    web.reaches_by_udp("node", NODE, 53);
    web.is_kept_from(NODE, 10250);
    web.is_kept_from(office, 443);

    network.enforce(&policy(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}",
    ));
    web.is_kept_from(NODE, 6443);
    web.is_kept_from(SERVICE, 443);
    web.is_kept_from_udp(NODE, 53);
    // Pods that no policy selects are free as before.
    broker.reaches("office", office, 443);
    network.host("guest").reaches("node", NODE, 10250);
}

#[test]
fn what_the_sender_may_the_receiver_must_allow_too() {
    let network = city();
    let web = network.host("web");
    let out = policy(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 1026}]}]}",
    );
    network.enforce(&out);
    web.reaches("broker", BROKER, 1026);

    let closed =
        "metadata: {name: closed, namespace: city}\nspec: {podSelector: {matchLabels: {app: broker}}}";
    network.enforce(&format!("{out}---\n{closed}"));
    web.is_kept_from(BROKER, 1026);
}

#[test]
fn a_port_name_is_another_number_in_each_pod() {
    let mut network = city();
    network.pods(
        "
metadata: {name: second, namespace: city, labels: {app: broker}}
spec: {containers: [{name: broker, ports: [{name: http, containerPort: 2026}]}]}
status: {podIP: 10.244.0.11}
",
    );
    let [broker, second, web] = ["broker", "second", "web"].map(|name| network.host(name));
    broker.serve_tcp(2026);
    second.serve_tcp(1026);
    second.serve_tcp(2026);
    web.reaches("broker", BROKER, 2026);
    web.reaches("second", SECOND, 1026);

    let ingress = "{podSelector: {matchLabels: {app: broker}}, ingress: [{ports: [{port: http}]}]}";
    let egress = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: broker}}}], ports: [{port: http}]}]}";
    for spec in [ingress, egress] {
        network.enforce(&policy(spec));
        web.reaches("broker", BROKER, 1026);
        web.reaches("second", SECOND, 2026);
        web.is_kept_from(BROKER, 2026);
        web.is_kept_from(SECOND, 1026);
    }
}

#[test]
fn a_range_of_ports_includes_its_end_and_protocols_are_apart() {
    let network = city();
    let [broker, web] = ["broker", "web"].map(|name| network.host(name));
    for port in [7999, 8000, 8100, 8101] {
        broker.serve_tcp(port);
        web.reaches("broker", BROKER, port);
    }
    for port in [8000, 5353] {
        broker.serve_udp(port);
        web.reaches_by_udp("broker", BROKER, port);
    }

    network.enforce(&policy(
        "{podSelector: {matchLabels: {app: broker}}, ingress: [{ports: [{port: 8000, endPort: 8100}, {port: 5353, protocol: UDP}]}]}",
    ));
    web.is_kept_from(BROKER, 7999);
    web.reaches("broker", BROKER, 8000);
    web.reaches("broker", BROKER, 8100);
    web.is_kept_from(BROKER, 8101);
    web.reaches_by_udp("broker", BROKER, 5353);
    web.is_kept_from_udp(BROKER, 8000);
}

#[test]
fn sctp_counts_as_a_protocol_of_its_own() {
    let network = city();
    let [broker, web] = ["broker", "web"].map(|name| network.host(name));
    assert!(web.sends_sctp(&broker, BROKER, 9), "the way is open");

    let allow = |port: u16, protocol: &str| {
        policy(&format!(
            "{{podSelector: {{matchLabels: {{app: broker}}}}, ingress: [{{ports: [{{port: {port}, protocol: {protocol}}}]}}]}}"
        ))
    };
    network.enforce(&allow(10, "SCTP"));
    assert!(!web.sends_sctp(&broker, BROKER, 9), "another port");
    assert!(web.sends_sctp(&broker, BROKER, 10), "this port");
    network.enforce(&allow(9, "TCP"));
    assert!(!web.sends_sctp(&broker, BROKER, 9), "another protocol");
}

#[test]
fn a_block_of_addresses_has_exceptions() {
    let mut network = city();
    let (office, printer) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 51, 100, 66));
    network.outside("office", office);
    network.outside("printer", printer);
    let [web, inside, excepted] = ["web", "office", "printer"].map(|name| network.host(name));
    for host in [&inside, &excepted] {
        host.serve_tcp(443);
        host.reaches("broker", BROKER, 1026);
    }
    web.reaches("printer", printer, 443);
    let block = "ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.64/26]}";

    network.enforce(&policy(&format!(
        "{{podSelector: {{matchLabels: {{app: broker}}}}, ingress: [{{from: [{{{block}}}]}}]}}"
    )));
    inside.reaches("broker", BROKER, 1026);
    excepted.is_kept_from(BROKER, 1026);
    web.is_kept_from(BROKER, 1026);

    network.enforce(&policy(&format!(
        "{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: [{{to: [{{{block}}}]}}]}}"
    )));
    web.reaches("office", office, 443);
    web.is_kept_from(printer, 443);
}

#[test]
fn ipv6_is_no_way_around_a_policy() {
    let network = city();
    let [broker, web] = ["broker", "web"].map(|name| network.host(name));
    let address = Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 0x10);
    broker.add_address("fd00:244::10/64");
    web.add_address("fd00:244::20/64");
    web.reaches("broker", address, 1026);

    network.enforce(&policy(
        "{podSelector: {matchLabels: {app: broker}}, ingress: [{ports: [{port: 9}]}]}",
    ));
    web.is_kept_from(address, 1026);
}

#[test]
fn replacing_the_rules_breaks_no_connection_and_opens_no_gap() {
    let network = city();
    let [web, guest] = ["web", "guest"].map(|name| network.host(name));
    let with_ports = |ports: &str| {
        policy(&format!(
            "{{podSelector: {{matchLabels: {{app: broker}}}}, ingress: [{{from: [{{podSelector: {{}}}}], ports: [{ports}]}}]}}"
        ))
    };
    guest.reaches("broker", BROKER, 1026);
    network.enforce(&with_ports("{port: 1026}"));
    let (mut connection, _) = web
        .connect(SocketAddr::from((BROKER, 1026)), Duration::from_secs(20))
        .unwrap();

    let attempts = std::thread::scope(|scope| {
        // SYNs of the guest go on all the time, also while tables are replaced: none may get through.
        let attempts =
            scope.spawn(|| guest.connect(SocketAddr::from((BROKER, 1026)), Duration::from_secs(4)));
        for number in 0..40 {
            network.enforce(&with_ports(&format!(
                "{{port: 1026}}, {{port: {}}}",
                2000 + number
            )));
            let mut byte = [0];
            connection.write_all(b"x").unwrap();
            connection.read_exact(&mut byte).unwrap();
            web.reaches("broker", BROKER, 1026);
        }
        attempts.join().unwrap()
    });
    assert!(attempts.is_err(), "{attempts:?}");
}

#[test]
fn a_text_that_nft_refuses_changes_nothing_and_is_told() {
    let network = city();
    network.enforce(&policy("{podSelector: {matchLabels: {app: broker}}}"));
    let broken = network.text("").replace("policy accept;", "policy perhaps;");
    let refused = block_on(Nft::in_namespace(network.node_namespace()).apply(&broken));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("perhaps"), "{message}");
    network.host("web").is_kept_from(BROKER, 1026);
}

#[test]
fn removal_frees_all_traffic_and_may_be_repeated() {
    let network = city();
    network.enforce(&policy("{podSelector: {matchLabels: {app: broker}}}"));
    network.host("web").is_kept_from(BROKER, 1026);
    assert!(network.tables().contains("mim-lab"));
    for _ in 0..2 {
        network
            .host("node")
            .inside(|| block_on(netpol::remove()))
            .unwrap();
        assert!(!network.tables().contains("mim-lab"));
    }
    network.host("web").reaches("broker", BROKER, 1026);
}
