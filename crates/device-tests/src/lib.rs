//! Nothing but tests: `cargo xtask test --device wgpu` (or `vulkan`, `cuda`) compares every operator, leaf and backbone on
//! that device with the CPU. See `docs/devices.md`.
