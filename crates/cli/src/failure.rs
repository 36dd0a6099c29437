//! Failures on standard error: one line with its causes and a remedy; exit code 1, or 2 for a call that makes no sense.

use std::process::ExitCode;

use diffprune_eval::EvalError;
use diffprune_lab::LabError;
use diffprune_mini::MiniError;
use diffprune_pilots::PilotError;

use crate::print::Closed;
use crate::signals;

/// What shells and other programs take for a call that was wrong in itself.
const USAGE: u8 = 2;

/// Prints the error with its causes on one line.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<Closed>() {
        return ExitCode::SUCCESS;
    }
    if is_stop(error) {
        eprintln!("{}\ngo on with: {}", one_line(error), signals::command_line());
        return ExitCode::from(signals::exit_code());
    }
    let remedy = error.downcast_ref().and_then(remedy);
    let remedy = remedy.map_or(String::new(), |remedy| format!("; {remedy}"));
    eprintln!("error: {}{remedy}", one_line(error));
    ExitCode::FAILURE
}

/// True when a signal has ended the work, which has saved what it had.
fn is_stop(error: &anyhow::Error) -> bool {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(error), _) => LabError::is_stop(error),
        (_, Some(error)) => matches!(error, EvalError::Unfinished { .. }),
        _ => {
            matches!(error.downcast_ref(), Some(PilotError::Stopped))
                || matches!(error.downcast_ref(), Some(MiniError::Stopped { .. }))
        }
    }
}

/// The command or flag that mends an error of the library.
fn remedy(error: &LabError) -> Option<String> {
    match error {
        LabError::NoQuestions { root } => Some(format!(
            "write small ones with `diffprune mini data --out {}`",
            root.display()
        )),
        LabError::UnknownArm { name, .. } | LabError::UnknownScorer { name } => {
            Some(format!("give one with --scorer {name}=DIR"))
        }
        _ => None,
    }
}

/// Prints clap's text: help and versions as they are, a value that cannot be used on one line.
pub fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{InvalidValue, ValueValidation};
    if matches!(error.kind(), ValueValidation | InvalidValue) {
        let text = error.to_string();
        eprintln!("{}", text.lines().next().unwrap_or_default());
        return ExitCode::from(USAGE);
    }
    // Nothing is left to do when even this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// The error and its causes, outermost first. A cause that is quoted already is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text += ": ";
        }
        text += &cause;
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_library_get_the_flag_that_mends_them() {
        let error = LabError::UnknownScorer { name: "mine".into() };
        assert_eq!(remedy(&error).as_deref(), Some("give one with --scorer mine=DIR"));
        assert_eq!(remedy(&LabError::Device("lost".into())), None);
    }

    #[test]
    fn causes_stand_once_on_one_line() {
        let error = anyhow::anyhow!("no space")
            .context("b.png: no space\nleft")
            .context("cannot write");
        assert_eq!(one_line(&error), "cannot write: b.png: no space left");
    }
}
