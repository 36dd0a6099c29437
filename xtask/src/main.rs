//! Project tasks: `cargo xtask <task>`. Links nothing of the family but the hub for tests, so that it compiles in seconds; it
//! runs cargo and the `diffprune` binary.

mod check;
mod dashboard;
mod deny;
mod device;
mod features;
mod kills;
mod narrow;
mod package;
mod run;
mod terminal;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the DiffPrune workspace")]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that CI checks, cheapest first: tidy, format, lints, docs, tests.
    Check(check::CheckFlags),
    /// Only the checks that need no compiler: who may depend on whom, equations against code, packages, links.
    Tidy,
    /// Pack every published crate as for the registry, without compiling it.
    Package,
    /// Licences, sources and known vulnerabilities of everything that is linked, with `cargo deny`.
    Deny,
    /// Run the tests: all of them on the CPU, or every operator, leaf and backbone on a GPU against the CPU.
    Test(test::TestFlags),
    /// Run one test program as on a narrower processor; `cargo xtask test --narrow` has cargo call this.
    #[command(hide = true)]
    Narrowed(narrow::NarrowedFlags),
    /// Train and compare on the three small models (or your own): the papers' three tables in small, reports, plots, pictures.
    Repro(run::ReproFlags),
    /// Train one of the three small models from scratch and write it under `assets/`.
    Mini(run::MiniFlags),
    /// Run the criterion benches.
    Bench(run::BenchFlags),
    /// Read mutated files of every kind for a while, and report what panics, hangs or takes too much memory.
    Fuzz(run::FuzzFlags),
    /// Kill trainings, evaluations and downloads at random moments, go on, and compare the bytes with those of an unbroken run.
    Kills(kills::KillFlags),
    /// Answer and train for a long time, and write down the memory that is held.
    Soak(run::SoakFlags),
    /// Steps per second of a training on pictures and on features that were encoded before.
    Features(features::FeatureFlags),
    /// Draw what the program prints, for docs/terminal.md; the dashboard needs tmux.
    Terminal(terminal::TerminalFlags),
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let shell = xshell::Shell::new()?;
    shell.change_dir(run::workspace_root()?);
    match Flags::parse().task {
        Task::Check(flags) => flags.run(&shell),
        Task::Tidy => tidy::run(&shell),
        Task::Package => package::run(&shell),
        Task::Deny => deny::run(&shell),
        Task::Test(flags) => flags.run(&shell),
        Task::Narrowed(flags) => return flags.run(),
        Task::Repro(flags) => flags.run(&shell),
        Task::Mini(flags) => flags.run(&shell),
        Task::Bench(flags) => flags.run(&shell),
        Task::Fuzz(flags) => flags.run(&shell),
        Task::Kills(flags) => flags.run(&shell),
        Task::Soak(flags) => flags.run(&shell),
        Task::Features(flags) => flags.run(&shell),
        Task::Terminal(flags) => flags.run(&shell),
    }?;
    Ok(ExitCode::SUCCESS)
}
