//! Captioned pictures in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use diffprune_files::Fnv64;
use diffprune_images::load_image;
use diffprune_pruner::Layout;
use serde_json::{Map, Value};

use super::content::files;
use crate::{CaptionData, CaptionSample, DataError};

/// Name of the list in a [`CaptionFolder`].
pub const CAPTIONS_FILE: &str = "captions.jsonl";
/// Name of the list in an image folder, as `datasets` of Hugging Face reads it.
pub const METADATA_FILE: &str = "metadata.jsonl";
/// Columns of an image folder that may be the caption; the first that a line has is taken.
const COLUMNS: [&str; 3] = ["caption_enriched", "caption", "text"];

/// A folder with `captions.jsonl`: a line `{"image": "images/000000.png", "caption": "a red cross"}` per sample, with
/// paths relative to the folder. A line may have `"boxes": [[x0, y0, x1, y1], ...]`, in pixels of the picture, for methods
/// that learn from them. Other fields are passed over, as are empty lines.
///
/// Where that list is not there, the folder may be an image folder as `datasets` of Hugging Face reads it: `metadata.jsonl`
/// with the picture in `file_name` and the caption in `caption_enriched`, `caption` or `text`.
#[derive(Debug, Clone)]
pub struct CaptionFolder {
    root: PathBuf,
    list: PathBuf,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    line: usize,
    image: PathBuf,
    caption: String,
    boxes: Option<Vec<[f64; 4]>>,
}

/// The columns of a list.
struct Columns<'a> {
    picture: &'static str,
    captions: Vec<&'a str>,
}

impl CaptionFolder {
    /// Reads the list; pictures are read when they are asked for.
    ///
    /// # Errors
    /// When the list is missing or empty, or a line is no caption.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(root, None)
    }

    /// `true` when a folder has a list.
    pub fn is_at(root: impl AsRef<Path>) -> bool {
        let root = root.as_ref();
        [CAPTIONS_FILE, METADATA_FILE]
            .iter()
            .any(|name| root.join(name).is_file())
    }

    /// As [`Self::open`], with the caption in a column of that name.
    ///
    /// # Errors
    /// As [`Self::open`], and when a line lacks the column.
    pub fn open_with(root: impl AsRef<Path>, column: Option<&str>) -> Result<Self, DataError> {
        let root = root.as_ref().to_path_buf();
        let own = root.join(CAPTIONS_FILE);
        let (path, picture, usual) = match own.is_file() || !root.join(METADATA_FILE).is_file() {
            true => (own, "image", &COLUMNS[1..2]),
            false => (root.join(METADATA_FILE), "file_name", &COLUMNS[..]),
        };
        let captions = column.map_or_else(|| usual.to_vec(), |column| vec![column]);
        let columns = Columns { picture, captions };
        let text = fs::read_to_string(&path).map_err(|source| DataError::Read {
            path: path.clone(),
            source,
        })?;
        let mut rows = Vec::new();
        // Editors of some systems begin a text with a mark of its byte order.
        for (i, line) in text
            .trim_start_matches('\u{feff}')
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            rows.push(parse(&path, i + 1, line, &columns)?);
        }
        if rows.is_empty() {
            return Err(DataError::Empty { path });
        }
        Ok(Self {
            root,
            list: path,
            rows,
        })
    }

    /// The file of a sample's picture; `None` beyond the end.
    pub fn picture(&self, index: usize) -> Option<PathBuf> {
        Some(self.root.join(&self.rows.get(index)?.image))
    }

    fn row(&self, index: usize) -> Result<&Row, DataError> {
        self.rows.get(index).ok_or(DataError::Index {
            found: index,
            wanted: self.rows.len(),
        })
    }
}

/// The largest share of each token's area that one of the boxes covers.
fn covered(boxes: &[[f64; 4]], [width, height]: [f64; 2], layout: &Layout) -> Vec<f32> {
    let token = |index| {
        let Some(area) = layout.area(index) else {
            return 0.0;
        };
        let (left, right) = (area.left * width, area.right * width);
        let (top, bottom) = (area.top * height, area.bottom * height);
        let size = (right - left) * (bottom - top);
        let share = |&[x0, y0, x1, y1]: &[f64; 4]| {
            let wide = (right.min(x1) - left.max(x0)).max(0.0);
            let high = (bottom.min(y1) - top.max(y0)).max(0.0);
            wide * high / size
        };
        boxes.iter().map(share).fold(0.0, f64::max) as f32
    };
    (0..layout.n_tokens()).map(token).collect()
}

