//! How failures are told: one line with its causes, exit code 1.

use std::process::ExitCode;

/// Prints the error with its causes on one line.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", one_line(error));
    ExitCode::FAILURE
}

/// Prints what clap says: help and versions as they are, a value that cannot be used on one line.
pub fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{InvalidValue, ValueValidation};
    if matches!(error.kind(), ValueValidation | InvalidValue) {
        let text = error.to_string();
        eprintln!("{}", text.lines().next().unwrap_or_default());
        return ExitCode::FAILURE;
    }
    // Nothing is left to do when even this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The error and its causes, outermost first. Some errors quote their cause already: it is not said twice.
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
    fn causes_stand_once_on_one_line() {
        let error = anyhow::anyhow!("no space")
            .context("b.png: no space\nleft")
            .context("cannot write");
        assert_eq!(one_line(&error), "cannot write: b.png: no space left");
    }
}
