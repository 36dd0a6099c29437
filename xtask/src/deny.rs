//! `cargo xtask deny`: licences, sources, bans and known vulnerabilities of everything that is linked.

use xshell::{Cmd, Shell, cmd};

/// Runs `cargo deny` as far as this machine can: without the program nothing is checked, without the list of advisories
/// everything but these. Both are said, and neither fails the run.
///
/// # Errors
/// When a check fails.
pub fn run(shell: &Shell) -> anyhow::Result<()> {
    if !succeeds(cmd!(shell, "cargo deny --version")) {
        eprintln!(
            "deny: NOT CHECKED, cargo-deny is not installed; install it with `cargo install --locked cargo-deny`"
        );
        return Ok(());
    }
    cmd!(shell, "cargo deny check bans licenses sources").run()?;
    if !succeeds(cmd!(shell, "cargo deny fetch db")) {
        eprintln!(
            "deny: bans, licences and sources are in order; advisories NOT CHECKED, their list cannot be fetched"
        );
        return Ok(());
    }
    cmd!(shell, "cargo deny check --disable-fetch advisories").run()?;
    eprintln!("deny: bans, licences, sources and advisories are in order");
    Ok(())
}

/// Runs a command and prints nothing of it; true when it succeeded.
fn succeeds(command: Cmd<'_>) -> bool {
    command.quiet().ignore_stdout().ignore_stderr().run().is_ok()
}
