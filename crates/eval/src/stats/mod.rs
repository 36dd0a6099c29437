//! Intervals, retention, verdicts.

mod bootstrap;
mod retention;
mod verdict;

pub use bootstrap::{Bootstrap, Estimate, Statistic, Stratum};
pub use retention::retention;
pub use verdict::Verdict;
