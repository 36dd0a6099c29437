//! Reports from records that are made by hand: every number can be computed on paper.

use std::fs;

use diffprune_eval::{
    Benchmark, Bootstrap, CostOptions, Counting, EvalError, Figure, Figures, Format, Meta, ModelShape,
    Record, Report, ReportOptions, Schedule, StageTimer, TimingContext, Verdict, YesNoAnswer, kv_bytes,
    prefill_flops,
};
use serde_json::Value;

use super::by_name::ByName;

/// The answer of an arm to question `id` about picture `id / 2`.
pub fn record(arm: &str, budget: &str, benchmark: Benchmark, id: usize, score: f64) -> Record {
    let kept = budget.parse().unwrap_or(576);
    Record {
        arm: arm.into(),
        budget: budget.into(),
        seed: 0,
        question: id.to_string(),
        benchmark,
        subset: "all".into(),
        kind: "all".into(),
        group: None,
        image: format!("{}.png", id / 2),
        kept,
        total: 576,
        answer: if score == 1.0 { "right" } else { "wrong" }.into(),
        score,
        label: None,
        said: None,
        options: None,
        lmms: None,
        layers: None,
        probability: None,
    }
}

/// Answers of an arm to twenty questions of GQA, right where `right` says so.
fn gqa(arm: &str, budget: &str, right: impl Fn(usize) -> bool) -> Vec<Record> {
    (0..20)
        .map(|id| record(arm, budget, Benchmark::Gqa, id, f64::from(right(id))))
        .collect()
}

fn options() -> ReportOptions {
    ReportOptions::default().with_bootstrap(Bootstrap::new(500, 0))
}

fn report(records: &[Record], options: &ReportOptions) -> Report {
    Report::from_records(records, Meta::default(), options).unwrap()
}

fn value(report: &Report, table: &str, arm: &str, budget: &str, metric: &str) -> f64 {
    match report.row_named(table, arm, budget, metric) {
        Some(row) => row.value,
        None => panic!("no {arm} {budget} {metric} in {table}"),
    }
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-9, "found {found}, expected {wanted}");
}

/// The unpruned model has 16 of 20, the method loses 2 and gains 1, random loses 9 and gains 1.
fn three_arms() -> Vec<Record> {
    let full = |id: usize| id < 16;
    [
        gqa("full", "all", full),
        gqa("diffprune", "64", |id| (2..17).contains(&id)),
        gqa("random", "64", |id| (9..17).contains(&id)),
    ]
    .concat()
}

#[test]
fn flips_loyalty_and_tests_are_counted() {
    let report = report(&three_arms(), &options());
    let of = |arm: &str, metric: &str| value(&report, "agreement", arm, "64", metric);
    near(of("diffprune", "right to wrong"), 10.0);
    near(of("diffprune", "wrong to right"), 5.0);
    near(of("diffprune", "loyalty"), 85.0);
    near(of("random", "right to wrong"), 45.0);
    near(of("random", "loyalty"), 50.0);
    let differences = &report.table_named("differences").unwrap().rows;
    let test = |arm: &str| {
        let row = differences.iter().find(|row| row.arm == arm).unwrap();
        (row.verdict.unwrap().compared(), row.test.unwrap())
    };
    let (verdict, against_full) = test("diffprune - full");
    assert_eq!(
        (verdict, against_full.mcnemar.wins, against_full.mcnemar.losses),
        ("tie", 1, 2)
    );
    let (verdict, against_random) = test("diffprune - random");
    assert_eq!(
        (
            verdict,
            against_random.mcnemar.wins,
            against_random.mcnemar.losses
        ),
        ("better", 7, 0)
    );
    near(against_random.mcnemar.p, 2.0 / 128.0);
    // Two rivals at one budget: the smaller p counts twice, the larger is not below it.
    near(against_random.p_holm, 4.0 / 128.0);
    near(against_full.p_holm, 1.0);
}

#[test]
fn tests_take_the_first_seed_and_numbers_the_mean_of_all() {
    let mut records = three_arms();
    let second: Vec<Record> = gqa("random", "64", |id| id < 4)
        .into_iter()
        .map(|record| Record { seed: 7, ..record })
        .collect();
    records.extend(second);
    let report = report(&records, &options());
    near(
        value(&report, "main", "random", "64", "average"),
        100.0 * (8.0 + 4.0) / 40.0,
    );
    // Of 20 questions: the first seed agrees in 10, the second in 8.
    near(value(&report, "agreement", "random", "64", "loyalty"), 45.0);
    let rows = &report.table_named("differences").unwrap().rows;
    let row = rows.iter().find(|row| row.arm == "diffprune - random").unwrap();
    assert_eq!(
        (row.test.unwrap().mcnemar.wins, row.test.unwrap().mcnemar.losses),
        (7, 0)
    );
}

