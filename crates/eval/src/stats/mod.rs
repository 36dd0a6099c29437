//! Intervals, tests, means, retention, agreement, calibration, verdicts.

mod agreement;
mod bootstrap;
mod calibration;
mod chance;
mod equivalence;
mod mcnemar;
mod means;
mod retention;
mod simultaneous;
mod two_level;
mod verdict;

pub use agreement::Agreement;
pub(crate) use agreement::{is_right, same_answer};
pub(crate) use bootstrap::quantile;
pub use bootstrap::{Bootstrap, Estimate, Statistic, Stratum};
pub use calibration::{ECE_BINS, ece};
pub(crate) use calibration::{ece_bin, ece_of_sums};
pub use chance::{ChanceLevels, Guess, chance_level};
pub use equivalence::{Equivalence, equivalence};
pub use mcnemar::{McNemar, McNemarMethod, holm, mcnemar};
pub(crate) use means::mean;
pub use means::{common_means, ragged_mean};
pub use retention::{chance_corrected_retention, retention};
pub use simultaneous::{Compared, Family};
pub(crate) use two_level::normal;
pub use two_level::{Contrast, Replicated, TwoLevel, Variance};
pub use verdict::Verdict;
