//! The methods that are compared on a model.

use diffprune::vlm::Family;
use diffprune::{Atp, Budget, DynamicLlava, DynamicVit, GlimpsePrune, GumbelBackward, GumbelSte, Method};
use diffprune_baselines::{Baseline, Encoder, Fidelity, registry};
use serde::{Deserialize, Serialize};

/// The comparison on one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineup {
    /// The table of the papers whose rows it has.
    pub table: String,
    /// Budgets, as exact shares of the tokens, from the largest to the smallest.
    pub budgets: Vec<Budget>,
    /// The methods that are trained for it.
    pub learned: Vec<Learned>,
    /// Arms, in the order of the tables.
    pub arms: Vec<String>,
}

/// A method that is trained for the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The name of its arm.
    pub arm: String,
    /// The method.
    pub method: Method,
    /// Seeds of its trainings, over which the arm is averaged; empty for the seed of the experiment alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
}

impl Lineup {
    /// The comparison on models of a family.
    ///
    /// LLaVA-1.5 and unknown families: every method of the registry and every learned rival at three budgets (Table 1).
    /// LLaVA-NeXT (Table 2, one budget) and Qwen2.5-VL (Table 3): the published methods before the language model, as their
    /// authors' code has them.
    pub fn of(family: Family) -> Self {
        let every = !matches!(family, Family::LlavaNext | Family::Qwen25Vl);
        let (table, budgets) = match family {
            Family::LlavaNext => ("Table 2", vec![Budget::rate(1, 9)]),
            Family::Qwen25Vl => ("Table 3", thirds()),
            _ => ("Table 1", thirds()),
        };
        let learned = if every { all_learned() } else { core() };
        let mut arms: Vec<String> = ["full", "diffprune", "diffprune-reindexed"]
            .map(String::from)
            .to_vec();
        for rival in &learned[1..] {
            arms.push(rival.arm.clone());
            if rival.method.decides_on_the_count() {
                arms.push(format!("{}-at-budget", rival.arm));
            }
        }
        let encoder = match family {
            Family::Qwen25Vl => Encoder::WithoutClass,
            _ => Encoder::WithClass,
        };
        let chosen = |baseline: &&Baseline| {
            baseline.paper.is_none()
                || every
                || (is_before_the_model(baseline) && baseline.is_for(encoder) && is_default(baseline))
        };
        let (published, controls): (Vec<_>, Vec<_>) = registry()
            .iter()
            .filter(chosen)
            .partition(|baseline| baseline.paper.is_some());
        let names = |list: &[&Baseline]| list.iter().map(|b| b.name.to_string()).collect::<Vec<_>>();
        arms.extend(names(&published));
        arms.extend(names(&controls));
        let others = [
            "oracle-loo",
            "downsampled-image",
            "untrained",
            "inverted",
            "blank-image",
            "text-only",
        ];
        arms.extend(others.map(String::from));
        Self {
            table: table.into(),
            budgets,
            learned,
            arms,
        }
    }
}

impl Lineup {
    /// The same line-up with `count` trainings of each method that has no seeds of its own, from `first` on.
    #[must_use]
    pub fn with_training_seeds(mut self, first: u64, count: u64) -> Self {
        if count > 1 {
            let without = self.learned.iter_mut().filter(|learned| learned.seeds.is_empty());
            without.for_each(|learned| learned.seeds = (first..first + count).collect());
        }
        self
    }
}

impl Learned {
    /// A method under the name of its arm, trained once, with the seed of the experiment.
    pub fn new(arm: impl Into<String>, method: Method) -> Self {
        Self {
            arm: arm.into(),
            method,
            seeds: Vec::new(),
        }
    }

    /// The seeds of its trainings in an experiment of that seed.
    pub fn training_seeds(&self, experiment: u64) -> Vec<u64> {
        match self.seeds.is_empty() {
            true => vec![experiment],
            false => self.seeds.clone(),
        }
    }
}

/// 66.7, 77.8 and 88.9 % pruned.
fn thirds() -> Vec<Budget> {
    vec![Budget::rate(1, 3), Budget::rate(2, 9), Budget::rate(1, 9)]
}

/// DiffPrune and the controlled contrast.
fn core() -> Vec<Learned> {
    let contrast = GumbelSte::new(GumbelBackward::Identity).into();
    [("diffprune", Method::default()), ("gumbel-ste", contrast)]
        .map(learned)
        .to_vec()
}

fn all_learned() -> Vec<Learned> {
    let rivals = [
        ("dynamic-vit", DynamicVit::default().into()),
        ("dynamic-llava", DynamicLlava::default().into()),
        ("atp", Atp::default().into()),
        ("glimpse-prune", GlimpsePrune::default().into()),
    ];
    core().into_iter().chain(rivals.map(learned)).collect()
}

fn learned((arm, method): (&str, Method)) -> Learned {
    Learned::new(arm, method)
}

fn is_before_the_model(baseline: &Baseline) -> bool {
    (baseline.init)().decoder().is_none()
}

/// True for a method as its authors' code has it; variants as the papers describe them are compared on the first model.
fn is_default(baseline: &Baseline) -> bool {
    baseline
        .differs
        .is_none_or(|differs| differs.follows == Fidelity::Reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_table_has_every_method() {
        let lineup = Lineup::of(Family::Llava15);
        for baseline in registry() {
            assert!(
                lineup.arms.iter().any(|arm| arm == baseline.name),
                "{}",
                baseline.name
            );
        }
        for arm in [
            "gumbel-ste",
            "dynamic-vit",
            "dynamic-llava",
            "atp-at-budget",
            "glimpse-prune-at-budget",
        ] {
            assert!(lineup.arms.iter().any(|name| name == arm), "{arm}");
        }
        assert_eq!(Lineup::of(Family::Other("some-other")), lineup);
    }

    #[test]
    fn the_other_tables_have_the_methods_before_the_model() {
        let (next, qwen) = (Lineup::of(Family::LlavaNext), Lineup::of(Family::Qwen25Vl));
        assert_eq!(next.budgets, [Budget::rate(1, 9)]);
        assert_eq!(qwen.budgets, thirds());
        let has = |lineup: &Lineup, arm: &str| lineup.arms.iter().any(|name| name == arm);
        for arm in ["divprune", "cdpruner", "gumbel-ste", "oracle-keep", "random"] {
            assert!(has(&next, arm) && has(&qwen, arm), "{arm}");
        }
        for arm in ["fastv", "dart", "dynamic-vit"] {
            assert!(!has(&next, arm) && !has(&qwen, arm), "{arm}");
        }
        for arm in ["holov", "visionzip", "prumerge", "prumerge-plus"] {
            let variant = format!("{arm}-qwen");
            assert!(has(&next, arm) && !has(&next, &variant), "{arm}");
            assert!(has(&qwen, &variant) && !has(&qwen, arm), "{arm}");
        }
        for lineup in [&next, &qwen] {
            assert!(!lineup.arms.iter().any(|arm| arm.contains("corrected")));
        }
    }

    #[test]
    fn no_arm_stands_twice() {
        for family in Family::ALL {
            let mut arms = Lineup::of(family).arms;
            let count = arms.len();
            arms.sort();
            arms.dedup();
            assert_eq!(arms.len(), count, "{family}");
        }
    }
}
