//! ImageNet-1K validation pictures with their classes, for the test without a language model.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::json::TextFile;
use super::problems::Problems;
use super::readers::{Ids, first_existing, picture};
use crate::EvalError;

/// The folder of the pictures in the flat layout.
const FLAT: &str = "ILSVRC/Data/CLS-LOC/val";
const SOLUTION: &str = "LOC_val_solution.csv";
const MAPPING: &str = "LOC_synset_mapping.txt";
/// Endings of pictures in class folders.
const ENDINGS: [&str; 3] = ["jpeg", "jpg", "png"];

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNetSample {
    /// File name without ending.
    pub id: String,
    /// The picture's file.
    pub image: PathBuf,
    /// Place of its class in [`ImageNet::classes`].
    pub class: usize,
}

/// Validation pictures and classes.
#[derive(Debug)]
pub struct ImageNet {
    /// WordNet ids in the order of class indices.
    pub classes: Vec<String>,
    /// The pictures, by file name.
    pub samples: Vec<ImageNetSample>,
    /// One error for each picture or line that was left out.
    pub problems: Vec<EvalError>,
}

impl ImageNet {
    /// Reads `val/<wnid>/*.JPEG`, or `ILSVRC/Data/CLS-LOC/val/` with `LOC_val_solution.csv` and
    /// `LOC_synset_mapping.txt`; folders are preferred.
    ///
    /// Class indices are the order of `LOC_synset_mapping.txt` when it is there, else the sorted WordNet ids: a folder
    /// with some of the thousand classes needs the mapping for the model's indices.
    ///
    /// # Errors
    /// When neither layout is below `root` or a list is damaged as a whole. With `strict`, when a single picture or line
    /// is unusable; otherwise those are in [`Self::problems`].
    pub fn read(root: &Path, strict: bool) -> Result<Self, EvalError> {
        let mut problems = Problems::new(strict);
        let mapping = match first_existing(root, &[MAPPING]) {
            Some(path) => Some(mapping(&path)?),
            None => None,
        };
        let folder = root.join("val");
        let wnids = if folder.is_dir() {
            sub_folders(&folder)?
        } else {
            Vec::new()
        };
        let (classes, mut samples) = if wnids.is_empty() {
            let classes = mapping.ok_or_else(|| EvalError::NoFiles {
                root: root.into(),
                wanted: format!("val/<wnid>/ or {MAPPING} with {SOLUTION} and {FLAT}"),
            })?;
            let samples = of_solution(root, &classes, &mut problems)?;
            (classes, samples)
        } else {
            let classes = mapping.unwrap_or_else(|| wnids.clone());
            let samples = of_folders(&folder, &wnids, &classes, &mut problems)?;
            (classes, samples)
        };
        samples.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self {
            classes,
            samples,
            problems: problems.found(),
        })
    }
}

/// The WordNet ids: first words of the lines.
fn mapping(path: &Path) -> Result<Vec<String>, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut classes = Vec::new();
    for row in file.lines() {
        let wnid = row.text.split_whitespace().next().unwrap_or_default();
        ids.add(path, row.line, wnid)?;
        classes.push(wnid.to_string());
    }
    Ok(classes)
}

fn places(classes: &[String]) -> HashMap<&str, usize> {
    classes
        .iter()
        .enumerate()
        .map(|(place, wnid)| (wnid.as_str(), place))
        .collect()
}

/// Sorted names of what is in a folder.
fn names(folder: &Path) -> Result<Vec<String>, EvalError> {
    let entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| EvalError::io(folder, "list", source))?;
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn sub_folders(folder: &Path) -> Result<Vec<String>, EvalError> {
    let mut names = names(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    Ok(names)
}

fn of_folders(
    folder: &Path,
    wnids: &[String],
    classes: &[String],
    problems: &mut Problems,
) -> Result<Vec<ImageNetSample>, EvalError> {
    let places = places(classes);
    let mut samples = Vec::new();
    for wnid in wnids {
        let folder = folder.join(wnid);
        let class = places.get(wnid.as_str()).ok_or_else(|| EvalError::Setup {
            subject: folder.display().to_string(),
            found: format!("a class that {MAPPING} does not list"),
            wanted: "a listed WordNet id; remove the folder".into(),
        });
        let Some(&class) = problems.keep(class)? else {
            continue;
        };
        for name in names(&folder)? {
            let Some((stem, ending)) = name.rsplit_once('.') else {
                continue;
            };
            if ENDINGS.contains(&ending.to_lowercase().as_str()) {
                samples.push(ImageNetSample {
                    id: stem.into(),
                    image: folder.join(&name),
                    class,
                });
            }
        }
    }
    Ok(samples)
}

fn of_solution(
    root: &Path,
    classes: &[String],
    problems: &mut Problems,
) -> Result<Vec<ImageNetSample>, EvalError> {
    let path = root.join(SOLUTION);
    let file = TextFile::read(&path)?;
    let places = places(classes);
    let mut ids = Ids::default();
    let mut samples = Vec::new();
    for row in file.lines().iter().skip(1) {
        let mut one = || {
            let unfit = |found: String| {
                EvalError::line(
                    &path,
                    row.line,
                    found,
                    "an id, a comma, and a WordNet id of the mapping",
                )
            };
            let (id, prediction) = row
                .text
                .split_once(',')
                .ok_or_else(|| unfit(format!("`{}`", row.text)))?;
            let wnid = prediction.split_whitespace().next().unwrap_or_default();
            let &class = places.get(wnid).ok_or_else(|| unfit(format!("class `{wnid}`")))?;
            ids.add(&path, row.line, id)?;
            let image = picture(&path, row.line, &root.join(FLAT), &format!("{id}.JPEG"))?;
            Ok(ImageNetSample {
                id: id.into(),
                image,
                class,
            })
        };
        samples.extend(problems.keep(one())?);
    }
    Ok(samples)
}
