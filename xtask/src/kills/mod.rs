//! `cargo xtask kills`: `kill -9` at random moments, then the same command again, and the bytes of a run that nobody broke.

mod cases;
mod folder;
mod process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xshell::Shell;

use crate::run::build_command;
use cases::Case;
use folder::Folder;
use process::{Running, Signal};

/// Runs that are broken in one folder before the command may end there.
const IN_A_ROW: usize = 4;
/// Time in which a signal must be acknowledged.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Flags of `cargo xtask kills`.
#[derive(Args)]
pub struct KillFlags {
    /// Kills, shared by the commands.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Signals that ask a training and an evaluation to end, INT and TERM by turns.
    #[arg(long, default_value_t = 20)]
    signals: usize,
    /// Seed of the moments.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One command alone: train, eval, repro, unpack or hub.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// A program that is built already [default: build it as for the tests].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What came of one command.
struct Outcome {
    name: &'static str,
    /// Time of a run that nobody broke.
    whole: Duration,
    broken: usize,
    folders: usize,
    files: usize,
    /// Longest time from a signal to its acknowledgement, or to the end of the process.
    slowest: Option<Duration>,
    /// Folders that are not what an unbroken run leaves, or in which the command failed.
    wrong: Vec<String>,
}

impl KillFlags {
    /// Builds the program, breaks runs, and prints a table.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let binary = match &self.binary {
            Some(binary) => std::path::absolute(binary)?,
            None => build_command(shell)?,
        };
        let folder = shell.create_temp_dir()?;
        let cases = Case::all(&binary, folder.path(), &shell.current_dir())?;
        let chosen: Vec<&Case> = cases
            .iter()
            .filter(|case| self.only.as_ref().is_none_or(|only| only == case.name))
            .collect();
        if chosen.is_empty() {
            let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
            bail!("only: expected one of {}, found another name", names.join(", "));
        }
        let mut moments = ChaCha8Rng::seed_from_u64(self.seed);
        let weights: usize = chosen.iter().map(|case| case.weight).sum();
        let (mut killed, mut asked) = (Vec::new(), Vec::new());
        let mut left = self.kills;
        for (number, case) in chosen.iter().enumerate() {
            let share = match number + 1 == chosen.len() {
                true => left,
                false => self.kills * case.weight / weights,
            };
            left -= share;
            let whole = Whole::of(case, folder.path())?;
            killed.push(whole.break_with(Signal::Kill, share, &mut moments)?);
            if case.is_asked {
                let signals = self.signals.div_ceil(2);
                asked.push(whole.break_with(Signal::Ask, signals, &mut moments)?);
            }
        }
        print!("{}", table("kill -9", &killed));
        print!("{}", table("SIGINT, SIGTERM", &asked));
        let late = asked.iter().filter(|outcome| outcome.slowest > Some(AT_ONCE));
        let late = late.map(|outcome| format!("{}: a signal took more than a second", outcome.name));
        let all = killed.iter().chain(&asked);
        let wrong = all.flat_map(|outcome| outcome.wrong.iter().cloned());
        let wrong: Vec<String> = wrong.chain(late).collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// A run that nobody broke, and what it left.
struct Whole<'a> {
    case: &'a Case,
    time: Duration,
    left: Folder,
    out: PathBuf,
}

impl<'a> Whole<'a> {
    fn of(case: &'a Case, dir: &'a Path) -> anyhow::Result<Self> {
        let out = dir.join(case.name);
        let started = Instant::now();
        Running::start(case, &out)?
            .succeed()
            .with_context(|| format!("{}: a run that nobody broke", case.name))?;
        let time = started.elapsed();
        eprintln!("{}: {:.1} s when nobody breaks it", case.name, time.as_secs_f64());
        let left = Folder::read(&out)?;
        // Some files hold the path of their folder, so every run gets the same one.
        std::fs::remove_dir_all(&out)?;
        Ok(Self {
            case,
            time,
            left,
            out,
        })
    }

    /// Breaks so many runs at random moments. In each folder some runs are broken one after another; then the command ends there.
    fn break_with(&self, signal: Signal, count: usize, moments: &mut ChaCha8Rng) -> anyhow::Result<Outcome> {
        let case = self.case;
        let mut outcome = Outcome {
            name: case.name,
            whole: self.time,
            broken: 0,
            folders: 0,
            files: self.left.len(),
            slowest: None,
            wrong: Vec::new(),
        };
        while outcome.broken < count {
            outcome.folders += 1;
            let mut ended = false;
            for _ in 0..IN_A_ROW {
                if outcome.broken == count || ended {
                    break;
                }
                let mut running = Running::start(case, &self.out)?;
                let moment = self.time.mul_f64(moments.random_range(0.0..1.0));
                ended = running.ends_within(moment)?;
                if ended {
                    running.succeed()?;
                    continue;
                }
                let is_interrupt = outcome.broken.is_multiple_of(2);
                let told = running.end_by(signal, is_interrupt)?;
                outcome.broken += 1;
                if signal == Signal::Ask {
                    outcome.slowest = outcome.slowest.max(Some(told));
                }
            }
            let resumed = match ended {
                true => Ok(()),
                false => Running::start(case, &self.out).and_then(Running::succeed),
            };
            let differs = match resumed {
                Ok(()) => {
                    let found = Folder::read(&self.out)?;
                    match signal {
                        Signal::Kill => self.left.differs(&found),
                        Signal::Ask => {
                            let left = self.left.clone().without_checkpoints();
                            left.differs(&found.without_checkpoints())
                        }
                    }
                }
                Err(error) => vec![format!("{error:#}")],
            };
            let told = match differs.is_empty() {
                true => "the same bytes".to_string(),
                false => format!("WRONG: {}", differs.join(", ")),
            };
            eprintln!("{}: {} of {count} broken, {told}", case.name, outcome.broken);
            if !differs.is_empty() {
                outcome.wrong.push(format!(
                    "{}: folder {}: {}",
                    case.name,
                    outcome.folders,
                    differs.join(", ")
                ));
            }
            // What was looked at is not needed any more.
            std::fs::remove_dir_all(&self.out)?;
        }
        Ok(outcome)
    }
}

/// A table in Markdown.
fn table(what: &str, outcomes: &[Outcome]) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "| command | unbroken, s | {what} | folders | files | folders with other bytes | slowest answer, ms |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for outcome in outcomes {
        let slowest = outcome
            .slowest
            .map_or("–".into(), |time| time.as_millis().to_string());
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.1} | {} | {} | {} | {} | {slowest} |",
            outcome.name,
            outcome.whole.as_secs_f64(),
            outcome.broken,
            outcome.folders,
            outcome.files,
            outcome.wrong.len(),
        );
    }
    text
}
