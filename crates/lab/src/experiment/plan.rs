//! The sizes of an experiment.

use diffprune::{Budget, TrainConfig, ValidationConfig, Variant};
use diffprune_eval::StageTimer;
use diffprune_mini::{MiniCounts, MiniWorld};
use serde::{Deserialize, Serialize};

use super::{Learned, Recipe, StudySizes, Tuning};
use crate::error::LabError;
use crate::methods::{default_learning_rate, default_scorer};

/// The sizes of an experiment, the same for every model; the methods that are compared on a model are its
/// [`Lineup`](crate::Lineup).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Pictures and questions of the small world.
    pub counts: MiniCounts,
    /// Questions about a picture of POPE in each of its three sets.
    pub pope_per_image: usize,
    /// Budget of a training that serves every budget of a table.
    pub train_budget: Budget,
    /// Updates of each training.
    pub steps: usize,
    /// Captions of an update.
    pub batch: usize,
    /// Updates between checkpoints.
    pub checkpoint_every: usize,
    /// Trainings of DiffPrune, its contrasts and its ablations, each from another seed.
    pub training_seeds: u64,
    /// Trainings of each learned rival.
    pub rival_seeds: u64,
    /// Drawings of the scorer before any training.
    pub untrained_seeds: u64,
    /// Seeds over which random tokens are averaged.
    pub random_seeds: u64,
    /// The ablations that are trained.
    pub ablations: Ablations,
    /// True when rivals that are trained at a budget are trained once for each that they are compared at.
    pub own_budgets: bool,
    /// The grid of a tuning before the trainings; without one every arm has the declared recipe alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// True when DiffPrune and its contrasts are trained with the recipes of [`TunedArms::committed`](super::TunedArms::committed),
    /// too. For the small world and plans without a tuning of their own.
    pub tuned_contrasts: bool,
    /// Questions for the leave-one-out oracle: each costs as many forward passes as its picture has tokens.
    pub oracle_questions: usize,
    /// Resamples behind each interval.
    pub resamples: usize,
    /// Longest answer in new tokens; those of the small world have at most four.
    pub max_new_tokens: usize,
    /// Test pictures to draw.
    pub pictures: usize,
    /// The pilot studies, on the first model alone.
    pub studies: StudySizes,
    /// Rounds behind the medians of the table of times; 0 measures none.
    pub rounds: usize,
}

/// The arms of a plan beside DiffPrune, its contrasts and its rivals; all on the first model alone but the contrasts' soft
/// gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ablations {
    /// None.
    None,
    /// Those of the papers' Table 5, the scale gate and the global denoiser, and the soft gradients of the contrasts.
    #[default]
    Papers,
    /// Every variant of DiffPrune, every contrast, longer trainings, a training for each budget, and the budget 1/36.
    All,
}

impl Default for Plan {
    /// Below an hour on two quiet cores for the three models.
    fn default() -> Self {
        Self {
            counts: MiniCounts {
                pope_images: 50,
                gqa_per_kind: 50,
                textvqa_questions: 100,
                vqav2_questions: 50,
                vizwiz_questions: 50,
                mme_pictures: 5,
                mmbench_questions: 25,
                mmbench_cn_questions: 25,
                seed_bench_questions: 50,
                scienceqa_questions: 50,
                train_captions: 3000,
                val_captions: 128,
            },
            pope_per_image: 2,
            train_budget: Budget::rate(2, 9),
            steps: 60,
            batch: 32,
            checkpoint_every: 30,
            training_seeds: 3,
            rival_seeds: 1,
            untrained_seeds: 5,
            random_seeds: 5,
            ablations: Ablations::Papers,
            own_budgets: true,
            tuning: None,
            tuned_contrasts: true,
            oracle_questions: 32,
            resamples: 2000,
            max_new_tokens: 8,
            pictures: 6,
            studies: StudySizes::default(),
            rounds: StageTimer::LEAST_RUNS,
        }
    }
}

impl Plan {
    /// The names of the plans, the shortest first.
    pub const NAMES: [&str; 3] = ["quick", "default", "full"];

