//! The broker's doors for pods of the platform alone: the gateway's (1027) and the administrators' (1028), and what an administrator lets a reader read.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use mim_tests::demo::CITY;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::city::{City, eventually};
use crate::probe::Probe;

const STRANGERS: &str = "city-strangers";
const HOST: &str = "city-broker.city.svc";
const VIEW: &str = "/admin/v1/tenants/@default/views/spots";

fn door(port: u16) -> String {
    format!("https://{HOST}.cluster.local:{port}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_platform_reach_the_door_that_is_theirs_and_nobody_else_reaches_either() {
    let city = City::new().await;
    city.namespace(STRANGERS).await;
    let component =
        |name: &str| json!({"app.kubernetes.io/part-of": CITY, "app.kubernetes.io/component": name});
    let (gateway, administrator) = (component("gateway"), component("administrator"));
    for (labels, theirs, other) in [(&gateway, 1027, 1028), (&administrator, 1028, 1027)] {
        let pod = Probe::start_as(&city.cluster, CITY, labels).await;
        pod.is_answered(&door(theirs)).await;
        pod.is_kept_from(&door(other)).await;
        pod.end().await;
        // Labels of the platform are its own in its own namespace alone.
        let stranger = Probe::start_as(&city.cluster, STRANGERS, labels).await;
        stranger
            .is_answered("https://kubernetes.default.svc.cluster.local/version")
            .await;
        stranger.is_kept_from(&door(theirs)).await;
        stranger.end().await;
    }
    let client = Probe::start(&city.cluster, CITY).await;
    client
        .is_answered(&format!("http://{HOST}.cluster.local:1026/"))
        .await;
    for port in [1027, 1028] {
        client.is_kept_from(&door(port)).await;
    }
    client.end().await;
    city.remove_namespace(STRANGERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_shows_a_reader_reads_and_changes_nothing() {
    let city = City::new().await;
    let spot = json!({"id": "urn:ngsi-ld:Spot:doors", "type": "Spot", "free": 7});
    let path = "/ngsi-ld/v1/entities/urn:ngsi-ld:Spot:doors";
    let created = city
        .broker
        .send(Method::POST, "/ngsi-ld/v1/entities", Some(&spot))
        .await;
    assert_eq!(created.unwrap().status, StatusCode::CREATED);
    let view = json!({"type": "Spot", "columns": [{"name": "free", "attribute": "free", "type": "integer"}]});
    let made = administer(&city, Method::PUT, Some(&view)).await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);

    let rows = || async { read(&city, "select id, free from _v1.spots").await };
    let rows = eventually("the reader reads", rows).await;
    assert_eq!(rows.trim(), "urn:ngsi-ld:Spot:doors|7");
    let refused = read(&city, "delete from mim.entities").await.unwrap_err();
    assert!(refused.contains("permission denied"), "{refused}");

    let gone = administer(&city, Method::DELETE, None).await;
    assert_eq!(gone.0, StatusCode::NO_CONTENT, "{}", gone.1);
    let deleted = city.broker.send(Method::DELETE, path, None).await;
    assert_eq!(deleted.unwrap().status, StatusCode::NO_CONTENT);
}

async fn secret(city: &City, name: &str) -> BTreeMap<String, Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(city.cluster.client.clone(), CITY);
    let data = secrets.get(name).await.unwrap().data.unwrap();
    data.into_iter().map(|(key, value)| (key, value.0)).collect()
}

/// One call of the administrators' door with the certificate that the operator made for them; from the node, whose traffic no policy holds.
async fn administer(city: &City, method: Method, view: Option<&Value>) -> (StatusCode, String) {
    let held = secret(city, "city-broker-administrator").await;
    let certificates = |key: &str| -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_reader_iter(Cursor::new(&held[key]));
        all.map(Result::unwrap).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.crt"));
    let key = PrivateKeyDer::from_pem_slice(&held["tls.key"]).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates("tls.crt"), key)
        .unwrap();

    let pod = city.brokers().one().await.unwrap();
    let address: IpAddr = pod.status.unwrap().pod_ip.unwrap().parse().unwrap();
    let stream = TcpStream::connect(SocketAddr::new(address, 1028)).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let body = view.map_or_else(Bytes::new, |view| view.to_string().into());
    let request = Request::builder()
        .method(method)
        .uri(VIEW)
        .header("host", HOST)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    connection.abort();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// What a statement of the default tenant's reader gives, or why it fails. It trusts the authority that the operator made.
async fn read(city: &City, sql: &str) -> Result<String, String> {
    let login = secret(city, "city-reader").await;
    let text = |key: &str| String::from_utf8(login[key].clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, &secret(city, "city-database-tls").await["ca.crt"]).unwrap();
    let pod = city.databases().one().await.unwrap();
    let output = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", sql])
        .env("PGHOST", text("host"))
        .env("PGHOSTADDR", pod.status.unwrap().pod_ip.unwrap())
        .env("PGPORT", text("port"))
        .env("PGDATABASE", text("dbname"))
        .env("PGUSER", text("username"))
        .env("PGPASSWORD", text("password"))
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", &authority)
        .output()
        .await
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
