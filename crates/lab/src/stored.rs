//! Runs as they lie in their folders: reports computed again, two runs compared, many ranked.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use diffprune_eval::{
    Benchmark, Figures, Format, Meta, PromptRule, Record, RecordFile, Report, ReportOptions, SameResult,
    TimesTable,
};

use crate::error::LabError;
use crate::evaluation::RECORDS;
use crate::experiment::TunedArms;
use crate::files::{folder_name, make_folder};
use crate::pictures::copy_pictures;

/// The records of a run, and the settings of its report.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The last part of the folder's path.
    pub name: String,
    /// Circumstances, taken over from an earlier report where there is one.
    pub meta: Meta,
    /// Settings of the report.
    pub options: ReportOptions,
    /// The file of the records, from the folder.
    pub file: PathBuf,
    /// The records.
    pub records: Vec<Record>,
}

/// The fact about questions that may differ between two runs that are compared.
const OCR: &str = PromptRule::Ocr.name();

impl StoredRun {
    /// Reads the folder of an evaluation or of an experiment.
    ///
    /// # Errors
    /// When it has no records, or a file is damaged.
    pub fn read(dir: &Path) -> Result<Self, LabError> {
        let path = dir.join("report.json");
        let meta = if path.is_file() {
            Report::read(&path)?.meta
        } else {
            Meta::default()
        };
        let records = meta
            .config
            .get("records")
            .and_then(|name| name.as_str())
            .unwrap_or(RECORDS);
        let file = PathBuf::from(records);
        let options = meta.config.get("report").cloned();
        let options: Option<ReportOptions> = options.map(serde_json::from_value).transpose()?;
        let mut options = options.unwrap_or_default();
        if options.prompt_rules.protocol.is_none() {
            // Reports of earlier versions have it elsewhere.
            let prompts = meta.config.get("prompts").cloned();
            options.prompt_rules.protocol = prompts.and_then(|prompts| serde_json::from_value(prompts).ok());
        }
        Ok(Self {
            name: folder_name(dir).unwrap_or_else(|| dir.display().to_string()),
            records: RecordFile::read(&dir.join(records))?,
            file,
            options,
            meta: without_computed_note(meta),
        })
    }

    /// The folders of runs in `dir`: itself, or those below it, by name. A folder without any stands for itself, so that the
    /// error about reading it says what is missing.
    pub fn folders(dir: &Path) -> Vec<PathBuf> {
        let is_run = |dir: &Path| dir.join("report.json").is_file() || dir.join(RECORDS).is_file();
        if is_run(dir) {
            return vec![dir.into()];
        }
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut runs: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| is_run(path))
            .collect();
        runs.sort();
        if runs.is_empty() {
            runs.push(dir.into());
        }
        runs
    }

    /// Copies all that the `report` of the run in `dir` is made of into `out`: its settings and circumstances (`report.json`), the
    /// records, compressed and under the same name with `.columns.gz`, the table of times, the tuning, and the pictures. A report
    /// that is computed in `out` is that of `dir`, byte for byte.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the records' file lies outside of `dir`.
    pub fn archive(&self, report: &Report, dir: &Path, out: &Path) -> Result<(), LabError> {
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !self.file.components().all(is_inside) {
            return Err(LabError::Setup {
                subject: format!("{}: records", dir.display()),
                found: self.file.display().to_string(),
                wanted: "a file in the folder of the run".into(),
            });
        }
        let target = out.join(&self.file);
        make_folder(target.parent().unwrap_or(out))?;
        RecordFile::compress(&dir.join(&self.file), &target)?;
        report.write_as(out, &[Format::Json], &Figures::default())?;
        let times = dir.join(TimesTable::FILE);
        if times.is_file() {
            TimesTable::read(&times)?.write(out)?;
        }
        TunedArms::copy(dir, out)?;
        copy_pictures(dir, out)
    }

    /// The report of these records.
    ///
    /// # Errors
    /// When the records do not belong together.
    pub fn report(&self) -> Result<Report, LabError> {
        Ok(Report::from_records(
            &self.records,
            self.meta.clone(),
            &self.options,
        )?)
    }
}

