//! Checks that need no compiler.
//!
//! - Every equation of `docs/method.md` is computed by the function and in the file that the page names, whose doc comment
//!   says so, and no doc comment cites an equation that the page lacks ([`equations`]).
//! - No crate depends, directly or through others of the family, on what `docs/ARCHITECTURE.md` says it must not know
//!   ([`knowledge`]).
//! - Every published package can be published, and its README says what to write into `Cargo.toml` ([`packages`]).
//! - Links between the documents lead to files that exist ([`links`]).
//! - The method's crate names no architecture: it trains whatever is behind the model interface.

mod equations;
mod knowledge;
mod links;
mod manifest;
mod packages;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use xshell::Shell;

pub use manifest::{Manifest, members};

/// The crate that may name no architecture.
const METHOD: &str = "crates/diffprune/src";

/// The names of architectures, in small letters.
const ARCHITECTURES: [&str; 5] = ["llava", "qwen", "vicuna", "mistral", "clip_vision"];

/// A method that is called after the model it was made for, as it is written here and there.
const NAMESAKES: [&str; 2] = ["dynamicllava", "dynamic_llava"];

/// Runs all tidy checks.
pub fn run(shell: &Shell) -> anyhow::Result<()> {
    let root = shell.current_dir();
    let members = members(&root)?;
    knowledge::nobody_knows_too_much(&root, &members)?;
    packages::all_can_be_published(&root, &members)?;
    the_method_knows_no_architecture(&root)?;
    equations::agree(&root)?;
    links::lead_somewhere(&root, &members)?;
    eprintln!("tidy: dependencies, packages, method, equations and links are in order");
    Ok(())
}

fn the_method_knows_no_architecture(root: &Path) -> anyhow::Result<()> {
    let sources = rust_sources(&root.join(METHOD))?;
    ensure!(!sources.is_empty(), "{METHOD}: found no source");
    for path in sources {
        if let Some((line, name)) = architecture(&read(&path)?) {
            bail!(
                "{}:{line}: found `{name}`, expected nothing but the model interface",
                path.display()
            );
        }
    }
    Ok(())
}

/// The first line, counted from 1, that names an architecture, and which; re-exports may.
fn architecture(source: &str) -> Option<(usize, &'static str)> {
    let named = |line: &str| {
        let text = line.to_lowercase().replace(['-', ' '], "_");
        let text = NAMESAKES.iter().fold(text, |text, name| text.replace(name, ""));
        ARCHITECTURES.into_iter().find(|name| text.contains(name))
    };
    source
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("pub use "))
        .find_map(|(number, line)| Some((number + 1, named(line)?)))
}

/// All Rust files below `folder` but those of tests and build output, sorted.
fn rust_sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            if path.is_dir()
                && path
                    .file_name()
                    .is_some_and(|name| name != "target" && name != "tests")
            {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_noticed_but_not_methods_named_after_them() {
        let source = "pub use vlm::Llava;\nuse DynamicLlava; // dynamic-llava\n";
        assert_eq!(architecture(source), None);
        let named = |line: &str| architecture(&format!("{source}{line}"));
        assert_eq!(named("fn f(model: &Qwen25Vl) {}"), Some((3, "qwen")));
        assert_eq!(named("DynamicLlava::of(Llava)"), Some((3, "llava")));
    }
}
