//! The probability that a model gives to yes and no.

/// The ids of a vocabulary that are the words yes and no.
#[derive(Debug, Default)]
pub(crate) struct YesNoIds {
    yes: Vec<u32>,
    no: Vec<u32>,
}

impl YesNoIds {
    /// Every id below `n_ids` whose own text is the word, whatever its case and the blanks around it.
    pub(crate) fn of(n_ids: usize, text_of: impl Fn(u32) -> String) -> Self {
        let mut ids = Self::default();
        for id in 0..n_ids as u32 {
            let text = text_of(id);
            let word = text.trim();
            if word.eq_ignore_ascii_case("yes") {
                ids.yes.push(id);
            } else if word.eq_ignore_ascii_case("no") {
                ids.no.push(id);
            }
        }
        ids
    }

    /// The softmax of the scores on the ids of yes, among those of yes and no; `None` when the vocabulary lacks one of
    /// the words.
    pub(crate) fn probability_of_yes(&self, scores: &[f32]) -> Option<f64> {
        let of = |ids: &[u32]| -> Vec<f64> {
            let known = ids.iter().filter_map(|&id| scores.get(id as usize));
            known.map(|&score| f64::from(score)).collect()
        };
        let (yes, no) = (of(&self.yes), of(&self.no));
        if yes.is_empty() || no.is_empty() {
            return None;
        }
        let highest = yes.iter().chain(&no).copied().fold(f64::NEG_INFINITY, f64::max);
        let mass = |scores: &[f64]| -> f64 { scores.iter().map(|score| libm::exp(score - highest)).sum() };
        let (yes, no) = (mass(&yes), mass(&no));
        Some(yes / (yes + no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(words: &[&str]) -> YesNoIds {
        YesNoIds::of(words.len(), |id| words[id as usize].to_string())
    }

    #[test]
    fn the_words_with_their_blanks_and_cases_and_nothing_longer() {
        let words = [
            "?",
            "yes",
            " Yes",
            "Yes",
            "no",
            " no",
            "No",
            "not",
            "yesterday",
            "none",
            "noYes",
        ];
        let ids = ids(&words);
        assert_eq!((ids.yes, ids.no), (vec![1, 2, 3], vec![4, 5, 6]));
    }

    #[test]
    fn masses_of_a_word_are_added_and_other_ids_do_not_matter() {
        let ids = ids(&["?", "yes", "Yes", "no", "red"]);
        let ln = |value: f64| value.ln() as f32;
        // 1 + 2 for yes, 1 for no; the last id has most of the whole softmax.
        let scores = [9.0, ln(1.0), ln(2.0), ln(1.0), 20.0];
        let p = ids.probability_of_yes(&scores).unwrap();
        assert!((p - 0.75).abs() < 1e-7, "{p}");
        let moved = scores.map(|score| score - 700.0);
        assert!((ids.probability_of_yes(&moved).unwrap() - 0.75).abs() < 1e-4);
        // Far apart without overflow.
        assert_eq!(ids.probability_of_yes(&[0.0, 3e4, 0.0, -3e4, 0.0]), Some(1.0));
        assert_eq!(ids.probability_of_yes(&[0.0, -3e4, -3e4, 3e4, 0.0]), Some(0.0));
    }

    #[test]
    fn a_vocabulary_without_one_of_the_words_gives_nothing() {
        assert_eq!(
            ids(&["?", "yes", "red"]).probability_of_yes(&[1.0, 2.0, 3.0]),
            None
        );
        // Scores for fewer ids than there are words.
        assert_eq!(ids(&["?", "yes", "no"]).probability_of_yes(&[1.0, 2.0]), None);
    }
}