/// The difference of two runs over the questions of both, first minus second.
///
/// # Errors
/// When there are not two runs, or they differ in tier or protocol.
pub fn difference(runs: &[StoredRun]) -> Result<Report, LabError> {
    let [a, b] = runs else {
        return Err(LabError::Setup {
            subject: "report".into(),
            found: format!("{} folders", runs.len()),
            wanted: "one, two to compare, or --leaderboard".into(),
        });
    };
    let names = names(runs);
    let differing = differing_facts(runs);
    if let Some((fact, found)) = differing.iter().find(|(fact, _)| *fact != OCR) {
        return Err(LabError::Setup {
            subject: "report".into(),
            found: format!("runs of different {fact} ({found})"),
            wanted: "runs that were asked and scored alike; --leaderboard shows both without comparing question by \
                     question"
                .into(),
        });
    }
    let meta = Meta {
        title: names.join(" against "),
        note: format!("Paired over the questions of both runs.{}", sentences(&differing)),
        ..combined_meta(runs)
    };
    let records = [a.records.as_slice(), b.records.as_slice()];
    Ok(Report::compare(
        [&names[0], &names[1]],
        records,
        meta,
        &a.options,
    )?)
}

/// Every arm of every run, best first.
///
/// # Errors
/// When the records of a run do not belong together.
pub fn leaderboard(runs: &[StoredRun]) -> Result<Report, LabError> {
    let meta = Meta {
        title: "Leaderboard".into(),
        note: format!(
            "Rows of different runs are not paired.{}",
            sentences(&differing_facts(runs))
        ),
        ..combined_meta(runs)
    };
    let options = runs.first().map(|run| run.options.clone()).unwrap_or_default();
    let named: Vec<(String, Vec<Record>)> = names(runs)
        .into_iter()
        .zip(runs.iter().map(|run| run.records.clone()))
        .collect();
    let mut report = Report::leaderboard(&named, meta, &options)?;
    // Runs may have asked with other prompts than the first.
    for source in &mut report.data {
        let own = named
            .iter()
            .position(|(name, _)| source.run.as_ref() == Some(name));
        if let (Some(run), Benchmark::TextVqa) = (own, source.benchmark) {
            source.here = runs[run].options.prompt_rules.here(source.benchmark).into();
        }
    }
    Ok(report)
}

/// The runs of two folders, compared model by model.
#[derive(Debug)]
#[non_exhaustive]
pub struct SameResults {
    /// The name of each run that both folders have, with what was found.
    pub compared: Vec<(String, SameResult)>,
    /// The names of those that the second folder does not have.
    pub missing: Vec<String>,
}

/// Whether the runs in two folders have the same result.
///
/// # Errors
/// When a run cannot be read, its records do not belong together, or no run is in both.
pub fn same_results(first: &Path, second: &Path) -> Result<SameResults, LabError> {
    let read = |dir: &Path| -> Result<Vec<StoredRun>, LabError> {
        let folders = StoredRun::folders(dir);
        folders.iter().map(|dir| StoredRun::read(dir)).collect()
    };
    let (own, others) = (read(first)?, read(second)?);
    let alone = own.len() == 1 && others.len() == 1;
    let (mut compared, mut missing) = (Vec::new(), Vec::new());
    for run in own {
        match others.iter().find(|other| alone || other.name == run.name) {
            Some(other) => {
                let found = run.report()?.same_result(&other.report()?);
                compared.push((run.name, found));
            }
            None => missing.push(run.name),
        }
    }
    match compared.is_empty() {
        false => Ok(SameResults { compared, missing }),
        true => Err(LabError::Setup {
            subject: "runs".into(),
            found: format!("none in both {} and {}", first.display(), second.display()),
            wanted: "two runs of the same models".into(),
        }),
    }
}

/// The names of runs: where some are the same, all get numbers.
fn names(runs: &[StoredRun]) -> Vec<String> {
    let distinct: BTreeSet<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let named = |(number, run): (usize, &StoredRun)| {
        if distinct.len() == runs.len() {
            run.name.clone()
        } else {
            format!("{} ({})", run.name, number + 1)
        }
    };
    runs.iter().enumerate().map(named).collect()
}