#[test]
fn easy_questions_are_those_of_the_downsampled_picture() {
    let mut records = three_arms();
    records.extend(gqa("downsampled-image", "64", |id| id % 4 == 0));
    let report = report(&records, &options());
    let row = |arm: &str, metric: &str| report.row_named("vtc", arm, "64", metric).unwrap();
    // Easy are 0, 4, 8, 12, 16; the method has 4, 8, 12 and 16 of them and 15 in all.
    near(row("diffprune", "easy").value, 80.0);
    near(row("diffprune", "hard").value, 100.0 * 11.0 / 15.0);
    near(row("full", "easy").value, 80.0);
    assert_eq!((row("random", "easy").n, row("random", "hard").n), (5, 15));
    assert!(
        report
            .row_named("vtc", "downsampled-image", "64", "easy")
            .is_none()
    );
}

#[test]
fn confidences_are_compared_with_success() {
    let mut records = three_arms();
    for record in records.iter_mut().filter(|record| record.arm == "diffprune") {
        record.probability = Some(0.9);
    }
    let report = report(&records, &options());
    near(
        value(&report, "calibration", "diffprune", "64", "gqa calibration error"),
        15.0,
    );
    assert_eq!(report.table_named("calibration").unwrap().rows.len(), 1);
}

/// Two benchmarks, of which `random` has one only.
fn ragged() -> Vec<Record> {
    let textvqa = |arm: &str, budget: &str, score: f64| -> Vec<Record> {
        (0..10)
            .map(|id| record(arm, budget, Benchmark::TextVqa, id, score))
            .collect()
    };
    [
        three_arms(),
        textvqa("full", "all", 0.6),
        textvqa("diffprune", "64", 0.3),
    ]
    .concat()
}

#[test]
fn holes_leave_common_means_alone() {
    let (whole, holed) = (report(&three_arms(), &options()), report(&ragged(), &options()));
    for (arm, budget) in [("full", "all"), ("diffprune", "64"), ("random", "64")] {
        for metric in ["average", "retention"] {
            let of = |report: &Report| value(report, "main", arm, budget, metric);
            near(of(&holed), of(&whole));
        }
    }
    assert!(whole.row_named("main", "full", "all", "ragged average").is_none());
    near(value(&holed, "main", "full", "all", "ragged average"), 70.0);
    near(value(&holed, "main", "diffprune", "64", "ragged average"), 52.5);
    near(value(&holed, "main", "random", "64", "ragged average"), 40.0);
    near(
        value(&holed, "main", "diffprune", "64", "ragged retention"),
        50.0 * (75.0 / 80.0 + 0.5),
    );
    near(value(&holed, "main", "random", "64", "ragged retention"), 50.0);
    assert_eq!(
        holed
            .row_named("main", "random", "64", "ragged average")
            .unwrap()
            .n,
        20
    );
    assert_eq!(
        holed
            .row_named("main", "full", "all", "ragged average")
            .unwrap()
            .n,
        30
    );
    assert!(
        holed
            .row_named("benchmarks", "random", "64", "textvqa accuracy")
            .is_none()
    );
    assert_eq!(
        holed.meta.note, "",
        "an arm without a benchmark leaves out no question"
    );
    // Scores between right and wrong are no matter for a test of right and wrong.
    let row = holed
        .table_named("differences")
        .unwrap()
        .rows
        .iter()
        .find(|row| row.arm == "diffprune - full");
    assert_eq!(row.unwrap().test.unwrap().mcnemar.losses, 2);
}

#[test]
fn chance_is_data() {
    let mut options = options();
    let records = three_arms();
    let corrected = |options: &ReportOptions, arm: &str| {
        value(
            &report(&records, options),
            "adjusted",
            arm,
            "64",
            "chance-corrected retention",
        )
    };
    near(corrected(&options, "random"), 50.0);
    options.chance.0.insert("gqa".into(), 40.0);
    near(corrected(&options, "random"), 0.0);
    near(corrected(&options, "diffprune"), 100.0 * 35.0 / 40.0);
}

/// Answers to ten groups of two questions, each about one picture, in two parts; `right` sees group and member.
fn grouped(
    arm: &str,
    budget: &str,
    benchmark: Benchmark,
    right: impl Fn(usize, usize) -> bool,
) -> Vec<Record> {
    let answer = |id: usize| {
        let (group, member) = (id / 2, id % 2);
        let part = ["a", "b"][group / 6];
        Record {
            subset: part.into(),
            kind: part.into(),
            group: Some(format!("group {group}")),
            ..record(arm, budget, benchmark, id, f64::from(right(group, member)))
        }
    };
    (0..20).map(answer).collect()
}

