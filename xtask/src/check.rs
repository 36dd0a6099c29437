//! `cargo xtask check`: what CI runs, cheapest first.

use clap::Args;
use xshell::{Shell, cmd};

use crate::tidy;

/// Flags of the check.
#[derive(Args)]
pub struct CheckFlags {
    /// Leave the tests out.
    #[arg(long)]
    no_test: bool,
    /// Only lint the code of the GPU backends, without linking it: no driver and no toolkit is needed.
    #[arg(long)]
    gpu: bool,
}

impl CheckFlags {
    /// Runs every check; the first that fails ends the run.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        if self.gpu {
            return lint_gpu(shell);
        }
        tidy::run(shell)?;
        cmd!(shell, "cargo fmt --all --check").run()?;
        cmd!(shell, "cargo clippy --workspace --all-targets -- -D warnings").run()?;
        {
            let _flags = shell.push_env("RUSTDOCFLAGS", "-D warnings");
            cmd!(shell, "cargo doc --workspace --no-deps").run()?;
        }
        if !self.no_test {
            cmd!(shell, "cargo test --workspace").run()?;
        }
        Ok(())
    }
}

/// Clippy with all GPU features at once. `DOCS_RS` keeps the build script of `cuda` from fetching LLVM, which only
/// linking needs.
fn lint_gpu(shell: &Shell) -> anyhow::Result<()> {
    let _docs = shell.push_env("DOCS_RS", "1");
    cmd!(
        shell,
        "cargo clippy --profile device --target-dir target/gpu --package diffprune-cli --package diffprune-device-tests
         --all-targets --features wgpu,vulkan,cuda -- -D warnings"
    )
    .run()?;
    Ok(())
}
