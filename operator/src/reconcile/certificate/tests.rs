use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::x509::{Facts, certificates};
use super::*;

const DAY: Duration = Duration::from_hours(24);

fn random() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn names() -> Vec<String> {
    ["vienna-database", "vienna-database.city.svc"]
        .map(str::to_owned)
        .to_vec()
}

/// A whole second, as certificates have them.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn after(start: Timestamp, time: Duration) -> Timestamp {
    start.checked_add(time).unwrap()
}

fn made<T: fmt::Debug>(decision: Decision<T>, expected: &Why) -> T {
    match decision {
        Decision::Issue { why, made, .. } if why == *expected => made,
        other => panic!("{expected:?} was expected, not {other:?}"),
    }
}

fn decide_authority(existing: Option<&Authority>, at: Timestamp) -> Decision<Authority> {
    authority(
        existing,
        "vienna-database-ca",
        AUTHORITY_LIFETIME,
        at,
        &mut random(),
    )
    .unwrap()
}

fn decide_leaf(existing: Option<&Leaf>, authority: &Authority, at: Timestamp) -> Decision<Leaf> {
    leaf(
        existing,
        authority,
        (Party::Server, &names()),
        LEAF_LIFETIME,
        at,
        &mut random(),
    )
    .unwrap()
}

fn pair(at: Timestamp) -> (Authority, Leaf) {
    let authority = made(decide_authority(None, at), &Why::Missing);
    let leaf = made(decide_leaf(None, &authority, at), &Why::Missing);
    (authority, leaf)
}

/// A whole TLS handshake in memory, and a word through it.
fn handshake(authority: &Authority, leaf: &Leaf, name: &str) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for der in certificates(&authority.bundle).unwrap() {
        roots.add(der).unwrap();
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = rustls::ServerConnection::new(Arc::new(server))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
    client.writer().write_all(b"hello").unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    let mut word = [0; 5];
    server.reader().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    Ok(())
}

#[test]
fn a_client_that_trusts_the_bundle_trusts_the_server_under_each_of_its_names_and_no_other() {
    let (authority, leaf) = pair(now());
    for name in names() {
        handshake(&authority, &leaf, &name).unwrap();
    }
    assert!(handshake(&authority, &leaf, "vienna-broker").is_err());
    let (stranger, _) = pair(now());
    assert!(handshake(&stranger, &leaf, "vienna-database").is_err());
}

#[test]
fn a_client_s_certificate_is_taken_from_a_client_alone_and_a_server_s_from_a_server_alone() {
    let (authority, server) = pair(now());
    let client = leaf(
        None,
        &authority,
        (Party::Client, &names()),
        LEAF_LIFETIME,
        now(),
        &mut random(),
    );
    let client = made(client.unwrap(), &Why::Missing);
    assert!(handshake(&authority, &client, "vienna-database").is_err());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for der in certificates(&authority.bundle).unwrap() {
        roots.add(der).unwrap();
    }
    let doorman = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let doorman = doorman.build().unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now().as_second().try_into().unwrap()));
    let shown = |leaf: &Leaf| {
        let der = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
        doorman.verify_client_cert(&der, &[], at)
    };
    shown(&client).unwrap();
    assert!(shown(&server).is_err());
}

#[test]
fn what_is_in_order_is_kept_until_two_thirds_of_its_life() {
    let start = now();
    let (authority, leaf) = pair(start);
    let third = |lifetime: Duration| after(start, lifetime / 3 * 2);
    for days in [0, 1, 59] {
        let at = after(start, DAY * days);
        let renew_at = third(LEAF_LIFETIME);
        assert_eq!(
            decide_leaf(Some(&leaf), &authority, at),
            Decision::Keep { renew_at }
        );
        let renew_at = third(AUTHORITY_LIFETIME);
        assert_eq!(
            decide_authority(Some(&authority), at),
            Decision::Keep { renew_at }
        );
    }
    let next = made(
        decide_leaf(Some(&leaf), &authority, third(LEAF_LIFETIME)),
        &Why::Due,
    );
    assert_ne!(next.key, leaf.key);
}

#[test]
fn a_decision_says_when_to_look_again() {
    let start = now();
    let Decision::Issue { renew_at, made, .. } = decide_authority(None, start) else {
        panic!("none there")
    };
    assert_eq!(renew_at, after(start, AUTHORITY_LIFETIME / 3 * 2));
    let Decision::Issue { renew_at, .. } = decide_leaf(None, &made, start) else {
        panic!("none there")
    };
    assert_eq!(renew_at, after(start, DAY * 60));
}

#[test]
fn a_new_authority_leaves_the_old_one_trusted_and_the_leaf_in_place() {
    // So that the handshakes below happen at their own time, the authority is as old as it gets.
    let end = now();
    let start = end.checked_sub(AUTHORITY_LIFETIME / 3 * 2).unwrap();
    let old = made(decide_authority(None, start), &Why::Missing);
    let leaf_of_old = made(
        decide_leaf(None, &old, end.checked_sub(DAY).unwrap()),
        &Why::Missing,
    );
    let new = made(decide_authority(Some(&old), end), &Why::Due);

    assert_eq!(certificates(&new.bundle).unwrap().len(), 2);
    assert!(matches!(
        decide_leaf(Some(&leaf_of_old), &new, end),
        Decision::Keep { .. }
    ));
    handshake(&new, &leaf_of_old, "vienna-database").unwrap();
    let leaf_of_new = made(decide_leaf(None, &new, end), &Why::Missing);
    handshake(&new, &leaf_of_new, "vienna-database").unwrap();
    assert!(
        handshake(&old, &leaf_of_new, "vienna-database").is_err(),
        "a client with the old bundle only"
    );
}