fn parse(path: &Path, line: usize, text: &str, columns: &Columns<'_>) -> Result<Row, DataError> {
    let wrong = |found: String| DataError::Line {
        path: path.to_path_buf(),
        line,
        found,
    };
    let record: Map<String, Value> = serde_json::from_str(text).map_err(|cause| wrong(cause.to_string()))?;
    let text_of = |column: &str| record.get(column)?.as_str();
    let image = text_of(columns.picture).ok_or_else(|| wrong(format!("no text in `{}`", columns.picture)))?;
    let caption = columns.captions.iter().find_map(|column| text_of(column));
    let caption =
        caption.ok_or_else(|| wrong(format!("no text in `{}`", columns.captions.join("` or `"))))?;
    if caption.trim().is_empty() {
        return Err(wrong("an empty caption".to_string()));
    }
    let boxes: Option<Vec<[f64; 4]>> = match record.get("boxes") {
        Some(boxes) => serde_json::from_value(boxes.clone()).map_err(|cause| wrong(cause.to_string()))?,
        None => None,
    };
    let is_box = |[x0, y0, x1, y1]: &[f64; 4]| x0 < x1 && y0 < y1;
    if let Some(bad) = boxes.iter().flatten().find(|corners| !is_box(corners)) {
        return Err(wrong(format!("a box {bad:?} without area")));
    }
    Ok(Row {
        line,
        image: image.into(),
        caption: caption.to_string(),
        boxes,
    })
}

