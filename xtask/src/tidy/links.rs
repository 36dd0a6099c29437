//! Links between the documents.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{Manifest, read};

/// Fails when a document links to a file of the repository that is not there.
pub fn lead_somewhere(root: &Path, members: &[Manifest]) -> anyhow::Result<()> {
    let mut documents = pages(root)?;
    documents.extend(pages(&root.join("docs"))?);
    for member in members {
        documents.extend(pages(&root.join(&member.folder))?);
    }
    ensure!(!documents.is_empty(), "found no document");
    for document in documents {
        let folder = document.parent().unwrap_or(root);
        for link in links(&read(&document)?) {
            ensure!(
                folder.join(link).exists(),
                "{}: found a link to `{link}`, which does not exist",
                document.display()
            );
        }
    }
    Ok(())
}

/// The Markdown files of a folder, without those below it.
fn pages(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut pages: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    Ok(pages)
}

/// Targets of links to files, without what follows a `#`; code blocks and addresses do not count.
fn links(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains("::"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_files_and_nothing_else() {
        let text =
            "[a](docs/a.md#b) [c](https://d.e) [f](#g) ![h](i.png)\n```rust\nx[0](1)\n```\n[j](crate::k)";
        assert_eq!(links(text), ["docs/a.md", "i.png"]);
    }
}
