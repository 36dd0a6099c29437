//! Pictures of kept tokens at the end of a report.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use diffprune::vlm::{PruneOptions, load_image};
use diffprune::{Budget, Vlm};
use diffprune_eval::{Benchmark, Figure, Figures, Question};

use crate::drawing::draw;
use crate::error::LabError;
use crate::files::make_folder;
use crate::methods::Method;

/// Folder of the pictures below that of the report.
const FOLDER: &str = "pictures";
/// The caption of the panels.
const LEGEND: &str = "Left to right: the picture, then for each raster of tokens their scores as heat and the tokens that are kept.";

/// Draws `count` test pictures with each method; those of an earlier run are removed.
pub(crate) fn draw_some(
    vlm: &dyn Vlm,
    questions: &[Question],
    count: usize,
    methods: &[(&str, Method)],
    budget: Budget,
    out: &Path,
) -> Result<(), LabError> {
    let folder = out.join(FOLDER);
    make_folder(&folder)?;
    for name in drawn(&folder)? {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(LabError::io(&path, "remove"))?;
    }
    for (number, image) in some(questions, count).iter().enumerate() {
        let picture = load_image(image)?;
        for (name, method) in methods {
            let path = folder.join(format!("{}-{name}.png", number + 1));
            draw(vlm, &picture, method, name, &PruneOptions::new(budget), &path)?;
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

/// The drawn pictures in the folder of a report; none when it has none.
///
/// # Errors
/// When a file cannot be read.
pub fn drawn_pictures(out: &Path) -> Result<Figures, LabError> {
    let folder = out.join(FOLDER);
    let names = if folder.is_dir() {
        drawn(&folder)?
    } else {
        Vec::new()
    };
    let figure = |name: String| {
        let path = folder.join(&name);
        let stem = name.trim_end_matches(".png");
        let title = match stem.split_once('-') {
            Some((number, method)) => format!("Image {number}: {method}"),
            None => stem.to_string(),
        };
        Ok(Figure {
            title,
            path: format!("{FOLDER}/{name}"),
            png: fs::read(&path).map_err(LabError::io(&path, "read"))?,
        })
    };
    Ok(Figures {
        legend: LEGEND.into(),
        figures: names.into_iter().map(figure).collect::<Result<_, LabError>>()?,
    })
}

/// Copies the pictures of a report into another folder.
pub(crate) fn copy_pictures(from: &Path, to: &Path) -> Result<(), LabError> {
    let (from, to) = (from.join(FOLDER), to.join(FOLDER));
    if !from.is_dir() {
        return Ok(());
    }
    make_folder(&to)?;
    for name in drawn(&from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        fs::copy(&source, &target).map_err(LabError::io(&source, "copy"))?;
    }
    Ok(())
}

/// Names of the pictures in the folder that this program draws: a number and a method.
fn drawn(folder: &Path) -> Result<Vec<String>, LabError> {
    let entries = fs::read_dir(folder).map_err(LabError::io(folder, "read"))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".png"))
        .collect();
    names.sort();
    Ok(names)
}
