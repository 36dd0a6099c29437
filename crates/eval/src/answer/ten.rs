//! Accuracy against ten annotators.

use super::normalise::{
    CommaRule, digits_and_articles, evalai_normalise, punctuation, vqa_clean, vqa_normalise,
};

/// For each annotator: a third of how many of the others gave the prediction, at most 1; the mean over annotators.
///
/// With n of ten matching: 0, 0.3, 0.6, 0.9, 1 for n = 0, 1, 2, 3, 4 and more. No answers give 0.
pub fn ten_annotator_accuracy(prediction: &str, answers: &[String]) -> f64 {
    let n_matching = answers.iter().filter(|answer| *answer == prediction).count();
    let credit = |answer: &String| {
        let others = n_matching - usize::from(answer == prediction);
        (others as f64 / 3.0).min(1.0)
    };
    answers.iter().map(credit).sum::<f64>() / answers.len().max(1) as f64
}

/// TextVQA's accuracy: both sides in EvalAI's normal form.
pub fn textvqa_accuracy(prediction: &str, answers: &[String]) -> f64 {
    let answers: Vec<String> = answers.iter().map(|answer| evalai_normalise(answer)).collect();
    ten_annotator_accuracy(&evalai_normalise(prediction), &answers)
}

/// The VQA program's accuracy: neither side is normalised when the ten answers are one string.
pub fn vqa_official_accuracy(prediction: &str, answers: &[String]) -> f64 {
    let answers: Vec<String> = answers.iter().map(|answer| vqa_clean(answer)).collect();
    let prediction = vqa_clean(prediction);
    if answers.windows(2).all(|pair| pair[0] == pair[1]) {
        return ten_annotator_accuracy(&prediction, &answers);
    }
    let answers: Vec<String> = answers.iter().map(|answer| vqa_normalise(answer)).collect();
    ten_annotator_accuracy(&vqa_normalise(&prediction), &answers)
}

/// lmms-eval's VQAv2 accuracy: both sides through the later stages of EvalAI's normal form.
pub fn lmms_vqav2_accuracy(prediction: &str, answers: &[String]) -> f64 {
    let normal = |answer: &str| digits_and_articles(&punctuation(&vqa_clean(answer), CommaRule::Several));
    let answers: Vec<String> = answers.iter().map(|answer| normal(answer)).collect();
    ten_annotator_accuracy(&normal(prediction), &answers)
}
