//! The progress of experiments on the terminal.

use std::time::Instant;

use crate::print::{self, tell};
use diffprune::training::Progress;
use diffprune_eval::{Report, Stop};
use diffprune_lab::{Observer, OverallProgress};

/// Stages, remarks and progress on standard error, reports on standard output.
pub struct Terminal {
    /// The word in brackets before the name of a stage.
    task: &'static str,
    /// Ends the work early.
    stop: Stop,
    /// How far the whole is.
    whole: OverallProgress,
}

impl Terminal {
    /// Shows the work of a task.
    pub fn new(task: &'static str, stop: Stop) -> Self {
        let whole = OverallProgress::default();
        Self { task, stop, whole }
    }
}

impl Observer for Terminal {
    fn outline(&mut self, work: &[f64]) {
        self.whole.set_outline(work);
    }

    fn stage(&mut self, name: &str, complete: bool) {
        let place = self.whole.next(complete, Instant::now());
        let end = if complete { " (complete)" } else { "" };
        tell!("[{}] {place}{name}{end}", self.task);
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
