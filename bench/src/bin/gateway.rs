//! `bench-gateway`: see `mim_bench::gateway`.

use std::process::ExitCode;

use clap::Parser;
use mim_bench::gateway::{Args, results, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    println!(
        "{}",
        mim_bench::rig_line("nginx with one worker, TLS 1.3, loopback")
    );
    let written = match run(&args).await {
        Ok(report) => {
            println!("\n{}", report.table());
            report.write(results(&args), "gateway")
        }
        Err(problem) => Err(problem),
    };
    match written {
        Ok(path) => {
            println!("written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench gateway: {problem}");
            ExitCode::FAILURE
        }
    }
}
