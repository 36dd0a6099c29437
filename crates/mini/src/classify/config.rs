//! Sizes and schedule of the small classifier.

use diffprune_vlm_adapters::{Activation, ClipVisionConfig, VitConfig, VitLayout, VitPool};
use serde::{Deserialize, Serialize};

use super::scenes::{ClassScenes, class_names};
use crate::{StageConfig, WorldConfig};

/// Epsilon of the norms, as timm has it.
const EPSILON: f64 = 1e-6;

/// The whole recipe of a small DeiT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeitRecipe {
    /// Seed of the weights, the pictures and their order.
    pub seed: u64,
    /// Width of the tokens; a multiple of 32, the width of a head.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Shards of a batch; their gradients are summed in order, whatever the number of threads.
    pub shards: usize,
    /// Images of one shard.
    pub images_per_shard: usize,
    /// Share of the shards whose patches are dropped at random, before the first block, as the pilot studies drop them.
    pub drop_share: f64,
    /// Largest share of the patches that is dropped.
    pub drop_max: f64,
    /// Steps and learning rate.
    pub training: StageConfig,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between lines of the log.
    pub log_every: usize,
}

impl Default for DeitRecipe {
    /// Width 128, six blocks, 192,000 pictures.
    fn default() -> Self {
        Self {
            seed: 1,
            width: 128,
            depth: 6,
            shards: 2,
            images_per_shard: 16,
            drop_share: 0.5,
            drop_max: 0.95,
            training: StageConfig {
                steps: 6000,
                lr: 2e-3,
                warmup: 100,
                weight_decay: 0.02,
                clip: 1.0,
            },
            checkpoint_every: 500,
            log_every: 25,
        }
    }
}

impl DeitRecipe {
    /// The network: a distilled DeiT, whose two heads learn the same labels, for pictures of `world`.
    pub fn network(&self, world: &WorldConfig, layout: VitLayout) -> VitConfig {
        VitConfig {
            blocks: ClipVisionConfig {
                hidden_size: self.width,
                intermediate_size: 4 * self.width,
                num_hidden_layers: self.depth,
                num_attention_heads: (self.width / 32).max(1),
                image_size: world.image_size as usize,
                patch_size: ClassScenes::PATCH as usize,
                hidden_act: Activation::Gelu,
                layer_norm_eps: EPSILON,
            },
            qkv_bias: true,
            distillation_token: true,
            distillation_head: true,
            pool: VitPool::ClassToken,
            n_classes: class_names().len(),
            layout,
        }
    }
}
