//! Paired, clustered bootstrap.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A number computed from column sums.
pub type Statistic<'a> = Box<dyn Fn(&[f64]) -> f64 + Send + Sync + 'a>;

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic of the data.
    pub value: f64,
    /// Lower end of the interval.
    pub lo: f64,
    /// Upper end of the interval.
    pub hi: f64,
}

/// Clusters (pictures) that are drawn among themselves: those of one benchmark, or of one part of it where its number is a
/// sum or mean over parts. Strata may share columns.
///
/// Everything measured about a cluster, by every arm, stands in its row, so that a draw of clusters is the same draw for
/// all arms: the bootstrap is paired.
#[derive(Debug, Clone, PartialEq)]
pub struct Stratum {
    /// The columns that these clusters add to.
    pub columns: Range<usize>,
    /// Sums of each cluster, `n_clusters * columns.len()`, cluster after cluster.
    pub sums: Vec<f64>,
}

impl Stratum {
    fn n_clusters(&self) -> usize {
        self.sums.len() / self.columns.len().max(1)
    }

    /// Adds the clusters, each `weights[cluster]` times.
    fn add_to(&self, totals: &mut [f64], weights: &[f64]) {
        let totals = &mut totals[self.columns.clone()];
        for (row, &weight) in self.sums.chunks_exact(self.columns.len()).zip(weights) {
            if weight > 0.0 {
                totals
                    .iter_mut()
                    .zip(row)
                    .for_each(|(total, value)| *total += weight * value);
            }
        }
    }
}

/// Settings of the intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed; the intervals depend on it and on nothing else, whatever the threads do.
    pub seed: u64,
    /// Coverage of the intervals.
    pub level: f64,
}

impl Default for Bootstrap {
    /// 95 % intervals from 10,000 resamples with seed 0.
    fn default() -> Self {
        Self::new(10_000, 0)
    }
}

impl Bootstrap {
    /// 95 % intervals from so many resamples, drawn with this seed.
    pub const fn new(resamples: usize, seed: u64) -> Self {
        Self {
            resamples,
            seed,
            level: 0.95,
        }
    }

    /// The same with another coverage of the intervals, from 0 to 1.
    pub const fn with_level(self, level: f64) -> Self {
        Self { level, ..self }
    }

    /// Eq. (17) of `docs/method.md`: percentile intervals of statistics of sums over resampled clusters.
    ///
    /// Each resample draws, in every stratum, as many clusters as it has, with replacement, sums all columns over them, and
    /// computes every statistic from the sums. Where several strata add to the same columns, each draws one cluster less (at
    /// least one) and counts it in the proportion of the whole: `n` draws from `n` clusters vary by `(n - 1) / n` of what they
    /// should, which is much where a number is made of many small strata (Rao and Wu 1988). Undefined values (NaN) of a resample are left out. A statistic that
    /// no resample defines gets an interval of no width.
    pub fn intervals(&self, strata: &[Stratum], statistics: &[Statistic<'_>]) -> Vec<Estimate> {
        let (values, rows) = self.draws(strata, statistics);
        let estimate = |(place, value): (usize, f64)| {
            let mut drawn: Vec<f64> = rows
                .iter()
                .map(|row| row[place])
                .filter(|value| value.is_finite())
                .collect();
            drawn.sort_unstable_by(f64::total_cmp);
            let tail = (1.0 - self.level) / 2.0;
            let (lo, hi) = (quantile(&drawn, tail), quantile(&drawn, 1.0 - tail));
            Estimate {
                value,
                lo: lo.unwrap_or(value),
                hi: hi.unwrap_or(value),
            }
        };
        values.into_iter().enumerate().map(estimate).collect()
    }

    /// The statistics of the data, and those of each resample (`resamples` rows), by the same draws as
    /// [`intervals`](Self::intervals).
    pub(crate) fn draws(
        &self,
        strata: &[Stratum],
        statistics: &[Statistic<'_>],
    ) -> (Vec<f64>, Vec<Vec<f64>>) {
        let n_columns = strata
            .iter()
            .map(|stratum| stratum.columns.end)
            .max()
            .unwrap_or(0);
        let mut totals = vec![0.0; n_columns];
        for stratum in strata {
            stratum.add_to(&mut totals, &vec![1.0; stratum.n_clusters()]);
        }
        let draws: Vec<usize> = (0..strata.len()).map(|place| n_draws(strata, place)).collect();
        let all = |totals: &[f64]| statistics.iter().map(|statistic| statistic(totals)).collect();
        let rows = (0..self.resamples)
            .into_par_iter()
            .map(|resample| all(&self.resampled(strata, &draws, n_columns, resample as u64)))
            .collect();
        (all(&totals), rows)
    }

    /// Column sums of one resample; its random numbers depend on the seed and its number alone.
    fn resampled(&self, strata: &[Stratum], draws: &[usize], n_columns: usize, resample: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(resample);
        let mut totals = vec![0.0; n_columns];
        for (stratum, &n_drawn) in strata.iter().zip(draws) {
            let n_clusters = stratum.n_clusters();
            if n_clusters == 0 {
                continue;
            }
            let weight = n_clusters as f64 / n_drawn as f64;
            let mut weights = vec![0.0; n_clusters];
            for _ in 0..n_drawn {
                weights[rng.random_range(0..n_clusters as u64) as usize] += weight;
            }
            stratum.add_to(&mut totals, &weights);
        }
        totals
    }
}

/// The number of clusters of a stratum that a resample draws.
fn n_draws(strata: &[Stratum], place: usize) -> usize {
    match (strata[place].n_clusters(), shares_columns(strata, place)) {
        (n_clusters @ 2.., true) => n_clusters - 1,
        (n_clusters, _) => n_clusters,
    }
}

/// `true` if another stratum adds to columns of this one.
fn shares_columns(strata: &[Stratum], place: usize) -> bool {
    let own = &strata[place].columns;
    let overlaps = |other: &Range<usize>| other.start < own.end && own.start < other.end;
    strata
        .iter()
        .enumerate()
        .any(|(other, stratum)| other != place && overlaps(&stratum.columns))
}

/// The quantile of sorted values, interpolated; `None` without values.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sum and count of each cluster.
    fn stratum(rng: &mut ChaCha8Rng, n_clusters: usize, mean: f64) -> Stratum {
        let mut sums = Vec::new();
        for _ in 0..n_clusters {
            let shared: f64 = rng.random_range(-0.5..0.5);
            let n_questions = rng.random_range(1..6u64);
            let answers = (0..n_questions).map(|_| f64::from(rng.random::<f64>() < mean + 0.6 * shared));
            sums.extend([answers.sum::<f64>(), n_questions as f64]);
        }
        Stratum { columns: 0..2, sums }
    }

    fn mean(totals: &[f64]) -> f64 {
        totals[0] / totals[1]
    }

    #[test]
    fn the_width_is_that_of_the_normal_law() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let values: Vec<f64> = (0..400).map(|_| rng.random::<f64>()).collect();
        let sums: Vec<f64> = values.iter().flat_map(|&value| [value, 1.0]).collect();
        let bootstrap = Bootstrap {
            resamples: 4000,
            ..Bootstrap::default()
        };
        let estimate = bootstrap.intervals(&[Stratum { columns: 0..2, sums }], &[Box::new(mean)])[0];
        let centre = values.iter().sum::<f64>() / 400.0;
        let spread = (values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / 400.0).sqrt();
        let wanted = 2.0 * 1.96 * spread / 20.0;
        assert!((estimate.value - centre).abs() < 1e-12);
        assert!(
            ((estimate.hi - estimate.lo) / wanted - 1.0).abs() < 0.05,
            "{estimate:?} expected {wanted}"
        );
    }

