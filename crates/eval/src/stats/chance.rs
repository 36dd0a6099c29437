//! The numbers that answers without looking earn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::Aggregate;
use crate::data::Benchmark;

/// The number that guessing earns on each complete benchmark, by its name, in the units of the benchmark's own number.
///
/// Guessing draws uniformly among the answers that a question offers. Open questions offer none: their level is 0, and
/// the arm without a picture tells what words alone are worth. Benchmarks that are not named have level 0.
///
/// Reports compute the level of the questions that were really asked ([`chance_level`]) and take the one from here where
/// the records do not know how many answers a question offers, or where it was replaced by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChanceLevels(pub BTreeMap<String, f64>);

impl Default for ChanceLevels {
    fn default() -> Self {
        let level = |benchmark: Benchmark| (benchmark.name().to_string(), benchmark.spec().chance());
        Self(Benchmark::ALL.into_iter().map(level).collect())
    }
}

impl ChanceLevels {
    /// The level of a benchmark; the published one when it is not named, 0 when it has none.
    pub fn of(&self, benchmark: &str) -> f64 {
        let published = || Benchmark::named(benchmark).map_or(0.0, |benchmark| benchmark.spec().chance());
        self.0.get(benchmark).copied().unwrap_or_else(published)
    }

    /// The level of a benchmark where it is not the published one: somebody has set it.
    pub(crate) fn replaced(&self, benchmark: &str) -> Option<f64> {
        let published = Benchmark::named(benchmark)?.spec().chance();
        self.0.get(benchmark).copied().filter(|level| *level != published)
    }
}

/// A question as somebody sees it who guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess<'a> {
    /// The benchmark's part.
    pub subset: &'a str,
    /// The questions that count together; `None` when the question counts alone.
    pub group: Option<&'a str>,
    /// The number of answers that the question offers; `None` when it is open or nobody knows.
    pub answers: Option<usize>,
    /// The truth of a yes/no question.
    pub label: Option<bool>,
}

