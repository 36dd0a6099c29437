//! `cargo xtask test`: the tests on a device.

use clap::Args;
use xshell::{Shell, cmd};

use crate::device;
use crate::narrow::{self, Width};

/// Flags of the tests.
#[derive(Args)]
pub struct TestFlags {
    /// cpu, wgpu, vulkan, cuda or cuda-cpp, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Type of the numbers on a GPU: f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Tests of these packages only, on the CPU [default: all].
    #[arg(long, short)]
    package: Vec<String>,
    /// Take the paths of a processor without AVX-512 (avx2), or without AVX (sse); on the CPU of an x86-64.
    #[arg(long)]
    narrow: Option<Width>,
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
            package,
            narrow,
            filters,
        } = &self;
        let Some(feature) = device::feature(device)? else {
            let runner = narrow.map(narrow::runner).transpose()?;
            let config = runner.iter().flat_map(|runner| ["--config", runner.as_str()]);
            // Every selection has `diffprune-one-build` in it, so that Burn is not built again.
            let packages = package.iter().flat_map(|name| ["--package", name.as_str()]);
            let selection: Vec<&str> = match package.is_empty() {
                true => vec!["--workspace"],
                false => packages.chain(["--package", "diffprune-one-build"]).collect(),
            };
            cmd!(shell, "cargo test {config...} {selection...} -- {filters...}").run()?;
            return Ok(());
        };
        anyhow::ensure!(
            narrow.is_none() && package.is_empty(),
            "found --narrow or --package with {device}, expected them with the device cpu"
        );
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
