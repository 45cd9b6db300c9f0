//! How long a city takes on a real node, and how much memory the node needs: the lab, the charts, `examples/city.yaml`.
//!
//! The steps are those of `make demo`, taken from there, with a clock beside them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use mim_lab::Node;
use mim_tests::demo::cluster::Cluster;
use mim_tests::demo::pods::Pods;
use mim_tests::demo::say::Say;
use mim_tests::demo::{self, CITY, Options, install, programs};

use crate::error::Error;
use crate::report::{Report, median};

/// Goals of the lab and of the city.
const NODE_READY: f64 = 25.0;
const NODE_READY_COLD: f64 = 25.0 * 60.0;
const CLUSTER_MEMORY: f64 = 1.2 * 1024.0;
const CITY_READY: f64 = 40.0;
/// After this nothing of a start is under way any more.
const SETTLED: Duration = Duration::from_secs(15);

/// Measures the lab and a city in it. Needs root, and no lab that is up.
#[derive(Debug, Parser)]
pub struct Args {
    /// Starts of the lab, and cities; medians are judged.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Folder of the images, as `make images` writes it.
    #[arg(long, default_value = "dist/images")]
    images: PathBuf,
    /// Use the images that are in the folder, whatever the sources are now.
    #[arg(long)]
    as_built: bool,
    /// Also measure the first start on a machine: with an empty cache, so that all programs of the cluster are built. Takes a quarter of an hour and
    /// more.
    #[arg(long)]
    cold: bool,
    /// Where `city.json` is written.
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
}

/// Runs all of it and returns the rows. The lab is taken down at the end, also after a failure.
pub async fn run(args: &Args) -> Result<Report, Error> {
    if Node::new().kubeconfig().is_ok() {
        return Err(Error::Unexpected(
            "a lab is up, and there is one per machine: it is not taken away unasked; end it with `make lab-down`"
                .to_owned(),
        ));
    }
    let mut report = Report::default();
    let measured = measure(args, &mut report).await;
    let down = lab("down").await;
    measured.and(down).map(|()| report)
}

async fn measure(args: &Args, report: &mut Report) -> Result<(), Error> {
    let say = Say::default();
    if args.cold {
        cold(report, say).await?;
    }
    // Builds programs where they are not built yet: what is measured afterwards has a warm cache.
    lab("binaries").await?;
    let mut starts = Vec::new();
    for round in 1..=args.rounds {
        lab("down").await?;
        let seconds = timed(lab("up")).await?;
        say.line(&format!("round {round}: lab up in {seconds:.1} s"));
        report.fact(format!("lab up, round {round}"), seconds, "s");
        starts.push(seconds);
    }
    report.at_most(
        "lab up until node and DNS are ready, warm cache, median",
        median(&starts),
        "s",
        NODE_READY,
    );
    tokio::time::sleep(SETTLED).await;
    report.at_most(
        "memory of the whole cluster without operands",
        memory().await?,
        "MiB",
        CLUSTER_MEMORY,
    );

    let cluster = Cluster::running_lab().await?;
    operator(args, &cluster, report, say).await?;
    cities(args, &cluster, report, say).await
}

/// A start on a machine that has built nothing yet: cache, and Go's own caches, are folders that are new.
async fn cold(report: &mut Report, say: Say) -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(Error::file(&std::env::temp_dir()))?;
    let modules = folder.path().join("modules");
    let compiled = folder.path().join("compiled");
    let variables = [
        ("XDG_CACHE_HOME", folder.path().as_os_str()),
        ("GOMODCACHE", modules.as_os_str()),
        ("GOCACHE", compiled.as_os_str()),
    ];
    lab("down").await?;
    let program = programs::lab()?;
    let seconds = timed(programs::show_with(&program, &["up".as_ref()], &variables)).await?;
    say.line(&format!("lab up with an empty cache in {seconds:.0} s"));
    report.at_most(
        "lab up until node and DNS are ready, empty cache, with downloads",
        seconds,
        "s",
        NODE_READY_COLD,
    );
    // Its programs are in the folder that goes now.
    lab("down").await
}

async fn operator(args: &Args, cluster: &Cluster, report: &mut Report, say: Say) -> Result<(), Error> {
    let folder = std::path::absolute(&args.images).map_err(Error::file(&args.images))?;
    let mut images = Options::new(folder).images;
    images.build = !args.as_built;
    images.prepare(cluster, say).await?;
    install::namespace(cluster, CITY).await?;
    let seconds = timed(install::operator(cluster, &images, &[CITY], say)).await?;
    report.fact("charts, until the operator is ready", seconds, "s");
    Ok(())
}

async fn cities(args: &Args, cluster: &Cluster, report: &mut Report, say: Say) -> Result<(), Error> {
    let mut times = Vec::new();
    for round in 1..=args.rounds {
        if round > 1 {
            remove_city(cluster).await?;
        }
        let seconds = demo::apply_city(cluster, CITY, say).await?.as_secs_f64();
        say.line(&format!("round {round}: city Ready in {seconds:.1} s"));
        report.fact(
            format!("examples/city.yaml, apply to Ready, round {round}"),
            seconds,
            "s",
        );
        times.push(seconds);
    }
    report.at_most(
        "examples/city.yaml, apply to Ready, median",
        median(&times),
        "s",
        CITY_READY,
    );
    tokio::time::sleep(SETTLED).await;
    report.fact(
        "memory of the whole cluster with operator and city",
        memory().await?,
        "MiB",
    );
    Ok(())
}

/// Deletes the city and what Retain keeps, so that the next one is new: its database is initialised again. The broker goes first: as long as it is there,
/// what is deleted of its records is made again.
async fn remove_city(cluster: &Cluster) -> Result<(), Error> {
    let of_city = format!("--selector=app.kubernetes.io/instance={CITY}");
    for what in [
        &["delete", "udp", CITY, "--cascade=foreground", "--wait=true"][..],
        &["delete", "pvc,secret,configmap", &of_city, "--wait=true"],
    ] {
        cluster.kubectl(&[&["--namespace", CITY], what].concat()).await?;
    }
    let (brokers, databases) = (
        Pods::broker(&cluster.client, CITY, CITY),
        Pods::database(&cluster.client, CITY, CITY),
    );
    let started = Instant::now();
    loop {
        let left = brokers.list().await?.len() + databases.list().await?.len();
        if left == 0 {
            return Ok(());
        }
        let waited = started.elapsed();
        if waited > Duration::from_mins(2) {
            return Err(Error::Timeout {
                what: "the end of the last round's pods".to_owned(),
                seconds: waited.as_secs(),
                last: format!("{left} are left"),
            });
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// MiB of all processes of the lab, pods included, each with its part of what it shares.
async fn memory() -> Result<f64, Error> {
    let bytes = Node::new().status().await?.memory;
    let kibibytes = u32::try_from(bytes / 1024)
        .map_err(|_| Error::Unexpected(format!("{bytes} bytes of memory for a cluster")))?;
    Ok(f64::from(kibibytes) / 1024.0)
}

/// `mim-lab`, which is beside this program: it starts itself again as parts of the node.
async fn lab(command: &str) -> Result<(), Error> {
    Ok(programs::show(&programs::lab()?, &[command.as_ref()]).await?)
}

async fn timed<E>(work: impl Future<Output = Result<(), E>>) -> Result<f64, E> {
    let started = Instant::now();
    work.await?;
    Ok(started.elapsed().as_secs_f64())
}
