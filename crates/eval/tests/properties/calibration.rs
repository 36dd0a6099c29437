//! The probabilities of yes and no, from the model's scores to the table.

use std::fs;

use diffprune_eval::{
    Arm, Benchmark, ECE_BINS, Protocol, Question, Record, RecordFile, Reference, Run, RunTimes, YesNoAnswer,
    ece,
};

use super::by_name::ByName;
use super::{BUDGETS, Eye, arms, options, red_cells, relevance, report, world};

/// The world with every question of POPE asked by MME too, alone in its group.
fn both(folder: &std::path::Path, n_images: usize) -> Vec<Question> {
    let mut questions = world(folder, n_images);
    let of_mme = |question: &Question| Question {
        benchmark: Benchmark::Mme,
        subset: "existence".into(),
        group: Some(question.id.clone()),
        ..question.clone()
    };
    let yes_no = |question: &&Question| matches!(question.reference, Reference::YesNo(_));
    let copies: Vec<Question> = questions.iter().filter(yes_no).map(of_mme).collect();
    questions.extend(copies);
    questions
}

fn run<'a>(questions: &'a [Question], arms: &'a [Arm]) -> Run<'a> {
    Run {
        questions,
        arms,
        budgets: &BUDGETS,
        annotations: Some(&relevance),
        options: options(1),
    }
}

#[test]
fn records_hold_the_softmax_over_yes_and_no_of_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let questions = both(folder.path(), 8);
    let arms = arms();
    let run = run(&questions, &arms);
    let records = run.execute(&Eye, &folder.path().join("records.jsonl")).unwrap();
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut seen = 0;
    for record in records.iter().filter(|record| record.arm == "full") {
        let image: usize = {
            // MME's names have the folder in front.
            let name = record.image.rsplit('/').next().unwrap();
            name.trim_end_matches(".png").parse().unwrap()
        };
        let yes = logistic(red_cells(image).len() as f64 - 0.5);
        match (record.benchmark, record.answer.as_str()) {
            (Benchmark::Gqa, _) => assert_eq!(record.probability, None),
            (_, answer) => {
                let wanted = if answer == "yes" { yes } else { 1.0 - yes };
                assert!((record.probability.unwrap() - wanted).abs() < 1e-12, "{record:?}");
                assert!(wanted > 0.5, "the model says what it believes");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2 * 8);
    // Blind, it says no with what is left for no.
    let blind = records.iter().find(|record| record.arm == "text-only").unwrap();
    assert!((blind.probability.unwrap() - logistic(0.5)).abs() < 1e-12);
}

#[test]
fn the_table_is_the_error_of_the_records_for_each_benchmark() {
    let folder = tempfile::tempdir().unwrap();
    let questions = both(folder.path(), 12);
    let arms = arms();
    let run = run(&questions, &arms);
    let records = run.execute(&Eye, &folder.path().join("records.jsonl")).unwrap();
    let shown = report(&records);
    let table = shown.table_named("calibration").unwrap();
    for (benchmark, metric) in [
        (Benchmark::Pope, "pope calibration error"),
        (Benchmark::Mme, "mme calibration error"),
    ] {
        for (arm, budget) in [("full", "all"), ("oracle-drop", "4"), ("uniform-grid", "8")] {
            let own = records
                .iter()
                .filter(|r| r.benchmark == benchmark && r.arm == arm && r.budget == budget);
            let pairs: Vec<(f64, bool)> = own
                .map(|record| (record.probability.unwrap(), record.score == 1.0))
                .collect();
            let wanted = 100.0 * ece(pairs.iter().copied(), ECE_BINS);
            let row = shown.row_named("calibration", arm, budget, metric).unwrap();
            assert!((row.value - wanted).abs() < 1e-9, "{row:?} {wanted}");
            assert!(wanted > 1.0 && row.lo <= row.value && row.value <= row.hi && row.lo < row.hi);
            assert_eq!((row.n, pairs.len()), (12, 12));
        }
    }
    assert!(
        table
            .rows
            .iter()
            .all(|row| row.metric.benchmark() != Some(Benchmark::Gqa))
    );
    assert!(shown.to_markdown().contains("mme calibration error"));
}

#[test]
fn a_resumed_run_has_the_same_bytes_and_older_records_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let questions = both(folder.path(), 4);
    let arms = arms();
    let run = run(&questions, &arms);
    let file = folder.path().join("records.jsonl");
    let records = run.execute(&Eye, &file).unwrap();
    let bytes = fs::read(&file).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    for cut in [text.find('\n').unwrap() + 1, bytes.len() / 3, bytes.len() - 9] {
        fs::write(&file, &bytes[..cut]).unwrap();
        assert_eq!(run.execute(&Eye, &file).unwrap(), records);
        assert!(fs::read(&file).unwrap() == bytes, "cut at byte {cut}");
    }
    // A file from before probabilities were measured.
    let without = |line: &str| match line.split_once(",\"probability\":") {
        Some((before, _)) => format!("{before}}}\n"),
        None => format!("{line}\n"),
    };
    let old: String = text.lines().map(without).collect();
    assert!(!old.contains("probability") && old.len() < text.len());
    fs::write(&file, &old).unwrap();
    let bare = |record: &Record| Record {
        probability: None,
        ..record.clone()
    };
    let wanted: Vec<Record> = records.iter().map(bare).collect();
    assert_eq!(run.execute(&Eye, &file).unwrap(), wanted);
    assert_eq!(RecordFile::read(&file).unwrap().len(), wanted.len());
    assert!(report(&wanted).table_named("calibration").is_none());
}

