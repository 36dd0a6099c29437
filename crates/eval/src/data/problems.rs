//! Samples that cannot be used, without which a run can go on.

use std::collections::HashSet;

use super::question::Question;
use crate::EvalError;

/// The questions of a benchmark, and an error for each sample that is left out.
#[derive(Debug)]
pub struct LoadedQuestions {
    /// The sound questions, in file order.
    pub questions: Vec<Question>,
    /// One error for each sample that was left out, naming file and line.
    pub problems: Vec<EvalError>,
}

/// The unusable samples of a benchmark while it is read: collected, or, when it is strict, an error at the first.
#[derive(Debug)]
pub struct Problems {
    strict: bool,
    found: Vec<EvalError>,
    broken: HashSet<String>,
}

impl Problems {
    /// Nothing wrong so far.
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            strict,
            found: Vec::new(),
            broken: HashSet::new(),
        }
    }

    /// True when every sample so far was sound.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The sample, or `None` after its error was noted.
    ///
    /// # Errors
    /// When the sample is unusable and the reading is strict.
    pub fn keep<T>(&mut self, sample: Result<T, EvalError>) -> Result<Option<T>, EvalError> {
        match sample {
            Ok(sample) => Ok(Some(sample)),
            Err(error) if self.strict => Err(error),
            Err(error) => {
                self.found.push(error);
                Ok(None)
            }
        }
    }

    /// As [`Self::keep`] for a member of a group: a group with an unusable member is left out whole, since its score
    /// would come out better than it is.
    ///
    /// # Errors
    /// When the sample is unusable and the reading is strict.
    pub fn keep_member<T>(
        &mut self,
        group: &str,
        sample: Result<T, EvalError>,
    ) -> Result<Option<T>, EvalError> {
        let kept = self.keep(sample)?;
        if kept.is_none() {
            self.broken.insert(group.into());
        }
        Ok(kept)
    }

    /// Leaves a group out.
    pub(crate) fn leave_out(&mut self, group: &str) {
        self.broken.insert(group.into());
    }

    /// The errors of the samples that were left out.
    pub(crate) fn found(self) -> Vec<EvalError> {
        self.found
    }

    /// The questions whose groups are whole; an error when nothing is left.
    pub(crate) fn finish(mut self, mut questions: Vec<Question>) -> Result<LoadedQuestions, EvalError> {
        let sound = |question: &Question| {
            question
                .group
                .as_ref()
                .is_none_or(|group| !self.broken.contains(group))
        };
        questions.retain(sound);
        if questions.is_empty() && !self.found.is_empty() {
            return Err(self.found.swap_remove(0));
        }
        Ok(LoadedQuestions {
            questions,
            problems: self.found,
        })
    }
}
