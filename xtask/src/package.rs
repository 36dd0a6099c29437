//! `cargo xtask package`: what the registry would get.

use anyhow::ensure;
use xshell::{Shell, cmd};

use crate::tidy;

/// Packs every published member as `cargo publish` would, without compiling it.
///
/// # Errors
/// When a package lacks something, or cargo refuses to pack it.
pub fn run(shell: &Shell) -> anyhow::Result<()> {
    let members = tidy::members(&shell.current_dir())?;
    let (published, kept): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.is_published());
    ensure!(!published.is_empty(), "found no package to publish");
    let excluded: Vec<&str> = kept
        .iter()
        .flat_map(|member| ["--exclude", member.package.as_str()])
        .collect();
    cmd!(
        shell,
        "cargo package --workspace --no-verify --allow-dirty {excluded...}"
    )
    .run()?;
    eprintln!("package: {} packages can be packed", published.len());
    Ok(())
}
