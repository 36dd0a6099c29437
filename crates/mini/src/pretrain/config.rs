//! What is trained, on how much, and how fast.

use diffprune_vlm::Family;
use serde::{Deserialize, Serialize};

use super::family::model_name;

/// The whole recipe of a small model: two stages, one after the other.
///
/// Stage one teaches the vision tower alone (dense labels); stage two teaches the bridge and the language model on the
/// frozen tower (captions and questions, loss on answers only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Architecture.
    pub family: Family,
    /// Seed of the weights, the scenes and their order.
    pub seed: u64,
    /// Hash of the weights that training starts from (FNV-1a of `model.safetensors`); none: from nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The start gives its tower alone: bridge and language model are fresh, in sizes of their own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub start_tower: bool,
    /// Width of the vision tower.
    pub d_vision: usize,
    /// Layers of the tower that are used; a LLaVA's checkpoint holds one more, because LLaVA reads layer -2.
    pub vision_layers: usize,
    /// Heads of Qwen2.5-VL's tower; those of a LLaVA's tower are [`PretrainConfig::n_heads`].
    pub vision_heads: usize,
    /// Width of the language model.
    pub d_model: usize,
    /// Layers of the language model.
    pub language_layers: usize,
    /// Heads of the language model, and of a LLaVA's tower.
    pub n_heads: usize,
    /// Shards of a batch; their gradients are summed in order, whatever the number of threads.
    pub shards: usize,
    /// Images of one shard.
    pub images_per_shard: usize,
    /// The tower's stage.
    pub tower: StageConfig,
    /// The language stage.
    pub language: StageConfig,
    /// Question-answer turns per image, at most.
    pub turns: usize,
    /// Share of the conversations about scenes with a sign that ask what it says and nothing else: reading comes late, and
    /// in Qwen2.5-VL hardly without.
    #[serde(skip_serializing_if = "is_zero")]
    pub drill: f64,
    /// Share of the other conversations that ask only in the forms that come late: [`practice`](crate::practice).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub practice: f64,
    /// Share of the questions without options that are put in a person's words, without the sentences of a benchmark.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub plain: f64,
    /// Share of the shards whose images are given as a random subset of their tokens.
    pub subset_share: f64,
    /// Smallest subset, as a share of the tokens.
    pub subset_min: f64,
    /// Largest subset, as a share of the tokens.
    pub subset_max: f64,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between lines of the log.
    pub log_every: usize,
}

/// One stage of the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup: usize,
    /// Weight decay of matrices.
    pub weight_decay: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self::of(Family::default())
    }
}

impl PretrainConfig {
    /// The default recipe of a family. The shipped copies have the same sizes but ran shorter; theirs lie beside them.
    pub fn of(family: Family) -> Self {
        Self {
            family,
            seed: 1,
            start: None,
            start_tower: false,
            d_vision: match family {
                Family::Qwen25Vl => 96,
                _ => 128,
            },
            vision_layers: 4,
            vision_heads: 3,
            d_model: 128,
            language_layers: 4,
            n_heads: 4,
            shards: 4,
            images_per_shard: 16,
            tower: StageConfig {
                steps: 1200,
                lr: 2.5e-3,
                warmup: 60,
                weight_decay: 0.02,
                clip: 1.0,
            },
            language: StageConfig {
                steps: 2100,
                lr: 2e-3,
                warmup: 100,
                weight_decay: 0.02,
                clip: 1.0,
            },
            turns: 8,
            drill: 0.0,
            practice: 0.25,
            plain: 0.2,
            subset_share: 0.5,
            subset_min: 0.07,
            subset_max: 0.7,
            checkpoint_every: 300,
            log_every: 20,
        }
    }

    /// The name of the model: its family's, with the width of the language model where that is not the family's usual one.
    pub fn model_name(&self) -> String {
        let name = model_name(self.family);
        match self.d_model == Self::of(self.family).d_model {
            true => name,
            false => format!("{name}-{}", self.d_model),
        }
    }

    /// Images of one optimiser step.
    pub fn batch(&self) -> usize {
        self.shards * self.images_per_shard
    }
}
