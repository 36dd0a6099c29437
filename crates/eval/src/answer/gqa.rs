//! GQA: exact match.

use serde::Serialize;

use crate::data::Protocol;

/// What LLaVA's converter makes of an answer: no trailing periods, lower case, nothing else.
pub fn gqa_prediction(answer: &str) -> String {
    answer.trim_end_matches('.').to_lowercase()
}

/// Whether an answer is right.
pub fn gqa_correct(answer: &str, reference: &str, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Llava => gqa_prediction(answer) == reference,
        Protocol::LmmsEval => bare(answer) == bare(reference),
    }
}

/// Lower case without ASCII punctuation.
fn bare(text: &str) -> String {
    text.to_lowercase()
        .chars()
        .filter(|letter| !letter.is_ascii_punctuation())
        .collect()
}

/// The scorer's input file, `testdev_balanced_predictions.json`, from pairs of question id and answer.
pub fn gqa_predictions<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One row of the file.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row<'a> {
        question_id: &'a str,
        prediction: String,
    }
    let row = |(question_id, answer)| Row {
        question_id,
        prediction: gqa_prediction(answer),
    };
    let rows: Vec<Row<'_>> = answers.into_iter().map(row).collect();
    serde_json::to_string(&rows).unwrap_or_default()
}
