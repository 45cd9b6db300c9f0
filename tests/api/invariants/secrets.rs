//! Invariant 7: credentials are made once, read by name, and told to nobody; certificates are renewed without a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use mim_operator::reconcile::request::{Entry, Journal, Verb};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use super::data::delete_broker;
use super::quiet::app_secret;
use crate::city::{CHILD_KINDS, City, TOP_KINDS, broker, image, platform, told};
use crate::subscriptions::subscription;
use mim_tests::cluster::api_of;

/// What must not be told: passwords and private keys (of those a line, as a whole PEM text is seldom printed on one).
async fn secrets_of(city: &City) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for secret in city.secrets().list(&ListParams::default()).await.unwrap() {
        let name = secret.name_any();
        for (key, value) in secret.data.into_iter().flatten() {
            let text = String::from_utf8(value.0).unwrap();
            match key.as_str() {
                key if key.ends_with("password") => {
                    values.insert(format!("{name}/{key}"), text);
                }
                "ca.key" | "tls.key" => {
                    let line = text.lines().nth(1).unwrap().to_owned();
                    assert!(line.len() > 30, "{name}/{key}");
                    values.insert(format!("{name}/{key}"), line);
                }
                _ => {}
            }
        }
    }
    values
}

/// A subscription that sends a header from a Secret.
async fn with_secret_header(city: &City) {
    let header = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": {"password": "header-not-to-be-told"}});
    city.apply(&header).await;
    let from_secret = json!([{"name": "X-Key", "secretKeyRef": {"name": "app", "key": "password"}}]);
    let endpoint = json!({"url": "https://app.example.org/", "headers": from_secret});
    let spec = json!({"notification": {"endpoint": endpoint}});
    city.apply(&subscription("air", "vienna", &spec)).await;
}

