//! The check that every published package is complete.

use std::path::{Component, Path};

use anyhow::{Context, bail, ensure};
use toml::{Table, Value};

use super::{Manifest, read, rust_sources};

/// Files that every published package brings along.
const FILES: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// Most keywords that the registry takes.
const MOST_KEYWORDS: usize = 5;

/// Fails when a published package lacks a field, a file, or a README that says how to depend on it and how to run its
/// examples.
pub fn all_can_be_published(root: &Path, members: &[Manifest]) -> anyhow::Result<()> {
    for member in members.iter().filter(|member| member.is_published()) {
        let folder = root.join(&member.folder);
        complete(member).with_context(|| folder.join("Cargo.toml").display().to_string())?;
        for file in FILES {
            ensure!(
                folder.join(file).is_file(),
                "{}: found no {file}; link it to the workspace's own",
                folder.display()
            );
        }
        let readme = folder.join("README.md");
        let text = read(&readme)?;
        for source in rust_sources(&folder)? {
            if let Some(file) = included_from_outside(&read(&source)?, source.strip_prefix(&folder)?) {
                bail!(
                    "{}: found `{file}`, which is outside the package; a page's code is compiled by crates/book",
                    source.display()
                );
            }
        }
        how_to_depend(&text, member, members).with_context(|| readme.display().to_string())?;
        ensure!(
            !folder.join("examples").is_dir() || text.contains("--example "),
            "{}: found no `--example`, expected the command that runs an example",
            readme.display()
        );
    }
    Ok(())
}

/// The first file that a source (at `path` within its package) includes and that is not part of the package.
fn included_from_outside<'a>(source: &'a str, path: &Path) -> Option<&'a str> {
    let folders = path.components().count().saturating_sub(1);
    let included = source
        .split("include_")
        .skip(1)
        .filter_map(|rest| {
            rest.strip_prefix("str!(\"")
                .or_else(|| rest.strip_prefix("bytes!(\""))
        })
        .filter_map(|rest| rest.split('"').next());
    included.into_iter().find(|file| {
        let up = Path::new(file)
            .components()
            .filter(|part| *part == Component::ParentDir);
        up.count() > folders
    })
}

fn complete(member: &Manifest) -> anyhow::Result<()> {
    let text = |name: &str| member.package_field(name).and_then(Value::as_str);
    ensure!(
        text("description").is_some_and(|text| !text.is_empty()),
        "found no description"
    );
    ensure!(
        text("readme") == Some("README.md"),
        "expected `readme = \"README.md\"`"
    );
    for name in ["license", "rust-version", "include"] {
        ensure!(member.package_field(name).is_some(), "found no `{name}`");
    }
    let keywords = member.package_field("keywords").and_then(Value::as_array);
    ensure!(
        keywords.is_some_and(|words| words.len() <= MOST_KEYWORDS),
        "expected up to {MOST_KEYWORDS} keywords"
    );
    Ok(())
}

/// The first `toml` block of a README must name its own package, and of the family only packages and features that exist.
/// A program says how it is installed instead.
fn how_to_depend(readme: &str, member: &Manifest, members: &[Manifest]) -> anyhow::Result<()> {
    if member.package_field("default-run").is_some() || readme.contains("cargo install --path") {
        return Ok(());
    }
    let block = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("found no block ```toml that says what to write into Cargo.toml")?;
    let table: Table = block.parse().context("the block ```toml")?;
    let dependencies = table
        .get("dependencies")
        .and_then(Value::as_table)
        .context("the block ```toml has no [dependencies]")?;
    ensure!(
        dependencies.contains_key(&member.package),
        "the block ```toml does not name {}",
        member.package
    );
    for (name, entry) in dependencies
        .iter()
        .filter(|(name, _)| name.starts_with("diffprune"))
    {
        let Some(named) = members.iter().find(|member| &member.package == name) else {
            bail!("the block ```toml names `{name}`, found no such package");
        };
        let features = entry.get("features").and_then(Value::as_array);
        for feature in features.into_iter().flatten().filter_map(Value::as_str) {
            ensure!(
                named.has_feature(feature),
                "the block ```toml asks {name} for `{feature}`, found no such feature"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Manifest {
        Manifest::parse(
            "crates/a",
            "[package]\nname = \"diffprune-a\"\n[features]\nfast = []\n",
        )
        .unwrap()
    }

    #[test]
    fn a_readme_names_its_package_and_features_that_exist() {
        let said = |block: &str| how_to_depend(block, &member(), &[member()]);
        said("```toml\n[dependencies]\ndiffprune-a = { path = \"a\", features = [\"fast\"] }\n```").unwrap();
        assert!(said("no block").is_err());
        assert!(said("```toml\n[dependencies]\nburn = \"0.22\"\n```").is_err());
        assert!(said("```toml\n[dependencies]\ndiffprune-a = { features = [\"slow\"] }\n```").is_err());
        assert!(said("```toml\n[dependencies]\ndiffprune-a = \"1\"\ndiffprune-b = \"1\"\n```").is_err());
    }

    #[test]
    fn files_outside_the_package_are_noticed() {
        let source = "#![doc = include_str!(\"../README.md\")]\ninclude_bytes!(\"../../x\");";
        assert_eq!(
            included_from_outside(source, Path::new("src/lib.rs")),
            Some("../../x")
        );
        assert_eq!(included_from_outside(source, Path::new("src/deep/lib.rs")), None);
    }

    #[test]
    fn a_package_without_a_description_is_not_complete() {
        let error = complete(&member()).unwrap_err().to_string();
        assert!(error.contains("description"), "{error}");
    }
}
