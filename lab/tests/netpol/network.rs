//! A node with a bridge, pods and outside hosts as network namespaces of this machine, and sockets in them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the whole file is part of the tests: what fails here must fail the test"
)]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd, unix::fs::MetadataExt},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use mim_lab::netpol::{Endpoint, Nft, Snapshot, render, show_bridged_packets, translate};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use socket2::{Domain, Protocol, Socket, Type};

/// The node's address on the bridge, the gateway of all pods.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The bridge in the node's namespace.
pub const BRIDGE: &str = "pods0";

/// How long a packet that must arrive may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for a packet that must not arrive. The same way is proven to work before, in milliseconds.
const SILENCE: Duration = Duration::from_millis(800);

/// Number of SCTP in the IPv4 header.
const SCTP: i32 = 132;

/// Beginning of the names of all namespaces made here; the process id follows.
const PREFIX: &str = "mim-netpol-";

/// A network of its own; nothing of it is seen by the machine, and dropping it removes it.
pub struct Network {
    node: String,
    hosts: BTreeMap<String, Host>,
    pods: Vec<Endpoint>,
}

/// What stands at an address: the node, a pod, a host outside.
#[derive(Clone)]
pub struct Host {
    name: String,
    namespace: String,
}

impl Network {
    /// A node with an empty bridge.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        require_root();
        let node = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        remove_leftovers();
        ip(&format!("netns add {node}"));
        let mut network = Self {
            node: node.clone(),
            hosts: BTreeMap::new(),
            pods: Vec::new(),
        };
        network.add_host("node", node.clone());
        for command in [
            "link set lo up".to_owned(),
            format!("link add {BRIDGE} type bridge"),
            format!("addr add {NODE}/24 dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
            // A node without any route to service addresses would not even try; what is sent there is translated before.
            format!("route add default dev {BRIDGE}"),
        ] {
            ip(&format!("-n {node} {command}"));
        }
        network.host("node").inside(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            block_on(show_bridged_packets()).unwrap();
        });
        network
    }

    /// Plugs pods, given as YAML documents, into the bridge.
    pub fn pods(&mut self, yaml: &str) {
        for pod in documents::<Pod>(yaml) {
            let endpoint = Endpoint::of(&pod).unwrap();
            let namespace = self.new_namespace(&endpoint.name);
            let port = format!("p{}", self.hosts.len());
            let node = &self.node;
            for command in [
                format!("-n {node} link add {port} type veth peer name eth0 netns {namespace}"),
                format!("-n {node} link set {port} master {BRIDGE} up"),
                // As the CNI's `hairpinMode`: a pod may reach itself through a service.
                format!("-n {node} link set {port} type bridge_slave hairpin on"),
                format!("-n {namespace} link set lo up"),
                format!("-n {namespace} addr add {}/24 dev eth0", endpoint.address),
                format!("-n {namespace} link set eth0 up"),
                format!("-n {namespace} route add default via {NODE}"),
            ] {
                ip(&command);
            }
            self.add_host(&endpoint.name.clone(), namespace);
            self.pods.push(endpoint);
        }
    }

    /// A host beyond the node, with one address in 198.51.100.0/24; each gets a wire of its own.
    pub fn outside(&mut self, name: &str, address: Ipv4Addr) {
        let namespace = self.new_namespace(name);
        let wire = format!("w{}", self.hosts.len());
        let node = &self.node;
        for command in [
            format!("-n {node} link add {wire} type veth peer name eth0 netns {namespace}"),
            format!("-n {node} addr add 192.0.2.1/32 dev {wire}"),
            format!("-n {node} link set {wire} up"),
            format!("-n {namespace} link set lo up"),
            format!("-n {namespace} addr add {address}/32 dev eth0"),
            format!("-n {namespace} link set eth0 up"),
            format!("-n {namespace} route add 192.0.2.1 dev eth0"),
            format!("-n {namespace} route add default via 192.0.2.1"),
            format!("-n {node} route add {address} dev {wire}"),
        ] {
            ip(&command);
        }
        self.add_host(name, namespace);
    }

    /// A host without any wire.
    pub fn unplugged(&mut self, name: &str) -> Host {
        let namespace = self.new_namespace(name);
        self.add_host(name, namespace);
        self.host(name)
    }

    /// A service address as kube-proxy makes it: translated in prerouting and output, masqueraded where a pod calls itself.
    pub fn service(&self, address: Ipv4Addr, port: u16, target: SocketAddr) {
        let translation = format!("ip daddr {address} tcp dport {port} dnat to {target}");
        let pod = target.ip();
        self.nft(&format!(
            "table ip services {{
               chain prerouting {{ type nat hook prerouting priority dstnat; {translation}; }}
               chain output {{ type nat hook output priority -100; {translation}; }}
               chain postrouting {{ type nat hook postrouting priority srcnat; ip saddr {pod} ip daddr {pod} masquerade; }}
             }}"
        ));
    }

    /// Translates and writes policies, given as YAML documents, as the lab does.
    pub fn enforce(&self, policies: &str) {
        self.nft(&self.text(policies));
    }

    /// What [`Self::enforce`] writes.
    pub fn text(&self, policies: &str) -> String {
        let policies = documents::<NetworkPolicy>(policies);
        let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
        let ruleset = translate(&Snapshot {
            policies: policies.iter().collect(),
            endpoints: self.pods.clone(),
            namespaces: ["city", "town"].map(|name| (name.to_owned(), team(name))).into(),
        });
        render(&ruleset, BRIDGE)
    }

    /// `nft` of the node.
    pub fn nft(&self, text: &str) {
        block_on(Nft::in_namespace(&self.node).apply(text)).unwrap();
    }

    /// The tables that the node's kernel holds now.
    pub fn tables(&self) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.node, "nft", "list", "tables"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The namespace of the node, for `ip netns` and [`Nft::in_namespace`].
    pub fn node_namespace(&self) -> &str {
        &self.node
    }

    /// A host by the name it was given; `node` is the node.
    pub fn host(&self, name: &str) -> Host {
        self.hosts[name].clone()
    }

    fn new_namespace(&self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.node);
        ip(&format!("netns add {namespace}"));
        namespace
    }

    fn add_host(&mut self, name: &str, namespace: String) {
        let name = name.to_owned();
        let host = Host {
            name: name.clone(),
            namespace,
        };
        self.hosts.insert(name, host);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.values() {
            remove_namespace(&host.namespace);
        }
    }
}

