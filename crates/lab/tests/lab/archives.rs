//! The committed records give the committed pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use diffprune_lab::{ModelReport, Recipe, StoredRun, Tuned, TunedArms, drawn_pictures, write_index};

/// Results whose records were not kept. One that has them must not stand here.
const WITHOUT_RECORDS: [&str; 0] = [];

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn files(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Makes the pages of a folder of runs again; gives the number of runs.
fn made_again(results: &Path) -> usize {
    let again = tempfile::tempdir().unwrap();
    let mut models = Vec::new();
    for dir in folders(results)
        .iter()
        .filter(|dir| dir.join("report.json").is_file())
    {
        let run = StoredRun::read(dir).unwrap();
        let report = run.report().unwrap();
        let out = again.path().join(&run.name);
        report
            .write_as(&out, &diffprune_eval::Format::ALL, &drawn_pictures(dir).unwrap())
            .unwrap();
        same(dir, &out);
        models.push(ModelReport {
            folder: run.name,
            report,
        });
    }
    let count = models.len();
    if count > 1 {
        write_index(results, again.path(), models).unwrap();
        same(results, again.path());
    }
    count
}

/// Every page that can be made again is committed as it is, and no other drawing is.
fn same(committed: &Path, again: &Path) {
    let (found, made) = (files(committed), files(again));
    for name in &made {
        assert!(
            fs::read(committed.join(name)).ok() == fs::read(again.join(name)).ok(),
            "{}: not what its records give; make it again with `diffprune report`",
            committed.join(name).display()
        );
    }
    let is_drawing = |name: &&String| name.ends_with(".svg") && !made.contains(*name);
    let stale: Vec<&String> = found.iter().filter(is_drawing).collect();
    assert!(stale.is_empty(), "{}: {stale:?}", committed.display());
}

#[test]
fn committed_records_give_the_committed_pages() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results");
    let all = folders(&results);
    assert!(!all.is_empty());
    for folder in all {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let runs = made_again(&folder);
        assert_eq!(
            runs == 0,
            WITHOUT_RECORDS.contains(&name.as_str()),
            "{name}: {runs} runs with records"
        );
    }
}

#[test]
fn the_built_in_tuning_is_that_of_the_committed_run() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results");
    let made = TunedArms::read(&results.join("repro").join(TunedArms::FILE)).unwrap();
    assert_eq!(TunedArms::committed().unwrap(), made);
    // Every arm had the same trials.
    let recipes = |arm: &Tuned| -> Vec<Recipe> { arm.trials.iter().map(|trial| trial.recipe).collect() };
    assert!(made.arms.iter().all(|arm| recipes(arm) == recipes(&made.arms[0])));
}
