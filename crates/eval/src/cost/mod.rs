//! What a forward pass costs: arithmetic and memory from shapes, time and memory from a clock.

mod batches;
mod config;
mod flops;
mod memory;
mod parts;
mod presets;
mod schedule;
mod shape;
mod sweep;
mod timing;

pub use batches::{BatchPoint, BatchSweep};
pub use flops::{Counting, Logits, decode_flops, fastv_reduction, kv_bytes, prefill_flops};
pub use memory::{peak_memory, reset_peak_memory};
pub use parts::{Stages, projector_flops, scorer_flops, stages, vision_flops};
pub use schedule::Schedule;
pub use shape::{BlockShape, ModelShape, VisionShape, Windows};
pub use sweep::{SweepPoint, concurrency_sweep};
pub use timing::{Lap, StageTimer, Timing, TimingContext};
