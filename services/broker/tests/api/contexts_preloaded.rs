//! Contexts from files, and what editions of the standard disagree on: settings that are followed without a restart.

use crate::support::{Answer, Broker, Postgres, eventually};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const RELATION: &str = "rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
const URL: &str = "https://c.example/context.jsonld";
const ENCODED: &str = "https%3A%2F%2Fc.example%2Fcontext.jsonld";

/// A broker with these contexts from files.
async fn preloaded(list: &str, files: &[(&str, &str)]) -> Broker {
    let config = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(config.path(), name, text);
    }
    write(
        config.path(),
        "broker.yaml",
        &format!("tenants: [one, two]\ncontexts: {list}\n"),
    );
    let broker = Broker::start_with(Arc::new(Postgres::shared().database()), Arc::new(config));
    broker.until_ready().await;
    broker
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As the kubelet does: another file takes the name at once.
    std::fs::write(folder.join("next"), text).unwrap();
    std::fs::rename(folder.join("next"), path).unwrap();
}

async fn using(broker: &Broker, url: &str) -> Answer {
    let link = format!("<{url}>; {RELATION}");
    broker
        .send(
            "GET",
            "/entities?type=Car&options=keyValues",
            &[("link", &link)],
            None,
        )
        .await
}

fn meaning(iri: &str) -> String {
    json!({"@context": {"Car": iri}}).to_string()
}

