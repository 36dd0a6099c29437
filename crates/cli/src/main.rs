//! The `diffprune` command: one program around the crates of the family. See the crate's README.

mod annotations;
mod answers;
mod args;
mod arithmetic;
mod arms;
mod clock;
mod commands;
mod data;
mod device;
mod digest;
mod failure;
mod family;
mod model;
mod pruners;
mod repro;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => match cli.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure::report(&error),
        },
        Err(error) => failure::usage(&error),
    }
}
