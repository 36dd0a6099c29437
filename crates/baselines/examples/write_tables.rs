//! Writes the table of the registry into the book's page that holds it.
//!
//! `cargo run -p diffprune-baselines --example write_tables`, after a change of the registry.

use std::{fs, io, path::Path};

use diffprune_baselines::table;

/// The page, from this crate's folder.
const PAGE: &str = "../../docs/baselines.md";

fn main() -> io::Result<()> {
    let table = table();
    let header = table.lines().next().unwrap_or_default();
    // The first columns stay when others are added.
    let start = header.split_inclusive('|').take(3).collect::<String>();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = fs::read_to_string(&path)?;
    let missing = || {
        let problem = format!("{PAGE}: found no table that starts with `{start}`, expected one");
        io::Error::new(io::ErrorKind::InvalidData, problem)
    };
    fs::write(&path, replaced(&text, &start, &table).ok_or_else(missing)?)?;
    println!("{PAGE}");
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
