//! `bench-city`: see `mim_bench::city`.

use std::process::ExitCode;

use clap::Parser;
use mim_bench::city::{Args, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("bench city: a second TLS provider is in this process");
        return ExitCode::FAILURE;
    }
    println!("{}", mim_bench::rig_line(&mim_bench::lab()));
    let written = match run(&args).await {
        Ok(report) => {
            println!("\n{}", report.table());
            report.write(&args.results, "city")
        }
        Err(problem) => Err(problem),
    };
    match written {
        Ok(path) => {
            println!("written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench city: {problem}");
            ExitCode::FAILURE
        }
    }
}
