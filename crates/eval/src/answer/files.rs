//! Answers in the files that official programs and servers take.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::json;

use super::gqa::gqa_predictions;
use super::upload::{seed_upload, vizwiz_upload, vqav2_upload};
use crate::EvalError;
use crate::data::{Benchmark, Question, Reference, mme_results, vqav2_upload_ids};

/// A file's path below the output folder, with `/` between names, and its text.
pub type AnswerFile = (String, String);

/// The answers to some questions, by benchmark and id, in the files that official programs and servers take. `data` is the
/// folder with the benchmarks. Questions without an answer are left out.
///
/// Each benchmark has `NAME/answers.jsonl`, lines as LLaVA's scripts write them. Beside it: GQA
/// `testdev_balanced_predictions.json`; VQAv2 and VizWiz `upload.json`; SEED-Bench `upload.jsonl`; MMBench `upload.tsv`, the
/// columns of the server's spreadsheet; MME a text file for each subtask, when every question has an answer.
///
/// # Errors
/// When MME's files or VQAv2's list of all questions of test2015 are damaged.
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
                let hidden = answered
                    .iter()
                    .any(|(question, _)| question.reference == Reference::Hidden);
                let ids = match hidden {
                    // The server wants every question of test2015, asked or not.
                    true => vqav2_upload_ids(&data.join(benchmark.name()))?,
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
            Benchmark::MmBench | Benchmark::MmBenchCn => add("upload.tsv", mmbench(&answered)),
            Benchmark::Mme => {
                let all: HashMap<String, String> = pairs()
                    .map(|(id, answer)| (id.to_string(), answer.to_string()))
                    .collect();
                match mme_results(&data.join(benchmark.name()), &all) {
                    Ok(texts) => texts
                        .into_iter()
                        .for_each(|(subtask, text)| add(&format!("{subtask}.txt"), text)),
                    // Its program reads whole subtasks only.
                    Err(EvalError::Setup { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Benchmark::Pope | Benchmark::TextVqa | Benchmark::ScienceQa => {}
        }
    }
    Ok(files)
}

/// Lines as LLaVA's scripts write them. Ids that are numbers in the question files are numbers here.
fn llava(model: &str, answered: &[(&Question, &str)]) -> String {
    let line = |(question, answer): &(&Question, &str)| {
        let id = question
            .id
            .parse::<u64>()
            .map_or_else(|_| json!(question.id), |number| json!(number));
        let line = json!({"question_id": id, "prompt": question.text, "text": answer, "answer_id": question.id,
            "model_id": model, "metadata": {}});
        format!("{line}\n")
    };
    answered.iter().map(line).collect()
}

/// The columns of MMBench's submission: index, question as asked, options, prediction.
fn mmbench(answered: &[(&Question, &str)]) -> String {
    let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    let row = |(question, answer): &(&Question, &str)| {
        let options = match &question.reference {
            Reference::Letter { options, .. } => options.as_slice(),
            _ => &[],
        };
        let option = |letter| options.iter().find(|(of, _)| *of == letter);
        let texts = ['A', 'B', 'C', 'D']
            .map(|letter| option(letter).map_or_else(String::new, |(_, text)| plain(text)));
        format!(
            "{}\t{}\t{}\t{}\n",
            question.id,
            plain(&question.text),
            texts.join("\t"),
            plain(answer)
        )
    };
    let rows: String = answered.iter().map(row).collect();
    format!("index\tquestion\tA\tB\tC\tD\tprediction\n{rows}")
}
