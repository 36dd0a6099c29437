//! How much of everything the experiments take.

use diffprune::{Budget, Method, TrainConfig, ValidationConfig};
use diffprune_mini::{MiniCounts, MiniWorld};
use serde::{Deserialize, Serialize};

use crate::pruners::{learning_rate, preset};

/// How much of everything, the same for every model; what is compared on which model is its
/// [`Lineup`](super::lineup::Lineup).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReproPlan {
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
    /// Seeds over which random tokens are averaged.
    pub random_seeds: u64,
    /// Questions that the leave-one-out oracle is asked: each costs as many forward passes as its picture has tokens.
    pub oracle_questions: usize,
    /// Resamples behind each interval.
    pub resamples: usize,
    /// Longest answer in new tokens; those of the small world have at most four.
    pub max_new_tokens: usize,
    /// Test pictures to draw.
    pub pictures: usize,
}

impl Default for ReproPlan {
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
            random_seeds: 5,
            oracle_questions: 32,
            resamples: 2000,
            max_new_tokens: 8,
            pictures: 6,
        }
    }
}

impl ReproPlan {
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

    /// The data.
    pub fn world(&self, seed: u64) -> MiniWorld {
        MiniWorld {
            counts: self.counts,
            seed,
            ..MiniWorld::default()
        }
    }

    /// Settings of one training; those of a model differ in the method and in nothing else.
    pub fn train(&self, method: Method, d_vision: usize, seed: u64) -> TrainConfig {
        let mut config = TrainConfig {
            steps: self.steps,
            batch: self.batch,
            warmup: (self.steps / 15).max(1),
            lr: learning_rate(d_vision),
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
        config.diffprune.scorer = preset(d_vision);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repro::lineup::Lineup;

    #[test]
    fn plans_survive_toml() {
        for plan in [ReproPlan::default(), ReproPlan::quick()] {
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<ReproPlan>(&text).unwrap(), plan);
        }
        assert!(toml::from_str::<ReproPlan>("stepps = 1").is_err());
    }

    #[test]
    fn trainings_differ_in_the_method_only() {
        let plan = ReproPlan::default();
        let settings = |method| serde_json::to_value(plan.train(method, 128, 3)).unwrap();
        let mut trained: Vec<_> = Lineup::of("llava-1.5")
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
