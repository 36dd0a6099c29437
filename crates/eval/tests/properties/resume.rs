//! Runs that are killed anywhere, and runs with samples that cannot be answered.

use std::fs;
use std::path::Path;

use diffprune_eval::{Arm, EvalError, Question, Record, RecordFile, Replica, Run};
use diffprune_files::faults::Faults;
use diffprune_pruner::Layout;

use super::by_name::ByName;
use super::{BUDGETS, Eye, arms, execute, options, red_cells, relevance, report, world};

#[test]
fn killed_at_every_record_and_within_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 3);
    let file = folder.path().join("records.jsonl");
    let whole = report(&execute(&questions, 2, &file).unwrap()).to_json().unwrap();
    let bytes = fs::read(&file).unwrap();
    let ends: Vec<usize> = (0..bytes.len())
        .filter(|&i| bytes[i] == b'\n')
        .map(|i| i + 1)
        .collect();
    assert!(ends.len() > 100);
    let mut cuts = vec![0, 3];
    for (line, &end) in ends.iter().enumerate() {
        let start = line.checked_sub(1).map_or(0, |before| ends[before]);
        cuts.extend([start + (end - start) * (1 + line % 4) / 5, end - 1, end]);
    }
    for (step, cut) in cuts.into_iter().enumerate() {
        fs::write(&file, &bytes[..cut]).unwrap();
        let records = execute(&questions, 1 + step % 2, &file).unwrap();
        assert_eq!(records.len(), ends.len() - 1, "cut at byte {cut}");
        let read = RecordFile::read(&file).unwrap();
        assert_eq!(read.len(), records.len(), "every answer is written once");
        // A report takes longer than the run: one of seven, and all around the ends of lines that matter most.
        if step % 7 == 0 {
            assert_eq!(report(&read).to_json().unwrap(), whole, "cut at byte {cut}");
        } else {
            let mut sorted = [read, records];
            let key = |r: &Record| {
                (
                    r.arm.clone(),
                    r.budget.clone(),
                    r.seed,
                    r.benchmark,
                    r.question.clone(),
                )
            };
            sorted.iter_mut().for_each(|records| records.sort_by_key(key));
            assert_eq!(sorted[0], sorted[1]);
        }
    }
}

#[test]
fn a_full_disk_at_any_moment_is_told_and_loses_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 3);
    let whole = execute(&questions, 1, &folder.path().join("whole/records.jsonl")).unwrap();
    let changes = {
        let counted = Faults::below(folder.path().join("counted"), None);
        execute(&questions, 1, &folder.path().join("counted/records.jsonl")).unwrap();
        counted.count()
    };
    assert!(changes > 5, "{changes} changes of files");
    for nth in 0..changes {
        let file = folder.path().join(format!("torn-{nth}/records.jsonl"));
        let error = {
            let _full = Faults::below(file.parent().unwrap(), Some(nth));
            execute(&questions, 1, &file).expect_err("a change that fails is told")
        };
        assert!(
            error.to_string().contains(&file.display().to_string()),
            "{nth}: {error}"
        );
        let before = fs::read(&file).map_or(0, |bytes| bytes.len());
        assert_eq!(execute(&questions, 2, &file).unwrap(), whole, "{nth}");
        assert!(fs::read(&file).unwrap().len() >= before);
        // The report writes whole files: an old one stays, a new one appears or does not.
        assert_eq!(RecordFile::read(&file).unwrap().len(), whole.len());
    }
}

#[test]
fn a_report_that_cannot_be_written_leaves_the_old_files() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 3);
    let records = execute(&questions, 1, &folder.path().join("records.jsonl")).unwrap();
    let out = folder.path().join("report");
    let counted = Faults::below(&out, None);
    report(&records).write(&out).unwrap();
    let changes = counted.count();
    drop(counted);
    assert!(changes > 5, "{changes} changes of files");
    let files = || {
        let mut files: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let whole = files();
    for nth in 0..changes {
        let _full = Faults::below(&out, Some(nth));
        let error = report(&records[..records.len() - 2]).write(&out);
        assert!(error.is_err(), "{nth}");
        drop(_full);
        // No half file and none under another name; every file is the old one or the new one.
        assert_eq!(files().len(), whole.len(), "{nth}");
        report(&records).write(&out).unwrap();
        assert_eq!(files(), whole, "{nth}");
    }
}

#[test]
fn a_damaged_last_line_is_asked_again_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 3);
    let file = folder.path().join("records.jsonl");
    let whole = execute(&questions, 1, &file).unwrap();
    let bytes = fs::read(&file).unwrap();
    let last = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap()
        + 1;
    // Half of the last line, then what a disk leaves after a power cut.
    for tail in [&b"\0\0\0\0\n"[..], b"{\"arm\":\"full\"\n", b"\n\n"] {
        let middle = last + (bytes.len() - last) / 2;
        let mut damaged = bytes[..middle].to_vec();
        damaged.extend_from_slice(tail);
        fs::write(&file, &damaged).unwrap();
        assert_eq!(execute(&questions, 1, &file).unwrap(), whole);
        assert_eq!(RecordFile::read(&file).unwrap().len(), whole.len());
    }
    // A file that never was one of records stays as it is.
    fs::write(&file, "my notes").unwrap();
    assert!(matches!(
        execute(&questions, 1, &file),
        Err(EvalError::Line { line: 1, .. })
    ));
    assert_eq!(fs::read(&file).unwrap(), b"my notes");
    assert!(RecordFile::read(&file).is_err());
}

