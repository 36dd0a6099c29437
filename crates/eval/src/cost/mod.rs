//! The cost of a forward pass: arithmetic and memory from shapes, time and memory from a clock.

mod batches;
mod config;
mod flops;
mod memory;
mod parts;
mod presets;
mod schedule;
mod shape;
mod table;
mod timing;

pub use batches::{BatchPoint, BatchSweep};
pub use flops::{Counting, Logits, kv_bytes, prefill_flops};
pub use memory::{free_memory, peak_memory};
pub use parts::{Stages, stages};
pub use schedule::Schedule;
pub use shape::{BlockShape, ModelShape, VisionShape, Windows};
pub use table::{TimedMethod, TimedStage, TimesTable};
pub use timing::{Lap, StageTimer, Timing, TimingContext};
