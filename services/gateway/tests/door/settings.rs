//! What holds, and what happens when the files change.

use crate::support::client::NAME;
use crate::support::eventually;
use crate::support::gateway::{Gateway, plain};
use crate::support::tls::Authority;
use crate::support::upstream::{Asked, Upstream};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn a_gateway_without_usable_settings_is_not_ready_and_heals_by_itself() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::start("upstream: {address: \"a:1\"}\nnew: 1\n", |_, _| {}).await;
    let words = eventually("it says why", async || {
        let (status, words) = gateway.health("/readyz").await;
        (status == 503 && words.contains("new")).then_some(words)
    })
    .await;
    assert!(words.starts_with("gateway.yaml: "), "{words}");
    assert_eq!(gateway.health("/livez").await.0, 200);
    gateway.configure(&plain(upstream.at));
    gateway.until_ready().await;
    assert_eq!(gateway.client().await.get("/", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn settings_that_cannot_be_used_leave_those_that_hold_and_are_told() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    gateway.configure(&format!(
        "{}limits: {{everybody: {{body: 0}}}}\n",
        plain(upstream.at)
    ));
    eventually("it says so", async || {
        let (status, words) = gateway.health("/readyz").await;
        (status == 200 && words.contains("from before are in force")).then_some(())
    })
    .await;
    assert!(
        gateway
            .health("/metrics")
            .await
            .1
            .contains("mim_gateway_settings_current 0")
    );
    assert_eq!(gateway.client().await.get("/", "").await.status, StatusCode::OK);
    gateway.configure(&plain(upstream.at));
    eventually("all is well again", async || {
        (gateway.health("/readyz").await.1 == "ok\n").then_some(())
    })
    .await;
    assert!(
        gateway
            .health("/metrics")
            .await
            .1
            .contains("mim_gateway_settings_current 1")
    );
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_clients_and_drops_no_connection() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let mut open = gateway.client().await;
    let authority = Authority::new();
    let folder = gateway.folder.path().join("tls");
    // A certificate without its key is no pair: nothing changes until both are there.
    let pair = authority.sign(&[NAME]);
    std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
    eventually("half a pair is told", async || {
        gateway
            .health("/readyz")
            .await
            .1
            .contains("tls.key")
            .then_some(())
    })
    .await;
    assert_eq!(gateway.client().await.get("/", "").await.status, StatusCode::OK);
    pair.write(&folder);
    eventually("the new certificate is shown", async || {
        let config = authority.client(None, "http/1.1");
        crate::support::client::Client::connect(gateway.at, config)
            .await
            .ok()
            .map(drop)
    })
    .await;
    assert_eq!(open.get("/", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn gateway_and_broker_know_each_other_by_their_certificates() {
    let theirs = Authority::new();
    let tls = TlsAcceptor::from(Arc::new(theirs.server(&theirs.sign(&["broker.city.svc"]))));
    let answers = |_: &Asked| Response::new(Full::new(Bytes::from_static(b"ok")));
    let upstream = Upstream::start(Arc::new(answers), Some(tls)).await;
    let config = |name: &str| format!("upstream: {{address: \"{}\", serverName: {name}}}\n", upstream.at);
    let gateway = Gateway::start(&config("broker.city.svc"), |folder, _| {
        theirs.sign(&["gateway.city.svc"]).write(&folder.join("upstream"));
        std::fs::write(folder.join("upstream/ca.crt"), theirs.pem()).unwrap();
    })
    .await;
    gateway.until_ready().await;
    let mut client = gateway.client().await;
    assert_eq!(client.get("/", "").await.status, StatusCode::OK);
    // Another name, another broker: connections to the first one are not used for it.
    gateway.configure(&config("other.city.svc"));
    eventually("the broker is not whom the gateway wants", async || {
        (client.get("/", "").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    // Certificates of somebody else are no reason to let the gateway in.
    gateway.configure(&config("broker.city.svc"));
    eventually("all is well again", async || {
        (client.get("/", "").await.status == StatusCode::OK).then_some(())
    })
    .await;
    Authority::new()
        .sign(&["gateway.city.svc"])
        .write(&gateway.folder.path().join("upstream"));
    eventually("the broker does not know the gateway", async || {
        let status = client.get("/", "").await.status;
        (status.is_server_error()).then_some(())
    })
    .await;
}
