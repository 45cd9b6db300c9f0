//! Who asks is known by what is shown, and nobody else comes in.

use crate::support::client::{Answer, Client, NAME};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::issuer::{
    ISSUER, Issuer, Key, claims, proof, sha256, thumbprint, thumbprint_of, unsigned,
};
use crate::support::tls::Authority;
use crate::support::upstream::Upstream;
use http::StatusCode;
use serde_json::{Value, json};

/// A gateway that knows this issuer and what else stands in `more`.
async fn gateway(upstream: &Upstream, issuer: &Issuer, terms: &str, more: &str) -> Gateway {
    let config = format!(
        "upstream: {{address: \"{}\"}}\nidentity:\n  issuers: [{}]\n{more}",
        upstream.at,
        issuer.config(terms)
    );
    let gateway = Gateway::start(&config, |folder, _| issuer.write(folder)).await;
    gateway.until_ready().await;
    eventually("the keys are fetched", async || {
        (issuer.asked() > 0).then_some(())
    })
    .await;
    gateway
}

async fn ask(client: &mut Client, token: &str) -> Answer {
    client
        .get(
            "/ngsi-ld/v1/entities",
            &format!("Authorization: Bearer {token}\r\n"),
        )
        .await
}

/// Until keys are there tokens are answered 503.
async fn accepted(client: &mut Client, token: &str) {
    eventually("the token is accepted", async || {
        (ask(client, token).await.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tokens_of_each_kind_of_key_are_accepted_and_go_no_further() {
    let keys = [
        ("ES256", Key::p256()),
        ("EdDSA", Key::ed25519()),
        ("RS256", Key::rsa()),
        ("PS256", Key::rsa()),
    ];
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(keys.iter().map(|(name, key)| key.public(name)).collect()).await,
    );
    let gateway = gateway(&upstream, &issuer, "", "").await;
    let mut client = gateway.client().await;
    for (algorithm, key) in &keys {
        let token = key.token(
            json!({"alg": algorithm, "kid": algorithm, "typ": "JWT"}),
            claims(json!({"sub": algorithm})),
        );
        accepted(&mut client, &token).await;
        assert_eq!(
            ask(&mut client, &token).await.status,
            StatusCode::OK,
            "{algorithm} a second time"
        );
        assert!(
            upstream
                .asked()
                .iter()
                .all(|asked| !asked.fields.contains_key("authorization"))
        );
    }
    let lines = gateway.audited(8).await;
    let last = lines.iter().rfind(|line| line["status"] == 200).unwrap();
    assert_eq!(
        (&last["subject"], &last["client"]),
        (&json!(format!("{ISSUER}#PS256")), &json!("app"))
    );
    assert_eq!(
        (&last["decision"], &last["operation"]),
        (&json!("allowed"), &json!("Read"))
    );
    let log = gateway.logged() + &lines.iter().map(Value::to_string).collect::<String>();
    assert!(
        !log.contains("eyJ"),
        "no token stands in a log or in the audit trail"
    );
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_it_is_401_and_the_broker_hears_nothing() {
    let (key, other, rsa) = (Key::p256(), Key::p256(), Key::rsa());
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(vec![key.public("k"), rsa.public("r")]).await,
    );
    let gateway = gateway(&upstream, &issuer, ", algorithms: [ES256, RS256]", "").await;
    let mut client = gateway.client().await;
    let header = json!({"alg": "ES256", "kid": "k"});
    let good = key.token(header.clone(), claims(json!({})));
    accepted(&mut client, &good).await;
    let before = upstream.asked().len();
    let parts: Vec<&str> = good.split('.').collect();
    let none = Key::p256().token(json!({"alg": "none"}), claims(json!({})));
    // Another signature by the same key over the same text is fine; one of another text is not.
    let swapped = key.token(header.clone(), claims(json!({"sub": "admin"})));
    let swapped = format!("{}.{}.{}", parts[0], swapped.split('.').nth(1).unwrap(), parts[2]);
    for (what, token) in [
        ("no token", "abc".to_owned()),
        ("foreign key", other.token(header.clone(), claims(json!({})))),
        ("other claims", swapped),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("algorithm none", none),
        ("none, unsigned", unsigned()),
        (
            "algorithm of another key",
            rsa.token(json!({"alg": "RS256", "kid": "k"}), claims(json!({}))),
        ),
        (
            "an algorithm that is not allowed",
            rsa.token(json!({"alg": "PS256", "kid": "r"}), claims(json!({}))),
        ),
        (
            "foreign issuer",
            key.token(header.clone(), claims(json!({"iss": "https://other.example"}))),
        ),
        (
            "foreign audience",
            key.token(header.clone(), claims(json!({"aud": "account"}))),
        ),
        (
            "expired",
            key.token(header.clone(), claims(json!({"exp": 1_700_000_000}))),
        ),
        (
            "not yet",
            key.token(header.clone(), claims(json!({"nbf": 99_999_999_999_u64}))),
        ),
        (
            "an ID token",
            key.token(header.clone(), claims(json!({"typ": "ID"}))),
        ),
        (
            "bound to a key",
            key.token(header.clone(), claims(json!({"cnf": {"jkt": "x"}}))),
        ),
        (
            "bound to a certificate",
            key.token(header.clone(), claims(json!({"cnf": {"x5t#S256": "x"}}))),
        ),
    ] {
        let answer = ask(&mut client, &token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
        let challenge = answer.field("www-authenticate");
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""), "{what}");
    }
    let nothing = client.get("/a", "").await;
    assert_eq!(
        (nothing.status, nothing.field("www-authenticate")),
        (StatusCode::UNAUTHORIZED, Some("Bearer"))
    );
    for lines in [
        "Authorization: Basic YTpi\r\n".to_owned(),
        format!("Authorization: Bearer {good}\r\nX-Api-Key: a\r\n"),
    ] {
        let answer = client.get("/a", &lines).await;
        let challenge = answer.field("www-authenticate");
        assert_eq!(
            (answer.status, challenge),
            (StatusCode::BAD_REQUEST, Some("Bearer error=\"invalid_request\""))
        );
    }
    assert_eq!(upstream.asked().len(), before);
}

#[tokio::test]
async fn keys_that_change_are_fetched_once_and_those_that_went_count_no_more() {
    let (old, new) = (Key::p256(), Key::p256());
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(vec![old.public("old")]).await,
    );
    let gateway = gateway(&upstream, &issuer, "", "").await;
    let mut client = gateway.client().await;
    let token = |key: &Key, name: &str| key.token(json!({"alg": "ES256", "kid": name}), claims(json!({})));
    let first = token(&old, "old");
    accepted(&mut client, &first).await;
    issuer.show(Some(vec![new.public("new")]));
    assert_eq!(
        ask(&mut client, &token(&new, "new")).await.status,
        StatusCode::OK,
        "no request waits for the next round"
    );
    assert_eq!(
        ask(&mut client, &first).await.status,
        StatusCode::UNAUTHORIZED,
        "also where it was verified before"
    );
    // Names that there are not make the issuer hear once a second at most, whoever asks.
    let (before, start) = (issuer.asked(), std::time::Instant::now());
    let mut asking = Vec::new();
    for number in 0..20 {
        let (mut client, token) = (gateway.client().await, token(&old, &format!("unknown {number}")));
        asking.push(tokio::spawn(async move { ask(&mut client, &token).await.status }));
    }
    for status in asking {
        assert_eq!(status.await.unwrap(), StatusCode::UNAUTHORIZED);
    }
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(
        issuer.asked() - before <= seconds + 2,
        "{} in {seconds} s",
        issuer.asked() - before
    );
}

#[tokio::test]
async fn without_an_issuer_known_keys_are_used_until_they_are_too_old_and_unknown_ones_are_503() {
    let key = Key::p256();
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(vec![key.public("k")]).await,
    );
    issuer.show(None);
    let gateway = gateway(&upstream, &issuer, ", maxStale: 8", "").await;
    let mut client = gateway.client().await;
    let token = key.token(json!({"alg": "ES256", "kid": "k"}), claims(json!({})));
    let answer = ask(&mut client, &token).await;
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("2"))
    );
    issuer.show(Some(vec![key.public("k")]));
    accepted(&mut client, &token).await;
    issuer.show(None);
    let asked = issuer.asked();
    eventually("the issuer was down at an attempt", async || {
        (issuer.asked() > asked).then_some(())
    })
    .await;
    // Also a token that was never seen.
    let other = key.token(
        json!({"alg": "ES256", "kid": "k"}),
        claims(json!({"sub": "other"})),
    );
    let status = ask(&mut client, &other).await.status;
    assert!(
        matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE),
        "{status}"
    );
    eventually("the keys are too old", async || {
        (ask(&mut client, &token).await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    issuer.show(Some(vec![key.public("k")]));
    accepted(&mut client, &token).await;
}

#[tokio::test]
async fn keys_and_certificates_say_who_asks() {
    let key = Key::p256();
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(vec![key.public("k")]).await,
    );
    let digest = sha256("a secret of a device");
    let devices = Authority::new();
    let config = format!(
        "upstream: {{address: \"{}\"}}\ntls: {{clientCertificates: true}}\nidentity:\n  issuers: [{}]\n  apiKeys: [{{name: pump, sha256: {digest}, roles: [device]}}]\n",
        upstream.at,
        issuer.config("")
    );
    let gateway = Gateway::start(&config, |folder, _| {
        issuer.write(folder);
        std::fs::write(folder.join("tls/client-ca.crt"), devices.pem()).unwrap();
    })
    .await;
    gateway.until_ready().await;
    let mut client = gateway.client().await;
    assert_eq!(
        client
            .get("/a", "X-Api-Key: a secret of a device\r\n")
            .await
            .status,
        StatusCode::OK
    );
    assert!(!upstream.asked()[0].fields.contains_key("x-api-key"));
    for wrong in ["", "a secret of a devic", "A secret of a device"] {
        assert_eq!(
            client.get("/a", &format!("X-Api-Key: {wrong}\r\n")).await.status,
            StatusCode::UNAUTHORIZED,
            "{wrong}"
        );
    }
    let device = devices.sign(&["sensor.example", "urn:device:7"]);
    let trusted = gateway.authority.client(None, "http/1.1");
    let mut client = Client::connect(gateway.at, showing(&gateway, &device))
        .await
        .unwrap();
    assert_eq!(client.get("/a", "").await.status, StatusCode::OK);
    let lines = gateway.audited(5).await;
    let subjects: Vec<&str> = lines.iter().filter_map(|line| line["subject"].as_str()).collect();
    assert_eq!(subjects, ["key:pump", "certificate:urn:device:7"]);
    // One of another authority does not get as far as a request.
    let foreign = Authority::new().sign(&["urn:device:7"]);
    if let Ok(mut client) = Client::connect(gateway.at, showing(&gateway, &foreign)).await {
        assert!(client.has_ended().await);
    }
    assert!(Client::connect(gateway.at, trusted).await.is_ok());
    // A token that is bound to a certificate is good with that one alone.
    let bound = key.token(
        json!({"alg": "ES256", "kid": "k"}),
        claims(json!({"cnf": {"x5t#S256": thumbprint(&device)}})),
    );
    accepted(&mut client, &bound).await;
    assert_eq!(
        ask(&mut gateway.client().await, &bound).await.status,
        StatusCode::UNAUTHORIZED
    );
}

fn showing(gateway: &Gateway, own: &crate::support::tls::Signed) -> rustls::ClientConfig {
    gateway.authority.client(Some(own), "http/1.1")
}

#[tokio::test]
async fn who_shows_nothing_comes_in_only_where_the_configuration_says_so() {
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(vec![Key::p256().public("k")]).await,
    );
    let gateway = gateway(&upstream, &issuer, "", "  anonymous: true\n").await;
    let mut client = gateway.client().await;
    let answer = client
        .ask(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(gateway.audited(1).await[0]["subject"], "anonymous");
    assert_eq!(
        ask(&mut client, "a.b.c").await.status,
        StatusCode::UNAUTHORIZED,
        "what is shown is to be right"
    );
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_good_with_a_new_proof_of_this_request_alone() {
    let (key, own, other) = (Key::p256(), Key::p256(), Key::p256());
    let (upstream, issuer) = (
        Upstream::echo().await,
        Issuer::showing(vec![key.public("k")]).await,
    );
    let gateway = gateway(&upstream, &issuer, "", &format!("hosts: [{NAME}]\n")).await;
    let mut client = gateway.client().await;
    let header = json!({"alg": "ES256", "kid": "k"});
    let free = key.token(header.clone(), claims(json!({})));
    accepted(&mut client, &free).await;
    let bound = key.token(header, claims(json!({"cnf": {"jkt": thumbprint_of(&own)}})));
    let mut show = async |token: &str, proof: &str| {
        let lines = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n");
        client.get("/ngsi-ld/v1/entities?type=A", &lines).await
    };
    let good = proof(&own, &bound, json!({}));
    assert_eq!(show(&bound, &good).await.status, StatusCode::OK);
    assert!(!upstream.asked().last().unwrap().fields.contains_key("dpop"));
    for (what, proof) in [
        ("shown before", good),
        ("another key", proof(&other, &bound, json!({}))),
        ("another token", proof(&own, &free, json!({}))),
        ("another method", proof(&own, &bound, json!({"htm": "POST"}))),
        (
            "another path",
            proof(
                &own,
                &bound,
                json!({"htu": "https://gateway.example/ngsi-ld/v1/types"}),
            ),
        ),
        (
            "another host",
            proof(
                &own,
                &bound,
                json!({"htu": "https://other.example/ngsi-ld/v1/entities"}),
            ),
        ),
        ("old", proof(&own, &bound, json!({"iat": 1_700_000_000}))),
        (
            "from the future",
            proof(&own, &bound, json!({"iat": 99_999_999_999_u64})),
        ),
        ("without a name", proof(&own, &bound, json!({"jti": ""}))),
        ("an access token", free.clone()),
    ] {
        let answer = show(&bound, &proof).await;
        let challenge = answer.field("www-authenticate");
        let expected = (
            StatusCode::UNAUTHORIZED,
            Some("DPoP error=\"invalid_dpop_proof\""),
        );
        assert_eq!((answer.status, challenge), expected, "{what}");
    }
    assert_eq!(
        show(&free, &proof(&own, &free, json!({}))).await.status,
        StatusCode::UNAUTHORIZED,
        "bound to nothing"
    );
    assert_eq!(
        ask(&mut client, &bound).await.status,
        StatusCode::UNAUTHORIZED,
        "without a proof"
    );
    let other = client.ask("GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    assert_eq!(other.status, StatusCode::MISDIRECTED_REQUEST);
}
