//! Whose permission sets are obeyed: those of the platform's gateway, who shows its certificate at its own door.

use crate::support::gateway::{Authority, Guarded, NAME, connect, everything, header, send, send_over};
use crate::support::{Answer, Broker, eventually};
use serde_json::json;

const PARK: &str = r#"{"id":"urn:p:1","type":"Park","name":{"type":"Property","value":"Park"}}"#;

/// How often requests were refused for a cause.
async fn refused(broker: &Broker, cause: &str) -> u64 {
    let text = broker
        .client
        .send(broker.health, "GET", "/metrics", &[], None)
        .await
        .text();
    let line = format!("mim_broker_permission_sets_refused_total{{cause=\"{cause}\"}} ");
    let found = text.lines().find_map(|l| l.strip_prefix(&line));
    found.map_or(0, |number| number.parse().unwrap())
}

fn is_forbidden(answer: &Answer) -> bool {
    let json = answer.json();
    answer.status == 403 && json["type"] == "about:blank" && json["status"] == 403
}

#[tokio::test]
async fn row_broker_a_permission_header_from_outside_is_403_counted_and_never_obeyed() {
    // Of a broker that has no gateway, and at the other door of one that has.
    for broker in [Broker::ready().await, Guarded::ready("").await.broker] {
        broker.create(PARK).await;
        let all = header(&everything());
        let nothing = header(&json!({"version": 1, "subject": "s"}));
        for value in [&*all, &nothing, "", "x"] {
            for (method, path) in [
                ("GET", "/entities/urn:p:1"),
                ("GET", "/entities?type=Park"),
                ("DELETE", "/entities/urn:p:1"),
                ("GET", "/nowhere"),
            ] {
                for name in ["mim-permissions", "Mim-Permissions"] {
                    let answer = broker.send(method, path, &[(name, value)], None).await;
                    assert!(is_forbidden(&answer), "{method} {path}: {}", answer.text());
                }
            }
        }
        assert_eq!(refused(&broker, "not_from_gateway").await, 32);
        assert_eq!(
            broker.get("/entities/urn:p:1").await.status,
            200,
            "nothing was done"
        );
    }
}

#[tokio::test]
async fn row_broker_without_the_certificate_of_the_gateway_nobody_comes_in_by_its_door() {
    let guarded = Guarded::ready("").await;
    let authority = &guarded.authority;
    let stranger = Authority::new();
    let all = header(&everything());
    let headers = [("mim-permissions", &*all)];
    for (who, connector, cause) in [
        ("no certificate", authority.client(None), "no_certificate"),
        (
            "another name",
            authority.client(Some("other.city.svc")),
            "another_name",
        ),
        (
            "a longer name",
            authority.client(Some(&format!("x.{NAME}"))),
            "another_name",
        ),
    ] {
        for headers in [&headers[..], &[]] {
            let before = refused(&guarded.broker, cause).await;
            let answer = send(&connector, guarded.door, "GET", "/types", headers, None)
                .await
                .unwrap();
            assert!(is_forbidden(&answer), "{who}: {}", answer.text());
            assert_eq!(refused(&guarded.broker, cause).await, before + 1);
        }
    }
    let connector = stranger.client_of(authority);
    let answer = send(&connector, guarded.door, "GET", "/types", &headers, None).await;
    assert!(answer.is_err(), "another authority: {answer:?}");
    assert_eq!(refused(&guarded.broker, "unknown_certificate").await, 1);
    let plain = guarded
        .broker
        .client
        .try_send(guarded.door, "GET", "/ngsi-ld/v1/types", &headers, None)
        .await;
    assert!(plain.is_err(), "without TLS: {plain:?}");
    assert_eq!(refused(&guarded.broker, "unknown_certificate").await, 2);
    let gateway = authority.client(Some(NAME));
    let answer = send(&gateway, guarded.door, "GET", "/types", &headers, None).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn row_broker_who_is_not_the_gateway_keeps_no_place_at_its_door() {
    let guarded = Guarded::ready("").await;
    let mut stranger = connect(&guarded.authority.client(None), guarded.door)
        .await
        .unwrap();
    let answer = send_over(&mut stranger, "GET", "/types", &[], None)
        .await
        .unwrap();
    assert!(is_forbidden(&answer), "{}", answer.text());
    let again = send_over(&mut stranger, "GET", "/types", &[], None).await;
    assert!(again.is_err(), "{again:?}");
    // Who asks nothing is not waited for either.
    let silent = connect(&guarded.authority.client(None), guarded.door)
        .await
        .unwrap();
    eventually(10, "it is let go", async || silent.is_closed()).await;
}

#[tokio::test]
async fn row_broker_the_gateway_sends_one_permission_set_that_can_be_read_or_is_refused() {
    let guarded = Guarded::ready("").await;
    guarded.broker.create(PARK).await;
    let all = header(&everything());
    let newer = header(&json!({"version": 2, "subject": "s", "read": {"allow": [{}]}}));
    let set = |value| ("mim-permissions", value);
    for (headers, cause) in [
        (vec![], "not_one"),
        (vec![set(&*all), set(&*all)], "not_one"),
        (vec![set("")], "unreadable"),
        (vec![set("%%%")], "unreadable"),
        (vec![set(&newer)], "unreadable"),
    ] {
        let before = refused(&guarded.broker, cause).await;
        let answer = guarded.send("GET", "/entities/urn:p:1", &headers).await;
        assert!(is_forbidden(&answer), "{}", answer.text());
        assert_eq!(refused(&guarded.broker, cause).await, before + 1);
    }
    let answer = guarded.send("GET", "/entities/urn:p:1", &[set(&all)]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn certificates_of_the_gateway_are_followed_as_they_change_and_the_door_as_the_configuration_does() {
    let guarded = Guarded::ready("").await;
    let folder = guarded.broker.config.path().join("gateway-tls");
    let all = header(&everything());
    let headers = [("mim-permissions", &*all)];
    let newer = Authority::new();
    newer.equip(&folder);
    let (old, new) = (guarded.authority.client_of(&newer), newer.client(Some(NAME)));
    eventually(20, "the new certificates are used", async || {
        send(&new, guarded.door, "GET", "/types", &headers, None)
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
    assert!(
        send(&old, guarded.door, "GET", "/types", &headers, None)
            .await
            .is_err()
    );
    // What cannot be used leaves what was.
    std::fs::write(folder.join("tls.key"), "no key").unwrap();
    eventually(20, "the log says so", async || {
        guarded
            .broker
            .log
            .lock()
            .unwrap()
            .contains("the gateway cannot be known by these files")
    })
    .await;
    let answer = send(&new, guarded.door, "GET", "/types", &headers, None).await;
    assert_eq!(answer.unwrap().status, 200);
    guarded.broker.configure("tenants: []\n");
    eventually(20, "the door is closed", async || {
        send(&new, guarded.door, "GET", "/types", &headers, None)
            .await
            .is_err()
    })
    .await;
}
