//! Tasks that build the `diffprune` binary in release and hand over to it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use xshell::{Shell, cmd};

use crate::device;

/// The folder of the workspace manifest.
pub fn workspace_root() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest
        .parent()
        .context("xtask lies directly below the workspace root")?
        .to_path_buf())
}

/// `cargo xtask repro`.
#[derive(Args)]
pub struct ReproFlags {
    /// A few minutes instead of a quarter of an hour: fewer steps, images and seeds.
    #[arg(long)]
    quick: bool,
    /// cpu, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seed of data, training and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the report and everything behind it goes; an interrupted run there is resumed.
    #[arg(long, default_value = "runs/repro")]
    out: PathBuf,
    /// A LLaVA-1.5 checkpoint in Hugging Face layout instead of the shipped small one.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Further flags for `diffprune run repro`.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl ReproFlags {
    /// Builds in release and runs the experiment.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let binary = build(shell, &self.device)?;
        let Self {
            device, out, rest, ..
        } = &self;
        let seed = self.seed.to_string();
        let quick = self.quick.then_some("--quick");
        let model = self
            .model
            .iter()
            .flat_map(|path| ["--model".into(), path.clone().into_os_string()]);
        cmd!(
            shell,
            "{binary} run repro --device {device} --seed {seed} --out {out} {quick...} {model...} {rest...}"
        )
        .quiet()
        .run()?;
        Ok(())
    }
}

/// `cargo xtask mini`.
#[derive(Args)]
pub struct MiniFlags {
    /// cpu, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Where checkpoints of the training go; an interrupted run there is resumed.
    #[arg(long, default_value = "runs/mini")]
    out: PathBuf,
    /// Where the finished model is written.
    #[arg(long, default_value = "assets/mini-llava-1.5")]
    assets: PathBuf,
    /// Further flags for `diffprune mini train`.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl MiniFlags {
    /// Builds in release and trains.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let binary = build(shell, &self.device)?;
        let Self {
            device,
            out,
            assets,
            rest,
        } = &self;
        cmd!(
            shell,
            "{binary} mini train --device {device} --out {out} --assets {assets} {rest...}"
        )
        .quiet()
        .run()?;
        Ok(())
    }
}

/// `cargo xtask bench`.
#[derive(Args)]
pub struct BenchFlags {
    /// Arguments for `cargo bench`, for example `--bench softtopk`.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl BenchFlags {
    /// Runs criterion.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let rest = &self.rest;
        cmd!(shell, "cargo bench --package diffprune-benches {rest...}").run()?;
        Ok(())
    }
}

/// Builds the binary in release, with the device's feature, and names it.
fn build(shell: &Shell, device: &str) -> anyhow::Result<PathBuf> {
    let features = device::feature(device)?
        .iter()
        .flat_map(|name| ["--features", *name])
        .collect::<Vec<_>>();
    eprintln!("building diffprune in release (the first time takes about ten minutes on two cores)");
    cmd!(
        shell,
        "cargo build --release --package diffprune-cli {features...}"
    )
    .quiet()
    .run()?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| shell.current_dir().join("target"), PathBuf::from);
    Ok(target
        .join("release")
        .join(format!("diffprune{}", std::env::consts::EXE_SUFFIX)))
}
