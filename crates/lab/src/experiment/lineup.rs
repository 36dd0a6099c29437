//! The methods that are compared on a model.

use diffprune::vlm::Family;
use diffprune::{
    Atp, Budget, DynamicLlava, DynamicVit, GlimpsePrune, GumbelBackward, GumbelSte, Method, variants,
};
use diffprune_baselines::{Baseline, Encoder, Fidelity, registry};
use diffprune_eval::Absent;
use serde::{Deserialize, Serialize};

use super::{Ablations, Learned, Plan};
use crate::arms::AT_BUDGET;

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
    /// Arms that the data has no use for, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
}

/// The rows of Tables 2 and 3 that act inside the language model. `pyramiddrop-published` stands for its row: its authors
/// publish shares and no schedule for a budget.
const INSIDE_IN_TABLE_2: [&str; 4] = ["fastv", "fastv-kept", "pyramiddrop-published", "dart"];
const INSIDE_IN_TABLE_3: [&str; 2] = ["fastv", "fastv-kept"];

/// The arms of Table 5 beside the Gumbel contrast.
const VARIANTS_OF_TABLE_5: [&str; 2] = ["diffprune-scale", "diffprune-global"];

/// ID-Selection's ablations: the signals of its importance, and the strength of the suppression.
const ID_ABLATIONS: [&str; 10] = [
    "id-selection-both",
    "id-selection-visual",
    "id-selection-instruction",
    "id-selection-gamma-1",
    "id-selection-gamma-5",
    "id-selection-gamma-10",
    "id-selection-gamma-15",
    "id-selection-gamma-20",
    "id-selection-gamma-25",
    "id-selection-gamma-30",
];

/// Longer trainings of DiffPrune, in updates.
const LONGER: [usize; 2] = [240, 960];

