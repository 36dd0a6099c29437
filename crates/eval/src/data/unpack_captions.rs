//! Captioned pictures from parquet, unpacked for training.

use std::path::Path;

use diffprune_files::{FolderLock, Stop};
use image::ImageFormat;
use serde_json::json;

use super::parquet_rows::{ParquetRow, SplitFiles, place};
use super::unpack::go_on;
use crate::EvalError;

/// The splits of ImageNet-1K-VL-Enriched, and the folders that training looks for.
const SPLITS: [(&str, &str); 2] = [("train", "train"), ("validation", "val")];
/// Names of the enriched caption; the first that a row has is taken.
const CAPTIONS: [&str; 2] = ["caption_enriched", "caption"];

/// Writes the captioned pictures of parquet files below `from` (ImageNet-1K-VL-Enriched: columns `image_id`, `image` and
/// `caption_enriched`; the bounding boxes are left behind) as `train` and `val` below `to`, each with `captions.jsonl` and
/// the pictures as they are, so that training and [`read_captions`](crate::read_captions) read them. At most `limit` rows of each
/// split, in file order; parts that are absent are not missed. Gives the number of captions; `progress` is called after each row
/// with the rows done and the rows in all; `stop` ends the work between two rows. The list of a split is written last: a folder
/// with one is whole.
///
/// # Errors
/// When there is no parquet file of a training split, one is damaged or lacks a column, a caption is empty or bytes are no picture,
/// the work is stopped, another process works in `to`, or the disk refuses.
pub fn unpack_captions(
    from: &Path,
    to: &Path,
    limit: Option<usize>,
    stop: &Stop,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, EvalError> {
    unpack_caption_column(from, to, &CAPTIONS, limit, stop, progress)
}

/// As [`unpack_captions`], with the caption in the first of these columns that a row has.
///
/// # Errors
/// As [`unpack_captions`].
pub fn unpack_caption_column(
    from: &Path,
    to: &Path,
    columns: &[&str],
    limit: Option<usize>,
    stop: &Stop,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, EvalError> {
    let mut splits = vec![];
    for (split, folder) in SPLITS {
        match SplitFiles::open_some(from, split, false) {
            Ok(files) => splits.push((files, folder)),
            // Training does without held-out pictures.
            Err(EvalError::NoFiles { .. }) if !splits.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    let wanted = |files: &SplitFiles| files.n_rows().min(limit.unwrap_or(usize::MAX));
    let n_rows = splits.iter().map(|(files, _)| wanted(files)).sum();
    let _lock = FolderLock::take(to)?;
    let mut done = 0;
    for (files, folder) in &splits {
        let to = to.join(folder);
        let mut list = String::new();
        for row in files.rows().take(wanted(files)) {
            go_on(stop, &to, done, n_rows)?;
            list += &one(&to, &row?, columns)?;
            done += 1;
            progress(done, n_rows);
        }
        place(&to, "captions.jsonl", list.as_bytes())?;
    }
    Ok(done)
}

/// Writes the picture of a row; gives its line of the list.
fn one(to: &Path, row: &ParquetRow<'_>, columns: &[&str]) -> Result<String, EvalError> {
    let id = row.text("image_id")?;
    let caption = columns
        .iter()
        .find_map(|name| row.text(&name.to_lowercase()).ok());
    let caption = caption.filter(|text| !text.trim().is_empty());
    let caption =
        caption.ok_or_else(|| row.unfit(&format!("no caption of `{id}` in {}", columns.join(" or "))))?;
    let bytes = row.picture()?;
    let format = image::guess_format(bytes).map_err(|error| row.unfit(&error))?;
    let known = ImageFormat::from_path(&id).is_ok_and(|named| named == format);
    let ending = if known {
        ""
    } else {
        format.extensions_str().first().unwrap_or(&"")
    };
    let dot = if ending.is_empty() { "" } else { "." };
    // A folder of a million files is slow everywhere: the classes of ImageNet, or the first characters of the id.
    let class = id.split_once('_').map_or(id.as_str(), |(class, _)| class);
    let class: String = class.chars().take(12).collect();
    let name = format!("images/{class}/{id}{dot}{ending}");
    place(to, &name, bytes)?;
    Ok(format!("{}\n", json!({"image": name, "caption": caption})))
}
