//! `cargo xtask test`: the tests on a device.

use clap::Args;
use xshell::{Shell, cmd};

use crate::device;

/// Flags of the tests.
#[derive(Args)]
pub struct TestFlags {
    /// cpu, wgpu, vulkan, cuda or cuda-cpp, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Type of the numbers on a GPU: f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Only checks whose names contain one of these words.
    #[arg(last = true)]
    filters: Vec<String>,
}

impl TestFlags {
    /// Builds and runs the tests. Each GPU backend is another Burn and has a target folder of its own.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let Self {
            device,
            dtype,
            filters,
        } = &self;
        let Some(feature) = device::feature(device)? else {
            cmd!(shell, "cargo test --workspace -- {filters...}").run()?;
            return Ok(());
        };
        let _device = shell.push_env("DIFFPRUNE_TEST_DEVICE", device::name(device));
        let _dtype = shell.push_env("DIFFPRUNE_TEST_DTYPE", dtype);
        let folder = format!("target/{feature}");
        cmd!(
            shell,
            "cargo test --profile device --target-dir {folder} --package diffprune-device-tests --features {feature} -- {filters...}"
        )
        .run()?;
        Ok(())
    }
}
