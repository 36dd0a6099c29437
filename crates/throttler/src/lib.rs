#![doc = include_str!("../README.md")]

mod gate;
mod noise;
mod normal;
mod scale;
mod throttler;

pub use gate::GateFamily;
pub use noise::noise;
pub use throttler::{GateKind, NoiseScale, Throttler, ThrottlerConfig, ThrottlerInput};
