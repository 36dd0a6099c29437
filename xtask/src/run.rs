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
    /// The same as --plan quick: one training seed, few updates and questions; a sign, not a result.
    #[arg(long, conflicts_with = "plan")]
    quick: bool,
    /// The amount of training and of questions: quick (minutes), default (below an hour), full (a night), or a TOML file with counts that
    /// replace those of the default.
    #[arg(long, value_name = "NAME|TOML")]
    plan: Option<String>,
    /// cpu, wgpu, vulkan, cuda or cuda-cpp.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seed of data, training and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder of the report and everything behind it; an interrupted run there is resumed [default: runs/repro in the
    /// workspace].
    #[arg(long)]
    out: Option<PathBuf>,
    /// One model alone: a checkpoint folder in Hugging Face layout, a shipped small model or a name on the hub.
    #[arg(long)]
    model: Option<String>,
    /// Several models, named as for --model [default: the three shipped ones].
    #[arg(long, value_delimiter = ',', conflicts_with = "model")]
    models: Vec<String>,
    /// Folder with benchmarks and captions in their official formats, in place of the small world.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Further flags for `diffprune run repro`; paths in them count from the workspace.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl ReproFlags {
    /// Builds in release and runs the experiment.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let binary = build(shell, &self.device)?;
        let Self { rest, .. } = &self;
        let device = device::name(&self.device);
        let out = resolved(shell, self.out.as_deref(), "runs/repro")?;
        let seed = self.seed.to_string();
        let plan = match (self.quick, &self.plan) {
            (true, _) => vec!["--quick".to_string()],
            (false, Some(plan)) => vec!["--plan".to_string(), path_or_name(plan)?],
            (false, None) => Vec::new(),
        };
        let model = self.model.as_deref().map(path_or_name).transpose()?;
        let models = self.models.iter().map(|model| path_or_name(model));
        let models = models.collect::<anyhow::Result<Vec<_>>>()?.join(",");
        let model = match (model, models.is_empty()) {
            (Some(model), _) => vec!["--model".to_string(), model],
            (None, false) => vec!["--models".to_string(), models],
            (None, true) => Vec::new(),
        };
        let data = self.data.as_deref().map(path_or_name).transpose()?;
        let data: Vec<String> = data
            .into_iter()
            .flat_map(|data| ["--data".into(), data])
            .collect();
        cmd!(
            shell,
            "{binary} run repro --device {device} --seed {seed} --out {out} {plan...} {model...} {data...} {rest...}"
        )
        .quiet()
        .run()?;
        Ok(())
    }
}

/// `cargo xtask mini`.
#[derive(Args)]
pub struct MiniFlags {
    /// Which small model: llava-1.5, llava-next, qwen2.5-vl, or deit, the classifier of the pilot studies.
    #[arg(long, default_value = "llava-1.5")]
    model: String,
    /// cpu, wgpu, vulkan, cuda or cuda-cpp.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The folder of the training's checkpoints; an interrupted run there is resumed [default: runs/mini-MODEL in the
    /// workspace].
    #[arg(long)]
    out: Option<PathBuf>,
    /// The folder of the finished model [default: assets/mini-MODEL in the workspace].
    #[arg(long)]
    assets: Option<PathBuf>,
    /// Further flags for `diffprune mini train`; paths in them count from the workspace.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl MiniFlags {
    /// Builds in release and trains, a model with the scorer that it brings along.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let binary = build(shell, &self.device)?;
        let Self { model, rest, .. } = &self;
        let device = device::name(&self.device);
        let out = resolved(shell, self.out.as_deref(), &format!("runs/mini-{model}"))?;
        let assets = resolved(shell, self.assets.as_deref(), &format!("assets/mini-{model}"))?;
        let task = match model.as_str() {
            "deit" => vec!["deit".to_string()],
            other => ["train", "--model", other].map(String::from).to_vec(),
        };
        cmd!(
            shell,
            "{binary} mini {task...} --device {device} --out {out} --assets {assets} {rest...}"
        )
        .quiet()
        .run()?;
        if model != "deit" {
            // In f32, as the shipped models are used.
            cmd!(
                shell,
                "{binary} mini scorer --model {assets} --dtype f32 --device {device} --out {out}/scorer"
            )
            .quiet()
            .run()?;
        }
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

/// `cargo xtask fuzz`.
#[derive(Args)]
pub struct FuzzFlags {
    /// Seconds, shared evenly by the targets.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// One target alone.
    #[arg(long)]
    target: Option<String>,
    /// Seed of the mutations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl FuzzFlags {
    /// Builds with the checks of a debug build, and mutates the stored inputs.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let (seconds, seed) = (self.seconds.to_string(), self.seed.to_string());
        let target: Vec<String> = self
            .target
            .into_iter()
            .flat_map(|name| ["--target".into(), name])
            .collect();
        let binary = build_in_dev(shell, "diffprune-fuzz-targets", ["--bin", "diffprune-fuzz"])?;
        cmd!(shell, "{binary} --seconds {seconds} --seed {seed} {target...}")
            .quiet()
            .run()?;
        Ok(())
    }
}

