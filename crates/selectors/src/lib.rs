#![doc = include_str!("../README.md")]

mod atp;
mod atp_loss;
mod checkpoint;
mod decision;
mod dynamic_llava;
mod dynamicvit;
mod error;
mod glimpse;
mod glimpse_loss;
mod layers;
mod selector;

pub use atp::{
    AtpInput, AtpOutput, AtpSelector, AtpSelectorConfig, AtpThreshold, AtpThresholdConfig, spatial_scores,
};
pub use atp_loss::{AtpLossConfig, AtpStage};
pub use checkpoint::{SelectorCheckpoint, SelectorMetadata};
pub use decision::{DecisionInput, keep_decision, keep_scores};
pub use dynamic_llava::{
    DYNAMIC_LLAVA_RATIO, DYNAMIC_LLAVA_RATIO_WEIGHT, DynamicLlavaPredictor, DynamicLlavaPredictorConfig,
    geometric_tau,
};
pub use dynamicvit::{
    DYNAMICVIT_RATIO_WEIGHT, DynamicVitPredictor, DynamicVitPredictorConfig, stage_ratio_loss,
};
pub use error::SelectorConfigError;
pub use glimpse::{GlimpsePredictor, GlimpsePredictorConfig};
pub use glimpse_loss::GlimpseLossConfig;
pub use selector::{Selector, SelectorConfig};
