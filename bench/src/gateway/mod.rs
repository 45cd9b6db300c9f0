//! The gateway against nginx, as a proxy with TLS in front of the same server: CPU time of each process per request, throughput, latency.
//!
//! * [`server`]: what stands behind both, and costs neither anything;
//! * [`peers`]: the two processes;
//! * [`load`]: clients with TLS, in a closed loop or in an open one;
//! * [`tokens`]: an issuer, and tokens of its own;
//! * [`rules`]: what a city lets whoever asks do.

mod load;
mod peers;
mod rules;
mod server;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::error::Error;
use crate::process::wait_until;
use crate::report::{Report, median};
use load::{Load, Sample};
use peers::{Keys, Peer};
use server::Server;
use tokens::Issuer;

/// Goals, as ratios to nginx without any check.
const BARE: f64 = 1.1;
const KNOWN: f64 = 1.6;
/// The most memory at rest, in MiB.
const MEMORY: f64 = 40.0;
/// Connections that are open while memory is looked at again.
const CROWD: usize = 1000;

/// Measures the gateway's release binary with nginx beside it, each with one worker, the same certificate and the same server behind.
#[derive(Debug, Parser)]
pub struct Args {
    /// Rounds; peers take turns in each, and medians are judged.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each run is.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Clients, each with a connection that is kept.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Distinct tokens.
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// nginx.
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// The gateway's release binary; absent: beside this program.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Where `gateway.json` is written.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

/// What one peer came to, each round.
#[derive(Default)]
struct Rounds {
    cpu: Vec<f64>,
    per_second: Vec<f64>,
    p99: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, sample: &Sample, cpu: f64) {
        self.cpu.push(cpu);
        self.per_second.push(sample.per_second());
        self.p99.push(sample.latency(0.99));
    }
}

/// Where the rows go.
#[must_use]
pub fn results(args: &Args) -> &Path {
    &args.results
}

