#![doc = include_str!("../README.md")]

mod budget;
mod context;
mod pruner;
mod selection;
mod signals;

pub use budget::{Budget, ParseBudgetError};
pub use context::{Grid, PruningContext};
pub use pruner::{PositionRule, PruneError, Pruner, Stage};
pub use selection::Selection;
pub use signals::Signals;
