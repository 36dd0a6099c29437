//! Writes the table of the registry into the documents that hold it: the README of this crate and the book's page.
//!
//! `cargo run -p diffprune-baselines --example write_tables`, after a change of the registry.

use std::{fs, io, path::Path};

use diffprune_baselines::table;

const DOCUMENTS: [&str; 2] = ["README.md", "../../docs/baselines.md"];

fn main() -> io::Result<()> {
    let table = table();
    let header = table.lines().next().unwrap_or_default();
    // The first columns stay when others are added.
    let start = header.split_inclusive('|').take(3).collect::<String>();
    for document in DOCUMENTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let text = fs::read_to_string(&path)?;
        let replaced = replaced(&text, &start, &table);
        let missing = || {
            let problem = format!("{document}: found no table that starts with `{start}`, wanted one");
            io::Error::new(io::ErrorKind::InvalidData, problem)
        };
        fs::write(&path, replaced.ok_or_else(missing)?)?;
        println!("{document}");
    }
    Ok(())
}

/// The text with another table in the place of the one whose header starts so.
fn replaced(text: &str, start: &str, table: &str) -> Option<String> {
    let first = text.lines().position(|line| line.starts_with(start))?;
    let rows = text.lines().skip(first).take_while(|line| line.starts_with('|'));
    let last = first + rows.count();
    let mut lines: Vec<&str> = text.lines().take(first).collect();
    lines.extend(table.lines());
    lines.extend(text.lines().skip(last));
    Some(lines.join("\n") + "\n")
}
