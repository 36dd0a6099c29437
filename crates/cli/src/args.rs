//! The command line.

use clap::{CommandFactory, Parser, Subcommand};

use crate::{commands, print};

/// Learned visual-token pruning for vision-language models: train a scorer, compare it, look at it.
#[derive(Debug, Parser)]
#[command(name = "diffprune", version, about, max_term_width = 110)]
pub struct Cli {
    /// No progress and no notes on standard error, errors alone; give -v for more instead.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Messages"
    )]
    quiet: bool,
    /// Say also what is read from where, and how long it took.
    #[arg(short, long, global = true, help_heading = "Messages")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the small world and the small model.
    #[command(subcommand)]
    Mini(Mini),
    /// Train a scorer on captions, with the model frozen.
    Train(commands::train::TrainArgs),
    /// Encode captioned pictures once, for any number of trainings.
    Encode(commands::encode::EncodeArgs),
    /// Compare methods on question sets: records and a report.
    Eval(commands::eval::EvalArgs),
    /// Write a benchmark's official files, or captioned pictures, from their parquet copy.
    Unpack(commands::unpack::UnpackArgs),
    /// Say what is missing or damaged in a data folder.
    Check(commands::check::CheckArgs),
    /// Draw what a method keeps of a picture.
    Show(commands::show::ShowArgs),
    /// Ask a question about a picture with pruned tokens.
    Ask(commands::ask::AskArgs),
    /// Answer chat requests over HTTP, and show a page.
    Serve(commands::serve::ServeArgs),
    /// Time the stages of an answer on random weights of a published shape.
    Bench(commands::bench::BenchArgs),
    /// Compute reports again from their records.
    Report(commands::report::ReportArgs),
    /// Run a pilot study of the papers.
    #[command(subcommand)]
    Pilot(commands::pilot::Pilot),
    /// Run a whole experiment.
    #[command(subcommand)]
    Run(Run),
    /// List the methods that need no training.
    Methods(commands::methods::MethodsArgs),
    /// Print completions for a shell.
    Completions(commands::shell::CompletionsArgs),
    /// Print the manual page.
    Man(commands::shell::ManArgs),
}

#[derive(Debug, Subcommand)]
enum Mini {
    /// Write the small world: pictures, captions, and questions in the official formats.
    Data(commands::mini_data::DataArgs),
    /// Train the small model from scratch and write it as a checkpoint.
    Train(commands::mini_train::MiniTrainArgs),
    /// Train the small classifier of the pilot studies and write it as a checkpoint.
    Deit(commands::mini_deit::MiniDeitArgs),
    /// Train the scorer that the small model brings along.
    Scorer(commands::mini_scorer::ScorerArgs),
    /// Measure the small model and write its card.
    Card(commands::mini_card::CardArgs),
}

#[derive(Debug, Subcommand)]
enum Run {
    /// Train DiffPrune and its contrast, compare all arms, report.
    Repro(commands::repro::ReproArgs),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        print::set_volume(self.quiet, self.verbose);
        match self.command {
            Command::Mini(Mini::Data(args)) => args.run(),
            Command::Mini(Mini::Train(args)) => args.run(),
            Command::Mini(Mini::Deit(args)) => args.run(),
            Command::Mini(Mini::Scorer(args)) => args.run(),
            Command::Mini(Mini::Card(args)) => args.run(),
            Command::Train(args) => args.run(),
            Command::Encode(args) => args.run(),
            Command::Eval(args) => args.run(),
            Command::Unpack(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Show(args) => args.run(),
            Command::Ask(args) => args.run(),
            Command::Serve(args) => args.run(),
            Command::Bench(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Pilot(pilot) => pilot.run(),
            Command::Run(Run::Repro(args)) => args.run(),
            Command::Methods(args) => args.run(),
            Command::Completions(args) => args.run(Self::command()),
            Command::Man(args) => args.run(Self::command()),
        }
    }
}
