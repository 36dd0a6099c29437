//! Agreement of a pruned model's answers with those of the unpruned one.

/// Answers of an arm beside those of the unpruned model. Fractions occur when several seeds are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Questions.
    pub n: f64,
    /// Same answers.
    pub same: f64,
    /// The unpruned model was right and the arm is not.
    pub right_to_wrong: f64,
    /// The unpruned model was wrong and the arm is right.
    pub wrong_to_right: f64,
}

impl Agreement {
    /// Counts questions, each as (whether the answers are the same, whether the unpruned model was right, whether the
    /// arm is right).
    pub fn count(questions: impl IntoIterator<Item = (bool, bool, bool)>) -> Self {
        let mut counts = Self::default();
        for (same, before, after) in questions {
            counts.n += 1.0;
            counts.same += f64::from(same);
            counts.right_to_wrong += f64::from(before && !after);
            counts.wrong_to_right += f64::from(!before && after);
        }
        counts
    }

    /// Share of answers that are the same, percent.
    pub fn loyalty(&self) -> f64 {
        100.0 * self.same / self.n
    }

    /// Share of questions that are lost, percent.
    pub fn lost(&self) -> f64 {
        100.0 * self.right_to_wrong / self.n
    }

    /// Share of questions that are gained, percent.
    pub fn gained(&self) -> f64 {
        100.0 * self.wrong_to_right / self.n
    }
}

/// `true` if two answers say the same: equal without case, outer white space and final periods.
pub(crate) fn same_answer(a: &str, b: &str) -> bool {
    let bare = |text: &str| text.trim().trim_end_matches('.').trim_end().to_lowercase();
    bare(a) == bare(b)
}

/// `true` if an answer with this score counts as right: more than half of the full score.
pub(crate) fn is_right(score: f64) -> bool {
    score > 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_minus_what_is_gained_is_the_drop() {
        let questions = [
            (true, true, true),
            (false, true, false),
            (false, false, false),
            (false, false, true),
            (false, true, false),
        ];
        let counts = Agreement::count(questions);
        let right = |after: bool| {
            questions
                .iter()
                .filter(|question| if after { question.2 } else { question.1 })
                .count()
        };
        assert_eq!(counts.loyalty(), 20.0);
        assert_eq!((counts.lost(), counts.gained()), (40.0, 20.0));
        assert_eq!(
            counts.lost() - counts.gained(),
            20.0 * (right(false) - right(true)) as f64
        );
    }

    #[test]
    fn answers_are_compared_without_dress() {
        assert!(same_answer(" Yes.", "yes") && !same_answer("yes", "no") && same_answer("", "."));
        assert!(is_right(0.6) && !is_right(0.3));
    }
}
