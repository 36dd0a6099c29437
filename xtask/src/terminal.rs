//! `cargo xtask terminal`: what the program prints, as pictures in `docs/terminal/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Args;
use xshell::Shell;

use crate::dashboard;
use crate::run::build;

/// The pictures, each with the lines that are typed in it; `{tmp}` is an empty folder.
const PICTURES: [(&str, &[&str]); 4] = [
    ("help", &["diffprune --help"]),
    ("ask-help", &["diffprune ask --help"]),
    (
        "ask",
        &[
            "diffprune ask --image assets/scene.png --keep 1/9 \"what color is the cross?\"",
            "diffprune ask --image assets/scene.png --keep all \"is there a red circle?\"",
            "diffprune ask --image assets/scene.png --keep 1/9 --pruner vision-zip \"what color is the cross?\"",
            "diffprune ask --image assets/scene.png --keep 1000 --dry-run \"what color is the cross?\"",
        ],
    ),
    (
        "train",
        &[
            "diffprune mini data --quiet --out {tmp}/world --images 64 --val-images 16",
            "diffprune train --data {tmp}/world --out {tmp}/scorer --keep 1/9 --steps 20",
            "diffprune ask --image assets/scene.png --keep 1/9 --pruner diffprune:{tmp}/scorer \"what color is the cross?\"",
        ],
    ),
];

/// Characters of a line; longer ones are broken.
const COLUMNS: usize = 112;
/// Size of a character and of a line, pixels.
const WIDTH: f64 = 7.8;
const HEIGHT: f64 = 17.0;
/// Space around the text, pixels.
const MARGIN: f64 = 14.0;

/// The picture that is taken from a terminal.
const DASHBOARD: &str = "dashboard";

/// Flags of `cargo xtask terminal`.
#[derive(Args)]
pub struct TerminalFlags {
    /// One picture alone: help, ask-help, ask, train or dashboard.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// A program that is built already [default: build it in release].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl TerminalFlags {
    /// Builds the program and draws every picture.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let binary = match self.binary {
            Some(binary) => called_diffprune(binary)?,
            None => build(shell, "cpu")?,
        };
        let wanted = |name: &str| self.only.as_deref().is_none_or(|only| only == name);
        draw(shell, &binary, wanted)?;
        if wanted(DASHBOARD) {
            let screen = dashboard::screen(shell, &binary)?;
            shell.write_file(format!("docs/terminal/{DASHBOARD}.svg"), svg(screen.trim_end()))?;
            println!("docs/terminal/{DASHBOARD}.svg");
        }
        Ok(())
    }
}

/// The program, absolute: the lines of the pictures call it `diffprune`, and a shell must find it by that name.
fn called_diffprune(binary: PathBuf) -> anyhow::Result<PathBuf> {
    let name = format!("diffprune{}", std::env::consts::EXE_SUFFIX);
    ensure!(
        binary.file_name().is_some_and(|found| *found == *name) && binary.is_file(),
        "binary: found `{}`, expected a file that is called {name}",
        binary.display()
    );
    Ok(std::path::absolute(binary)?)
}

/// Draws the pictures of lines that are wanted.
fn draw(shell: &Shell, binary: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let programs = binary.parent().context("the program lies in a folder")?;
    for (name, lines) in PICTURES.into_iter().filter(|(name, _)| wanted(name)) {
        let folder = shell.create_temp_dir()?;
        let mut told = String::new();
        for line in lines {
            let here = line.replace("{tmp}", &folder.path().display().to_string());
            let output = typed(&here, programs)?;
            let output = output.replace(&folder.path().display().to_string(), "runs");
            writeln!(told, "$ {}", line.replace("{tmp}", "runs"))?;
            told += output.trim_end();
            told += "\n\n";
        }
        shell.write_file(format!("docs/terminal/{name}.svg"), svg(told.trim_end()))?;
        println!("docs/terminal/{name}.svg");
    }
    Ok(())
}

/// What a line prints, errors between the rest as on a screen.
fn typed(line: &str, programs: &Path) -> anyhow::Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("{line} 2>&1")])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("NO_COLOR", "1")
        .output()
        .with_context(|| format!("cannot run a shell for `{line}`"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Text on a dark ground, what was typed in another colour.
fn svg(text: &str) -> String {
    let lines: Vec<String> = text.lines().flat_map(broken).collect();
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (width, height) = (
        (2.0 * MARGIN + WIDTH * longest as f64).ceil(),
        (2.0 * MARGIN + HEIGHT * lines.len() as f64).ceil(),
    );
    let mut rows = String::new();
    for (row, line) in lines.iter().enumerate() {
        let (y, colour) = (
            MARGIN + HEIGHT * (row as f64 + 0.75),
            if line.starts_with("$ ") {
                "#8fd18a"
            } else {
                "#e4e6eb"
            },
        );
        let line = line
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let _ = writeln!(
            rows,
            "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{colour}\" xml:space=\"preserve\">{line}</text>"
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1b1e24\"/>\n{rows}</svg>\n"
    )
}

/// A line in pieces of [`COLUMNS`] characters at most, broken at spaces.
fn broken(line: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = line.trim_end();
    while rest.chars().count() > COLUMNS {
        let end = rest
            .char_indices()
            .nth(COLUMNS)
            .map_or(rest.len(), |(end, _)| end);
        let end = rest[..end]
            .rfind(' ')
            .filter(|&place| place > COLUMNS / 2)
            .unwrap_or(end);
        pieces.push(rest[..end].to_string());
        rest = rest[end..].trim_start();
    }
    pieces.push(rest.to_string());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_of_the_right_name_is_drawn() {
        let folder = std::env::temp_dir().join(format!("xtask-terminal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let name = format!("diffprune{}", std::env::consts::EXE_SUFFIX);
        let (right, wrong) = (folder.join(&name), folder.join("diffprune-copy"));
        for file in [&right, &wrong] {
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(called_diffprune(right.clone()).unwrap(), right);
        let error = called_diffprune(wrong).unwrap_err().to_string();
        assert!(
            error.contains("diffprune-copy") && error.contains(&name),
            "{error}"
        );
        // A folder of that name is no program.
        assert!(called_diffprune(folder.join("none").join(name)).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn long_lines_are_broken_and_marks_are_escaped() {
        let line = "word ".repeat(60);
        let pieces = broken(&line);
        assert!(pieces.len() == 3 && pieces.iter().all(|piece| piece.chars().count() <= COLUMNS));
        assert_eq!(pieces.concat().matches("word").count(), 60);
        assert_eq!(broken(&"é".repeat(COLUMNS + 1)).len(), 2);
        let picture = svg("$ a <b>\nx & y");
        assert!(
            picture.contains("a &lt;b&gt;") && picture.contains("x &amp; y"),
            "{picture}"
        );
    }
}
