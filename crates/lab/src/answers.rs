//! Answers in the files that official programs and servers read.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use diffprune_eval::{Benchmark, Question, Record, answer_files};
use diffprune_files::write_whole;

use crate::error::LabError;
use crate::files::make_folder;

/// Name of the folder of answer files in an output folder.
pub const ANSWERS: &str = "answers";

/// Writes the answers of each arm at each budget and seed into a folder of its own below `out`.
///
/// # Errors
/// When the data's own files cannot be read, or the disk refuses.
pub fn write_answers(
    data: &Path,
    out: &Path,
    model: &str,
    questions: &[Question],
    records: &[Record],
) -> Result<(), LabError> {
    let mut settings: BTreeMap<String, HashMap<(Benchmark, &str), &str>> = BTreeMap::new();
    for record in records {
        // A budget may be a fraction.
        let budget = record.budget.replace('/', "of");
        let name = format!("{}-{budget}-{}", record.arm, record.seed);
        let key = (record.benchmark, record.question.as_str());
        settings.entry(name).or_default().insert(key, &record.answer);
    }
    for (name, answers) in settings {
        for (file, text) in answer_files(data, questions, model, &answers)? {
            let path = out.join(ANSWERS).join(&name).join(file);
            if let Some(folder) = path.parent() {
                make_folder(folder)?;
            }
            write_whole(&path, text.as_bytes())?;
        }
    }
    Ok(())
}
