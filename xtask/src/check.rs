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
}

impl CheckFlags {
    /// Runs every check; the first that fails ends the run.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
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
