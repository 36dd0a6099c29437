//! Running arms over questions, and the records that every number is computed from.

mod answering;
mod arm;
mod batch;
mod columns;
mod downsample;
mod encoding;
mod failures;
mod leave_one_out;
mod prepared;
mod progress;
mod record;
mod relevance;
mod runner;
mod selecting;
mod times;
mod worker;
mod workers;
mod yes_no;

pub use arm::{Arm, ArmInput, Truth};
pub use failures::{Unanswered, failures_of, list_of as failure_list};
pub use leave_one_out::leave_one_out;
pub use record::{Record, RecordFile};
pub use runner::{Annotations, Run, RunOptions};
pub use times::{ArmTimes, RunTimes};
pub use workers::Replica;