/// The number that uniform guessing earns on these questions, in the units of how they add up; `None` without questions, or when
/// one of them is open.
///
/// With `a` answers a guess is right with chance `1 / a`, a group with the product over its questions. Of F1, which is no
/// mean over questions, the level is that of a coin's expected counts: where a share `p` of a part's questions is yes, its
/// precision is `p`, its recall 1/2, and F1 `2 p / (2 p + 1)`.
pub fn chance_level<'a>(aggregate: Aggregate, questions: impl IntoIterator<Item = Guess<'a>>) -> Option<f64> {
    /// The sums of a part: questions, chances to be right, questions whose answer is yes; chances of each group.
    #[derive(Default)]
    struct Part<'a> {
        n: f64,
        right: f64,
        yes: f64,
        groups: BTreeMap<&'a str, f64>,
        alone: Vec<f64>,
    }
    impl Part<'_> {
        fn groups(&self) -> (f64, f64) {
            let chances = || self.groups.values().chain(&self.alone);
            (chances().sum(), chances().count() as f64)
        }
    }
    let mut parts: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    for question in questions {
        let chance = 1.0 / question.answers.filter(|&answers| answers > 0)? as f64;
        let part = parts.entry(question.subset).or_default();
        part.n += 1.0;
        part.right += chance;
        part.yes += f64::from(question.label == Some(true));
        match question.group {
            Some(group) => *part.groups.entry(group).or_insert(1.0) *= chance,
            None => part.alone.push(chance),
        }
    }
    if parts.is_empty() {
        return None;
    }
    let sum = |of: &dyn Fn(&Part<'_>) -> f64| parts.values().map(of).sum::<f64>();
    let of_group = |part: &Part<'_>| part.groups().0 / part.groups().1;
    Some(match aggregate {
        Aggregate::MeanScore => 100.0 * sum(&|part| part.right) / sum(&|part| part.n),
        Aggregate::MeanF1 => {
            let f1 = |part: &Part<'_>| {
                let doubled = 2.0 * part.yes / part.n;
                doubled / (doubled + 1.0)
            };
            100.0 * sum(&f1) / parts.len() as f64
        }
        Aggregate::Groups => 100.0 * sum(&|part| part.groups().0) / sum(&|part| part.groups().1),
        Aggregate::AccuracyPlus => sum(&|part| 100.0 * part.right / part.n + 100.0 * of_group(part)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Confusion;

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

    fn guess<'a>(subset: &'a str, group: Option<&'a str>, answers: usize) -> Guess<'a> {
        Guess {
            subset,
            group,
            answers: Some(answers),
            label: None,
        }
    }

    fn near(found: Option<f64>, wanted: f64) {
        assert!(
            (found.unwrap() - wanted).abs() < 1e-9,
            "{found:?}, expected {wanted}"
        );
    }

    #[test]
    fn complete_benchmarks_have_the_published_levels() {
        let parts: Vec<String> = (0..14).map(|part| format!("part {part}")).collect();
        let pairs: Vec<String> = (0..3).map(|pair| format!("pair {pair}")).collect();
        let mme = parts
            .iter()
            .flat_map(|part| pairs.iter().map(move |pair| (part, pair)))
            .flat_map(|(part, pair)| [guess(part, Some(pair), 2); 2]);
        let levels = ChanceLevels::default();
        near(chance_level(Aggregate::AccuracyPlus, mme), levels.of("mme"));
        let seed = [guess("image", None, 4); 7];
        near(chance_level(Aggregate::MeanScore, seed), levels.of("seed_bench"));
        let mmbench = pairs.iter().flat_map(|group| [guess("a", Some(group), 4); 4]);
        near(chance_level(Aggregate::Groups, mmbench), levels.of("mmbench"));
    }

    #[test]
    fn the_level_follows_the_questions() {
        // Five of MME's parts are worth 75 points each; a pair whose other question is not asked is a single one.
        let parts = ["a", "b", "c", "d", "e"];
        let five = || parts.iter().flat_map(|part| [guess(part, Some("1"), 2); 2]);
        near(chance_level(Aggregate::AccuracyPlus, five()), 375.0);
        let single = five().chain([guess("a", Some("2"), 2)]);
        near(
            chance_level(Aggregate::AccuracyPlus, single),
            300.0 + 50.0 + 100.0 * (0.25 + 0.5) / 2.0,
        );
        // Two options in two rotations, and four in four: (1/4 + 1/256) / 2.
        let rotated = [guess("a", Some("x"), 2); 2]
            .into_iter()
            .chain([guess("a", Some("y"), 4); 4]);
        near(
            chance_level(Aggregate::Groups, rotated),
            100.0 * (0.25 + 1.0 / 256.0) / 2.0,
        );
        // Two, three and five choices.
        let choices = [2, 3, 5].map(|n| guess("a", None, n));
        near(
            chance_level(Aggregate::MeanScore, choices),
            100.0 * (0.5 + 1.0 / 3.0 + 0.2) / 3.0,
        );
        // One part half yes, the other with one yes of four: 1/2 and 1/3.
        let yes_no = |subset, label| Guess {
            label: Some(label),
            ..guess(subset, None, 2)
        };
        let pope = [
            ("a", true),
            ("a", false),
            ("b", true),
            ("b", false),
            ("b", false),
            ("b", false),
        ];
        near(
            chance_level(
                Aggregate::MeanF1,
                pope.map(|(subset, label)| yes_no(subset, label)),
            ),
            100.0 * (0.5 + 1.0 / 3.0) / 2.0,
        );
    }

    #[test]
    fn open_questions_have_no_level() {
        let open = Guess {
            answers: None,
            ..guess("a", None, 4)
        };
        assert_eq!(
            chance_level(Aggregate::MeanScore, [guess("a", None, 4), open]),
            None
        );
        assert_eq!(chance_level(Aggregate::MeanScore, []), None);
    }

    #[test]
    fn a_level_that_somebody_sets_is_told_from_the_published_one() {
        let mut levels = ChanceLevels::default();
        assert_eq!((levels.replaced("mme"), levels.replaced("own")), (None, None));
        levels.0.insert("mme".into(), 7.0);
        assert_eq!(levels.replaced("mme"), Some(7.0));
    }
}
