//! The progress of experiments on the terminal.

use crate::print;
use diffprune::training::Progress;
use diffprune_eval::{Report, Stop};
use diffprune_lab::Observer;

/// Stages, remarks and progress on standard error, reports on standard output.
pub struct Terminal {
    /// The word in brackets before the name of a stage.
    pub task: &'static str,
    /// Ends the work early.
    pub stop: Stop,
}

impl Observer for Terminal {
    fn stage(&mut self, name: &str, complete: bool) {
        eprintln!(
            "[{}] {name}{}",
            self.task,
            if complete { " (complete)" } else { "" }
        );
    }

    fn note(&mut self, text: &str) {
        eprintln!("{text}");
    }

    fn report(&mut self, report: &Report) {
        // Whoever closed standard output gets the same report from its folder; the stages go on.
        let _ = print::text(format_args!("{}\n", report.to_text()));
    }

    fn progress(&mut self, label: &str, total: usize) -> Progress {
        Progress::new(label, total)
    }

    fn stop(&self) -> Stop {
        self.stop.clone()
    }

    fn shows_answers(&self) -> bool {
        true
    }
}