impl CaptionData for CaptionFolder {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        let row = self.row(index)?;
        let image = load_image(self.root.join(&row.image)).map_err(|source| DataError::Image {
            path: self.list.clone(),
            line: row.line,
            source: Box::new(source),
        })?;
        Ok(CaptionSample {
            image,
            caption: row.caption.clone(),
        })
    }

    fn digest(&self) -> Result<Option<String>, DataError> {
        let unread = |path: &Path, source| DataError::Read {
            path: path.into(),
            source,
        };
        let rows = self.rows.iter();
        let mut digest = rows.fold(Fnv64::new(), |digest, row| {
            digest.text(&row.caption).text(&format!("{:?}", row.boxes))
        });
        // A picture that cannot be opened is reported, with its line, when it is asked for.
        let pictures = self.rows.iter().map(|row| self.root.join(&row.image));
        for content in files(&pictures.collect::<Vec<_>>()) {
            digest = digest.text(&content.map_err(|source| unread(&self.list, source))?);
        }
        Ok(Some(digest.hex()))
    }

    fn place(&self, index: usize) -> Option<String> {
        let row = self.rows.get(index)?;
        Some(format!("{}:{}", self.list.display(), row.line))
    }

    /// The folder of the picture, if it lies in one below that of the list.
    fn class(&self, index: usize) -> Option<String> {
        let folder = self.rows.get(index)?.image.parent()?.file_name()?;
        Some(folder.to_string_lossy().into_owned())
    }

    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        let row = self.row(index)?;
        let Some(boxes) = &row.boxes else {
            return Ok(None);
        };
        let (width, height) = self.sample(index)?.image.dimensions();
        let size = [f64::from(width), f64::from(height)];
        Ok(Some(covered(boxes, size, layout)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn folder(list: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CAPTIONS_FILE), list).unwrap();
        RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7]))
            .save(folder.path().join("a.png"))
            .unwrap();
        fs::write(folder.path().join("broken.png"), b"\x89PNG\r\n\x1a\nno").unwrap();
        folder
    }

    #[test]
    fn reads_samples_in_order() {
        let folder = folder(
            "{\"image\":\"a.png\",\"caption\":\"grey\"}\n\n{\"image\":\"a.png\",\"caption\":\"dim\"}\n",
        );
        let data = CaptionFolder::open(folder.path()).unwrap();
        assert_eq!(data.len(), 2);
        let sample = data.sample(1).unwrap();
        assert_eq!(
            (sample.caption.as_str(), sample.image.dimensions()),
            ("dim", (3, 2))
        );
        assert!(matches!(
            data.sample(2),
            Err(DataError::Index { found: 2, wanted: 2 })
        ));
    }

    #[test]
    fn boxes_cover_tokens_of_any_raster() {
        let line = |boxes: &str| format!("{{\"image\":\"a.png\",\"caption\":\"grey\"{boxes}}}\n");
        let boxed = line(",\"boxes\":[[0,0,1.5,1],[2,1,3,2]]");
        let folder = folder(&[boxed, line(""), line(",\"boxes\":[]")].concat());
        let data = CaptionFolder::open(folder.path()).unwrap();
        let grid = |rows, cols| Layout::from(diffprune_pruner::Grid { rows, cols });
        let of = |index, layout| data.relevance(index, &layout).unwrap();
        // Three by two pixels.
        assert_eq!(of(0, grid(2, 2)).unwrap(), [1.0, 0.0, 0.0, 2.0 / 3.0]);
        assert_eq!(of(0, grid(2, 1)).unwrap(), [0.5, 1.0 / 3.0]);
        assert_eq!(of(1, grid(2, 2)), None);
        assert_eq!(of(2, grid(1, 2)).unwrap(), [0.0, 0.0]);
        let bad = self::folder(&line(",\"boxes\":[[2,0,1,1]]"));
        let error = CaptionFolder::open(bad.path()).unwrap_err().to_string();
        assert!(
            error.contains("captions.jsonl:1") && error.contains("box"),
            "{error}"
        );
    }

    #[test]
    fn faults_name_file_and_line() {
        let good = "{\"image\":\"a.png\",\"caption\":\"x\"}\n";
        for bad in [
            "{\"image\":\"a.png\"}",
            "nonsense",
            "{\"image\":\"a.png\",\"caption\":\" \"}",
        ] {
            let folder = folder(&format!("{good}{bad}\n"));
            let error = CaptionFolder::open(folder.path()).unwrap_err();
            assert!(error.to_string().contains("captions.jsonl:2"), "{error}");
        }
        for missing in ["broken.png", "absent.png"] {
            let folder = folder(&format!("{good}{{\"image\":\"{missing}\",\"caption\":\"x\"}}\n"));
            let data = CaptionFolder::open(folder.path()).unwrap();
            let text = data.sample(1).unwrap_err().to_string();
            assert!(
                text.contains("captions.jsonl:2") && text.contains(missing),
                "{text}"
            );
        }
    }

    #[test]
    fn image_folders_have_columns_and_classes() {
        let folder = tempfile::tempdir().unwrap();
        let line = |name: &str, rest: &str| format!("{{\"file_name\":\"{name}\",{rest}}}\n");
        let list = line(
            "n01/a.png",
            "\"caption\":\"a cross\",\"caption_enriched\":\"a red cross\",\"label\":3",
        ) + &line("n02/b.png", "\"text\":\"a ring\",\"short\":\"ring\"");
        fs::write(folder.path().join(METADATA_FILE), list).unwrap();
        for name in ["n01", "n02"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7]))
            .save(folder.path().join("n01/a.png"))
            .unwrap();
        assert!(CaptionFolder::is_at(folder.path()) && !CaptionFolder::is_at(folder.path().join("n01")));
        let data = CaptionFolder::open(folder.path()).unwrap();
        assert_eq!(data.sample(0).unwrap().caption, "a red cross");
        assert_eq!([0, 1].map(|i| data.class(i).unwrap()), ["n01", "n02"]);
        let absent = data.sample(1).unwrap_err().to_string();
        assert!(
            absent.contains("metadata.jsonl:2") && absent.contains("b.png"),
            "{absent}"
        );
        let error = CaptionFolder::open_with(folder.path(), Some("short"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("metadata.jsonl:1") && error.contains("`short`"),
            "{error}"
        );
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        assert!(matches!(
            CaptionFolder::open(folder("\n").path()),
            Err(DataError::Empty { .. })
        ));
        assert!(matches!(
            CaptionFolder::open("/nonexistent"),
            Err(DataError::Read { .. })
        ));
    }
}
