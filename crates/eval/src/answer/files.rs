//! Answers in the files that official programs and servers take.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use super::gqa::gqa_predictions;
use super::upload::{seed_upload, vizwiz_upload, vqav2_upload};
use crate::EvalError;
use crate::data::{Benchmark, Question, Reference, Split, mmbench_upload, mme_results, vqav2_upload_ids};

/// A file's path below the output folder, with `/` between names, and its text.
pub type AnswerFile = (String, String);

/// The answers to some questions, by benchmark and id, in the files that official programs and servers take. `data` is the
/// folder with the benchmarks. Questions without an answer are left out.
///
/// Each benchmark has `NAME/answers.jsonl`, lines as LLaVA's scripts write them. Beside it: GQA
/// `testdev_balanced_predictions.json`; VQAv2 and VizWiz `upload.json`; SEED-Bench `upload.jsonl`; MMBench `upload.tsv`, the
/// columns of the server's spreadsheet; MME a text file for each subtask, when its files are sound and every question has an
/// answer.
///
/// # Errors
/// When MMBench's table or VQAv2's list of all questions of test2015 is missing or damaged.
pub fn answer_files(
    data: &Path,
    questions: &[Question],
    model: &str,
    answers: &HashMap<(Benchmark, &str), &str>,
) -> Result<Vec<AnswerFile>, EvalError> {
    let mut sets: BTreeMap<Benchmark, Vec<(&Question, &str)>> = BTreeMap::new();
    for question in questions {
        if let Some(answer) = answers.get(&(question.benchmark, question.id.as_str())) {
            sets.entry(question.benchmark)
                .or_default()
                .push((question, answer));
        }
    }
    let mut files = Vec::new();
    for (benchmark, answered) in sets {
        let root = data.join(benchmark.name());
        let hidden = answered
            .iter()
            .any(|(question, _)| question.reference == Reference::Hidden);
        let mut add = |name: &str, text: String| files.push((format!("{benchmark}/{name}"), text));
        add("answers.jsonl", llava(model, &answered));
        let pairs = || {
            answered
                .iter()
                .map(|(question, answer)| (question.id.as_str(), *answer))
        };
        match benchmark {
            Benchmark::Gqa => add("testdev_balanced_predictions.json", gqa_predictions(pairs())),
            Benchmark::VqaV2 => {
                let ids = match hidden {
                    // The server wants every question of test2015, asked or not.
                    true => vqav2_upload_ids(&root)?,
                    false => pairs().map(|(id, _)| id.to_string()).collect(),
                };
                add("upload.json", vqav2_upload(&ids, pairs()));
            }
            Benchmark::VizWiz => {
                let names: Vec<String> = answered
                    .iter()
                    .map(|(question, _)| question.image_name())
                    .collect();
                let pairs = names
                    .iter()
                    .map(String::as_str)
                    .zip(answered.iter().map(|(_, answer)| *answer));
                add("upload.json", vizwiz_upload(pairs));
            }
            Benchmark::SeedBench => add("upload.jsonl", seed_upload(pairs())),
            Benchmark::MmBench | Benchmark::MmBenchCn => {
                let split = if hidden { Split::Upload } else { Split::Scored };
                let answers = pairs().collect();
                add("upload.tsv", mmbench_upload(benchmark, &root, split, &answers)?);
            }
            Benchmark::Mme => {
                let all: HashMap<String, String> = pairs()
                    .map(|(id, answer)| (id.to_string(), answer.to_string()))
                    .collect();
                // Its program reads whole subtasks only.
                let texts = mme_results(&root, &all).unwrap_or_default();
                for (subtask, text) in texts {
                    add(&format!("{subtask}.txt"), text);
                }
            }
            Benchmark::Pope | Benchmark::TextVqa | Benchmark::ScienceQa => {}
        }
    }
    Ok(files)
}

/// The id that LLaVA's question file has.
fn llava_id(question: &Question) -> Value {
    let image = question.image_name();
    let stem = || image.rsplit_once('.').map_or(image.as_str(), |(stem, _)| stem);
    match question.benchmark {
        Benchmark::TextVqa => json!(stem()),
        Benchmark::VizWiz if question.reference == Reference::Hidden => json!(image),
        Benchmark::Mme => json!(question.id.split('#').next()),
        Benchmark::Gqa | Benchmark::ScienceQa | Benchmark::VizWiz => json!(question.id),
        Benchmark::Pope
        | Benchmark::VqaV2
        | Benchmark::SeedBench
        | Benchmark::MmBench
        | Benchmark::MmBenchCn => {
            let number = question.id.parse::<u64>();
            number.map_or_else(|_| json!(question.id), |number| json!(number))
        }
    }
}

/// Lines as LLaVA's scripts write them.
fn llava(model: &str, answered: &[(&Question, &str)]) -> String {
    let line = |(question, answer): &(&Question, &str)| {
        let id = llava_id(question);
        let line = json!({"question_id": id, "prompt": question.text, "text": answer, "answer_id": question.id,
            "model_id": model, "metadata": {}});
        format!("{line}\n")
    };
    answered.iter().map(line).collect()
}
