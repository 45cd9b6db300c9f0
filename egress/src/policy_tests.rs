use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn strict(text: &str) -> Result<(), Refused> {
    Policy::default().check(ip(text), false)
}

#[test]
fn public_addresses_are_reached() {
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.0.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "64:ff9b::101:101",
        "2002:101:101::1",
        "::ffff:1.1.1.1",
    ] {
        assert_eq!(strict(address), Ok(()), "{address}");
    }
}

#[test]
fn what_is_refused_is_refused_for_its_reason() {
    use Refused::{LinkLocal, Loopback, Metadata, Multicast, Private, Reserved};
    for (address, why) in [
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("::1", Loopback),
        ("::ffff:127.0.0.1", Loopback),
        ("::127.0.0.1", Loopback),
        ("::ffff:0:127.0.0.1", Loopback),
        ("64:ff9b::7f00:1", Loopback),
        ("2002:7f00:1::", Loopback),
        ("2a00::5efe:7f00:1", Loopback),
        ("2a00::200:5efe:7f00:1", Loopback),
        ("169.254.169.254", LinkLocal),
        ("::ffff:169.254.169.254", LinkLocal),
        ("64:ff9b::a9fe:a9fe", LinkLocal),
        ("2002:a9fe:a9fe::", LinkLocal),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("fd00:ec2::254", Metadata),
        ("fd20:ce::254", Metadata),
        ("fd00:c1::a9fe:a9fe", Metadata),
        ("100.100.100.200", Metadata),
        ("168.63.129.16", Metadata),
        ("192.0.0.192", Metadata),
        ("10.0.0.1", Private),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.1.1", Private),
        ("100.64.0.1", Private),
        ("100.127.255.255", Private),
        ("198.18.0.1", Private),
        ("fd12:3456::1", Private),
        ("fc00::1", Private),
        ("fec0::1", Private),
        ("::ffff:10.0.0.1", Private),
        ("64:ff9b::a00:1", Private),
        ("224.0.0.1", Multicast),
        ("239.255.255.255", Multicast),
        ("ff02::1", Multicast),
        ("0.0.0.0", Reserved),
        ("0.1.2.3", Reserved),
        ("255.255.255.255", Reserved),
        ("240.0.0.1", Reserved),
        ("192.0.2.1", Reserved),
        ("198.51.100.1", Reserved),
        ("203.0.113.1", Reserved),
        ("192.88.99.1", Reserved),
        ("192.0.0.8", Reserved),
        ("::", Reserved),
        ("2001:db8::1", Reserved),
        ("3fff::1", Reserved),
        ("2001::1", Reserved),
        ("100::1", Reserved),
        ("64:ff9b:1::1", Reserved),
        ("4000::1", Reserved),
    ] {
        assert_eq!(strict(address), Err(why), "{address}");
    }
}

#[test]
fn a_private_range_opens_only_where_it_is_allowed() {
    let policy = Policy::new(vec![net("10.1.0.0/16"), net("fd12::/16")], vec![]);
    assert_eq!(policy.check(ip("10.1.2.3"), false), Ok(()));
    assert_eq!(policy.check(ip("::ffff:10.1.2.3"), false), Ok(()));
    assert_eq!(
        policy.check(ip("64:ff9b::a01:203"), false),
        Err(Refused::Private),
        "another network path"
    );
    assert_eq!(policy.check(ip("fd12::7"), false), Ok(()));
    assert_eq!(policy.check(ip("10.2.0.1"), false), Err(Refused::Private));
}

#[test]
fn forbidden_is_stronger_than_any_allowance() {
    let policy = Policy::new(
        vec![net("10.0.0.0/8")],
        vec![net("10.96.0.1/32"), net("34.1.1.1/32")],
    );
    for spelling in [
        "10.96.0.1",
        "::ffff:10.96.0.1",
        "64:ff9b::a60:1",
        "34.1.1.1",
        "2002:2201:101::9",
    ] {
        assert_eq!(
            policy.check(ip(spelling), true),
            Err(Refused::Forbidden),
            "{spelling}"
        );
    }
    assert_eq!(policy.check(ip("10.96.0.2"), false), Ok(()));
}