#[test]
fn groups_count_as_their_benchmarks_say() {
    // The method has the first question of every group and the second of the groups 0 to 3 and 6.
    let method = |group: usize, member: usize| member == 0 || group < 4 || group == 6;
    for benchmark in [Benchmark::MmBench, Benchmark::Mme] {
        let mut records = grouped("full", "all", benchmark, |_, _| true);
        records.extend(grouped("diffprune", "64", benchmark, method));
        let shown = report(&records, &options());
        let of = |table: &str, metric: &str| value(&shown, table, "diffprune", "64", metric);
        let (number, percent) = match benchmark {
            // Five of ten groups.
            Benchmark::MmBench => (50.0, 50.0),
            // Parts of six and of four groups: ten of twelve answers and four of six pairs, five of eight and one of four.
            _ => {
                let points = 100.0 * (10.0 / 12.0 + 4.0 / 6.0 + 5.0 / 8.0 + 1.0 / 4.0);
                (points, points / 4.0)
            }
        };
        near(of("benchmarks", benchmark.metric()), number);
        near(of("main", "average"), percent);
        near(of("main", "retention"), percent);
        // The test takes a group for one question where the benchmark does.
        let rows = &shown.table_named("differences").unwrap().rows;
        assert_eq!(rows[0].test.unwrap().mcnemar.losses, 5);
        // Without one answer, its whole group is gone.
        let last = records.pop().unwrap();
        assert_eq!(last.group.as_deref(), Some("group 9"));
        let shown = report(&records, &options());
        assert_eq!(shown.row_named("main", "full", "all", "average").unwrap().n, 18);
        assert!(shown.meta.note.contains("2 questions"));
    }
}

fn priced() -> ReportOptions {
    options().with_cost(ModelShape::preset("llava-1.5-7b").map(CostOptions::new))
}

#[test]
fn cost_is_that_of_the_tokens_recorded() {
    let report = report(&three_arms(), &priced());
    let shape = ModelShape::preset("llava-1.5-7b").unwrap();
    for (arm, budget, kept) in [("full", "all", 576), ("diffprune", "64", 64)] {
        let schedule = Schedule::uniform(32, kept + 97);
        let of = |metric: &str| value(&report, "cost", arm, budget, metric);
        near(
            of("prefill GFLOPs"),
            prefill_flops(&shape, &schedule, Counting::FULL) / 1e9,
        );
        near(
            of("profiler GFLOPs"),
            prefill_flops(&shape, &schedule, Counting::PROFILER) / 1e9,
        );
        near(of("cache MB"), kv_bytes(&shape, &schedule, 2) / 1e6);
    }
}

/// The plots of a report by name.
fn drawn(records: &[Record]) -> Vec<(String, String)> {
    let plots = report(records, &priced()).plots().unwrap();
    plots
        .into_iter()
        .map(|plot| (plot.name, plot.title + &plot.svg))
        .collect()
}

#[test]
fn one_budget_is_ranked_and_several_are_lines() {
    let one = drawn(&three_arms());
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"ranked-64") && names.contains(&"benchmarks-64"),
        "{names:?}"
    );
    assert!(
        !names.contains(&"retention") && !names.contains(&"cost"),
        "{names:?}"
    );
    let ranked = &one.iter().find(|(name, _)| name == "ranked-64").unwrap().1;
    assert!(
        ranked.starts_with("At 64 tokens (64 of 576) diffprune keeps 93.8 % of the unpruned score; 0 of 1 other rows are above it"),
        "{ranked}"
    );
    let more = gqa("diffprune", "128", |id| (1..17).contains(&id));
    let two = drawn(&[three_arms(), more].concat());
    let of = |name: &str| &two.iter().find(|plot| plot.0 == name).unwrap().1;
    assert!(of("retention").contains("of 576") && of("retention").contains("diffprune 93.8"));
    assert!(of("cost").contains("GFLOPs") && of("cost").contains("unpruned"));
}

#[test]
fn arms_that_choose_the_same_tokens_are_one_row() {
    let pope = |arm: &str, shift: f64| -> Vec<Record> {
        let answer = |id: usize| Record {
            label: Some(true),
            said: Some(YesNoAnswer::Yes),
            probability: Some(0.5 + shift + id as f64 / 100.0),
            ..record(arm, "64", Benchmark::Pope, id, 1.0)
        };
        (0..8).map(answer).collect()
    };
    let shown = report(
        &[pope("hired", 0.0), pope("fastervlm", 0.0), pope("random", 1e-12)].concat(),
        &options(),
    );
    assert_eq!(shown.equal, [["fastervlm", "hired"]]);
    let page = shown.to_markdown();
    assert!(
        page.contains("| fastervlm = hired | ")
            && page.contains("| random | ")
            && !page.contains("| hired | ")
    );
    assert!(
        shown.row_named("main", "hired", "64", "average").is_some(),
        "numbers stay"
    );
    let read: Report = serde_json::from_str(&shown.to_json().unwrap()).unwrap();
    assert_eq!(read.to_markdown(), page);
}