    /// The plan of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "quick" => Some(Self::quick()),
            "default" => Some(Self::default()),
            "full" => Some(Self::full()),
            _ => None,
        }
    }

    /// The name of this plan; `None` for one of other sizes.
    pub fn name(&self) -> Option<&'static str> {
        let is_own = |name: &&str| Self::named(name).is_some_and(|plan| plan == *self);
        Self::NAMES.into_iter().find(is_own)
    }

    /// A few minutes on two quiet cores for the three models: a sign, not a result.
    pub fn quick() -> Self {
        Self {
            counts: MiniCounts {
                pope_images: 12,
                gqa_per_kind: 10,
                textvqa_questions: 20,
                vqav2_questions: 12,
                vizwiz_questions: 12,
                mme_pictures: 2,
                mmbench_questions: 6,
                mmbench_cn_questions: 6,
                seed_bench_questions: 12,
                scienceqa_questions: 12,
                train_captions: 640,
                val_captions: 64,
            },
            steps: 24,
            checkpoint_every: 24,
            training_seeds: 1,
            untrained_seeds: 2,
            random_seeds: 2,
            ablations: Ablations::None,
            own_budgets: false,
            tuned_contrasts: false,
            oracle_questions: 8,
            resamples: 1000,
            pictures: 3,
            studies: StudySizes::quick(),
            ..Self::default()
        }
    }

    /// A night on two quiet cores for the three models: tuned and untuned, every ablation, every arm from three seeds, four
    /// times the questions.
    pub fn full() -> Self {
        Self {
            counts: MiniCounts {
                pope_images: 200,
                gqa_per_kind: 200,
                textvqa_questions: 400,
                vqav2_questions: 200,
                vizwiz_questions: 200,
                mme_pictures: 20,
                mmbench_questions: 100,
                mmbench_cn_questions: 100,
                seed_bench_questions: 200,
                scienceqa_questions: 200,
                ..Self::default().counts
            },
            rival_seeds: 3,
            ablations: Ablations::All,
            tuning: Some(Tuning::grid()),
            tuned_contrasts: false,
            oracle_questions: 64,
            studies: StudySizes::full(),
            ..Self::default()
        }
    }

    /// Enough to see that every part works, in seconds: its numbers mean nothing.
    pub fn smallest() -> Self {
        Self {
            counts: MiniCounts {
                pope_images: 2,
                gqa_per_kind: 1,
                textvqa_questions: 2,
                vqav2_questions: 1,
                vizwiz_questions: 1,
                mme_pictures: 1,
                mmbench_questions: 1,
                mmbench_cn_questions: 1,
                seed_bench_questions: 1,
                scienceqa_questions: 1,
                train_captions: 8,
                val_captions: 4,
            },
            pope_per_image: 1,
            steps: 2,
            batch: 4,
            checkpoint_every: 1,
            training_seeds: 1,
            untrained_seeds: 2,
            random_seeds: 2,
            ablations: Ablations::None,
            own_budgets: false,
            tuned_contrasts: false,
            oracle_questions: 2,
            resamples: 50,
            max_new_tokens: 2,
            pictures: 1,
            studies: StudySizes::smallest(),
            rounds: 1,
            ..Self::default()
        }
    }

    /// The data.
    pub fn world(&self, seed: u64) -> MiniWorld {
        MiniWorld {
            counts: self.counts,
            seed,
            ..MiniWorld::default()
        }
    }

    /// The recipe of every training that no tuning has chosen one for, at descriptors of this width.
    pub fn declared(&self, d_descriptor: usize) -> Recipe {
        let config = TrainConfig::default().diffprune;
        Recipe {
            lr: default_learning_rate(d_descriptor),
            tau_start: config.tau_start,
            tau_end: config.tau_end,
        }
    }

    /// Settings of one training at a budget, `None` for that of the plan. Those of a model differ in the method, and where the
    /// line-up says so in budget, updates and recipe, and in nothing else.
    ///
    /// # Errors
    /// When the method is a variant of DiffPrune that does not exist.
    pub fn train(
        &self,
        learned: &Learned,
        budget: Option<Budget>,
        d_descriptor: usize,
        seed: u64,
    ) -> Result<TrainConfig, LabError> {
        let steps = learned.steps.unwrap_or(self.steps);
        let recipe = learned.recipe.unwrap_or(self.declared(d_descriptor));
        let mut config = TrainConfig {
            steps,
            batch: self.batch,
            warmup: (steps / 15).max(1),
            lr: recipe.lr,
            seed,
            checkpoint_every: self.checkpoint_every,
            validation: ValidationConfig {
                every: (steps / 6).max(1),
                size: self.counts.val_captions.max(1),
                ..ValidationConfig::default()
            },
            ..TrainConfig::default()
        };
        config.diffprune.method = learned.method;
        config.diffprune.budget = budget.unwrap_or(self.train_budget);
        config.diffprune.tau_start = recipe.tau_start;
        config.diffprune.tau_end = recipe.tau_end;
        config.diffprune.scorer = default_scorer(d_descriptor);
        if let Some(name) = &learned.variant {
            config.diffprune = Variant::named(name)?.of(&config.diffprune, d_descriptor);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use diffprune::Method;
    use diffprune::vlm::Family;

    use super::*;
    use crate::experiment::Lineup;

    #[test]
    fn plans_survive_toml() {
        for plan in [Plan::default(), Plan::quick(), Plan::full(), Plan::smallest()] {
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
        }
        assert!(toml::from_str::<Plan>("stepps = 1").is_err());
    }

    #[test]
    fn plans_have_their_names() {
        for name in Plan::NAMES {
            assert_eq!(Plan::named(name).unwrap().name(), Some(name));
        }
        assert_eq!(Plan::smallest().name(), None);
        assert_eq!(Plan::named("long"), None);
    }

    #[test]
    fn trainings_differ_in_the_method_only() {
        let plan = Plan::default();
        let settings =
            |learned: &Learned| serde_json::to_value(plan.train(learned, None, 128, 3).unwrap()).unwrap();
        let lineup = Lineup::of(Family::Llava15, &plan, 0);
        let (variants, methods): (Vec<_>, Vec<_>) = lineup
            .learned
            .iter()
            .partition(|learned| learned.variant.is_some());
        let mut trained: Vec<_> = methods.iter().map(|learned| settings(learned)).collect();
        assert!(trained.windows(2).all(|pair| pair[0] != pair[1]));
        trained
            .iter_mut()
            .for_each(|value| value["diffprune"]["method"] = serde_json::Value::Null);
        assert!(trained.windows(2).all(|pair| pair[0] == pair[1]));
        // A variant keeps everything outside of the method's own settings.
        let own = |mut value: serde_json::Value| value["diffprune"].take();
        assert!(!variants.is_empty());
        for variant in variants {
            let (mut changed, mut plain) = (
                settings(variant),
                settings(&Learned::new("diffprune", Method::default())),
            );
            assert_ne!(own(changed.clone()), own(plain.clone()));
            changed["diffprune"].take();
            plain["diffprune"].take();
            assert_eq!(changed, plain);
        }
    }

    #[test]
    fn budget_updates_and_recipe_are_the_lineups() {
        let plan = Plan::default();
        let recipe = Recipe {
            lr: 3e-3,
            tau_start: 0.3,
            tau_end: 0.05,
        };
        let learned = Learned {
            steps: Some(240),
            recipe: Some(recipe),
            ..Learned::new("diffprune", Method::default())
        };
        let config = plan.train(&learned, Some(Budget::rate(1, 9)), 128, 3).unwrap();
        assert_eq!((config.steps, config.warmup, config.lr), (240, 16, 3e-3));
        assert_eq!(
            (config.diffprune.tau_start, config.diffprune.tau_end),
            (0.3, 0.05)
        );
        assert_eq!(config.diffprune.budget, Budget::rate(1, 9));
        let unknown = Learned::variant("diffprune-best");
        assert!(plan.train(&unknown, None, 128, 3).is_err());
    }
}
