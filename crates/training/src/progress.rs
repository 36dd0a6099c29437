//! The progress of a run, for people.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);

/// A bar on a terminal, one plain line every few seconds elsewhere; both on standard error.
#[derive(Debug)]
pub struct Progress {
    label: String,
    total: usize,
    started: Instant,
    first: Option<usize>,
    out: Out,
}

#[derive(Debug)]
enum Out {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
    Silent,
}

impl Progress {
    /// Progress towards `total` steps of what `label` names.
    pub fn new(label: &str, total: usize) -> Self {
        let out = if stderr().is_terminal() {
            let template = "{prefix} {wide_bar} {pos}/{len} {msg} eta {eta}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            Out::Bar(
                ProgressBar::new(total as u64)
                    .with_style(style)
                    .with_prefix(label.to_string()),
            )
        } else {
            Out::Lines { last: None }
        };
        Self {
            label: label.to_string(),
            total,
            started: Instant::now(),
            first: None,
            out,
        }
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self {
            label: String::new(),
            total: 0,
            started: Instant::now(),
            first: None,
            out: Out::Silent,
        }
    }

    /// Reports that `step` steps are done, with named values such as the loss and the learning rate.
    pub fn step(&mut self, step: usize, values: &[(&str, f64)]) {
        let first = *self.first.get_or_insert_with(|| {
            self.started = Instant::now();
            step
        });
        let text = || {
            values
                .iter()
                .map(|(name, value)| format!("{name} {}", short(*value)))
                .collect::<Vec<_>>()
        };
        match &mut self.out {
            Out::Bar(bar) => {
                bar.set_position(step as u64);
                bar.set_message(text().join(" "));
            }
            Out::Lines { last } => {
                if step < self.total && last.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                    return;
                }
                *last = Some(Instant::now());
                let eta = eta(
                    self.started.elapsed(),
                    step - first.min(step),
                    self.total.saturating_sub(step),
                );
                eprintln!("{} {step}/{} {}{eta}", self.label, self.total, text().join(" "));
            }
            Out::Silent => {}
        }
    }

    /// Prints a line beside the progress.
    pub fn note(&self, text: &str) {
        match &self.out {
            Out::Bar(bar) => bar.println(text),
            Out::Lines { .. } => eprintln!("{text}"),
            Out::Silent => {}
        }
    }

    /// Ends the display.
    pub fn finish(&self) {
        if let Out::Bar(bar) = &self.out {
            bar.abandon();
        }
    }
}

fn short(value: f64) -> String {
    let size = value.abs();
    if value != 0.0 && !(1e-3..1e5).contains(&size) {
        format!("{value:.2e}")
    } else {
        format!("{value:.4}")
    }
}

fn eta(elapsed: Duration, done: usize, left: usize) -> String {
    if done == 0 || left == 0 {
        return String::new();
    }
    let seconds = (elapsed.as_secs_f64() * left as f64 / done as f64).round() as u64;
    match seconds {
        0..=99 => format!(" eta {seconds}s"),
        100..=5999 => format!(" eta {}m{:02}s", seconds / 60, seconds % 60),
        _ => format!(" eta {}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_is_proportional() {
        assert_eq!(eta(Duration::from_secs(10), 5, 20), " eta 40s");
        assert_eq!(eta(Duration::from_secs(100), 1, 3), " eta 5m00s");
        assert_eq!(eta(Duration::from_secs(3600), 1, 3), " eta 3h00m");
        assert_eq!(eta(Duration::from_secs(10), 0, 20), "");
    }

    #[test]
    fn reporting_never_fails() {
        for mut progress in [Progress::silent(), Progress::new("test", 2)] {
            progress.step(3, &[("loss", f64::NAN), ("lr", 1e-9)]);
            progress.step(1, &[]);
            progress.note("note");
            progress.finish();
        }
    }
}
