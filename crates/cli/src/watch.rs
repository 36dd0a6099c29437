//! The progress of experiments on the terminal.

use std::time::Instant;

use crate::print::{self, tell};
use diffprune::training::Progress;
use diffprune_eval::{Report, Stop};
use diffprune_lab::Observer;

/// Stages, remarks and progress on standard error, reports on standard output.
pub struct Terminal {
    /// The word in brackets before the name of a stage.
    task: &'static str,
    /// Ends the work early.
    stop: Stop,
    /// How far the whole is.
    whole: Whole,
}

/// How far a whole experiment is; nothing where there is none.
#[derive(Default)]
struct Whole {
    /// The work of each stage.
    work: Vec<f64>,
    /// The stages that have begun, and whether the last of them was complete.
    begun: usize,
    was_complete: bool,
    /// The work that was done since the start.
    done: f64,
    started: Option<Instant>,
}

impl Terminal {
    /// Shows the work of a task.
    pub fn new(task: &'static str, stop: Stop) -> Self {
        let whole = Whole::default();
        Self { task, stop, whole }
    }
}

impl Whole {
    /// The next stage begins; gives its place among all of them and the time that is left.
    fn next(&mut self, complete: bool, now: Instant) -> String {
        let started = *self.started.get_or_insert(now);
        if self.begun > 0 && !self.was_complete {
            self.done += self.work.get(self.begun - 1).copied().unwrap_or(0.0);
        }
        let left: f64 = self.work.iter().skip(self.begun).sum();
        self.begun += 1;
        self.was_complete = complete;
        if self.begun > self.work.len() {
            return String::new();
        }
        let passed = now.duration_since(started).as_secs_f64();
        let estimate = match self.done > 0.0 {
            true => format!(
                ", {} passed, about {} left",
                minutes(passed),
                minutes(passed * left / self.done)
            ),
            false => String::new(),
        };
        format!("stage {} of {}{estimate}: ", self.begun, self.work.len())
    }
}

/// A time as people say it.
fn minutes(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes, minutes / 60) {
        (0, _) => format!("{seconds:.0} s"),
        (_, 0) => format!("{minutes} min"),
        (_, hours) => format!("{hours} h {:02} min", minutes % 60),
    }
}

impl Observer for Terminal {
    fn outline(&mut self, work: &[f64]) {
        self.whole.work = work.to_vec();
    }

    fn stage(&mut self, name: &str, complete: bool) {
        let place = self.whole.next(complete, Instant::now());
        tell!(
            "[{}] {place}{name}{}",
            self.task,
            if complete { " (complete)" } else { "" }
        );
    }

    fn note(&mut self, text: &str) {
        tell!("{text}");
    }

    fn report(&mut self, report: &Report) {
        // Whoever closed standard output gets the same report from its folder; the stages go on.
        let _ = print::text(format_args!("{}\n", report.to_text()));
    }

    fn progress(&mut self, label: &str, total: usize) -> Progress {
        print::progress(label, total)
    }

    fn stop(&self) -> Stop {
        self.stop.clone()
    }

    fn shows_answers(&self) -> bool {
        !print::is_quiet()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_done() {
        let start = Instant::now();
        let mut whole = Whole {
            work: vec![10.0, 5.0, 20.0, 10.0],
            ..Whole::default()
        };
        let mut next = |complete, seconds| whole.next(complete, start + Duration::from_secs(seconds));
        assert_eq!(next(true, 0), "stage 1 of 4: ", "complete before");
        assert_eq!(next(false, 1), "stage 2 of 4: ");
        assert_eq!(
            next(false, 300),
            "stage 3 of 4, 5 min passed, about 30 min left: "
        );
        assert_eq!(
            next(false, 3600),
            "stage 4 of 4, 1 h 00 min passed, about 24 min left: "
        );
        assert_eq!(next(false, 9000), "", "more than the plan told");
        assert_eq!(Whole::default().next(false, start), "");
    }
}