#[test]
fn a_leaf_that_is_due_waits_until_clients_know_the_new_authority() {
    let start = now();
    let old = made(decide_authority(None, start), &Why::Missing);
    let renewal = after(start, AUTHORITY_LIFETIME / 3 * 2);
    let leaf = made(
        decide_leaf(None, &old, renewal.checked_sub(DAY * 60).unwrap()),
        &Why::Missing,
    );
    let new = made(decide_authority(Some(&old), renewal), &Why::Due);
    let settled = after(renewal, Duration::from_hours(1));
    assert_eq!(
        decide_leaf(Some(&leaf), &new, renewal),
        Decision::Keep { renew_at: settled }
    );
    made(decide_leaf(Some(&leaf), &new, settled), &Why::Due);
}

#[test]
fn an_expired_authority_leaves_the_bundle() {
    let start = now();
    let old = made(decide_authority(None, start), &Why::Missing);
    let late = after(start, AUTHORITY_LIFETIME + DAY);
    let new = made(decide_authority(Some(&old), late), &Why::Due);
    assert_eq!(certificates(&new.bundle).unwrap().len(), 1);
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let start = now();
    let short = authority(None, "a", DAY * 30, start, &mut random()).unwrap();
    let authority = made(short, &Why::Missing);
    let leaf = made(decide_leaf(None, &authority, start), &Why::Missing);
    let facts = Facts::read(&certificates(&leaf.certificate).unwrap()[0]).unwrap();
    assert_eq!(facts.dies, after(start, DAY * 30));
}

#[test]
fn what_cannot_be_used_is_made_anew_and_the_reason_told() {
    let start = now();
    let (authority, leaf) = pair(start);
    let (other, other_leaf) = pair(start);
    let unusable = |existing: Leaf| match decide_leaf(Some(&existing), &authority, start) {
        Decision::Issue {
            why: Why::Unusable(problem),
            ..
        } => problem,
        decision => panic!("{decision:?}"),
    };
    let mixed = unusable(Leaf {
        certificate: leaf.certificate.clone(),
        key: other_leaf.key.clone(),
    });
    assert_eq!(mixed, "its private key belongs to another certificate");
    assert!(
        unusable(Leaf {
            certificate: String::new(),
            key: leaf.key.clone()
        })
        .contains("no certificate")
    );
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    assert!(
        unusable(Leaf {
            certificate: garbage,
            key: leaf.key.clone()
        })
        .contains("no certificate")
    );
    assert!(
        unusable(Leaf {
            certificate: leaf.certificate.clone(),
            key: "x".into()
        })
        .contains("private key")
    );

    made(decide_leaf(Some(&leaf), &other, start), &Why::OtherAuthority);
    let renamed = super::leaf(
        Some(&leaf),
        &authority,
        (Party::Server, &["b".into()]),
        LEAF_LIFETIME,
        start,
        &mut random(),
    );
    made(renamed.unwrap(), &Why::OtherNames);

    // An authority whose key is lost: what it has signed stays trusted.
    let keyless = Authority {
        key: String::new(),
        ..authority.clone()
    };
    let Decision::Issue {
        why: Why::Unusable(_),
        made: next,
        ..
    } = decide_authority(Some(&keyless), start)
    else {
        panic!("must be made anew")
    };
    handshake(&next, &leaf, "vienna-database").unwrap();
    let no_authority = Authority {
        bundle: leaf.certificate.clone(),
        key: leaf.key.clone(),
    };
    let decision = decide_authority(Some(&no_authority), start);
    assert!(matches!(
        decision,
        Decision::Issue {
            why: Why::Unusable(_),
            ..
        }
    ));
}

#[test]
fn short_lives_work_as_long_ones_do() {
    let start = now();
    let authority = made(decide_authority(None, start), &Why::Missing);
    let lifetime = Duration::from_secs(30);
    let first = leaf(
        None,
        &authority,
        (Party::Server, &names()),
        lifetime,
        start,
        &mut random(),
    )
    .unwrap();
    let first = made(first, &Why::Missing);
    let at = |seconds| {
        leaf(
            Some(&first),
            &authority,
            (Party::Server, &names()),
            lifetime,
            after(start, Duration::from_secs(seconds)),
            &mut random(),
        )
        .unwrap()
    };
    assert_eq!(
        at(19),
        Decision::Keep {
            renew_at: after(start, Duration::from_secs(20))
        }
    );
    made(at(20), &Why::Due);
}

#[test]
fn names_that_cannot_be_in_a_certificate_are_refused() {
    let (authority, _) = pair(now());
    let none = leaf(
        None,
        &authority,
        (Party::Server, &[]),
        LEAF_LIFETIME,
        now(),
        &mut random(),
    );
    assert!(matches!(none, Err(CertificateError::NoName)));
    let odd = leaf(
        None,
        &authority,
        (Party::Server, &["ö".into()]),
        LEAF_LIFETIME,
        now(),
        &mut random(),
    );
    assert!(matches!(odd, Err(CertificateError::Name(_))));
    let long = format!("{}.city.svc", "a".repeat(63));
    let long = leaf(
        None,
        &authority,
        (Party::Server, std::slice::from_ref(&long)),
        LEAF_LIFETIME,
        now(),
        &mut random(),
    )
    .unwrap();
    made(long, &Why::Missing);
}

#[test]
fn no_key_is_ever_printed() {
    let (authority, leaf) = pair(now());
    let printed = format!("{authority:?} {leaf:?} {:?}", decide_authority(None, now()));
    assert!(!printed.contains("PRIVATE KEY"));
}
