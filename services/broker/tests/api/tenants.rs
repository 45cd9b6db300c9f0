use crate::support::{Broker, eventually};
use serde_json::json;

const BODY: &str = r#"{"id":"urn:x:1","type":"A","p":{"type":"Property","value":"TENANT"},"location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,1]}}}"#;

#[tokio::test]
async fn no_tenant_sees_or_changes_the_data_of_another() {
    let broker = Broker::ready().await;
    let tenants: [&[(&str, &str)]; 3] = [&[], &[("NGSILD-Tenant", "one")], &[("NGSILD-Tenant", "two")]];
    for (n, headers) in tenants.into_iter().enumerate() {
        let body = BODY.replace("TENANT", &n.to_string());
        assert_eq!(
            broker
                .send("POST", "/entities", headers, Some(&body))
                .await
                .status,
            201,
            "the same id in each tenant"
        );
    }
    for (n, headers) in tenants.into_iter().enumerate() {
        let own = n.to_string();
        for query in [
            "type=A",
            "type=A,B",
            "type=*",
            "attrs=p",
            "q=p",
            "local=true",
            "type=*&id=urn:x:1",
            "type=*&idPattern=.*",
            "georel=near;maxDistance==5&geometry=Point&coordinates=[1,1]",
            "q=p%3D%3D%220%22,%221%22,%222%22",
            "georel=disjoint&geometry=Point&coordinates=[5,5]",
        ] {
            let answer = broker
                .send(
                    "GET",
                    &format!("/entities?{query}&count=true&options=keyValues"),
                    headers,
                    None,
                )
                .await;
            assert_eq!(answer.header("ngsild-results-count"), "1", "{query}");
            assert_eq!(answer.json()[0]["p"], json!(own), "{query}");
        }
        assert_eq!(
            broker.send("GET", "/types/A", headers, None).await.json()["entityCount"],
            1
        );
        assert_eq!(
            broker
                .send("GET", "/entities/urn:x:1?options=keyValues", headers, None)
                .await
                .json()["p"],
            json!(own)
        );
    }
    let one: &[(&str, &str)] = &[("NGSILD-Tenant", "one")];
    let change = r#"{"type":"New","p":{"type":"Property","value":"changed"}}"#;
    assert_eq!(
        broker
            .send("POST", "/entities/urn:x:1/attrs", one, Some(change))
            .await
            .status,
        204
    );
    assert_eq!(
        broker
            .send(
                "POST",
                "/entityOperations/upsert",
                one,
                Some(&format!("[{}]", BODY.replace("x:1", "x:2")))
            )
            .await
            .status,
        201
    );
    assert_eq!(broker.get("/types").await.json()["typeList"], json!(["A"]));
    assert_eq!(
        broker.get("/entities/urn:x:1?options=keyValues").await.json()["p"],
        "0"
    );
    assert_eq!(broker.get("/entities/urn:x:2").await.status, 404);
    assert_eq!(
        broker.send("DELETE", "/entities/urn:x:1", one, None).await.status,
        204
    );
    assert_eq!(broker.get("/entities/urn:x:1").await.status, 200);
    assert_eq!(
        broker
            .send("GET", "/entities/urn:x:1", &[("NGSILD-Tenant", "two")], None)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn row_broker_bad_tenants_are_refused_and_tenants_echoed_on_every_answer() {
    let broker = Broker::ready().await;
    let unknown = broker
        .send("GET", "/types", &[("NGSILD-Tenant", "three")], None)
        .await;
    assert_eq!(
        (
            unknown.status,
            unknown.error().as_str(),
            unknown.header("ngsild-tenant")
        ),
        (404, "NonexistentTenant", "three")
    );
    assert_eq!(
        broker
            .send("POST", "/entities", &[("NGSILD-Tenant", "three")], Some(BODY))
            .await
            .error(),
        "NonexistentTenant"
    );
    for bad in [
        "",
        "a b",
        "x'; drop table mim.entities; --",
        "../one",
        &"a".repeat(64),
    ] {
        let answer = broker
            .send("GET", "/types", &[("NGSILD-Tenant", bad)], None)
            .await;
        assert_eq!(answer.error(), "BadRequestData", "{bad}");
    }
    assert_eq!(
        broker
            .send("GET", "/nothing", &[("NGSILD-Tenant", "one")], None)
            .await
            .header("ngsild-tenant"),
        "one"
    );
    assert_eq!(broker.get("/types").await.header("ngsild-tenant"), "");
}

#[tokio::test]
async fn the_list_of_tenants_is_followed_without_a_restart_and_keeps_data() {
    let broker = Broker::ready().await;
    let two: &[(&str, &str)] = &[("NGSILD-Tenant", "two")];
    let three: &[(&str, &str)] = &[("NGSILD-Tenant", "three")];
    assert_eq!(
        broker.send("POST", "/entities", two, Some(BODY)).await.status,
        201
    );
    broker.configure("tenants: [one, three]\n");
    eventually(10, "the new tenant is there", async || {
        broker.send("GET", "/types", three, None).await.status == 200
    })
    .await;
    assert_eq!(
        broker.send("GET", "/types", two, None).await.error(),
        "NonexistentTenant"
    );
    broker.configure("tenants: [\"not a name\"]\n");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(
        broker.send("GET", "/types", three, None).await.status,
        200,
        "a file that cannot be used changes nothing"
    );
    broker.configure("tenants: [two]\n");
    eventually(10, "the tenant is back with its data", async || {
        broker.send("GET", "/entities/urn:x:1", two, None).await.status == 200
    })
    .await;
}
