//! The revision of the code, for reports.

use std::process::Command;

/// The revision given at build time by `DIFFPRUNE_REVISION`, or that of the git repository around the current folder, with `+`
/// behind it when a file was changed; `unknown` without either.
pub fn revision() -> String {
    if let Some(revision) = option_env!("DIFFPRUNE_REVISION") {
        return revision.to_string();
    }
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
        output.status.success().then_some(text)
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_string();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    format!("{head}{}", if changed { "+" } else { "" })
}