/// Runs everything and returns the rows.
pub async fn run(args: &Args) -> Result<Report, Error> {
    let folder = tempfile::tempdir().map_err(Error::file(Path::new("the temporary folder")))?;
    let keys = Keys::write(folder.path())?;
    let server = Server::start(None)?;
    let by_tls = Server::start(Some(keys.server()?))?;
    rules::write(folder.path())?;
    let issuer = Issuer::start(args.tokens, &keys)?;
    let nginx = Peer::nginx(&args.nginx, folder.path(), server.at()).await?;
    let bare = Peer::gateway(&program(args)?, folder.path(), "bare", &bare(server.at())).await?;
    let known = Peer::gateway(
        &program(args)?,
        folder.path(),
        "known",
        &knowing(server.at(), &issuer),
    )
    .await?;
    let ruled = Peer::gateway(
        &program(args)?,
        folder.path(),
        "ruled",
        &ruling(by_tls.at(), &issuer),
    )
    .await?;
    let mut report = Report::default();
    report.at_most("memory, idle", bare.process.memory()?.resident, "MiB", MEMORY);
    let plain = |_: usize, out: &mut Vec<u8>| load::get(out, "");
    let shown = |number: usize, out: &mut Vec<u8>| load::get(out, issuer.line(number));
    let cases: [(&str, &Peer, &load::Work<'_>, Option<f64>); 3] = [
        ("no checks", &bare, &plain, Some(BARE)),
        ("token, rate and audit", &known, &shown, None),
        (
            "token, rate, audit, rules and TLS to the server",
            &ruled,
            &shown,
            Some(KNOWN),
        ),
    ];
    let tls = keys.client();
    until_known(&known, &tls, &shown).await?;
    until_known(&ruled, &tls, &shown).await?;
    for (name, peer, work, goal) in cases {
        let closed = turns(args, &tls, [(&nginx, &plain), (peer, work)], None)?;
        tell(&mut report, &format!("{name}, closed loop"), &closed, goal);
        let slower = closed
            .iter()
            .map(|rounds| median(&rounds.per_second))
            .fold(f64::MAX, f64::min);
        let open = turns(args, &tls, [(&nginx, &plain), (peer, work)], Some(slower / 2.0))?;
        tell(&mut report, &format!("{name}, at half load"), &open, None);
    }
    let crowd: Result<Vec<_>, _> = (0..CROWD).map(|_| load::connect(bare.at, &tls)).collect();
    report.fact(
        format!("memory with {CROWD} connections"),
        bare.process.memory()?.resident,
        "MiB",
    );
    drop(crowd?);
    for peer in [nginx, bare, known, ruled] {
        peer.process.stop().await?;
    }
    Ok(report)
}

/// Both in turn, several times; the first of both is nginx.
fn turns(
    args: &Args,
    tls: &load::Tls,
    peers: [(&Peer, &load::Work<'_>); 2],
    rate: Option<f64>,
) -> Result<[Rounds; 2], Error> {
    let mut rounds = [Rounds::default(), Rounds::default()];
    for _ in 0..args.rounds {
        for ((peer, work), rounds) in peers.iter().zip(&mut rounds) {
            let load = Load {
                at: peer.at,
                clients: args.clients,
                seconds: args.seconds,
                rate,
            };
            let before = peer.cpu()?;
            let sample = load::run(&load, tls, *work)?;
            let micros = (peer.cpu()? - before) * 1e6 / crate::report::count(sample.latencies.len()).max(1.0);
            rounds.add(&sample, micros);
        }
    }
    Ok(rounds)
}

fn tell(report: &mut Report, name: &str, [nginx, own]: &[Rounds; 2], goal: Option<f64>) {
    // Of each round, as both were measured one after the other.
    let ratios: Vec<f64> = own
        .cpu
        .iter()
        .zip(&nginx.cpu)
        .map(|(own, nginx)| own / nginx)
        .collect();
    let ratio = format!("{name}: CPU per request");
    match goal {
        Some(goal) => report.at_most(ratio, median(&ratios), "x nginx", goal),
        None => report.fact(ratio, median(&ratios), "x nginx"),
    }
    for (who, rounds) in [("gateway", own), ("nginx", nginx)] {
        report.fact(
            format!("{name}: CPU per request, {who}"),
            median(&rounds.cpu),
            "us",
        );
        report.fact(
            format!("{name}: requests, {who}"),
            median(&rounds.per_second),
            "/s",
        );
        report.fact(format!("{name}: p99, {who}"), median(&rounds.p99), "ms");
    }
}

/// Keys of the issuer are fetched after the start.
async fn until_known(peer: &Peer, tls: &load::Tls, work: &load::Work<'_>) -> Result<(), Error> {
    wait_until("a token is accepted", Duration::from_secs(30), async || {
        let load = Load {
            at: peer.at,
            clients: 1,
            seconds: 0.05,
            rate: None,
        };
        Ok(load::run(&load, tls, work).map_err(|error| error.to_string()))
    })
    .await
    .map(drop)
}

fn bare(server: std::net::SocketAddr) -> String {
    format!("upstream: {{address: \"{server}\"}}\naudit: {{enabled: false}}\n")
}

fn knowing(server: std::net::SocketAddr, issuer: &Issuer) -> String {
    format!(
        "upstream: {{address: \"{server}\"}}\nlimits: {{everybody: {{requestsPerSecond: 1000000}}}}\n\
         identity: {{issuers: [{{issuer: \"{}\", audiences: [broker], jwks: \"https://localhost:{}/\", authority: ca.crt}}]}}\n",
        tokens::NAME,
        issuer.at().port(),
    )
}

/// The same with rules, which need TLS to the server.
fn ruling(server: std::net::SocketAddr, issuer: &Issuer) -> String {
    let known = knowing(server, issuer);
    let upstream = format!("\"{server}\"");
    known.replacen(&upstream, &format!("{upstream}, serverName: {}", load::NAME), 1) + "policy: true\n"
}

fn program(args: &Args) -> Result<PathBuf, Error> {
    if let Some(program) = &args.gateway {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().map_err(Error::file(Path::new("this program")))?;
    let beside = own.with_file_name("mim-gateway");
    if beside.exists() {
        return Ok(beside);
    }
    Err(Error::Unexpected(format!(
        "{} does not exist: build it with cargo build --release -p mim-gateway, or name one with --gateway",
        beside.display()
    )))
}
