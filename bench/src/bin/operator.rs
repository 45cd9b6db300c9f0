//! `bench-operator`: see `mim_bench::operator`.

use std::process::ExitCode;

use clap::Parser;
use mim_bench::operator::{Args, results, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    println!("{}", mim_bench::rig_line(&mim_bench::lab()));
    let written = match run(&args).await {
        Ok(report) => {
            println!("\n{}", report.table());
            report.write(results(&args), "operator")
        }
        Err(problem) => Err(problem),
    };
    match written {
        Ok(path) => {
            println!("written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("bench operator: {problem}");
            ExitCode::FAILURE
        }
    }
}
