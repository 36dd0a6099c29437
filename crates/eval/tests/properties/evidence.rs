//! Verdicts, intervals and p values: that they agree, and how often they are right on simulated truth.

use std::collections::BTreeMap;

use diffprune_eval::{
    Benchmark, Bootstrap, Claims, Contrast, EvidenceOptions, Family, Given, Meta, Metric, Record, RecordFile,
    Replicated, Report, ReportOptions, Statistic, Stratum, TableId, Tier, TierVerdict, Verdict, equivalence,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::reports::record;

/// Simulated data sets.
const SETS: u64 = 1500;

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// A family of comparisons with normal draws.
fn family(values: Vec<f64>, n_draws: usize, seed: u64) -> Family {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw = |rng: &mut ChaCha8Rng| {
        let shared = normal(rng);
        values.iter().map(|_| 0.7 * shared + 0.7 * normal(rng)).collect()
    };
    let deviations = (0..n_draws).map(|_| draw(&mut rng)).collect();
    Family {
        errors: vec![1.0; values.len()],
        values,
        deviations,
    }
}

/// One arm per column of `pictures`, with trainings whose values are off by a draw of their own.
struct World {
    /// Sums of the pictures: one column for each arm, and the count.
    strata: [Stratum; 1],
    /// Offset of each arm's trainings.
    offsets: Vec<Vec<f64>>,
}

impl World {
    /// Arms that are equal in truth: pictures of spread 1; the first arm has trainings of spread `between`, the others have none.
    fn equal(seed: u64, n_arms: usize, n_seeds: usize, between: f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sums = Vec::new();
        for _ in 0..60 {
            let shared = normal(&mut rng);
            sums.extend((0..n_arms).map(|_| shared + normal(&mut rng)));
            sums.push(1.0);
        }
        let trainings = (0..n_seeds).map(|_| between * normal(&mut rng)).collect();
        let mut offsets = vec![vec![0.0]; n_arms];
        offsets[0] = trainings;
        Self {
            offsets,
            strata: [Stratum {
                columns: 0..n_arms + 1,
                sums,
            }],
        }
    }

    /// The first arm less each other one.
    fn differences(&self, seed: u64) -> Family {
        let n_arms = self.offsets.len();
        let replicated = |(arm, offsets): (usize, &Vec<f64>)| Replicated {
            stream: arm.to_string(),
            replicas: offsets
                .iter()
                .enumerate()
                .map(|(seed, &offset)| {
                    let value: Statistic<'_> =
                        Box::new(move |totals: &[f64]| offset + totals[arm] / totals[n_arms]);
                    (seed as u64, value)
                })
                .collect(),
        };
        let arms: Vec<Replicated<'_>> = self.offsets.iter().enumerate().map(replicated).collect();
        let contrasts: Vec<Contrast> = (1..n_arms).map(|other| vec![(0, 1.0), (other, -1.0)]).collect();
        let bootstrap = Bootstrap::new(399, seed);
        bootstrap.two_level(&self.strata, &arms, &contrasts).family
    }
}

fn share(hits: u64) -> f64 {
    100.0 * hits as f64 / SETS as f64
}

#[test]
fn joint_intervals_cover_all_differences_together() {
    for (n_arms, n_seeds, between) in [(2, 1, 0.0), (5, 1, 0.0), (2, 3, 0.3), (5, 3, 0.3)] {
        let covers = |seed: u64| {
            let compared = World::equal(seed, n_arms, n_seeds, between)
                .differences(seed)
                .compared(0.95);
            u64::from(compared.iter().all(|one| one.lo <= 0.0 && 0.0 <= one.hi))
        };
        let coverage = share((0..SETS).into_par_iter().map(covers).sum());
        eprintln!(
            "{n_arms} arms, {n_seeds} trainings: all differences covered in {coverage:.1} % of {SETS} worlds"
        );
        // Two spreads of three trainings each are added as in the Behrens-Fisher problem: rather too wide than too short.
        assert!(
            (93.0..=99.5).contains(&coverage),
            "{n_arms} {n_seeds}: {coverage}"
        );
        if n_seeds == 1 {
            assert!(coverage <= 97.0, "{n_arms}: {coverage}");
        }
    }
}

#[test]
fn intervals_that_hold_trainings_fixed_are_too_short() {
    let covers = |seed: u64| {
        let mut world = World::equal(seed, 2, 3, 0.3);
        // The mean over trainings as if it were one.
        for offsets in &mut world.offsets {
            *offsets = vec![offsets.iter().sum::<f64>() / offsets.len() as f64];
        }
        let one = world.differences(seed).compared(0.95)[0];
        u64::from(one.lo <= 0.0 && 0.0 <= one.hi)
    };
    let coverage = share((0..SETS).into_par_iter().map(covers).sum());
    assert!(coverage < 90.0, "{coverage}");
}

#[test]
fn false_equivalence_is_rare() {
    // The truth lies on the bound: equivalence is said in five percent of the worlds.
    let says = |seed: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let truth = 1.0;
        let values = vec![truth + 0.2 * normal(&mut rng)];
        let deviations = (0..399).map(|_| vec![0.2 * normal(&mut rng)]).collect();
        let family = Family {
            values,
            errors: vec![0.2],
            deviations,
        };
        u64::from(equivalence(&family, 1.0, 0.05)[0].verdict() == Verdict::Equivalent)
    };
    let said = share((0..SETS).into_par_iter().map(says).sum());
    assert!((3.0..=7.0).contains(&said), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdict_interval_and_p_agree(
        values in prop::collection::vec(-5.0f64..5.0, 1..6), n_draws in 19usize..300, seed in any::<u64>(),
    ) {
        let family = family(values, n_draws, seed);
        for one in family.compared(0.95) {
            prop_assert_eq!(one.p <= 0.05, one.verdict() != Verdict::Tie, "{:?}", one);
            prop_assert_eq!(one.verdict(), Verdict::of(one.lo, one.hi));
            prop_assert!(one.lo <= one.value && one.value <= one.hi && (0.0..=1.0).contains(&one.p));
        }
        let least = family.smallest(0.95).unwrap();
        prop_assert_eq!(least.p <= 0.05, least.verdict() != Verdict::Tie, "{:?}", least);
        let all = family.compared(0.95);
        let every = all.iter().all(|one| one.verdict() == Verdict::Holds);
        let some = all.iter().any(|one| one.verdict() == Verdict::Fails);
        prop_assert_eq!(least.verdict() == Verdict::Holds, every);
        prop_assert_eq!(least.verdict() == Verdict::Fails, some);
    }

    #[test]
    fn a_comparison_is_never_clearer_in_company(
        values in prop::collection::vec(-5.0f64..5.0, 2..6), seed in any::<u64>(),
    ) {
        let together = family(values, 199, seed);
        let alone = Family {
            values: together.values[..1].to_vec(),
            errors: together.errors[..1].to_vec(),
            deviations: together.deviations.iter().map(|row| row[..1].to_vec()).collect(),
        };
        let (company, alone) = (together.compared(0.95)[0], alone.compared(0.95)[0]);
        prop_assert!(company.p >= alone.p && company.lo <= alone.lo && alone.hi <= company.hi);
    }

    #[test]
    fn equivalence_and_its_p_agree(value in -3.0f64..3.0, bound in 0.1f64..4.0, n_draws in 19usize..300, seed in any::<u64>()) {
        let family = family(vec![value], n_draws, seed);
        let one = equivalence(&family, bound, 0.05)[0];
        prop_assert_eq!(one.p <= 0.05, one.verdict() == Verdict::Equivalent, "{:?}", one);
        let wider = equivalence(&family, bound + 1.0, 0.05)[0];
        prop_assert!(wider.p <= one.p || value.abs() > bound, "{:?} {:?}", one, wider);
    }
}

// The ledger of a run.

const BUDGETS: [&str; 3] = ["1/3", "2/9", "1/9"];

/// Answers of an arm to forty questions of each benchmark; `right` of ten of them are right, another ten for each seed.
fn answers(arm: &str, budget: &str, seed: u64, right: usize) -> Vec<Record> {
    let of = |benchmark: Benchmark| {
        (0..40).map(move |id| Record {
            seed,
            ..record(
                arm,
                budget,
                benchmark,
                id,
                f64::from((id * 7 + seed as usize) % 10 < right),
            )
        })
    };
    [Benchmark::Gqa, Benchmark::TextVqa, Benchmark::ScienceQa]
        .into_iter()
        .flat_map(of)
        .collect()
}

fn run(arms: &[(&str, u64, usize)]) -> Vec<Record> {
    let mut records = [answers("full", "all", 0, 9), answers("text-only", "all", 0, 2)].concat();
    for &(arm, n_seeds, right) in arms {
        for budget in BUDGETS {
            (0..n_seeds).for_each(|seed| records.extend(answers(arm, budget, seed, right)));
        }
    }
    records
}

fn judged(records: &[Record], table: usize) -> Report {
    judged_with(records, EvidenceOptions::default().with_table(table))
}

fn judged_with(records: &[Record], evidence: EvidenceOptions) -> Report {
    let options = ReportOptions::default()
        .with_bootstrap(Bootstrap::new(400, 0))
        .with_evidence(evidence);
    let meta = Meta {
        tier: "mini".into(),
        ..Meta::default()
    };
    Report::from_records(records, meta, &options).unwrap()
}

fn verdict(report: &Report, id: &str) -> TierVerdict {
    report.ledger().claim(id).unwrap().tiers[&Tier::Mini].clone()
}

#[test]
fn every_claim_is_judged_or_says_why_not() {
    let report = judged(
        &run(&[
            ("diffprune", 3, 8),
            ("random", 5, 4),
            ("holov", 1, 6),
            ("prunesid", 1, 9),
        ]),
        1,
    );
    for claim in Claims::builtin().unwrap().claims {
        let found = report.claims.iter().find(|found| found.id == claim.id).unwrap();
        assert!(found.tiers.contains_key(&Tier::Published), "{}", claim.id);
        let mini = verdict(&report, &claim.id);
        assert_eq!(found.verdict, mini.verdict, "{}", claim.id);
        assert!(
            mini.verdict != Verdict::Untestable || mini.reason.is_some(),
            "{}",
            claim.id
        );
    }
    for (id, wanted) in [
        ("s.above-random", Verdict::Holds),
        // PruneSID is better at every budget, and so are all settings lost.
        ("t1.best-64", Verdict::Fails),
        ("x.all-settings", Verdict::Fails),
        ("t1.second-192", Verdict::Fails),
        ("t2.best-320", Verdict::Untestable),
        ("s.above-untrained", Verdict::Untestable),
        ("f1.coherence", Verdict::Untestable),
        ("t4.ttft", Verdict::Untestable),
    ] {
        assert_eq!(
            verdict(&report, id).verdict,
            wanted,
            "{id}: {:?}",
            verdict(&report, id)
        );
    }
    let best = verdict(&report, "t1.best-64");
    let reason = best.reason.unwrap();
    assert!(
        reason.contains("PruneSID") && reason.contains("VoCo-LLaMA"),
        "{reason}"
    );
    assert!(best.p.unwrap() <= 0.05 && best.hi.unwrap() < 0.0);
    assert_eq!((best.seeds, best.n), (Some(3), Some(120)));
    assert_eq!(best.readings[0].name, "all but TextVQA");
    // A level of the full tier has its number and no verdict.
    let level = verdict(&report, "t1.retention-64");
    assert!(level.verdict == Verdict::Untestable && level.estimate.is_some());
    assert!(
        verdict(&report, "f1.coherence")
            .reason
            .unwrap()
            .contains("diffprune pilot")
    );
}

#[test]
fn one_training_is_said_and_several_have_a_share() {
    let one = judged(&run(&[("diffprune", 1, 8), ("random", 1, 4)]), 1);
    assert_eq!(verdict(&one, "s.above-random").seeds, Some(1));
    assert_eq!(verdict(&one, "s.above-random").seed_share, None);
    assert_eq!(verdict(&one, "s.seeds").verdict, Verdict::Untestable);
    assert!(
        one.to_markdown()
            .contains("one training seed: the interval holds the training fixed")
    );
    let rows = &one.table(TableId::Main).unwrap().rows;
    let seeds: BTreeMap<&str, usize> = rows
        .iter()
        .map(|row| (row.arm.as_str(), row.train_seeds.len()))
        .collect();
    assert_eq!((seeds["diffprune"], seeds["random"], seeds["full"]), (1, 0, 0));
}

#[test]
fn equal_arms_are_a_tie_and_only_a_bound_makes_them_equivalent() {
    let report = judged(
        &run(&[("diffprune", 1, 8), ("prunesid", 1, 8), ("random", 1, 8)]),
        1,
    );
    let tie = verdict(&report, "s.above-random");
    assert_eq!(
        (tie.verdict, tie.estimate, tie.p),
        (Verdict::Tie, Some(0.0), Some(1.0))
    );
    assert_eq!(verdict(&report, "t1.second-192").verdict, Verdict::Equivalent);
}

#[test]
fn what_is_not_in_records_is_handed_over() {
    let given = Given {
        id: "t4.ttft".into(),
        tier: Tier::Shape,
        verdict: TierVerdict::of(Verdict::Fails, -1.0, -2.0, -0.5),
    };
    let evidence = EvidenceOptions::default().with_table(1).with_given(vec![given]);
    let report = judged_with(&run(&[("diffprune", 1, 8)]), evidence);
    assert_eq!(
        report.ledger().claim("t4.ttft").unwrap().tiers[&Tier::Shape].verdict,
        Verdict::Fails
    );
}

#[test]
fn a_benchmark_that_words_alone_answer_stays_out_of_averages() {
    let mut records = run(&[("diffprune", 1, 8), ("random", 1, 4)]);
    // Without a picture as good as with one.
    for record in records
        .iter_mut()
        .filter(|record| record.benchmark == Benchmark::ScienceQa)
    {
        record.score = f64::from(record.question.parse::<usize>().unwrap() % 2 == 0);
    }
    let report = judged(&records, 1);
    let counted = report.counted.clone().unwrap();
    assert_eq!(counted.counted, [Benchmark::Gqa, Benchmark::TextVqa]);
    assert_eq!(counted.left_out, [(Benchmark::ScienceQa, 0.0)]);
    let value = |metric: Metric| {
        report
            .row(TableId::Main, "diffprune", "1/9", &metric)
            .unwrap()
            .value
    };
    assert!(
        (value(Metric::Average) - 80.0).abs() < 1e-9 && (value(Metric::AverageOfAll) - 70.0).abs() < 1e-9
    );
    assert!((value(Metric::AverageWithoutTextVqa) - 80.0).abs() < 1e-9);
    assert!(report.to_markdown().contains("left out: scienceqa (0.0)"));
    // Settings of earlier reports have no such rule.
    let mut stored = serde_json::to_value(ReportOptions::default()).unwrap();
    stored.as_object_mut().unwrap().remove("average_margin");
    let stored: ReportOptions = serde_json::from_value(stored).unwrap();
    let before = Report::from_records(&records, Meta::default(), &stored).unwrap();
    assert!(before.counted.is_none());
    assert!(
        (before
            .row(TableId::Main, "diffprune", "1/9", &Metric::Average)
            .unwrap()
            .value
            - 70.0)
            .abs()
            < 1e-9
    );
}

#[test]
fn the_ledger_is_the_first_page() {
    let report = judged(
        &run(&[("diffprune", 3, 8), ("random", 5, 4), ("prunesid", 1, 9)]),
        1,
    );
    let markdown = report.to_markdown();
    let html = report.to_html().unwrap();
    for page in [&markdown, &html] {
        let ledger = page.find("Claims of the papers").unwrap();
        assert!(ledger < page.find("Benchmarks together").unwrap());
        for claim in Claims::builtin().unwrap().claims {
            assert!(page.contains(&claim.id), "{}", claim.id);
        }
    }
    assert!(markdown.contains("fail"), "failures are counted above the table");
    let read: Report = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(read.ledger(), report.ledger());
}

#[test]
fn the_printed_cells_stand_beside_those_of_a_run() {
    let records = run(&[("diffprune", 1, 8), ("prunesid", 1, 9), ("random", 1, 4)]);
    let page = |tier: &str| {
        let meta = Meta {
            tier: tier.into(),
            config: serde_json::json!({"family": "llava-1.5"}),
            ..Meta::default()
        };
        let report = Report::from_records(&records, meta, &ReportOptions::default()).unwrap();
        report.to_markdown()
    };
    let line = |page: &str| {
        let row = |line: &&str| line.starts_with("| diffprune | 1/9 | PRUNESID | prunesid |");
        page.lines().find(row).map(String::from)
    };
    // Here the method is ten points below on all three benchmarks.
    let mini = page("mini");
    let found = line(&mini).unwrap();
    assert!(
        mini.contains("Table 1 of the papers beside this run") && found.contains(" / -10.0 |"),
        "{found}"
    );
    assert!(
        found.trim_end().ends_with("of 3 |") && !mini.contains("reproduced"),
        "{found}"
    );
    // Only a run of published weights on published data can reproduce a number.
    let full = page("full");
    let found = line(&full).unwrap();
    assert!(found.contains(" / 90.0 differs by +"), "{found}");
}

#[test]
fn compressed_records_are_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let records = run(&[("diffprune", 1, 8)]);
    let (mut file, _) = RecordFile::open(&path, "a run").unwrap();
    file.append(&records).unwrap();
    let before = RecordFile::read(&path).unwrap();
    let again = folder.path().join("again");
    RecordFile::compress(&path, &path).unwrap();
    RecordFile::compress(&path, &again).unwrap();
    let packed = folder.path().join("records.jsonl.columns.gz");
    let bytes = std::fs::read(&packed).unwrap();
    let of_again = std::fs::read(folder.path().join("again.columns.gz")).unwrap();
    assert_eq!(bytes, of_again, "no clock, no name");
    assert!(10 * bytes.len() < std::fs::read(&path).unwrap().len());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(RecordFile::read(&path).unwrap(), before);
    std::fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
    assert!(RecordFile::read(&path).is_err(), "half a file is an error");
    assert!(RecordFile::compress(&folder.path().join("none"), &again).is_err());
}
