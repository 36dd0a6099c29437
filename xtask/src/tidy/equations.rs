//! Equations of `docs/method.md` and the functions that compute them.
//!
//! A heading of the page names number and function, ``### Eq. (3) `krate::function` ``; the first line below it links to
//! the file, `[crates/krate/src/file.rs](../crates/krate/src/file.rs)`. The function's doc comment says `Eq. (3)`. Others may
//! cite an equation in theirs, as long as the page has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{read, rust_sources};

/// The place that the page names for an equation.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Name of the function, without the path before it.
    function: String,
    /// The file, from the root.
    file: String,
}

/// Fails when page and sources disagree about an equation.
pub fn agree(root: &Path) -> anyhow::Result<()> {
    let page = root.join("docs/method.md");
    let written = equations_of_page(&read(&page)?).with_context(|| page.display().to_string())?;
    let mut named: BTreeMap<u32, Vec<(String, PathBuf)>> = BTreeMap::new();
    for path in rust_sources(&root.join("crates"))? {
        for (number, item) in equations_of_source(&read(&path)?) {
            named.entry(number).or_default().push((item, path.clone()));
        }
    }
    for (number, Place { function, file }) in &written {
        let path = root.join(file);
        ensure!(
            path.is_file(),
            "Eq. ({number}): docs/method.md names {file}, found no such file"
        );
        let items = named.get(number).map(Vec::as_slice).unwrap_or_default();
        ensure!(
            items
                .iter()
                .any(|(item, found)| item == function && *found == path),
            "Eq. ({number}): docs/method.md names `{function}` in {file}, whose doc does not say `Eq. ({number})`"
        );
    }
    for (number, items) in &named {
        for (item, path) in items {
            ensure!(
                written.contains_key(number),
                "Eq. ({number}) at `{item}` in {} does not stand in docs/method.md",
                path.display()
            );
        }
    }
    Ok(())
}

/// The equations of the page with the last part of each function's path and the file below it.
fn equations_of_page(page: &str) -> anyhow::Result<BTreeMap<u32, Place>> {
    let mut equations = BTreeMap::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(number) = equation_number(line).filter(|_| line.starts_with('#')) else {
            continue;
        };
        let path = line.split('`').nth(1);
        let function = path
            .and_then(|path| path.rsplit("::").next())
            .with_context(|| format!("`{line}` names no function"))?;
        let below = lines.by_ref().find(|line| !line.trim().is_empty());
        let file = below
            .and_then(|line| line.split("](../").nth(1)?.split(')').next())
            .with_context(|| format!("`{line}`: found no link to a file in the line below it"))?;
        let place = Place {
            function: function.to_string(),
            file: file.to_string(),
        };
        ensure!(
            equations.insert(number, place).is_none(),
            "Eq. ({number}) stands twice"
        );
    }
    ensure!(!equations.is_empty(), "found no equation");
    Ok(equations)
}

/// Every `Eq. (n)` in doc comments with the name of the next function below; empty where none follows.
fn equations_of_source(source: &str) -> Vec<(u32, String)> {
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
        found.push((number, function.unwrap_or_default()));
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_tied_to_the_next_function() {
        let source = "/// Law, Eq. (7) of `docs/method.md`.\n#[must_use]\npub fn gate(x: f32) -> f32 { x }\n";
        assert_eq!(equations_of_source(source), [(7, "gate".to_string())]);
    }

    #[test]
    fn a_page_names_number_function_and_file() {
        let page = "# Method\n### Eq. (2) `diffprune_softtopk::SoftTopK::forward`\n\n\
                    [a/b.rs](../a/b.rs)\ntext Eq. (9)\n";
        let place = Place {
            function: "forward".to_string(),
            file: "a/b.rs".to_string(),
        };
        assert_eq!(
            equations_of_page(page).unwrap().into_iter().collect::<Vec<_>>(),
            [(2, place)]
        );
        assert!(equations_of_page("### Eq. (2) `f`\ntext\n").is_err());
    }
}
