#![doc = include_str!("../README.md")]

mod config;
mod method;
mod pruner;
mod train;

pub use config::{ConfigError, DiffPruneConfig, ScorerChoice, ScorerPreset};
pub use method::{GumbelBackward, Method, UnknownMethod};
pub use pruner::DiffPrune;
pub use train::{
    CAPTIONS_FILE, CachePrecision, CaptionBatch, CaptionData, CaptionFolder, CaptionPrompt, CaptionSample,
    DataError, FeatureStore, METRICS_FILE, SETTINGS_FILE, Skipped, TrainConfig, TrainError, TrainReport, Trainee,
    Trainer, TrainingLoss, Usable, ValidationConfig, train, training_loss,
};

// The family, so that one dependency is enough.
pub use diffprune_denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
pub use diffprune_pruner::{
    Budget, Grid, Layout, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Stage,
};
pub use diffprune_scorer::{CheckpointError, Metadata, Scorer, ScorerCheckpoint, ScorerConfig};
pub use diffprune_selectors::{Selector, SelectorCheckpoint, SelectorConfig, SelectorMetadata};
pub use diffprune_softtopk::{
    SoftTopK, SoftTopKConfig, SoftTopKInput, SoftTopKKind, SoftTopKOutput, ThresholdKind, TopKOperator,
    TopKOperatorConfig, gumbel_topk_ste, hard_topk,
};
pub use diffprune_throttler::{GateKind, NoiseScale, Throttler, ThrottlerConfig, ThrottlerInput};
pub use diffprune_vlm_adapters::{Llava, LoadError, LoadOptions, Vlm, VlmError, answer, load_vlm, prune};

/// All of `diffprune-denoiser`.
pub use diffprune_denoiser as denoiser;
/// All of `diffprune-pruner`.
pub use diffprune_pruner as pruning;
/// All of `diffprune-scorer`.
pub use diffprune_scorer as scorer;
/// All of `diffprune-selectors`.
pub use diffprune_selectors as selectors;
/// All of `diffprune-softtopk`.
pub use diffprune_softtopk as softtopk;
/// All of `diffprune-throttler`.
pub use diffprune_throttler as throttler;
/// All of `diffprune-training`.
pub use diffprune_training as training;
/// All of `diffprune-vlm-adapters`.
pub use diffprune_vlm_adapters as vlm;
