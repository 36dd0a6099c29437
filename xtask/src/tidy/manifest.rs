//! Manifests of the workspace, as far as the checks need them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use toml::{Table, Value};

use super::read;

/// Tables of what a crate is built with; tests may know more.
const BUILT_WITH: [&str; 2] = ["dependencies", "build-dependencies"];

/// A member of the workspace.
#[derive(Debug)]
pub struct Manifest {
    /// Folder below the root: `crates/scorer`.
    pub folder: PathBuf,
    /// Name of the package.
    pub package: String,
    table: Table,
}

impl Manifest {
    /// A manifest's text as a member in `folder`.
    pub fn parse(folder: impl Into<PathBuf>, text: &str) -> anyhow::Result<Self> {
        let folder = folder.into();
        let table: Table = text
            .parse()
            .with_context(|| folder.join("Cargo.toml").display().to_string())?;
        let package = field(&table, &["package", "name"])
            .and_then(Value::as_str)
            .with_context(|| format!("{}: found no package name", folder.display()))?;
        Ok(Self {
            folder,
            package: package.to_string(),
            table,
        })
    }

    /// The last part of the folder's name, which is what the documents call the crate.
    pub fn short(&self) -> &str {
        self.folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    /// `true` if the package goes to a registry.
    pub fn is_published(&self) -> bool {
        self.package_field("publish") != Some(&Value::Boolean(false))
    }

    /// A field of `[package]`.
    pub fn package_field(&self, name: &str) -> Option<&Value> {
        field(&self.table, &["package", name])
    }

    /// `true` if `[features]` has this name.
    pub fn has_feature(&self, name: &str) -> bool {
        field(&self.table, &["features", name]).is_some()
            || self.built_with().iter().any(|dependency| dependency == name)
    }

    /// Packages that the crate is built with, for any target, by their real names.
    pub fn built_with(&self) -> Vec<String> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let tables = targets.into_iter().flat_map(Table::values);
        let tables = tables.filter_map(Value::as_table).chain([&self.table]);
        let mut names: Vec<String> = tables
            .flat_map(|table| BUILT_WITH.iter().filter_map(|name| table.get(*name)))
            .filter_map(Value::as_table)
            .flatten()
            .map(|(name, entry)| {
                let renamed = entry.get("package").and_then(Value::as_str);
                renamed.unwrap_or(name).to_string()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn field<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents
        .iter()
        .try_fold(table, |table, name| table.get(*name)?.as_table())?;
    parent.get(*last)
}

/// All members of the workspace, by folder.
pub fn members(root: &Path) -> anyhow::Result<Vec<Manifest>> {
    let crates = root.join("crates");
    let entries = std::fs::read_dir(&crates).with_context(|| crates.display().to_string())?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(Path::new("crates").join(entry.ok()?.file_name())))
        .chain(["benches", "xtask"].map(PathBuf::from))
        .filter(|folder| root.join(folder).join("Cargo.toml").is_file())
        .collect();
    folders.sort();
    folders
        .into_iter()
        .map(|folder| {
            let text = read(&root.join(&folder).join("Cargo.toml"))?;
            Manifest::parse(folder, &text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_dependencies_targets_and_renames_count_and_those_of_tests_do_not() {
        let manifest = Manifest::parse(
            "crates/x",
            "[package]\nname = \"x\"\n[build-dependencies]\na = \"1\"\nb = { package = \"diffprune-scorer\" }\n\
             [target.'cfg(unix)'.dependencies]\nc.workspace = true\n[dependencies.d]\nversion = \"1\"\n\
             package = \"diffprune-pruner\"\n[target.'cfg(unix)'.build-dependencies.e]\npath = \"e\"\n\
             [dev-dependencies.f]\npackage = \"diffprune-softtopk\"\n\
             [target.'cfg(unix)'.dev-dependencies]\ng = \"1\"\n",
        )
        .unwrap();
        assert_eq!(
            manifest.built_with(),
            ["a", "c", "diffprune-pruner", "diffprune-scorer", "e"]
        );
        assert_eq!(manifest.short(), "x");
        assert!(manifest.is_published());
    }
}
