//! ImageNet's validation pictures from parquet, unpacked into the flat official layout.

use std::path::Path;

use diffprune_files::{FolderLock, Stop};

use super::parquet_rows::{SplitFiles, place};
use super::unpack::go_on;
use crate::EvalError;

/// Classes of ImageNet-1K.
const N_CLASSES: usize = 1000;

/// Writes the validation pictures of parquet files below `from` (columns `image` and `label`) as
/// `ILSVRC/Data/CLS-LOC/val/`, `LOC_val_solution.csv` and `LOC_synset_mapping.txt` below `to`, so that
/// [`ImageNet::read`](crate::ImageNet::read) reads them. Parquet holds class indices and no WordNet ids: the mapping names the
/// classes `class0000` to `class0999`. Gives the number of pictures; `progress` is called after each row with the rows
/// done and the rows in all; `stop` ends the work between two rows. The lists are written last.
///
/// # Errors
/// When there is no parquet file of the validation split, one is damaged or lacks a column, a label is no class index, the
/// work is stopped, another process works in `to`, or the disk refuses.
pub fn unpack_imagenet(
    from: &Path,
    to: &Path,
    stop: &Stop,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, EvalError> {
    let files = SplitFiles::open(from, "validation", false)?;
    let n_rows = files.n_rows();
    let _lock = FolderLock::take(to)?;
    let mut solution = String::from("ImageId,PredictionString\n");
    let mut done = 0;
    for row in files.rows() {
        go_on(stop, to, done, n_rows)?;
        let row = row?;
        let label: usize = row.text("label")?.parse().map_err(|error| row.unfit(&error))?;
        if label >= N_CLASSES {
            return Err(row.unfit(&format!("label {label}")));
        }
        let bytes = row.picture()?;
        done += 1;
        let id = format!("ILSVRC2012_val_{done:08}");
        place(to, &format!("ILSVRC/Data/CLS-LOC/val/{id}.JPEG"), bytes)?;
        solution += &format!("{id},class{label:04}\n");
        progress(done, n_rows);
    }
    let mapping: String = (0..N_CLASSES).map(|label| format!("class{label:04}\n")).collect();
    place(to, "LOC_synset_mapping.txt", mapping.as_bytes())?;
    place(to, "LOC_val_solution.csv", solution.as_bytes())?;
    Ok(done)
}