#[tokio::test]
async fn a_preloaded_context_is_used_without_fetching_and_followed_as_it_changes() {
    let list = format!(
        "[{{url: \"{URL}\", file: maps/a.jsonld}}, {{url: \"https://c.example/part\", file: maps/part}}]"
    );
    let include = json!({"@context": ["part", {"Bus": "v:Bus"}]}).to_string();
    let broker = preloaded(
        &list,
        &[
            ("maps/a.jsonld", &meaning("https://one.example/Car")),
            (
                "maps/part",
                &json!({"@context": {"v": "https://v.example/"}}).to_string(),
            ),
        ],
    )
    .await;
    for (id, kind) in [
        ("urn:x:1", "https://one.example/Car"),
        ("urn:x:2", "https://two.example/Car"),
        ("urn:x:3", "https://v.example/Bus"),
    ] {
        broker.create(&json!({"id": id, "type": kind}).to_string()).await;
    }
    let ids = |answer: &Answer| -> Vec<String> {
        answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = using(&broker, URL).await;
    assert_eq!(
        (ids(&found), found.json()[0]["type"].clone()),
        (vec!["urn:x:1".to_owned()], json!("Car"))
    );

    write(
        broker.config.path(),
        "maps/a.jsonld",
        &meaning("https://two.example/Car"),
    );
    eventually(20, "the changed file is used", async || {
        ids(&using(&broker, URL).await) == ["urn:x:2"]
    })
    .await;

    // A file that has gone is no reason to forget what was in it, nor to fetch it.
    std::fs::remove_file(broker.config.path().join("maps/a.jsonld")).unwrap();
    eventually(20, "the broker says that the file has gone", async || {
        broker
            .log
            .lock()
            .unwrap()
            .contains("preloaded contexts have no file")
    })
    .await;
    assert_eq!(ids(&using(&broker, URL).await), ["urn:x:2"]);

    write(broker.config.path(), "maps/a.jsonld", "no JSON");
    eventually(20, "the file that is no context is not used", async || {
        using(&broker, URL).await.status == 400
    })
    .await;
    assert_eq!(using(&broker, URL).await.error(), "BadRequestData");

    write(broker.config.path(), "maps/a.jsonld", &include);
    let bus = async || {
        let link = format!("<{URL}>; {RELATION}");
        let found = broker
            .send("GET", "/entities?type=Bus", &[("link", &link)], None)
            .await;
        if found.status == 200 {
            ids(&found)
        } else {
            Vec::new()
        }
    };
    eventually(
        20,
        "a relative reference leads to another preloaded one",
        async || bus().await == ["urn:x:3"],
    )
    .await;

    write(
        broker.config.path(),
        "broker.yaml",
        "tenants: [one, two]\ncontexts: []\n",
    );
    eventually(30, "without the list it would have to be fetched", async || {
        let answer = using(&broker, URL).await;
        answer.status == 504 && answer.error() == "LdContextNotAvailable"
    })
    .await;
}

#[tokio::test]
async fn a_list_that_is_half_wrong_is_half_used_and_the_rest_of_the_configuration_too() {
    let broker = preloaded(
        &format!("[{{url: ftp://x, file: a}}, {{url: \"{URL}\", file: a}}, {{url: \"https://c.example/b\", file: ../../etc/passwd}}]"),
        &[("a", &meaning("urn:car"))],
    )
    .await;
    assert_eq!(using(&broker, URL).await.status, 200);
    assert_eq!(using(&broker, "https://c.example/b").await.status, 504);
    assert_eq!(
        broker
            .send("GET", "/types", &[("NGSILD-Tenant", "two")], None)
            .await
            .status,
        200
    );
    for told in ["ftp://x", "not a path inside the folder"] {
        broker.until_logged(1, told).await;
    }
}

#[tokio::test]
async fn a_cached_context_is_a_record_of_its_tenant_that_can_be_reloaded_and_deleted() {
    let list = format!("[{{url: \"{URL}\", file: a}}, {{url: \"https://c.example/outer\", file: outer}}]");
    let outer = json!({"@context": [URL, {"Bus": "urn:bus"}]}).to_string();
    let broker = preloaded(&list, &[("a", &meaning("urn:car")), ("outer", &outer)]).await;
    let details = async |headers: &[(&str, &str)]| {
        broker
            .send(
                "GET",
                &format!("/jsonldContexts/{ENCODED}?details=true"),
                headers,
                None,
            )
            .await
    };
    assert_eq!(
        details(&[]).await.error(),
        "ResourceNotFound",
        "nobody has used it"
    );
    using(&broker, URL).await;
    let first = details(&[]).await.json();
    assert_eq!(
        (&first["URL"], &first["kind"], &first["numberOfHits"]),
        (&json!(URL), &json!("Cached"), &json!(1))
    );
    assert_eq!(first["extraInfo"], json!({"source": "preloaded"}));
    let created = first["createdAt"].clone();
    using(&broker, URL).await;
    let by_id = broker
        .get(&format!(
            "/jsonldContexts/{}?details=true",
            first["localId"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(
        (&by_id["numberOfHits"], &by_id["createdAt"]),
        (&json!(3), &created),
        "two uses and one look"
    );
    let content = broker.get(&format!("/jsonldContexts/{ENCODED}")).await;
    assert_eq!(
        (content.status, content.error().as_str()),
        (422, "OperationNotSupported")
    );

    // Whatever it includes is Cached too, and all of it for the tenant that uses it alone.
    let link = format!("<https://c.example/outer>; {RELATION}");
    let one = [("NGSILD-Tenant", "one"), ("link", &*link)];
    assert_eq!(broker.send("GET", "/types", &one, None).await.status, 200);
    let listed = broker
        .send("GET", "/jsonldContexts?kind=Cached", &one[..1], None)
        .await
        .json();
    let mut urls: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u.as_str().unwrap())
        .collect();
    urls.sort_unstable();
    assert_eq!(urls, [URL, "https://c.example/outer"]);
    assert_eq!(broker.get("/jsonldContexts").await.json(), json!([URL]));
    assert_eq!(broker.get("/jsonldContexts?kind=Hosted").await.json(), json!([]));

    assert_eq!(
        broker
            .send(
                "DELETE",
                &format!("/jsonldContexts/{ENCODED}?reload=true"),
                &[],
                None
            )
            .await
            .status,
        204
    );
    assert_eq!(details(&[]).await.status, 200);
    assert_eq!(
        broker
            .send("DELETE", &format!("/jsonldContexts/{ENCODED}"), &[], None)
            .await
            .status,
        204
    );
    assert_eq!(details(&[]).await.status, 404);
    assert_eq!(
        details(&one[..1]).await.json()["numberOfHits"],
        1,
        "of another tenant"
    );
    assert_eq!(using(&broker, URL).await.status, 200);
    assert_eq!(details(&[]).await.json()["numberOfHits"], 1, "it begins anew");
}

#[tokio::test]
async fn a_url_is_the_same_however_it_is_written() {
    let broker = preloaded(
        "[{url: \"https://C.example:443\", file: a}]",
        &[("a", &meaning("urn:car"))],
    )
    .await;
    for url in [
        "https://c.example",
        "https://c.example/",
        "HTTPS://c.example:443/",
    ] {
        assert_eq!(using(&broker, url).await.status, 200, "{url}");
    }
    for encoded in ["https%3A%2F%2Fc.example", "https%3A%2F%2FC.EXAMPLE%3A443%2F"] {
        let details = broker
            .get(&format!("/jsonldContexts/{encoded}?details=true"))
            .await;
        assert_eq!(details.json()["URL"], "https://c.example/", "{encoded}");
    }
    assert_eq!(
        broker.get("/jsonldContexts").await.json(),
        json!(["https://c.example/"])
    );
}

#[tokio::test]
async fn a_reload_without_a_file_fails_and_keeps_the_record() {
    let broker = preloaded(
        &format!("[{{url: \"{URL}\", file: a}}]"),
        &[("a", &meaning("urn:car"))],
    )
    .await;
    using(&broker, URL).await;
    std::fs::remove_file(broker.config.path().join("a")).unwrap();
    let failed = broker
        .send(
            "DELETE",
            &format!("/jsonldContexts/{ENCODED}?reload=true"),
            &[],
            None,
        )
        .await;
    assert_eq!(
        (failed.status, failed.error().as_str()),
        (504, "LdContextNotAvailable")
    );
    let kept = broker
        .get(&format!("/jsonldContexts/{ENCODED}?details=true"))
        .await;
    assert_eq!((kept.status, kept.json()["kind"].clone()), (200, json!("Cached")));
    assert_eq!(using(&broker, URL).await.status, 200);
}

#[tokio::test]
async fn the_status_of_a_context_that_cannot_be_had_is_that_of_the_edition() {
    let broker = preloaded("[]", &[]).await;
    let away = "http://127.0.0.1:1/context.jsonld";
    let item = async || -> Value {
        let body = json!([{"id": "urn:x:1", "type": "A", "@context": away}]).to_string();
        let ld = [("content-type", "application/ld+json")];
        let answer = broker
            .send("POST", "/entityOperations/upsert", &ld, Some(&body))
            .await;
        assert_eq!(answer.status, 207);
        answer.json()["errors"][0]["error"].clone()
    };
    for (setting, status) in [("", 504), ("503", 503), ("504", 504), ("503", 503)] {
        let compatibility = if setting.is_empty() {
            String::new()
        } else {
            format!("compatibility: {{contextNotAvailableStatus: {setting}, future: 1}}\n")
        };
        write(
            broker.config.path(),
            "broker.yaml",
            &format!("tenants: [one, two]\n{compatibility}"),
        );
        eventually(20, "the setting is followed", async || {
            using(&broker, away).await.status == status
        })
        .await;
        assert_eq!(using(&broker, away).await.error(), "LdContextNotAvailable");
        assert_eq!(item().await["status"], json!(status));
    }
    // Another status is none of the standard; the setting from before stays.
    write(
        broker.config.path(),
        "broker.yaml",
        "compatibility: {contextNotAvailableStatus: 500}\n",
    );
    eventually(20, "the broker says why it does not take the file", async || {
        broker
            .log
            .lock()
            .unwrap()
            .contains("contextNotAvailableStatus is 503 or 504, not 500")
    })
    .await;
    assert_eq!(using(&broker, away).await.status, 503);
}
