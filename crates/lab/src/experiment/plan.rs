//! The sizes of an experiment.

use diffprune::{Budget, Method, TrainConfig, ValidationConfig};
use diffprune_mini::{MiniCounts, MiniWorld};
use serde::{Deserialize, Serialize};

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
    /// Budget of the training.
    pub train_budget: Budget,
    /// Updates of each training.
    pub steps: usize,
    /// Captions of an update.
    pub batch: usize,
    /// Updates between checkpoints.
    pub checkpoint_every: usize,
    /// Seeds with which each method of the line-up is trained.
    #[serde(skip_serializing_if = "is_one")]
    pub training_seeds: u64,
    /// Seeds over which random tokens are averaged.
    pub random_seeds: u64,
    /// Questions for the leave-one-out oracle: each costs as many forward passes as its picture has tokens.
    pub oracle_questions: usize,
    /// Resamples behind each interval.
    pub resamples: usize,
    /// Longest answer in new tokens; those of the small world have at most four.
    pub max_new_tokens: usize,
    /// Test pictures to draw.
    pub pictures: usize,
}

impl Default for Plan {
    /// About half an hour on two cores for the three models.
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
            steps: 240,
            batch: 32,
            checkpoint_every: 60,
            training_seeds: 1,
            random_seeds: 5,
            oracle_questions: 32,
            resamples: 2000,
            max_new_tokens: 8,
            pictures: 6,
        }
    }
}

impl Plan {
    /// About six minutes on two cores for the three models: a sign, not a result.
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
            steps: 40,
            checkpoint_every: 20,
            random_seeds: 2,
            oracle_questions: 8,
            resamples: 1000,
            pictures: 3,
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
            random_seeds: 2,
            oracle_questions: 2,
            resamples: 50,
            max_new_tokens: 2,
            pictures: 1,
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

    /// Settings of one training; those of a model differ in the method and in nothing else.
    pub fn train(&self, method: Method, d_descriptor: usize, seed: u64) -> TrainConfig {
        let mut config = TrainConfig {
            steps: self.steps,
            batch: self.batch,
            warmup: (self.steps / 15).max(1),
            lr: default_learning_rate(d_descriptor),
            seed,
            checkpoint_every: self.checkpoint_every,
            validation: ValidationConfig {
                every: (self.steps / 6).max(1),
                size: self.counts.val_captions.max(1),
                ..ValidationConfig::default()
            },
            ..TrainConfig::default()
        };
        config.diffprune.method = method;
        config.diffprune.budget = self.train_budget;
        config.diffprune.scorer = default_scorer(d_descriptor);
        config
    }
}

fn is_one(count: &u64) -> bool {
    *count == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Lineup;

    #[test]
    fn plans_survive_toml() {
        for plan in [Plan::default(), Plan::quick(), Plan::smallest()] {
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
        }
        assert!(toml::from_str::<Plan>("stepps = 1").is_err());
    }

    #[test]
    fn trainings_differ_in_the_method_only() {
        let plan = Plan::default();
        let settings = |method| serde_json::to_value(plan.train(method, 128, 3)).unwrap();
        let mut trained: Vec<_> = Lineup::of(diffprune::vlm::Family::Llava15)
            .learned
            .into_iter()
            .map(|learned| settings(learned.method))
            .collect();
        assert!(trained.windows(2).all(|pair| pair[0] != pair[1]));
        trained
            .iter_mut()
            .for_each(|value| value["diffprune"]["method"] = serde_json::Value::Null);
        assert!(trained.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
