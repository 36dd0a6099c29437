//! Pictures with captions.

use std::fs;
use std::path::{Path, PathBuf};

use diffprune_vlm::{LoadError, load_image};
use image::RgbImage;
use serde::Deserialize;

/// Name of the list in a [`CaptionFolder`].
pub const CAPTIONS_FILE: &str = "captions.jsonl";

/// One picture and what it shows.
#[derive(Debug, Clone)]
pub struct CaptionSample {
    /// The picture.
    pub image: RgbImage,
    /// Its caption.
    pub caption: String,
}

/// A set of captioned pictures. The same index always gives the same sample.
pub trait CaptionData: Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// True when there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`, below [`CaptionData::len`].
    ///
    /// # Errors
    /// When the sample cannot be read.
    fn sample(&self, index: usize) -> Result<CaptionSample, DataError>;
}

/// Why captioned pictures could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The list cannot be read.
    #[error("{}: cannot read: {source}; wanted a folder with {CAPTIONS_FILE} and the images it names", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line of the list is wrong.
    #[error("{}:{line}: found {found}, wanted {{\"image\": \"relative/path\", \"caption\": \"text\"}}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        found: String,
    },
    /// The picture that a line names cannot be used.
    #[error("{}:{line}: {source}", path.display())]
    Image {
        /// The list.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The cause, with the picture's file.
        source: Box<LoadError>,
    },
    /// There are no samples.
    #[error("{}: found no samples, wanted at least one", path.display())]
    Empty {
        /// The file, or a name of the data.
        path: PathBuf,
    },
    /// An index beyond the end.
    #[error("sample {found} was asked for, wanted one below {wanted}")]
    Index {
        /// The index.
        found: usize,
        /// Number of samples.
        wanted: usize,
    },
    /// A source of samples of another kind failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A folder with `captions.jsonl`: a line `{"image": "images/000000.png", "caption": "a red cross"}` per sample, with
/// paths relative to the folder. Other fields are passed over, as are empty lines.
#[derive(Debug, Clone)]
pub struct CaptionFolder {
    root: PathBuf,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    line: usize,
    image: PathBuf,
    caption: String,
}

#[derive(Deserialize)]
struct Record {
    image: PathBuf,
    caption: String,
}

impl CaptionFolder {
    /// Reads the list; pictures are read when they are asked for.
    ///
    /// # Errors
    /// When the list is missing or empty, or a line is no caption.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DataError> {
        let root = root.as_ref().to_path_buf();
        let path = root.join(CAPTIONS_FILE);
        let text = fs::read_to_string(&path).map_err(|source| DataError::Read {
            path: path.clone(),
            source,
        })?;
        let mut rows = Vec::new();
        for (i, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            rows.push(parse(&path, i + 1, line)?);
        }
        if rows.is_empty() {
            return Err(DataError::Empty { path });
        }
        Ok(Self { root, rows })
    }
}

fn parse(path: &Path, line: usize, text: &str) -> Result<Row, DataError> {
    let wrong = |found: String| DataError::Line {
        path: path.to_path_buf(),
        line,
        found,
    };
    let record: Record = serde_json::from_str(text).map_err(|cause| wrong(cause.to_string()))?;
    if record.caption.trim().is_empty() {
        return Err(wrong("an empty caption".to_string()));
    }
    Ok(Row {
        line,
        image: record.image,
        caption: record.caption,
    })
}

impl CaptionData for CaptionFolder {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        let row = self.rows.get(index).ok_or(DataError::Index {
            found: index,
            wanted: self.rows.len(),
        })?;
        let image = load_image(self.root.join(&row.image)).map_err(|source| DataError::Image {
            path: self.root.join(CAPTIONS_FILE),
            line: row.line,
            source: Box::new(source),
        })?;
        Ok(CaptionSample {
            image,
            caption: row.caption.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
