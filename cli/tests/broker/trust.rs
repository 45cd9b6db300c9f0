//! TLS and tokens.

use crate::support::{Broker, Door, Run, entity, fill, ids, mimctl};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// TLS for `localhost`, and the authority's certificate as PEM.
fn tls() -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

#[tokio::test]
async fn by_tls_with_a_token_of_a_file_that_is_read_anew_and_told_to_nobody() {
    let broker = Broker::ready().await;
    let entities: Vec<Value> = (0..100).map(entity).collect();
    fill(&broker, "one", &entities).await;
    let (tls, authority) = tls();
    let door = Door::with_tls(broker.api, tls).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, token, file) = (path("ca.crt"), path("token"), path("city.ndjson"));
    std::fs::write(&ca, authority).unwrap();
    std::fs::write(&token, "s3cret-first\n").unwrap();
    let broker_url = format!("https://localhost:{}", door.address.port());
    let of = [
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--ca-file",
        &ca,
        "--token-file",
        &token,
        "--page",
        "20",
        &file,
    ];
    // Who renews tokens replaces the file while the run waits.
    door.act_on(4, crate::support::Act::Close);
    let run = Run::start(&of);
    crate::support::eventually(60, "it waits", async || door.acted() == 1).await;
    std::fs::write(&token, "s3cret-second\n").unwrap();
    door.lead_to(Some(broker.api));
    let said = run.end().await.with(0);
    assert_eq!(ids(file.as_ref()).len(), 100);
    let seen = door.seen();
    for token in ["Bearer s3cret-first\r\n", "Bearer s3cret-second\r\n"] {
        assert!(seen.contains(token), "the broker was shown the token");
    }
    assert!(!said.contains("s3cret"), "{said}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("s3cret"));

    // From the environment; the command line has no place for it.
    let by_environment = path("again.ndjson");
    let of = [
        "export",
        "--url",
        &broker_url,
        "--tenant",
        "one",
        "--ca-file",
        &ca,
        &by_environment,
    ];
    let run = Run::with(&of, &[("MIMCTL_TOKEN", "s3cret-third")]);
    run.end().await.with(0);
    assert!(door.seen().contains("Bearer s3cret-third\r\n"));
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_is_told_nothing() {
    let broker = Broker::ready().await;
    let (acceptor, authority) = tls();
    let door = Door::with_tls(broker.api, acceptor).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, other, file) = (path("ca.crt"), path("other.crt"), path("city.ndjson"));
    std::fs::write(&ca, authority).unwrap();
    std::fs::write(&other, tls().1).unwrap();
    let broker_url = format!("https://localhost:{}", door.address.port());
    let variables = [("MIMCTL_TOKEN", "s3cret")];
    let of = [
        "export",
        "--url",
        &broker_url,
        "--ca-file",
        &other,
        "--patience",
        "5",
        &file,
    ];
    let said = Run::with(&of, &variables).end().await.with(4);
    assert!(
        said.contains("not trusted") && said.contains("--ca-file"),
        "{said}"
    );
    assert_eq!(door.requests(), 0);
    // Without TLS a token stays here, but for this machine.
    let of = ["export", "--url", "http://broker.example", &file];
    let said = Run::with(&of, &variables).end().await.with(2);
    assert!(said.contains("https"), "{said}");
    // A bundle that is none.
    std::fs::write(&ca, "no certificate").unwrap();
    let of = ["export", "--url", &broker_url, "--ca-file", &ca, &file];
    mimctl(&of).await.with(2);
}