/// `cargo xtask soak`.
#[derive(Args)]
pub struct SoakFlags {
    /// Answers about pictures of different sides.
    #[arg(long, default_value_t = 10_000)]
    answers: usize,
    /// Updates of a training.
    #[arg(long, default_value_t = 2_000)]
    updates: usize,
    /// The table of memory; a drawing is written beside it [default: runs/soak.csv in the workspace].
    #[arg(long)]
    out: Option<PathBuf>,
}

impl SoakFlags {
    /// Builds and runs.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let (answers, updates) = (self.answers.to_string(), self.updates.to_string());
        let out = resolved(shell, self.out.as_deref(), "runs/soak.csv")?;
        let binary = build_in_dev(shell, "diffprune-lab", ["--example", "soak"])?;
        cmd!(shell, "{binary} {answers} {updates} {out}").quiet().run()?;
        Ok(())
    }
}

/// Builds the `diffprune` binary as the tests do, and names it.
pub(crate) fn build_command(shell: &Shell) -> anyhow::Result<PathBuf> {
    build_in_dev(shell, "diffprune-cli", ["--bin", "diffprune"])
}

/// Builds a program of a package with the checks of a debug build, and with the features of the tests, so that Burn is not built
/// again; `cargo run` takes one package alone. Gives its path.
fn build_in_dev(shell: &Shell, package: &str, [kind, name]: [&str; 2]) -> anyhow::Result<PathBuf> {
    cmd!(
        shell,
        "cargo build --quiet --package {package} --package diffprune-one-build {kind} {name}"
    )
    .quiet()
    .run()?;
    let mut folder = target_folder(shell).join("debug");
    if kind == "--example" {
        folder.push("examples");
    }
    Ok(folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// A path as the caller means it, from the caller's own folder; the default lies in the workspace.
fn resolved(shell: &Shell, given: Option<&Path>, default: &str) -> anyhow::Result<PathBuf> {
    // The shell has a current folder of its own; that of the process is still the caller's.
    Ok(match given {
        Some(path) => std::path::absolute(path)?,
        None => shell.current_dir().join(default),
    })
}

/// A model or a plan as the caller means it: what exists is found from the caller's own folder, anything else is a name.
fn path_or_name(text: &str) -> anyhow::Result<String> {
    if Path::new(text).exists() {
        let path = std::path::absolute(text)?;
        return path
            .into_os_string()
            .into_string()
            .map_err(|path| anyhow::anyhow!("{}: expected a path in UTF-8", path.display()));
    }
    Ok(text.to_string())
}

/// The folder into which cargo builds when the shell runs it.
fn target_folder(shell: &Shell) -> PathBuf {
    let named = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"]
        .into_iter()
        .find_map(std::env::var_os);
    shell.current_dir().join(named.unwrap_or_else(|| "target".into()))
}

/// Builds the binary in release, with the device's feature, and names it.
pub(crate) fn build(shell: &Shell, device: &str) -> anyhow::Result<PathBuf> {
    let features = device::feature(device)?
        .iter()
        .flat_map(|name| ["--features", *name])
        .collect::<Vec<_>>();
    eprintln!("building diffprune in release (the first time takes ten to thirty minutes on two cores)");
    cmd!(
        shell,
        "cargo build --release --package diffprune-cli {features...}"
    )
    .quiet()
    .run()?;
    Ok(target_folder(shell)
        .join("release")
        .join(format!("diffprune{}", std::env::consts::EXE_SUFFIX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_paths_count_from_the_caller_and_defaults_from_the_workspace() {
        let shell = Shell::new().unwrap();
        let caller = std::env::current_dir().unwrap();
        let root = workspace_root().unwrap();
        shell.change_dir(&root);
        let given = resolved(&shell, Some(Path::new("out")), "runs/x").unwrap();
        assert_eq!(given, caller.join("out"));
        assert_ne!(given, root.join("out"));
        assert_eq!(resolved(&shell, None, "runs/x").unwrap(), root.join("runs/x"));
        let folder = caller.join("src");
        assert_eq!(path_or_name("src").unwrap(), folder.to_str().unwrap());
        assert_eq!(path_or_name("mini-llava-next").unwrap(), "mini-llava-next");
        let file = caller.join("Cargo.toml");
        assert_eq!(path_or_name("Cargo.toml").unwrap(), file.to_str().unwrap());
        assert_eq!(path_or_name("full").unwrap(), "full");
    }
}
