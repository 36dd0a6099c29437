//! Intervals against simulated truth, and laws of the statistics.

use diffprune_eval::{
    Benchmark, Bootstrap, Meta, Record, Report, ReportOptions, Statistic, Stratum,
    chance_corrected_retention, common_means, ece, holm, mcnemar, ragged_mean, retention,
};
use proptest::prelude::*;

use super::by_name::ByName;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Simulated data sets.
const SETS: u64 = 2000;

/// Clusters of one to five questions; the answers of two arms about a picture have something in common. Columns: right
/// answers of the first arm, of the second, questions. Questions are right with chance `a` and `b`.
fn pictures(rng: &mut ChaCha8Rng, n_clusters: usize, a: f64, b: f64) -> Stratum {
    let mut sums = Vec::new();
    for _ in 0..n_clusters {
        let shared: f64 = rng.random_range(-0.2..0.2);
        let n_questions = rng.random_range(1..6u64);
        let (mut right_a, mut right_b) = (0.0, 0.0);
        for _ in 0..n_questions {
            let luck: f64 = rng.random();
            right_a += f64::from(luck < a + shared);
            right_b += f64::from(luck * 0.5 + 0.5 * rng.random::<f64>() < 0.5 + (b - 0.5) * 0.5 + shared);
        }
        sums.extend([right_a, right_b, n_questions as f64]);
    }
    Stratum { columns: 0..3, sums }
}

fn mean_a(totals: &[f64]) -> f64 {
    totals[0] / totals[2]
}

fn difference(totals: &[f64]) -> f64 {
    (totals[0] - totals[1]) / totals[2]
}

fn quotient(totals: &[f64]) -> f64 {
    retention([(totals[0] / totals[2], totals[1] / totals[2])])
}

#[test]
fn ninety_five_percent_of_the_intervals_cover_the_truth() {
    let statistics: [fn(&[f64]) -> f64; 3] = [mean_a, difference, quotient];
    let simulated =
        |seed: u64, n_clusters: usize| pictures(&mut ChaCha8Rng::seed_from_u64(seed), n_clusters, 0.6, 0.5);
    // The truth, from very many pictures.
    let large = simulated(u64::MAX, 2_000_000);
    let mut totals = [0.0; 3];
    for row in large.sums.chunks_exact(3) {
        totals
            .iter_mut()
            .zip(row)
            .for_each(|(total, value)| *total += value);
    }
    let truth = statistics.map(|statistic| statistic(&totals));
    let covered = |seed: u64| {
        let bootstrap = Bootstrap::new(1000, seed);
        let boxed: Vec<Statistic<'_>> = statistics.iter().map(|&of| Box::new(of) as _).collect();
        let estimates = bootstrap.intervals(&[simulated(seed, 150)], &boxed);
        [0, 1, 2].map(|i| u32::from(estimates[i].lo <= truth[i] && truth[i] <= estimates[i].hi))
    };
    let hits = (0..SETS)
        .into_par_iter()
        .map(covered)
        .reduce(|| [0; 3], |a, b| [0, 1, 2].map(|i| a[i] + b[i]));
    for (hits, name) in hits.into_iter().zip(["mean", "difference", "retention"]) {
        let coverage = 100.0 * f64::from(hits) / SETS as f64;
        eprintln!("coverage of the {name}: {coverage:.2} % of {SETS} sets");
        assert!((coverage - 95.0).abs() <= 1.5, "{name}: {coverage} %");
    }
}

/// MME in small: fourteen subtasks of five pictures, two questions about each. A question of the subtask `part` is right
/// with chance `p = 0.5 + part / 35`, give or take up to 0.1 for its picture: by itself `100 p` points, and
/// `100 (p^2 + 0.01 / 3)` for both together.
fn subtasks(seed: u64) -> Vec<Record> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut records = Vec::new();
    for picture in 0..14 * 5 {
        let shared: f64 = rng.random_range(-0.1..0.1);
        let part = format!("part {}", picture / 5);
        for nth in 0..2 {
            let right = rng.random::<f64>() < chance_of(picture / 5) + shared;
            records.push(Record {
                group: Some(picture.to_string()),
                image: format!("{picture}.png"),
                subset: part.clone(),
                kind: part.clone(),
                ..super::reports::record("full", "all", Benchmark::Mme, 2 * picture + nth, f64::from(right))
            });
        }
    }
    records
}

