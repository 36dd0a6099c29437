//! What answers without looking are worth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The number that guessing earns on each benchmark, by its name, in the units of the benchmark's own number.
///
/// Guessing draws uniformly among the answers that a question offers. Open questions offer none: their level is 0, and
/// the arm without a picture tells what words alone are worth. Benchmarks that are not named have level 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChanceLevels(pub BTreeMap<String, f64>);

/// Levels of the published benchmarks.
const PUBLISHED: [(&str, f64); 10] = [
    ("gqa", 0.0),
    // Half of the questions are yes: precision and recall of a coin are 1/2, and so is F1.
    ("pope", 50.0),
    ("textvqa", 0.0),
    // A question counts when all rotations of its (mostly four) options are right: 4^-4.
    ("mmbench", 0.390_625),
    ("mmbench_cn", 0.390_625),
    // 14 parts, each 50 for single answers and 25 for both answers about a picture.
    ("mme", 1050.0),
    // Mean over the image questions of one over the number of choices, as the data set's paper prints it.
    ("scienceqa", 40.08),
    ("vqav2", 0.0),
    ("seed_bench", 25.0),
    ("vizwiz", 0.0),
];

impl Default for ChanceLevels {
    fn default() -> Self {
        Self(
            PUBLISHED
                .iter()
                .map(|&(name, level)| (name.to_string(), level))
                .collect(),
        )
    }
}

impl ChanceLevels {
    /// The level of a benchmark; 0 when it is not named.
    pub fn of(&self, benchmark: &str) -> f64 {
        self.0.get(benchmark).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Confusion;
    use crate::data::Benchmark;

    #[test]
    fn every_benchmark_has_a_level() {
        let levels = ChanceLevels::default();
        assert_eq!(levels.0.len(), Benchmark::ALL.len());
        for benchmark in Benchmark::ALL {
            assert!(levels.0.contains_key(benchmark.name()), "{benchmark}");
        }
    }

    #[test]
    fn a_coin_has_the_level_of_pope() {
        let coin = [(true, true), (false, true), (true, false), (false, false)];
        assert_eq!(
            100.0 * Confusion::count(coin).f1(),
            ChanceLevels::default().of("pope")
        );
        assert_eq!(ChanceLevels::default().of("somebody's own"), 0.0);
    }
}