#[test]
fn the_papers_layout_has_the_best_in_bold() {
    let shown = report(&three_arms(), &options());
    let sheet = shown.budget_sheet("64");
    assert_eq!(sheet.header[..3], ["arm", "kept", "gqa accuracy"]);
    let rows: Vec<&str> = sheet.rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(rows, ["full", "diffprune", "random"]);
    assert!(
        sheet.strong.contains(&(1, 2)) && !sheet.strong.contains(&(0, 2)),
        "{sheet:?}"
    );
    let tex = shown.papers_table("one");
    assert!(
        tex.contains("\\textit{64 tokens}")
            && tex.contains("\\textbf{75.0}")
            && tex.contains("\\label{tab:one}")
    );
}

#[test]
fn every_format_shows_the_same_number() {
    let mut report = report(&three_arms(), &priced());
    let timer = StageTimer::new(TimingContext::new("f32", "fused_path", "cpu & co", 1));
    report.timings = timer
        .measure(|| Ok(()), |lap| lap.stage("encode", || ()))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let figures = Figures {
        legend: "what is kept".into(),
        figures: vec![Figure {
            title: "1-random".into(),
            path: "pictures/1.png".into(),
            png: vec![1, 2, 3],
        }],
    };
    let files = report.write_as(folder.path(), &Format::ALL, &figures).unwrap();
    assert!(files.iter().any(|file| file.ends_with("ranked-64.svg")));
    let text = |ending: &str| fs::read_to_string(folder.path().join(format!("report.{ending}"))).unwrap();
    let row = report.row_named("main", "diffprune", "64", "retention").unwrap();
    let shown = format!("{:.1} [{:.1}, {:.1}]", row.value, row.lo, row.hi);
    assert!(text("md").contains(&shown) && text("html").contains(&shown));
    assert!(text("tex").contains(&shown.replace('[', "{[}").replace(']', "{]}")));
    let line = format!(
        "main,diffprune,64,retention,{},{},{},20,",
        row.value, row.lo, row.hi
    );
    assert!(text("csv").contains(&line), "{line}");
    let mut read = Report::read(&folder.path().join("report.json")).unwrap();
    // Times differ from run to run, and the reader of JSON may miss their last bit.
    let (found, wanted) = (std::mem::take(&mut read.timings), report.timings.clone());
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!((&found.stage, &found.context), (&wanted.stage, &wanted.context));
        near(found.median_ms, wanted.median_ms);
        near(found.q3_ms, wanted.q3_ms);
    }
    let untimed = Report {
        timings: Vec::new(),
        ..report.clone()
    };
    assert_eq!(read, untimed);
    // Circumstances of times are everywhere; LaTeX and CSV are well formed.
    for ending in ["md", "html", "tex", "csv"] {
        let text = text(ending);
        assert!(text.contains("f32") && text.contains("co"), "{ending}");
    }
    let tex = text("tex");
    assert!(tex.contains("cpu \\& co") && tex.contains("fused\\_path"));
    for rule in [
        "\\toprule",
        "\\midrule",
        "\\bottomrule",
        "\\begin{tabular}",
        "\\end{tabular}",
    ] {
        // The papers' layout has a rule around the name of each budget.
        let more = usize::from(rule == "\\midrule");
        assert_eq!(
            tex.matches(rule).count(),
            tex.matches("\\begin{table*}").count() + more,
            "{rule}"
        );
    }
    let csv = text("csv");
    let fields = |line: &str| {
        line.split('"')
            .step_by(2)
            .map(|part| part.matches(',').count())
            .sum::<usize>()
    };
    let wanted = fields(csv.lines().next().unwrap());
    assert!(csv.lines().count() > 30 && csv.lines().all(|line| fields(line) == wanted));
    // The page needs no other file; Markdown links it.
    let html = text("html");
    assert!(html.contains("src=\"data:image/png;base64,AQID\"") && html.matches("src=").count() == 1);
    assert!(html.matches("<svg").count() >= 2);
    assert_eq!(html.matches("href=").count(), html.matches("href=\"#").count());
    assert!(text("md").contains("![1-random](pictures/1.png)"));
    // Fewer formats write fewer files.
    let few = tempfile::tempdir().unwrap();
    let files = report.write_as(few.path(), &[Format::Csv], &figures).unwrap();
    assert_eq!(files, [few.path().join("report.csv")]);
}

