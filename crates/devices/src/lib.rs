#![doc = include_str!("../README.md")]

#[cfg(any(test, feature = "wgpu", feature = "vulkan", feature = "cuda"))]
mod choice;
mod name;

pub use name::{DeviceError, NAMES, is_cpu, list, parse};
