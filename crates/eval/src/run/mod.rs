//! Running arms over questions, and the records that every number is computed from.

mod arm;
mod batch;
mod downsample;
mod failures;
mod progress;
mod record;
mod runner;
mod worker;

pub use arm::{Arm, ArmInput};
pub use record::{Record, RecordFile};
pub use runner::{Annotations, Run, RunOptions};
