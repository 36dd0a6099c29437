//! Pictures of what the methods keep, and their place in the report.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use diffprune::vlm::{PruneOptions, load_image};
use diffprune::{Budget, Vlm};
use diffprune_eval::{Benchmark, Figure, Figures, Question};

use crate::commands::eval::make_folder;
use crate::commands::show::draw;
use crate::pruners::Method;

/// Folder of the pictures below that of the report.
const FOLDER: &str = "pictures";
/// What the panels are.
const LEGEND: &str = "Left to right: the picture, then for each raster of tokens their scores as heat and the tokens that are kept.";

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

/// The first pictures of the question sets that are files, in turn.
fn some(questions: &[Question], count: usize) -> Vec<PathBuf> {
    let of = |benchmark: Benchmark| {
        let images: BTreeSet<&PathBuf> = questions
            .iter()
            .filter(|q| q.benchmark == benchmark && q.inline.is_none())
            .map(|q| &q.image)
            .collect();
        images.into_iter().cloned().collect::<Vec<_>>()
    };
    let sets = Benchmark::ALL.map(of);
    let longest = sets.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|i| sets.iter().filter_map(move |set| set.get(i)));
    in_turn.take(count).cloned().collect()
}

/// The pictures that are there, for the end of a report.
pub fn collect(out: &Path) -> anyhow::Result<Figures> {
    let folder = out.join(FOLDER);
    let names = if folder.is_dir() {
        drawn(&folder)?
    } else {
        Vec::new()
    };
    let figure = |name: String| {
        let path = folder.join(&name);
        Ok(Figure {
            title: name.trim_end_matches(".png").into(),
            path: format!("{FOLDER}/{name}"),
            png: fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?,
        })
    };
    Ok(Figures {
        legend: LEGEND.into(),
        figures: names.into_iter().map(figure).collect::<anyhow::Result<_>>()?,
    })
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
