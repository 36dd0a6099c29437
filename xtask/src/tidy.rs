//! Checks that need no compiler.
//!
//! - Every equation of `docs/method.md` is computed by exactly one function, which says so in its doc, and every
//!   equation named in a doc stands in `docs/method.md` under that function's name.
//! - No leaf crate depends on a leaf crate.
//! - The method's crate names no architecture: it trains whatever is behind the model interface.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use xshell::Shell;

/// Crates that know nothing of one another; `kernels` lies below them.
const LEAVES: [&str; 5] = ["softtopk", "throttler", "denoiser", "scorer", "pruner"];

/// Tables of what a crate is built with.
const TABLES: [&str; 2] = ["dependencies", "build-dependencies"];

/// The crate that may name no architecture.
const METHOD: &str = "crates/diffprune/src";

/// What architectures are called, in small letters.
const ARCHITECTURES: [&str; 5] = ["llava", "qwen", "vicuna", "mistral", "clip_vision"];

/// A method that is called after the model it was made for, as it is written here and there.
const NAMESAKES: [&str; 2] = ["dynamicllava", "dynamic_llava"];

/// Runs all tidy checks.
pub fn run(shell: &Shell) -> anyhow::Result<()> {
    let root = shell.current_dir();
    leaves_stay_apart(&root)?;
    the_method_knows_no_architecture(&root)?;
    equations_agree(&root)?;
    eprintln!("tidy: leaves, method and equations are in order");
    Ok(())
}

fn the_method_knows_no_architecture(root: &Path) -> anyhow::Result<()> {
    let sources = rust_sources(&root.join(METHOD))?;
    ensure!(!sources.is_empty(), "{METHOD}: found no source");
    for path in sources {
        if let Some((line, name)) = architecture(&read(&path)?) {
            bail!(
                "{}:{line}: found `{name}`, wanted nothing but the model interface",
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

fn leaves_stay_apart(root: &Path) -> anyhow::Result<()> {
    for leaf in LEAVES {
        let path = root.join("crates").join(leaf).join("Cargo.toml");
        let manifest = read(&path)?;
        for dependency in dependencies(&manifest) {
            let Some(name) = dependency.strip_prefix("diffprune-") else {
                continue;
            };
            ensure!(
                name == "kernels",
                "{}: found a dependency on {dependency}, wanted none of the family but diffprune-kernels",
                path.display()
            );
        }
    }
    Ok(())
}

/// Packages under `[dependencies]` and `[build-dependencies]`, of every target (tests may use a sibling), by the names
/// in the manifest and by those that they are renamed from.
fn dependencies(manifest: &str) -> Vec<&str> {
    let (mut inside, mut entry) = (false, false);
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let name = TABLES.iter().find_map(|table| below(header, table));
            entry = name.is_some_and(|name| !name.is_empty());
            inside = name.is_some();
            names.extend(name.filter(|name| !name.is_empty()));
            continue;
        }
        if inside
            && !entry
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
        {
            names.push(name.trim_matches('"'));
        }
        if inside {
            names.extend(renamed(line));
        }
    }
    names
}

/// What follows a table's name in a header: nothing, or a dependency's name; `None` in another table.
fn below<'a>(header: &'a str, table: &str) -> Option<&'a str> {
    let start = match header.rfind(&format!(".{table}")) {
        Some(dot) => dot + 1,
        None if header.starts_with(table) => 0,
        None => return None,
    };
    let rest = &header[start + table.len()..];
    if rest.is_empty() {
        return Some(rest);
    }
    Some(rest.strip_prefix('.')?.trim_matches('"'))
}

/// The value of a key `package`.
fn renamed(line: &str) -> Option<&str> {
    line.split("package").skip(1).find_map(|rest| {
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        value.strip_prefix('"')?.split('"').next()
    })
}

fn equations_agree(root: &Path) -> anyhow::Result<()> {
    let page = root.join("docs/method.md");
    let written = equations_of_page(&read(&page)?).with_context(|| page.display().to_string())?;
    let mut computed: BTreeMap<u32, (String, PathBuf)> = BTreeMap::new();
    for path in rust_sources(&root.join("crates"))? {
        for (number, function) in
            equations_of_source(&read(&path)?).with_context(|| path.display().to_string())?
        {
            if let Some((other, first)) = computed.insert(number, (function.clone(), path.clone())) {
                bail!(
                    "Eq. ({number}) is claimed by `{other}` in {} and by `{function}` in {}, wanted one",
                    first.display(),
                    path.display()
                );
            }
        }
    }
    for (number, name) in &written {
        let Some((function, path)) = computed.get(number) else {
            bail!("Eq. ({number}) of docs/method.md: found no function whose doc names it, wanted `{name}`");
        };
        ensure!(
            function == name,
            "Eq. ({number}): docs/method.md names `{name}`, found it at `{function}` in {}",
            path.display()
        );
    }
    for (number, (function, path)) in &computed {
        ensure!(
            written.contains_key(number),
            "Eq. ({number}) at `{function}` in {} does not stand in docs/method.md",
            path.display()
        );
    }
    Ok(())
}

