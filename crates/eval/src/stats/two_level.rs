//! Intervals about trainings and pictures together.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::bootstrap::{Bootstrap, Statistic, Stratum};
use super::simultaneous::Family;

/// Random streams of trainings: apart from those of pictures, which are numbered from 0.
const SEED_STREAMS: u64 = 1 << 40;

/// A number that exists once for each of an arm's seeds (trainings, or draws of a random method).
pub struct Replicated<'a> {
    /// Arms of one stream are paired by their seeds: trainings that share start and order of data, and one arm at several
    /// budgets. Arms of different streams are independent.
    pub stream: String,
    /// Each seed with the number, from the column sums of the pictures.
    pub replicas: Vec<(u64, Statistic<'a>)>,
}

/// A weighted sum of [`Replicated`] numbers, each its mean over seeds: a difference has weights 1 and -1.
pub type Contrast = Vec<(usize, f64)>;

/// The parts of the variance of a contrast.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Variance {
    /// From the seeds of trainings (and draws).
    pub seeds: f64,
    /// From the pictures.
    pub pictures: f64,
}

impl Variance {
    /// The seeds' share of the whole, 0 to 1; 0 without variance.
    pub fn seed_share(&self) -> f64 {
        let whole = self.seeds + self.pictures;
        if whole > 0.0 { self.seeds / whole } else { 0.0 }
    }
}

/// Contrasts with their errors at both levels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TwoLevel {
    /// Values, standard errors and joint draws.
    pub family: Family,
    /// The parts of each contrast's variance.
    pub variances: Vec<Variance>,
}

impl TwoLevel {
    /// Some of the contrasts as a family of their own.
    pub fn among(&self, members: &[usize]) -> Family {
        let chosen = |row: &Vec<f64>| members.iter().map(|&member| row[member]).collect();
        Family {
            values: chosen(&self.family.values),
            errors: chosen(&self.family.errors),
            deviations: self.family.deviations.iter().map(chosen).collect(),
        }
    }
}