impl Host {
    /// Runs code on a thread whose sockets and processes belong to this host.
    pub fn inside<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let work = scope.spawn(|| {
                let path = format!("/run/netns/{}", self.namespace);
                let namespace = File::open(path).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                code()
            });
            work.join().unwrap()
        })
    }

    /// Answers TCP connections with the host's name until the test's process ends.
    pub fn serve_tcp(&self, port: u16) {
        // `::` takes IPv4 as well.
        let listener = self.inside(|| TcpListener::bind(("::", port)).unwrap());
        let name = self.name.clone();
        thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let name = name.clone();
                thread::spawn(move || {
                    let _ = connection.write_all(name.as_bytes());
                    // A connection stays open as long as the other side wants, and echoes.
                    let mut byte = [0];
                    while connection.read_exact(&mut byte).is_ok() {
                        let _ = connection.write_all(&byte);
                    }
                });
            }
        });
    }

    /// Answers datagrams with the host's name until the test's process ends.
    pub fn serve_udp(&self, port: u16) {
        let socket = self.inside(|| UdpSocket::bind(("0.0.0.0", port)).unwrap());
        let name = self.name.clone();
        thread::spawn(move || {
            let mut question = [0; 64];
            while let Ok((_, asker)) = socket.recv_from(&mut question) {
                let _ = socket.send_to(name.as_bytes(), asker);
            }
        });
    }

    /// A TCP connection, and the first bytes of whoever answers.
    pub fn connect(&self, to: SocketAddr, within: Duration) -> std::io::Result<(TcpStream, String)> {
        self.inside(|| {
            let mut connection = TcpStream::connect_timeout(&to, within)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            let mut name = [0; 64];
            let length = connection.read(&mut name)?;
            let name = String::from_utf8_lossy(&name[..length]).into_owned();
            Ok((connection, name))
        })
    }

    /// The connection is accepted, and by the right one.
    #[track_caller]
    pub fn reaches(&self, who: &str, address: impl Into<IpAddr>, port: u16) {
        let to = SocketAddr::new(address.into(), port);
        match self.connect(to, PATIENCE) {
            Ok((_, name)) => assert_eq!(name, who, "{} asked {to}", self.name),
            Err(error) => panic!("{} must reach {who} at {to}, but: {error}", self.name),
        }
    }

    /// The connection is neither accepted nor refused: packets are lost.
    #[track_caller]
    pub fn is_kept_from(&self, address: impl Into<IpAddr>, port: u16) {
        let to = SocketAddr::new(address.into(), port);
        match self.connect(to, SILENCE) {
            Ok((_, name)) => panic!("{} must not reach {to}, but {name} answered", self.name),
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{to}: {error}"),
        }
    }

    /// Whether a datagram is answered, and by the right one.
    #[track_caller]
    pub fn reaches_by_udp(&self, who: &str, address: Ipv4Addr, port: u16) {
        let started = Instant::now();
        // A datagram may get lost, so it is sent again.
        while started.elapsed() < PATIENCE {
            if let Some(name) = self.ask_by_udp(address, port) {
                assert_eq!(name, who);
                return;
            }
        }
        panic!("{} must reach {who} at {address}:{port}/udp", self.name);
    }

    /// No datagram is answered.
    #[track_caller]
    pub fn is_kept_from_udp(&self, address: Ipv4Addr, port: u16) {
        let answer = self.ask_by_udp(address, port);
        assert_eq!(answer, None, "{} asked {address}:{port}/udp", self.name);
    }

    fn ask_by_udp(&self, address: Ipv4Addr, port: u16) -> Option<String> {
        self.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket.connect((address, port)).unwrap();
            socket.send(b"who").unwrap();
            let mut name = [0; 64];
            let length = socket.recv(&mut name).ok()?;
            Some(String::from_utf8_lossy(&name[..length]).into_owned())
        })
    }

    /// Whether an SCTP packet to a port arrives. The kernel need not speak SCTP for that: the packet is made by hand.
    pub fn sends_sctp(&self, to: &Self, address: Ipv4Addr, port: u16) -> bool {
        let raw = || {
            let protocol = Some(Protocol::from(SCTP));
            let socket = Socket::new(Domain::IPV4, Type::RAW, protocol).unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket
        };
        let (sender, mut receiver) = (self.inside(raw), to.inside(raw));
        // Common header (RFC 9260, 3.1): source port, destination port, tag 0, checksum; then an INIT chunk.
        let mut packet = vec![0x9c, 0x40];
        packet.extend(port.to_be_bytes());
        packet.extend([0; 8]);
        packet.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        let target = SocketAddr::from((address, 0));
        sender.send_to(&packet, &target.into()).unwrap();
        let mut bytes = [0; 256];
        let Ok(length) = receiver.read(&mut bytes) else {
            return false;
        };
        // A raw socket gives the IPv4 header as well.
        bytes[..length].ends_with(&packet)
    }

    /// Gives the host one more address.
    pub fn add_address(&self, address: &str) {
        let namespace = &self.namespace;
        ip(&format!("-n {namespace} addr add {address} dev eth0 nodad"));
    }
}

/// Reads YAML documents.
pub fn documents<T: for<'a> Deserialize<'a>>(yaml: &str) -> Vec<T> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| T::deserialize(document).unwrap())
        .collect()
}

/// Runs a future on this very thread, so that its processes belong to the namespace that the thread is in.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// These tests cannot be skipped: they are the proof that policies are enforced.
fn require_root() {
    assert!(
        std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0),
        "traffic tests make network namespaces: run them as root, with the packages nftables and iproute2 installed"
    );
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run ip: {error}; install the package iproute2"));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {message}");
}

fn remove_namespace(namespace: &str) {
    let _ = Command::new("ip")
        .args(["netns", "del", namespace])
        .stderr(Stdio::null())
        .status();
}

/// A test that was killed could not clean up; its process id tells that it is gone.
fn remove_leftovers() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let namespace = entry.file_name().to_string_lossy().into_owned();
        let owner = namespace
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|number| number.parse::<u32>().ok());
        if owner.is_some_and(|process| File::open(format!("/proc/{process}/stat")).is_err()) {
            remove_namespace(&namespace);
        }
    }
}