#[test]
fn reports_of_earlier_versions_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let mut old: Value = serde_json::from_str(&report(&three_arms(), &options()).to_json().unwrap()).unwrap();
    for table in old["tables"].as_array_mut().unwrap() {
        for row in table["rows"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("test");
        }
    }
    old["meta"].as_object_mut().unwrap().remove("note");
    fs::write(&path, old.to_string()).unwrap();
    assert!(
        Report::read(&path)
            .unwrap()
            .to_markdown()
            .contains("| diffprune - random |")
    );
    let settings = serde_json::json!({"method": "mine", "full": "all of it"});
    let options: ReportOptions = serde_json::from_value(settings).unwrap();
    assert_eq!(
        (options.method.as_str(), options.text_only.as_str()),
        ("mine", "text-only")
    );
}

#[test]
fn two_runs_are_paired_over_what_both_asked() {
    let (a, b) = (three_arms(), three_arms());
    let compare =
        |a: &[Record], b: &[Record]| Report::compare(["A", "B"], [a, b], Meta::default(), &options());
    let same = compare(&a, &b).unwrap();
    for row in &same.table_named("comparison").unwrap().rows {
        assert_eq!((row.value, row.verdict), (0.0, Some(Verdict::Tie)), "{row:?}");
        assert_eq!(row.test.unwrap().mcnemar.p, 1.0);
    }
    // B has twelve questions, another arm, and no random arm.
    let mut b: Vec<Record> = [gqa("full", "all", |id| id < 6), gqa("diffprune", "64", |_| true)].concat();
    b.retain(|record| record.question.parse::<usize>().unwrap() < 12);
    b.extend(gqa("own", "64", |_| true));
    let report = compare(&a, &b).unwrap();
    let row = |arm: &str, metric: &str| {
        let rows = &report.table_named("comparison").unwrap().rows;
        rows.iter()
            .find(|row| row.arm == arm && row.metric.to_string() == metric)
            .unwrap()
            .clone()
    };
    assert_eq!(report.table_named("comparison").unwrap().rows.len(), 4);
    let full = row("full", "gqa accuracy");
    near(full.value, 50.0);
    assert_eq!(
        (full.n, full.verdict, full.test.unwrap().mcnemar.wins),
        (12, Some(Verdict::Holds), 6)
    );
    near(row("diffprune", "average").value, -100.0 * 2.0 / 12.0);
    // Two arms of one metric: Holm.
    let p = full.test.unwrap();
    near(p.p_holm, 2.0 * p.mcnemar.p);
    assert!(report.meta.note.contains("8 questions"));
    assert!(report.to_text().contains("A minus B") && report.to_markdown().contains("| better |"));
    let swapped = compare(&b, &a).unwrap();
    near(
        swapped
            .row_named("comparison", "full", "all", "average")
            .unwrap()
            .value,
        -50.0,
    );
    // What cannot be compared is refused.
    let refused = |a: &[Record], b: &[Record], named: &str| {
        let error = compare(a, b).unwrap_err();
        assert!(
            matches!(error, EvalError::Setup { .. }) && error.to_string().contains(named),
            "{error}"
        );
    };
    refused(&a, &gqa("other", "64", |_| true), "no arm");
    let mut moved = b.clone();
    moved[3].image = "elsewhere.png".into();
    refused(&a, &moved, "elsewhere.png");
    let textvqa: Vec<Record> = (0..4)
        .map(|id| record("full", "all", Benchmark::TextVqa, id, 1.0))
        .collect();
    refused(&a, &textvqa, "no benchmark of both");
    let twins = Report::compare(["A", "A"], [&a, &a], Meta::default(), &options());
    assert!(twins.unwrap_err().to_string().contains("one name twice"));
}