/// The facts in which runs differ, each with the runs and their values.
fn differing_facts(runs: &[StoredRun]) -> Vec<(&'static str, String)> {
    let names = names(runs);
    let mut differing = Vec::new();
    let mut add = |fact: &'static str, values: Vec<Option<String>>| {
        let known: BTreeSet<&String> = values.iter().flatten().collect();
        if known.len() > 1 {
            let pairs = names.iter().zip(&values);
            let pairs = pairs.filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)));
            differing.push((fact, pairs.collect::<Vec<_>>().join(", ")));
        }
    };
    let tier = |run: &StoredRun| Some(run.meta.tier.clone()).filter(|tier| !tier.is_empty());
    add("tier", runs.iter().map(tier).collect());
    for rule in PromptRule::ALL {
        let values = runs.iter().map(|run| run.options.prompt_rules.value(rule));
        add(rule.name(), values.collect());
    }
    differing
}

/// The differences as the end of a note.
fn sentences(differing: &[(&'static str, String)]) -> String {
    let one = |(fact, found): &(&str, String)| format!(" The runs differ in their {fact} ({found}).");
    differing.iter().map(one).collect()
}

/// The circumstances of several runs.
fn combined_meta(runs: &[StoredRun]) -> Meta {
    let of = |field: fn(&Meta) -> &String| {
        let values: BTreeSet<&String> = runs.iter().map(|run| field(&run.meta)).collect();
        values.into_iter().cloned().collect::<Vec<_>>().join(" / ")
    };
    let configs = runs
        .iter()
        .map(|run| serde_json::json!({ "run": run.name, "config": run.meta.config }));
    Meta {
        revision: of(|meta| &meta.revision),
        device: of(|meta| &meta.device),
        tier: of(|meta| &meta.tier),
        seed: runs.first().map_or(0, |run| run.options.bootstrap.seed),
        config: configs.collect(),
        ..Meta::default()
    }
}

/// The circumstances without the sentence that the computation adds to the note.
fn without_computed_note(mut meta: Meta) -> Meta {
    let added = " questions without an answer of every arm are left out.";
    if let Some(rest) = meta.note.strip_suffix(added) {
        let kept = rest.rfind(' ').unwrap_or(0);
        meta.note.truncate(kept);
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of two arms to a few questions.
    fn records() -> Vec<Record> {
        let record = |arm: &str, budget: &str, id: usize, score: f64| -> Record {
            let value = serde_json::json!({
                "arm": arm, "budget": budget, "seed": 0, "question": id.to_string(), "benchmark": "gqa", "subset": "all",
                "kind": "all", "image": format!("{}.png", id / 2), "kept": 16, "total": 144, "answer": "a", "score": score,
            });
            serde_json::from_value(value).unwrap()
        };
        let of = |arm: &'static str, budget: &'static str, right: usize| {
            (0..12).map(move |id| record(arm, budget, id, f64::from(id * 5 % 12 < right)))
        };
        of("full", "all", 11)
            .chain(of("text-only", "all", 2))
            .chain(of("diffprune", "1/9", 9))
            .collect()
    }

    #[test]
    fn an_archive_gives_the_pages_of_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, out, again) = (
            folder.path().join("run"),
            folder.path().join("kept"),
            folder.path().join("again"),
        );
        let file = "stages/records-1.jsonl";
        let (mut records_file, _) = RecordFile::open(&dir.join(file), "a run").unwrap();
        let records = records_file.append(&records()).unwrap();
        let options = ReportOptions::default().with_bootstrap(diffprune_eval::Bootstrap::new(100, 0));
        let meta = Meta {
            tier: "mini".into(),
            config: serde_json::json!({"records": file, "report": options, "family": "llava-1.5"}),
            ..Meta::default()
        };
        Report::from_records(&records, meta, &options)
            .unwrap()
            .write(&dir)
            .unwrap();
        let run = StoredRun::read(&dir).unwrap();
        run.archive(&run.report().unwrap(), &dir, &out).unwrap();
        assert!(!out.join(file).exists(), "records are compressed");
        StoredRun::read(&out)
            .unwrap()
            .report()
            .unwrap()
            .write(&again)
            .unwrap();
        let mut compared = 0;
        for entry in std::fs::read_dir(&again).unwrap() {
            let name = entry.unwrap().file_name();
            let of_run = std::fs::read(dir.join(&name)).unwrap();
            assert!(
                of_run == std::fs::read(again.join(&name)).unwrap(),
                "{}",
                name.display()
            );
            compared += 1;
        }
        assert!(compared > 4, "{compared} pages");
    }
}