fn chance_of(part: usize) -> f64 {
    0.5 + part as f64 / 35.0
}

#[test]
fn sums_over_small_parts_are_covered_too() {
    let truth: f64 = (0..14)
        .map(chance_of)
        .map(|p| 100.0 * p + 100.0 * (p * p + 0.01 / 3.0))
        .sum();
    let shown = |seed: u64| {
        let bootstrap = Bootstrap::new(1000, seed);
        let options = ReportOptions::default().with_bootstrap(bootstrap);
        let report = Report::from_records(&subtasks(seed), Meta::default(), &options).unwrap();
        let row = report
            .row_named("benchmarks", "full", "all", "mme points")
            .unwrap();
        let covered = f64::from(row.lo <= truth && truth <= row.hi);
        (covered, (row.lo + row.hi) / 2.0 - row.value)
    };
    let found: Vec<(f64, f64)> = (0..SETS).into_par_iter().map(shown).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| found.iter().map(of).sum::<f64>() / SETS as f64;
    let (coverage, shift) = (100.0 * mean(|set| set.0), mean(|set| set.1));
    eprintln!(
        "coverage of the points: {coverage:.2} % of {SETS} sets, middle {shift:+.2} points from the value"
    );
    assert!((coverage - 95.0).abs() <= 1.5, "{coverage} %");
    // Without strata a resample misses a subtask in one of 160 cases, which costs about ten points.
    assert!(shift.abs() < 2.0, "{shift}");
}

#[test]
fn clusters_that_are_ignored_make_intervals_too_short() {
    // Every question of a picture has the same outcome: ten questions are worth one.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let outcomes: Vec<f64> = (0..200).map(|_| f64::from(rng.random::<bool>())).collect();
    let by_picture = outcomes
        .iter()
        .flat_map(|&right| [10.0 * right, 0.0, 10.0])
        .collect();
    let by_question = outcomes
        .iter()
        .flat_map(|&right| [right, 0.0, 1.0].repeat(10))
        .collect();
    let width = |sums: Vec<f64>| {
        let bootstrap = Bootstrap::new(2000, 0);
        let stratum = Stratum { columns: 0..3, sums };
        let estimate = bootstrap.intervals(&[stratum], &[Box::new(mean_a)])[0];
        estimate.hi - estimate.lo
    };
    let ratio = width(by_picture) / width(by_question);
    assert!((ratio / 10f64.sqrt() - 1.0).abs() < 0.1, "{ratio}");
}

/// Share of simulated pairs of equal arms that the test tells apart at 5 %, with so many questions decided differently.
fn false_alarms(n: u64, seed: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let alarms = (0..4000).filter(|_| {
        let wins = (0..n).filter(|_| rng.random::<bool>()).count() as u64;
        mcnemar(wins, n - wins).p <= 0.05
    });
    alarms.count() as f64 / 4000.0
}

#[test]
fn equal_arms_are_seldom_told_apart() {
    for (n, seed) in [(8, 1), (24, 2), (25, 3), (200, 4)] {
        let share = false_alarms(n, seed);
        assert!((0.002..=0.055).contains(&share), "{n}: {share}");
    }
}