#[test]
fn the_best_run_stands_first() {
    let runs = [
        ("small".to_string(), ragged()),
        (
            "large".to_string(),
            [
                gqa("full", "all", |id| id < 19),
                gqa("diffprune", "64", |id| id < 18),
            ]
            .concat(),
        ),
    ];
    let board = Report::leaderboard(&runs, Meta::default(), &options()).unwrap();
    let table = board.table_named("leaderboard").unwrap();
    let mut arms: Vec<&str> = table.rows.iter().map(|row| row.arm.as_str()).collect();
    arms.dedup();
    let wanted = [
        "large: full",
        "large: diffprune",
        "small: full",
        "small: diffprune",
        "small: random",
    ];
    assert_eq!(arms, wanted);
    let of = |arm: &str, budget: &str, metric: &str| value(&board, "leaderboard", arm, budget, metric);
    near(of("small: full", "all", "common mean"), 80.0);
    near(of("small: full", "all", "ragged mean"), 70.0);
    near(of("large: diffprune", "64", "retention"), 100.0 * 18.0 / 19.0);
    near(of("small: random", "64", "kept tokens"), 64.0);
    assert!(table.title.contains("gqa") && !table.title.contains("textvqa"));
    // Twenty questions do not tell 95 % from 90 %, nor from 80 and 75; but from 40 %.
    for line in [
        "| 1= | large: full | all |",
        "| 1= | large: diffprune | 64 |",
        "| 5 | small: random | 64 |",
    ] {
        assert!(
            board.to_markdown().contains(line),
            "{line}: {}",
            board.to_markdown()
        );
    }
    assert!(!board.meta.note.contains("same questions"), "{}", board.meta.note);
    let mut fewer = runs.to_vec();
    fewer[1].1.retain(|record| record.question != "7");
    let told = Report::leaderboard(&fewer, Meta::default(), &options()).unwrap();
    let wanted = "not asked the same questions of gqa (small 20, large 19)";
    assert!(told.meta.note.contains(wanted), "{}", told.meta.note);
    let source = board
        .data
        .iter()
        .find(|source| source.benchmark == Benchmark::TextVqa);
    assert_eq!(source.unwrap().run.as_deref(), Some("small"));
    assert!(
        board
            .row_named("leaderboard", "small: random", "64", "textvqa accuracy")
            .is_none()
    );
    // The order of the runs does not matter.
    let turned: Vec<_> = runs.iter().rev().cloned().collect();
    let again = Report::leaderboard(&turned, Meta::default(), &options()).unwrap();
    assert_eq!(again.tables, board.tables);
    assert!(Report::leaderboard(&[("none".into(), Vec::new())], Meta::default(), &options()).is_err());
}

#[test]
fn the_order_of_records_and_copies_of_them_do_not_matter() {
    let records = ragged();
    let mut turned: Vec<Record> = records.iter().rev().cloned().collect();
    turned.extend(records[..5].to_vec());
    assert_eq!(
        report(&records, &priced()).to_json().unwrap(),
        report(&turned, &priced()).to_json().unwrap()
    );
}

/// MME with five subtasks of four pictures, two questions about each; `right` sees picture (0 to 19) and question.
fn five_subtasks(arm: &str, budget: &str, right: impl Fn(usize, usize) -> bool) -> Vec<Record> {
    let answer = |id: usize| {
        let (picture, nth) = (id / 2, id % 2);
        let part = ["existence", "count", "position", "color", "code_reasoning"][picture / 4];
        Record {
            subset: part.into(),
            kind: part.into(),
            group: Some(picture.to_string()),
            ..record(arm, budget, Benchmark::Mme, id, f64::from(right(picture, nth)))
        }
    };
    (0..40).map(answer).collect()
}

#[test]
fn chance_is_that_of_the_questions_asked() {
    // Of each subtask's pictures one has both answers right, two have one: what a coin has.
    let coin = |picture: usize, nth: usize| match picture % 4 {
        0 => true,
        1 | 2 => nth == 0,
        _ => false,
    };
    let mut records = five_subtasks("full", "all", |_, _| true);
    records.extend(five_subtasks("diffprune", "64", coin));
    let shown = report(&records, &options());
    near(
        value(&shown, "benchmarks", "diffprune", "64", "mme points"),
        375.0,
    );
    let corrected = |report: &Report, arm: &str, budget: &str| {
        value(report, "adjusted", arm, budget, "chance-corrected retention")
    };
    near(corrected(&shown, "full", "all"), 100.0);
    near(corrected(&shown, "diffprune", "64"), 0.0);
    let source = &shown.data[0];
    assert_eq!(
        (source.questions, source.published, source.pictures),
        (40, 2374, 20)
    );
    near(source.chance, 375.0);
    let page = shown.to_markdown();
    assert!(
        page.contains("| mme | all 14 subtasks | all 14 subtasks | 40 | 2374 | 20 | 375.0 |"),
        "{page}"
    );
    // Four of the five are perception.
    near(
        value(&shown, "secondary", "diffprune", "64", "mme perception points"),
        300.0,
    );
    near(
        value(&shown, "secondary", "diffprune", "64", "mme cognition points"),
        75.0,
    );

    // ScienceQA: two and four choices in turn, 37.5 %; without their number what is published.
    let scienceqa = |arm: &str, budget: &str, share: usize| -> Vec<Record> {
        let answer = |id: usize| Record {
            options: Some(if id.is_multiple_of(2) { 2 } else { 4 }),
            ..record(arm, budget, Benchmark::ScienceQa, id, f64::from(id < share))
        };
        (0..40).map(answer).collect()
    };
    let mut records = scienceqa("full", "all", 40);
    records.extend(scienceqa("diffprune", "64", 15));
    near(corrected(&report(&records, &options()), "diffprune", "64"), 0.0);
    records[3].options = None;
    let unknown = report(&records, &options());
    near(unknown.data[0].chance, 40.08);
    near(
        corrected(&unknown, "diffprune", "64"),
        100.0 * (37.5 - 40.08) / (100.0 - 40.08),
    );
    // A level that somebody sets counts before both.
    let mut options = options();
    options.chance.0.insert("scienceqa".into(), 0.0);
    near(corrected(&report(&records, &options), "diffprune", "64"), 37.5);
}

