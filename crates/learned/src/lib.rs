#![doc = include_str!("../README.md")]

pub mod gate;

mod atp;
mod checkpoint;
mod decision;
mod diffprune;
mod dynamic_llava;
mod dynamic_vit;
mod entry;
mod error;
mod glimpse_prune;
mod gumbel;
mod layers;
mod operator;
mod pruner;
mod registry;
mod throttle;

pub use atp::{
    Atp, AtpInput, AtpLossConfig, AtpOutput, AtpSelector, AtpSelectorConfig, AtpStage, AtpThreshold,
    AtpThresholdConfig, spatial_scores,
};
pub use checkpoint::{HeadCheckpoint, HeadMetadata, HeadSizes};
pub use decision::{DecisionInput, keep_decision, keep_scores};
pub use diffprune::DiffPrune;
pub use dynamic_llava::{
    DYNAMIC_LLAVA_RATIO, DYNAMIC_LLAVA_RATIO_WEIGHT, DynamicLlava, DynamicLlavaPredictor,
    DynamicLlavaPredictorConfig, geometric_tau,
};
pub use dynamic_vit::{
    DYNAMICVIT_RATIO_WEIGHT, DynamicVit, DynamicVitPredictor, DynamicVitPredictorConfig, stage_ratio_loss,
};
pub use entry::{Argument, LearnedMethod, UnknownMethod};
pub use error::{ConfigError, HeadConfigError};
pub use gate::{Draws, Gate, GateInput, GateSettings, Gated, ScoringHead, TauRange};
pub use glimpse_prune::{GlimpseLossConfig, GlimpsePredictor, GlimpsePredictorConfig, GlimpsePrune};
pub use gumbel::{GumbelBackward, GumbelSte, Unselected};
pub use operator::Operator;
pub use pruner::LearnedPruner;
pub use registry::{Head, HeadConfig, Method, methods};
pub use throttle::{ThrottledGate, ThrottledInput, throttled_gate};
