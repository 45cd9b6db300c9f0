//! From the value to the text that `nft -f -` reads. Deterministic: equal values give equal bytes.
//!
//! How a packet goes: a reply to what was allowed passes. What a pod starts goes through the chain of that pod (`out-…`), if it
//! is isolated; a rule that matches there sends it on to `arrive`, which asks the chain of the receiving pod (`in-…`), if that
//! one is isolated. A pod chain ends in a counted drop, so `nft list table inet mim-lab` shows which pod lost packets.
//!
//! Bridged packets come to the forward hook because `net.bridge.bridge-nf-call-iptables` is 1, and after the service address
//! became a pod's address in prerouting. What the node itself starts (probes) uses the output hook, where nothing is filtered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::Ipv4Addr,
};

use super::ruleset::{Addresses, Name, Numbers, Peers, Ports, Protocol, Rule, Ruleset, Side};

/// The table that holds everything of this module.
pub const TABLE: &str = "inet mim-lab";

/// The kernel keeps comments of at most 127 bytes.
const LONGEST_COMMENT: usize = 120;

/// Text that makes the table go, whether it is there or not.
#[must_use]
pub fn removal() -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

/// Text that replaces the whole table in one transaction. `bridge` is the bridge that pods are plugged into.
#[must_use]
pub fn render(ruleset: &Ruleset, bridge: &str) -> String {
    let mut text = removal();
    let body = [
        own_addresses(ruleset),
        IN.side(&ruleset.ingress),
        arrive(),
        OUT.side(&ruleset.egress),
        base("forward", bridge, "    goto arrive\n"),
        base("input", bridge, ""),
    ];
    line(&mut text, format_args!("table {TABLE} {{"));
    for part in body {
        text.push_str(&part);
    }
    text.push_str("}\n");
    text
}

/// What differs between the two directions.
struct Direction {
    prefix: &'static str,
    peer: &'static str,
    allow: &'static str,
}

const IN: Direction = Direction {
    prefix: "in",
    peer: "ip saddr",
    allow: "accept",
};

const OUT: Direction = Direction {
    prefix: "out",
    peer: "ip daddr",
    allow: "goto arrive",
};

impl Direction {
    /// A chain per policy, a chain per isolated pod, and the map from address to the pod's chain.
    fn side(&self, side: &Side) -> String {
        let Self { prefix, allow, .. } = self;
        let chains: BTreeMap<&Name, String> = (1..)
            .zip(side.policies.keys())
            .map(|(number, policy)| (policy, format!("{prefix}-policy-{number}")))
            .collect();
        let mut text = String::new();
        for (policy, chain) in &chains {
            let rules = side.policies.get(*policy).into_iter().flatten();
            let rules = rules.flat_map(|rule| self.matches(rule));
            open_chain(&mut text, chain, policy);
            for what in rules {
                line(&mut text, format_args!("    {what}{allow}"));
            }
            text.push_str("  }\n");
        }
        for (address, isolated) in &side.pods {
            open_chain(&mut text, &format!("{prefix}-{address}"), &isolated.pod);
            for chain in isolated.policies.iter().filter_map(|name| chains.get(name)) {
                line(&mut text, format_args!("    jump {chain}"));
            }
            text.push_str("    counter drop\n  }\n");
        }
        let verdicts = side
            .pods
            .keys()
            .map(|address| format!("{address} : goto {prefix}-{address}"));
        line(&mut text, format_args!("  map {prefix}-pods {{"));
        line(&mut text, format_args!("    type ipv4_addr : verdict"));
        elements(&mut text, verdicts);
        text.push_str("  }\n");
        text
    }

    /// The left sides of the rules, each with a space behind it: numbers and names of ports are two alternatives.
    fn matches(&self, rule: &Rule) -> Vec<String> {
        let peers = match &rule.peers {
            Peers::Any => String::new(),
            Peers::Among(addresses) => format!("{} {} ", self.peer, address_set(addresses)),
        };
        match &rule.ports {
            Ports::Any => vec![peers],
            Ports::Among { numbered, named } => numbered_ports(numbered)
                .into_iter()
                .chain(named_ports(named))
                .map(|ports| format!("{peers}{ports}"))
                .collect(),
        }
    }
}

fn address_set(addresses: &Addresses) -> String {
    braces(addresses.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    }))
}

fn numbered_ports(numbered: &BTreeMap<Protocol, Numbers>) -> Option<String> {
    let entries = numbered.iter().flat_map(|(protocol, numbers)| {
        numbers.iter().map(move |(first, last)| {
            if first == last {
                format!("{protocol} . {first}")
            } else {
                format!("{protocol} . {first}-{last}")
            }
        })
    });
    let entries: Vec<_> = entries.collect();
    (!entries.is_empty()).then(|| format!("meta l4proto . th dport {} ", braces(entries)))
}

fn named_ports(named: &BTreeSet<(Ipv4Addr, Protocol, u16)>) -> Option<String> {
    let entries = named
        .iter()
        .map(|(address, protocol, number)| format!("{address} . {protocol} . {number}"));
    (!named.is_empty()).then(|| format!("ip daddr . meta l4proto . th dport {} ", braces(entries)))
}

/// A pod always reaches itself, also through a service that leads back to it.
fn own_addresses(ruleset: &Ruleset) -> String {
    let isolated: BTreeSet<_> = ruleset
        .ingress
        .pods
        .keys()
        .chain(ruleset.egress.pods.keys())
        .collect();
    let mut text = String::from("  set own-address {\n    type ipv4_addr . ipv4_addr\n");
    elements(
        &mut text,
        isolated
            .into_iter()
            .map(|address| format!("{address} . {address}")),
    );
    text.push_str("  }\n");
    text
}

fn arrive() -> String {
    "  chain arrive {\n    ip daddr vmap @in-pods\n    accept\n  }\n".to_owned()
}

/// Pods have IPv4 only; the link-local IPv6 that a kernel gives every interface must not be a way around a policy.
fn base(hook: &str, bridge: &str, end: &str) -> String {
    format!(
        "  chain {hook} {{
    type filter hook {hook} priority filter; policy accept;
    ct state established,related accept
    iifname \"{bridge}\" meta nfproto ipv6 counter drop
    ip saddr . ip daddr @own-address accept
    ip saddr vmap @out-pods
{end}  }}
"
    )
}

fn open_chain(text: &mut String, chain: &str, comment: &Name) {
    let comment: String = comment.to_string().chars().take(LONGEST_COMMENT).collect();
    line(text, format_args!("  chain {chain} {{"));
    line(text, format_args!("    comment \"{comment}\""));
}

fn elements(text: &mut String, entries: impl Iterator<Item = String>) {
    let entries: Vec<_> = entries.collect();
    if !entries.is_empty() {
        line(text, format_args!("    elements = {}", braces(entries)));
    }
}

fn braces(entries: impl IntoIterator<Item = String>) -> String {
    let entries: Vec<_> = entries.into_iter().collect();
    format!("{{ {} }}", entries.join(", "))
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}
