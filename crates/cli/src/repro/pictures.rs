//! Pictures of what the methods keep, and their place in the report.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use diffprune::vlm::{PruneOptions, load_image, write_atomic};
use diffprune::{Budget, Vlm};
use diffprune_eval::{Benchmark, Question};

use crate::commands::eval::make_folder;
use crate::commands::show::draw;
use crate::pruners::Method;

/// Folder of the pictures below that of the report.
const FOLDER: &str = "pictures";
/// What the panels are.
const LEGEND: &str =
    "Left to right: the picture, the scores of its tokens as heat, the tokens that are kept.";

/// Draws `count` test pictures with each method; those of an earlier run go.
pub fn draw_some(
    vlm: &dyn Vlm,
    questions: &[Question],
    count: usize,
    methods: &[(&str, Method)],
    budget: Budget,
    out: &Path,
) -> anyhow::Result<()> {
    let folder = out.join(FOLDER);
    make_folder(&folder)?;
    for name in drawn(&folder)? {
        let path = folder.join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for (number, image) in some(questions, count).iter().enumerate() {
        let picture = load_image(image)?;
        for (name, method) in methods {
            let path = folder.join(format!("{}-{name}.png", number + 1));
            draw(vlm, &picture, method, &PruneOptions::new(budget), &path)?;
        }
    }
    Ok(())
}

/// The first pictures of the question sets, in turn.
fn some(questions: &[Question], count: usize) -> Vec<PathBuf> {
    let of = |benchmark: Benchmark| {
        let images: BTreeSet<&PathBuf> = questions
            .iter()
            .filter(|q| q.benchmark == benchmark)
            .map(|q| &q.image)
            .collect();
        images.into_iter().cloned().collect::<Vec<_>>()
    };
    let sets = Benchmark::ALL.map(of);
    let longest = sets.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|i| sets.iter().filter_map(move |set| set.get(i)));
    in_turn.take(count).cloned().collect()
}

/// Puts the pictures that are there at the end of `report.md` and `report.html`.
pub fn link(out: &Path) -> anyhow::Result<()> {
    let folder = out.join(FOLDER);
    let names = if folder.is_dir() {
        drawn(&folder)?
    } else {
        Vec::new()
    };
    if names.is_empty() {
        return Ok(());
    }
    let rows = |row: &dyn Fn(&str, &str) -> String| -> String {
        names
            .iter()
            .map(|name| row(name.trim_end_matches(".png"), &format!("{FOLDER}/{name}")))
            .collect()
    };
    let markdown = rows(&|title, path| format!("{title}\n\n![{title}]({path})\n\n"));
    append(
        &out.join("report.md"),
        None,
        &format!("\n## Pictures\n\n{LEGEND}\n\n{markdown}"),
    )?;
    let html = rows(&|title, path| {
        format!("<p>{title}<br><img src=\"{path}\" alt=\"{title}\" style=\"max-width:100%\"></p>\n")
    });
    append(
        &out.join("report.html"),
        Some("</body>"),
        &format!("<h2>Pictures</h2>\n<p>{LEGEND}</p>\n{html}"),
    )
}

/// Names of the pictures in the folder that this program draws: a number and a method.
fn drawn(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".png"))
        .collect();
    names.sort();
    Ok(names)
}

/// Adds a text to a file, before the last `mark` when there is one.
fn append(path: &Path, mark: Option<&str>, addition: &str) -> anyhow::Result<()> {
    let mut text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let place = mark.and_then(|mark| text.rfind(mark)).unwrap_or(text.len());
    text.insert_str(place, addition);
    Ok(write_atomic(path, text.as_bytes())?)
}
