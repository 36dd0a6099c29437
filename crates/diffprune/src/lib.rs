#![doc = include_str!("../README.md")]

mod config;
mod encoded;
mod train;
mod variants;

pub use config::{DiffPruneConfig, ScorerChoice, ScorerPreset};
pub use encoded::{
    FEATURES_FILE, FeatureError, FeatureFolder, FeatureIndex, FeatureOptions, FeaturePlan, FeatureReport,
    ShardOf, write_features,
};
pub use train::{
    CAPTIONS_FILE, CachePrecision, CaptionBatch, CaptionData, CaptionFolder, CaptionLoader, CaptionOutput,
    CaptionPrompt, CaptionSample, CaptionShard, CaptionTask, DataError, FeatureStore, HeldOutLoader,
    HeldOutOutput, HeldOutPart, LEARNER_DIR, METADATA_FILE, METRICS_FILE, PastRun, SETTINGS_FILE, Skipped,
    StoredPicture, Subset, TokenValues, TrainConfig, TrainError, TrainReport, TrainWarning, Trainee, Trainer,
    TrainingLoss, ValidationConfig, train, training_loss, usable,
};
pub use variants::{Variant, variants};

// The family, so that one dependency is enough.
pub use diffprune_denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
pub use diffprune_learned::{
    Atp, ConfigError, DiffPrune, Draws, DynamicLlava, DynamicVit, Gate, GateInput, GateSettings, Gated,
    GlimpsePrune, GumbelBackward, GumbelSte, Head, HeadCheckpoint, HeadConfig, HeadMetadata, LearnedMethod,
    LearnedPruner, Method, Operator, ScoringHead, TauRange, ThrottledGate, ThrottledInput, UnknownMethod,
    Unselected, methods, throttled_gate,
};
pub use diffprune_pruner::{
    Budget, Grid, Layout, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals,
};
pub use diffprune_scorer::{CheckpointError, Metadata, Scorer, ScorerCheckpoint, ScorerConfig};
pub use diffprune_softtopk::{
    SoftTopK, SoftTopKConfig, SoftTopKInput, SoftTopKKind, SoftTopKOutput, ThresholdKind, TopKOperator,
    TopKOperatorConfig, gumbel_topk_ste, hard_topk,
};
pub use diffprune_throttler::{GateKind, NoiseScale, Throttler, ThrottlerConfig, ThrottlerInput};
pub use diffprune_training::learner::View;
pub use diffprune_vlm::{
    Family, PreparedImages, PruneOptions, Vlm, VlmError, answer, prepare, prepare_encoded, respond,
};
pub use diffprune_vlm_adapters::{Llava, LoadError, LoadOptions, load_vlm};

/// The tensor library that all of this is written in.
pub use burn;

/// All of `diffprune-denoiser`.
pub use diffprune_denoiser as denoiser;
/// All of `diffprune-learned`.
pub use diffprune_learned as learned;
/// All of `diffprune-pruner`.
pub use diffprune_pruner as pruning;
/// All of `diffprune-scorer`.
pub use diffprune_scorer as scorer;
/// All of `diffprune-softtopk`.
pub use diffprune_softtopk as softtopk;
/// All of `diffprune-throttler`.
pub use diffprune_throttler as throttler;
/// All of `diffprune-training`.
pub use diffprune_training as training;
/// All of `diffprune-vlm` and of `diffprune-vlm-adapters`.
pub use diffprune_vlm_adapters as vlm;