#[test]
fn records_hold_what_was_said_and_what_was_offered() {
    let folder = tempfile::tempdir().unwrap();
    let mut questions = world(folder.path(), 4);
    // Asked how many, the model says a number, which lmms-eval takes for neither and LLaVA for yes.
    questions[0].text = "how many red".into();
    for question in questions
        .iter_mut()
        .filter(|question| question.benchmark == Benchmark::Gqa)
    {
        question.benchmark = Benchmark::VqaV2;
        let Reference::Exact(count) = question.reference.clone() else {
            panic!("one string")
        };
        question.reference = Reference::TenAnswers([vec![count; 9], vec!["many".into()]].concat());
    }
    let arms = [Arm::full()];
    for protocol in [Protocol::Llava, Protocol::LmmsEval] {
        let times = RunTimes::default();
        let mut run = run(&questions, &arms);
        run.options.protocols = protocol.into();
        run.options.times = Some(times.clone());
        let file = folder.path().join(format!("{}.jsonl", protocol.name()));
        let records = run.execute(&Eye, &file).unwrap();
        assert_eq!(records, RecordFile::read(&file).unwrap());
        let llava = protocol == Protocol::Llava;
        for record in &records {
            let is_pope = record.benchmark == Benchmark::Pope;
            assert_eq!(record.options, is_pope.then_some(2));
            assert_eq!(record.lmms.is_some(), !is_pope && llava, "{record:?}");
            assert_eq!((record.said.is_some(), &record.layers), (is_pope, &None));
        }
        let said: Vec<Option<YesNoAnswer>> = records
            .iter()
            .filter_map(|record| record.said.map(Some))
            .collect();
        let first = if llava {
            YesNoAnswer::Yes
        } else {
            YesNoAnswer::Other
        };
        assert_eq!(
            said,
            [first, YesNoAnswer::Yes, YesNoAnswer::Yes, YesNoAnswer::Yes].map(Some)
        );
        // Who asks for times gets them; a run that is complete has none.
        let medians = times.medians();
        assert_eq!(
            (medians.len(), medians[0].arm.as_str(), medians[0].prompts),
            (1, "full", 8)
        );
        assert!(medians[0].encode_ms.is_some() && medians[0].prefill_ms > 0.0);
        let again = RunTimes::default();
        run.options.times = Some(again.clone());
        assert_eq!(run.execute(&Eye, &file).unwrap(), records);
        assert!(again.medians().is_empty());
    }
}