/// Relevance that is not known of picture 2 and breaks on picture 5.
fn moody(image: &Path, layout: &Layout) -> Option<Vec<f32>> {
    match image.file_stem()?.to_str()? {
        "002" => None,
        "005" => panic!("picture 5 again"),
        _ => relevance(image, layout),
    }
}

fn patient(
    questions: &[Question],
    arms: &[Arm],
    strict: bool,
    file: &Path,
) -> Result<Vec<Record>, EvalError> {
    let options = options(2).with_strict(strict);
    let run = Run {
        questions,
        arms,
        budgets: &BUDGETS,
        annotations: Some(&moody),
        options,
    };
    run.execute(&Eye, file)
}

#[test]
fn bad_samples_are_left_out_listed_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 9);
    let file = folder.path().join("records.jsonl");
    let list = folder.path().join("records.failed.jsonl");
    let good = fs::read(&questions[14].image).unwrap();
    fs::write(&questions[14].image, b"no picture").unwrap();
    let arms = arms();
    let records = patient(&questions, &arms, false, &file).unwrap();
    let answered = |arm: &str, image: usize| {
        let name = format!("{image:03}.png");
        records
            .iter()
            .filter(|record| record.arm == arm && record.image == name)
            .count()
    };
    for image in 0..9 {
        // Two questions about a picture; arms with a budget answer them at two.
        assert_eq!(answered("text-only", image), 2, "text needs no picture");
        assert_eq!(answered("full", image), if image == 7 { 0 } else { 2 }, "{image}");
        let annotated = if [2, 5, 7].contains(&image) { 0 } else { 4 };
        assert_eq!(answered("oracle-keep", image), annotated, "{image}");
        assert_eq!(answered("uniform-grid", image), if image == 7 { 0 } else { 4 });
    }
    let failures = fs::read_to_string(&list).unwrap();
    let n_settings = 3 + (3 + 4 + 1) * BUDGETS.len();
    assert_eq!(
        failures.lines().count() + records.len(),
        questions.len() * n_settings
    );
    assert!(
        failures.contains("picture 5 again") && failures.contains("007.png"),
        "{failures}"
    );
    // The same again, from the start and from anywhere.
    let bytes = fs::read(&file).unwrap();
    for cut in [0, bytes.len() / 3, bytes.len() - 7] {
        fs::write(&file, &bytes[..cut]).unwrap();
        assert_eq!(
            patient(&questions, &arms, false, &file).unwrap(),
            records,
            "{cut}"
        );
        assert_eq!(fs::read_to_string(&list).unwrap(), failures);
    }
    // The report is about what all have answered, and says so.
    let shown = report(&records);
    assert_eq!(shown.table_named("main").unwrap().rows[0].n, questions.len() - 6);
    assert!(shown.meta.note.contains("6 questions"));
    // A picture that is repaired is asked about, and only it.
    fs::write(&questions[14].image, good).unwrap();
    let repaired = patient(&questions, &arms, false, &file).unwrap();
    assert!(!fs::read_to_string(&list).unwrap().contains("007.png"));
    assert!(repaired.len() > records.len());
    // With truth for all, nothing is left to complain about.
    let whole = execute(&questions, 2, &file).unwrap();
    assert_eq!(whole.len(), questions.len() * n_settings);
    assert!(!list.exists());
    let fresh = execute(&questions, 1, &folder.path().join("fresh.jsonl")).unwrap();
    assert_eq!(
        fresh, whole,
        "the pieces in which a picture is tried do not matter here"
    );
    assert_eq!(red_cells(2).len(), 2);
}

#[test]
fn strict_runs_and_hopeless_arms_end() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 9);
    let strict = patient(&questions, &arms(), true, &folder.path().join("strict.jsonl"));
    assert!(strict.is_err());
    // Picture 2 alone: no oracle has an answer.
    let error = patient(&questions[4..6], &arms(), false, &folder.path().join("one.jsonl")).unwrap_err();
    assert!(error.to_string().contains("relevance"), "{error}");
    // The disk is nobody's sample.
    let blocked = folder.path().join("000.png").join("records.jsonl");
    assert!(matches!(
        patient(&questions, &arms(), false, &blocked),
        Err(EvalError::Io { .. })
    ));
}

#[test]
fn several_models_share_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 7);
    let alone = execute(&questions, 1, &folder.path().join("alone.jsonl")).unwrap();
    let arms = arms();
    let run = Run {
        questions: &questions,
        arms: &arms,
        budgets: &BUDGETS,
        annotations: Some(&relevance),
        options: options(1),
    };
    let replica = || Replica {
        vlm: Box::new(Eye),
        arms: super::arms(),
    };
    let models = || (0..3).map(|_| replica()).collect();
    let file = folder.path().join("shared.jsonl");
    assert_eq!(run.execute_on(models(), &file).unwrap(), alone);
    // In content and order, also on disk, whoever answered first.
    let bytes = fs::read(folder.path().join("alone.jsonl")).unwrap();
    assert!(fs::read(&file).unwrap() == bytes);
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(run.execute_on(models(), &file).unwrap(), alone);
    assert!(fs::read(&file).unwrap() == bytes);

    // Replicas that would answer something else, or nothing.
    let mut other = replica();
    other.arms.swap(0, 1);
    for replicas in [vec![replica(), other], Vec::new()] {
        let error = run.execute_on(replicas, &file).unwrap_err();
        assert!(error.to_string().contains("replicas"), "{error}");
    }
    assert!(fs::read(&file).unwrap() == bytes);
}
