//! The `diffprune` command: one program around the crates of the family. See the crate's README.

mod args;
mod commands;
mod failure;
mod family;
mod method;
mod model;
mod picture;
mod print;
mod questions;
mod signals;
mod watch;

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