/// Lines of the form ``### Eq. (3) `function` `` with the number and the function's name (last path segment).
fn equations_of_page(page: &str) -> anyhow::Result<BTreeMap<u32, String>> {
    let mut equations = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with('#')) {
        let Some(number) = equation_number(line) else {
            continue;
        };
        let function = line
            .split('`')
            .nth(1)
            .with_context(|| format!("`{line}` names no function"))?;
        let function = function.rsplit("::").next().unwrap_or(function).to_string();
        ensure!(
            equations.insert(number, function).is_none(),
            "Eq. ({number}) stands twice"
        );
    }
    ensure!(!equations.is_empty(), "found no equation");
    Ok(equations)
}

/// Every `Eq. (n)` in doc comments with the name of the next function below.
fn equations_of_source(source: &str) -> anyhow::Result<Vec<(u32, String)>> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (index, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("///"))
    {
        let Some(number) = equation_number(line) else {
            continue;
        };
        let function = lines[index..].iter().find_map(|line| function_name(line));
        found.push((
            number,
            function.with_context(|| format!("no function below `{line}`"))?,
        ));
    }
    Ok(found)
}

fn equation_number(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("Eq. (")?;
    rest.split(')').next()?.parse().ok()
}

fn function_name(line: &str) -> Option<String> {
    if line.starts_with("//") {
        return None;
    }
    let (before, after) = line.split_once("fn ")?;
    if !before
        .split_whitespace()
        .all(|word| word.starts_with("pub") || ["const", "async", "unsafe"].contains(&word))
    {
        return None;
    }
    Some(
        after
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect(),
    )
}

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
    fn dependency_names_come_from_the_right_section() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nburn.workspace = true\ndiffprune-kernels = { }\n\
                        [dev-dependencies]\ndiffprune-softtopk.workspace = true\n";
        assert_eq!(dependencies(manifest), ["burn", "diffprune-kernels"]);
    }

    #[test]
    fn build_dependencies_targets_and_renames_count() {
        let manifest = "[build-dependencies]\na = { version = \"1\" }\nb = { package = \"diffprune-scorer\" }\n\
                        [target.'cfg(unix)'.dependencies]\nc.workspace = true\n[dependencies.d]\nversion = \"1\"\n\
                        package = \"diffprune-pruner\"\n[target.'cfg(unix)'.build-dependencies.e]\npath = \"e\"\n\
                        [dev-dependencies.f]\npackage = \"diffprune-softtopk\"\n\
                        [target.'cfg(unix)'.dev-dependencies]\ng = \"1\"\n";
        assert_eq!(
            dependencies(manifest),
            ["a", "b", "diffprune-scorer", "c", "d", "diffprune-pruner", "e"]
        );
    }

    #[test]
    fn architectures_are_noticed_but_not_methods_named_after_them() {
        let source = "pub use vlm::Llava;\nuse DynamicLlava; // dynamic-llava\n";
        assert_eq!(architecture(source), None);
        let named = |line: &str| architecture(&format!("{source}{line}"));
        assert_eq!(named("fn f(model: &Qwen25Vl) {}"), Some((3, "qwen")));
        assert_eq!(named("DynamicLlava::of(Llava)"), Some((3, "llava")));
    }

    #[test]
    fn equations_are_tied_to_the_next_function() {
        let source = "/// Law, Eq. (7) of `docs/method.md`.\n#[must_use]\npub fn gate(x: f32) -> f32 { x }\n";
        assert_eq!(equations_of_source(source).unwrap(), [(7, "gate".to_string())]);
    }

    #[test]
    fn a_page_names_number_and_function() {
        let page = "# Method\n### Eq. (2) `diffprune_softtopk::SoftTopK::forward`\ntext Eq. (9)\n";
        assert_eq!(
            equations_of_page(page).unwrap().into_iter().collect::<Vec<_>>(),
            [(2, "forward".to_string())]
        );
    }
}
