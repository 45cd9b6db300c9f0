//! An NGSI-LD broker that somebody else runs: HTTPS with an authority of its own and a token, on this machine, behind a Service of the cluster without pods.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use mim_tests::cluster::apply;
use mim_tests::foreign::{acceptor, any_authority};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::city::{City, EXAMPLES};

/// A policy sees the port behind the Service: one of those that the operator's own lets through (networkPolicy.probePorts).
const PORT: u16 = 1026;
const TYPES: &str = r#"{"id": "urn:ngsi-ld:EntityTypeList:1", "type": "EntityTypeList", "typeList": ["WaterQualityObserved"]}"#;

/// The broker. It ends with the value.
pub struct ForeignBroker {
    /// Certificate of its authority.
    pub ca: String,
    /// Head of each request, in turn.
    pub requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for ForeignBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ForeignBroker {
    /// Serves as `https://<service>.<namespace of the examples>.svc` to who brings this token.
    pub async fn start(city: &City, service: &str, token: &str) -> Self {
        let host = format!("{service}.{EXAMPLES}.svc");
        let authority = any_authority();
        let names = [host.clone(), format!("{host}.cluster.local")];
        let address = node_address(city).await;
        let listener = TcpListener::bind((address.as_str(), PORT)).await.unwrap();
        publish(city, service, listener.local_addr().unwrap()).await;
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let served = serve(
            listener,
            acceptor(&authority, &names),
            token.to_owned(),
            Arc::clone(&requests),
        );
        Self {
            ca: authority.bundle,
            requests,
            task: tokio::spawn(served),
        }
    }
}

/// Where pods reach this machine.
async fn node_address(city: &City) -> String {
    let nodes: Api<Node> = Api::all(city.cluster.client.clone());
    let node = nodes.list(&ListParams::default()).await.unwrap().items.remove(0);
    let addresses = node.status.unwrap().addresses.unwrap();
    let internal = addresses.into_iter().find(|of| of.type_ == "InternalIP");
    internal.unwrap().address
}

/// A Service without a selector, and where it leads.
async fn publish(city: &City, service: &str, at: SocketAddr) {
    let ports = |port: u16| json!([{"name": "https", "protocol": "TCP", "port": port}]);
    let mut of_service = ports(443);
    of_service[0]["targetPort"] = at.port().into();
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": service},
            "spec": {"ports": of_service},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": ports(at.port()),
            "endpoints": [{"addresses": [at.ip().to_string()], "conditions": {"ready": true}}],
        }),
    ];
    for object in objects {
        apply(&city.cluster.client, EXAMPLES, &object).await.unwrap();
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, token: String, requests: Arc<Mutex<Vec<String>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, token, requests) = (tls.clone(), token.clone(), Arc::clone(&requests));
        tokio::spawn(async move {
            // Who does not trust the certificate breaks off.
            if let Ok(stream) = tls.accept(stream).await {
                let _ = answer(stream, &token, &requests).await;
            }
        });
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    token: &str,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lets_in = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .any(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value == format!("Bearer {token}")
        });
    let (status, body) = if lets_in {
        ("200 OK", TYPES)
    } else {
        ("401 Unauthorized", "{}")
    };
    requests.lock().unwrap().push(head);
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