    #[test]
    fn small_strata_of_one_number_vary_as_they_should() {
        // Forty strata of two clusters: the mean's variance is the mean of squares of half-differences, over 40.
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let pairs: Vec<[f64; 2]> = (0..40).map(|_| [rng.random(), rng.random()]).collect();
        let strata: Vec<Stratum> = pairs
            .iter()
            .map(|pair| Stratum {
                columns: 0..2,
                sums: vec![pair[0], 1.0, pair[1], 1.0],
            })
            .collect();
        let bootstrap = Bootstrap {
            resamples: 4000,
            ..Bootstrap::default()
        };
        let estimate = bootstrap.intervals(&strata, &[Box::new(mean)])[0];
        // Sample variance of two values is half their squared difference; of their mean, a quarter.
        let variance: f64 = pairs
            .iter()
            .map(|pair| (pair[0] - pair[1]).powi(2) / 4.0)
            .sum::<f64>()
            / 1600.0;
        let wanted = 2.0 * 1.96 * variance.sqrt();
        let ratio = (estimate.hi - estimate.lo) / wanted;
        assert!(
            (ratio - 1.0).abs() < 0.05,
            "{ratio}; two draws of two would give 0.71"
        );
    }

    #[test]
    fn threads_do_not_matter_and_the_seed_does() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let data = [stratum(&mut rng, 40, 0.4)];
        let with = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let bootstrap = Bootstrap {
                resamples: 300,
                seed,
                ..Bootstrap::default()
            };
            pool.install(|| bootstrap.intervals(&data, &[Box::new(mean)])[0])
        };
        assert_eq!(with(1, 7), with(3, 7));
        assert_ne!(with(1, 7), with(1, 8));
    }

    #[test]
    fn pairing_cancels_what_two_arms_share() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let sums: Vec<f64> = (0..60)
            .flat_map(|_| {
                let shared: f64 = rng.random();
                [shared, shared + 0.01, 1.0]
            })
            .collect();
        let difference: Statistic<'_> = Box::new(|totals| (totals[1] - totals[0]) / totals[2]);
        let estimate = Bootstrap::default().intervals(&[Stratum { columns: 0..3, sums }], &[difference])[0];
        assert!(
            (estimate.lo - 0.01).abs() < 1e-9 && (estimate.hi - 0.01).abs() < 1e-9,
            "{estimate:?}"
        );
    }

    #[test]
    fn undefined_resamples_are_left_out() {
        let data = Stratum {
            columns: 0..2,
            sums: vec![1.0, 1.0, 0.0, 0.0],
        };
        let estimate = Bootstrap::default().intervals(&[data], &[Box::new(mean), Box::new(|_| f64::NAN)]);
        assert_eq!(
            estimate[0],
            Estimate {
                value: 1.0,
                lo: 1.0,
                hi: 1.0
            }
        );
        assert!(estimate[1].value.is_nan());
    }
}
