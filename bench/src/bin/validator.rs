//! `bench-validator`: see `mim_bench::validator`.

use std::process::ExitCode;

use clap::Parser;
use mim_bench::validator::{Args, run};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench validator: {problem}");
            ExitCode::FAILURE
        }
    }
}