#[test]
fn no_resample_misses_a_part() {
    // Every picture of a subtask has the same answers, so that nothing varies but how often subtasks are drawn.
    let mut records = five_subtasks("full", "all", |_, _| true);
    records.extend(five_subtasks("diffprune", "64", |picture, nth| {
        picture < 8 || (picture < 12 && nth == 0)
    }));
    let shown = report(&records, &options());
    for (arm, budget, points) in [("full", "all", 1000.0), ("diffprune", "64", 450.0)] {
        let row = shown.row_named("benchmarks", arm, budget, "mme points").unwrap();
        near(row.value, points);
        assert_eq!((row.lo, row.hi), (row.value, row.value), "{arm}");
    }
    // POPE: one split is right, the other wrong, and no picture is in both.
    let pope = |id: usize| Record {
        subset: ["random", "popular"][id / 10].into(),
        label: Some(id.is_multiple_of(2)),
        ..record("full", "all", Benchmark::Pope, id, f64::from(id < 10))
    };
    let records: Vec<Record> = (0..20).map(pope).collect();
    let shown = report(&records, &options());
    let row = shown
        .row_named("benchmarks", "full", "all", "pope mean F1")
        .unwrap();
    assert_eq!((row.value, row.lo, row.hi), (50.0, 50.0, 50.0));
}

#[test]
fn answers_that_say_neither_are_left_out_of_precision_and_recall() {
    use YesNoAnswer::{No, Other, Yes};
    // Two splits: 2 right of 2 said yes, one no wrong, one other; 1 right of 2 said yes, two others.
    let answers = [
        ("random", true, Yes),
        ("random", true, Yes),
        ("random", true, No),
        ("random", false, Other),
        ("popular", true, Yes),
        ("popular", false, Yes),
        ("popular", true, Other),
        ("popular", false, Other),
    ];
    let answer = |(id, (subset, label, said)): (usize, (&str, bool, YesNoAnswer))| Record {
        subset: subset.into(),
        label: Some(label),
        said: Some(said),
        ..record(
            "full",
            "all",
            Benchmark::Pope,
            id,
            f64::from(said == Some(label).into()),
        )
    };
    let mut records: Vec<Record> = answers.into_iter().enumerate().map(answer).collect();
    let of = |report: &Report, metric: &str| value(report, "secondary", "full", "all", metric);
    let shown = report(&records, &options());
    near(of(&shown, "pope accuracy"), 100.0 * (2.0 / 4.0 + 1.0 / 4.0) / 2.0);
    near(of(&shown, "pope precision"), 100.0 * (1.0 + 0.5) / 2.0);
    near(of(&shown, "pope recall"), 100.0 * (2.0 / 3.0 + 1.0) / 2.0);
    near(of(&shown, "pope yes ratio"), 100.0 * (2.0 / 3.0 + 1.0) / 2.0);
    near(of(&shown, "pope yes ratio of the labels"), 100.0 * 5.0 / 8.0);
    near(
        value(&shown, "benchmarks", "full", "all", "pope mean F1"),
        100.0 * (0.8 + 2.0 / 3.0) / 2.0,
    );
    // Pooled: 3 of 4, and 3 of 4.
    near(of(&shown, "pope pooled F1"), 75.0);
    // Records that do not know what was said take a wrong answer for the opposite: three yes of five, four of seven.
    records.iter_mut().for_each(|record| record.said = None);
    let shown = report(&records, &options());
    near(
        of(&shown, "pope precision"),
        100.0 * (2.0 / 3.0 + 1.0 / 3.0) / 2.0,
    );
}

