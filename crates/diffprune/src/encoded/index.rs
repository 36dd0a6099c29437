//! What a folder of features was made from, and how it is laid out.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use diffprune_files::{Fnv64, write_whole};
use diffprune_vlm::Vlm;
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use super::FeatureError;
use crate::{CachePrecision, DataError, VlmError};

/// Name of the index in a folder of features.
pub const FEATURES_FILE: &str = "features.json";
/// The layout of files that this version writes and reads.
const FORMAT: u32 = 1;

/// What a folder of features was made from, and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FeatureIndex {
    /// Version of the layout.
    pub format: u32,
    /// Family of the model.
    pub family: String,
    /// Digest of the model's files, where the caller told one.
    pub model: Option<String>,
    /// Digest of what the model's preprocessing makes of a known picture.
    pub preprocessing: String,
    /// Digest of captions and pictures, where the data can tell.
    pub data: Option<String>,
    /// Width of a token.
    pub d_vision: usize,
    /// Precision of the numbers.
    pub precision: CachePrecision,
    /// Number of samples.
    pub n_samples: usize,
    /// Samples of each file but the last one.
    pub samples_per_file: usize,
}

impl FeatureIndex {
    pub(super) fn new(
        vlm: &dyn Vlm,
        model: Option<String>,
        data: Option<String>,
        precision: CachePrecision,
        n_samples: usize,
        samples_per_file: usize,
    ) -> Result<Self, VlmError> {
        Ok(Self {
            format: FORMAT,
            family: vlm.family().to_string(),
            model,
            preprocessing: preprocessing(vlm)?,
            data,
            d_vision: vlm.d_vision(),
            precision,
            n_samples,
            samples_per_file: samples_per_file.max(1),
        })
    }

    /// Number of files.
    pub fn n_files(&self) -> usize {
        self.n_samples.div_ceil(self.samples_per_file.max(1))
    }

    /// The samples of a file.
    pub fn samples(&self, file: usize) -> Range<usize> {
        let first = file * self.samples_per_file;
        first..(first + self.samples_per_file).min(self.n_samples)
    }

    /// The path of a file in a folder.
    pub fn path(&self, folder: &Path, file: usize) -> PathBuf {
        folder.join(format!("features-{file:05}-of-{:05}.safetensors", self.n_files()))
    }

    /// A short name of the whole index, which each file repeats.
    pub(super) fn digest(&self) -> String {
        Fnv64::new().text(&format!("{self:?}")).hex()
    }

    /// The index of a folder; `None` when it has none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, FeatureError> {
        let path = folder.join(FEATURES_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(FeatureError::Read {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        let index: Self =
            serde_json::from_slice(&bytes).map_err(|error| FeatureError::index(folder, error))?;
        match index.format {
            FORMAT if index.samples_per_file > 0 => Ok(Some(index)),
            FORMAT => Err(FeatureError::index(folder, "no sample in a file")),
            other => Err(FeatureError::index(
                folder,
                format!("layout {other} where this version has {FORMAT}"),
            )),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), FeatureError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| FeatureError::index(folder, error))?;
        Ok(write_whole(folder.join(FEATURES_FILE), text + "\n")?)
    }

    /// Refuses another index; what either does not know is not compared.
    pub(super) fn expect(&self, folder: &Path, wanted: &Self) -> Result<(), FeatureError> {
        let known = |a: &Option<String>, b: &Option<String>| a.clone().zip(b.clone());
        let text = |value: &dyn ToString| value.to_string();
        let pairs = [
            ("family", Some((text(&self.family), text(&wanted.family)))),
            ("d_vision", Some((text(&self.d_vision), text(&wanted.d_vision)))),
            (
                "preprocessing",
                Some((text(&self.preprocessing), text(&wanted.preprocessing))),
            ),
            ("model", known(&self.model, &wanted.model)),
            ("data", known(&self.data, &wanted.data)),
            (
                "n_samples",
                Some((text(&self.n_samples), text(&wanted.n_samples))),
            ),
            (
                "precision",
                Some((format!("{:?}", self.precision), format!("{:?}", wanted.precision))),
            ),
        ];
        let differs = pairs
            .into_iter()
            .filter_map(|(field, pair)| Some((field, pair?)))
            .find(|(_, (found, wanted))| found != wanted);
        match differs {
            None => Ok(()),
            Some((field, (found, wanted))) => Err(FeatureError::Other {
                path: folder.join(FEATURES_FILE),
                field,
                found,
                wanted,
            }),
        }
    }
}

/// A digest of what the model's preprocessing makes of a picture of colours that change in both directions: sizes, cropping,
/// padding, resampling and normalisation all show in it.
pub(super) fn preprocessing(vlm: &dyn Vlm) -> Result<String, VlmError> {
    let colour = |x: u32, y: u32| Rgb([(5 * x) as u8, (7 * y) as u8, (3 * x + 11 * y) as u8]);
    let picture = RgbImage::from_fn(53, 37, colour);
    let pixels = vlm.preprocess(&[picture])?;
    let shape = Fnv64::new().text(&format!("{:?}", pixels.values.dims()));
    let values = pixels.values.into_data();
    let digest = values.iter::<f32>().fold(shape, |digest, value| {
        digest.bytes(&value.to_bits().to_le_bytes())
    });
    Ok(digest.hex())
}

impl From<VlmError> for FeatureError {
    fn from(error: VlmError) -> Self {
        Self::Sample(Box::new(error.into()))
    }
}

/// The digest of a data set whose pictures were encoded in a precision: that of the pictures where no bit was lost.
pub(super) fn data_digest(index: &FeatureIndex) -> Option<String> {
    let data = index.data.as_ref()?;
    Some(match index.precision {
        CachePrecision::F32 => data.clone(),
        CachePrecision::F16 => Fnv64::new().text(data).text("f16").hex(),
    })
}

/// The error about a picture that was not kept.
pub(super) fn no_picture(index: usize) -> DataError {
    DataError::Other(
        format!("sample {index}: features hold no pictures; give the pictures themselves with --data").into(),
    )
}
