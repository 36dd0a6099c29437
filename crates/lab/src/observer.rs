//! The messages of an experiment while it runs.

use diffprune::training::Progress;
use diffprune_eval::{Report, Stop};

/// Receives the stages, remarks and reports of an experiment while it runs. Every method has a default that does nothing,
/// and `()` is the silent observer.
pub trait Observer: Send {
    /// The stages of a whole experiment in their order, before the first of them begins: the work of each, in updates of a
    /// training on one caption, as far as the plan says.
    fn outline(&mut self, work: &[f64]) {
        let _ = work;
    }

    /// A stage begins; a `complete` one is only read again.
    fn stage(&mut self, name: &str, complete: bool) {
        let _ = (name, complete);
    }

    /// A remark, one line of text: a finished training, samples that were left out.
    fn note(&mut self, text: &str) {
        let _ = text;
    }

    /// The report of one model is written.
    fn report(&mut self, report: &Report) {
        let _ = report;
    }

    /// The display of a stage that counts `total` steps: updates of a training, pictures to draw.
    fn progress(&mut self, label: &str, total: usize) -> Progress {
        let _ = (label, total);
        Progress::silent()
    }

    /// The wish that the experiment ends early. Work that sees it requested saves what it has done and returns an error.
    fn stop(&self) -> Stop {
        Stop::default()
    }

    /// True when the run over the questions shows its own progress on standard error.
    fn shows_answers(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Work that is one stage of a whole: stages of its own are not told.
pub(crate) struct WithinStage<'a>(pub(crate) &'a mut dyn Observer);

impl Observer for WithinStage<'_> {
    fn note(&mut self, text: &str) {
        self.0.note(text);
    }

    fn progress(&mut self, label: &str, total: usize) -> Progress {
        self.0.progress(label, total)
    }

    fn stop(&self) -> Stop {
        self.0.stop()
    }

    fn shows_answers(&self) -> bool {
        self.0.shows_answers()
    }
}
