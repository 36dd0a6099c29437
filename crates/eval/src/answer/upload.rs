//! Answers in the files that servers and official programs take.

use serde::Serialize;

use super::normalise::evalai_normalise;

/// VQAv2's upload: a list of `question_id` and `answer` for all of `ids`, the answer in EvalAI's normal form and empty
/// where a question was not asked.
pub fn vqav2_upload<'a>(ids: &[String], answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One row of the file.
    #[derive(Serialize)]
    struct Row {
        question_id: serde_json::Value,
        answer: String,
    }
    let answers: std::collections::HashMap<&str, &str> = answers.into_iter().collect();
    let row = |id: &String| Row {
        question_id: serde_json::from_str(id).unwrap_or_else(|_| id.as_str().into()),
        answer: answers
            .get(id.as_str())
            .map(|answer| evalai_normalise(answer))
            .unwrap_or_default(),
    };
    json(&ids.iter().map(row).collect::<Vec<_>>())
}

/// VizWiz's upload: a list of `image` and `answer`, the answer in EvalAI's normal form. `answers` pairs file names of
/// pictures with answers.
pub fn vizwiz_upload<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One row of the file.
    #[derive(Serialize)]
    struct Row<'a> {
        image: &'a str,
        answer: String,
    }
    let row = |(image, answer)| Row {
        image,
        answer: evalai_normalise(answer),
    };
    json(&answers.into_iter().map(row).collect::<Vec<_>>())
}

/// SEED-Bench's upload: JSON lines of `question_id` and `prediction`.
pub fn seed_upload<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One line of the file.
    #[derive(Serialize)]
    struct Row<'a> {
        question_id: &'a str,
        prediction: &'a str,
    }
    let row = |(question_id, prediction)| {
        json(&Row {
            question_id,
            prediction,
        }) + "\n"
    };
    answers.into_iter().map(row).collect()
}

fn json<T: Serialize>(rows: &T) -> String {
    serde_json::to_string(rows).unwrap_or_default()
}
