//! `bench-broker`: see `mim_bench::broker`.

use std::process::ExitCode;

use clap::Parser;
use mim_bench::broker::{Args, results, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    println!(
        "{}",
        mim_bench::rig_line("PostgreSQL 15 with TLS and fsync, loopback")
    );
    let written = match run(&args).await {
        Ok(report) => {
            println!("\n{}", report.table());
            report.write(results(&args), "broker")
        }
        Err(problem) => Err(problem),
    };
    match written {
        Ok(path) => {
            println!("written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench broker: {problem}");
            ExitCode::FAILURE
        }
    }
}