impl Lineup {
    /// A comparison by its name, its budgets from the largest to the smallest, what is trained for it, and its arms by name.
    pub fn new<A: Into<String>>(
        table: impl Into<String>,
        budgets: impl Into<Vec<Budget>>,
        learned: impl Into<Vec<Learned>>,
        arms: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            table: table.into(),
            budgets: budgets.into(),
            learned: learned.into(),
            arms: arms.into_iter().map(Into::into).collect(),
            absent: Vec::new(),
        }
    }

    /// The comparison on models of a family, trained with seeds from `seed` on.
    ///
    /// LLaVA-1.5 and unknown families: every method of the registry, every learned rival and the ablations of the plan at three
    /// budgets (Tables 1 and 5). LLaVA-NeXT (Table 2, one budget) and Qwen2.5-VL (Table 3): DiffPrune and its contrasts, the
    /// published methods before the language model, as their authors' code has them, and the rows of the table inside it.
    pub fn of(family: Family, plan: &Plan, seed: u64) -> Self {
        let every = !matches!(family, Family::LlavaNext | Family::Qwen25Vl);
        let with_ablations = every && plan.ablations != Ablations::None;
        let (table, mut budgets, inside) = match family {
            Family::LlavaNext => ("Table 2", vec![Budget::rate(1, 9)], &INSIDE_IN_TABLE_2[..]),
            Family::Qwen25Vl => ("Table 3", thirds(), &INSIDE_IN_TABLE_3[..]),
            _ => ("Table 1", thirds(), &[][..]),
        };
        if with_ablations {
            // ID-Selection's smallest budget: 16 of 576.
            budgets.push(Budget::rate(1, 36));
        }
        let learned = match every {
            true => on_the_first_model(plan),
            false => core(plan),
        };
        let learned: Vec<Learned> = learned
            .into_iter()
            .map(|(learned, count)| Learned {
                seeds: (seed..seed + count.max(1)).collect(),
                ..learned
            })
            .collect();
        let mut arms = vec!["full".to_string()];
        for learned in &learned {
            arms.extend(names_of(learned));
        }
        let encoder = match family {
            Family::Qwen25Vl => Encoder::WithoutClass,
            _ => Encoder::WithClass,
        };
        let chosen = |baseline: &&Baseline| {
            baseline.paper.is_none()
                || every
                || inside.contains(&baseline.name)
                || (is_before_the_model(baseline) && baseline.is_for(encoder) && is_default(baseline))
        };
        let (published, controls): (Vec<&Baseline>, Vec<&Baseline>) = registry()
            .iter()
            .filter(chosen)
            .partition(|baseline| baseline.paper.is_some());
        let others = [
            "oracle-loo",
            "downsampled-image",
            "untrained",
            "inverted",
            "blank-image",
            "text-only",
        ];
        arms.extend(
            published
                .iter()
                .chain(&controls)
                .map(|baseline| baseline.name.to_string()),
        );
        if with_ablations {
            arms.extend(ID_ABLATIONS.map(String::from));
        }
        arms.extend(others.map(String::from));
        Self {
            table: table.into(),
            budgets,
            learned,
            arms,
            absent: Vec::new(),
        }
    }

    /// The same line-up for captions that do not know where objects are: methods that learn from boxes are in the tables with
    /// that reason, and are not trained.
    #[must_use]
    pub fn without_boxes(mut self) -> Self {
        let (needing, others) = self
            .learned
            .into_iter()
            .partition(|learned: &Learned| learned.method.needs_relevance());
        self.learned = others;
        for name in needing.iter().flat_map(names_of) {
            self.arms.retain(|arm| *arm != name);
            self.absent.extend(self.budgets.iter().map(|budget| Absent {
                arm: name.clone(),
                budget: budget.to_string(),
                reason: "it learns from boxes around objects, which the captions do not have".into(),
            }));
        }
        self
    }

    /// The same line-up with an arm `NAME-tuned` behind each method whose tuning chose another recipe than the declared one.
    #[must_use]
    pub fn tuned<'t>(mut self, chosen: impl IntoIterator<Item = (&'t str, super::Recipe)>) -> Self {
        for (arm, recipe) in chosen {
            let Some(place) = self.learned.iter().position(|learned| learned.arm == arm) else {
                continue;
            };
            let untuned = &self.learned[place];
            let tuned = Learned {
                arm: format!("{arm}-tuned"),
                recipe: Some(recipe),
                ..untuned.clone()
            };
            let behind = names_of(untuned)
                .last()
                .and_then(|last| self.arms.iter().position(|name| name == last));
            let at = behind.map_or(self.arms.len(), |behind| behind + 1);
            self.arms.splice(at..at, names_of(&tuned));
            self.learned.insert(place + 1, tuned);
        }
        self
    }
}

/// The arms of a trained method.
fn names_of(learned: &Learned) -> Vec<String> {
    let mut names = vec![learned.arm.clone()];
    if learned.arm == "diffprune" {
        names.push("diffprune-reindexed".into());
    }
    if learned.method.decides_on_the_count() {
        names.push(format!("{}{AT_BUDGET}", learned.arm));
    }
    names
}

/// 66.7, 77.8 and 88.9 % pruned.
fn thirds() -> Vec<Budget> {
    vec![Budget::rate(1, 3), Budget::rate(2, 9), Budget::rate(1, 9)]
}

/// DiffPrune and its contrasts, each with its number of seeds.
fn core(plan: &Plan) -> Vec<(Learned, u64)> {
    let (identity, soft) = (GumbelBackward::Identity, GumbelBackward::Soft);
    let mut methods: Vec<(&str, Method)> = vec![
        ("diffprune", Method::default()),
        ("gumbel-noise", GumbelSte::noise(identity).into()),
        ("gumbel-gathered", GumbelSte::gathered(identity).into()),
    ];
    if plan.ablations != Ablations::None {
        methods.push(("gumbel-noise-soft", GumbelSte::noise(soft).into()));
        methods.push(("gumbel-gathered-soft", GumbelSte::gathered(soft).into()));
    }
    methods
        .into_iter()
        .map(|(arm, method)| (Learned::new(arm, method), plan.training_seeds))
        .collect()
}