impl Bootstrap {
    /// Errors of contrasts over new trainings and new pictures.
    ///
    /// Pictures are drawn as in [`intervals`](Self::intervals), with every seed kept. The seeds' part of a draw is
    ///
    /// ```text
    /// sum over seeds s of  z_s (D_s - mean D) / sqrt(S (S - 1)) / sqrt(chi2 / (S - 1))
    /// ```
    ///
    /// with `D_s` the contrast of the trainings of seed `s`, `z_s` standard normal, and `chi2` of `S - 1` degrees of freedom,
    /// one for each draw and stream: Student's law of the mean of `S` trainings. Drawing two or three seeds with replacement
    /// instead would make intervals far too short. Both parts are added, as in the Behrens-Fisher problem; the standard
    /// error is the root of the sum of both variances. A stream with one seed has no part: the interval then holds the
    /// training fixed, and whoever prints it has to say so.
    pub fn two_level(&self, strata: &[Stratum], arms: &[Replicated<'_>], contrasts: &[Contrast]) -> TwoLevel {
        let mut starts = Vec::new();
        let mut statistics: Vec<Statistic<'_>> = Vec::new();
        for arm in arms {
            starts.push(statistics.len());
            statistics.extend(
                arm.replicas
                    .iter()
                    .map(|(_, statistic)| Box::new(move |totals: &[f64]| statistic(totals)) as Statistic<'_>),
            );
        }
        let (values, rows) = self.draws(strata, &statistics);
        let contrasted = |row: &[f64]| -> Vec<f64> {
            let mean = |&(arm, weight): &(usize, f64)| {
                let of_arm = &row[starts[arm]..starts[arm] + arms[arm].replicas.len()];
                weight * of_arm.iter().sum::<f64>() / of_arm.len() as f64
            };
            contrasts
                .iter()
                .map(|contrast| contrast.iter().map(mean).sum())
                .collect()
        };
        let centre = contrasted(&values);
        let mut deviations: Vec<Vec<f64>> = rows.iter().map(|row| contrasted(row)).collect();
        for row in &mut deviations {
            row.iter_mut()
                .zip(&centre)
                .for_each(|(value, centre)| *value -= centre);
        }
        let pictures: Vec<f64> = (0..contrasts.len())
            .map(|place| variance(&deviations, place))
            .collect();
        let streams = streams(arms, &starts, &values, contrasts);
        let seeds = |place: usize| {
            let of_stream = |stream: &Stream| -> f64 {
                stream
                    .deviations
                    .values()
                    .map(|deviation| deviation[place].powi(2))
                    .sum()
            };
            streams.iter().map(of_stream).sum::<f64>()
        };
        let variances: Vec<Variance> = pictures
            .iter()
            .enumerate()
            .map(|(place, &pictures)| Variance {
                seeds: seeds(place),
                pictures,
            })
            .collect();
        let add = |(draw, row): (usize, &mut Vec<f64>)| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(SEED_STREAMS + draw as u64);
            streams.iter().for_each(|stream| stream.add_to(row, &mut rng));
        };
        deviations.par_iter_mut().enumerate().for_each(add);
        TwoLevel {
            family: Family {
                values: centre,
                errors: variances.iter().map(|v| (v.seeds + v.pictures).sqrt()).collect(),
                deviations,
            },
            variances,
        }
    }
}

/// Arms that are paired by their seeds.
struct Stream {
    /// For each seed, `(D_s - mean D) / sqrt(S (S - 1))` of every contrast.
    deviations: BTreeMap<u64, Vec<f64>>,
    /// Degrees of freedom: the fewest seeds of an arm, less one.
    freedom: usize,
}

impl Stream {
    /// Adds the seeds' part of one draw.
    fn add_to(&self, row: &mut [f64], rng: &mut ChaCha8Rng) {
        let squares: f64 = (0..self.freedom).map(|_| normal(rng).powi(2)).sum();
        let scale = (squares / self.freedom as f64).sqrt();
        for deviation in self.deviations.values() {
            let z = normal(rng) / scale;
            row.iter_mut()
                .zip(deviation)
                .for_each(|(sum, deviation)| *sum += z * deviation);
        }
    }
}

/// The streams with more than one seed.
fn streams(arms: &[Replicated<'_>], starts: &[usize], values: &[f64], contrasts: &[Contrast]) -> Vec<Stream> {
    let mut streams: BTreeMap<&str, Stream> = BTreeMap::new();
    for (place, arm) in arms.iter().enumerate() {
        let n_seeds = arm.replicas.len();
        if n_seeds < 2 {
            continue;
        }
        let own = &values[starts[place]..starts[place] + n_seeds];
        let mean = own.iter().sum::<f64>() / n_seeds as f64;
        let scale = ((n_seeds * (n_seeds - 1)) as f64).sqrt();
        let stream = streams.entry(&arm.stream).or_insert(Stream {
            deviations: BTreeMap::new(),
            freedom: n_seeds - 1,
        });
        stream.freedom = stream.freedom.min(n_seeds - 1);
        for ((seed, _), value) in arm.replicas.iter().zip(own) {
            let deviation = stream
                .deviations
                .entry(*seed)
                .or_insert_with(|| vec![0.0; contrasts.len()]);
            for (sum, contrast) in deviation.iter_mut().zip(contrasts) {
                let weight: f64 = contrast
                    .iter()
                    .filter(|term| term.0 == place)
                    .map(|term| term.1)
                    .sum();
                *sum += weight * (value - mean) / scale;
            }
        }
    }
    streams.into_values().collect()
}

/// Variance of a column about its mean, over the draws that define it.
fn variance(rows: &[Vec<f64>], place: usize) -> f64 {
    let defined = || {
        rows.iter()
            .map(|row| row[place])
            .filter(|value| value.is_finite())
    };
    let n = defined().count();
    if n < 2 {
        return 0.0;
    }
    let mean = defined().sum::<f64>() / n as f64;
    defined().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64
}

/// A standard normal number (Box and Muller).
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    // The draw lies in [0, 1): its complement has a logarithm.
    (-2.0 * libm::log(1.0 - radius)).sqrt() * libm::cos(std::f64::consts::TAU * angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns per arm and seed are not needed: numbers of seeds are read off the total of one column.
    fn arm(stream: &str, values: &[f64]) -> Replicated<'static> {
        let replica = |(seed, &value): (usize, &f64)| {
            let statistic: Statistic<'static> = Box::new(move |totals: &[f64]| value + totals[0] / totals[1]);
            (seed as u64, statistic)
        };
        Replicated {
            stream: stream.into(),
            replicas: values.iter().enumerate().map(replica).collect(),
        }
    }

    fn strata() -> [Stratum; 1] {
        let sums = (0..50).flat_map(|i| [f64::from(i % 5), 1.0]).collect();
        [Stratum { columns: 0..2, sums }]
    }

    #[test]
    fn variances_are_those_of_the_parts() {
        let arms = [arm("a", &[1.0, 2.0, 3.0]), arm("b", &[0.0])];
        let bootstrap = Bootstrap {
            resamples: 4000,
            ..Bootstrap::default()
        };
        let found = bootstrap.two_level(
            &strata(),
            &arms,
            &[vec![(0, 1.0)], vec![(0, 1.0), (1, -1.0)], vec![(1, 1.0)]],
        );
        assert!(
            (found.variances[0].seeds - 1.0 / 3.0).abs() < 1e-12,
            "{:?}",
            found.variances
        );
        assert!(
            (found.variances[0].pictures - 2.0 / 50.0).abs() < 0.003,
            "{:?}",
            found.variances
        );
        // What both share cancels: the pictures here.
        assert!(found.variances[1].pictures < 1e-12 && found.variances[1].seed_share() > 0.999);
        assert_eq!(found.variances[2].seeds, 0.0);
        assert_eq!(found.family.values, [4.0, 2.0, 2.0]);
    }

    #[test]
    fn paired_trainings_cancel_what_they_share() {
        let bootstrap = Bootstrap {
            resamples: 200,
            ..Bootstrap::default()
        };
        let with = |streams: [&str; 2]| {
            let arms = [
                arm(streams[0], &[1.0, 5.0, 9.0]),
                arm(streams[1], &[0.0, 4.0, 8.0]),
            ];
            bootstrap
                .two_level(&strata(), &arms, &[vec![(0, 1.0), (1, -1.0)]])
                .variances[0]
                .seeds
        };
        assert!(with(["trained", "trained"]) < 1e-12);
        assert!((with(["a", "b"]) - 2.0 * 16.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn three_trainings_have_students_tails() {
        let bootstrap = Bootstrap {
            resamples: 40_000,
            ..Bootstrap::default()
        };
        let flat = [Stratum {
            columns: 0..2,
            sums: [0.0, 1.0].repeat(4),
        }];
        let found = bootstrap.two_level(&flat, &[arm("a", &[1.0, 2.0, 3.0])], &[vec![(0, 1.0)]]);
        let one = found.family.compared(0.95)[0];
        let reach = (one.hi - one.value) / (1.0f64 / 3.0).sqrt();
        assert!(
            (reach / 4.303 - 1.0).abs() < 0.05,
            "{reach} standard errors, 4.303 by Student's table"
        );
    }
}
