//! A folder of features as data to train on.

use std::path::{Path, PathBuf};

use diffprune_pruner::Layout;
use diffprune_vlm::Vlm;

use super::file::FeatureFile;
use super::index::{data_digest, no_picture, preprocessing};
use super::{FEATURES_FILE, FeatureError, FeatureIndex};
use crate::{CaptionData, CaptionSample, DataError, StoredPicture};

/// A folder of features: captions and tokens of every sample, mapped into memory. It holds no pictures.
///
/// A training on it is, for f32, to the bit that on the pictures, and its run goes on with either; for f16 it is that with
/// [`CachePrecision::F16`](crate::CachePrecision::F16). Files must not be truncated while they are mapped.
#[derive(Debug)]
pub struct FeatureFolder {
    folder: PathBuf,
    index: FeatureIndex,
    files: Vec<FeatureFile>,
}

impl FeatureFolder {
    /// Opens a folder and the header of every file; numbers are checked as they are read.
    ///
    /// # Errors
    /// When the index or a file is missing or damaged.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, FeatureError> {
        let folder = folder.as_ref().to_path_buf();
        let index = FeatureIndex::read(&folder)?;
        let index = index.ok_or_else(|| FeatureError::Read {
            action: "read",
            path: folder.join(FEATURES_FILE),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let absent: Vec<PathBuf> = (0..index.n_files())
            .map(|file| index.path(&folder, file))
            .filter(|path| !path.is_file())
            .collect();
        if let Some(path) = absent.first() {
            return Err(FeatureError::Missing {
                path: path.clone(),
                n_missing: absent.len(),
                n_files: index.n_files(),
            });
        }
        let files = (0..index.n_files()).map(|file| FeatureFile::open(&folder, &index, file));
        Ok(Self {
            files: files.collect::<Result<_, _>>()?,
            folder,
            index,
        })
    }

    /// What the folder was made from.
    pub fn index(&self) -> &FeatureIndex {
        &self.index
    }

    /// Bytes on disk.
    pub fn n_bytes(&self) -> u64 {
        self.files.iter().map(FeatureFile::n_bytes).sum()
    }

    /// Refuses features of another model, of other preprocessing or of other data. A digest that is not given is not compared.
    ///
    /// # Errors
    /// [`FeatureError::Other`] names the first difference.
    pub fn expect(&self, vlm: &dyn Vlm, model: Option<&str>, data: Option<&str>) -> Result<(), FeatureError> {
        let wanted = FeatureIndex {
            family: vlm.family().to_string(),
            d_vision: vlm.d_vision(),
            preprocessing: preprocessing(vlm)?,
            model: model.map(str::to_string),
            data: data.map(str::to_string),
            ..self.index.clone()
        };
        self.index.expect(&self.folder, &wanted)
    }

    fn place(&self, index: usize) -> Result<(&FeatureFile, usize), DataError> {
        if index >= self.index.n_samples {
            return Err(DataError::Index {
                found: index,
                wanted: self.index.n_samples,
            });
        }
        let size = self.index.samples_per_file;
        Ok((&self.files[index / size], index % size))
    }
}

impl CaptionData for FeatureFolder {
    fn len(&self) -> usize {
        self.index.n_samples
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        self.place(index)?;
        Err(no_picture(index))
    }

    fn stored(&self, index: usize) -> Result<Option<StoredPicture>, DataError> {
        let (file, place) = self.place(index)?;
        Ok(Some(file.read(place)?))
    }

    fn digest(&self) -> Result<Option<String>, DataError> {
        Ok(data_digest(&self.index))
    }

    fn place(&self, index: usize) -> Option<String> {
        let (file, place) = self.place(index).ok()?;
        Some(format!("{}, sample {place}", file.path().display()))
    }

    fn class(&self, index: usize) -> Option<String> {
        let (file, place) = self.place(index).ok()?;
        file.class(place)
    }

    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        let (file, place) = self.place(index)?;
        let (own, has_boxes) = file.facts(place);
        if !has_boxes {
            return Ok(None);
        }
        match own == layout {
            true => Ok(file.read(place)?.relevance),
            // Somebody asks whether there is any, before there is a layout.
            false => Ok(Some(vec![0.0; layout.n_tokens()])),
        }
    }
}