/// The names of DiffPrune and its contrasts in the plan.
pub(super) fn contrasts(plan: &Plan) -> Vec<String> {
    core(plan).into_iter().map(|(learned, _)| learned.arm).collect()
}

/// All that is trained on the first model, each with its number of seeds.
fn on_the_first_model(plan: &Plan) -> Vec<(Learned, u64)> {
    let mut all = core(plan);
    let mut add = |learned: Learned, seeds: u64| all.push((learned, seeds));
    add(
        Learned::new("gumbel-ste", GumbelSte::new(GumbelBackward::Identity)),
        plan.training_seeds,
    );
    if plan.ablations == Ablations::All {
        let soft = GumbelSte::new(GumbelBackward::Soft);
        add(Learned::new("gumbel-ste-soft", soft), plan.training_seeds);
    }
    for variant in variants() {
        let wanted = match plan.ablations {
            Ablations::None => false,
            Ablations::Papers => VARIANTS_OF_TABLE_5.contains(&variant.name),
            Ablations::All => true,
        };
        if wanted {
            add(Learned::variant(variant.name), plan.training_seeds);
        }
    }
    if plan.ablations == Ablations::All {
        let own_budgets = Learned {
            own_budgets: true,
            ..Learned::new("diffprune-own-budget", Method::default())
        };
        add(own_budgets, plan.training_seeds);
        for steps in LONGER {
            let longer = Learned {
                steps: Some(steps),
                ..Learned::new(format!("diffprune-{steps}"), Method::default())
            };
            add(longer, plan.training_seeds);
        }
    }
    let at_a_budget: [(&str, Method); 3] = [
        ("dynamic-vit", DynamicVit::default().into()),
        ("dynamic-llava", DynamicLlava::default().into()),
        ("atp", Atp::default().into()),
    ];
    for (arm, method) in at_a_budget {
        let learned = Learned {
            own_budgets: plan.own_budgets,
            ..Learned::new(arm, method)
        };
        add(learned, plan.rival_seeds);
    }
    // It learns from boxes and knows no budget in training.
    add(
        Learned::new("glimpse-prune", GlimpsePrune::default()),
        plan.rival_seeds,
    );
    all
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
    use crate::experiment::Recipe;

    fn of(family: Family, plan: &Plan) -> Lineup {
        Lineup::of(family, plan, 0)
    }

    fn has(lineup: &Lineup, arm: &str) -> bool {
        lineup.arms.iter().any(|name| name == arm)
    }

    fn plans() -> [Plan; 4] {
        [Plan::quick(), Plan::default(), Plan::full(), Plan::smallest()]
    }

    #[test]
    fn the_first_table_has_every_method() {
        for plan in plans() {
            let lineup = of(Family::Llava15, &plan);
            for baseline in registry() {
                assert!(has(&lineup, baseline.name), "{}", baseline.name);
            }
            for arm in [
                "gumbel-noise",
                "gumbel-gathered",
                "gumbel-ste",
                "dynamic-vit",
                "dynamic-llava",
                "atp-at-budget",
                "glimpse-prune-at-budget",
            ] {
                assert!(has(&lineup, arm), "{arm}");
            }
            assert_eq!(of(Family::Other("some-other"), &plan), lineup);
        }
    }

    #[test]
    fn table_5_grows_with_the_plan() {
        let [quick, default, full, _] = plans().map(|plan| of(Family::Llava15, &plan));
        for arm in VARIANTS_OF_TABLE_5 {
            assert!(
                !has(&quick, arm) && has(&default, arm) && has(&full, arm),
                "{arm}"
            );
        }
        for variant in variants() {
            assert!(has(&full, variant.name), "{}", variant.name);
        }
        for arm in ["gumbel-noise-soft", "gumbel-gathered-soft"] {
            assert!(
                !has(&quick, arm) && has(&default, arm) && has(&full, arm),
                "{arm}"
            );
        }
        for arm in ["gumbel-ste-soft", "diffprune-own-budget", "diffprune-240"] {
            assert!(!has(&default, arm) && has(&full, arm), "{arm}");
        }
        assert_eq!(quick.budgets, thirds());
        assert!(!has(&quick, "id-selection-both"));
        for plan in [default, full] {
            assert_eq!(plan.budgets[3], Budget::rate(1, 36));
            assert!(ID_ABLATIONS.iter().all(|arm| has(&plan, arm)));
        }
    }

    #[test]
    fn the_other_tables_have_their_own_rows() {
        for plan in plans() {
            let (next, qwen) = (of(Family::LlavaNext, &plan), of(Family::Qwen25Vl, &plan));
            assert_eq!(next.budgets, [Budget::rate(1, 9)]);
            assert_eq!(qwen.budgets, thirds());
            for arm in [
                "divprune",
                "cdpruner",
                "gumbel-noise",
                "gumbel-gathered",
                "oracle-keep",
                "random",
                "fastv",
            ] {
                assert!(has(&next, arm) && has(&qwen, arm), "{arm}");
            }
            for arm in ["dart", "pyramiddrop-published"] {
                assert!(has(&next, arm) && !has(&qwen, arm), "{arm}");
            }
            for arm in [
                "pyramiddrop",
                "sparsevlm",
                "dart-average",
                "dynamic-vit",
                "diffprune-scale",
            ] {
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
    }

    #[test]
    fn contrasts_share_the_seeds_of_the_method() {
        for plan in plans() {
            for family in Family::ALL {
                let lineup = Lineup::of(family, &plan, 5);
                for learned in &lineup.learned {
                    let first = learned.seeds.first().copied();
                    assert_eq!(first, Some(5), "{}", learned.arm);
                    if learned.arm.starts_with("gumbel") || learned.arm.starts_with("diffprune") {
                        assert_eq!(learned.seeds.len() as u64, plan.training_seeds, "{}", learned.arm);
                    }
                }
            }
        }
    }

    /// The numbers of `docs/repro.md`.
    #[test]
    fn plans_have_so_many_trainings() {
        for (plan, wanted) in [(Plan::quick(), 14), (Plan::default(), 67), (Plan::full(), 132)] {
            let lineups = Family::ALL.map(|family| of(family, &plan));
            let count = |lineup: &Lineup| -> usize {
                let learned = lineup.learned.iter();
                let trainings = |learned: &Learned| {
                    learned.training_seeds(0).len() * learned.training_budgets(&lineup.budgets).len()
                };
                learned.map(trainings).sum()
            };
            assert_eq!(
                lineups.iter().map(count).sum::<usize>(),
                wanted,
                "{:?}",
                plan.name()
            );
        }
    }

    #[test]
    fn a_tuned_arm_stands_behind_its_own() {
        let recipe = Recipe {
            lr: 3e-3,
            tau_start: 0.3,
            tau_end: 0.05,
        };
        let plain = of(Family::Llava15, &Plan::default());
        let lineup = plain.clone().tuned([
            ("diffprune", recipe),
            ("atp", recipe),
            ("not-trained-here", recipe),
        ]);
        let place = |arm: &str| lineup.arms.iter().position(|name| name == arm).unwrap();
        assert_eq!(place("diffprune-tuned"), place("diffprune-reindexed") + 1);
        assert_eq!(place("atp-tuned-at-budget"), place("atp-at-budget") + 2);
        assert_eq!(lineup.arms.len(), plain.arms.len() + 3);
        let tuned = lineup
            .learned
            .iter()
            .find(|learned| learned.arm == "atp-tuned")
            .unwrap();
        assert!(tuned.own_budgets && tuned.recipe == Some(recipe));
    }

    #[test]
    fn no_arm_stands_twice() {
        for plan in plans() {
            for family in Family::ALL {
                let mut arms = of(family, &plan).arms;
                let count = arms.len();
                arms.sort();
                arms.dedup();
                assert_eq!(arms.len(), count, "{family}");
            }
        }
    }
}
