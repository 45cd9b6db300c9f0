//! A Mosquitto of one test: on free ports, with TLS on one of them, with users, in a temporary folder.
//!
//! It ends with the test process, however that ends: a shell waits on a pipe that only the test process holds.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The password of the user `writer`, who may publish below `city`.
pub const WRITER: &str = "pass word/of:writer";
const READER: &str = "reader-word";

/// A running server, and what was published on it.
pub struct Mosquitto {
    folder: tempfile::TempDir,
    pub port: u16,
    pub tls_port: u16,
    process: Option<Child>,
    received: Arc<Mutex<Vec<Published>>>,
    subscribed: Arc<std::sync::atomic::AtomicBool>,
    reader: tokio::task::JoinHandle<()>,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub topic: String,
    pub qos: u8,
    pub body: Value,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Mosquitto {
    /// A server with a subscriber to everything, which the server remembers while either of the two is away.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mim-mosquitto-test-")
            .tempdir()
            .unwrap();
        let (port, tls_port) = (free_port(), free_port());
        configure(folder.path(), port, tls_port);
        let (received, subscribed) = (Arc::default(), Arc::default());
        let reader = tokio::spawn(read(port, Arc::clone(&received), Arc::clone(&subscribed)));
        let mut server = Self {
            folder,
            port,
            tls_port,
            process: None,
            received,
            subscribed,
            reader,
        };
        server.launch().await;
        server
    }

    /// Starts the server and waits until its subscriber is there.
    pub async fn launch(&mut self) {
        let script = r#"/usr/sbin/mosquitto -c "$1/conf" >>"$1/log" 2>&1 & read _; kill $!; wait $!"#;
        let process = Command::new("setsid")
            .args(["sh", "-c", script, "sh"])
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.subscribed.load(std::sync::atomic::Ordering::SeqCst) {
            assert!(
                Instant::now() < deadline,
                "Mosquitto takes subscriptions; its log: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the server, which keeps what it knows of its subscribers.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
        self.subscribed.store(false, std::sync::atomic::Ordering::SeqCst);
    }

    /// The URL of a topic, for a user with this password.
    pub fn url(&self, password: &str, topic: &str) -> String {
        let password = percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC);
        format!("mqtt://writer:{password}@127.0.0.1:{}/{topic}", self.port)
    }

    /// The same by TLS.
    pub fn tls_url(&self, password: &str, topic: &str) -> String {
        let (plain, tls) = (format!(":{}/", self.port), format!(":{}/", self.tls_port));
        self.url(password, topic)
            .replace("mqtt://", "mqtts://")
            .replace(&plain, &tls)
    }

    /// The certificate that whoever connects by TLS must trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Everything that was published, in order.
    pub fn all(&self) -> Vec<Published> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until so many messages have come, and returns them.
    pub async fn until(&self, count: usize) -> Vec<Published> {
        super::eventually(30, &format!("{count} messages were published"), async || {
            self.all().len() >= count
        })
        .await;
        self.all()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.reader.abort();
        if std::thread::panicking() {
            eprintln!("--- log of Mosquitto\n{}", self.log());
        }
        self.stop();
    }
}

fn configure(folder: &Path, port: u16, tls_port: u16) {
    let passwords = folder.join("passwords");
    for (n, (user, password)) in [("reader", READER), ("writer", WRITER)].into_iter().enumerate() {
        let mut command = Command::new("mosquitto_passwd");
        command.arg("-b").args((n == 0).then_some("-c"));
        run(command.arg(&passwords).args([user, password]));
    }
    std::fs::write(
        folder.join("acl"),
        "user reader\ntopic readwrite #\nuser writer\ntopic write city/#\n",
    )
    .unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    std::fs::write(folder.join("tls.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    // As root it would become another user, who may not read the folder.
    let user = if root { "user root\n" } else { "" };
    let at = folder.display();
    let conf = format!(
        "{user}allow_anonymous false\npassword_file {at}/passwords\nacl_file {at}/acl\n\
         persistence true\npersistence_location {at}/\nlog_dest stderr\nlog_type all\n\
         listener {port} 127.0.0.1\n\
         listener {tls_port} 127.0.0.1\ncertfile {at}/tls.crt\nkeyfile {at}/tls.key\n"
    );
    std::fs::write(folder.join("conf"), conf).unwrap();
}

/// Reads what is published, for ever; comes back to a server that was away.
async fn read(
    port: u16,
    received: Arc<Mutex<Vec<Published>>>,
    subscribed: Arc<std::sync::atomic::AtomicBool>,
) {
    let mut options = MqttOptions::new("reader", "127.0.0.1", port);
    options
        .set_credentials("reader", READER)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(3600));
    let (client, mut events): (AsyncClient, EventLoop) = AsyncClient::new(options, 100);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.subscribe("#", QoS::ExactlyOnce).await.unwrap();
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                subscribed.store(true, std::sync::atomic::Ordering::SeqCst);
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                received.lock().unwrap().push(Published {
                    topic: String::from_utf8_lossy(&message.topic).into_owned(),
                    qos: message.qos as u8,
                    body: serde_json::from_slice(&message.payload).unwrap_or(Value::Null),
                });
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