#[test]
fn holm_keeps_the_family_at_five_percent() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (mut with, mut without) = (0, 0);
    for _ in 0..8000 {
        let p: [f64; 6] = std::array::from_fn(|_| rng.random());
        with += u32::from(holm(&p).iter().any(|&p| p <= 0.05));
        without += u32::from(p.iter().any(|&p| p <= 0.05));
    }
    let share = |count: u32| f64::from(count) / 8000.0;
    assert!((share(with) - 0.049).abs() < 0.01, "{}", share(with));
    assert!(share(without) > 0.2, "{}", share(without));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mcnemar_is_symmetric_and_falls_with_imbalance(n in 0u64..300, share in 0.0f64..0.5) {
        let few = (share * n as f64) as u64;
        let test = mcnemar(few, n - few);
        prop_assert!((0.0..=1.0).contains(&test.p));
        prop_assert_eq!(test.p, mcnemar(n - few, few).p);
        if few > 0 {
            prop_assert!(mcnemar(few - 1, n - few + 1).p <= test.p + 1e-12);
        }
    }

    #[test]
    fn holm_never_lowers_and_keeps_the_order(p in prop::collection::vec(0.0f64..=1.0, 0..12)) {
        let adjusted = holm(&p);
        for i in 0..p.len() {
            prop_assert!(adjusted[i] >= p[i] && adjusted[i] <= 1.0);
            prop_assert!(adjusted[i] <= (p.len() as f64 * p[i]).min(1.0) + 1e-12, "never above Bonferroni");
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
            }
        }
    }

    #[test]
    fn without_holes_both_means_agree(
        rows in prop::collection::vec(prop::collection::vec(0.0f64..100.0, 4), 1..6), hole in 0usize..4,
    ) {
        let full: Vec<Vec<Option<f64>>> = rows.iter().map(|row| row.iter().map(|&v| Some(v)).collect()).collect();
        for (row, mean) in full.iter().zip(common_means(&full)) {
            prop_assert_eq!(ragged_mean(row), mean);
        }
        let mut holed = full.clone();
        holed[0][hole] = None;
        for (row, mean) in rows.iter().zip(common_means(&holed)) {
            let others = row.iter().enumerate().filter(|(i, _)| *i != hole).map(|(_, value)| value);
            prop_assert!((mean - others.sum::<f64>() / 3.0).abs() < 1e-9);
        }
    }

    #[test]
    fn retention_scales_and_corrects(scores in prop::collection::vec(1.0f64..100.0, 1..8), left in 0.0f64..1.5) {
        let pairs = scores.iter().map(|&score| (left * score, score));
        prop_assert!((retention(pairs.clone()) - 100.0 * left).abs() < 1e-9);
        let above = pairs.map(|(pruned, full)| (pruned + 30.0, full + 30.0, 30.0));
        prop_assert!((chance_corrected_retention(above) - 100.0 * left).abs() < 1e-6);
    }

    #[test]
    fn calibration_ignores_order_and_is_bounded(mut pairs in prop::collection::vec((0.0f64..=1.0, any::<bool>()), 1..60)) {
        let before = ece(pairs.clone(), 15);
        pairs.reverse();
        prop_assert!((before - ece(pairs.clone(), 15)).abs() < 1e-12);
        prop_assert!((0.0..=1.0).contains(&before));
        // One bin: the gap between the mean confidence and the share of right answers.
        let n = pairs.len() as f64;
        let gap = pairs.iter().map(|pair| pair.0 - f64::from(pair.1)).sum::<f64>() / n;
        prop_assert!((ece(pairs.clone(), 1) - gap.abs()).abs() < 1e-12);
        prop_assert!(before >= gap.abs() - 1e-12, "finer bins show more");
    }

    #[test]
    fn intervals_move_with_the_data(scale in 0.1f64..10.0, shift in -5.0f64..5.0, seed in any::<u64>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values: Vec<f64> = (0..40).map(|_| rng.random()).collect();
        let interval = |of: &dyn Fn(f64) -> f64| {
            let sums = values.iter().flat_map(|&value| [of(value), 0.0, 1.0]).collect();
            let bootstrap = Bootstrap::new(200, seed);
            bootstrap.intervals(&[Stratum { columns: 0..3, sums }], &[Box::new(mean_a)])[0]
        };
        let (before, after) = (interval(&|value| value), interval(&|value| scale * value + shift));
        for (a, b) in [(before.lo, after.lo), (before.value, after.value), (before.hi, after.hi)] {
            prop_assert!((scale * a + shift - b).abs() < 1e-9);
        }
    }
}