#[test]
fn other_numbers_stand_beside_the_known_one() {
    let seed = |id: usize| Record {
        subset: ["image", "video"][id / 15].into(),
        ..record("full", "all", Benchmark::SeedBench, id, f64::from(id < 12))
    };
    let vqav2 = |id: usize| Record {
        lmms: Some(0.3),
        ..record("full", "all", Benchmark::VqaV2, id, 0.6)
    };
    let mmbench = grouped("full", "all", Benchmark::MmBench, |_, member| member == 0);
    let records: Vec<Record> = (0..20)
        .map(seed)
        .chain((0..20).map(vqav2))
        .chain(mmbench)
        .collect();
    let shown = report(&records, &options());
    let row = |metric: &str| shown.row_named("secondary", "full", "all", metric).unwrap();
    near(row("seed_bench image accuracy").value, 80.0);
    near(row("seed_bench video accuracy").value, 0.0);
    assert_eq!(
        (
            row("seed_bench image accuracy").n,
            row("seed_bench video accuracy").n
        ),
        (15, 5)
    );
    near(row("vqav2 accuracy by lmms-eval").value, 30.0);
    near(row("mmbench plain accuracy").value, 50.0);
    near(
        value(&shown, "benchmarks", "full", "all", "mmbench circular accuracy"),
        0.0,
    );
    // What is not the papers' split says so wherever it is shown.
    let page = shown.to_markdown();
    let told = "paper's split test-dev (server), here val2014";
    assert!(
        page.contains("vqav2 accuracy*") && page.matches(told).count() == 1,
        "{page}"
    );
    assert!(
        page.contains("| vqav2 | test-dev (server) | val2014 | 20 | 214354 | 10 | 0.0 |"),
        "{page}"
    );
    assert!(
        shown.to_text().contains(told) && shown.to_csv().contains("data,vqav2,val2014,test-dev (server),20")
    );
    assert!(
        page.contains("seed_bench image accuracy | seed_bench video accuracy |"),
        "{page}"
    );
}

#[test]
fn the_ablations_mean_has_a_column() {
    let pope = |arm: &str, budget: &str, right: usize| -> Vec<Record> {
        let answer = |id: usize| Record {
            label: Some(true),
            ..record(arm, budget, Benchmark::Pope, id, f64::from(id < right))
        };
        (0..20).map(answer).collect()
    };
    let records = [
        gqa("full", "all", |_| true),
        gqa("diffprune", "64", |id| id < 10),
        pope("full", "all", 20),
        // Precision 1, recall 1/4.
        pope("diffprune", "64", 5),
        five_subtasks("full", "all", |_, _| true),
        five_subtasks("diffprune", "64", |picture, _| picture % 4 == 0),
        grouped("full", "all", Benchmark::MmBench, |_, _| true),
        grouped("diffprune", "64", Benchmark::MmBench, |group, _| group < 4),
    ]
    .concat();
    let shown = report(&records, &options());
    let of = |metric: &str| value(&shown, "secondary", "diffprune", "64", metric);
    // POPE 2 (1/4) / (5/4) = 0.4, MME 0.25, MMBench 0.4, GQA 0.5.
    near(
        of("retention of MMB, MME, POPE"),
        100.0 * (0.4 + 0.25 + 0.4) / 3.0,
    );
    near(
        of("retention of GQA, MMB, MME, POPE"),
        100.0 * (0.4 + 0.25 + 0.4 + 0.5) / 4.0,
    );
    assert!(shown.to_markdown().contains("| retention of MMB, MME, POPE |"));
    // Without one of them there is none.
    let without: Vec<Record> = records
        .into_iter()
        .filter(|record| record.benchmark != Benchmark::Mme)
        .collect();
    let shown = report(&without, &options());
    assert!(
        shown
            .row_named("secondary", "full", "all", "retention of MMB, MME, POPE")
            .is_none()
    );
}

#[test]
fn layers_have_their_own_price() {
    // FastV: two layers with everything, thirty with 64; 96 on average.
    let inside = |layers: Option<Vec<(usize, usize)>>| -> Vec<Record> {
        let mut records = three_arms();
        for record in records.iter_mut().filter(|record| record.arm == "diffprune") {
            record.kept = 96;
            record.layers = layers.clone();
        }
        records
    };
    let shape = ModelShape::preset("llava-1.5-7b").unwrap();
    let of = |records: &[Record], metric: &str| {
        value(&report(records, &priced()), "cost", "diffprune", "64", metric)
    };
    let records = inside(Some(vec![(2, 576), (30, 64)]));
    let schedule = Schedule::stages([(2, 576 + 97), (30, 64 + 97)]);
    near(
        of(&records, "prefill GFLOPs"),
        prefill_flops(&shape, &schedule, Counting::FULL) / 1e9,
    );
    near(of(&records, "cache MB"), kv_bytes(&shape, &schedule, 2) / 1e6);
    let uniform = of(&inside(None), "prefill GFLOPs");
    assert!(
        of(&records, "prefill GFLOPs") > uniform,
        "products between tokens grow with their square"
    );
    // The layers of another model are no price list.
    near(
        of(&inside(Some(vec![(2, 576), (3, 64)])), "prefill GFLOPs"),
        uniform,
    );
}
