#![doc = include_str!("../README.md")]

mod budget;
mod context;
mod decoder;
mod layout;
mod per_view;
mod pruner;
mod selection;
mod signals;

pub use budget::{Budget, ParseBudgetError};
pub use context::{PruningContext, descriptors};
pub use decoder::{
    AttentionRows, DecoderContext, DecoderEmbeds, DecoderObserved, DecoderPruner, DecoderSelection,
    DecoderSignals, DecoderStage, Queries, RowsOf, counted_average, processed_average,
    visual_tokens_per_layer,
};
pub use layout::{Area, Grid, Layout, Segment, View};
pub use per_view::PerView;
pub use pruner::{PositionRule, PruneError, PruneResult, Pruner};
pub use selection::{Selection, Space};
pub use signals::{Keys, Observed, Signals, WideAttention};
