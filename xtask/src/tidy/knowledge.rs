//! Who may depend on whom, as `docs/ARCHITECTURE.md` has it.
//!
//! The page's table of crates has a column *must not know*. Its entries are words of a second table, which says which
//! folders a word stands for, or names in backticks: a folder of ours, or a package of somebody else's. What a crate must
//! not know it may not reach through the crates that it does know either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::{Manifest, read};

/// The page with the two tables.
const PAGE: &str = "docs/ARCHITECTURE.md";
/// First cell of the header of the crates' table, and the column with the rules.
const CRATES: (&str, &str) = ("folder", "must not know");
/// First cell of the header of the words' table, and the column with the folders.
const WORDS: (&str, &str) = ("word", "crates");
/// The entry of a crate that may know everything.
const NOTHING: &str = "–";

/// Fails when a crate reaches something that it must not know, or when a crate has no row.
pub fn nobody_knows_too_much(root: &Path, members: &[Manifest]) -> anyhow::Result<()> {
    check(&read(&root.join(PAGE))?, members).context(PAGE)
}

fn check(page: &str, members: &[Manifest]) -> anyhow::Result<()> {
    let words = column(page, WORDS)?;
    let rules = column(page, CRATES)?;
    for name in rules.keys() {
        ensure!(
            members.iter().any(|member| member.short() == name),
            "the table names `{name}`, found no such crate"
        );
    }
    for member in members {
        let name = member.short();
        let rule = rules
            .get(name)
            .with_context(|| format!("found no row for {}", member.folder.display()))?;
        let forbidden = forbidden(rule, name, &words, members)?;
        for (reached, through) in reachable(member, members) {
            if forbidden.contains(reached.as_str()) {
                bail!("`{name}` must not know `{reached}`, found it through {through}");
            }
        }
    }
    Ok(())
}

/// Packages that the rule names; never the crate itself.
fn forbidden(
    rule: &str,
    name: &str,
    words: &BTreeMap<String, String>,
    members: &[Manifest],
) -> anyhow::Result<BTreeSet<String>> {
    let mut packages = BTreeSet::new();
    if rule == NOTHING {
        return Ok(packages);
    }
    for entry in rule.split(", ") {
        let folders = match entry.strip_prefix('`') {
            Some(quoted) => vec![quoted.trim_end_matches('`')],
            None => {
                let word = words.get(entry).with_context(|| {
                    format!("`{name}`: found `{entry}`, expected a word of the table or a name in backticks")
                })?;
                word.split(", ").map(|folder| folder.trim_matches('`')).collect()
            }
        };
        packages.extend(
            folders
                .into_iter()
                .filter(|folder| *folder != name)
                .map(|folder| {
                    let ours = members.iter().find(|member| member.short() == folder);
                    ours.map_or(folder, |member| &member.package).to_string()
                }),
        );
    }
    Ok(packages)
}

/// Every package that the member is built with, directly or through members, and the first step towards it.
fn reachable(member: &Manifest, members: &[Manifest]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(String, String)> = member
        .built_with()
        .into_iter()
        .map(|name| (name.clone(), name))
        .collect();
    while let Some((name, through)) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(next) = members.iter().find(|member| member.package == name) {
            open.extend(next.built_with().into_iter().map(|next| (next, through.clone())));
        }
        found.insert(name, through);
    }
    found
}

/// The first cell of each row of a table, without backticks, with the cell of the named column.
fn column(page: &str, (first, column): (&str, &str)) -> anyhow::Result<BTreeMap<String, String>> {
    let mut lines = page.lines();
    let header = lines
        .by_ref()
        .map(cells)
        .find(|cells| cells.first() == Some(&first) && cells.contains(&column))
        .with_context(|| format!("found no table with the columns `{first}` and `{column}`"))?;
    let place = header.iter().position(|name| *name == column).unwrap_or(0);
    let mut rows = BTreeMap::new();
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let cells = cells(line);
        ensure!(
            cells.len() == header.len(),
            "expected {} cells: {line}",
            header.len()
        );
        let name = cells[0].split(' ').next().unwrap_or_default().trim_matches('`');
        ensure!(
            rows.insert(name.to_string(), cells[place].to_string()).is_none(),
            "`{name}` has two rows"
        );
    }
    ensure!(!rows.is_empty(), "the table `{first}` has no rows");
    Ok(rows)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n| word | crates |\n|---|---|\n| leaves | `a`, `b` |\n\n\
                        | folder | package | must not know |\n|---|---|---|\n| `a` | `x-a` | leaves, `burn` |\n\
                        | `b` | `x-b` | leaves |\n| `top` (root) | `x-top` | – |\n";

    fn page(a: &str, b: &str) -> anyhow::Result<()> {
        let member = |name: &str, dependencies: &str| {
            let text = format!("[package]\nname = \"x-{name}\"\n[dependencies]\n{dependencies}");
            Manifest::parse(format!("crates/{name}"), &text).unwrap()
        };
        check(
            PAGE,
            &[member("a", a), member("b", b), member("top", "x-a = \"1\"\n")],
        )
    }

    #[test]
    fn what_is_forbidden_is_found_and_nothing_else() {
        page("", "burn = \"1\"\n").unwrap();
        assert!(page("burn = \"1\"\n", "").is_err());
        assert!(page("x-b = \"1\"\n", "").is_err());
    }

    #[test]
    fn what_lies_behind_a_member_counts() {
        let error = format!("{:#}", page("x-top = \"1\"\n", "x-top = \"1\"\n").unwrap_err());
        assert!(
            error.contains("`b` must not know `x-a`, found it through x-top"),
            "{error}"
        );
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_errors() {
        let only =
            |name: &str| Manifest::parse(format!("crates/{name}"), "[package]\nname = \"x\"\n").unwrap();
        assert!(check(PAGE, &[only("a")]).is_err());
        let all = [only("a"), only("b"), only("top"), only("new")];
        assert!(check(PAGE, &all).is_err());
    }
}