#[tokio::test]
async fn invariant_7_secrets_are_used_by_name_only_and_their_values_stand_in_no_log_event_status_or_pod() {
    let mut city = City::without_operator("untold").await;
    let native = city.serve("vienna").await;
    city.start(Journal::new());
    city.apply(&app_secret("graz-db")).await;
    with_secret_header(&city).await;
    let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "linz-token"}, "stringData": {"password": "token-not-to-be-told", "token": "token-not-to-be-told"}});
    city.apply(&token).await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.apply(&broker(
        "graz",
        &json!({"storage": {"external": {"secretRef": {"name": "graz-db"}}}}),
    ))
    .await;
    let external = json!({"url": "https://broker.invalid", "tokenSecretRef": {"name": "linz-token"}});
    city.apply(&broker(
        "linz",
        &json!({"engine": "External", "external": external}),
    ))
    .await;
    // A Secret that somebody else made under our name is read, and so could be told.
    city.apply(&app_secret("wels-database")).await;
    city.apply(&broker("wels", &json!({}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.subscription_says("air", "True", "Ready").await;
    let sent = native.only().unwrap().to_string();
    assert!(
        sent.contains("header-not-to-be-told"),
        "the broker is told: {sent}"
    );
    city.broker_says("graz", "True", "Ready").await;
    city.broker_says("linz", "False", "ExternalUnreachable").await;
    city.broker_complains("wels", "NameTaken", true, &["Secret wels-database"])
        .await;
    city.quiet().await;
    let first = city.restart().await;
    city.quiet().await;

    let secrets = secrets_of(&city).await;
    assert!(secrets.len() >= 6, "{:?}", secrets.keys());
    let entries: Vec<_> = first
        .entries()
        .into_iter()
        .chain(city.operator().journal.entries())
        .collect();
    let of_secrets: Vec<_> = entries
        .iter()
        .filter(|entry| entry.record.resource == "secrets")
        .collect();
    assert!(of_secrets.len() >= 8);
    for entry in &of_secrets {
        let record = &entry.record;
        let by_name = match record.verb {
            Verb::Get | Verb::Update | Verb::Delete => record.name.is_some(),
            Verb::Create => true,
            _ => false,
        };
        assert!(by_name, "{record}");
    }

    let mut told: Vec<(String, String)> = vec![("a log line".to_owned(), crate::logs::text())];
    assert!(told[0].1.contains(&city.namespace), "logs are kept");
    for entry in entries.iter().filter(|entry| entry.record.resource != "secrets") {
        let body = entry
            .record
            .body
            .as_ref()
            .map(|body| String::from_utf8_lossy(body).into_owned());
        told.push((
            entry.record.to_string(),
            body.unwrap_or_default() + &entry.record.target,
        ));
    }
    for (api_version, kind) in CHILD_KINDS
        .iter()
        .chain(TOP_KINDS)
        .chain(&[("events.k8s.io/v1", "Event")])
        .filter(|(_, kind)| *kind != "Secret")
    {
        let api = api_of(
            &city.client,
            &city.namespace,
            &json!({"apiVersion": api_version, "kind": kind}),
        );
        for object in api.list(&ListParams::default()).await.unwrap() {
            told.push((
                format!("{kind} {}", object.name_any()),
                serde_json::to_string(&object).unwrap(),
            ));
        }
    }
    let metrics = city.operator().handle.metrics.render().unwrap();
    told.push(("the metrics".to_owned(), metrics));
    assert!(told.len() > 60, "{}", told.len());
    for (what, value) in &secrets {
        for (place, text) in &told {
            assert!(!text.contains(value), "{what} stands in {place}");
        }
    }
}

#[tokio::test]
async fn invariant_7_a_certificate_is_renewed_at_two_thirds_of_its_life_over_the_version_that_was_read_and_restarts_nothing()
 {
    let mut city = City::without_operator("renewal").await;
    let mut options = city.options();
    options.settings.certificate_lifetime = Some(Duration::from_secs(15));
    city.start_with(options, Journal::new());
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let read = || async {
        let secret = city.secrets().get("vienna-database-tls").await.unwrap();
        let data = secret.data.unwrap();
        (data["tls.crt"].0.clone(), data["ca.crt"].0.clone())
    };
    let uids = || async {
        let listed = city.pods().list(&ListParams::default()).await.unwrap();
        let mut uids: Vec<_> = listed.items.iter().filter_map(ResourceExt::uid).collect();
        uids.sort();
        uids
    };
    let (pods, (leaf, authority)) = (uids().await, read().await);
    let (renewed, same) = eventually("the certificate is renewed", || async {
        let (now, authority_now) = read().await;
        if now == leaf {
            Err("the old one")
        } else {
            Ok((now, authority_now == authority))
        }
    })
    .await;
    assert_ne!(renewed, leaf);
    assert!(same, "the authority lives on");
    assert_eq!(uids().await, pods, "nothing restarts");
    let updates: Vec<_> = city
        .changes()
        .into_iter()
        .filter(|entry| entry.record.resource == "secrets" && entry.record.verb == Verb::Update)
        .collect();
    assert!(!updates.is_empty());
    for update in &updates {
        let body: Value = serde_json::from_slice(update.record.body.as_ref().unwrap()).unwrap();
        assert!(
            body["metadata"]["resourceVersion"].is_string() && body["metadata"]["uid"].is_string(),
            "the precondition of {}",
            update.record
        );
    }
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn secrets_of_a_new_broker_are_made_without_a_look_and_those_of_an_earlier_one_of_its_name_are_used() {
    let city = City::new("unseen").await;
    let vienna = broker("vienna", &json!({}));
    let reads = || {
        let entries = city.operator().journal.entries();
        let read = |entry: &&Entry| entry.record.verb == Verb::Get && entry.record.resource == "secrets";
        entries.iter().filter(read).map(told).collect::<Vec<_>>()
    };
    city.apply(&vienna).await;
    city.broker_says("vienna", "True", "Ready").await;
    assert_eq!(reads(), Vec::<String>::new());

    let first = secrets_of(&city).await;
    delete_broker(&city, "vienna").await;
    eventually("the broker is gone with what does not open data", || async {
        let left = secrets_of(&city).await;
        if left.contains_key("vienna-broker-tls/tls.key") {
            Err(left.into_keys().collect::<Vec<_>>())
        } else {
            Ok(())
        }
    })
    .await;
    city.apply(&vienna).await;
    city.broker_says("vienna", "True", "Ready").await;
    let again = secrets_of(&city).await;
    for key in ["vienna-database/password", "vienna-database-ca/ca.key"] {
        assert!(
            first.contains_key(key) && first[key] == again[key],
            "{key} is another"
        );
    }
    assert_ne!(
        first["vienna-broker-tls/tls.key"],
        again["vienna-broker-tls/tls.key"]
    );
    assert!(!reads().is_empty());
}

#[tokio::test]
async fn certificates_of_a_brokers_doors_are_of_one_authority_are_renewed_and_go_with_the_broker() {
    let mut city = City::without_operator("doors").await;
    let mut options = city.options();
    options.settings.certificate_lifetime = Some(Duration::from_secs(30));
    city.start_with(options, Journal::new());
    city.apply(&app_secret("graz-db")).await;
    city.apply(&broker(
        "graz",
        &json!({"storage": {"external": {"secretRef": {"name": "graz-db"}}}}),
    ))
    .await;
    city.broker_says("graz", "True", "Ready").await;
    let names = [
        "graz-broker-ca",
        "graz-broker-tls",
        "graz-broker-gateway",
        "graz-broker-administrator",
    ];
    let authority = city.secrets().get("graz-broker-ca").await.unwrap().data.unwrap();
    let mut certificates = Vec::new();
    for name in names {
        let secret = city.secrets().get(name).await.unwrap();
        let owners: Vec<_> = secret
            .owner_references()
            .iter()
            .map(|of| of.name.clone())
            .collect();
        assert_eq!(owners, ["graz"], "{name} opens no data that outlives the broker");
        let data = secret.data.unwrap();
        assert_eq!(data["ca.crt"], authority["ca.crt"], "{name}");
        certificates.extend(data.get("tls.crt").map(|of| (name, of.clone())));
    }
    assert_eq!(certificates.len(), 3);
    for (name, before) in certificates {
        eventually(&format!("{name} is renewed"), || async {
            let data = city.secrets().get(name).await.unwrap().data.unwrap();
            if data["tls.crt"] == before {
                Err("the old one")
            } else {
                Ok(())
            }
        })
        .await;
    }
    city.brokers()
        .delete("graz", &DeleteParams::default())
        .await
        .unwrap();
    for name in names {
        eventually(&format!("{name} is gone"), || async {
            match city.secrets().get_opt(name).await.unwrap() {
                Some(_) => Err("still there"),
                None => Ok(()),
            }
        })
        .await;
    }
    assert!(city.secrets().get_opt("graz-db").await.unwrap().is_some());
}

/// The passwords that the broker has of readers, by file.
async fn readers(city: &City) -> BTreeMap<String, Vec<u8>> {
    let held = city.secrets().get("vienna-broker-readers").await.unwrap();
    let data = held.data.unwrap_or_default();
    data.into_iter().map(|(key, value)| (key, value.0)).collect()
}

async fn reader(city: &City, tenant: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let name = format!("vienna-reader{tenant}");
    let held = city.secrets().get_opt(&name).await.unwrap()?;
    let data = held.data.unwrap_or_default();
    Some(data.into_iter().map(|(key, value)| (key, value.0)).collect())
}

#[tokio::test]
async fn each_tenant_has_a_reader_with_a_secret_whose_password_reaches_the_broker_without_a_restart() {
    let city = City::new("readers").await;
    city.apply(&broker("vienna", &json!({"tenants": ["north"]})))
        .await;
    city.broker_says("vienna", "True", "Ready").await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let of = |tenant: &'static str| reader(&city, tenant);
    let north = of(".north").await.unwrap();
    assert_eq!(text(&north["username"]), "mim.north_v1");
    assert_eq!(text(&north["dbname"]), "mim");
    assert_eq!(
        text(&north["host"]),
        format!("vienna-database.{}.svc", city.namespace)
    );
    let default = of("").await.unwrap();
    assert_eq!(text(&default["username"]), "mim._v1");
    assert_ne!(default["password"], north["password"]);
    let both = BTreeMap::from([
        ("_v1.password".to_owned(), default["password"].clone()),
        ("north_v1.password".to_owned(), north["password"].clone()),
    ]);
    assert_eq!(readers(&city).await, both);
    let pods = || async {
        let listed = city.pods().list(&ListParams::default()).await.unwrap();
        let mut uids: Vec<_> = listed.items.iter().filter_map(ResourceExt::uid).collect();
        uids.sort();
        uids
    };
    let before = pods().await;
    let until = async |files: &[&str]| {
        eventually(&format!("the broker has {files:?}"), || async {
            let found: Vec<_> = readers(&city).await.into_keys().collect();
            if found == files { Ok(()) } else { Err(found) }
        })
        .await;
    };
    // A tenant comes, another goes: its reader with it, from the broker's side, while its Secret may be in use elsewhere.
    city.apply(&broker("vienna", &json!({"tenants": ["south"]})))
        .await;
    until(&["_v1.password", "south_v1.password"]).await;
    assert!(of(".south").await.is_some() && of(".north").await.is_some());
    city.apply(&broker("vienna", &json!({"tenants": ["north", "south"]})))
        .await;
    until(&["_v1.password", "north_v1.password", "south_v1.password"]).await;
    let again = readers(&city).await;
    assert_eq!(again["north_v1.password"], north["password"]);
    // A password is changed by taking the Secret away, or by writing another.
    city.secrets()
        .delete("vienna-reader.north", &DeleteParams::default())
        .await
        .unwrap();
    let by_hand = &Patch::Merge(json!({"stringData": {"password": "chosen-by-hand"}}));
    city.secrets()
        .patch("vienna-reader.south", &PatchParams::default(), by_hand)
        .await
        .unwrap();
    city.annotate_broker("vienna", "mim.city/requestedAt", "1").await;
    eventually("the broker has the new passwords", || async {
        let held = readers(&city).await;
        let made = of(".north").await;
        let made = made.map(|data| data["password"].clone());
        let north = held["north_v1.password"].clone();
        let is_new = north != again["north_v1.password"] && Some(&north) == made.as_ref();
        if is_new && held["south_v1.password"] == b"chosen-by-hand" {
            Ok(())
        } else {
            Err("the old ones")
        }
    })
    .await;
    city.quiet().await;
    assert_eq!(pods().await, before, "nothing restarts");
    let told = city.events("ContextBroker", "vienna").await;
    let repaired: Vec<_> = told
        .iter()
        .filter(|event| event.starts_with("Repaired"))
        .collect();
    assert!(
        repaired
            .iter()
            .all(|event| event.contains("vienna-reader.north") || event.contains("vienna-reader.south")),
        "what the spec brings was nobody's doing: {repaired:?}"
    );
}

#[tokio::test]
async fn invariant_7_certificates_are_renewed_also_while_the_spec_is_refused() {
    let mut city = City::without_operator("refused-renewal").await;
    let mut options = city.options();
    options.settings.certificate_lifetime = Some(Duration::from_secs(15));
    city.start_with(options, Journal::new());
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.apply(&broker("vienna", &json!({"release": "9.9.9"}))).await;
    city.broker_complains("vienna", "ReleaseUnknown", true, &["9.9.9"])
        .await;
    let read = || async {
        let secret = city.secrets().get("vienna-database-tls").await.unwrap();
        secret.data.unwrap()["tls.crt"].clone()
    };
    let before = read().await;
    eventually("the certificate is renewed", || async {
        if read().await == before {
            Err("the old one")
        } else {
            Ok(())
        }
    })
    .await;
    city.broker_complains("vienna", "ReleaseUnknown", true, &["9.9.9"])
        .await;
}

#[tokio::test]
async fn row_secret_of_credentials_deleted_it_is_made_anew_at_the_next_pass_and_no_pod_restarts() {
    let city = City::new("credentials").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let pods = city.pods().list(&ListParams::default()).await.unwrap();
    let before: Vec<_> = pods.items.iter().map(|pod| (pod.name_any(), pod.uid())).collect();
    let names = ["vienna-database", "vienna-database-ca", "vienna-database-tls"];
    for name in names {
        city.secrets()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    city.annotate_broker("vienna", "mim.city/requestedAt", "now")
        .await;
    for name in names {
        eventually(&format!("Secret {name} is back"), || async {
            city.secrets()
                .get(name)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
    }
    eventually("the request is answered", || async {
        let held = city.brokers().get("vienna").await.unwrap().status.unwrap();
        match held.last_handled_requested_at.as_deref() {
            Some("now") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let secret = city.secrets().get("vienna-database").await.unwrap();
    let data = secret.data.unwrap();
    for key in ["host", "port", "dbname", "username", "password", "uri"] {
        assert!(data.contains_key(key), "{key}");
    }
    let certificate = city
        .secrets()
        .get("vienna-database-tls")
        .await
        .unwrap()
        .data
        .unwrap();
    let authority = city
        .secrets()
        .get("vienna-database-ca")
        .await
        .unwrap()
        .data
        .unwrap();
    assert_eq!(
        certificate["ca.crt"], authority["ca.crt"],
        "the certificate is of the new authority"
    );
    city.broker_says("vienna", "True", "Ready").await;
    let pods = city.pods().list(&ListParams::default()).await.unwrap();
    let after: Vec<_> = pods.items.iter().map(|pod| (pod.name_any(), pod.uid())).collect();
    assert_eq!(
        after, before,
        "what mounts them sees the new ones; nothing restarts"
    );
    // A half-written Secret of ours is no lock-out either: what is missing in it is made.
    city.secrets()
        .patch(
            "vienna-database-tls",
            &PatchParams::default(),
            &Patch::Merge(json!({"data": {"tls.key": "", "tls.crt": "bm90IGEgY2VydGlmaWNhdGU="}})),
        )
        .await
        .unwrap();
    city.annotate_broker("vienna", "mim.city/requestedAt", "again")
        .await;
    eventually("the certificate is whole again", || async {
        let data = city
            .secrets()
            .get("vienna-database-tls")
            .await
            .unwrap()
            .data
            .unwrap();
        let text = String::from_utf8_lossy(&data["tls.crt"].0).into_owned();
        if text.starts_with("-----BEGIN CERTIFICATE") && !data["tls.key"].0.is_empty() {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test]
async fn row_secret_of_credentials_deleted_or_edited_is_put_back_while_a_pod_waits_for_it_and_an_event_says_so()
 {
    let city = City::new("secret-repair").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let read = || async {
        let held = city.secrets().get_opt("vienna-database").await.unwrap();
        let data = held.and_then(|held| held.data).unwrap_or_default();
        let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).unwrap();
        data.into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect::<BTreeMap<_, _>>()
    };
    // A pod starts, and misses it; nobody asks for a pass.
    city.secrets()
        .delete("vienna-database", &DeleteParams::default())
        .await
        .unwrap();
    let words = "secret \"vienna-database\" not found";
    let trouble = ("CreateContainerConfigError", words);
    let database = image("postgis", 'd');
    city.kubelet.troubles.lock().unwrap().insert(database, trouble);
    city.pods()
        .delete("vienna-database-0", &DeleteParams::default())
        .await
        .unwrap();
    city.broker_complains("vienna", "ContainerConfigError", false, &[words])
        .await;
    let made = eventually("the Secret is back", || async {
        let data = read().await;
        if data.is_empty() {
            Err("not there")
        } else {
            Ok(data)
        }
    })
    .await;
    let repaired = ["Repaired", "Secret vienna-database", "made again"];
    city.event_says("ContextBroker", "vienna", &repaired).await;
    city.kubelet.troubles.lock().unwrap().clear();
    city.broker_says("vienna", "True", "Ready").await;

    // What we know is put back; a password that is there stays, as the database follows it.
    let edits = json!({"host": "elsewhere", "port": null, "password": "chosen-by-hand", "note": "mine"});
    let patch =
        json!({"stringData": edits, "data": {"port": null}, "metadata": {"labels": {"mim.city/name": null}}});
    let patch = &Patch::Merge(patch);
    city.secrets()
        .patch("vienna-database", &PatchParams::default(), patch)
        .await
        .unwrap();
    city.annotate_broker("vienna", "mim.city/requestedAt", "1").await;
    let repaired = ["Repaired", "Secret vienna-database", "put back"];
    city.event_says("ContextBroker", "vienna", &repaired).await;
    let mended = read().await;
    for key in ["host", "port", "dbname", "username", "user"] {
        assert_eq!(mended[key], made[key], "{key}");
    }
    assert_eq!(
        (mended["password"].as_str(), mended["note"].as_str()),
        ("chosen-by-hand", "mine")
    );
    assert!(mended["uri"].contains("chosen-by-hand"));
    let held = city.secrets().get("vienna-database").await.unwrap();
    assert_eq!(held.labels()["mim.city/name"], "vienna");

    let patch = &Patch::Merge(json!({"stringData": {"password": ""}}));
    city.secrets()
        .patch("vienna-database", &PatchParams::default(), patch)
        .await
        .unwrap();
    city.annotate_broker("vienna", "mim.city/requestedAt", "2").await;
    eventually("there is a password again", || async {
        let password = read().await["password"].clone();
        if password.len() > 30 {
            Ok(())
        } else {
            Err(password)
        }
    })
    .await;
    city.broker_says("vienna", "True", "Ready").await;
}