#[test]
fn loopback_opens_for_tests_and_nothing_else_with_it() {
    let policy = Policy::default().with_loopback_for_tests();
    assert_eq!(policy.check(ip("127.0.0.1"), false), Ok(()));
    assert_eq!(policy.check(ip("::1"), false), Ok(()));
    assert_eq!(
        policy.check(ip("169.254.169.254"), false),
        Err(Refused::LinkLocal)
    );
    assert_eq!(policy.check(ip("10.0.0.1"), false), Err(Refused::Private));
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        // Addresses near the interesting prefixes, which uniform bits would almost never meet.
        (
            prop::sample::select(vec![
                0_u128,
                0xfe80 << 112,
                0xfd00 << 112,
                0x2001 << 112,
                0x2002 << 112,
                0xff02 << 112
            ]),
            any::<u64>()
        )
            .prop_map(|(prefix, low)| IpAddr::V6(Ipv6Addr::from_bits(prefix | u128::from(low)))),
    ]
}

/// Every way to carry an IPv4 address in an IPv6 address that a network or kernel may undo.
fn spellings(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
    let low = u128::from(v4.to_bits());
    vec![
        v4.to_ipv6_mapped(),
        Ipv6Addr::from_bits(0xffff_0000_0000_0000 | low),
        Ipv6Addr::from_bits((0x0064_ff9b << 96) | low),
        Ipv6Addr::from_bits((0x2002 << 112) | (low << 80) | 1),
        Ipv6Addr::from_bits((0x2a00 << 112) | (0x5efe << 32) | low),
        Ipv6Addr::from_bits((0x2a00 << 112) | (0x0200_5efe << 32) | low),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_ipv6_spelling_reaches_an_ipv4_address_that_is_refused(bits in any::<u32>(), private in any::<bool>()) {
        let v4 = Ipv4Addr::from_bits(bits);
        if Policy::default().check(IpAddr::V4(v4), private).is_err() {
            for spelling in spellings(v4) {
                prop_assert!(Policy::default().check(IpAddr::V6(spelling), private).is_err(), "{} as {}", v4, spelling);
            }
        }
    }

    #[test]
    fn no_ipv6_spelling_reaches_a_forbidden_ipv4_address(bits in any::<u32>()) {
        let v4 = Ipv4Addr::from_bits(bits);
        let policy = Policy::new(vec![net("0.0.0.0/0"), net("::/0")], vec![IpNet::from(IpAddr::V4(v4))]);
        for spelling in spellings(v4) {
            prop_assert!(policy.check(IpAddr::V6(spelling), true).is_err(), "{} as {}", v4, spelling);
        }
    }

    #[test]
    fn the_widest_allowance_opens_private_ranges_only(address in any_ip()) {
        let wide = Policy::new(vec![net("0.0.0.0/0"), net("::/0")], vec![]);
        match Policy::default().check(address, false) {
            Ok(()) | Err(Refused::Private) => prop_assert_eq!(wide.check(address, false), Ok(())),
            Err(why) => prop_assert_eq!(wide.check(address, false), Err(why)),
        }
    }

    #[test]
    fn what_the_standard_library_calls_special_is_never_public(address in any_ip()) {
        let special = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_private() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_unspecified() || v4.is_documentation(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
                || v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if special {
            prop_assert!(Policy::default().check(address, false).is_err(), "{}", address);
        }
    }

    #[test]
    fn a_service_of_the_namespace_may_be_private_but_never_special(address in any_ip()) {
        let strict = Policy::default().check(address, false);
        let service = Policy::default().check(address, true);
        prop_assert_eq!(service, if strict == Err(Refused::Private) { Ok(()) } else { strict });
    }
}
