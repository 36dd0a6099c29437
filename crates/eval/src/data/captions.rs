//! Pictures with captions, such as ImageNet's with texts about them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::TextFile;
use super::picture::find_picture;
use super::problems::Problems;
use super::readers::require;
use crate::EvalError;

/// One picture and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// The picture's file.
    pub image: PathBuf,
    /// The text.
    pub caption: String,
}

/// Captioned pictures, and what is wrong with the lines that were left out.
#[derive(Debug)]
pub struct Captions {
    /// In file order. A picture with several captions occurs several times.
    pub captions: Vec<Caption>,
    /// One error per line that was left out.
    pub problems: Vec<EvalError>,
}

#[derive(Deserialize)]
struct Row {
    image: String,
    caption: String,
}

/// Reads the captions of a folder: `captions.jsonl`, a line `{"image": "relative/path", "caption": "text"}` per caption
/// as training reads it, or `captions.tsv`, a line `path<TAB>text` per caption. Paths are relative to the folder.
///
/// # Errors
/// When neither list is there or it is not UTF-8. With `strict`, when a line is damaged, a caption empty or a picture
/// missing; otherwise those are in [`Captions::problems`].
pub fn read_captions(root: &Path, strict: bool) -> Result<Captions, EvalError> {
    let path = require(root, &["captions.jsonl", "captions.tsv"])?;
    let file = TextFile::read(&path)?;
    let is_table = path.extension().is_some_and(|ending| ending == "tsv");
    let mut problems = Problems::new(strict);
    let mut captions = Vec::new();
    for element in file.lines() {
        let one = || {
            let row: Row = if is_table {
                let (image, caption) = element.text.split_once('\t').ok_or_else(|| {
                    EvalError::line(&path, element.line, "no tab", "a path, a tab and a caption")
                })?;
                Row {
                    image: image.into(),
                    caption: caption.into(),
                }
            } else {
                file.parse(&element)?
            };
            if row.caption.trim().is_empty() {
                return Err(EvalError::line(&path, element.line, "an empty caption", "a text"));
            }
            let image = find_picture(root, &row.image).ok_or_else(|| EvalError::MissingImage {
                path: path.clone(),
                line: element.line,
                image: root.join(&row.image),
            })?;
            Ok(Caption {
                image,
                caption: row.caption,
            })
        };
        captions.extend(problems.keep(one())?);
    }
    Ok(Captions {
        captions,
        problems: problems.found(),
    })
}
